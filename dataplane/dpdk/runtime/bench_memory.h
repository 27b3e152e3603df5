// Memory for benchmarks of lcores, as the engine has it: frames in hugepages where the machine has free ones, flows in
// a state directory on a tmpfs.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {

inline constexpr unsigned kBenchMebibytes = 256;  // for EAL
inline constexpr unsigned kHugePageMebibytes = 2;

// Whether EAL gets hugepages of 2 MiB here.
inline bool bench_has_hugepages() {
    std::ifstream in("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    unsigned free = 0;
    return (in >> free) && free >= kBenchMebibytes / kHugePageMebibytes;
}

// EAL's arguments about memory.
inline std::vector<std::string> bench_memory_arguments() {
    return {bench_has_hugepages() ? "--in-memory" : "--no-huge", "-m", std::to_string(kBenchMebibytes)};
}

// Flow tables of lcores, of a fixed size. Removed at the end.
class BenchFlows {
public:
    // Ends the program if there is no room.
    BenchFlows(std::uint32_t lcores, std::uint32_t flows4, std::uint32_t flows6) {
        std::string pattern = "/dev/shm/sluice-bench-XXXXXX";
        if (mkdtemp(pattern.data()) == nullptr) give_up("cannot make a directory in /dev/shm");
        directory_ = pattern;
        for (std::uint32_t i = 0; i < lcores; ++i) {
            auto made = FlowSegment::open_or_create(directory_ + "/state", i, flows4, flows6, lcores,
                                                    std::max(flows4, flows6));
            if (!made) give_up(made.error().to_string());
            segments_.push_back(std::move(*made));
        }
    }
    ~BenchFlows() { std::filesystem::remove_all(directory_); }
    BenchFlows(const BenchFlows&) = delete;
    BenchFlows& operator=(const BenchFlows&) = delete;

    [[nodiscard]] FlowMemory memory(std::size_t lcore) const { return segments_[lcore]->memory(); }
    void clear(std::size_t lcore) const {
        const FlowMemory of = memory(lcore);
        std::fill_n(of.buckets4, of.config->bucket_count4, sluice_flow_bucket4{});
        std::fill_n(of.buckets6, of.config->bucket_count6, sluice_flow_bucket6{});
    }

private:
    [[noreturn]] void give_up(const std::string& why) const {
        std::fprintf(stderr, "%s\n", why.c_str());
        std::error_code ignored;
        if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
        std::exit(1);
    }

    std::string directory_;
    std::vector<std::unique_ptr<FlowSegment>> segments_;
};

}  // namespace sluice::dpdk
