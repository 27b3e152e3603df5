// Services through the pipeline: who is translated to what, seen by whom, in both directions.
#include "dataplane/dpdk/pipeline/test_pipeline.h"

namespace sluice::dpdk {
namespace {

TEST(Pipeline, ClusterIpFromAPodKeepsItsSourceAndTheAnswerFindsBack) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        World world;
        const bool v6 = shape.v6;
        world.upsert(web(v6, shape.protocol, {remote_pod(v6)}));
        // Three times: a new flow, and what the stages of a burst do with one that is known.
        for (const std::uint8_t flags : {kSyn, kAck, kAck}) {
            const Outcome out = world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80, flags), kPods);
            ASSERT_EQ(out.verdict, Verdict::kForward);
            EXPECT_EQ(out.out, kUplink);
            expect_tuple(out, local_pod(v6), 40000, remote_pod(v6), 8080);
            expect_macs(out, v6 ? 1 : 0, kUplink);
            EXPECT_EQ(out.view.ttl, 63);
            const Outcome back = world.run(
                packet(shape, remote_pod(v6), local_pod(v6), 8080, 40000, flags == kSyn ? kSyn | kAck : kAck),
                kUplink);
            ASSERT_EQ(back.verdict, Verdict::kForward);
            EXPECT_EQ(back.out, kPods);
            expect_tuple(back, cluster_ip(v6), 80, local_pod(v6), 40000);
            expect_macs(back, v6 ? 6 : 4, kPods);
        }
        EXPECT_EQ(world.served().connections, 1U);
        EXPECT_EQ(world.served().packets, 6U);
    }
}

TEST(Pipeline, BytesAreCountedWithoutTagsAndPadding) {
    World world;
    world.upsert(web(false, Protocol::kTcp, {remote_pod(false)}));
    Spec spec = packet({false, Protocol::kTcp}, outside(false), node_ip(false), 40000, kNodePort);
    const std::size_t plain = packets::build(spec).size();
    spec.vlans = {kTag};
    spec.padding = 9;
    world.run(spec, kTagged);
    EXPECT_EQ(world.served().bytes, plain);
    spec.tcp_flags = kAck;
    world.run(spec, kTagged);
    EXPECT_EQ(world.served().bytes, 2 * plain);
}

// SERVICE-SEMANTICS, "Masquerade".
TEST(Pipeline, MasqueradeTable) {
    enum class From { kPod, kNode, kOutside };
    struct Row {
        From from;
        bool external;  // to the external address, else to the ClusterIP
        bool local;     // policy
        bool snat;
    };
    const std::vector<Row> rows = {
        {From::kPod, false, false, false},
        {From::kPod, true, false, true},
        {From::kPod, true, true, false},
        {From::kOutside, false, false, true},
        {From::kOutside, true, false, true},
        {From::kOutside, true, true, false},
        // The node's own address is what source NAT would give it.
        {From::kNode, false, false, true},
        {From::kNode, true, false, true},
        {From::kNode, true, true, true},
    };
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const Row& row = rows[i];
            SCOPED_TRACE(label(shape) + " row " + std::to_string(i));
            World world;
            world.upsert(web(v6, shape.protocol, {remote_pod(v6)}, row.local));
            const std::string client = row.from == From::kPod    ? local_pod(v6)
                                       : row.from == From::kNode ? node_ip(v6)
                                                                 : outside(v6);
            const std::uint16_t in = row.from == From::kPod ? kPods : kUplink;
            for (const std::uint8_t flags : {kSyn, kAck}) {
                const Outcome out = world.run(
                    packet(shape, client, row.external ? external_ip(v6) : cluster_ip(v6), 20000, 80, flags), in,
                    row.from == From::kNode);
                ASSERT_EQ(out.verdict, Verdict::kForward);
                // The client's own port is kept where it lies in the node's range.
                expect_tuple(out, row.snat ? node_ip(v6) : client, 20000, remote_pod(v6), 8080);
                const Outcome back = world.run(
                    packet(shape, remote_pod(v6), row.snat ? node_ip(v6) : client, 8080, 20000, kAck), kUplink);
                expect_tuple(back, row.external ? external_ip(v6) : cluster_ip(v6), 80, client, 20000);
                EXPECT_EQ(back.verdict, row.from == From::kNode ? Verdict::kKernel : Verdict::kForward);
            }
        }
    }
}

TEST(Pipeline, ASourcePortOfTheNodesOwnIsReplaced) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        World world;
        const bool v6 = shape.v6;
        world.upsert(web(v6, shape.protocol, {remote_pod(v6)}));
        std::vector<std::uint16_t> ports;
        for (std::uint16_t client = 0; client < 20; ++client) {
            const Outcome out = world.run(
                packet(shape, outside(v6), node_ip(v6), static_cast<std::uint16_t>(50000 + client), kNodePort),
                kUplink);
            ASSERT_EQ(out.verdict, Verdict::kForward);
            EXPECT_EQ(out.view.src, node_ip(v6));
            EXPECT_EQ(out.view.error, "");
            EXPECT_GE(out.view.sport, 1024);
            EXPECT_LE(out.view.sport, 29999);
            ports.push_back(out.view.sport);
            const Outcome back =
                world.run(packet(shape, remote_pod(v6), node_ip(v6), 8080, out.view.sport, kAck), kUplink);
            expect_tuple(back, node_ip(v6), kNodePort, outside(v6), static_cast<std::uint16_t>(50000 + client));
        }
        std::sort(ports.begin(), ports.end());
        EXPECT_EQ(std::unique(ports.begin(), ports.end()), ports.end());
    }
}

TEST(Pipeline, HairpinIsMasqueraded) {
    for (const Shape shape : shapes()) {
        World world;
        world.upsert(web(shape.v6, shape.protocol, {local_pod(shape.v6)}));
        const Outcome out = world.run(packet(shape, local_pod(shape.v6), cluster_ip(shape.v6), 20000, 80), kPods);
        ASSERT_EQ(out.verdict, Verdict::kForward) << label(shape);
        EXPECT_EQ(out.out, kPods);
        expect_tuple(out, node_ip(shape.v6), 20000, local_pod(shape.v6), 8080);
    }
}

TEST(Pipeline, NoEndpointIsRefusedWithinTheBudget) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        const bool v6 = shape.v6;
        World world;
        world.upsert(web(v6, shape.protocol, {}));
        const Outcome out = world.run(packet(shape, outside(v6), external_ip(v6), 40000, 80), kUplink);
        ASSERT_EQ(out.verdict, Verdict::kReply);
        EXPECT_EQ(out.reason, SLUICE_DROP_NO_ENDPOINT);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.src, external_ip(v6));
        EXPECT_EQ(out.view.dst, outside(v6));
        if (shape.protocol == Protocol::kTcp) {
            EXPECT_EQ(out.view.tcp_flags, kRst | kAck);
            EXPECT_EQ(out.view.ack, 1000U + 1 + 7);  // SYN and the payload
        } else {
            EXPECT_EQ(out.view.icmp_type, v6 ? 1 : 3);
            EXPECT_EQ(out.view.icmp_code, v6 ? 4 : 3);
        }
        EXPECT_EQ(world.drops(SLUICE_DROP_NO_ENDPOINT), 1U);
        EXPECT_EQ(world.tables().counters[0].refused, 1U);
        // ICMP: 1000 a tick. A reset: 20000.
        for (int i = 1; i < 1000; ++i) world.run(packet(shape, outside(v6), external_ip(v6), 40000, 80), kUplink);
        const Outcome late = world.run(packet(shape, outside(v6), external_ip(v6), 40000, 80), kUplink);
        if (shape.protocol == Protocol::kTcp) {
            EXPECT_EQ(late.verdict, Verdict::kReply);
        } else {
            EXPECT_EQ(late.verdict, Verdict::kDrop);
            EXPECT_EQ(world.drops(SLUICE_DROP_REPLY_RATE_LIMITED), 1U);
            world.now.tick++;
            EXPECT_EQ(world.run(packet(shape, outside(v6), external_ip(v6), 40000, 80), kUplink).verdict,
                      Verdict::kReply);
        }
    }
}

TEST(Pipeline, PolicyLocalWithoutALocalEndpointIsSilence) {
    for (const Shape shape : shapes()) {
        World world;
        image::Service service = web(shape.v6, shape.protocol, {remote_pod(shape.v6)}, true);
        service.external.backends.clear();
        service.external.when_empty_drop = true;
        world.upsert(service);
        const Outcome out = world.run(packet(shape, outside(shape.v6), external_ip(shape.v6), 40000, 80), kUplink);
        EXPECT_EQ(out.verdict, Verdict::kDrop);
        EXPECT_EQ(out.reason, SLUICE_DROP_NO_LOCAL_ENDPOINT);
        // Who is inside is not narrowed.
        EXPECT_EQ(world.run(packet(shape, local_pod(shape.v6), external_ip(shape.v6), 40000, 80), kPods).verdict,
                  Verdict::kForward);
    }
}

TEST(Pipeline, AddressesOfServicesAreOwned) {
    for (const Shape shape : shapes()) {
        SCOPED_TRACE(label(shape));
        const bool v6 = shape.v6;
        World world;
        world.upsert(web(v6, shape.protocol, {remote_pod(v6)}));
        const Outcome port = world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 81), kPods);
        EXPECT_EQ(port.verdict, Verdict::kReply);
        EXPECT_EQ(port.reason, SLUICE_DROP_PORT_NOT_SERVED);
        const Outcome nobody =
            world.run(packet(shape, local_pod(v6), v6 ? "fd00::99" : "10.96.0.99", 40000, 80), kPods);
        EXPECT_EQ(nobody.verdict, Verdict::kDrop);
        EXPECT_EQ(nobody.reason, SLUICE_DROP_UNALLOCATED);
        Spec ping = packet(shape, local_pod(v6), cluster_ip(v6), 0, 0);
        ping.protocol = v6 ? 58 : 1;
        EXPECT_EQ(world.run(ping, kPods).verdict, Verdict::kReply);
        // What is not a NodePort of the node's address is the node's own, and strangers are nobody's.
        EXPECT_EQ(world.run(packet(shape, outside(v6), node_ip(v6), 40000, 22), kUplink).verdict, Verdict::kKernel);
        const Bytes stranger = packets::build(packet(shape, local_pod(v6), outside(v6), 40000, 443));
        const Outcome passed = world.run(stranger, kPods);
        EXPECT_EQ(passed.verdict, Verdict::kKernel);
        EXPECT_EQ(passed.frame, stranger);
    }
}

TEST(Pipeline, ClientsOutsideOfTheSourceRangesAreDropped) {
    for (const bool v6 : {false, true}) {
        World world;
        image::Service service = web(v6, Protocol::kTcp, {remote_pod(v6)});
        for (auto& frontend : service.frontends) frontend.restricted = frontend.external;
        service.sources = {{ip_of(outside(v6)), ip_of(outside(v6))}};
        world.upsert(service);
        const Shape shape{v6, Protocol::kTcp};
        EXPECT_EQ(world.run(packet(shape, outside(v6), external_ip(v6), 40000, 80), kUplink).verdict,
                  Verdict::kForward);
        const Outcome out =
            world.run(packet(shape, v6 ? "2001:db8:1::8" : "198.51.100.8", external_ip(v6), 40000, 80), kUplink);
        EXPECT_EQ(out.verdict, Verdict::kDrop);
        EXPECT_EQ(out.reason, SLUICE_DROP_SOURCE_RANGE);
    }
}

TEST(Pipeline, ClientIpAffinityKeepsTheBackendUntilItLeaves) {
    for (const bool v6 : {false, true}) {
        World world;
        image::Service service = web(v6, Protocol::kTcp, {remote_pod(v6), pod_behind(3, v6), other_local_pod(v6)});
        service.affinity_timeout_s = 100;
        world.upsert(service);
        const Shape shape{v6, Protocol::kTcp};
        const std::string first = world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80), kPods).view.dst;
        for (std::uint16_t port = 40001; port < 40020; ++port) {
            EXPECT_EQ(world.run(packet(shape, local_pod(v6), cluster_ip(v6), port, 80), kPods).view.dst, first);
        }
        std::erase_if(service.internal.backends,
                      [&](const auto& backend) { return backend.address == ip_of(first); });
        service.external = service.internal;
        service.inside = service.internal;
        world.upsert(service);
        EXPECT_NE(world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40020, 80), kPods).view.dst, first);
    }
}

TEST(Pipeline, DatagramsLeaveARemovedBackendAndConnectionsStay) {
    for (const bool v6 : {false, true}) {
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
            World world;
            world.upsert(web(v6, protocol, {remote_pod(v6)}));
            const Shape shape{v6, protocol};
            world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80), kPods);
            world.upsert(web(v6, protocol, {pod_behind(3, v6)}));
            const Outcome out = world.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80, kAck), kPods);
            EXPECT_EQ(out.view.dst, protocol == Protocol::kTcp ? remote_pod(v6) : pod_behind(3, v6));
        }
    }
}

TEST(Pipeline, PacketsOfABurstSeeTheFlowsOfThoseBefore) {
    for (const bool v6 : {false, true}) {
        World world;
        world.upsert(web(v6, Protocol::kUdp, {remote_pod(v6), pod_behind(3, v6), other_local_pod(v6)}));
        const Shape shape{v6, Protocol::kUdp};
        for (std::uint16_t port = 41000; port < 41020; ++port) {
            const Bytes one = packets::build(packet(shape, local_pod(v6), cluster_ip(v6), port, 80));
            const auto out = world.run_burst({one, one, one, one}, kPods);
            for (const Outcome& each : out) EXPECT_EQ(each.view.dst, out[0].view.dst);
        }
        EXPECT_EQ(world.served().connections, 20U);
    }
}

// The table has one bucket, which is full of flows that nobody has answered: a new one takes the place of two halves.
TEST(Pipeline, APacketGoesItsFlowsWayThoughALaterOneOfTheBurstTakesTheFlowsPlace) {
    for (const bool v6 : {false, true}) {
        const Shape shape{v6, Protocol::kUdp};
        std::vector<std::string> pods;
        for (int i = 10; i < 60; ++i) pods.push_back((v6 ? "fd02::" : "10.244.2.") + std::to_string(i));
        for (std::uint16_t port = 41000; port < 41080; port += 8) {
            World world(1, world_node(), 4);
            world.upsert(web(v6, Protocol::kUdp, pods));
            std::vector<Bytes> burst;
            std::vector<Outcome> first;
            for (std::uint16_t i = 0; i < 5; ++i) {
                const auto own = static_cast<std::uint16_t>(port + i);
                burst.push_back(packets::build(packet(shape, local_pod(v6), cluster_ip(v6), own, 80)));
                if (i < 4) first.push_back(world.run(burst.back(), kPods));
            }
            const std::vector<Outcome> out = world.run_burst(burst, kPods);
            for (std::size_t i = 0; i < 4; ++i) {
                EXPECT_EQ(first[i].verdict, Verdict::kForward);
                EXPECT_EQ(out[i].verdict, Verdict::kForward);
                EXPECT_EQ(out[i].frame, first[i].frame) << label(shape) << ", client's port " << port + i;
            }
            EXPECT_EQ(out[4].verdict, Verdict::kForward);
            EXPECT_EQ(world.served().connections, 5U);
        }
    }
}

TEST(Pipeline, WithoutImageOrRoutesEverythingIsTheKernels) {
    World world;
    world.upsert(web(false, Protocol::kTcp, {remote_pod(false)}));
    const Spec spec = packet({false, Protocol::kTcp}, local_pod(false), cluster_ip(false), 40000, 80);
    world.pipeline().use(static_cast<const Forwarding*>(nullptr));
    EXPECT_EQ(world.run(spec, kPods).verdict, Verdict::kKernel);
    EXPECT_EQ(world.run(spec, kPods, true).verdict, Verdict::kForward);
    world.pipeline().use(world.routes());
    world.pipeline().use(image::Tables{});
    EXPECT_EQ(world.run(spec, kPods).verdict, Verdict::kKernel);
    world.pipeline().use(world.tables());
    EXPECT_EQ(world.run(spec, kPods).verdict, Verdict::kForward);
}

}  // namespace
}  // namespace sluice::dpdk
