// Which of the image's addresses are answered for by ARP and ND, for there is no kernel in the way
// that would (docs/adr/0011): external and load-balancer addresses that lie in a prefix of an
// announcing interface.
//
// Not among them: ClusterIPs; the node's own addresses; an address all of whose frontends are to be
// dropped here, because their policy is Local and the endpoints are elsewhere: another node answers
// for it.
//
// The image's frontends are read a slice at a time, so that a table of a million costs no call more
// than some hundred microseconds; between two passes an entry is believed only while its frontend
// is published.
//
// The control thread's alone. Memory: kMaxAnnounced entries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/dpdk/routing/counters.h"
#include "dataplane/dpdk/routing/interfaces.h"
#include "dataplane/image/layout.h"

namespace sluice::dpdk {

inline constexpr std::size_t kMaxAnnounced = 65'536;
inline constexpr std::uint32_t kFrontendsPerStep = 32'768;

class Announced {
public:
    explicit Announced(RoutingCounters& counters) : counters_(counters) {}

    // The next step begins anew.
    void use(const image::Tables& tables);
    void use(std::span<const Interface> interfaces);

    // Whether a step has something to read: the image or the interfaces have changed since the last
    // whole pass.
    [[nodiscard]] bool behind() const;
    // Reads at most kFrontendsPerStep frontends. Never blocks.
    void step();

    // Whether the interface answers for the address at this moment.
    [[nodiscard]] bool owns(std::uint16_t interface, const IpAddress& address) const;
    // What was added since the last call: to be announced.
    std::vector<std::pair<std::uint16_t, IpAddress>> take_added();
    // All, in order.
    [[nodiscard]] std::vector<std::pair<std::uint16_t, IpAddress>> list() const;

private:
    struct Entry {
        std::uint32_t frontend = 0;  // one of its frontends
        std::uint64_t pass = 0;
    };
    using Key = std::pair<std::uint16_t, IpAddress>;

    [[nodiscard]] bool stands(std::uint32_t frontend, const IpAddress& address) const;
    void consider(std::uint32_t frontend);
    void finish();

    RoutingCounters& counters_;
    image::Tables tables_;
    std::vector<Interface>
        interfaces_;  // index as everywhere; those that do not announce have no addresses
    std::map<Key, Entry> entries_;
    std::vector<Key> added_;
    std::uint32_t capacity_ = 0;  // frontends; what the header says later is not looked at
    std::uint32_t next_ = 0;      // the frontend that the next step begins with
    std::uint64_t pass_ = 1;
    std::uint64_t began_with_ = 0;     // generation of the image when the pass began
    std::uint64_t finished_with_ = 0;  // of the last whole pass; odd: none
    bool running_ = false;
};

}  // namespace sluice::dpdk
