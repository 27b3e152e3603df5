// From a decision to the changed frame. Internal to this folder.
#pragma once

#include <cstdint>

#include "dataplane/dpdk/pipeline/work.h"

namespace sluice::dpdk {

enum class Way : std::uint8_t { kForward, kLocal, kTooBig };

// Where `length` bytes of IP packet to the destination go; work.hop is then how.
Way route(Work& work, const sluice_address& destination, std::uint32_t length, bool v6);

// refuse.cc. What work.answer says of errors, else a refusal of the packet, out where it came in.
void reply_to(Work& work, Frame& frame, bool v6);
// Counts a refusal or a drop of a packet that no flow takes (work.now.reason) and carries it out.
void turn_away(Work& work, Frame& frame, bool refuse, bool v6);
// Counts a packet of a flow that is answered instead of sent on; work.answer says by what.
void answer(Work& work, Frame& frame, std::uint32_t reason, bool v6);

// translate.cc. Rewrites the packet of work.now to the tuple of its hit and sends it on.
void translate(Work& work, Frame& frame, bool v6);
// Changes addresses, ports and time to live in place; of an ICMP error to what is in work.quote. Returns 0 or a reason.
std::uint32_t rewrite(Work& work, Frame& frame, const sluice_address& src, const sluice_address& dst,
                      std::uint32_t ports_be, std::uint8_t ttl, bool v6);

// direct.cc. A packet of a flow by tunnel or option: to the node of its backend.
void send_direct(Work& work, Frame& frame, bool v6);
enum class Received : std::uint8_t { kAsIs, kAgain, kDropped };
// A packet from outside that another node sent for direct return. kAgain: it has changed, or its record has: parse it
// again. `parsed`: enum sluice_parse.
Received receive_direct(Work& work, Frame& frame, int parsed);

// Bytes of the frame as they are counted: Ethernet header and IP packet, without tags and what pads it behind.
inline std::uint32_t counted_bytes(const sluice_packet& packet) {
    return SLUICE_ETH_HEADER + packet.end - packet.l3;
}

}  // namespace sluice::dpdk
