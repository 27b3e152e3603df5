// Packets without ports: ICMP errors about flows, fragments; and frames that are broken in every way.
#include "dataplane/dpdk/pipeline/test_pipeline.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint8_t too_big(bool v6) {
    return v6 ? 2 : 3;
}
constexpr std::uint8_t unreachable(bool v6) {
    return v6 ? 1 : 3;
}

// RFC 5508, 4: an error is about the packet as its reader knows it.
TEST(PipelinePortless, AnErrorOfARouterReachesTheClientAboutItsOwnPacket) {
    for (const Shape shape : shapes()) {
        for (const bool snat : {false, true}) {
            SCOPED_TRACE(label(shape) + (snat ? " with source NAT" : ""));
            const bool v6 = shape.v6;
            World world;
            world.upsert(web(v6, shape.protocol, {remote_pod(v6)}));
            const std::string to = snat ? external_ip(v6) : cluster_ip(v6);
            const Outcome sent = world.run(packet(shape, local_pod(v6), to, 40000, 80), kPods);
            ASSERT_EQ(sent.verdict, Verdict::kForward);
            const std::string router = v6 ? "2001:db8:1::99" : "198.51.100.99";
            const Bytes error = packets::icmp_error(router, sent.view.src, too_big(v6), v6 ? 0 : 4, 1400, sent.frame);
            const Outcome out = world.run(error, kUplink);
            ASSERT_EQ(out.verdict, Verdict::kForward);
            EXPECT_EQ(out.out, kPods);
            EXPECT_EQ(out.view.error, "");
            EXPECT_EQ(out.view.src, router);
            EXPECT_EQ(out.view.dst, local_pod(v6));
            EXPECT_EQ(out.view.icmp_rest, 1400U);
            const packets::View quoted = packets::read_quoted(out.view);
            EXPECT_EQ(quoted.error, "");
            EXPECT_EQ(quoted.src, local_pod(v6));
            EXPECT_EQ(quoted.sport, 40000);
            EXPECT_EQ(quoted.dst, to);
            EXPECT_EQ(quoted.dport, 80);
        }
    }
}

TEST(PipelinePortless, AnErrorOfTheBackendComesFromTheService) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        World world;
        world.upsert(web(v6, shape.protocol, {remote_pod(v6)}));
        const Outcome sent = world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80), kPods);
        const Outcome out = world.run(
            packets::icmp_error(remote_pod(v6), local_pod(v6), unreachable(v6), v6 ? 4 : 3, 0, sent.frame), kUplink);
        ASSERT_EQ(out.verdict, Verdict::kForward) << label(shape);
        EXPECT_EQ(out.view.src, cluster_ip(v6));
        EXPECT_EQ(out.view.dst, local_pod(v6));
        EXPECT_EQ(out.view.error, "");
    }
}

TEST(PipelinePortless, AnErrorOfTheClientReachesTheBackend) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        World world;
        world.upsert(web(v6, shape.protocol, {remote_pod(v6)}));
        world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80), kPods);
        const Outcome answer = world.run(packet(shape, remote_pod(v6), local_pod(v6), 8080, 40000, kAck), kUplink);
        const Outcome out = world.run(
            packets::icmp_error(local_pod(v6), cluster_ip(v6), unreachable(v6), v6 ? 4 : 3, 0, answer.frame), kPods);
        ASSERT_EQ(out.verdict, Verdict::kForward) << label(shape);
        EXPECT_EQ(out.out, kUplink);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.dst, remote_pod(v6));
        const packets::View quoted = packets::read_quoted(out.view);
        EXPECT_EQ(quoted.src, remote_pod(v6));
        EXPECT_EQ(quoted.dport, 40000);
    }
}

TEST(PipelinePortless, ErrorsAboutNothingAreDroppedAtAServiceAndPassElsewhere) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kTcp, {remote_pod(v6)}));
        const Bytes about = packets::build(packet({v6, Protocol::kTcp}, cluster_ip(v6), local_pod(v6), 80, 40000));
        const Outcome out =
            world.run(packets::icmp_error(local_pod(v6), cluster_ip(v6), unreachable(v6), 0, 0, about), kPods);
        EXPECT_EQ(out.verdict, Verdict::kDrop);
        EXPECT_EQ(out.reason, SLUICE_DROP_NO_FLOW);
        EXPECT_EQ(
            world.run(packets::icmp_error(outside(v6), node_ip(v6), unreachable(v6), 0, 0, about), kUplink).verdict,
            Verdict::kKernel);
        if (v6) {
            Spec neighbour = packet({true, Protocol::kTcp}, local_pod(true), cluster_ip(true), 0, 0);
            neighbour.protocol = 58;
            neighbour.icmp_type = 135;
            EXPECT_EQ(world.run(neighbour, kPods).verdict, Verdict::kKernel);
        }
    }
}

// RFC 1122, 3.2.2.1: what claims to come from a group is no host's word about a packet.
TEST(PipelinePortless, AnErrorFromAGroupIsLeftAlone) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kTcp, {remote_pod(v6)}));
        const Shape shape{v6, Protocol::kTcp};
        const Outcome sent = world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80), kPods);
        ASSERT_EQ(sent.verdict, Verdict::kForward);
        const Bytes error = packets::icmp_error(v6 ? "ff01::8" : "224.0.0.9", local_pod(v6), too_big(v6), v6 ? 0 : 4,
                                                1400, sent.frame);
        const Outcome out = world.run(error, kUplink);
        EXPECT_EQ(out.verdict, Verdict::kKernel);
        EXPECT_EQ(out.frame, error);
    }
}

TEST(PipelinePortless, FragmentsFollowTheirFirst) {
    for (const bool v6 : {false, true}) {
        for (const bool snat : {false, true}) {
            World world;
            world.upsert(web(v6, Protocol::kUdp, {remote_pod(v6)}));
            Spec spec = packet({v6, Protocol::kUdp}, snat ? outside(v6) : local_pod(v6),
                               snat ? external_ip(v6) : cluster_ip(v6), 40000, 80);
            spec.payload = std::string(3000, 'y');
            const std::uint16_t in = snat ? kUplink : kPods;
            const std::vector<Bytes> parts = packets::cut(packets::build(spec), 1000);
            std::vector<Bytes> sent;
            for (const Outcome& out : world.run_burst(parts, in)) {
                ASSERT_EQ(out.verdict, Verdict::kForward);
                sent.push_back(out.frame);
            }
            const packets::View whole = packets::read(packets::join(sent));
            EXPECT_EQ(whole.error, "");
            EXPECT_EQ(whole.src, snat ? node_ip(v6) : local_pod(v6));
            EXPECT_EQ(whole.dst, remote_pod(v6));
            EXPECT_EQ(whole.dport, 8080);
            EXPECT_EQ(whole.payload.size(), 3000U);
            // Another datagram's, whose first was never seen. (An external address may be a host's as well.)
            if (snat) continue;
            const Outcome lost = world.run(packets::cut(packets::build(spec), 1000, 0x4321)[1], in);
            EXPECT_EQ(lost.verdict, Verdict::kDrop);
            EXPECT_EQ(lost.reason, SLUICE_DROP_FRAGMENT);
        }
    }
}

TEST(PipelinePortless, StrangersFragmentsPass) {
    World world;
    world.upsert(web(false, Protocol::kUdp, {remote_pod(false)}));
    Spec spec = packet({false, Protocol::kUdp}, local_pod(false), outside(false), 40000, 80);
    spec.payload = std::string(3000, 'y');
    for (const Outcome& out : world.run_burst(packets::cut(packets::build(spec), 1000), kPods)) {
        EXPECT_EQ(out.verdict, Verdict::kKernel);
    }
}

// Every header cut at every length, as it is and with the lengths in it made to fit; nothing is read beside the frame,
// which the sanitizers watch, and nothing that is broken is forwarded.
TEST(PipelinePortless, CutAnywhere) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        World world;
        world.headroom = world.tailroom = 0;
        world.upsert(web(v6, shape.protocol, {remote_pod(v6)}));
        Spec spec = packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80);
        std::vector<Bytes> whole = {packets::build(spec)};
        spec.vlans = {0};
        whole.push_back(packets::build(spec));
        spec.vlans = {};
        if (v6) {
            spec.extensions = {0, 60};
        } else {
            spec.option_words = 5;
        }
        whole.push_back(packets::build(spec));
        whole.push_back(packets::icmp_error(outside(v6), local_pod(v6), unreachable(v6), 0, 0, whole[0]));
        for (const Bytes& frame : whole) {
            for (std::size_t length = 0; length < frame.size(); ++length) {
                const Bytes cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length));
                const Outcome out = world.run(cut, kPods);
                EXPECT_NE(out.verdict, Verdict::kForward) << label(shape) << " cut at " << length;
                world.run(cut, kUplink);
            }
        }
        EXPECT_EQ(world.served().connections, 0U);
    }
}

TEST(PipelinePortless, AnIpv4HeaderWithAWrongSumIsDropped) {
    for (const bool known : {false, true}) {
        World world;
        world.upsert(web(false, Protocol::kTcp, {remote_pod(false)}));
        Bytes frame = packets::build(packet({false, Protocol::kTcp}, local_pod(false), cluster_ip(false), 40000, 80));
        if (known) world.run(frame, kPods);
        frame[14 + 10] ^= 1;
        const Outcome out = world.run(frame, kPods);
        EXPECT_EQ(out.verdict, Verdict::kDrop);
        EXPECT_EQ(out.reason, SLUICE_DROP_BAD_CHECKSUM);
    }
}

}  // namespace
}  // namespace sluice::dpdk
