// Routes of this network namespace's main table that carry one protocol number, which says whose they are. libnl stays
// behind the .cc file. Any thread; each call is some messages to the kernel.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::netlink {

// Ours; numbers below 5 are the kernel's and people's, those of routing programs begin at 8 (rtnetlink.h).
inline constexpr std::uint8_t kRouteProtocol = 83;
// Larger than what people's routes have by default in either family: theirs to the same range go first, and ours never
// take their place.
inline constexpr std::uint32_t kRouteMetric = 2'048;
// More routes of one protocol than this are refused rather than half listed.
inline constexpr std::size_t kMaxRoutes = 100'000;

struct Route {
    IpPrefix destination;
    // Senders are told that there is nothing (ICMP); without gateway and link.
    bool unreachable = false;
    IpAddress gateway;
    int ifindex = 0;
    auto operator<=>(const Route&) const = default;
};

// In order of destination.
Result<std::vector<Route>> list_routes(std::uint8_t protocol = kRouteProtocol);
// Adds the route, or puts it in the place of ours to the same destination.
Result<void> put_route(const Route& route);
// That it was gone already is no error.
Result<void> remove_route(const Route& route);

// Where the kernel would send a packet for the address.
struct Hop {
    bool local = false;   // the address is this machine's own
    bool direct = false;  // on a link of this machine: no router between
    int ifindex = 0;
};
// kNotFound when there is no way at all.
Result<Hop> find_hop(const IpAddress& address);

}  // namespace sluice::netlink
