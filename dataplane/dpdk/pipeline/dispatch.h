// Which lcore a frame belongs to, so that both directions of a flow, its ICMP errors and its fragments meet on one.
//
// A client's packet to a frontend: by the client's address and port. An answer that carries the client's own address:
// by the same, now its destination. An answer to the node's own address on a source port of ours: by the port, for
// each lcore has its share of them. An ICMP error: by the packet it quotes. A later fragment: as its first one, which
// is remembered. Anything else: by the source.
#pragma once

#include <array>
#include <cstdint>

#include "api/abi/image.h"
#include "dataplane/dpdk/pipeline/frame.h"
#include "dataplane/dpdk/pipeline/pipeline.h"
#include "dataplane/image/layout.h"

namespace sluice::dpdk {

struct PortShare {
    std::uint16_t first = 0;  // host order, both ends included
    std::uint16_t last = 0;
};

// The SNAT ports of a lcore: equal runs of the image's range, the last one takes the rest.
// REQUIRES: lcores > 0, lcore < lcores, and a range of at least as many ports.
PortShare share_of_ports(std::uint16_t first, std::uint16_t last, std::uint32_t lcore, std::uint32_t lcores);

// What tells, beyond the image, whose a packet is that is addressed to no frontend.
struct DispatchFlows {
    // Of all forwarding lcores, in their order; read only. Without them these go astray: a connection whose frontend
    // was removed, and a direct connection from the very port by which its client also reaches that backend by a
    // service.
    std::span<const FlowMemory> tables;
    Now now;  // without it later fragments are told by datagrams that may be long over
};

// What a lcore remembers of destinations: whether they are frontends, as long as nothing is published. Most packets
// are for few destinations, and a look at the image for each would be half of what dispatch costs. One thread's.
class FrontendMemo {
public:
    // For an image in other memory.
    void clear() { places_ = {}; }

    struct Place {
        sluice_address address{};
        std::uint64_t generation = 1;  // of the image when it was looked at; odd: never
        std::uint16_t port_be = 0;
        std::uint8_t protocol = 0;
        bool frontend = false;
    };
    // The one place where this destination may be remembered.
    Place& place_of(const sluice_address& address, std::uint16_t port_be) {
        std::uint32_t h = (address.word_be[3] ^ address.word_be[1]) * 0x9e3779b1U;
        h = (h ^ port_be) * 0x85ebca6bU;
        return places_[h >> (32U - kPlaceBits)];
    }

private:
    static constexpr unsigned kPlaceBits = 8;
    std::array<Place, 1U << kPlaceBits> places_{};
};

// 0 <= result < lcores. Broken frames go anywhere. No allocation; reads the frame's headers, the image, and of flow
// tables the heads of one or two buckets. Remembers first fragments in shared.datagrams. Any thread.
std::uint32_t lcore_of(const Frame& frame, const image::Tables& tables, const SharedMemory& shared,
                       std::uint32_t lcores, const DispatchFlows& flows = {}, FrontendMemo* memo = nullptr);

}  // namespace sluice::dpdk
