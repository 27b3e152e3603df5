// Searches over runs: throughput (RFC 2544, 26.1), and connections a second of a stateful device.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {

struct SearchOptions {
    std::vector<std::uint32_t> frame_bytes{64, 128, 256, 512, 1024, 1280, 1518};  // RFC 2544, 9.1
    double trial_s = 60;             // RFC 2544, 24
    double loss_tolerance = 0;       // of packets sent; 0 as the RFC wants
    double resolution = 0.005;       // of the highest rate: when to stop
    double max_packets_per_second = 0;  // 0: what a trial without a limit reaches
    std::uint32_t repeat_at_end = 3;    // trials at the rate found; all must pass, or the search goes on below it
};

struct Trial {
    double offered_pps = 0;
    bool passed = false;
    RunResult result;
};

struct ThroughputResult {
    std::uint32_t frame_bytes = 0;
    double packets_per_second = 0;  // the highest without (or with tolerated) loss; 0: none
    double bits_per_second = 0;     // layer 1
    std::vector<Trial> trials;
};

struct ConnectionRateResult {
    double connections_per_second = 0;
    std::vector<Trial> trials;
};

using Progress = std::function<bool(const Trial&)>;  // false: stop

Result<std::vector<ThroughputResult>> search_throughput(Runner& runner, const Profile& profile,
                                                        const SearchOptions& options, const Progress& progress);
// REQUIRES: profile.life_cycle is kStateful. A trial passes when all connections that were opened were established and
// closed, none reset or timed out beyond the tolerance.
Result<ConnectionRateResult> search_connection_rate(Runner& runner, const Profile& profile,
                                                    const SearchOptions& options, const Progress& progress);

}  // namespace sluice::pktgen
