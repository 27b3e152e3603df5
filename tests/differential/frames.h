// Frames for the differential tests, built from values; right in every checksum unless asked otherwise.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/oracle/packet.h"

namespace sluice::differential {

using oracle::Bytes;
using oracle::Tuple;

// splitmix64 (Steele, Lea, Flood 2014): the same everywhere, so that a seed says all.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next();
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <class List>
    auto& pick(List& list) {
        return list[below(std::size(list))];
    }

private:
    std::uint64_t state_;
};

struct Recipe {
    Tuple tuple;
    std::uint8_t flags = 0x02;       // of TCP
    std::uint8_t chunk = 1;          // of SCTP
    std::uint32_t seq = 1000;
    std::uint32_t ack = 0;
    std::uint8_t ttl = 64;
    std::uint8_t tos = 0;
    std::uint32_t payload = 7;       // bytes behind the transport header
    std::uint32_t options = 0;       // IPv4: words of no-operations
    std::vector<std::uint8_t> extensions;  // IPv6: header numbers of 8 bytes each
    bool whole_only = true;
    std::uint32_t id = 1;
    bool no_checksum = false;        // of UDP and SCTP
    std::uint8_t icmp_type = 8;      // of ICMP: an echo request, by default
    std::uint32_t padding = 0;       // behind the packet
};
Bytes build(const Recipe& recipe);

// Pieces of the frame's packet with `size` bytes each (a multiple of 8) behind the IP header.
std::vector<Bytes> cut(const Bytes& frame, std::size_t size, std::uint32_t id);
// An ICMP error about the packet in `about`.
Bytes icmp_error(const IpAddress& src, const IpAddress& dst, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                 const Bytes& about, std::size_t quoted);
// As another node sends it: in a tunnel to the pod, or with an option and the pod as its destination.
Bytes tunnelled(const Bytes& frame, const IpAddress& node, const IpAddress& pod, std::uint16_t port);
Bytes with_option(const Bytes& frame, const IpAddress& pod, std::uint16_t port);
// With an 802.1Q tag.
Bytes tagged(const Bytes& frame, std::uint16_t vlan);

}  // namespace sluice::differential
