// Tables of lcores that double while frames come: each flow is answered for at any time, by the half that its backend's
// answers are found by.
#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <filesystem>
#include <vector>

#include "api/abi/affinity.h"
#include "dataplane/dpdk/runtime/table_growth.h"
#include "dataplane/dpdk/runtime/test_rig.h"

namespace sluice::dpdk {
namespace {

using packets::Spec;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kFlows = 1024;  // as the rig has them, a lcore
constexpr auto kPatience = std::chrono::seconds(30);

class Growing {
public:
    struct Open {
        std::uint16_t port;   // the client's
        std::uint16_t sport;  // that the backend sees
    };


    explicit Growing(std::size_t lcores) : rig(lcores) {
        // Its lcores are turned here, and so are waited for.
        for (unsigned i = 0; i < lcores; ++i) rte_rcu_qsbr_thread_online(rig.lcores->grace().variable(), i);
    }
    ~Growing() {
        growth.reset();
        const auto count = static_cast<unsigned>(rig.lcores->size());
        for (unsigned i = 0; i < count; ++i) rte_rcu_qsbr_thread_offline(rig.lcores->grace().variable(), i);
    }
    Growing(const Growing&) = delete;
    Growing& operator=(const Growing&) = delete;

    void start(std::uint32_t flows_max, std::uint32_t affinity_max = 64) {
        growth = TableGrowth::start({*rig.lcores, rig.flows(), rig.shared(), mapped_, flows_max, affinity_max});
    }
    // Established, and so not to be displaced; or refused, since its bucket is full of such.
    void open(std::uint16_t port) {
        const auto send = [&](std::uint8_t flags) {
            Spec spec;
            spec.src = "10.244.1.5";
            spec.dst = "10.96.0.10";
            spec.sport = port;
            spec.tcp_flags = flags;
            rig.put(rig.pod, spec);
            turn();
            return rig.uplink.take();
        };
        const auto sent = send(0x02);
        if (sent.empty()) return;
        // Another port than its own, if only that one's bucket had room.
        open_.push_back({port, packets::read(sent[0]).sport});
        answered(open_.back());
        ASSERT_EQ(send(0x10).size(), 1U) << port;
    }
    void open_from(std::uint16_t first, std::size_t count) {
        for (std::size_t i = 0; i < count && !::testing::Test::HasFatalFailure(); ++i) {
            open(static_cast<std::uint16_t>(first + i));
        }
    }
    // The backend's answer reaches the client, from the service's address. An lcore that has lost the flow would send
    // it on as it is.
    void answered(const Open& flow) {
        Spec spec;
        spec.src = "10.0.0.1";
        spec.dst = "10.244.1.5";
        spec.sport = 8080;
        spec.dport = flow.sport;
        spec.tcp_flags = 0x12;
        rig.put(rig.uplink, spec);
        turn();
        const auto back = rig.pod.take();
        ASSERT_EQ(back.size(), 1U) << flow.port;
        const packets::View view = packets::read(back[0]);
        ASSERT_EQ(view.src, "10.96.0.10") << flow.port;
        ASSERT_EQ(view.dport, flow.port);
    }
    // One turn of each lcore after another, until the frame has left; what is to be carried may take longer.
    void turn() {
        for (int i = 0; i < 4; ++i) {
            for (std::size_t lcore = 0; lcore < rig.lcores->size(); ++lcore) rig.lcores->worker(lcore).turn();
        }
    }
    template <class Done>
    void turn_until(Done done) {
        const auto deadline = Clock::now() + kPatience;
        for (std::size_t i = 0; !done(); ++i) {
            answered(open_[i % open_.size()]);
            if (::testing::Test::HasFatalFailure()) return;
            ASSERT_LT(Clock::now(), deadline);
        }
    }
    void all_answered() {
        for (const Open& flow : open_) {
            answered(flow);
            if (::testing::Test::HasFatalFailure()) return;
        }
    }
    [[nodiscard]] std::uint64_t grown() const { return growth->counters().grown.value(); }

    Rig rig;
    std::unique_ptr<TableGrowth> growth;

private:
    std::mutex mapped_;
    std::vector<Open> open_;
};

class OnLcores : public ::testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Growth, OnLcores, ::testing::Values(1, 2));

TEST_P(OnLcores, FlowTablesDoubleTwiceUnderTrafficAndLoseNone) {
    const std::size_t lcores = GetParam();
    Growing growing(lcores);
    growing.start(kFlows * 8);
    std::size_t open = 0;
    for (std::uint64_t round = 1; round <= 2; ++round) {
        // Six in ten of what there is room for, then as many packets as it takes until they are over in a larger table.
        const std::size_t wanted = kFlows * lcores * 3 / 5 * round;
        growing.open_from(static_cast<std::uint16_t>(32768 + open), wanted - open);  // of both lcores
        open = wanted;
        growing.turn_until([&] { return growing.grown() >= lcores * round; });
        if (HasFatalFailure()) return;
    }
    growing.all_answered();
    EXPECT_GT(growing.rig.sum(&WorkerCounters::flows_moved), 0U);
    EXPECT_EQ(growing.rig.sum(&WorkerCounters::flows_lost), 0U);
    for (std::uint32_t lcore = 0; lcore < lcores; ++lcore) {
        const auto segment = FlowSegment::open_to_read(growing.rig.directory(), lcore);
        ASSERT_TRUE(segment) << segment.error().to_string();
        EXPECT_EQ((*segment)->memory().mode, SLUICE_FLOW_ALONE);
        EXPECT_EQ((*segment)->memory().config->bucket_count4, SLUICE_FLOW_BUCKETS(kFlows * 4));
        EXPECT_EQ((*segment)->memory().config->bucket_count6, SLUICE_FLOW_BUCKETS(kFlows)) << "nobody needed it";
    }
}

TEST(Growth, EndsAtTheLimitWhichIsCounted) {
    Growing growing(1);
    growing.start(kFlows);
    growing.open_from(1024, kFlows * 3 / 5);
    growing.turn_until([&] { return growing.growth->counters().flows_refused[0].value() != 0; });
    EXPECT_EQ(growing.grown(), 0U);
    EXPECT_EQ(growing.growth->counters().flows_refused[1].value(), 0U);
    EXPECT_EQ(growing.rig.flows()[0]->memory().config->bucket_count4, SLUICE_FLOW_BUCKETS(kFlows));
}

TEST(Growth, GoesOnWithWhatAPredecessorHadBegun) {
    Growing growing(1);
    growing.open_from(1024, 300);
    ASSERT_TRUE(growing.rig.flows()[0]->begin_growth(true, true));
    growing.rig.flows()[0]->move();
    growing.start(kFlows * 8);
    growing.turn_until([&] { return growing.grown() == 1; });
    growing.all_answered();
    EXPECT_EQ(growing.rig.flows()[0]->memory().config->bucket_count6, SLUICE_FLOW_BUCKETS(kFlows * 2));
    EXPECT_FALSE(std::filesystem::exists(growing.rig.directory() + "/larger-flows-0"));
}

// An lcore waits for a minute for the end of flows that are in the way of others.
TEST(Growth, AnLcoreThatWaitsKeepsNoOtherWaiting) {
    Growing growing(2);
    growing.open_from(32768, 200);  // of both
    FlowSegment& first = *growing.rig.flows()[0];
    ASSERT_TRUE(first.begin_growth(true, true));
    first.move();
    const FlowMemory memory = first.memory();
    for (std::uint32_t i = 0; i < memory.config->bucket_count4; ++i) {
        sluice_flow_set& set = memory.buckets4[i].set;
        for (std::uint32_t slot = 0; slot < SLUICE_FLOW_WAYS; ++slot) {
            set.word[slot] = 0x12340000U | SLUICE_FLOW_ESTABLISHED;
            set.protocol[slot] = 6;
            set.seen[slot] = shared_now().tick;
        }
    }
    growing.start(kFlows * 8);
    // Those of the other lcore; for this one's there is no room.
    growing.open_from(33000, kFlows * 3 / 2);
    growing.turn_until([&] { return growing.grown() == 1; });
    EXPECT_EQ(growing.rig.flows()[1]->memory().config->bucket_count4, SLUICE_FLOW_BUCKETS(kFlows * 2));
    EXPECT_EQ(first.memory().mode, SLUICE_FLOW_MOVE);
    growing.all_answered();
}

std::uint32_t clients_known(const SharedMemory& memory) {
    std::uint32_t known = 0;
    for (std::uint32_t i = 0; i < memory.affinity_config->bucket_count; ++i) {
        for (const __u64 word : memory.affinity[i].word) {
            known += (word & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_LIVE ? 1 : 0;
        }
    }
    return known;
}
void add_clients(const SharedMemory& memory, std::uint32_t count) {
    for (std::uint32_t client = 0; client < count; ++client) {
        sluice_affinity_bucket& bucket = memory.affinity[client / SLUICE_AFFINITY_WAYS];
        sluice_affinity& entry = bucket.entry[client % SLUICE_AFFINITY_WAYS];
        entry.client.word_be[3] = client;
        entry.timeout = 1U << 20U;
        bucket.word[client % SLUICE_AFFINITY_WAYS] =
            std::uint64_t{shared_now().affinity_time} << SLUICE_AFFINITY_USED_SHIFT | SLUICE_AFFINITY_LIVE;
    }
}

TEST(Growth, TheAffinityTableDoublesUpToItsLimit) {
    Growing growing(2);
    growing.rig.shared().memory().affinity_config->seed = 77;  // by which no bucket gets more than it holds
    add_clients(growing.rig.shared().memory(), 40);  // of 64
    growing.open(2000);
    growing.start(kFlows, 128);
    growing.turn_until([&] { return growing.grown() == 1; });
    const SharedMemory larger = growing.rig.shared().memory();
    EXPECT_EQ(larger.affinity_config->bucket_count, SLUICE_AFFINITY_BUCKETS(128));
    EXPECT_EQ(clients_known(larger), 40U);
    // Both lcores still agree on whose a frame is.
    growing.open_from(2001, 100);
    growing.all_answered();
    add_clients(larger, 80);
    growing.turn_until([&] { return growing.growth->counters().affinity_refused.value() != 0; });
    EXPECT_EQ(growing.grown(), 1U);
}

}  // namespace
}  // namespace sluice::dpdk
