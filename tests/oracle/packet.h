// Packets as the oracle sees them: read byte by byte from the frame, written with checksums summed from scratch.
//
// Slow and plain on purpose, and nothing here is shared with bpf/lib or dataplane: what both get wrong in one place
// would not be noticed. RFC 791, 8200, 793, 768, 9260, 792, 4443.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "api/abi/drop_reasons.h"
#include "api/base/ip_address.h"

namespace sluice::oracle {

using Bytes = std::vector<std::uint8_t>;
using View = std::span<const std::uint8_t>;

inline constexpr std::uint8_t kIcmp = 1, kIpip = 4, kTcp = 6, kUdp = 17, kIpv6 = 41, kIcmpv6 = 58, kSctp = 132;
inline constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;
inline constexpr std::uint16_t kEtherIpv4 = 0x0800, kEtherIpv6 = 0x86dd, kEtherVlan = 0x8100, kEtherQinq = 0x88a8;

// Who talks to whom; ports are 0 where the protocol has none.
struct Tuple {
    IpAddress src;
    IpAddress dst;
    std::uint16_t sport = 0;
    std::uint16_t dport = 0;
    std::uint8_t protocol = 0;
    auto operator<=>(const Tuple&) const = default;
    // What answers it.
    [[nodiscard]] Tuple turned() const { return {dst, src, dport, sport, protocol}; }
};

enum class Fragment : std::uint8_t { kWhole, kFirst, kLater };

enum class Shape : std::uint8_t {
    kPorts,    // the tuple is complete
    kNoPorts,  // another protocol, ICMP, or a later fragment
    kBadL4,    // addresses and protocol are there, the rest is broken: `reason` says how
    kNotOurs,  // no IP, or broken beyond telling where it goes
};

struct Packet {
    Shape shape = Shape::kNotOurs;
    sluice_drop_reason reason = SLUICE_DROP_NONE;
    bool v6 = false;
    Tuple tuple;
    std::size_t l3 = 0;   // offsets in the frame
    std::size_t l4 = 0;
    std::size_t end = 0;  // behind the IP packet
    Fragment fragment = Fragment::kWhole;
    std::uint32_t fragment_id = 0;
    bool whole_only = false;  // no router may cut it up
    std::uint8_t ttl = 0;
    std::uint8_t flags = 0;  // of TCP; of SCTP what its first chunk is like in TCP
    std::uint8_t icmp_type = 0;

    [[nodiscard]] bool has(std::uint8_t bits, std::uint8_t of) const { return (flags & of) == bits; }
};

std::uint32_t get16(View bytes, std::size_t at);
std::uint32_t get32(View bytes, std::size_t at);
void put16(Bytes& bytes, std::size_t at, std::uint32_t value);
void put32(Bytes& bytes, std::size_t at, std::uint32_t value);

// The IP packet whose header is at l3 of the frame.
Packet read_ip(View frame, std::size_t l3, std::uint16_t ethertype);

// One host somewhere: not broadcast, multicast, loopback or none.
bool is_host(const IpAddress& address);

// The checksum (not inverted twice: as it stands in a header) of bytes from..to, with `extra` words' sum added.
std::uint16_t checksum(View bytes, std::size_t from, std::size_t to, std::uint64_t extra = 0);
std::uint64_t pseudo_header(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::size_t length);
std::uint32_t crc32c(View bytes);

// Whether every checksum of a whole packet is right: IPv4 header, TCP, UDP (none is right in IPv4), SCTP (0: to be made
// by the device), ICMP. Of fragments the IP header alone.
bool checksums_right(View frame, const Packet& packet);

// The packet of `frame` with other addresses, ports and time to live. A transport checksum that was right is summed
// anew; one that was not is as wrong as before; of a fragment it changes with what changed.
Bytes rewritten(View frame, const Packet& packet, const Tuple& to, std::uint8_t ttl);

// The ICMP error in `frame` about a packet as its sender knows it: `quoted` is what the quoted packet becomes, src and
// dst whom the error is from and to. nullopt-like: empty if it quotes nothing that can be translated.
struct Quote {
    bool usable = false;
    Tuple tuple;
    std::size_t ip = 0;      // offset of the quoted IP header in the frame
    std::size_t l4 = 0;      // of the quoted transport header
    std::size_t l4_length = 0;  // bytes it has by its IP header
};
Quote read_quote(View frame, const Packet& packet);
Bytes rewritten_error(View frame, const Packet& packet, const Quote& quote, const Tuple& quoted, const IpAddress& src,
                      const IpAddress& dst, std::uint8_t ttl);

// Answers in place of a backend, from the IP header on.
Bytes reset_for(View frame, const Packet& packet);
struct IcmpAnswer {
    std::uint8_t type = 0;
    std::uint8_t code = 0;
    std::uint32_t rest = 0;
};
// Empty: its headers are too long to quote.
Bytes icmp_error_for(View frame, const Packet& packet, const IcmpAnswer& answer);

// Direct return on the wire.
Bytes in_tunnel(View frame, const Packet& packet, const IpAddress& src, const IpAddress& dst, std::uint16_t port);
// Empty: no room for the option. The whole frame, for rewritten() is next.
Bytes with_option(View frame, const Packet& packet);

}  // namespace sluice::oracle
