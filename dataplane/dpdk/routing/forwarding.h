// Where packets go next: routes, neighbours and interfaces as an immutable snapshot that lcores
// read without locks. The control thread makes a new one for each change, publishes it with one
// store, and frees the former after a quiescent state of all lcores (rte_rcu_qsbr).
//
//   destination -> prefixes (prefixes.h) --+-> nowhere, the kernel
//                                          +-> a gateway's hop
//                                          '-> on a link -> neighbour's hop (hash_table.h), or the
//                                          link's own
//
// A snapshot shares with the one before it what has not changed: a neighbour's change copies a
// block of hops and no routes.
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
// Of routes, each with its interface.
inline constexpr std::size_t kMaxGateways = 1U << 16U;

enum class HopKind : std::uint8_t {
    kForward,     // by `out` with the Ethernet header `l2`
    kUnresolved,  // by `out`; the neighbour's address is not known
    kLocal,  // the kernel's: an address of this node, a broadcast, multicast or link-local one, a
             // route kToKernel
    kNone,   // no route
};

// Half a cache line, and never across two.
struct alignas(32) Hop {
    HopKind kind = HopKind::kNone;
    std::uint8_t l2_length = 0;  // 14, or 18 with a tag
    std::uint16_t out = 0;       // interface
    std::uint16_t mtu = 0;       // of IP packets on it
    std::uint8_t l2[18] = {};    // destination, source, tag, ethertype
    std::uint32_t neighbour = kNoNeighbour;
};
static_assert(sizeof(Hop) == 32);

// In a route's place of an interface: the kernel takes it from here, by a device that the engine
// does not have, or to say that there is no way.
inline constexpr std::uint16_t kToKernel = kMaxInterfaces;

struct Route {
    IpPrefix prefix;
    IpAddress gateway;            // unspecified: on the link
    std::uint16_t interface = 0;  // or kToKernel
    std::uint32_t metric = 0;  // the lowest wins; of equal ones the lowest gateway, then interface
    auto operator<=>(const Route&) const = default;
};

// Place i of the neighbours is `Hop::neighbour` i. An unspecified address (any field else is then
// ignored) leaves the place free, so that places keep their numbers.
struct Neighbour {
    std::uint16_t interface = 0;
    IpAddress address;
    Mac mac{};
    bool resolved = false;
    bool operator==(const Neighbour&) const = default;
};
struct NeighbourChange {
    std::uint32_t place = 0;
    Neighbour neighbour;  // unspecified address: the place becomes free
};

class Forwarding {
public:
    // kInvalidArgument names the interface, route or neighbour and what is wrong with it;
    // kResourceExhausted a limit. Routes to the prefixes of interfaces' addresses, and local ones,
    // follow from the interfaces.
    static Result<std::unique_ptr<Forwarding>> make(std::vector<Interface> interfaces,
                                                    std::span<const Route> routes,
                                                    std::span<const Neighbour> neighbours,
                                                    std::uint64_t generation);
    virtual ~Forwarding() = default;

    // The same but for some neighbours; this snapshot stays as it is. Errors as of make(); also
    // kInvalidArgument for a place beyond kMaxNeighbours. Cost: the hops' blocks with a change,
    // and, if an address came or went, a copy of the table of addresses of its family.
    [[nodiscard]] virtual Result<std::unique_ptr<Forwarding>> change(
        std::span<const NeighbourChange> changes, std::uint64_t generation) const = 0;

    // Longest prefix. Any thread. The hop lives as long as the snapshot. v6: the address's family.
    // An on-link destination that is no known neighbour gives a shared hop of kind kUnresolved with
    // kNoNeighbour.
    [[nodiscard]] virtual const Hop& lookup(const sluice_address& destination, bool v6) const = 0;

    // Who is to be asked for: the gateway, or the destination itself if it is on a link. False with
    // kLocal and kNone. For the control thread, which resolves what lookup() gives as kUnresolved.
    virtual bool next_hop(const sluice_address& destination, bool v6, std::uint16_t* interface,
                          IpAddress* address) const = 0;

    [[nodiscard]] virtual std::span<const Interface> interfaces() const = 0;
    // Rises with each snapshot: caches of hops know by it that they are stale.
    [[nodiscard]] virtual std::uint64_t generation() const = 0;
    // The interface that a frame of this port and VLAN (0: none) belongs to; kMaxInterfaces if to
    // none.
    [[nodiscard]] virtual std::size_t interface_of(std::uint16_t port,
                                                   std::uint16_t vlan) const = 0;
    // Of tables, for people: routes with their markers, neighbours, hops.
    [[nodiscard]] virtual std::size_t bytes() const = 0;
};

}  // namespace sluice::dpdk
