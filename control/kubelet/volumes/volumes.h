// Makes a pod's volumes under ROOT/pods/UID/volumes and takes them away again: emptyDir (disk, or
// tmpfs for medium Memory, with its sizeLimit), hostPath (all its types), configMap, secret,
// downwardAPI, projected (of the three, and tokens of the pod's service account). Files of API objects
// appear atomically, as Kubernetes' ..data symlink does it, and follow the object.
//
// All calls block on the file system, and some on the API server. Thread-safe for different pods;
// one pod at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/kubelet/environment/environment.h"
#include "control/kubelet/objects.h"

namespace sluice::kubelet {

// Bytes of one pod's volumes made from API objects.
inline constexpr std::size_t kMaxProjectedBytes = 16U << 20U;
inline constexpr std::size_t kMaxProjectedFiles = 100'000;

struct Mount {
    std::string host_path;
    std::string container_path;
    bool read_only = false;
    std::string propagation;  // "", "HostToContainer", "Bidirectional"
};

class Volumes {
public:
    virtual ~Volumes() = default;

    // Makes all of the pod's volumes that are not there yet. The error's message is that of the
    // event FailedMount: `MountVolume.SetUp failed for volume "page" : configmap "web" not found`.
    // kUnimplemented names a volume source that this kubelet does not have. Optional sources that
    // are missing give empty volumes.
    virtual Result<void> set_up(const corev1::Pod& pod) = 0;
    // Writes changed ConfigMaps, Secrets and downward API fields into the volumes that are there.
    virtual Result<void> refresh(const corev1::Pod& pod) = 0;
    // What to mount into a container. subPath is resolved without following links out of the
    // volume; subPathExpr is expanded with the container's environment. REQUIRES: set_up succeeded.
    virtual Result<std::vector<Mount>> mounts(const corev1::Pod& pod,
                                              const std::string& container_name,
                                              const std::map<std::string, std::string>& environment) = 0;
    // Of an emptyDir that outgrew its sizeLimit, the message with which the pod is evicted (`Usage
    // of EmptyDir volume "cache" exceeds the limit "1Mi". `). Those on tmpfs cannot. Walks the
    // files: for once in a while.
    virtual Result<std::optional<std::string>> exceeded_limit(const corev1::Pod& pod) {
        static_cast<void>(pod);
        return std::optional<std::string>();
    }
    // Unmounts and removes all volumes of the pod, and then ROOT/pods/UID with whatever else lies
    // there; harmless to repeat, and for pods that never had any. What hostPath volumes name is
    // never touched.
    virtual Result<void> tear_down(const std::string& pod_uid) = 0;
    // The uids of pods of which something is left on disk.
    [[nodiscard]] virtual std::vector<std::string> pods_on_disk() const = 0;

    // root: "/var/lib/sluice/kubelet". objects outlives it. facts: of the node and a pod, for
    // downward API volumes with resources; called at each set-up and refresh.
    static std::unique_ptr<Volumes> create(
        const std::string& root, ObjectSource& objects,
        std::function<PodFacts(const corev1::Pod& pod)> facts = {});
};

}  // namespace sluice::kubelet
