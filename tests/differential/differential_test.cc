// The native pipeline against the oracle: packets for some seconds, and canaries that must be caught.
#include <gtest/gtest.h>

#include "tests/differential/canaries.h"

namespace sluice::differential {
namespace {

constexpr std::size_t kSteps = 2000;

TEST(Differential, TheNativePipelineDoesWhatTheOracleSays) {
    const auto native = make_native();
    Comparison comparison({native.get()});
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        const auto mismatch = comparison.run(seed, kSteps);
        if (mismatch) {
            const auto fewest = comparison.minimise(seed, comparison.steps(), 2000);
            const auto last = comparison.replay(seed, fewest);
            FAIL() << report(seed, fewest, last ? *last : *mismatch);
        }
    }
    const auto& totals = comparison.totals();
    EXPECT_EQ(totals.packets, 100 * kSteps);
    // Most packets meet a service or a flow; every reason that can be met is.
    EXPECT_GT(totals.sent, totals.packets / 2);
    for (const std::uint32_t reason :
         {SLUICE_DROP_NO_ENDPOINT, SLUICE_DROP_NO_LOCAL_ENDPOINT, SLUICE_DROP_PORT_NOT_SERVED, SLUICE_DROP_UNALLOCATED,
          SLUICE_DROP_TRUNCATED, SLUICE_DROP_BAD_HEADER, SLUICE_DROP_FRAGMENT, SLUICE_DROP_NO_NODE_ADDRESS,
          SLUICE_DROP_TTL_EXPIRED, SLUICE_DROP_TOO_BIG, SLUICE_DROP_NO_FLOW, SLUICE_DROP_SOURCE_RANGE,
          SLUICE_DROP_BAD_CHECKSUM, SLUICE_DROP_BAD_TUNNEL, SLUICE_DROP_BAD_SOURCE}) {
        EXPECT_GT(totals.reasons[reason], 0U) << "reason " << reason;
    }
}

TEST(Differential, ASeedSaysAll) {
    const auto native = make_native();
    Comparison comparison({native.get()});
    ASSERT_FALSE(comparison.run(7, kSteps).has_value());
    const std::vector<Step> first = comparison.steps();
    ASSERT_FALSE(comparison.run(7, kSteps).has_value());
    ASSERT_EQ(comparison.steps().size(), first.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
        EXPECT_EQ(comparison.steps()[i].frame, first[i].frame);
    }
    EXPECT_FALSE(comparison.replay(7, first).has_value());
}

TEST(Differential, CanariesAreCaughtAndMadeSmall) {
    for (const Canary& canary : kCanaries) {
        SCOPED_TRACE(canary.name);
        const auto native = make_native();
        Comparison comparison({native.get()}, &canary);
        std::optional<Mismatch> mismatch;
        std::uint64_t seed = 1;
        for (; !mismatch && seed * kSteps <= kCanaryPackets; ++seed) {
            mismatch = comparison.run(seed, kSteps);
        }
        ASSERT_TRUE(mismatch.has_value());
        --seed;
        const auto fewest = comparison.minimise(seed, comparison.steps(), 1500);
        EXPECT_LE(fewest.size(), 60U);
        EXPECT_TRUE(comparison.replay(seed, fewest).has_value());
    }
}

}  // namespace
}  // namespace sluice::differential
