// A number that one lcore writes and others read.
#pragma once

#include <atomic>
#include <cstdint>

namespace sluice::pktgen {

class Counter {
public:
    // The writer's: a plain load, add and store, no locked instruction.
    void add(std::uint64_t amount) {
        value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

}  // namespace sluice::pktgen
