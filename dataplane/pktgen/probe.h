// What a generated packet carries in its payload, so that the receiver can tell whose it is, which one
// and when it left: 18 bytes, which is what a 64-byte frame of UDP over IPv4 has room for.
//
//     0       2     4          8            12             18
//     | magic | run | stream   | sequence   | time         |
//
// Little endian throughout. A stream is a flow of one sender: sender * flows + flow, so that each
// sequence has one writer. Time is the lower 48 bits of the time stamp counter (a day at 3 GHz).
// Without probes the payload begins with the first four bytes alone, under another magic: the
// receiver can then count what is ours and nothing more.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/pktgen/sums.h"

namespace sluice::pktgen {

inline constexpr std::uint16_t kProbeMagic = 0x534c;  // "LS"
inline constexpr std::uint16_t kMarkMagic = 0x534d;   // "MS": a packet without a probe
inline constexpr std::size_t kProbeBytes = 18;
inline constexpr std::size_t kMarkBytes = 4;
inline constexpr unsigned kProbeTimeBits = 48;

static_assert(std::endian::native == std::endian::little, "probes are written as they lie");

struct Probe {
    std::uint16_t run = 0;
    std::uint32_t stream = 0;
    std::uint32_t sequence = 0;  // of the stream, from 0, wrapping
    std::uint64_t time = 0;      // only kProbeTimeBits of it travel
};

// Writes it and returns the partial sum of what was written. REQUIRES: `out` has kProbeBytes and lies
// at an even distance from the beginning of the layer-4 header.
inline std::uint64_t write_probe(std::uint8_t* out, const Probe& probe) {
    const std::uint64_t head = std::uint64_t{kProbeMagic} | std::uint64_t{probe.run} << 16U |
                               std::uint64_t{probe.stream} << 32U;
    const std::uint64_t body = std::uint64_t{probe.sequence} | probe.time << 32U;
    const auto tail = static_cast<std::uint16_t>(probe.time >> 32U);
    std::memcpy(out, &head, 8);
    std::memcpy(out + 8, &body, 8);
    std::memcpy(out + 16, &tail, 2);
    return sum_word(head) + sum_word(body) + tail;
}

// REQUIRES: kProbeBytes. The magic is not looked at.
inline Probe read_probe(const std::uint8_t* in) {
    std::uint64_t head = 0;
    std::uint64_t body = 0;
    std::uint16_t tail = 0;
    std::memcpy(&head, in, 8);
    std::memcpy(&body, in + 8, 8);
    std::memcpy(&tail, in + 16, 2);
    return {static_cast<std::uint16_t>(head >> 16U), static_cast<std::uint32_t>(head >> 32U),
            static_cast<std::uint32_t>(body), body >> 32U | std::uint64_t{tail} << 32U};
}

// How much later `now` is than a probe's time; 0 if the clocks say that it is earlier.
inline std::uint64_t probe_age(std::uint64_t now, std::uint64_t time) {
    const std::uint64_t age = (now - time) & ((1ULL << kProbeTimeBits) - 1);
    return age >> (kProbeTimeBits - 1) != 0 ? 0 : age;
}

}  // namespace sluice::pktgen
