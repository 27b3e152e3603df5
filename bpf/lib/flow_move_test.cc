// Two tables: flows that move from one to the other are neither lost nor doubled, whatever packets
// do meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "bpf/lib/test_flow_table.h"

namespace sluice {
namespace {

class BothFamilies : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(FlowMove, BothFamilies, ::testing::Bool());

sluice_flow_pair numbered(bool v6, std::uint32_t n) {
    sluice_flow_pair pair = pair_of(v6, static_cast<std::uint16_t>(1024 + n % 28000));
    pair.forward.src.word_be[3] = SLUICE_HTON32(0xc0000000U + n / 28000);
    pair.reverse.dst = pair.forward.src;
    pair.service = pair.backend = n;
    return pair;
}

bool find(const sluice_flow_view& view, const sluice_tuple& tuple, sluice_flow_hit& hit, bool v6) {
    return v6 ? sluice_flow_find_or_move(&view, &tuple, sluice_flow_hash(&view, &tuple, 1), &hit, 1)
              : sluice_flow_find_or_move(&view, &tuple, sluice_flow_hash(&view, &tuple, 0), &hit, 0);
}

int move_slot(const sluice_flow_view& view, std::uint32_t index, bool v6) {
    return v6 ? sluice_flow_move6(&view, index) : sluice_flow_move4(&view, index);
}

struct Tables {
    Tables(std::uint32_t from, std::uint32_t to) : old(from), fresh(to) {
        view = fresh.beside(old, SLUICE_FLOW_MOVE);
    }
    Table old;
    Table fresh;
    sluice_flow_view view;
};

TEST_P(BothFamilies, PacketOfEitherDirectionBringsItsFlowOver) {
    const bool v6 = GetParam();
    for (const bool backwards : {false, true}) {
        Tables tables(16, 32);
        sluice_flow_pair pair = numbered(v6, 7);
        pair.snat = 1;
        tables.old.set_now(990);
        ASSERT_EQ(tables.old.insert(pair, v6), SLUICE_FLOW_INSERTED);
        sluice_flow_hit hit{};
        ASSERT_TRUE(tables.old.find(pair.reverse, hit, v6));
        ASSERT_TRUE(tables.old.follow(hit, SLUICE_TCP_SYN | SLUICE_TCP_ACK, v6));
        ASSERT_TRUE(tables.old.find(pair.reverse, hit, v6));
        ASSERT_TRUE(tables.old.follow(hit, SLUICE_TCP_FIN | SLUICE_TCP_ACK, v6));
        ASSERT_TRUE(find(tables.view, backwards ? pair.reverse : pair.forward, hit, v6));
        EXPECT_EQ(hit.state, SLUICE_FLOW_CLOSING);
        EXPECT_EQ(hit.seen, 990) << "its age is kept";
        EXPECT_EQ(hit.meta.backend, 7U);
        EXPECT_FALSE(tables.old.find(pair.forward, hit, v6));
        EXPECT_FALSE(tables.old.find(pair.reverse, hit, v6));
        ASSERT_TRUE(tables.fresh.find(pair.reverse, hit, v6));
        EXPECT_TRUE(same(hit.new_src, pair.forward.dst));
        EXPECT_TRUE(same(hit.new_dst, pair.forward.src));
        EXPECT_EQ(hit.meta.flags, SLUICE_FLOW_REVERSE | SLUICE_FLOW_FIN | SLUICE_FLOW_SNAT);
        ASSERT_TRUE(tables.fresh.find(pair.forward, hit, v6));
        EXPECT_EQ(hit.meta.flags, SLUICE_FLOW_SNAT) << "who sent FIN is kept apart";
        // The other side's FIN ends it, as if nothing had been moved.
        ASSERT_TRUE(tables.fresh.follow(hit, SLUICE_TCP_FIN | SLUICE_TCP_ACK, v6));
        EXPECT_EQ(hit.state, SLUICE_FLOW_CLOSED);
    }
}

TEST_P(BothFamilies, MoverBringsAllThatAreNotOver) {
    const bool v6 = GetParam();
    Tables tables(1024, 2048);
    for (std::uint32_t n = 0; n < 500; ++n) {
        sluice_flow_pair pair = numbered(v6, n);
        pair.flags = n % 10 == 9 ? SLUICE_FLOW_TUNNEL : 0;
        tables.old.set_now(n % 5 == 4 ? 900 : 1000);  // a fifth is half-open for longer than a minute
        ASSERT_EQ(tables.old.insert(pair, v6), SLUICE_FLOW_INSERTED);
    }
    std::vector<std::uint32_t> counts(8);
    for (std::uint32_t index = 0; index < 1024 * SLUICE_FLOW_WAYS; ++index) {
        ++counts[static_cast<std::size_t>(move_slot(tables.view, index, v6))];
    }
    EXPECT_EQ(counts[SLUICE_FLOW_CARRIED_MOVED], 400U);
    EXPECT_EQ(counts[SLUICE_FLOW_CARRIED_OVER], 100U);
    EXPECT_EQ(counts[SLUICE_FLOW_CARRIED_AGAIN] + counts[SLUICE_FLOW_CARRIED_FULL] +
                  counts[SLUICE_FLOW_CARRIED_EXISTS],
              0U);
    EXPECT_EQ(tables.old.occupied(), 0U);
    for (std::uint32_t n = 0; n < 500; ++n) {
        sluice_flow_hit hit{};
        EXPECT_EQ(tables.fresh.find(numbered(v6, n).forward, hit, v6), n % 5 != 4) << n;
    }
}

// What tells a one-way answer apart is carried too: without it the flow would stay half-open for ever.
TEST_P(BothFamilies, FlowByOptionIsStillOneAfterTheMove) {
    const bool v6 = GetParam();
    Tables tables(16, 32);
    sluice_flow_pair pair = numbered(v6, 3);
    pair.flags = SLUICE_FLOW_RETURN;
    ASSERT_EQ(tables.old.insert(pair, v6), SLUICE_FLOW_INSERTED);
    sluice_flow_hit hit{};
    ASSERT_TRUE(find(tables.view, pair.reverse, hit, v6));
    ASSERT_TRUE(tables.fresh.follow(hit, SLUICE_TCP_ACK, v6));
    EXPECT_EQ(hit.state, SLUICE_FLOW_ESTABLISHED) << "the backend's ACK is all that is seen";
}

// Who has not come over yet keeps his source port.
TEST_P(BothFamilies, PortOfAFlowInTheOldTableIsNotGivenAway) {
    const bool v6 = GetParam();
    Tables tables(64, 128);
    sluice_flow_pair first = numbered(v6, 1);
    first.reverse.dst = to_abi(v6 ? "fd02::1" : "192.0.2.1");
    first.snat = 1;
    ASSERT_EQ(tables.old.insert(first, v6), SLUICE_FLOW_INSERTED);
    sluice_flow_pair second = first;
    second.forward.src = to_abi(v6 ? "fd01::77" : "10.244.1.77");
    ASSERT_EQ(v6 ? sluice_flow_insert6(&tables.view, &second)
                 : sluice_flow_insert4(&tables.view, &second),
              SLUICE_FLOW_INSERTED);
    EXPECT_NE(first.reverse.ports.port_be[1], second.reverse.ports.port_be[1]);
    sluice_flow_hit hit{};
    EXPECT_TRUE(find(tables.view, first.reverse, hit, v6));
    EXPECT_TRUE(same(hit.new_dst, first.forward.src));
}

// Programs of the time before the move find what has moved already, and leave it there.
TEST_P(BothFamilies, BesideFindsWithoutMovingAndFollowsNothing) {
    const bool v6 = GetParam();
    Tables tables(64, 128);
    sluice_flow_pair pair = numbered(v6, 1);
    ASSERT_EQ(tables.old.insert(pair, v6), SLUICE_FLOW_INSERTED);
    const sluice_flow_view beside = tables.fresh.beside(tables.old, SLUICE_FLOW_BESIDE);
    sluice_flow_hit hit{};
    ASSERT_TRUE(find(beside, pair.forward, hit, v6));
    EXPECT_EQ(hit.meta.backend, 1U);
    EXPECT_TRUE(v6 ? sluice_flow_follow(&beside, &hit, SLUICE_TCP_RST, 1)
                   : sluice_flow_follow(&beside, &hit, SLUICE_TCP_RST, 0));
    v6 ? sluice_flow_forget(&beside, &hit, 1) : sluice_flow_forget(&beside, &hit, 0);
    ASSERT_TRUE(tables.old.find(pair.forward, hit, v6));
    EXPECT_EQ(hit.state, SLUICE_FLOW_NEW);
    EXPECT_FALSE(tables.fresh.find(pair.forward, hit, v6));
}

// ICMP errors and tunnelled packets ask both tables, and leave the flow where it is.
TEST_P(BothFamilies, AnyFindsInBothTablesAndMovesNothing) {
    const bool v6 = GetParam();
    Tables tables(64, 128);
    sluice_flow_pair there = numbered(v6, 1);
    sluice_flow_pair here = numbered(v6, 2);
    ASSERT_EQ(tables.old.insert(there, v6), SLUICE_FLOW_INSERTED);
    ASSERT_EQ(tables.fresh.insert(here, v6), SLUICE_FLOW_INSERTED);
    const auto any = [&](const sluice_tuple& tuple, sluice_flow_hit& hit) {
        const sluice_flow_view* view = &tables.view;
        return v6 ? sluice_flow_find_any(view, &tuple, sluice_flow_hash(view, &tuple, 1), &hit, 1)
                  : sluice_flow_find_any(view, &tuple, sluice_flow_hash(view, &tuple, 0), &hit, 0);
    };
    sluice_flow_hit hit{};
    for (const auto& tuple : {there.forward, there.reverse}) {
        ASSERT_TRUE(any(tuple, hit));
        EXPECT_EQ(hit.meta.backend, 1U);
    }
    ASSERT_TRUE(any(here.reverse, hit));
    EXPECT_EQ(hit.meta.backend, 2U);
    EXPECT_FALSE(any(numbered(v6, 3).forward, hit));
    EXPECT_TRUE(tables.old.find(there.forward, hit, v6));
    EXPECT_FALSE(tables.fresh.find(there.forward, hit, v6));
}

TEST(FlowMove, FlowThatFindsNoRoomIsUsedWhereItIs) {
    Tables tables(4, 1);
    std::vector<sluice_flow_pair> flows;
    for (std::uint32_t n = 0; n < 5; ++n) {
        flows.push_back(numbered(false, n));
        ASSERT_EQ(tables.old.insert(flows.back(), false), SLUICE_FLOW_INSERTED);
        sluice_flow_hit hit{};
        ASSERT_TRUE(tables.old.find(flows.back().reverse, hit, false));
        ASSERT_TRUE(tables.old.follow(hit, SLUICE_TCP_SYN | SLUICE_TCP_ACK, false));
        ASSERT_TRUE(tables.old.find(flows.back().forward, hit, false));
        ASSERT_TRUE(tables.old.follow(hit, SLUICE_TCP_ACK, false));
    }
    for (const auto& flow : flows) {
        sluice_flow_hit hit{};
        EXPECT_TRUE(find(tables.view, flow.forward, hit, false));
        EXPECT_TRUE(find(tables.view, flow.reverse, hit, false));
        EXPECT_EQ(hit.meta.backend, flow.backend);
    }
    EXPECT_EQ(tables.fresh.occupied(), 8U);
    EXPECT_EQ(tables.old.occupied(), 2U);
}

// Two CPUs do packets of all flows, in both directions, while a third moves them: each is found
// each time, and is
// there once in the end.
TEST_P(BothFamilies, NoFlowIsLostOrDoubledUnderTraffic) {
    const bool v6 = GetParam();
    constexpr std::uint32_t kFlows = 12000;
    constexpr std::uint32_t kBuckets = 1U << 15U;  // no bucket overflows
    Tables tables(kBuckets, 2 * kBuckets);
    std::vector<sluice_flow_pair> flows;
    for (std::uint32_t n = 0; n < kFlows; ++n) {
        flows.push_back(numbered(v6, n));
        ASSERT_EQ(tables.old.insert(flows.back(), v6), SLUICE_FLOW_INSERTED);
    }
    std::atomic<bool> moved{false};
    std::atomic<std::uint32_t> missed{0};
    std::atomic<std::uint32_t> wrong{0};
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, t] {
            std::uint32_t random = t + 1;
            while (!moved) {
                random = random * 1664525U + 1013904223U;
                const sluice_flow_pair& flow = flows[(random >> 8U) % kFlows];
                const bool reverse = (random >> 7U & 1U) != 0;
                sluice_flow_hit hit{};
                if (!find(tables.view, reverse ? flow.reverse : flow.forward, hit, v6)) {
                    ++missed;
                    continue;
                }
                wrong += hit.meta.backend != flow.backend ? 1 : 0;
                const int followed = v6 ? sluice_flow_follow(&tables.view, &hit, SLUICE_TCP_ACK, 1)
                                        : sluice_flow_follow(&tables.view, &hit, SLUICE_TCP_ACK, 0);
                missed += followed == 0 ? 1 : 0;
            }
        });
    }
    bool again = true;
    for (int pass = 0; again && pass < 1000; ++pass) {
        again = false;
        for (std::uint32_t index = 0; index < kBuckets * SLUICE_FLOW_WAYS; ++index) {
            again |= move_slot(tables.view, index, v6) == SLUICE_FLOW_CARRIED_AGAIN;
        }
    }
    moved = true;
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(missed.load(), 0U);
    EXPECT_EQ(wrong.load(), 0U);
    for (const auto& flow : flows) {
        sluice_flow_hit hit{};
        ASSERT_TRUE(tables.fresh.find(flow.forward, hit, v6));
        EXPECT_EQ(hit.meta.backend, flow.backend);
        ASSERT_TRUE(tables.fresh.find(flow.reverse, hit, v6));
        EXPECT_FALSE(tables.old.find(flow.forward, hit, v6));
    }
    if (!v6) {
        EXPECT_EQ(tables.fresh.occupied(), 2U * kFlows) << "a flow is there twice";
        EXPECT_EQ(tables.old.occupied(), 0U);
    }
}

}  // namespace
}  // namespace sluice
