// How what is translated leaves: tags, sizes, hops, neighbours, and the kernel.
#include "dataplane/dpdk/pipeline/test_pipeline.h"

namespace sluice::dpdk {
namespace {

// Once for a new flow, once for one that the stages of a burst know.
constexpr std::uint8_t kBoth[] = {kSyn, kAck};

TEST(PipelineSend, TagsArePutOnAndTakenOff) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kTcp, {pod_behind(3, v6)}));
        for (const std::uint8_t flags : kBoth) {
            const Outcome out =
                world.run(packet({v6, Protocol::kTcp}, local_pod(v6), cluster_ip(v6), 40000, 80, flags), kPods);
            ASSERT_EQ(out.verdict, Verdict::kForward);
            EXPECT_EQ(out.out, kTagged);
            EXPECT_EQ(Bytes(out.frame.begin() + 12, out.frame.begin() + 18),
                      (Bytes{0x81, 0, 0, kTag, static_cast<std::uint8_t>(v6 ? 0x86 : 8),
                             static_cast<std::uint8_t>(v6 ? 0xdd : 0)}));
            expect_tuple(out, local_pod(v6), 40000, pod_behind(3, v6), 8080);
            Spec answer = packet({v6, Protocol::kTcp}, pod_behind(3, v6), local_pod(v6), 8080, 40000, kAck);
            answer.vlans = {kTag};
            const Outcome back = world.run(answer, kTagged);
            ASSERT_EQ(back.verdict, Verdict::kForward);
            EXPECT_EQ(back.out, kPods);
            EXPECT_EQ(back.view.l3, 14U);
            expect_tuple(back, cluster_ip(v6), 80, local_pod(v6), 40000);
        }
    }
}

TEST(PipelineSend, OtherNetworksTagsAreLeftAlone) {
    World world;
    world.upsert(web(false, Protocol::kTcp, {remote_pod(false)}));
    for (const std::vector<std::uint16_t>& tags :
         std::vector<std::vector<std::uint16_t>>{{7}, {0, 7}, {kTag, kTag}}) {
        Spec spec = packet({false, Protocol::kTcp}, outside(false), node_ip(false), 40000, kNodePort);
        spec.vlans = tags;
        const Bytes frame = packets::build(spec);
        const Outcome out = world.run(frame, kUplink);
        EXPECT_EQ(out.verdict, Verdict::kKernel);
        EXPECT_EQ(out.frame, frame);
    }
    Spec priority = packet({false, Protocol::kTcp}, outside(false), node_ip(false), 40000, kNodePort);
    priority.vlans = {0};
    EXPECT_EQ(world.run(priority, kUplink).verdict, Verdict::kForward);
    EXPECT_EQ(world.run(priority, kUplink).view.l3, 14U);
}

TEST(PipelineSend, OutOfHopsIsAnswered) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        World world;
        world.upsert(web(shape.v6, shape.protocol, {remote_pod(shape.v6)}));
        for (const std::uint8_t flags : kBoth) {
            Spec spec = packet(shape, local_pod(shape.v6), cluster_ip(shape.v6), 40000, 80, flags);
            spec.ttl = 1;
            const Outcome out = world.run(spec, kPods);
            ASSERT_EQ(out.verdict, Verdict::kReply);
            EXPECT_EQ(out.reason, SLUICE_DROP_TTL_EXPIRED);
            EXPECT_EQ(out.view.icmp_type, shape.v6 ? 3 : 11);
            EXPECT_EQ(out.view.error, "");
            const packets::View quoted = packets::read_quoted(out.view);
            EXPECT_EQ(quoted.dst, cluster_ip(shape.v6));
            EXPECT_EQ(quoted.dport, 80);
        }
        EXPECT_EQ(world.drops(SLUICE_DROP_TTL_EXPIRED), 2U);
    }
}

TEST(PipelineSend, TooBigIsAnsweredOrLeftToTheStack) {
    for (const bool v6 : {false, true}) {
        for (const bool snat : {false, true}) {
            for (const bool whole : {false, true}) {
                SCOPED_TRACE(std::to_string(v6) + std::to_string(snat) + std::to_string(whole));
                World world;
                world.upsert(web(v6, Protocol::kUdp, {pod_behind(4, v6)}));
                for (int time = 0; time < 2; ++time) {
                    Spec spec = packet({v6, Protocol::kUdp}, local_pod(v6), snat ? external_ip(v6) : cluster_ip(v6),
                                       20000, 80);
                    spec.payload = std::string(1300, 'x');
                    if (!v6 && whole) spec.fragment = 0x4000;
                    const Outcome out = world.run(spec, kPods);
                    if (v6 || whole || snat) {
                        ASSERT_EQ(out.verdict, Verdict::kReply);
                        EXPECT_EQ(out.reason, SLUICE_DROP_TOO_BIG);
                        EXPECT_EQ(out.view.icmp_type, v6 ? 2 : 3);
                        EXPECT_EQ(out.view.icmp_rest, 1280U);
                        EXPECT_EQ(out.view.error, "");
                    } else {
                        // The stack cuts it up, and forwards it itself.
                        ASSERT_EQ(out.verdict, Verdict::kKernel);
                        expect_tuple(out, local_pod(v6), 20000, pod_behind(4, v6), 8080);
                        EXPECT_EQ(out.view.ttl, 64);
                    }
                }
            }
        }
    }
}

TEST(PipelineSend, AnUnknownNeighbourIsNamed) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kTcp, {pod_behind(5, v6)}));
        for (const std::uint8_t flags : kBoth) {
            Spec spec = packet({v6, Protocol::kTcp}, local_pod(v6), cluster_ip(v6), 40000, 80, flags);
            const Outcome out = world.run(spec, kPods);
            ASSERT_EQ(out.verdict, Verdict::kUnresolved);
            EXPECT_EQ(out.neighbour, v6 ? 11U : 10U);
            EXPECT_EQ(out.out, kUplink);
            expect_tuple(out, local_pod(v6), 40000, pod_behind(5, v6), 8080);
            EXPECT_EQ(out.view.l3, 14U);
            EXPECT_EQ(out.view.ttl, 63);
        }
    }
}

TEST(PipelineSend, WithoutARouteTheStackDecidesUnlessTheSourceIsTheNodes) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kTcp, {pod_behind(6, v6)}));
        for (const std::uint8_t flags : kBoth) {
            const Outcome out =
                world.run(packet({v6, Protocol::kTcp}, local_pod(v6), cluster_ip(v6), 40000, 80, flags), kPods);
            ASSERT_EQ(out.verdict, Verdict::kKernel);
            expect_tuple(out, local_pod(v6), 40000, pod_behind(6, v6), 8080);
            EXPECT_EQ(out.view.ttl, 64);
            const Outcome own =
                world.run(packet({v6, Protocol::kTcp}, node_ip(v6), cluster_ip(v6), 40000, 80, flags), kUplink, true);
            EXPECT_EQ(own.verdict, Verdict::kDrop);
            EXPECT_EQ(own.reason, SLUICE_DROP_NO_ROUTE);
        }
    }
}

TEST(PipelineSend, ABackendOnTheNodeItselfGetsItsPacketsByTheStack) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        const bool v6 = shape.v6;
        World world;
        world.upsert(web(v6, shape.protocol, {node_ip(v6)}));
        for (const std::uint8_t flags : kBoth) {
            const Outcome out = world.run(packet(shape, outside(v6), external_ip(v6), 40000, 80, flags), kUplink);
            ASSERT_EQ(out.verdict, Verdict::kKernel);
            expect_tuple(out, outside(v6), 40000, node_ip(v6), 8080);
            // Its answer leaves by the interface that the stack chose, as it chose.
            const Outcome back = world.run(packet(shape, node_ip(v6), outside(v6), 8080, 40000, kAck), kTagged, true);
            ASSERT_EQ(back.verdict, Verdict::kForward);
            EXPECT_EQ(back.out, kTagged);
            expect_tuple(back, external_ip(v6), 80, outside(v6), 40000);
            EXPECT_EQ(back.view.ttl, 64);
        }
    }
}

// RFC 4291, 2.5.6: such a source is known on its own link alone. The stack refuses to send it on, and tells the client.
TEST(PipelineSend, ALinkLocalSourceIsNotSentOn) {
    for (const image::Forwarding forwarding :
         {image::Forwarding::kNat, image::Forwarding::kTunnel, image::Forwarding::kOption}) {
        World world;
        world.upsert(web(true, Protocol::kTcp, {remote_pod(true)}, false, forwarding));
        for (const std::uint8_t flags : kBoth) {
            const Outcome out = world.run(
                packet({true, Protocol::kTcp}, "fe80::7", external_ip(true), 40000, 80, flags), kUplink);
            ASSERT_EQ(out.verdict, Verdict::kKernel);
            expect_tuple(out, "fe80::7", 40000, remote_pod(true), 8080);
            EXPECT_EQ(out.view.ttl, 64);
        }
    }
}

TEST(PipelineSend, WhatTheStackForwardsItselfIsNotTouched) {
    World world;
    world.upsert(web(false, Protocol::kTcp, {local_pod(false)}));
    const Bytes frame =
        packets::build(packet({false, Protocol::kTcp}, outside(false), local_pod(false), 40000, 8080));
    const Outcome out = world.run(frame, kPods, true);
    EXPECT_EQ(out.verdict, Verdict::kForward);
    EXPECT_EQ(out.out, kPods);
    EXPECT_EQ(out.frame, frame);
}

TEST(PipelineSend, ARouteThatChangesIsFollowedAtOnce) {
    World world;
    world.upsert(web(false, Protocol::kTcp, {pod_behind(5, false)}));
    const Spec spec = packet({false, Protocol::kTcp}, local_pod(false), cluster_ip(false), 40000, 80, kAck);
    EXPECT_EQ(world.run(spec, kPods).verdict, Verdict::kUnresolved);
    const NeighbourChange change{10, {kUplink, ip_of("192.0.2.5"), Mac{2, 0, 0, 0, 2, 10}, true}};
    const auto changed = must(world.routes()->change(std::span(&change, 1), 2));
    world.pipeline().use(changed.get());
    const Outcome out = world.run(spec, kPods);
    EXPECT_EQ(out.verdict, Verdict::kForward);
    expect_macs(out, 10, kUplink);
    world.pipeline().use(world.routes());
}

}  // namespace
}  // namespace sluice::dpdk
