#include "dataplane/pktgen/histogram.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

namespace sluice::pktgen {
namespace {

TEST(Histogram, EmptyIsZero) {
    const Histogram histogram;
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_EQ(histogram.percentile(99), 0U);
    EXPECT_EQ(histogram.mean(), 0);
    EXPECT_TRUE(histogram.steps().empty());
}

TEST(Histogram, SmallValuesAreExact) {
    Histogram histogram;
    for (std::uint64_t value = 0; value < 256; ++value) {
        histogram.record(value);
    }
    EXPECT_EQ(histogram.percentile(50), 127U);
    EXPECT_EQ(histogram.percentile(100), 255U);
    EXPECT_EQ(histogram.percentile(0), 0U);
    EXPECT_EQ(histogram.steps().size(), 256U);
}

TEST(Histogram, WhatIsTooLargeCountsAsTheLargest) {
    Histogram histogram;
    histogram.record(~std::uint64_t{0});
    EXPECT_EQ(histogram.max(), Histogram::kMaxValue);
    EXPECT_EQ(histogram.percentile(50), Histogram::kMaxValue);
}

std::vector<std::uint64_t> spread(const std::vector<std::pair<std::uint64_t, std::uint8_t>>& drawn) {
    std::vector<std::uint64_t> out;
    for (const auto& [value, shift] : drawn) {
        // Every order of magnitude up to kMaxValue; what is drawn is small more often than not.
        out.push_back((value + 1) * 0x9e3779b97f4a7c15ULL >> (24 + shift % 40));
    }
    return out;
}

RC_GTEST_PROP(Histogram, PercentilesAreThoseOfTheSortedValues,
              (const std::vector<std::pair<std::uint64_t, std::uint8_t>>& drawn)) {
    std::vector<std::uint64_t> values = spread(drawn);
    RC_PRE(!values.empty());
    Histogram histogram;
    double sum = 0;
    for (const std::uint64_t value : values) {
        histogram.record(value);
        sum += static_cast<double>(value);
    }
    std::sort(values.begin(), values.end());
    RC_ASSERT(histogram.min() == values.front());
    RC_ASSERT(histogram.max() == values.back());
    RC_ASSERT(std::abs(histogram.mean() - sum / static_cast<double>(values.size())) <= 1e-6 * sum + 1e-9);
    for (const double percent : {0.0, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
        const auto size = static_cast<double>(values.size());
        const auto rank = std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(percent / 100 * size - 1e-9)));
        const std::uint64_t exact = values[rank - 1];
        const std::uint64_t got = histogram.percentile(percent);
        RC_ASSERT(got >= exact);
        RC_ASSERT(got - exact < std::max<std::uint64_t>(1, exact / 128));
    }
}

RC_GTEST_PROP(Histogram, TwoAddUpToOne,
              (const std::vector<std::pair<std::uint64_t, std::uint8_t>>& drawn, std::uint8_t cut)) {
    const std::vector<std::uint64_t> values = spread(drawn);
    Histogram all;
    Histogram parts[2];
    for (std::size_t i = 0; i < values.size(); ++i) {
        all.record(values[i]);
        parts[(i * 7 + cut) % 3 == 0 ? 1 : 0].record(values[i]);
    }
    parts[0].add(parts[1]);
    RC_ASSERT(parts[0].count() == all.count());
    RC_ASSERT(parts[0].min() == all.min());
    RC_ASSERT(parts[0].max() == all.max());
    RC_ASSERT(parts[0].percentile(50) == all.percentile(50));
    RC_ASSERT(parts[0].steps().size() == all.steps().size());
}

}  // namespace
}  // namespace sluice::pktgen
