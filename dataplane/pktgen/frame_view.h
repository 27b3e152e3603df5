// Reads a frame of any origin: where its layers are, whether they are whole. Everything in it is
// hostile; nothing beyond its length is touched.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/pktgen/flows.h"
#include "dataplane/pktgen/headers.h"

namespace sluice::pktgen {

enum class FrameKind : std::uint8_t {
    kUdp,
    kTcp,
    kArp,
    kIcmpv6,
    kOther,  // another protocol, a fragment, cut short, or with headers that do not add up
};

struct FrameView {
    FrameKind kind = FrameKind::kOther;
    bool v6 = false;
    bool tunnelled = false;           // inside of one or two IP-in-IP headers, which were taken off
    const std::uint8_t* frame = nullptr;
    const std::uint8_t* l3 = nullptr;  // of ARP its own header
    const std::uint8_t* l4 = nullptr;
    const std::uint8_t* payload = nullptr;
    std::uint32_t l4_bytes = 0;        // header and payload
    std::uint32_t payload_bytes = 0;

    // As the headers say; REQUIRES: kUdp or kTcp.
    [[nodiscard]] FlowTuple tuple() const;
    [[nodiscard]] std::uint8_t tcp_flags() const { return l4[13]; }
    [[nodiscard]] std::uint32_t tcp_sequence() const { return load32(l4 + 4); }
    [[nodiscard]] std::uint32_t tcp_acknowledged() const { return load32(l4 + 8); }
    // Whether the checksum of UDP, TCP or ICMPv6 is right. A UDP checksum of 0 is right over IPv4.
    [[nodiscard]] bool checksum_good() const;
};

// Up to two VLAN tags, two tunnel headers and eight extension headers of IPv6 are passed over.
FrameView view_frame(const std::uint8_t* frame, std::size_t bytes);

}  // namespace sluice::pktgen
