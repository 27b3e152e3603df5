// What a CPU remembers of flows by the tick: whom it finds, whom it forgets, and that tuples are not taken for each
// other.
// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/recent.h"
// clang-format on

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

namespace sluice {
namespace {

sluice_recent_keys some_keys(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    sluice_recent_keys keys;
    for (auto& key : keys.first) key = random();
    for (auto& key : keys.second) key = random();
    return keys;
}

sluice_tuple v4(std::uint32_t source, std::uint16_t port, std::uint32_t destination = 0x0a600001) {
    sluice_tuple out{};
    sluice_set_v4(&out.src, SLUICE_HTON32(source));
    sluice_set_v4(&out.dst, SLUICE_HTON32(destination));
    out.ports.port_be[SLUICE_SOURCE] = SLUICE_HTON16(port);
    out.ports.port_be[SLUICE_DESTINATION] = SLUICE_HTON16(80);
    out.protocol = SLUICE_IPPROTO_TCP;
    return out;
}

class RecentTest : public ::testing::Test {
protected:
    [[nodiscard]] sluice_recent_key key(const sluice_tuple& tuple, std::uint32_t ticks = 1000, bool v6 = false,
                                        std::uint32_t left = 7) const {
        const std::uint64_t to = sluice_hash_address(42, &tuple.dst);
        return v6 ? sluice_recent_key_of(&keys_, &tuple, to, ticks, left, 1)
                  : sluice_recent_key_of(&keys_, &tuple, to, ticks, left, 0);
    }
    sluice_recent_keys keys_ = some_keys(1);
    sluice_recent_set set_{};
};

TEST_F(RecentTest, AnEmptySetKnowsNobody) {
    for (std::uint16_t port = 1; port < 1000; ++port) {
        EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, port)).tag), SLUICE_RECENT_PLACES);
    }
    // Not even one whose digest is 0.
    keys_ = {};
    EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, 1)).tag), SLUICE_RECENT_PLACES);
}

TEST_F(RecentTest, WhatWasPutIsFoundWithItsPlace) {
    for (const std::uint32_t place : {0U, 1U, 511U, 1023U}) {
        set_ = {};
        sluice_recent_put(&set_, key(v4(1, 1)).tag, place);
        EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, 1)).tag), place);
        EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, 2)).tag), SLUICE_RECENT_PLACES);
    }
}

TEST_F(RecentTest, WhoIsOfAnotherTickGivesWayElseTheLast) {
    for (std::uint16_t port = 1; port <= 8; ++port) sluice_recent_put(&set_, key(v4(1, port)).tag, port);
    for (std::uint16_t port = 1; port <= 8; ++port) EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, port)).tag), port);
    for (std::uint16_t port = 9; port <= 12; ++port) {
        sluice_recent_put(&set_, key(v4(1, port)).tag, port);
        EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, port)).tag), port);
    }
    for (std::uint16_t port = 1; port <= 7; ++port) EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, port)).tag), port);
    // In the next tick they are found no more, and make room.
    for (std::uint16_t port = 1; port <= 12; ++port) {
        EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, port), 1001).tag), SLUICE_RECENT_PLACES);
    }
    for (std::uint16_t port = 21; port <= 28; ++port) sluice_recent_put(&set_, key(v4(1, port), 1001).tag, port);
    for (std::uint16_t port = 21; port <= 28; ++port) {
        EXPECT_EQ(sluice_recent_find(&set_, key(v4(1, port), 1001).tag), port);
    }
}

TEST_F(RecentTest, EachPartOfTheTupleTheTickTheFamilyAndTheEndOfOthersCount) {
    const sluice_tuple tuple = v4(0x01020304, 4000);
    std::vector<std::uint64_t> tags{key(tuple).tag, key(tuple, 1001).tag, key(tuple, 1000 + 65536).tag,
                                    key(tuple, 1000, true).tag, key(tuple, 1000, false, 8).tag};
    sluice_tuple other = tuple;
    other.protocol = SLUICE_IPPROTO_UDP;
    tags.push_back(key(other).tag);
    for (int family = 0; family < 2; ++family) {
        for (int word = family == 0 ? 3 : 0; word < 4; ++word) {
            for (const int end : {0, 1}) {
                other = tuple;
                (end == 0 ? other.src : other.dst).word_be[word] ^= 0x80000000U;
                tags.push_back(key(other, 1000, family == 1).tag);
            }
        }
        for (const int end : {0, 1}) {
            other = tuple;
            other.ports.port_be[end] ^= 1;
            tags.push_back(key(other, 1000, family == 1).tag);
        }
    }
    std::sort(tags.begin(), tags.end());
    EXPECT_EQ(std::adjacent_find(tags.begin(), tags.end()), tags.end());
}

// Clients as they come: neighbours, all ports of one, those that differ in their highest bits alone. Two of 2^20 would
// be taken for each other once in 2^23 runs.
TEST_F(RecentTest, NoTwoOfAMillionAreTakenForEachOther) {
    for (const std::uint64_t seed : {1, 2, 3}) {
        keys_ = some_keys(seed);
        std::vector<std::pair<std::uint32_t, std::uint64_t>> seen;
        for (std::uint32_t i = 0; i < 1U << 18U; ++i) {
            for (const auto& tuple : {v4(0x0a000000 + i, 1024, 1), v4(i >> 16U, static_cast<std::uint16_t>(i), 2),
                                      v4(i << 14U, 1024, 3), v4(0x0b000000, 7, 0x80000000U | i << 13U)}) {
                const auto found = key(tuple);
                seen.emplace_back(found.point, found.tag);
            }
        }
        std::sort(seen.begin(), seen.end());
        EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end()) << "keys of seed " << seed;
    }
}

// 64,000 flows in 16,384 sets of eight: how many of them are still there when all have come, again and again in the
// same order.
TEST_F(RecentTest, MostOfSixtyFourThousandFlowsFindRoom) {
    constexpr std::uint32_t kSets = 1U << 14U, kFlows = 1U << 16U;
    std::vector<sluice_recent_set> sets(kSets);
    std::uint32_t found = 0;
    for (int turn = 0; turn < 3; ++turn) {
        found = 0;
        for (std::uint32_t i = 0; i < kFlows; ++i) {
            const auto at = key(v4(0x0a800000 + (i >> 14U), static_cast<std::uint16_t>(1024 + (i & 16383U))));
            sluice_recent_set* set = &sets[static_cast<std::uint64_t>(at.point) * kSets >> 32U];
            const std::uint32_t place = sluice_recent_find(set, at.tag);
            ASSERT_TRUE(place == SLUICE_RECENT_PLACES || place == (i & 1023U));
            found += static_cast<std::uint32_t>(place != SLUICE_RECENT_PLACES);
            if (place == SLUICE_RECENT_PLACES) sluice_recent_put(set, at.tag, i & 1023U);
        }
    }
    // Of a set's flows by a Poisson distribution of mean 4, seven stay if there are more than eight: 1.37 % do not.
    EXPECT_NEAR(found, kFlows * (1 - 0.0137), kFlows * 0.004);
}

TEST_F(RecentTest, APlaceIsOneDestinationsUntilTheTickIsOver) {
    sluice_recent_place place{};
    sluice_hop hop{};
    hop.kind = SLUICE_HOP_FORWARD;
    hop.ifindex = 3;
    sluice_set_v4(&hop.dst, 1);
    EXPECT_EQ(sluice_recent_settle(&place, 10, &hop, 5, 1, 80, 7), 1);
    EXPECT_EQ(sluice_recent_settle(&place, 10, &hop, 5, 1, 80, 7), 1);
    EXPECT_EQ(sluice_recent_settle(&place, 10, &hop, 5, 1, 81, 7), 0);
    EXPECT_EQ(sluice_recent_settle(&place, 10, &hop, 5, 2, 80, 7), 0);
    // As a program would have it that counts in other tables.
    EXPECT_EQ(sluice_recent_settle(&place, 10, &hop, 5, 1, 80, 8), 0);
    EXPECT_EQ(sluice_recent_settle(&place, 10, &hop, 5 + SLUICE_RECENT_PLACES, 1, 80, 7), 0);
    sluice_hop other = hop;
    sluice_set_v4(&other.dst, 2);
    EXPECT_EQ(sluice_recent_settle(&place, 10, &other, 5, 1, 80, 7), 0);
    EXPECT_EQ(place.backend, 5U);
    EXPECT_EQ(place.port_be, 80U);
    // The low 16 bits alone are the same.
    EXPECT_EQ(sluice_recent_settle(&place, 10 + 65536, &other, 5 + SLUICE_RECENT_PLACES, 2, 81, 7), 1);
    EXPECT_EQ(place.backend, 5U + SLUICE_RECENT_PLACES);
    EXPECT_EQ(place.incarnation, 2U);
    EXPECT_EQ(place.port_be, 81U);
    EXPECT_EQ(place.cell, 7U);
    EXPECT_EQ(place.hop.ifindex, 3U);
    EXPECT_EQ(place.hop.dst.word_be[3], 2U);
}

}  // namespace
}  // namespace sluice
