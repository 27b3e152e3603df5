// Nodes as the cluster sees them: alive or lost, with taints that say so, with ranges of pod
// addresses; and the pods that a lost or deleted node leaves behind.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "api/base/ip_address.h"
#include "control/controllers/controller.h"

namespace sluice::controllers {

struct NodeLifecycleOptions {
    // A node that has not renewed its Lease or status for this long is Unknown.
    std::uint32_t grace_period_ms = 50'000;
    // One that never posted a status gets longer, for a kubelet needs time to start.
    std::uint32_t startup_grace_period_ms = 60'000;
    // All nodes are looked at again this often, whatever happened.
    std::uint32_t monitor_period_ms = 5'000;
};

// Ready and taints by Lease and conditions; pods of a lost node become unready at once.
// REQUIRES, here and below: made before the informers start.
std::unique_ptr<Controller> make_node_lifecycle_controller(Context& context,
                                                           const NodeLifecycleOptions& options);

// Deletes pods that do not tolerate their node's NoExecute taints, when their toleration ends.
std::unique_ptr<Controller> make_taint_eviction_controller(Context& context);

struct NodeIpamOptions {
    std::vector<IpPrefix> cluster_cidrs;  // at most one of a family
    int mask_size_ipv4 = 24;
    int mask_size_ipv6 = 64;
    std::vector<IpPrefix> service_cidrs;  // never handed out
};
// kInvalidArgument: a range smaller than a node's share, or two of one family.
Result<std::unique_ptr<Controller>> make_node_ipam_controller(Context& context,
                                                              const NodeIpamOptions& options);

// Pods that ended and are too many, pods bound to nodes that are gone, pods that terminate where no
// kubelet is.
inline constexpr std::size_t kTerminatedPodThreshold = 12'500;
struct PodGcOptions {
    std::size_t terminated_pod_threshold = kTerminatedPodThreshold;
    // How long a node is missing before its pods are removed.
    std::uint32_t quarantine_ms = 40'000;
    std::uint32_t period_ms = 20'000;
};
std::unique_ptr<Controller> make_pod_gc_controller(Context& context, const PodGcOptions& options);

}  // namespace sluice::controllers
