// What compile needs of the API's objects, read once when they arrive and kept instead of them: parsed
// addresses and decided defaults, about a tenth of the size of the decoded messages. Values only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "dataplane/image/desired.h"

namespace k8s::io::api::core::v1 {
class Service;
class Node;
}  // namespace k8s::io::api::core::v1
namespace k8s::io::api::discovery::v1 {
class EndpointSlice;
}  // namespace k8s::io::api::discovery::v1

namespace sluice::compile {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

// Limits. What is beyond them is left out, and a note says so.
inline constexpr std::size_t kMaxPortsPerService = 1024;
inline constexpr std::size_t kMaxAddressesPerService = 1024;  // external and load-balancer addresses, each
inline constexpr std::size_t kMaxEndpointsPerSlice = 1000;    // the API's own limit
inline constexpr std::size_t kMaxHintsPerEndpoint = 64;       // the API allows 8
inline constexpr std::size_t kMaxSourceRangesPerService = 1024;
inline constexpr std::uint32_t kMaxWeight = 1000;

// What people ask of us beyond the API's fields. An invalid value is as none, and a note names object and annotation.
inline constexpr char kHashAnnotation[] = "sluice.dev/consistent-hash";  // Service: "tuple", "client"
inline constexpr char kForwardingAnnotation[] = "sluice.dev/forwarding";  // Service: one of nat, tunnel, option, link
inline constexpr char kWeightAnnotation[] = "sluice.dev/weight";  // EndpointSlice: 1 to kMaxWeight

inline constexpr std::uint32_t kDefaultAffinityTimeoutS = 10'800;

struct ServicePort {
    std::string name;  // may be empty
    Protocol protocol = Protocol::kTcp;
    std::uint16_t port = 0;
    std::uint16_t node_port = 0;  // 0: none
    auto operator<=>(const ServicePort&) const = default;
};

struct ServiceFacts {
    std::string key;                // "namespace/name"
    std::int64_t created_s = 0;     // creationTimestamp; the older of two claims to one address wins
    std::vector<IpAddress> cluster_ips;  // at most one a family
    std::vector<IpAddress> external_ips;
    std::vector<IpAddress> load_balancer_ips;  // those that this node shall answer (ipMode VIP)
    std::vector<ServicePort> ports;
    bool internal_local = false;  // internalTrafficPolicy Local
    bool external_local = false;  // externalTrafficPolicy Local
    // loadBalancerSourceRanges of both families; no entry of a family: everybody of that family may come in.
    std::vector<IpPrefix> sources;
    std::uint16_t health_check_port = 0;  // 0: none
    // With affinity too, affinity wins: the ring chooses only for clients that are not known yet.
    image::Choice choice = image::Choice::kRandom;
    std::optional<image::Forwarding> forwarding;  // none: as the node does
    std::uint32_t affinity_timeout_s = 0;
    // What was left out or refused, as sentences for the log; each names the service and the field.
    std::vector<std::string> notes;
    auto operator<=>(const ServiceFacts&) const = default;
};

// 28 bytes: there may be a quarter of a million. What has no fixed size is in its Slice.
struct Endpoint {
    IpAddress address;
    std::uint32_t target_end = 0;    // in Slice::targets; it begins where that of the endpoint before ends
    std::uint16_t zones = 0;         // 1 + index into Slice::zone_hints; 0: no zone hints
    bool ready = true;
    bool serving = true;
    bool terminating = false;
    bool local = false;
    bool has_node_hints = false;
    bool hinted_to_this_node = false;
    auto operator<=>(const Endpoint&) const = default;
};

struct SlicePort {
    std::string name;
    Protocol protocol = Protocol::kTcp;
    std::uint16_t port = 0;
    auto operator<=>(const SlicePort&) const = default;
};

struct Slice {
    IpFamily family = IpFamily::kIpv4;
    std::uint32_t weight = 1;  // of each of its endpoints
    std::vector<SlicePort> ports;
    std::vector<Endpoint> endpoints;
    std::vector<std::vector<std::string>> zone_hints;  // the different lists, each sorted and not empty
    // The pods of the endpoints, one behind the other: a name of the slice's namespace, or "namespace/name".
    std::string targets;
    auto operator<=>(const Slice&) const = default;

    // "namespace/pod"; may be empty. slice_namespace: the one the slice is in.
    [[nodiscard]] std::string target_of(std::size_t endpoint, std::string_view slice_namespace) const;
    [[nodiscard]] bool hinted_to_zone(const Endpoint& endpoint, const std::string& zone) const;
};

struct OwnedSlice {
    std::string service;  // "namespace/name" by the label kubernetes.io/service-name
    Slice slice;
};

// Which node the tables are compiled for.
struct NodeFacts {
    std::string name;
    std::string zone;  // label topology.kubernetes.io/zone; may be empty
    std::vector<IpAddress> addresses;  // the node's own; sorted
    image::Forwarding forwarding = image::Forwarding::kNat;  // of services that do not say
    auto operator<=>(const NodeFacts&) const = default;
};

// Nullopt when the service is not programmed at all: ExternalName, headless, without a cluster IP, or another
// proxy's by label. Never fails: what is malformed is left out and named in notes.
[[nodiscard]] std::optional<ServiceFacts> read_service(const corev1::Service& service);

// Nullopt when the slice is no business of a proxy: no service label, headless, or addressType FQDN. Appends to *notes
// what was refused.
[[nodiscard]] std::optional<OwnedSlice> read_slice(const discoveryv1::EndpointSlice& slice,
                                                   const std::string& node_name,
                                                   std::vector<std::string>* notes);

}  // namespace sluice::compile
