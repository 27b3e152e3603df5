// Flows move to a larger table between bursts, while packets of them come: none is lost, none is steered anew.
#include "dataplane/dpdk/pipeline/test_pipeline.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint16_t kFirstPort = 40000;
constexpr int kFlows = 400;

// Connections of a client outside through an external address, masqueraded, to one of three backends.
class Growing {
public:
    explicit Growing(bool v6, std::uint32_t flows = 1024)
        : world(1, world_node(), flows), v6_(v6), shape_{v6, Protocol::kTcp} {
        world.upsert(web(v6, Protocol::kTcp, {remote_pod(v6), pod_behind(3, v6), other_local_pod(v6)}));
    }
    Outcome send(int flow, std::uint8_t flags) {
        return world.run(packet(shape_, outside(v6_), external_ip(v6_), port_of(flow), 80, flags), kUplink);
    }
    // Established; or dropped, for want of room.
    bool try_to_open(int flow) {
        const Outcome out = send(flow, kSyn);
        if (out.verdict != Verdict::kForward) return false;
        if (flow >= static_cast<int>(sent_.size())) sent_.resize(static_cast<std::size_t>(flow) + 1);
        sent_[static_cast<std::size_t>(flow)] = out;
        answer(flow, kSyn | kAck);
        check(flow);
        return true;
    }
    void open(int flow) { ASSERT_TRUE(try_to_open(flow)) << flow; }
    // From the client: to the backend and by the source port that it was given.
    void check(int flow) {
        const Outcome& first = sent_[static_cast<std::size_t>(flow)];
        const Outcome out = send(flow, kAck);
        ASSERT_EQ(out.verdict, Verdict::kForward) << flow;
        expect_tuple(out, first.view.src, first.view.sport, first.view.dst, 8080);
    }
    // From the backend: found by the other half.
    void answer(int flow, std::uint8_t flags = kAck) {
        const Outcome& first = sent_[static_cast<std::size_t>(flow)];
        Spec spec = packet(shape_, first.view.dst, first.view.src, 8080, first.view.sport, flags);
        if (first.out == kTagged) spec.vlans = {kTag};
        const Outcome out = world.run(spec, first.out);
        ASSERT_EQ(out.verdict, Verdict::kForward) << flow;
        expect_tuple(out, external_ip(v6_), 80, outside(v6_), port_of(flow));
    }
    // Whether that was all.
    bool carry(std::uint32_t buckets) {
        return world.pipeline().carry_flows(buckets, world.now) == Carrying::kDone;
    }
    [[nodiscard]] std::uint64_t connections() const { return world.served().connections; }

    World world;

private:
    static std::uint16_t port_of(int flow) { return static_cast<std::uint16_t>(kFirstPort + flow); }
    bool v6_;
    Shape shape_;
    std::vector<Outcome> sent_;
};

class BothFamilies : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(FlowCarrier, BothFamilies, ::testing::Bool());

TEST_P(BothFamilies, NoFlowIsLostWhilePacketsOfEitherDirectionCome) {
    Growing growing(GetParam());
    // Now and then a bucket is full of others.
    std::vector<int> open;
    const auto try_more = [&](int flow) {
        if (growing.try_to_open(flow)) open.push_back(flow);
    };
    for (int flow = 0; flow < kFlows; ++flow) try_more(flow);
    ASSERT_GT(open.size(), 390U);
    growing.world.grow(0, SLUICE_FLOW_BESIDE);
    for (const int flow : open) growing.check(flow);
    growing.world.grow(0, SLUICE_FLOW_MOVE);
    std::size_t turn = 0;
    for (; !growing.carry(1); ++turn) {
        // One from each side, and a new one, between any two steps.
        growing.check(open[turn * 5 % open.size()]);
        growing.answer(open[turn * 11 % open.size()]);
        if (turn < 40) try_more(kFlows + static_cast<int>(turn));
        ASSERT_LT(turn, 10'000U);
    }
    EXPECT_GE(turn, 255U) << "a bucket a step";
    growing.world.end_growth(0);
    for (const int flow : open) {
        growing.check(flow);
        growing.answer(flow);
    }
    EXPECT_EQ(growing.connections(), open.size()) << "some were opened twice";
    const CarriedFlows& carried = growing.world.pipeline().carried_flows();
    EXPECT_GT(carried.moved, 200U);
    EXPECT_LT(carried.moved, open.size()) << "packets brought some over";
    EXPECT_EQ(carried.expired + carried.lost, 0U);
}

TEST_P(BothFamilies, WhatIsOverIsLeftBehind) {
    Growing growing(GetParam());
    for (int flow = 0; flow < 50; ++flow) growing.send(flow, kSyn);
    growing.world.now.tick = static_cast<std::uint16_t>(growing.world.now.tick + SLUICE_FLOW_TIMEOUT_NEW + 1);
    growing.open(50);
    growing.world.grow(0, SLUICE_FLOW_MOVE);
    while (!growing.carry(16)) {
    }
    EXPECT_EQ(growing.world.pipeline().carried_flows().moved, 1U);
    EXPECT_EQ(growing.world.pipeline().carried_flows().expired, 50U);
}

// A bucket of the larger table that is full of flows in use: those of the smaller stay where they are, and are used
// there, until there is room.
TEST_P(BothFamilies, FlowsThatFindNoPlaceWaitAndGoOn) {
    Growing growing(GetParam(), 64);  // 16 buckets, which become 32
    std::vector<int> open;
    int flow = 0;
    for (; flow < 40; ++flow) {
        if (growing.try_to_open(flow)) open.push_back(flow);
    }
    ASSERT_GT(open.size(), 30U);
    growing.world.grow(0, SLUICE_FLOW_MOVE);
    int refused = 0;
    for (; flow < 600; ++flow) refused += growing.try_to_open(flow) ? 0 : 1;
    ASSERT_GT(refused, 100) << "the larger table is full";
    int ticks = 0;
    for (; !growing.carry(64); ++ticks) {
        for (const int known : open) {
            growing.check(known);
            growing.answer(known);
        }
        ++growing.world.now.tick;
    }
    EXPECT_GE(ticks, SLUICE_FLOW_PROTECTED_TICKS) << "until others had been silent for long";
    EXPECT_EQ(growing.world.pipeline().carried_flows().lost, 0U);
    growing.world.end_growth(0);
    for (const int known : open) growing.check(known);
}

TEST(FlowCarrier, WithoutAnotherTableThereIsNothingToCarry) {
    Growing growing(false);
    growing.open(0);
    EXPECT_TRUE(growing.carry(1));
    growing.world.grow(0, SLUICE_FLOW_BESIDE);
    EXPECT_TRUE(growing.carry(1));
    growing.check(0);
    EXPECT_EQ(growing.world.pipeline().carried_flows().moved, 0U);
}

}  // namespace
}  // namespace sluice::dpdk
