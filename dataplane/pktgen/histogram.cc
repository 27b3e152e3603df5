#include "dataplane/pktgen/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace sluice::pktgen {
namespace {

constexpr std::uint64_t kSubSteps = 1ULL << Histogram::kSubBits;

// Values below 2 * kSubSteps have a step of their own; above, the highest kSubBits + 1 bits count.
std::size_t step_of(std::uint64_t value) {
    const auto width = static_cast<unsigned>(std::bit_width(value | kSubSteps));
    const unsigned shift = width - 1 - Histogram::kSubBits;
    return static_cast<std::size_t>((std::uint64_t{shift} << Histogram::kSubBits) + (value >> shift));
}

// The highest value of a step.
std::uint64_t end_of(std::size_t step) {
    if (step < 2 * kSubSteps) {
        return step;
    }
    const std::uint64_t shift = (step >> Histogram::kSubBits) - 1;
    const std::uint64_t first = ((step & (kSubSteps - 1)) + kSubSteps) << shift;
    return first + (1ULL << shift) - 1;
}

}  // namespace

Histogram::Histogram() : counts_(step_of(kMaxValue) + 1) {}

void Histogram::record(std::uint64_t value_ns) { record(value_ns, 1); }

void Histogram::record(std::uint64_t value_ns, std::uint64_t times) {
    if (times == 0) {
        return;
    }
    const std::uint64_t value = std::min(value_ns, kMaxValue);
    counts_[step_of(value)] += times;
    min_ = count_ == 0 ? value : std::min(min_, value);
    max_ = std::max(max_, value);
    count_ += times;
    const auto exact = static_cast<double>(value);
    sum_ += exact * static_cast<double>(times);
    sum_of_squares_ += exact * exact * static_cast<double>(times);
}

void Histogram::add(const Histogram& other) {
    if (other.count_ == 0) {
        return;
    }
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        counts_[i] += other.counts_[i];
    }
    min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
    count_ += other.count_;
    sum_ += other.sum_;
    sum_of_squares_ += other.sum_of_squares_;
}

void Histogram::clear() {
    std::fill(counts_.begin(), counts_.end(), 0);
    count_ = min_ = max_ = 0;
    sum_ = sum_of_squares_ = 0;
}

std::uint64_t Histogram::min() const { return min_; }
std::uint64_t Histogram::max() const { return max_; }

double Histogram::mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

double Histogram::standard_deviation() const {
    if (count_ == 0) {
        return 0;
    }
    const double average = mean();
    const double variance = sum_of_squares_ / static_cast<double>(count_) - average * average;
    return std::sqrt(std::max(variance, 0.0));
}

std::uint64_t Histogram::percentile(double percent) const {
    if (count_ == 0) {
        return 0;
    }
    // The rank is the smallest number of values that are at least so many percent of all.
    const double bounded = std::clamp(percent, 0.0, 100.0);
    const auto exact = std::ceil(bounded / 100 * static_cast<double>(count_) - 1e-9);
    const auto rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(std::max(exact, 1.0)), 1, count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        seen += counts_[i];
        if (seen >= rank) {
            return std::clamp(end_of(i), min_, max_);
        }
    }
    return max_;
}

std::vector<Histogram::Step> Histogram::steps() const {
    std::vector<Step> out;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        if (counts_[i] != 0) {
            seen += counts_[i];
            out.push_back({std::min(end_of(i), max_), counts_[i], seen});
        }
    }
    return out;
}

}  // namespace sluice::pktgen
