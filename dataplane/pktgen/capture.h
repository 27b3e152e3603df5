// A capture file in memory, to be sent again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/base/result.h"

namespace sluice::pktgen {

inline constexpr std::uint64_t kMaxCaptureBytes = 4ULL << 30U;
inline constexpr std::uint64_t kMaxCaptureFrames = 1ULL << 26U;

struct CapturedFrame {
    std::uint64_t at_ns = 0;   // since the first one; never before the one in front of it
    std::uint64_t offset = 0;  // into Capture::bytes
    std::uint32_t bytes = 0;   // without the link's checksum, padded to the smallest frame
};

struct Capture {
    std::vector<std::uint8_t> bytes;
    std::vector<CapturedFrame> frames;  // one at least
    std::uint32_t longest = 0;          // bytes of a frame
    // When the capture may begin again: its length and one mean gap.
    std::uint64_t period_ns = 0;
};

// pcap and pcapng, of Ethernet. kInvalidArgument: not such a file, empty, or a frame that was cut short
// or is longer than `max_frame_bytes` (with the link's checksum); kResourceExhausted: too large.
Result<Capture> load_capture(const std::string& path, std::uint32_t max_frame_bytes);

}  // namespace sluice::pktgen
