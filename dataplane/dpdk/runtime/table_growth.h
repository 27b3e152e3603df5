// Tables that double while lcores forward: looks how full they are, and takes the steps that
// dataplane/dpdk/shared/segment.h describes. In a thread of its own, since a large file is not made in a moment.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "dataplane/dpdk/runtime/lcores_internal.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {

// A table is too full when more than this part of its slots is in use: were these all connections in use, some new
// flows of a thousand would find no room (bpf/lib/README.md).
inline constexpr double kFullAt = 0.5;
inline constexpr std::uint32_t kSampledBuckets = 1024;  // of a table, each time it is looked at
inline constexpr std::chrono::milliseconds kGrowthLook{100};
// After a growth that was refused, at a limit or for want of memory, until the next is asked for.
inline constexpr std::chrono::seconds kGrowthRetry{30};

class TableGrowth {
public:
    struct Setup {
        Lcores& lcores;
        std::vector<std::unique_ptr<FlowSegment>>& flows;  // by lcore
        SharedSegment& shared;
        // Held by whoever reads the tables that memory() of those tells of, and here while a smaller one is unmapped.
        std::mutex& mapped;
        std::uint32_t flows_max = 0;  // a lcore and family
        std::uint32_t affinity_max = 0;
    };
    struct Counters {
        Counter grown;                           // tables that were replaced by larger ones
        std::array<Counter, 2> flows_refused;    // growths of IPv4, IPv6 tables at their limit, or without memory
        Counter affinity_refused;
    };

    // Also goes on with what a predecessor had begun.
    static std::unique_ptr<TableGrowth> start(const Setup& setup);
    // Ends between two steps. REQUIRES: lcores use what was published last no more, when this is destroyed.
    ~TableGrowth();
    TableGrowth(const TableGrowth&) = delete;
    TableGrowth& operator=(const TableGrowth&) = delete;

    [[nodiscard]] const Counters& counters() const { return counters_; }

private:
    using Clock = std::chrono::steady_clock;

    explicit TableGrowth(const Setup& setup)
        : setup_(setup), retry_at_(setup.flows.size()), moves_(setup.flows.size()) {}
    void run(const std::stop_token& stop);
    void look_at_flows(std::size_t lcore, const std::stop_token& stop);
    void look_at_affinity(const std::stop_token& stop);
    void grow_flows(std::size_t lcore, bool v4, bool v6, const std::stop_token& stop);
    // The last steps, once the lcore has carried all, for which it may take kCarryPasses ticks.
    void end_if_carried(std::size_t lcore, const std::stop_token& stop);
    bool publish_flows(const std::stop_token& stop);
    bool publish_shared(const std::stop_token& stop);
    bool wait_for_lcores(const std::stop_token& stop);
    std::uint32_t any_of(std::uint32_t count);

    const Setup setup_;
    // In force, and those before it which lcores might still be reading when the engine ends.
    std::vector<std::unique_ptr<const FlowSet>> flow_sets_;
    std::uint64_t published_ = 0;  // the number of the one in force
    std::vector<std::unique_ptr<const SharedMemory>> shared_sets_;
    std::vector<std::array<Clock::time_point, 2>> retry_at_;  // by lcore and family
    struct Move {
        std::uint64_t lost_before = 0;
        Clock::time_point retry_at;  // after an error at its end
    };
    std::vector<Move> moves_;  // by lcore; of those in mode MOVE
    Clock::time_point affinity_retry_at_;
    std::uint64_t random_ = 0x9e3779b97f4a7c15ULL;
    Counters counters_;
    std::jthread thread_;
};

}  // namespace sluice::dpdk
