// Searches over runs: throughput (RFC 2544, 26.1), and connections a second of a stateful device.
//
// Both halve an interval of rates: it fails at the upper end and passes at the lower one. What was
// found is tried again, and the search goes on below it if it does not hold: a device that loses
// now and then has no such throughput.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {

// Of one frame size, or of a search over connections. A device that behaves differently each time
// would be tried without end; at the limit the result is what held so far, and `settled` is false.
inline constexpr std::size_t kMaxTrials = 64;
inline constexpr std::size_t kMaxFrameSizes = 64;
// A trial that sent less than this share of what it should have says nothing about the rate it was
// for.
inline constexpr double kReached = 0.99;
// Preamble, start and gap of a frame on an Ethernet.
inline constexpr std::uint32_t kLinkOverheadBytes = 20;

struct SearchOptions {
    std::vector<std::uint32_t> frame_bytes{64, 128, 256, 512, 1024, 1280, 1518};  // RFC 2544, 9.1
    double trial_s = 60;                                                          // RFC 2544, 24
    double loss_tolerance = 0;  // of packets sent, or connections opened; 0 as the RFC wants
    double resolution = 0.005;  // of the highest rate: when to stop
    double max_packets_per_second = 0;      // 0: what a trial without a limit reaches
    double max_connections_per_second = 0;  // the same
    double line_bits_per_second =
        0;  // of the slowest link on the way; no frames beyond it are tried. 0: not known
    std::uint32_t repeat_at_end =
        3;                // trials at the rate found; all must pass, or the search goes on below it
    double settle_s = 5;  // between two trials; RFC 2544, 23
    // Waits so long; false ends the search. Empty: sleeps.
    std::function<bool(double)> wait;
};

struct Trial {
    // Packets or connections a second. 0: as many as possible.
    double offered_per_second = 0;
    double reached_per_second = 0;
    std::uint64_t failed = 0;  // packets lost, or connections that were not closed as they should
    bool passed = false;
    RunResult result;
};

struct ThroughputResult {
    std::uint32_t frame_bytes = 0;
    double packets_per_second = 0;  // the highest without (or with tolerated) loss; 0: none
    double bits_per_second = 0;     // layer 1
    // The line's rate in such frames if it is known, else what the first trial reached.
    double ceiling_packets_per_second = 0;
    bool ceiling_is_line = false;
    bool settled = false;             // false: stopped, or kMaxTrials
    std::optional<std::size_t> best;  // of trials: the last one that passed at the rate found
    std::vector<Trial> trials;
};

struct ConnectionRateResult {
    double connections_per_second = 0;
    double ceiling_connections_per_second = 0;  // what the first trial reached
    bool settled = false;
    std::optional<std::size_t> best;
    std::vector<Trial> trials;
};

using Progress = std::function<bool(const Trial&)>;  // after each trial; false: stop

// kInvalidArgument names the option or the profile's field; kOutOfRange: a trial sent nothing at
// all. An error of the runner ends the search. A search that was stopped (by progress, observer or
// wait) returns what it has. The rates, the sizes and the duration of the profile are not used.
Result<std::vector<ThroughputResult>> search_throughput(Runner& runner, const Profile& profile,
                                                        const SearchOptions& options,
                                                        const Progress& progress,
                                                        const Observer& observer = {});
// REQUIRES: profile.life_cycle is kStateful. A trial passes when all connections that were opened
// were established and closed, none reset or timed out beyond the tolerance.
Result<ConnectionRateResult> search_connection_rate(Runner& runner, const Profile& profile,
                                                    const SearchOptions& options,
                                                    const Progress& progress,
                                                    const Observer& observer = {});

// kInvalidArgument names the option.
Result<void> check(const SearchOptions& options);

}  // namespace sluice::pktgen
