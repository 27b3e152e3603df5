// Engines that are wrong on purpose: a comparison that does not catch them is worth nothing.
#pragma once

#include <array>

#include "tests/differential/compare.h"

namespace sluice::differential {

// How many packets each may live.
inline constexpr std::size_t kCanaryPackets = 20000;

inline void store(Outcome& outcome, Bytes& room) {
    room.assign(outcome.packet.begin(), outcome.packet.end());
    outcome.packet = room;
}

inline const std::array kCanaries{
    Canary{"lets pass what is to be dropped",
           [](const Step& step, Outcome& outcome, Bytes&) {
               if (outcome.verdict == oracle::Verdict::kDrop) {
                   outcome = {oracle::Verdict::kStack, packet_of(step.frame)};
               }
           }},
    Canary{"does not count the hop",
           [](const Step& step, Outcome& outcome, Bytes& room) {
               const bool v4 = outcome.packet.size() >= 20 && outcome.packet[0] / 16 == 4;
               if (step.place != Place::kUplink || outcome.verdict != oracle::Verdict::kSend || !v4) {
                   return;
               }
               store(outcome, room);
               ++room[8];
               oracle::put16(room, 10, 0);
               oracle::put16(room, 10, oracle::checksum(room, 0, room[0] % 16U * 4U));
           }},
    Canary{"forgets to fix a UDP checksum",
           [](const Step&, Outcome& outcome, Bytes& room) {
               if (outcome.verdict == oracle::Verdict::kSend && outcome.packet.size() >= 48 &&
                   outcome.packet[0] / 16 == 6 && outcome.packet[6] == oracle::kUdp) {
                   store(outcome, room);
                   room[46] ^= 1U;
               }
           }},
    Canary{"takes a drop for another",
           nullptr,
           [](const Step&, const image::Tables& tables) {
               if (tables.drops[SLUICE_DROP_NO_FLOW] > 0) {
                   --tables.drops[SLUICE_DROP_NO_FLOW];
                   ++tables.drops[SLUICE_DROP_FRAGMENT];
               }
           }},
    Canary{"counts a byte too many",
           nullptr,
           [](const Step&, const image::Tables& tables) {
               for (std::uint32_t i = 0; i < tables.header->backend_capacity; ++i) {
                   if (tables.served[i].packets == 20) {
                       ++tables.served[i].bytes;
                   }
               }
           }},
    Canary{"has a clock that stands", nullptr, nullptr, true, false},
    Canary{"misses one change in four", nullptr, nullptr, false, true},
};

}  // namespace sluice::differential
