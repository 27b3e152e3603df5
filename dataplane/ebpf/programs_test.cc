#include "dataplane/ebpf/programs.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice::dataplane {
namespace {

// The values of CONFIG_HZ that kernels are built with, and what lies between: no other shift comes nearer to a second.
TEST(TickShift, IsTheNearestPowerOfTwoToASecond) {
    EXPECT_EQ(tick_shift_for(100), 7U);
    EXPECT_EQ(tick_shift_for(250), 8U);
    EXPECT_EQ(tick_shift_for(300), 8U);
    EXPECT_EQ(tick_shift_for(1000), 10U);
    EXPECT_EQ(tick_shift_for(1024), 10U);
    for (std::uint32_t hz = 3; hz <= 5000; ++hz) {
        EXPECT_EQ(tick_shift_for(hz), std::lround(std::log2(hz))) << hz;
    }
    EXPECT_EQ(tick_shift_for(0), 1U) << "never 0, which stands for the default";
    EXPECT_EQ(tick_shift_for(1), 1U);
}

}  // namespace
}  // namespace sluice::dataplane
