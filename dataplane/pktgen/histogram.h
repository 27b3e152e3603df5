// Latencies with a bounded relative error in bounded memory, after HdrHistogram (Tene): values in
// buckets of powers of two, each of 2^kSubBits linear steps. Recording is a shift and an increment;
// histograms of several lcores add up.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace sluice::pktgen {

class Histogram {
public:
    static constexpr unsigned kSubBits = 7;  // relative error below 1/128
    // ns, about 18 minutes; larger ones count as this.
    static constexpr std::uint64_t kMaxValue = 1ULL << 40U;

    Histogram();
    void record(std::uint64_t value_ns);
    void record(std::uint64_t value_ns, std::uint64_t times);
    void add(const Histogram& other);
    void clear();
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] std::uint64_t min() const;   // 0 if empty
    [[nodiscard]] std::uint64_t max() const;
    [[nodiscard]] double mean() const;
    [[nodiscard]] double standard_deviation() const;
    // The highest value that is equivalent to the one at this percentile (0..100).
    [[nodiscard]] std::uint64_t percentile(double percent) const;
    struct Step {
        std::uint64_t value;       // upper end
        std::uint64_t count;       // in this step
        std::uint64_t cumulative;
    };
    [[nodiscard]] std::vector<Step> steps() const;  // the ones that are not empty
    bool operator==(const Histogram&) const = default;

private:
    std::vector<std::uint64_t> counts_;
    std::uint64_t count_ = 0;
    std::uint64_t min_ = 0;
    std::uint64_t max_ = 0;
    double sum_ = 0;
    double sum_of_squares_ = 0;
};

}  // namespace sluice::pktgen
