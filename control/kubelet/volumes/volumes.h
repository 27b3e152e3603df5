// Makes a pod's volumes under ROOT/pods/UID/volumes and takes them away again: emptyDir (disk, or tmpfs for medium
// Memory, with its sizeLimit), hostPath (all its types), configMap, secret, downwardAPI, projected (of the three). Files of
// API objects appear atomically, as Kubernetes' ..data symlink does it, and follow the object.
//
// All calls block on the file system, and some on the API server. Thread-safe for different pods; one pod at a time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/kubelet/objects.h"

namespace sluice::kubelet {

// Bytes of one pod's volumes made from API objects.
inline constexpr std::size_t kMaxProjectedBytes = 16U << 20U;

struct Mount {
    std::string host_path;
    std::string container_path;
    bool read_only = false;
    std::string propagation;  // "", "HostToContainer", "Bidirectional"
};

class Volumes {
public:
    virtual ~Volumes() = default;

    // Makes all of the pod's volumes that are not there yet. The error's message is that of the event FailedMount:
    // `MountVolume.SetUp failed for volume "page" : configmap "web" not found`. kUnimplemented names a volume source that
    // this kubelet does not have. Optional sources that are missing give empty volumes.
    virtual Result<void> set_up(const corev1::Pod& pod) = 0;
    // Writes changed ConfigMaps, Secrets and downward API fields into the volumes that are there.
    virtual Result<void> refresh(const corev1::Pod& pod) = 0;
    // What to mount into a container. subPath is resolved without following links out of the volume; subPathExpr is
    // expanded with the container's environment. REQUIRES: set_up succeeded.
    virtual Result<std::vector<Mount>> mounts(const corev1::Pod& pod,
                                              const std::string& container_name,
                                              const std::map<std::string, std::string>& environment) = 0;
    // Unmounts and removes all volumes of the pod; harmless to repeat, and for pods that never had any.
    virtual Result<void> tear_down(const std::string& pod_uid) = 0;
    // The uids of pods of which something is left on disk.
    [[nodiscard]] virtual std::vector<std::string> pods_on_disk() const = 0;

    // root: "/var/lib/sluice/kubelet". objects outlives it.
    static std::unique_ptr<Volumes> create(const std::string& root, ObjectSource& objects);
};

}  // namespace sluice::kubelet
