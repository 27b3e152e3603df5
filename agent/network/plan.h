// What the network of pods needs on this node: the configuration of sluice-cni, routes to other nodes' pods, and what
// must not be hidden behind the node's address. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "dataplane/netlink/links.h"
#include "dataplane/netlink/routes.h"

namespace k8s::io::api::core::v1 {
class Node;
}

namespace sluice::network {

// Ranges that a node may have, as in Kubernetes: one of each family.
inline constexpr int kMaxPodRanges = 2;
// A range of pods is no larger than this; a shorter prefix is a mistake that would take other networks away.
inline constexpr std::uint8_t kMinPodBitsV4 = 8;
inline constexpr std::uint8_t kMinPodBitsV6 = 16;
inline constexpr std::uint32_t kMinMtu = 1'280;  // IPv6's least
inline constexpr std::uint32_t kMaxMtu = 65'535;

// Read from a Node object.
struct PodNode {
    std::vector<IpAddress> addresses;  // InternalIP, in the order of the object
    std::vector<IpPrefix> ranges;      // spec.podCIDRs
    std::string problem;               // what is wrong with podCIDRs; they are empty then
    bool operator==(const PodNode&) const = default;
};
[[nodiscard]] PodNode read_pod_node(const ::k8s::io::api::core::v1::Node& node);

using PodNodes = std::map<std::string, PodNode>;  // by name

// The text of sluice-cni's configuration. mtu 0 and an empty data_dir leave it to the plugin.
struct CniConfig {
    std::vector<IpPrefix> ranges;
    std::uint32_t mtu = 0;
    std::string data_dir;
};
[[nodiscard]] std::string render_cni(const CniConfig& config);

// The MTU of the link that has one of the node's addresses, the first first; 0 if none has.
[[nodiscard]] std::uint32_t mtu_of(const PodNode& own, const std::vector<netlink::Link>& links);

struct Problem {
    std::string node;
    std::string message;
    auto operator<=>(const Problem&) const = default;
};

struct RoutePlan {
    std::vector<netlink::Route> routes;  // sorted
    std::vector<Problem> problems;       // of nodes that pods here cannot reach
};

using FindHop = std::function<Result<netlink::Hop>(const IpAddress&)>;

// Routes to the ranges of all other nodes by their address of that family, and an end for what is sent to addresses of
// the own ranges that no pod has: the default route would have it come back for ever. A range that overlaps one of an
// earlier node (by name), or holds an address of a node or of this machine, is left out.
[[nodiscard]] RoutePlan plan_routes(const std::string& own_name, const PodNodes& nodes,
                                    const std::vector<netlink::Link>& links, const FindHop& find_hop);

// nftables commands that give packets from these ranges to anywhere but the ranges and the nodes the address of the
// link they leave by; in one transaction with the removal of what was there.
[[nodiscard]] std::string render_masquerade(const std::vector<IpPrefix>& ranges,
                                            const PodNodes& nodes);
[[nodiscard]] std::string render_no_masquerade();

}  // namespace sluice::network
