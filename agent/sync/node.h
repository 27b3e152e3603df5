// What the engine must know of this node, from its Node object, the machine's links and the flags. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "dataplane/image/desired.h"
#include "dataplane/netlink/links.h"

namespace k8s::io::api::core::v1 {
class Node;
}

namespace sluice::sync {

inline constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";
inline constexpr char kAutoscalerTaint[] = "ToBeDeletedByClusterAutoscaler";

// Read from the Node object.
struct NodeObject {
    std::vector<IpAddress> addresses;  // InternalIP, then ExternalIP, in the order of the object
    std::string zone;
    std::vector<IpPrefix> pod_cidrs;  // spec.podCIDRs
    bool eligible = true;  // neither being deleted nor tainted by the autoscaler
    auto operator<=>(const NodeObject&) const = default;
};
[[nodiscard]] NodeObject read_node(const ::k8s::io::api::core::v1::Node& node);

// Where NodePorts answer.
struct NodePortAddresses {
    std::vector<IpPrefix> ranges;  // empty: the primary addresses of the node
    // "primary", or a list of CIDRs; anything else is kInvalidArgument.
    static Result<NodePortAddresses> parse(const std::vector<std::string>& texts);
};

// How pods are told from others (kube-proxy's detectLocalMode).
struct DetectLocal {
    enum class Mode : std::uint8_t {
        kNone,
        kClusterCidr,          // by their addresses: cidrs
        kNodeCidr,             // by their addresses: spec.podCIDRs of the own Node
        kBridgeInterface,      // what comes in by the bridge
        kInterfaceNamePrefix,  // what comes in by links of that name
    };
    Mode mode = Mode::kNone;
    std::vector<IpPrefix> cidrs;
    std::string bridge;
    std::string prefix;
};

struct NodeInputs {
    const NodeObject* object = nullptr;  // null: there is no Node object
    std::vector<netlink::Link> links;
    NodePortAddresses nodeports;
    std::vector<IpPrefix> service_cidrs;
    DetectLocal detect;
    std::optional<IpAddress> bind_address;  // the primary address of its family, whatever the Node object says
    bool masquerade_all = false;
    bool beside_kube_proxy = false;
};

// NodePort addresses: with ranges, the machine's addresses inside them, and all of a family without a range; else
// those of the Node object, or without one those of the links that lead out. Never loopback, link-local or
// unspecified ones.
// Masquerade addresses are the machine's own: replies must come back to it.
[[nodiscard]] image::Node make_node(const NodeInputs& inputs);

}  // namespace sluice::sync
