// The kernel as the plugin sees it: one veth pair across two network namespaces, and what lies on
// its ends. An interface, so that each step of an attachment can be made to fail; open_network() is
// the real one (netlink.cc).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::cni {

enum class Side : std::uint8_t { kHost, kPod };

[[nodiscard]] std::string_view side_name(Side side);

struct Mac {
    std::array<std::uint8_t, 6> bytes{};

    [[nodiscard]] std::string to_string() const;
    auto operator<=>(const Mac&) const = default;
};

struct Link {
    int ifindex = 0;
    std::string kind;  // "veth"; empty for a device without a kind
    std::string alias;
    bool up = false;        // administratively
    std::uint32_t mtu = 0;  // bytes
    int peer_ifindex = 0;   // of a veth, in the peer's namespace
    Mac mac;
};

struct LinkAddress {
    IpAddress address;
    std::uint8_t bits = 0;
    bool link_scope = false;  // IPv4: RT_SCOPE_LINK. IPv6: the kernel derives the scope.

    auto operator<=>(const LinkAddress&) const = default;
};

struct Route {
    IpPrefix destination;
    std::optional<IpAddress> gateway;  // unset: on the link

    auto operator<=>(const Route&) const = default;
};

struct Neighbour {
    IpAddress address;
    Mac mac;

    auto operator<=>(const Neighbour&) const = default;
};

struct PairSpec {
    std::string host_name;
    std::string pod_name;
    Mac host_mac;
    Mac pod_mac;
    std::optional<std::uint32_t> mtu;
};

// One thread. Every operation is one netlink request on a socket of its namespace; errors carry
// errno and say what could not be done. REQUIRES, for Side::kPod: opened with a namespace.
class Network {
public:
    Network() = default;
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;
    virtual ~Network() = default;

    // Both ends at once, down; the pod's end is made inside its namespace and never seen outside.
    virtual Result<void> create_pair(const PairSpec& spec) = 0;
    // The host's end, and with it the pod's, and all addresses, routes and neighbours of both.
    // False: there is none.
    virtual Result<bool> delete_link(const std::string& name) = 0;
    virtual Result<std::optional<Link>> find_link(Side side, const std::string& name) = 0;
    // The text that `ip link` shows; at most 255 bytes.
    virtual Result<void> set_alias(int host_ifindex, const std::string& alias) = 0;
    virtual Result<void> set_up(Side side, int ifindex) = 0;
    // Undoes net.ipv6.conf.NAME.disable_ipv6, which some runtimes set in new namespaces.
    virtual Result<void> enable_ipv6(Side side, const std::string& name) = 0;

    // IPv6 addresses are added without duplicate address detection, which would hold them back for
    // a second.
    virtual Result<void> add_address(Side side, int ifindex, const LinkAddress& address) = 0;
    virtual Result<void> add_neighbour(Side side, int ifindex, const Neighbour& neighbour) = 0;
    // In the main table. A route to the same destination is an error, not replaced.
    virtual Result<void> add_route(Side side, int ifindex, const Route& route) = 0;

    // What lies on the link; neighbours: the permanent ones; routes: unicast ones of the main
    // table.
    virtual Result<std::vector<LinkAddress>> addresses(Side side, int ifindex) = 0;
    virtual Result<std::vector<Neighbour>> neighbours(Side side, int ifindex) = 0;
    virtual Result<std::vector<Route>> routes(Side side, int ifindex) = 0;
};

// The host's side is the namespace of the calling thread. netns_path: the pod's, as CNI_NETNS names
// it; empty: the host's side alone. kNotFound: no such path, or no longer a namespace;
// kInvalidArgument: a file that is no network namespace, or the host's own.
Result<std::unique_ptr<Network>> open_network(const std::string& netns_path);

// Whether the calling thread's namespace has a link of the name. One system call.
[[nodiscard]] bool link_exists(const std::string& name);

}  // namespace sluice::cni
