// The desired state as compile hands it to an engine: what each service port means on this node,
// already decided (policies, topology, terminating fallback), with no layout in it. Values only.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "api/base/ip_address.h"

namespace sluice::image {

// One port of one Service in one family.
struct ServiceKey {
    std::string service;  // "namespace/name"
    std::string port;     // the port's name; may be empty
    Protocol protocol = Protocol::kTcp;
    IpFamily family = IpFamily::kIpv4;

    // "namespace/name:port" (or "namespace/name"), as in the image's names.
    [[nodiscard]] std::string display() const;
    auto operator<=>(const ServiceKey&) const = default;
};

enum class Scope : std::uint8_t { kAddress, kNodePort };

// How traffic from outside reaches a backend on another node.
enum class Forwarding : std::uint8_t {
    kNat,     // through this node both ways
    kTunnel,  // IP in IP; the backend's node answers the client itself
    kOption,  // the same with an IP option instead of a tunnel
    kLink,    // the same in a frame to that node, which chooses anew: REQUIRES a consistent hash, the same everywhere
};

// Which backend a new flow gets.
enum class Choice : std::uint8_t {
    kRandom,
    kTuple,   // consistent hash of addresses, ports and protocol
    kClient,  // consistent hash of the client's address
};

// Where traffic for the service arrives. address is unspecified for kNodePort.
struct Frontend {
    IpAddress address;
    std::uint16_t port = 0;
    Scope scope = Scope::kAddress;
    bool external = false;    // follows the external set
    bool masquerade = false;  // external with policy Cluster
    bool restricted = false;  // only Service::sources may come in
    Forwarding forwarding = Forwarding::kNat;
    auto operator<=>(const Frontend&) const = default;
};

struct Backend {
    IpAddress address;
    std::uint16_t port = 0;
    bool local = false;
    bool terminating = false;
    std::string target;  // "namespace/pod", for people; may be empty
    std::uint32_t weight = 1;  // share of new flows in proportion to the others'; at least 1
    auto operator<=>(const Backend&) const = default;
};

// Sorted by (address, port), unique. When empty, when_empty_drop says drop instead of refuse.
struct BackendSet {
    std::vector<Backend> backends;
    bool when_empty_drop = false;
    auto operator<=>(const BackendSet&) const = default;
};

// Both ends included.
struct AddressRange {
    IpAddress first;
    IpAddress last;
    auto operator<=>(const AddressRange&) const = default;
};

struct Service {
    ServiceKey key;
    std::uint16_t port = 0;           // spec.ports[].port
    std::vector<Frontend> frontends;  // sorted, unique
    BackendSet internal;
    BackendSet external;                   // external frontends, clients from outside
    BackendSet inside;                     // external frontends, clients on this node or in pods
    std::vector<AddressRange> sources;     // for restricted frontends: sorted, disjoint
    std::uint32_t affinity_timeout_s = 0;  // 0: none
    Choice choice = Choice::kRandom;
    auto operator<=>(const Service&) const = default;
};

// What concerns the node as a whole.
struct Node {
    std::vector<IpAddress> nodeport_addresses;  // NodePorts answer here; sorted, unique
    IpAddress masquerade_v4;                    // unspecified: no IPv4 source NAT possible
    IpAddress masquerade_v6;
    std::vector<IpPrefix> service_cidrs;
    std::vector<IpPrefix> cluster_cidrs;  // not empty: what comes from there is a pod's (detectLocal)
    bool detect_by_device = false;        // what comes in by a pod's device is a pod's (detectLocal)
    // With detect_by_device, which devices are pods'; at most one of the two is set. Neither: all that
    // netlink::classify() takes for a pod's.
    std::string pod_bridge;  // this bridge, and nothing else
    std::string pod_prefix;  // whatever link's name begins so
    bool masquerade_all = false;
    // A kube-proxy's rules are there: connections that began through them are left to them.
    bool beside_kube_proxy = false;
    auto operator<=>(const Node&) const = default;
};

// Addresses that services own as a whole follow from the frontends (scope kAddress); they are not
// listed.

// A difference. Removals are applied after the upserts (make before break); a frontend that moves
// from one service to another is never without an owner.
struct Change {
    std::vector<Service> upserts;
    std::vector<ServiceKey> removals;
};

}  // namespace sluice::image
