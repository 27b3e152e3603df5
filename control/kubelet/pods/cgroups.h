// The cgroups above containers: ROOT/kubepods[/burstable|/besteffort]/podUID, with the pod's limits. v1, hybrid and v2
// hierarchies; the runtime makes the containers' own below them.
//
// Thread-safe: all state is in the file system.
#pragma once

#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::kubelet {

namespace corev1 = ::k8s::io::api::core::v1;

class Cgroups {
public:
    // root: the path below each hierarchy's root, "/sluice" or "/". mounts: the text of /proc/self/mounts.
    Cgroups(std::string root, std::string_view mounts);
    static Result<Cgroups> open(const std::string& root);

    // kubepods and the two classes.
    Result<void> set_up() const;
    // "/ROOT/kubepods/burstable/podUID".
    [[nodiscard]] std::string path_of(const corev1::Pod& pod) const;
    Result<void> create(const corev1::Pod& pod) const;
    // What all Burstable pods together ask for, against the other classes.
    Result<void> set_burstable_cpu(std::int64_t cpu_milli) const;
    // Of all classes. What still runs in them is killed; false if something is left at present.
    [[nodiscard]] bool remove(const std::string& uid) const;
    // The uids of pods that have cgroups.
    [[nodiscard]] std::vector<std::string> pods() const;

private:
    std::string root_;
    struct Hierarchy {
        std::string mount;
        std::string controllers;  // of v1, as the mount names them; empty for v2
    };
    std::vector<Hierarchy> hierarchies_;
    bool unified_ = false;  // v2 alone
};

}  // namespace sluice::kubelet
