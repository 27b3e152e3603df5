#include "dataplane/pktgen/flows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

namespace sluice::pktgen {
namespace {

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

Profile ranges(const char* source, const char* source_end, const char* destination, const char* destination_end) {
    Profile profile;
    profile.source = {ip(source), ip(source_end)};
    profile.destination = {ip(destination), ip(destination_end)};
    profile.source_port = {1000, 1002};
    profile.destination_port = {80, 81};
    profile.flows = 0;
    return profile;
}

std::array<std::uint8_t, 16> v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) { return {a, b, c, d}; }

// The order that profile.h promises, as loops.
TEST(FlowSpace, IsTheNestedLoop) {
    const Profile profile = ranges("10.0.0.254", "10.0.1.1", "10.9.0.1", "10.9.0.3");
    const FlowSpace flows(profile);
    ASSERT_EQ(flows.count(), 4U * 3 * 3 * 2);
    std::uint64_t index = 0;
    for (const auto source : {v4(10, 0, 0, 254), v4(10, 0, 0, 255), v4(10, 0, 1, 0), v4(10, 0, 1, 1)}) {
        for (std::uint16_t source_port = 1000; source_port <= 1002; ++source_port) {
            for (std::uint8_t last = 1; last <= 3; ++last) {
                for (std::uint16_t port = 80; port <= 81; ++port) {
                    const FlowTuple expected{source, v4(10, 9, 0, last), source_port, port};
                    EXPECT_EQ(flows.at(index), expected) << index;
                    EXPECT_EQ(flows.find(expected), index);
                    ++index;
                }
            }
        }
    }
}

TEST(FlowSpace, CarriesThroughTheHalvesOfIpv6) {
    Profile profile = ranges("fd00::ffff:ffff:ffff:fffe", "fd00:0:0:1::1", "fd01::1", "fd01::1");
    profile.source_port = {7, 7};
    profile.destination_port = {9, 9};
    const FlowSpace flows(profile);
    ASSERT_EQ(flows.count(), 4U);
    const char* expected[] = {"fd00::ffff:ffff:ffff:fffe", "fd00::ffff:ffff:ffff:ffff", "fd00:0:0:1::", "fd00:0:0:1::1"};
    for (std::uint64_t i = 0; i < 4; ++i) {
        EXPECT_EQ(flows.at(i).source, ip(expected[i]).bytes);
        EXPECT_EQ(flows.find(flows.at(i)), i);
    }
}

TEST(FlowSpace, FindsNothingThatIsNotThere) {
    Profile profile = ranges("10.0.0.1", "10.0.0.4", "10.9.0.1", "10.9.0.1");
    profile.flows = 5;
    const FlowSpace flows(profile);
    FlowTuple tuple = flows.at(4);
    EXPECT_EQ(flows.find(tuple), 4U);
    tuple.destination_port = 81;  // the sixth combination
    EXPECT_FALSE(flows.find(tuple));
    tuple = flows.at(0);
    tuple.source = v4(10, 0, 0, 0);
    EXPECT_FALSE(flows.find(tuple));
    tuple.source = v4(10, 0, 0, 5);
    EXPECT_FALSE(flows.find(tuple));
}

TEST(FlowSpace, CountsLargeRangesWithoutOverflow) {
    Profile profile = ranges("::1", "ffff::", "fd00::", "fdff::");
    EXPECT_EQ(combinations(profile), ~std::uint64_t{0});
    profile = ranges("0.0.0.1", "255.255.255.255", "10.0.0.1", "10.0.0.1");
    EXPECT_EQ(combinations(profile), 0xffffffffULL * 6);
}

TEST(FlowChooser, RoundRobinVisitsEachOnceFromItsOwnPlace) {
    const Profile profile = ranges("10.0.0.1", "10.0.0.1", "10.9.0.1", "10.9.0.1");
    for (unsigned sender = 0; sender < 3; ++sender) {
        FlowChooser chooser(profile, 6, sender, 3);
        for (std::uint64_t i = 0; i < 12; ++i) {
            EXPECT_EQ(chooser.next(), (sender * 2 + i) % 6);
        }
    }
}

TEST(FlowChooser, SameSeedSameFlows) {
    Profile profile = ranges("10.0.0.1", "10.0.0.1", "10.9.0.1", "10.9.0.1");
    for (const Choice choice : {Choice::kUniform, Choice::kZipf}) {
        profile.choice = choice;
        FlowChooser one(profile, 1000, 0, 2);
        FlowChooser same(profile, 1000, 0, 2);
        FlowChooser other(profile, 1000, 1, 2);
        int equal = 0;
        for (int i = 0; i < 1000; ++i) {
            const std::uint64_t drawn = one.next();
            ASSERT_LT(drawn, 1000U);
            ASSERT_EQ(drawn, same.next());
            equal += drawn == other.next() ? 1 : 0;
        }
        EXPECT_LT(equal, 500);
    }
}

// Pearson's statistic over `cells` of which each expects at least a few; its mean is cells - 1 and its
// deviation sqrt(2 cells), so six deviations never happen by chance with a seed that stays.
void expect_frequencies(const std::vector<double>& shares, const std::vector<std::uint64_t>& seen, double draws) {
    double statistic = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
        const double expected = shares[i] * draws;
        statistic += (static_cast<double>(seen[i]) - expected) * (static_cast<double>(seen[i]) - expected) / expected;
    }
    const auto cells = static_cast<double>(shares.size());
    EXPECT_LT(statistic, cells - 1 + 6 * std::sqrt(2 * cells));
}

TEST(FlowChooser, FrequenciesAreThoseOfTheLaw) {
    constexpr std::size_t kFlows = 200;
    constexpr int kDraws = 400'000;
    for (const double exponent : {0.0, 0.5, 1.0, 1.2, 2.0}) {
        Profile profile = ranges("10.0.0.1", "10.0.0.1", "10.9.0.1", "10.9.0.1");
        profile.choice = exponent == 0 ? Choice::kUniform : Choice::kZipf;
        profile.zipf_exponent = exponent;
        FlowChooser chooser(profile, kFlows, 0, 1);
        std::vector<std::uint64_t> seen(kFlows);
        for (int i = 0; i < kDraws; ++i) {
            ++seen[chooser.next()];
        }
        std::vector<double> shares;
        double sum = 0;
        for (std::size_t i = 1; i <= kFlows; ++i) {
            shares.push_back(std::pow(static_cast<double>(i), -exponent));
            sum += shares.back();
        }
        for (double& share : shares) {
            share /= sum;
        }
        SCOPED_TRACE(exponent);
        expect_frequencies(shares, seen, kDraws);
    }
}

TEST(FlowChooser, ZipfOfOneFlowAndOfMany) {
    Profile profile = ranges("10.0.0.1", "10.0.0.1", "10.9.0.1", "10.9.0.1");
    profile.choice = Choice::kZipf;
    FlowChooser single(profile, 1, 0, 1);
    FlowChooser many(profile, kMaxFlows, 0, 1);
    std::uint64_t highest = 0;
    for (int i = 0; i < 10'000; ++i) {
        ASSERT_EQ(single.next(), 0U);
        highest = std::max(highest, many.next());
    }
    EXPECT_LT(highest, kMaxFlows);
    EXPECT_GT(highest, kMaxFlows / 100);
}

TEST(SizeChooser, KeepsTheWeights) {
    Profile profile;
    profile.sizes = {{64, 7}, {594, 4}, {1518, 1}};
    SizeChooser chooser(profile, 0);
    std::vector<std::uint64_t> seen(3);
    constexpr int kDraws = 120'000;
    for (int i = 0; i < kDraws; ++i) {
        ++seen[chooser.next()];
    }
    expect_frequencies({7.0 / 12, 4.0 / 12, 1.0 / 12}, seen, kDraws);
}

}  // namespace
}  // namespace sluice::pktgen
