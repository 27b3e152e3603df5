// Copies of chosen packets in a pcapng file: lcores match and copy into a ring, a thread of the capture writes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::dpdk {

inline constexpr std::uint32_t kCaptureSlots = 1024;  // packets between lcores and the writer
inline constexpr std::uint32_t kMaxCapturePackets = 10'000'000;
inline constexpr std::uint32_t kMaxSnapLength = 262144;

// Packets of both directions match: what is from `source` to `destination`, and what is the other way round.
// A packet that the engine translates is seen as it came and as it left, by whichever of the two matches.
struct CaptureFilter {
    IpAddress source;       // unspecified: any
    IpAddress destination;
    std::uint16_t source_port = 0;  // host order; 0: any
    std::uint16_t destination_port = 0;
    std::uint8_t protocol = 0;      // 0: any
};

// Whether a frame (Ethernet header, tags) matches. Cut and broken frames match a filter that asks for nothing only.
bool matches(const CaptureFilter& filter, const std::uint8_t* data, std::size_t length);

// pcapng (draft-ietf-opsawg-pcapng) as bytes; little-endian, nanoseconds.
std::string pcapng_header(const std::vector<std::string>& interfaces, std::uint32_t snap_length);
// direction: 1 received, 2 sent.
void append_pcapng_packet(std::string* out, std::uint32_t interface, std::uint64_t time_ns, const std::uint8_t* data,
                          std::uint32_t captured, std::uint32_t length, unsigned direction);

}  // namespace sluice::dpdk
