// The BPF programs, the native pipeline and the oracle on the same packets: same verdicts, bytes and counters.
#include <gtest/gtest.h>

#include "tests/differential/canaries.h"

namespace sluice::differential {
namespace {

constexpr std::size_t kSteps = 2000;

class Engines : public ::testing::Test {
protected:
    static void SetUpTestSuite() { ebpf_ = make_ebpf(); }
    static void TearDownTestSuite() { ebpf_.reset(); }
    void SetUp() override {
        if (!ebpf_) {
            GTEST_SKIP() << "needs root, BPF and a network namespace";
        }
    }
    static inline std::unique_ptr<Side> ebpf_;
};

// The fewest steps of the scenario that show a difference; empty: there is none.
std::string difference_at(Comparison& comparison, std::uint64_t seed) {
    const auto mismatch = comparison.run(seed, kSteps);
    if (!mismatch) {
        return {};
    }
    const auto fewest = comparison.minimise(seed, comparison.steps(), 2000);
    const auto last = comparison.replay(seed, fewest);
    return report(seed, fewest, last ? *last : *mismatch);
}

TEST_F(Engines, DoTheSameAsTheOracleAndEachOther) {
    const auto native = make_native();
    Comparison comparison({ebpf_.get(), native.get()});
    for (std::uint64_t seed = 1001; seed <= 1100; ++seed) {
        const std::string difference = difference_at(comparison, seed);
        ASSERT_TRUE(difference.empty()) << difference;
    }
    EXPECT_EQ(comparison.totals().packets, 100 * kSteps);
}

// Scenarios of long runs that showed a difference once (docs/differential.md).
TEST_F(Engines, FormerDifferences) {
    const auto native = make_native();
    Comparison comparison({ebpf_.get(), native.get()});
    for (const std::uint64_t seed : {1865U, 1866U, 5011U}) {
        const std::string difference = difference_at(comparison, seed);
        EXPECT_TRUE(difference.empty()) << difference;
    }
}

// Where the oracle may not judge, for an engine may choose, the engines are held against each other.
TEST_F(Engines, ThatChooseOtherwiseAreTold) {
    constexpr Canary kOtherChoice{"chooses by another generator", nullptr, nullptr, false, false, true};
    const auto native = make_native();
    Comparison comparison({ebpf_.get(), native.get()}, &kOtherChoice);
    EXPECT_TRUE(comparison.run(1, kSteps).has_value());
}

}  // namespace
}  // namespace sluice::differential
