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

// What the balancer's node makes of a client's packet: one hop older, and else the same from the IP header on.
Bytes one_hop_older(Spec spec) {
    --spec.ttl;
    const Bytes frame = packets::build(spec);
    return {frame.begin() + 14, frame.end()};
}

Bytes behind_ethernet(const Outcome& out) { return {out.frame.begin() + 14, out.frame.end()}; }

image::Service linked(bool v6, Protocol protocol, const std::vector<std::string>& backends) {
    image::Service out = web(v6, protocol, backends, false, Forwarding::kLink);
    out.choice = image::Choice::kTuple;
    return out;
}

// Both nodes know both backends, one on each, and each node calls its own one local.
TEST(PipelineLink, TheBackendsNodeChoosesTheSameAndAnswersTheClientItself) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        const bool v6 = shape.v6;
        World balancer;
        World backend;
        image::Service here = linked(v6, shape.protocol, {local_pod(v6), remote_pod(v6)});
        image::Service there = here;
        for (auto* set : {&there.internal, &there.external, &there.inside}) {
            for (auto& one : set->backends) one.local = !one.local;
        }
        balancer.upsert(there);
        backend.upsert(here);
        std::uint64_t detours = 0;
        for (std::uint16_t port = 40000; port < 40016; ++port) {
            for (const std::uint8_t flags : {kSyn, kAck, kAck}) {
                const Spec client = packet(shape, outside(v6), external_ip(v6), port, 80, flags);
                const Outcome sent = balancer.run(client, kUplink);
                ASSERT_EQ(sent.verdict, Verdict::kForward);
                if (sent.view.dst == remote_pod(v6)) break;
                // To the next hop towards a pod of this world, which stands for the backend's node.
                ++detours;
                EXPECT_EQ(sent.out, kPods);
                expect_macs(sent, v6 ? 6 : 4, 2);
                EXPECT_EQ(behind_ethernet(sent), one_hop_older(client));
                const Outcome given = backend.run(sent.frame, kUplink);
                ASSERT_EQ(given.verdict, Verdict::kForward);
                expect_tuple(given, outside(v6), port, local_pod(v6), 8080);
                const Outcome back = backend.run(packet(shape, local_pod(v6), outside(v6), 8080, port, kAck), kPods);
                ASSERT_EQ(back.verdict, Verdict::kForward);
                EXPECT_EQ(back.out, kUplink);
                expect_tuple(back, external_ip(v6), 80, outside(v6), port);
            }
        }
        // Sixteen connections, of which neither node has all.
        EXPECT_GT(detours, 0U);
        EXPECT_LT(detours, 48U);
        EXPECT_EQ(balancer.served().connections, 16U);
        EXPECT_EQ(backend.served().connections, detours / 3);
    }
}

TEST(PipelineLink, TaggedUnresolvedAndLocal) {
    for (const bool v6 : {false, true}) {
        const Spec client = packet({v6, Protocol::kUdp}, outside(v6), external_ip(v6), 40000, 80);
        for (int time = 0; time < 2; ++time) {
            World tagged;
            tagged.upsert(linked(v6, Protocol::kUdp, {pod_behind(3, v6)}));
            const Outcome by_tag = tagged.run(client, kUplink);
            EXPECT_EQ(by_tag.out, kTagged);
            EXPECT_EQ(by_tag.frame.size(), packets::build(client).size() + 4);
            EXPECT_EQ(by_tag.view.dst, external_ip(v6));
        }
        World unresolved;
        unresolved.upsert(linked(v6, Protocol::kUdp, {pod_behind(5, v6)}));
        for (int time = 0; time < 2; ++time) {
            const Outcome out = unresolved.run(client, kUplink);
            EXPECT_EQ(out.verdict, Verdict::kUnresolved);
            EXPECT_EQ(behind_ethernet(out), one_hop_older(client));
        }
        // The stack would send it who knows where.
        World nowhere;
        nowhere.upsert(linked(v6, Protocol::kUdp, {pod_behind(6, v6)}));
        for (int time = 0; time < 2; ++time) {
            const Outcome out = nowhere.run(client, kUplink);
            EXPECT_EQ(out.verdict, Verdict::kDrop);
            EXPECT_EQ(out.reason, SLUICE_DROP_NO_ROUTE);
        }
        World local;
        local.upsert(linked(v6, Protocol::kUdp, {local_pod(v6)}));
        expect_tuple(local.run(client, kUplink), outside(v6), 40000, local_pod(v6), 8080);
    }
}

TEST(PipelineLink, NothingIsAddedSoTheLinksOwnMtuCountsAndHopsDo) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(linked(v6, Protocol::kUdp, {pod_behind(4, v6)}));
        Spec spec = packet({v6, Protocol::kUdp}, outside(v6), external_ip(v6), 40000, 80);
        spec.payload = std::string(1280 - (v6 ? 48 : 28), 'x');
        for (int time = 0; time < 2; ++time) {
            EXPECT_EQ(behind_ethernet(world.run(spec, kUplink)), one_hop_older(spec));
            // Nobody cuts it up, whatever DF says: the stack would send it to the frontend.
            for (const bool df : {true, false}) {
                Spec more = spec;
                more.payload += "x";
                if (!v6) more.fragment = df ? 0x4000 : 0;
                const Outcome out = world.run(more, kUplink);
                ASSERT_EQ(out.verdict, Verdict::kReply);
                EXPECT_EQ(out.reason, SLUICE_DROP_TOO_BIG);
                EXPECT_EQ(out.view.icmp_rest, 1280U);
            }
            Spec last = spec;
            last.ttl = 1;
            const Outcome out = world.run(last, kUplink);
            ASSERT_EQ(out.verdict, Verdict::kReply);
            EXPECT_EQ(out.reason, SLUICE_DROP_TTL_EXPIRED);
        }
    }
}

TEST(PipelineLink, LaterFragmentsGoTheWayOfTheFirst) {
    for (const Protocol protocol : {Protocol::kUdp, Protocol::kSctp}) {
        World world;
        world.upsert(linked(false, protocol, {remote_pod(false)}));
        Spec first = packet({false, protocol}, outside(false), external_ip(false), 40000, 80);
        first.payload = std::string(64, 'x');
        first.fragment = 0x2000;
        Spec later = first;
        later.fragment = 12;
        for (const Spec& spec : {first, later}) {
            const Outcome out = world.run(spec, kUplink);
            ASSERT_EQ(out.verdict, Verdict::kForward);
            expect_macs(out, 0, 0);
            EXPECT_EQ(behind_ethernet(out), one_hop_older(spec));
        }
    }
}

TEST(PipelineLink, AClientThatIsTheBackendGoesThroughThisNodeBothWays) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(linked(v6, Protocol::kTcp, {remote_pod(v6)}));
        const Spec own = packet({v6, Protocol::kTcp}, remote_pod(v6), external_ip(v6), 40000, 80);
        const Outcome out = world.run(own, kUplink);
        EXPECT_EQ(out.view.src, node_ip(v6));
        EXPECT_EQ(out.view.dst, remote_pod(v6));
    }
}

INSTANTIATE_TEST_SUITE_P(Ways, PipelineDirect, ::testing::Values(Forwarding::kTunnel, Forwarding::kOption));

}  // namespace
}  // namespace sluice::dpdk
