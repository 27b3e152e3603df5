// The flow table natively: both directions, one choice under concurrency, who is evicted first,
// source ports.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <map>
#include <thread>
#include <vector>

#include "bpf/lib/test_flow_sound.h"
#include "bpf/lib/test_flow_table.h"

namespace sluice {
namespace {

class BothFamilies : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Flow, BothFamilies, ::testing::Bool());

TEST_P(BothFamilies, EachDirectionIsFoundAndRewrittenToTheOther) {
    const bool v6 = GetParam();
    Table table(16);
    sluice_flow_pair pair = pair_of(v6, 40000);
    ASSERT_EQ(table.insert(pair, v6), SLUICE_FLOW_INSERTED);
    sluice_flow_hit hit{};
    ASSERT_TRUE(table.find(pair.forward, hit, v6));
    EXPECT_TRUE(same(hit.new_src, pair.forward.src));
    EXPECT_TRUE(same(hit.new_dst, pair.reverse.src));
    EXPECT_EQ(hit.new_ports.port_be[0], SLUICE_HTON16(40000));
    EXPECT_EQ(hit.new_ports.port_be[1], SLUICE_HTON16(8080));
    EXPECT_EQ(hit.meta.service, 3U);
    EXPECT_EQ(hit.meta.backend, 4U);
    EXPECT_EQ(hit.meta.incarnation, 5U);
    EXPECT_EQ(hit.meta.flags, 0);
    ASSERT_TRUE(table.find(pair.reverse, hit, v6));
    EXPECT_TRUE(same(hit.new_src, pair.forward.dst));
    EXPECT_TRUE(same(hit.new_dst, pair.forward.src));
    EXPECT_EQ(hit.new_ports.port_be[0], SLUICE_HTON16(80));
    EXPECT_EQ(hit.new_ports.port_be[1], SLUICE_HTON16(40000));
    EXPECT_EQ(hit.meta.flags, SLUICE_FLOW_REVERSE);
    EXPECT_EQ(table.insert(pair, v6), SLUICE_FLOW_EXISTS);
    sluice_tuple other = pair.forward;
    other.protocol = 17;
    EXPECT_FALSE(table.find(other, hit, v6));
}

// Wherever in its bucket a flow lies, and whoever was there before, both ways of looking say the same.
TEST_P(BothFamilies, ASoonerFindSaysWhatFindSays) {
    const bool v6 = GetParam();
    Table table(8);
    std::vector<sluice_tuple> keys;
    std::size_t inserted = 0;
    for (std::uint16_t port = 1024; port < 1024 + 128; ++port) {
        sluice_flow_pair pair = pair_of(v6, port);
        inserted += table.insert(pair, v6) == SLUICE_FLOW_INSERTED ? 1 : 0;
        keys.push_back(pair.forward);
        keys.push_back(pair.reverse);
    }
    ASSERT_GT(inserted, 100U);
    std::size_t found = 0;
    for (const sluice_tuple& key : keys) {
        sluice_flow_hit hit{}, sooner{};
        const bool there = table.find(key, hit, v6);
        ASSERT_EQ(table.find_soon(key, sooner, v6), there);
        if (!there) {
            continue;
        }
        ++found;
        EXPECT_TRUE(same(sooner.new_src, hit.new_src));
        EXPECT_TRUE(same(sooner.new_dst, hit.new_dst));
        EXPECT_EQ(sooner.new_ports.both_be, hit.new_ports.both_be);
        EXPECT_EQ(sooner.slot, hit.slot);
        EXPECT_EQ(sooner.id, hit.id);
        EXPECT_EQ(sooner.state, hit.state);
        EXPECT_EQ(sooner.meta.peer, hit.meta.peer);
        v6 ? sluice_flow_forget(&table.view(), &hit, 1) : sluice_flow_forget(&table.view(), &hit, 0);
        EXPECT_FALSE(table.find_soon(key, sooner, v6));
    }
    // 8 buckets of 8 slots, of which each flow takes two: the table was full, and nothing was counted twice.
    EXPECT_GT(found, 20U);
    EXPECT_LE(found, 32U);
}

TEST_P(BothFamilies, ForgettingOneHalfForgetsBoth) {
    const bool v6 = GetParam();
    Table table(16);
    sluice_flow_pair pair = pair_of(v6, 40000);
    ASSERT_EQ(table.insert(pair, v6), SLUICE_FLOW_INSERTED);
    sluice_flow_hit hit{};
    ASSERT_TRUE(table.find(pair.reverse, hit, v6));
    v6 ? sluice_flow_forget(&table.view(), &hit, 1) : sluice_flow_forget(&table.view(), &hit, 0);
    EXPECT_FALSE(table.find(pair.forward, hit, v6));
    EXPECT_FALSE(table.find(pair.reverse, hit, v6));
    EXPECT_EQ(table.insert(pair, v6), SLUICE_FLOW_INSERTED);
}

// A connection from the first packet to the last, seen from both halves.
TEST_P(BothFamilies, TcpStatesFollowThePackets) {
    const bool v6 = GetParam();
    Table table(16);
    sluice_flow_pair pair = pair_of(v6, 40000);
    ASSERT_EQ(table.insert(pair, v6), SLUICE_FLOW_INSERTED);
    struct Step {
        bool reverse;
        std::uint8_t flags;
        int state;
    };
    const std::vector<Step> steps = {
        {false, SLUICE_TCP_SYN, SLUICE_FLOW_NEW},
        {true, SLUICE_TCP_SYN | SLUICE_TCP_ACK, SLUICE_FLOW_ANSWERED},
        {false, SLUICE_TCP_SYN, SLUICE_FLOW_ANSWERED},
        {false, SLUICE_TCP_ACK, SLUICE_FLOW_ESTABLISHED},
        {true, SLUICE_TCP_ACK, SLUICE_FLOW_ESTABLISHED},
        {false, SLUICE_TCP_FIN | SLUICE_TCP_ACK, SLUICE_FLOW_CLOSING},
        {false, SLUICE_TCP_FIN | SLUICE_TCP_ACK, SLUICE_FLOW_CLOSING},
        {true, SLUICE_TCP_ACK, SLUICE_FLOW_CLOSING},
        {true, SLUICE_TCP_FIN | SLUICE_TCP_ACK, SLUICE_FLOW_CLOSED},
        {false, SLUICE_TCP_ACK, SLUICE_FLOW_CLOSED},
    };
    for (std::size_t i = 0; i < steps.size(); ++i) {
        sluice_flow_hit hit{};
        ASSERT_TRUE(table.find(steps[i].reverse ? pair.reverse : pair.forward, hit, v6));
        ASSERT_TRUE(table.follow(hit, steps[i].flags, v6));
        for (const sluice_tuple& half : {pair.forward, pair.reverse}) {
            ASSERT_TRUE(table.find(half, hit, v6));
            EXPECT_EQ(hit.state, steps[i].state) << "step " << i;
        }
    }
}

TEST(Flow, ResetClosesAndDatagramsAfterAnAnswerEstablish) {
    Table table(16);
    sluice_flow_pair tcp = pair_of(false, 1);
    sluice_flow_pair udp = pair_of(false, 2, 17);
    ASSERT_EQ(table.insert(tcp, false), SLUICE_FLOW_INSERTED);
    ASSERT_EQ(table.insert(udp, false), SLUICE_FLOW_INSERTED);
    sluice_flow_hit hit{};
    ASSERT_TRUE(table.find(tcp.reverse, hit, false));
    ASSERT_TRUE(table.follow(hit, SLUICE_TCP_RST, false));
    EXPECT_EQ(hit.state, SLUICE_FLOW_CLOSED);
    ASSERT_TRUE(table.find(udp.forward, hit, false));
    ASSERT_TRUE(table.follow(hit, 0, false));
    EXPECT_EQ(hit.state, SLUICE_FLOW_NEW);
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(table.find(udp.reverse, hit, false));
        ASSERT_TRUE(table.follow(hit, 0, false));
        EXPECT_EQ(hit.state, SLUICE_FLOW_ANSWERED);
    }
    ASSERT_TRUE(table.find(udp.forward, hit, false));
    EXPECT_EQ(hit.state, SLUICE_FLOW_ANSWERED);
    ASSERT_TRUE(table.follow(hit, 0, false));
    for (const sluice_tuple& half : {udp.forward, udp.reverse}) {
        ASSERT_TRUE(table.find(half, hit, false));
        EXPECT_EQ(hit.state, SLUICE_FLOW_ESTABLISHED);
    }
}

// SERVICE-SEMANTICS: timeouts of datagrams, unanswered and answered.
TEST(Flow, UdpTimesOutByWhetherItWasAnswered) {
    Table table(16);
    sluice_flow_pair pair = pair_of(false, 2, 17);
    ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
    sluice_flow_hit hit{};
    const auto expired_after = [&](unsigned ticks) {
        table.view().now = static_cast<std::uint16_t>(1000 + ticks);
        EXPECT_TRUE(table.find(pair.forward, hit, false));
        const bool expired = sluice_flow_expired(&table.view(), &hit) != 0;
        table.view().now = 1000;
        return expired;
    };
    EXPECT_FALSE(expired_after(30));
    EXPECT_TRUE(expired_after(31));
    ASSERT_TRUE(table.find(pair.reverse, hit, false));
    ASSERT_TRUE(table.follow(hit, 0, false));
    EXPECT_FALSE(expired_after(180));
    EXPECT_TRUE(expired_after(181));
    ASSERT_TRUE(table.find(pair.forward, hit, false));
    ASSERT_TRUE(table.follow(hit, 0, false));
    EXPECT_FALSE(expired_after(180));
    EXPECT_TRUE(expired_after(181));
}

// One-way traffic keeps the half that sees no packet alive.
TEST(Flow, EitherDirectionRefreshesBothHalves) {
    Table table(16);
    sluice_flow_pair pair = pair_of(false, 2, 17);
    ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
    sluice_flow_hit hit{};
    table.view().now = 1020;
    ASSERT_TRUE(table.find(pair.forward, hit, false));
    ASSERT_TRUE(table.follow(hit, 0, false));
    ASSERT_TRUE(table.find(pair.reverse, hit, false));
    EXPECT_EQ(hit.seen, 1020);
}

// One bucket, so that all flows compete: four flows of two halves fill it.
TEST(Flow, EvictionTakesClosedThenHalfOpenAndSparesEstablished) {
    Table table(1);
    std::vector<sluice_flow_pair> flows;
    for (std::uint16_t i = 0; i < 4; ++i) {
        flows.push_back(pair_of(false, static_cast<std::uint16_t>(1000 + i)));
        ASSERT_EQ(table.insert(flows.back(), false), SLUICE_FLOW_INSERTED);
    }
    const auto drive = [&](const sluice_tuple& half, std::uint8_t flags) {
        sluice_flow_hit hit{};
        ASSERT_TRUE(table.find(half, hit, false));
        ASSERT_TRUE(table.follow(hit, flags, false));
    };
    for (const int i : {0, 1}) {
        drive(flows[static_cast<std::size_t>(i)].reverse, SLUICE_TCP_SYN | SLUICE_TCP_ACK);
        drive(flows[static_cast<std::size_t>(i)].forward, SLUICE_TCP_ACK);
    }
    drive(flows[3].reverse, SLUICE_TCP_RST);  // 0, 1 established; 2 half-open; 3 closed
    table.view().now = 1003;

    const auto alive = [&](std::size_t i) {
        sluice_flow_hit hit{};
        const bool forward = table.find(flows[i].forward, hit, false);
        EXPECT_EQ(forward, table.find(flows[i].reverse, hit, false)) << "flows go whole";
        return forward;
    };
    sluice_flow_pair fifth = pair_of(false, 5000);
    ASSERT_EQ(table.insert(fifth, false), SLUICE_FLOW_INSERTED);
    EXPECT_FALSE(alive(3));
    EXPECT_TRUE(alive(2));
    sluice_flow_pair sixth = pair_of(false, 5001);
    ASSERT_EQ(table.insert(sixth, false), SLUICE_FLOW_INSERTED);
    EXPECT_FALSE(alive(2));
    EXPECT_TRUE(alive(0));
    EXPECT_TRUE(alive(1));
    for (std::uint16_t i = 0; i < 1000; ++i) {  // a flood of half-open flows
        sluice_flow_pair attack = pair_of(false, static_cast<std::uint16_t>(6000 + i));
        (void)table.insert(attack, false);
    }
    EXPECT_TRUE(alive(0));
    EXPECT_TRUE(alive(1));
    EXPECT_EQ(table.occupied(), 8U);
}

TEST(Flow, BucketOfFlowsInUseIsFullUntilTheyAreIdle) {
    Table table(1);
    for (std::uint16_t i = 0; i < 4; ++i) {
        sluice_flow_pair pair = pair_of(false, static_cast<std::uint16_t>(1000 + i), 17);
        ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
        sluice_flow_hit hit{};
        for (const sluice_tuple& half : {pair.reverse, pair.forward}) {
            ASSERT_TRUE(table.find(half, hit, false));
            ASSERT_TRUE(table.follow(hit, 0, false));
        }
    }
    sluice_flow_pair late = pair_of(false, 2000, 17);
    EXPECT_EQ(table.insert(late, false), SLUICE_FLOW_FULL);
    table.view().now = 1000 + SLUICE_FLOW_PROTECTED_TICKS + 1;
    EXPECT_EQ(table.insert(late, false), SLUICE_FLOW_INSERTED);
}

// Most datagrams are a question and an answer: thousands of clients a second must not fill the table with them.
TEST(Flow, AnsweredQuestionsMakeRoomAndDialoguesDoNot) {
    Table table(1);
    sluice_flow_hit hit{};
    const auto follow = [&](const sluice_tuple& half) {
        ASSERT_TRUE(table.find(half, hit, false));
        ASSERT_TRUE(table.follow(hit, 0, false));
    };
    sluice_flow_pair dialogue = pair_of(false, 999, 17);
    ASSERT_EQ(table.insert(dialogue, false), SLUICE_FLOW_INSERTED);
    follow(dialogue.reverse);
    follow(dialogue.forward);
    for (std::uint16_t i = 0; i < 1000; ++i) {
        sluice_flow_pair question = pair_of(false, static_cast<std::uint16_t>(1000 + i), 17);
        ASSERT_EQ(table.insert(question, false), SLUICE_FLOW_INSERTED) << i;
        follow(question.reverse);
    }
    EXPECT_TRUE(table.find(dialogue.forward, hit, false) && table.find(dialogue.reverse, hit, false));
}

// With direct return of the backend's end nothing is seen: a connection that the client has closed goes on closing.
TEST(Flow, IdleHalfClosedConnectionsMakeRoomBeforeIdleOpenOnes) {
    Table table(1);
    std::vector<sluice_flow_pair> flows;
    sluice_flow_hit hit{};
    for (std::uint16_t i = 0; i < SLUICE_FLOW_WAYS; ++i) {
        flows.push_back(pair_of(false, static_cast<std::uint16_t>(1000 + i)));
        flows.back().flags = SLUICE_FLOW_TUNNEL;
        ASSERT_EQ(table.insert(flows.back(), false), SLUICE_FLOW_INSERTED);
        ASSERT_TRUE(table.find(flows.back().forward, hit, false));
        ASSERT_TRUE(table.follow(hit, SLUICE_TCP_ACK, false));
    }
    ASSERT_TRUE(table.find(flows[5].forward, hit, false));
    ASSERT_TRUE(table.follow(hit, SLUICE_TCP_FIN | SLUICE_TCP_ACK, false));
    ASSERT_EQ(hit.state, SLUICE_FLOW_CLOSING);
    sluice_flow_pair late = pair_of(false, 2000);
    late.flags = SLUICE_FLOW_TUNNEL;
    EXPECT_EQ(table.insert(late, false), SLUICE_FLOW_FULL);
    table.view().now = 1000 + SLUICE_FLOW_PROTECTED_CLOSING_TICKS + 1;
    EXPECT_EQ(table.insert(late, false), SLUICE_FLOW_INSERTED);
    for (std::size_t i = 0; i < flows.size(); ++i) {
        EXPECT_EQ(table.find(flows[i].forward, hit, false), i != 5) << i;
    }
}

// A bucket that is full of live connections is no reason to refuse one: half of the slots in use by flows that are all
// protected, each is there with both halves, and nobody had to go for another.
TEST_P(BothFamilies, FullBucketsSpillIntoTheirSecond) {
    const bool v6 = GetParam();
    const int family = v6 ? 1 : 0;
    constexpr std::uint32_t kBuckets = 4096;
    constexpr std::uint16_t kFlows = kBuckets * SLUICE_FLOW_WAYS / 2 / 2;  // two halves each
    Table table(kBuckets);
    std::vector<sluice_flow_pair> flows;
    sluice_flow_hit hit{};
    std::uint32_t refused = 0;
    for (std::uint16_t i = 0; i < kFlows; ++i) {
        sluice_flow_pair pair = pair_of(v6, static_cast<std::uint16_t>(1024 + i));
        pair.state = SLUICE_FLOW_ESTABLISHED;
        const int result = table.insert(pair, v6);
        if (result == SLUICE_FLOW_FULL) {
            ++refused;
            continue;
        }
        ASSERT_EQ(result, SLUICE_FLOW_INSERTED) << i;
        flows.push_back(pair);
    }
    EXPECT_LE(refused, kFlows / 1000);
    std::uint32_t spilled = 0;
    for (const sluice_flow_pair& pair : flows) {
        for (const sluice_tuple& half : {pair.forward, pair.reverse}) {
            ASSERT_TRUE(table.find(half, hit, v6));
            ASSERT_TRUE(table.follow(hit, SLUICE_TCP_ACK, v6));
            const std::uint64_t hash = sluice_flow_hash(&table.view(), &half, family);
            const bool away = hit.slot / SLUICE_FLOW_WAYS != sluice_flow_bucket_of(&table.view(), hash, family);
            spilled += away ? 1 : 0;
            EXPECT_TRUE(sluice_flow_may_know(&table.view(), hash, family));
            EXPECT_EQ(table.find_soon(half, hit, v6), away ? SLUICE_FLOW_ASK_SECOND : 1);
        }
        sluice_flow_pair again = pair;
        ASSERT_EQ(table.insert(again, v6), SLUICE_FLOW_EXISTS);
    }
    EXPECT_GT(spilled, 0U);
    EXPECT_EQ(flow_fault(table.view(), family), "");

    // What is forgotten, or has expired, makes room again, in whichever bucket it was.
    for (const sluice_flow_pair& pair : flows) {
        ASSERT_TRUE(table.find(pair.forward, hit, v6));
        sluice_flow_forget(&table.view(), &hit, family);
        ASSERT_FALSE(table.find(pair.reverse, hit, v6));
        sluice_flow_pair again = pair;
        ASSERT_EQ(table.insert(again, v6), SLUICE_FLOW_INSERTED);
    }
    EXPECT_EQ(flow_fault(table.view(), family), "");
    table.view().now = 1000 + SLUICE_FLOW_TIMEOUT_ESTABLISHED + 1;
    for (const sluice_flow_pair& pair : flows) {
        sluice_flow_pair again = pair;
        ASSERT_EQ(table.insert(again, v6), SLUICE_FLOW_INSERTED);
    }
    EXPECT_EQ(flow_fault(table.view(), family), "");
}

// An idle connection is displaced only where neither bucket has anything else to give.
TEST(Flow, IdleConnectionsStayWhileTheSecondBucketHasRoom) {
    Table table(64);
    std::vector<sluice_flow_pair> flows;
    sluice_flow_hit hit{};
    for (std::uint16_t i = 0; i < 130; ++i) {
        sluice_flow_pair pair = pair_of(false, static_cast<std::uint16_t>(1024 + i));
        pair.state = SLUICE_FLOW_ESTABLISHED;
        ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
        flows.push_back(pair);
        table.view().now = static_cast<std::uint16_t>(1000 + 100 * i);
    }
    for (const sluice_flow_pair& pair : flows) {
        EXPECT_TRUE(table.find(pair.forward, hit, false) && table.find(pair.reverse, hit, false));
    }
}

// Kubernetes 56903: packets of one flow on several CPUs at once end with one choice, found by all.
TEST_P(BothFamilies, RacingInsertsEndWithOneChoice) {
    const bool v6 = GetParam();
    constexpr int kThreads = 4;
    constexpr std::uint16_t kFlows = 4000;
    Table table(8192);
    std::vector<std::map<std::uint16_t, std::uint32_t>> chosen(kThreads);
    std::atomic<int> inserted{0};
    std::barrier start(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            start.arrive_and_wait();
            for (std::uint16_t i = 0; i < kFlows; ++i) {
                sluice_flow_pair pair = pair_of(v6, static_cast<std::uint16_t>(1000 + i));
                pair.reverse.src.word_be[3] = SLUICE_HTON32(0x0af40000U + static_cast<__u32>(t));
                pair.backend = static_cast<__u32>(t);
                sluice_flow_hit hit{};
                while (!table.find(pair.forward, hit, v6)) {
                    const int result = table.insert(pair, v6);
                    if (result == SLUICE_FLOW_INSERTED) {
                        inserted.fetch_add(1);
                    }
                    ASSERT_NE(result, SLUICE_FLOW_FULL);
                    ASSERT_NE(result, SLUICE_FLOW_NO_PORT);
                }
                chosen[static_cast<std::size_t>(t)][i] = hit.meta.backend;
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(inserted.load(), kFlows) << "a flow was inserted twice, or lost";
    for (int t = 1; t < kThreads; ++t) {
        EXPECT_EQ(chosen[static_cast<std::size_t>(t)], chosen[0]);
    }
    if (!v6) {
        EXPECT_EQ(table.occupied(), 2U * kFlows);
    }
}

// Eviction, look-up and following race in a small table; what is found is always whole.
TEST(Flow, ReadersNeverSeeHalfAnEntry) {
    constexpr int kThreads = 4;
    Table table(8);
    std::atomic<bool> torn{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            std::uint32_t random = static_cast<std::uint32_t>(t) * 7919U + 1;
            for (int i = 0; i < 100000; ++i) {
                random = random * 1664525U + 1013904223U;
                const auto port = static_cast<std::uint16_t>(1000 + (random >> 8U) % 200);
                sluice_flow_pair pair = pair_of(false, port);
                pair.reverse.src.word_be[3] = SLUICE_HTON32(0x0af40000U + port);
                pair.service = pair.backend = pair.incarnation = port;
                sluice_flow_hit hit{};
                if (!table.find(pair.forward, hit, false)) {
                    (void)table.insert(pair, false);
                    continue;
                }
                if (hit.meta.service != port || hit.meta.backend != port ||
                    hit.new_dst.word_be[3] != pair.reverse.src.word_be[3]) {
                    torn = true;
                }
                (void)table.follow(hit, i % 5 == 0 ? SLUICE_TCP_RST : SLUICE_TCP_ACK, false);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_FALSE(torn.load());
    EXPECT_LE(table.occupied(), 64U);
}

}  // namespace
}  // namespace sluice
