#include "dataplane/ebpf/flow_tick.h"

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>

namespace sluice::dataplane {

std::uint16_t current_tick(std::uint32_t shift) {
    // The kernel says its jiffies in a file for root; else they follow from the clock: they began five minutes before
    // their low 32 bits wrap.
    std::ifstream in("/proc/timer_list");
    std::string line;
    constexpr int kLines = 64;
    for (int i = 0; i < kLines && std::getline(in, line); ++i) {
        if (line.starts_with("jiffies: ")) {
            return static_cast<std::uint16_t>(std::strtoull(line.c_str() + 9, nullptr, 10) >> shift);
        }
    }
    timespec jiffy{};
    timespec now{};
    constexpr std::uint64_t kNsPerSecond = 1000000000;
    if (clock_getres(CLOCK_MONOTONIC_COARSE, &jiffy) != 0 || jiffy.tv_nsec <= 0 ||
        clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return 0;
    }
    const auto tick_ns = static_cast<std::uint64_t>(jiffy.tv_nsec);
    const std::uint64_t uptime_ns =
        static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(now.tv_nsec);
    const std::uint64_t jiffies =
        (std::uint64_t{1} << 32U) - 300 * (kNsPerSecond / tick_ns) + uptime_ns / tick_ns;
    return static_cast<std::uint16_t>(jiffies >> shift);
}

}  // namespace sluice::dataplane
