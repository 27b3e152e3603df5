// How a frame that is complete from its IP header on leaves. Internal to this folder.
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/dpdk/pipeline/work.h"

namespace sluice::dpdk {

// Moves the frame's beginning by `bytes`: forward if positive. REQUIRES: there is as much headroom, or as much frame.
inline void move_head(Frame& frame, std::int32_t bytes) {
    frame.data += bytes;
    frame.length = static_cast<std::uint32_t>(static_cast<std::int32_t>(frame.length) - bytes);
    frame.headroom = static_cast<std::uint16_t>(frame.headroom + bytes);
}

// Sends the frame, whose IP header lies at offset `l3`, by the hop. REQUIRES: kForward or kUnresolved. False, and the
// frame as it was, if there is no room for the Ethernet header.
inline bool leave_by(Frame& frame, const Hop& hop, std::uint32_t l3, bool v6) {
    std::uint8_t* const ip = frame.data + l3;
    frame.out = hop.out;
    frame.neighbour = hop.neighbour;
    if (hop.l2_length != 0) {
        const std::uint32_t size = hop.l2_length;
        if (size > l3 + frame.headroom) return false;
        if (size != l3) move_head(frame, static_cast<std::int32_t>(l3) - static_cast<std::int32_t>(size));
        // In one piece for the header that nearly all have, and in two that overlap for one with a tag.
        std::memcpy(ip - SLUICE_ETH_HEADER, hop.l2 + (size - SLUICE_ETH_HEADER), SLUICE_ETH_HEADER);
        if (size != SLUICE_ETH_HEADER) std::memcpy(ip - size, hop.l2, size);
    } else {
        // Nobody has said yet how it leaves: a plain header, its addresses still those that the frame came with.
        if (l3 != SLUICE_ETH_HEADER) {
            std::memmove(ip - SLUICE_ETH_HEADER, frame.data, 12);
            move_head(frame, static_cast<std::int32_t>(l3) - SLUICE_ETH_HEADER);
        }
        sluice_store16(ip - 2, v6 ? SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6)
                                  : SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4));
    }
    frame.verdict = hop.kind == HopKind::kForward ? Verdict::kForward : Verdict::kUnresolved;
    return true;
}

}  // namespace sluice::dpdk
