// Where packets go next: routes, neighbours and interfaces as an immutable snapshot that lcores read without locks.
// The control thread makes a new one for each change, publishes it with one store, and frees the former after a
// quiescent state of all lcores (rte_rcu_qsbr).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "api/abi/image.h"
#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "dataplane/dpdk/routing/interfaces.h"

namespace sluice::dpdk {

inline constexpr std::size_t kMaxRoutes = 1U << 20U;
inline constexpr std::size_t kMaxNeighbours = 1U << 16U;

enum class HopKind : std::uint8_t {
    kForward,     // by `out` with the Ethernet header `l2`
    kUnresolved,  // by `out`; the neighbour's address is not known
    kLocal,       // an address of this node: the kernel's
    kNone,        // no route
};

struct Hop {
    HopKind kind = HopKind::kNone;
    std::uint8_t l2_length = 0;  // 14, or 18 with a tag
    std::uint16_t out = 0;       // interface
    std::uint16_t mtu = 0;       // of IP packets on it
    std::uint8_t l2[18] = {};    // destination, source, tag, ethertype
    std::uint32_t neighbour = kNoNeighbour;
};

struct Route {
    IpPrefix prefix;
    IpAddress gateway;            // unspecified: on the link
    std::uint16_t interface = 0;
    std::uint32_t metric = 0;     // the lowest wins
    auto operator<=>(const Route&) const = default;
};

struct Neighbour {
    std::uint16_t interface = 0;
    IpAddress address;
    Mac mac{};
    bool resolved = false;
};

class Forwarding {
public:
    // kInvalidArgument names the interface, route or neighbour and what is wrong with it; kResourceExhausted a limit.
    // Routes to the prefixes of interfaces' addresses, and local ones, follow from the interfaces.
    static Result<std::unique_ptr<Forwarding>> make(std::vector<Interface> interfaces, std::span<const Route> routes,
                                                    std::span<const Neighbour> neighbours, std::uint64_t generation);
    virtual ~Forwarding() = default;

    // Longest prefix. Any thread. The hop lives as long as the snapshot. v6: the address's family.
    // An on-link destination that is no known neighbour gives a shared hop of kind kUnresolved with kNoNeighbour.
    [[nodiscard]] virtual const Hop& lookup(const sluice_address& destination, bool v6) const = 0;
    [[nodiscard]] virtual std::span<const Interface> interfaces() const = 0;
    // Rises with each snapshot: caches of hops know by it that they are stale.
    [[nodiscard]] virtual std::uint64_t generation() const = 0;
    // The interface that a frame of this port and VLAN (0: none) belongs to; kMaxInterfaces if to none.
    [[nodiscard]] virtual std::size_t interface_of(std::uint16_t port, std::uint16_t vlan) const = 0;
};

}  // namespace sluice::dpdk
