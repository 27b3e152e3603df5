// The searches over devices that are formulas: what they find is what the formula says.
#include "dataplane/pktgen/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <utility>

#include "dataplane/pktgen/test_device.h"

namespace sluice::pktgen {
namespace {

Profile udp_profile() {
    Profile profile;
    profile.source.first = profile.source.last = *IpAddress::parse("10.0.0.1");
    profile.destination.first = profile.destination.last = *IpAddress::parse("10.0.1.1");
    return profile;
}

SearchOptions one_size(std::uint32_t bytes = 64) {
    SearchOptions options;
    options.frame_bytes = {bytes};
    options.trial_s = 10;
    options.wait = [](double) { return true; };
    return options;
}

ThroughputResult found(Runner& device, const SearchOptions& options) {
    auto out = search_throughput(device, udp_profile(), options, {});
    EXPECT_TRUE(out.has_value()) << out.error().message;
    EXPECT_EQ(out->size(), 1U);
    return out->front();
}

TEST(Throughput, FindsTheCapacityWithinTheResolutionAndNeverAboveIt) {
    for (const double capacity : {1e3, 123456.0, 1e6, 7.77e6, 19.99e6}) {
        ModelDevice device;
        device.loss = ModelDevice::capacity(capacity);
        const auto result = found(device, one_size());
        EXPECT_LE(result.packets_per_second, capacity);
        EXPECT_GT(result.packets_per_second, capacity - 0.005 * 20e6 - 1) << capacity;
        EXPECT_TRUE(result.settled);
        EXPECT_DOUBLE_EQ(result.bits_per_second, result.packets_per_second * 84 * 8);
        EXPECT_DOUBLE_EQ(result.ceiling_packets_per_second, 20e6);
        EXPECT_FALSE(result.ceiling_is_line);
    }
}

RC_GTEST_PROP(Throughput, IsWithinAnyResolutionOfAnyCapacity, ()) {
    const double capacity = *rc::gen::inRange(1, 30'000'000);
    const double resolution = *rc::gen::inRange(1, 200) / 1000.0;
    ModelDevice device;
    device.loss = ModelDevice::capacity(capacity);
    auto options = one_size();
    options.resolution = resolution;
    const auto result = found(device, options);
    RC_ASSERT(result.settled);
    RC_ASSERT(result.packets_per_second <= capacity);
    RC_ASSERT(result.packets_per_second >= std::min(capacity, 20e6) - resolution * 20e6 - 1);
    if (result.packets_per_second > 0) {
        RC_ASSERT(result.best.has_value());
        RC_ASSERT(result.trials[*result.best].passed);
    }
}

TEST(Throughput, OfADeviceFasterThanTheSenderIsWhatTheSenderCanDo) {
    ModelDevice device;
    const auto result = found(device, one_size());
    EXPECT_DOUBLE_EQ(result.packets_per_second, 20e6);
    // The first trial and three to confirm it.
    EXPECT_EQ(result.trials.size(), 4U);
    EXPECT_EQ(result.trials.front().offered_per_second, 0);
}

TEST(Throughput, OfADeviceThatPassesNothingIsZero) {
    ModelDevice device;
    device.loss = [](double, std::uint32_t) { return 1.0; };
    const auto result = found(device, one_size());
    EXPECT_EQ(result.packets_per_second, 0);
    EXPECT_EQ(result.bits_per_second, 0);
    EXPECT_FALSE(result.best.has_value());
    EXPECT_TRUE(result.settled);
}

TEST(Throughput, ASenderThatSendsNothingIsAnError) {
    ModelDevice device;
    device.sender_limit = 0;
    auto out = search_throughput(device, udp_profile(), one_size(), {});
    ASSERT_FALSE(out.has_value());
    EXPECT_EQ(out.error().code, Code::kOutOfRange);
    EXPECT_EQ(out.error().message, "frames of 64 bytes: the first trial sent nothing");
}

TEST(Throughput, LossWithinTheToleranceIsNone) {
    // Loses one packet in a thousand at any rate, and more above a million a second.
    const auto lossy = [](double rate, std::uint32_t) { return rate <= 1e6 ? 0.001 : 0.5; };
    ModelDevice device;
    device.loss = lossy;
    auto options = one_size();
    options.max_packets_per_second = 2e6;
    EXPECT_EQ(found(device, options).packets_per_second, 0);
    options.loss_tolerance = 0.0009;
    EXPECT_EQ(found(device, options).packets_per_second, 0);
    options.loss_tolerance = 0.0011;
    EXPECT_NEAR(found(device, options).packets_per_second, 1e6, 0.005 * 2e6);
}

// One that loses in a band of rates below its capacity: what is found holds, and fails a step
// above.
TEST(Throughput, OfADeviceThatIsNotMonotoneHolds) {
    for (const double band : {1e6, 3e6, 5e6, 7e6, 9e6, 11e6}) {
        ModelDevice device;
        device.loss = [=](double rate, std::uint32_t) {
            return (rate > band && rate < band * 1.3) || rate > 12e6 ? 0.1 : 0.0;
        };
        const auto result = found(device, one_size());
        const double rate = result.packets_per_second;
        EXPECT_TRUE(result.settled);
        EXPECT_GT(rate, 0);
        EXPECT_EQ(device.loss(rate, 64), 0);
        EXPECT_GT(device.loss(rate + 0.0051 * 20e6, 64), 0) << band;
    }
}

// Passes at first and not when it is tried again (a buffer that was empty the first time).
TEST(Throughput, ThatDoesNotHoldIsSearchedBelow) {
    ModelDevice device;
    int lucky = 2;
    device.loss = [&](double rate, std::uint32_t) {
        if (rate <= 4e6) return 0.0;
        return rate <= 8e6 && lucky-- > 0 ? 0.0 : 0.01;
    };
    const auto result = found(device, one_size());
    EXPECT_TRUE(result.settled);
    EXPECT_LE(result.packets_per_second, 4e6);
    EXPECT_GT(result.packets_per_second, 4e6 - 0.005 * 20e6 - 1);
}

TEST(Throughput, OfADeviceThatNeverDoesTheSameTwiceEndsAtTheLimit) {
    ModelDevice device;
    int run = 0;
    device.loss = [&](double, std::uint32_t) { return ++run % 3 == 0 ? 0.1 : 0.0; };
    auto options = one_size();
    options.repeat_at_end = 10;
    options.resolution = 1e-6;
    const auto result = found(device, options);
    EXPECT_LE(result.trials.size(), kMaxTrials);
}

TEST(Throughput, TheLineIsNotExceeded) {
    ModelDevice device;
    auto options = one_size();
    options.line_bits_per_second = 1e9;
    const auto result = found(device, options);
    const double line = 1e9 / 8 / 84;
    EXPECT_DOUBLE_EQ(result.ceiling_packets_per_second, line);
    EXPECT_TRUE(result.ceiling_is_line);
    EXPECT_DOUBLE_EQ(result.packets_per_second, line);
    for (const double rate : device.rates) {
        EXPECT_LE(rate, line);
    }
}

// What was not sent was not survived: a slow sender's rate is reported, not the one that was asked
// for.
TEST(Throughput, ARateThatWasNotReachedIsNotFound) {
    ModelDevice device;
    device.sender_limit = 3e6;
    auto options = one_size();
    options.max_packets_per_second = 50e6;
    EXPECT_DOUBLE_EQ(found(device, options).packets_per_second, 3e6);
}

// Something else begins to use the sender's processor after the first trial.
TEST(Throughput, ASenderThatBecomesSlowEndsTheSearchAtWhatItReached) {
    ModelDevice device;
    device.loss = [&](double rate, std::uint32_t) {
        device.sender_limit = 3e6;
        return rate > 15e6 ? 0.2 : 0.0;
    };
    const auto result = found(device, one_size());
    EXPECT_TRUE(result.settled);
    EXPECT_DOUBLE_EQ(result.packets_per_second, 3e6);
}

// A rate that passed once and failed when it was repeated was not found, even if the search ends
// just then.
TEST(Throughput, StoppedAfterARepetitionFailedDoesNotReportIt) {
    ModelDevice device;
    bool first = true;
    device.loss = [&](double rate, std::uint32_t) {
        return rate > 1e6 && !std::exchange(first, false) ? 0.1 : 0.0;
    };
    int trials = 0;
    auto out = search_throughput(device, udp_profile(), one_size(),
                                 [&](const Trial&) { return ++trials < 2; });
    ASSERT_TRUE(out.has_value());
    EXPECT_TRUE(out->front().trials[0].passed);
    EXPECT_FALSE(out->front().trials[1].passed);
    EXPECT_EQ(out->front().packets_per_second, 0);
}

TEST(Throughput, EachSizeIsSearchedWithTheProfileOtherwiseUnchanged) {
    ModelDevice device;
    device.loss = [](double rate, std::uint32_t bytes) { return rate * bytes > 1e9 ? 0.5 : 0; };
    auto options = one_size();
    options.frame_bytes = {64, 512, 1518};
    auto profile = udp_profile();
    profile.bits_per_second = 5;
    profile.count = 7;
    profile.ttl = 9;
    auto out = search_throughput(device, profile, options, {});
    ASSERT_TRUE(out.has_value());
    ASSERT_EQ(out->size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ((*out)[i].frame_bytes, options.frame_bytes[i]);
        EXPECT_NEAR((*out)[i].packets_per_second, 1e9 / options.frame_bytes[i], 0.005 * 20e6);
    }
    for (const Profile& used : device.profiles) {
        EXPECT_EQ(used.ttl, 9);
        EXPECT_EQ(used.count, 0U);
        EXPECT_EQ(used.bits_per_second, 0);
        EXPECT_EQ(used.duration_s, 10);
    }
}

TEST(Throughput, ProgressEndsIt) {
    ModelDevice device;
    device.loss = ModelDevice::capacity(1e6);
    auto options = one_size();
    options.frame_bytes = {64, 128};
    int seen = 0;
    auto out =
        search_throughput(device, udp_profile(), options, [&](const Trial&) { return ++seen < 6; });
    ASSERT_TRUE(out.has_value());
    ASSERT_EQ(out->size(), 1U);
    const auto& result = out->front();
    EXPECT_EQ(result.trials.size(), 6U);
    EXPECT_FALSE(result.settled);
    // Tried: 20, 10, 5, 2.5, 1.25 and 0.625 millions; the last one passed.
    EXPECT_DOUBLE_EQ(result.packets_per_second, 20e6 / 32);
}

TEST(Throughput, ATrialThatTheObserverCutShortIsNone) {
    ModelDevice device;
    auto options = one_size();
    int seen = 0;
    auto out = search_throughput(device, udp_profile(), options, {},
                                 [&](const Sample&) { return ++seen < 15; });
    ASSERT_TRUE(out.has_value());
    ASSERT_EQ(out->size(), 1U);
    EXPECT_EQ(out->front().trials.size(), 1U);
    EXPECT_FALSE(out->front().settled);
    seen = 14;
    out =
        search_throughput(device, udp_profile(), options, {}, [&](const Sample&) { return false; });
    ASSERT_TRUE(out.has_value());
    EXPECT_TRUE(out->empty());
}

TEST(Throughput, ItWaitsBetweenTrialsAndEndsThere) {
    ModelDevice device;
    auto options = one_size();
    options.settle_s = 3;
    int waits = 0;
    options.wait = [&](double seconds) {
        EXPECT_EQ(seconds, 3);
        return ++waits < 3;
    };
    auto out = search_throughput(device, udp_profile(), options, {});
    ASSERT_TRUE(out.has_value());
    EXPECT_EQ(out->front().trials.size(), 3U);
}

TEST(Throughput, WrongOptionsAreNamed) {
    ModelDevice device;
    const auto message = [&](auto change) {
        auto options = one_size();
        change(options);
        auto out = search_throughput(device, udp_profile(), options, {});
        EXPECT_FALSE(out.has_value());
        return out ? "" : out.error().message;
    };
    EXPECT_EQ(message([](auto& o) { o.trial_s = 0; }),
              "trial-s: 0 is not between 0 and 86400 seconds");
    EXPECT_EQ(message([](auto& o) { o.resolution = 0; }),
              "resolution: 0 is not a share from 0.000001 to 0.5");
    EXPECT_EQ(message([](auto& o) { o.loss_tolerance = 1; }),
              "loss-tolerance: 1 is not a share from 0 to below 1");
    EXPECT_EQ(message([](auto& o) { o.frame_bytes.clear(); }),
              "frame-bytes: between 1 and 64 sizes are searched");
    EXPECT_THAT(message([](auto& o) { o.frame_bytes = {64, 63}; }),
                testing::HasSubstr("frame-bytes 63"));
    EXPECT_TRUE(device.rates.empty());
}

TEST(Connections, FindsWhatTheDeviceServes) {
    ModelDevice device;
    device.sender_limit = 500e3;
    device.loss = ModelDevice::capacity(120e3);
    auto profile = udp_profile();
    profile.l4 = L4::kTcp;
    profile.life_cycle = LifeCycle::kStateful;
    profile.packets_per_second = 3;
    auto out = search_connection_rate(device, profile, one_size(), {});
    ASSERT_TRUE(out.has_value()) << out.error().message;
    EXPECT_TRUE(out->settled);
    EXPECT_LE(out->connections_per_second, 120e3);
    EXPECT_GT(out->connections_per_second, 120e3 - 0.005 * 500e3 - 1);
    EXPECT_EQ(out->ceiling_connections_per_second, 500e3);
    for (const Profile& used : device.profiles) {
        EXPECT_EQ(used.packets_per_second, 0);
    }
}

// Established is not enough: one that is reset or not closed was not served.
TEST(Connections, AConnectionThatWasNotClosedFailed) {
    class Resetting : public ModelDevice {
    public:
        Result<RunResult> run(const Profile& profile, const Observer& observer) override {
            auto out = ModelDevice::run(profile, observer);
            out->connections.closed -= 1;
            out->connections.reset = 1;
            return out;
        }
    };
    Resetting device;
    auto profile = udp_profile();
    profile.l4 = L4::kTcp;
    profile.life_cycle = LifeCycle::kStateful;
    auto options = one_size();
    auto out = search_connection_rate(device, profile, options, {});
    ASSERT_TRUE(out.has_value());
    EXPECT_EQ(out->connections_per_second, 0);
    EXPECT_EQ(out->trials.front().failed, 1U);
    options.loss_tolerance = 0.01;
    EXPECT_GT(search_connection_rate(device, profile, options, {})->connections_per_second, 0);
}

TEST(Connections, OnlyOfStatefulProfiles) {
    ModelDevice device;
    auto out = search_connection_rate(device, udp_profile(), one_size(), {});
    ASSERT_FALSE(out.has_value());
    EXPECT_EQ(out.error().code, Code::kInvalidArgument);
    EXPECT_TRUE(device.rates.empty());
}

}  // namespace
}  // namespace sluice::pktgen
