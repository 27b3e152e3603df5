// The node towards the API server: registers the Node object, renews its Lease, keeps its status
// true.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/client/client.h"
#include "api/client/event_recorder.h"

namespace k8s::io::api::core::v1 {
class Node;
}

namespace sluice::kubelet {

namespace corev1 = ::k8s::io::api::core::v1;

inline constexpr std::uint32_t kLeaseSeconds = 40;
inline constexpr std::uint32_t kLeaseRenewMs = 10'000;
inline constexpr std::uint32_t kStatusReportMs = 300'000;  // when nothing changed
inline constexpr std::uint32_t kStatusCheckMs = 10'000;

struct NodeOptions {
    std::string name;
    std::vector<std::string> addresses;  // InternalIPs, the first is the node's main address
    std::string hostname;
    std::uint16_t kubelet_port = 10250;
    std::uint32_t max_pods = 110;
    std::map<std::string, std::string> labels;  // beside kubernetes.io/hostname, os, arch
    std::vector<std::string> taints;            // "key=value:Effect", set at registration only
    std::string provider_id;
    // Kept back from allocatable.
    std::int64_t reserved_cpu_milli = 0;
    std::int64_t reserved_memory_bytes = 0;
    // Where pods' files lie: its file system is the node's ephemeral-storage.
    std::string root_directory = "/var/lib/sluice/kubelet";
};

// What the runtime says, asked for at every status check. Empty: it is ready.
struct RuntimeState {
    std::string runtime_not_ready;  // the reason, for the condition Ready and the log
    std::string network_not_ready;  // "container runtime network not ready: ..."
    std::string runtime_version;    // "containerd://1.6.20"
};

// Runs threads of its own. An API server that is away is asked again for ever. A Node that somebody
// deletes while this runs is made anew at the next start only, as with kubelet: else nobody could
// remove a node.
class NodeKeeper {
public:
    virtual ~NodeKeeper() = default;
    // Looks at the state again now: the node becomes Ready at once when the network is there, not
    // at the next period.
    virtual void check_now() = 0;
    // The Node as last seen at the server; null before registration. podCIDRs arrive by it.
    [[nodiscard]] virtual std::shared_ptr<const corev1::Node> node() const = 0;
    [[nodiscard]] virtual std::int64_t allocatable_cpu_milli() const = 0;
    [[nodiscard]] virtual std::int64_t allocatable_memory_bytes() const = 0;

    // kInvalidArgument for options that cannot be: no name or address, bad taints, labels in
    // Kubernetes' own name space.
    static Result<std::unique_ptr<NodeKeeper>> start(client::Client& client, NodeOptions options,
                                                     std::function<RuntimeState()> runtime_state,
                                                     client::EventRecorder& events);
};

// "key=value:Effect" or "key:Effect"; errors name the flag's value. The Node has nothing but
// spec.taints.
Result<corev1::Node> parse_taints(const std::vector<std::string>& taints);

}  // namespace sluice::kubelet
