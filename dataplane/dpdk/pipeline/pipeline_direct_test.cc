// Direct server return: what the load balancer's node sends, the backend's node takes, and its pod answers.
#include "dataplane/dpdk/pipeline/test_pipeline.h"

namespace sluice::dpdk {
namespace {

using image::Forwarding;

class PipelineDirect : public ::testing::TestWithParam<Forwarding> {};

TEST_P(PipelineDirect, FromOneNodeToTheOthersPodAndStraightBack) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        const bool v6 = shape.v6;
        // Both nodes have the same address here, and the pod is called alike: what one node sends, the other takes.
        World balancer;
        World backend;
        image::Service there = web(v6, shape.protocol, {local_pod(v6)}, false, GetParam());
        for (auto* set : {&there.internal, &there.external, &there.inside}) set->backends[0].local = false;
        balancer.upsert(there);
        backend.upsert(web(v6, shape.protocol, {local_pod(v6)}, false, GetParam()));
        for (const std::uint8_t flags : {kSyn, kAck, kAck}) {
            const Bytes client = packets::build(packet(shape, outside(v6), external_ip(v6), 40000, 80, flags));
            const Outcome sent = balancer.run(client, kUplink);
            ASSERT_EQ(sent.verdict, Verdict::kForward);
            if (GetParam() == Forwarding::kTunnel) {
                // The client's packet, untouched, behind an outer header.
                EXPECT_EQ(sent.frame.size(), client.size() + (v6 ? 40 : 20));
                EXPECT_TRUE(std::equal(client.begin() + 14, client.end(),
                                       sent.frame.end() - static_cast<std::ptrdiff_t>(client.size()) + 14));
            } else {
                EXPECT_EQ(sent.view.error, "");
                EXPECT_EQ(sent.view.src, outside(v6));
                EXPECT_EQ(sent.view.dst, local_pod(v6));
            }
            const Outcome given = backend.run(sent.frame, kUplink);
            const bool named = GetParam() == Forwarding::kTunnel || shape.protocol != Protocol::kTcp || flags == kSyn;
            if (named) {
                ASSERT_EQ(given.verdict, Verdict::kForward);
                EXPECT_EQ(given.out, kPods);
                EXPECT_EQ(given.view.l4 - given.view.l3, v6 ? 40U : 20U);
            } else {
                // As it is to the pod, by the stack.
                ASSERT_EQ(given.verdict, Verdict::kKernel);
            }
            expect_tuple(given, outside(v6), 40000, local_pod(v6), 8080);
            const Outcome back = backend.run(packet(shape, local_pod(v6), outside(v6), 8080, 40000, kAck), kPods);
            ASSERT_EQ(back.verdict, Verdict::kForward);
            EXPECT_EQ(back.out, kUplink);
            expect_tuple(back, external_ip(v6), 80, outside(v6), 40000);
        }
        EXPECT_EQ(balancer.served().packets, 3U);
        EXPECT_EQ(balancer.served().connections, 1U);
    }
}

TEST_P(PipelineDirect, ALocalBackendNeedsNoDetour) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kTcp, {local_pod(v6)}, false, GetParam()));
        const Outcome out = world.run(packet({v6, Protocol::kTcp}, outside(v6), external_ip(v6), 40000, 80), kUplink);
        expect_tuple(out, outside(v6), 40000, local_pod(v6), 8080);
        EXPECT_EQ(out.out, kPods);
    }
}

TEST_P(PipelineDirect, TheRoomThatItTakesCountsForTheMtu) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kUdp, {pod_behind(4, v6)}, false, GetParam()));
        Spec spec = packet({v6, Protocol::kUdp}, outside(v6), external_ip(v6), 40000, 80);
        const std::uint32_t growth = GetParam() == Forwarding::kTunnel ? (v6 ? 40 : 20) : (v6 ? 24 : 8);
        const std::size_t fits = 1280 - growth - (v6 ? 48 : 28);
        spec.payload = std::string(fits, 'x');
        for (int time = 0; time < 2; ++time) {
            EXPECT_EQ(world.run(spec, kUplink).verdict, Verdict::kForward);
            Spec more = spec;
            more.payload += "x";
            const Outcome out = world.run(more, kUplink);
            ASSERT_EQ(out.verdict, Verdict::kReply);
            EXPECT_EQ(out.reason, SLUICE_DROP_TOO_BIG);
            EXPECT_EQ(out.view.icmp_rest, 1280 - growth);
            EXPECT_EQ(out.view.dst, outside(v6));
        }
    }
}

TEST_P(PipelineDirect, WithoutRoomBeforeTheFrameItIsCountedAndLost) {
    World world;
    world.headroom = 0;
    world.upsert(web(false, Protocol::kUdp, {remote_pod(false)}, false, GetParam()));
    for (int time = 0; time < 2; ++time) {
        const Outcome out =
            world.run(packet({false, Protocol::kUdp}, outside(false), external_ip(false), 40000, 80), kUplink);
        EXPECT_EQ(out.verdict, Verdict::kDrop);
        EXPECT_EQ(out.reason, SLUICE_DROP_REWRITE_FAILED);
    }
}

TEST(PipelineTunnel, WhatNamesAPodOfNoServiceIsDropped) {
    for (const bool v6 : {false, true}) {
        World balancer;
        World backend;
        image::Service there = web(v6, Protocol::kTcp, {local_pod(v6)}, false, Forwarding::kTunnel);
        for (auto* set : {&there.internal, &there.external, &there.inside}) set->backends[0].local = false;
        balancer.upsert(there);
        backend.upsert(web(v6, Protocol::kTcp, {other_local_pod(v6)}, false, Forwarding::kTunnel));
        const Outcome sent =
            balancer.run(packet({v6, Protocol::kTcp}, outside(v6), external_ip(v6), 40000, 80), kUplink);
        const Outcome out = backend.run(sent.frame, kUplink);
        EXPECT_EQ(out.verdict, Verdict::kDrop);
        EXPECT_EQ(out.reason, SLUICE_DROP_BAD_TUNNEL);
    }
}

INSTANTIATE_TEST_SUITE_P(Ways, PipelineDirect, ::testing::Values(Forwarding::kTunnel, Forwarding::kOption));

}  // namespace
}  // namespace sluice::dpdk
