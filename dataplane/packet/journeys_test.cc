// One packet at a time through the real programs: each verdict, and the bytes that come out, whose checksums are
// verified by packet_builder's own arithmetic. Names say which line of the service semantics they cover.
#include <gtest/gtest.h>

#include <set>

#include "api/abi/drop_reasons.h"
#include "dataplane/packet/test_journey.h"

namespace sluice::dataplane {
namespace {

// Masquerade table: pod to ClusterIP keeps its source. Both directions, all families and protocols.
TEST_F(Journey, PodToClusterIpAndBack) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {remote_pod(shape.v6)}));
        const Spec there = packet(shape, pod(shape.v6), cluster_ip(shape.v6), port_, 80);
        const Outcome out = harness_->run(TcProgram::kPodIngress, there);
        EXPECT_EQ(out.action, kActionRedirect);
        expect(out, pod(shape.v6), port_, remote_pod(shape.v6), 8080);
        EXPECT_EQ(out.view.ttl, 63);
        EXPECT_EQ(std::string(out.view.payload.begin(), out.view.payload.end()), "payload");

        const Spec back = packet(shape, remote_pod(shape.v6), pod(shape.v6), 8080, port_,
                                 kSyn | kAck);
        const Outcome reply = harness_->run(TcProgram::kNodeIngress, back);
        EXPECT_EQ(reply.action, kActionRedirect);
        expect(reply, cluster_ip(shape.v6), 80, pod(shape.v6), port_);
        EXPECT_EQ(reply.view.ttl, 63);
    }
}

// Masquerade table: outside to NodePort, policy Cluster, is source NAT; the reply finds its way.
TEST_F(Journey, OutsideToNodePortAndBack) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {remote_pod(shape.v6)}));
        const Spec there = packet(shape, outside(shape.v6), node(shape.v6), port_, 30080);
        const Outcome out = harness_->run(TcProgram::kNodeIngress, there);
        EXPECT_EQ(out.action, kActionRedirect);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.src, node(shape.v6));
        EXPECT_EQ(out.view.dst, remote_pod(shape.v6));
        EXPECT_GE(out.view.sport, 1024);
        EXPECT_LE(out.view.sport, 29999);
        EXPECT_EQ(out.view.dport, 8080);

        const Outcome again = harness_->run(TcProgram::kNodeIngress, there);
        EXPECT_EQ(again.view.sport, out.view.sport) << "a flow keeps its port";

        const Spec back = packet(shape, remote_pod(shape.v6), node(shape.v6), 8080, out.view.sport,
                                 kSyn | kAck);
        const Outcome reply = harness_->run(TcProgram::kNodeIngress, back);
        EXPECT_EQ(reply.action, kActionRedirect);
        expect(reply, node(shape.v6), 30080, outside(shape.v6), port_);
    }
}

TEST_F(Journey, OutsideToClusterIpIsSourceNat) {
    const Shape shape{false, Protocol::kTcp};
    harness_->upsert(service(false, Protocol::kTcp, {pod(false)}));
    const Outcome out = harness_->run(
        TcProgram::kNodeIngress, packet(shape, outside(false), cluster_ip(false), port_, 80));
    EXPECT_EQ(out.action, kActionRedirect);
    EXPECT_EQ(out.view.src, node(false));
    EXPECT_EQ(out.view.dst, pod(false));
}

TEST_F(Journey, HairpinIsAlwaysSourceNat) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {pod(shape.v6)}));
        const Outcome out = harness_->run(
            TcProgram::kPodIngress,
            packet(shape, pod(shape.v6), cluster_ip(shape.v6), port_, 80));
        EXPECT_EQ(out.action, kActionRedirect);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.src, node(shape.v6));
        EXPECT_EQ(out.view.dst, pod(shape.v6));
        const Outcome reply = harness_->run(
            TcProgram::kPodIngress, packet(shape, pod(shape.v6), node(shape.v6), 8080,
                                           out.view.sport, kSyn | kAck));
        expect(reply, cluster_ip(shape.v6), 80, pod(shape.v6), port_);
    }
}

TEST_F(Journey, NodeEgressIsRoutedAnew) {
    const Shape shape{false, Protocol::kTcp};
    harness_->upsert(service(false, Protocol::kTcp, {pod(false)}));
    const Outcome out = harness_->run(
        TcProgram::kNodeEgress, packet(shape, node(false), cluster_ip(false), port_, 80));
    EXPECT_EQ(out.action, kActionRedirect);
    expect(out, node(false), port_, pod(false), 8080);
    EXPECT_EQ(out.view.ttl, 64) << "the node's own packet is not forwarded";
    const Outcome reply = harness_->run(
        TcProgram::kPodIngress, packet(shape, pod(false), node(false), 8080, port_, kSyn | kAck));
    EXPECT_EQ(reply.action, kActionOk) << "for the node itself: up the stack";
    expect(reply, cluster_ip(false), 80, node(false), port_);
}

// A backend in the node's own network: its answer leaves by the pod's link, and is the node's own packet.
TEST_F(Journey, NodesOwnBackendAnswersAPod) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {node(shape.v6)}));
        const Spec there = packet(shape, pod(shape.v6), cluster_ip(shape.v6), port_, 80);
        const Outcome out = harness_->run(TcProgram::kPodIngress, there);
        EXPECT_EQ(out.action, kActionOk) << "for the node itself: up the stack";
        expect(out, pod(shape.v6), port_, node(shape.v6), 8080);
        const Outcome reply = harness_->run(
            TcProgram::kPodEgress,
            packet(shape, node(shape.v6), pod(shape.v6), 8080, port_, kSyn | kAck));
        EXPECT_EQ(reply.action, kActionOk) << "it is on its way to the pod already";
        expect(reply, cluster_ip(shape.v6), 80, pod(shape.v6), port_);
        EXPECT_EQ(reply.view.ttl, 64);
    }
}

TEST_F(Journey, WhatElseGoesToAPodIsLeftAlone) {
    const Shape shape{false, Protocol::kTcp};
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    const Spec question = packet(shape, pod(false), cluster_ip(false), port_, 80);
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, question).action, kActionRedirect);
    Spec ping = packet(shape, node(false), cluster_ip(false), 0, 0);
    ping.protocol = 1;
    for (const Spec& spec :
         {question,                                                          // a flow's own key
          packet(shape, outside(false), cluster_ip(false), port_, 80),       // would be admitted
          packet(shape, outside(false), "10.96.9.9", port_, 80), ping}) {    // would be dropped, refused
        const Bytes frame = packets::build(spec);
        const Outcome out = harness_->run(TcProgram::kPodEgress, frame);
        EXPECT_EQ(out.action, kActionOk);
        EXPECT_EQ(out.frame, frame);
    }
}

// A client may reach a backend by the service and directly from one source port: the answers must differ.
TEST_F(Journey, DirectConnectionBesideAFlowGetsAPortOfItsOwn) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        harness_->upsert(service(v6, shape.protocol, {remote_pod(v6)}));
        const Spec by_service = packet(shape, pod(v6), cluster_ip(v6), port_, 80);
        const Spec directly = packet(shape, pod(v6), remote_pod(v6), port_, 8080);
        EXPECT_EQ(harness_->run(TcProgram::kPodIngress, by_service).action, kActionRedirect);
        const Outcome out = harness_->run(TcProgram::kPodIngress, directly);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.src, pod(v6));
        EXPECT_EQ(out.view.dst, remote_pod(v6));
        EXPECT_NE(out.view.sport, port_);
        const Outcome reply =
            harness_->run(TcProgram::kNodeIngress, packet(shape, remote_pod(v6), pod(v6), 8080,
                                                          out.view.sport, kSyn | kAck));
        expect(reply, remote_pod(v6), 8080, pod(v6), port_);
        const Outcome other =
            harness_->run(TcProgram::kNodeIngress,
                          packet(shape, remote_pod(v6), pod(v6), 8080, port_, kSyn | kAck));
        expect(other, cluster_ip(v6), 80, pod(v6), port_);
    }
}

// The socket hooks send datagrams to the backend itself, from whatever port the socket has got: also one that a former
// client of another service had, whose flow still lives though its service has left the backend.
TEST_F(Journey, DirectDatagramsBesideAnAbandonedFlowAreAnsweredAsThemselves) {
    for (const bool v6 : {false, true}) {
        const Shape shape{v6, Protocol::kUdp};
        harness_->upsert(service(v6, Protocol::kUdp, {remote_pod(v6)}));
        const auto send = [&](TcProgram program, const std::string& src, std::uint16_t sport,
                              const std::string& dst, std::uint16_t dport) {
            return harness_->run(program, packet(shape, src, dst, sport, dport));
        };
        (void)send(TcProgram::kPodIngress, pod(v6), port_, cluster_ip(v6), 80);
        (void)send(TcProgram::kNodeIngress, remote_pod(v6), 8080, pod(v6), port_);
        (void)send(TcProgram::kPodIngress, pod(v6), port_, cluster_ip(v6), 80);
        harness_->upsert(service(v6, Protocol::kUdp, {v6 ? "fd02::77" : "10.244.2.77"}));
        std::set<std::uint16_t> ports;
        for (int i = 0; i < 3; ++i) {
            const Outcome out = send(TcProgram::kPodIngress, pod(v6), port_, remote_pod(v6), 8080);
            EXPECT_EQ(out.view.dst, remote_pod(v6));
            EXPECT_EQ(out.view.dport, 8080);
            ports.insert(out.view.sport);
            expect(send(TcProgram::kNodeIngress, remote_pod(v6), 8080, pod(v6), out.view.sport),
                   remote_pod(v6), 8080, pod(v6), port_);
        }
        EXPECT_EQ(ports.size(), 1U) << "one client keeps one port";
    }
}

TEST_F(Journey, DirectConnectionAfterAFlowIsOverKeepsItsPort) {
    const Shape shape{false, Protocol::kTcp};
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    const Spec by_service = packet(shape, pod(false), cluster_ip(false), port_, 80);
    Spec reset = by_service;
    reset.tcp_flags = kRst;
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, by_service).action, kActionRedirect);
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, reset).action, kActionRedirect);
    const Bytes directly =
        packets::build(packet(shape, pod(false), remote_pod(false), port_, 8080));
    const Bytes answer = packets::build(
        packet(shape, remote_pod(false), pod(false), 8080, port_, kSyn | kAck));
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, directly).frame, directly);
    EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, answer).frame, answer);
}

TEST_F(Journey, Ipv4OptionsAreKept) {
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
        const Shape shape{false, protocol};
        harness_->upsert(service(false, protocol, {remote_pod(false)}));
        Spec spec = packet(shape, pod(false), cluster_ip(false), port_, 80);
        spec.option_words = 3;
        const Outcome out = harness_->run(TcProgram::kPodIngress, spec);
        EXPECT_EQ(out.action, kActionRedirect);
        expect(out, pod(false), spec.sport, remote_pod(false), 8080);
        EXPECT_EQ(out.view.l4 - out.view.l3, 32U);
    }
}

// A frame with a tag is its VLAN device's, whose programs see it without.
TEST_F(Journey, TaggedFramesAreLeftToTheirVlanDevice) {
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    for (const std::size_t tags : {1U, 2U}) {
        Spec spec = packet({false, Protocol::kTcp}, pod(false), cluster_ip(false), port_, 80);
        spec.vlans.assign(tags, 7);
        const Bytes frame = packets::build(spec);
        for (const TcProgram program : kTcPrograms) {
            const Outcome out = harness_->run(program, frame);
            EXPECT_EQ(out.action, kActionOk);
            EXPECT_EQ(out.frame, frame);
        }
    }
}

TEST_F(Journey, Ipv6ExtensionHeadersAreKept) {
    const Shape shape{true, Protocol::kUdp};
    harness_->upsert(service(true, Protocol::kUdp, {remote_pod(true)}));
    Spec spec = packet(shape, pod(true), cluster_ip(true), port_, 80);
    spec.extensions = {0, 60};
    const Outcome out = harness_->run(TcProgram::kPodIngress, spec);
    EXPECT_EQ(out.action, kActionRedirect);
    expect(out, pod(true), port_, remote_pod(true), 8080);
    EXPECT_EQ(out.view.l4 - out.view.l3, 56U);
}

TEST_F(Journey, UdpWithoutChecksumStaysWithout) {
    const Shape shape{false, Protocol::kUdp};
    harness_->upsert(service(false, Protocol::kUdp, {remote_pod(false)}));
    Spec spec = packet(shape, pod(false), cluster_ip(false), port_, 80);
    spec.udp_no_checksum = true;
    const Outcome out = harness_->run(TcProgram::kPodIngress, spec);
    expect(out, pod(false), port_, remote_pod(false), 8080);
    EXPECT_EQ(out.view.l4_checksum, 0);
}

// Every payload of two bytes would be too many; these include the one whose checksum becomes zero.
TEST_F(Journey, UdpChecksumNeverBecomesZero) {
    const Shape shape{false, Protocol::kUdp};
    harness_->upsert(service(false, Protocol::kUdp, {remote_pod(false)}));
    Spec spec = packet(shape, pod(false), cluster_ip(false), port_, 80);
    spec.payload = std::string(2, '\0');
    const std::uint16_t base = harness_->run(TcProgram::kPodIngress, spec).view.l4_checksum;
    spec.payload = {static_cast<char>(base >> 8), static_cast<char>(base & 0xff)};
    const Outcome out = harness_->run(TcProgram::kPodIngress, spec);
    expect(out, pod(false), port_, remote_pod(false), 8080);
    EXPECT_EQ(out.view.l4_checksum, 0xffff);
}

// SCTP is ordinary L4, also with another port. A CRC that is left to the device is still to be made after it.
TEST_F(Journey, SctpChecksumThatIsNotMadeYetStaysZero) {
    const Shape shape{false, Protocol::kSctp};
    harness_->upsert(service(false, Protocol::kSctp, {remote_pod(false)}));
    Spec spec = packet(shape, pod(false), cluster_ip(false), port_, 80);
    spec.sctp_no_checksum = true;
    const Outcome out = harness_->run(TcProgram::kPodIngress, spec);
    expect(out, pod(false), port_, remote_pod(false), 8080);
    for (std::size_t i = 8; i < 12; ++i) {
        EXPECT_EQ(out.frame[out.view.l4 + i], 0);
    }
}

TEST_F(Journey, SctpInitAfterAnAbortChoosesAgain) {
    const Shape shape{true, Protocol::kSctp};
    harness_->upsert(service(true, Protocol::kSctp, {remote_pod(true)}));
    const auto send = [&](std::uint8_t flags) {
        return harness_->run(TcProgram::kPodIngress,
                             packet(shape, pod(true), cluster_ip(true), port_, 80, flags));
    };
    EXPECT_EQ(send(kSyn).view.dst, remote_pod(true));
    harness_->upsert(service(true, Protocol::kSctp, {"fd02::55"}));
    EXPECT_EQ(send(kAck).view.dst, remote_pod(true)) << "an association keeps its backend";
    EXPECT_EQ(send(kRst).view.dst, remote_pod(true));
    EXPECT_EQ(send(kSyn).view.dst, "fd02::55");
    const auto before = harness_->drops(SLUICE_DROP_NO_FLOW);
    EXPECT_EQ(harness_
                  ->run(TcProgram::kPodIngress,
                        packet(shape, pod(true), cluster_ip(true),
                               static_cast<std::uint16_t>(port_ + 1), 80, kRst))
                  .action,
              kActionShot);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_NO_FLOW), before + 1);
}

// Refuse or drop: no usable endpoint anywhere is refused.
TEST_F(Journey, NoEndpointIsRefusedByResetOrUnreachable) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {}));
        Spec spec = packet(shape, pod(shape.v6), cluster_ip(shape.v6), port_, 80);
        spec.option_words = shape.v6 ? 0 : 2;
        spec.seq = 0xfffffffe;
        const auto before = harness_->drops(SLUICE_DROP_NO_ENDPOINT);
        const Bytes sent = packets::build(spec);
        const Outcome out = harness_->run(TcProgram::kPodIngress, sent);
        EXPECT_EQ(out.action, kActionRedirect);
        EXPECT_EQ(harness_->drops(SLUICE_DROP_NO_ENDPOINT), before + 1);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.src, cluster_ip(shape.v6));
        EXPECT_EQ(out.view.dst, pod(shape.v6));
        EXPECT_EQ(out.view.macs, (Bytes{0x02, 0, 0, 0, 0, 0x0a, 0x02, 0, 0, 0, 0, 0x0b}));
        EXPECT_EQ(out.frame.size(), out.view.end) << "nothing behind the answer";
        if (shape.protocol == Protocol::kTcp) {
            EXPECT_EQ(out.view.sport, 80);
            EXPECT_EQ(out.view.dport, port_);
            EXPECT_EQ(out.view.tcp_flags, kRst | kAck);
            EXPECT_EQ(out.view.seq, 0U);
            EXPECT_EQ(out.view.ack, 0xfffffffeU + 7 + 1) << "SYN and payload acknowledged";
            continue;
        }
        EXPECT_EQ(out.view.protocol, shape.v6 ? 58 : 1);
        EXPECT_EQ(out.view.icmp_type, shape.v6 ? 1 : 3);
        EXPECT_EQ(out.view.icmp_code, shape.v6 ? 4 : 3);
        // Of SCTP up to the tag that an INIT carries: its sender looks for that.
        const std::size_t quoted =
            (shape.v6 ? 40 : 28) + (shape.protocol == Protocol::kSctp ? 20U : 8U);
        EXPECT_EQ(out.view.payload, Bytes(sent.begin() + 14,
                                          sent.begin() + 14 + static_cast<std::ptrdiff_t>(quoted)));
    }
}

TEST_F(Journey, ResetAnswersAnAckWithItsSequence) {
    const Shape shape{false, Protocol::kTcp};
    harness_->upsert(service(false, Protocol::kTcp, {}));
    Spec spec = packet(shape, pod(false), cluster_ip(false), port_, 80, kAck);
    spec.ack = 777;
    const Outcome out = harness_->run(TcProgram::kPodIngress, spec);
    EXPECT_EQ(out.view.error, "");
    EXPECT_EQ(out.view.tcp_flags, kRst);
    EXPECT_EQ(out.view.seq, 777U);
    spec.tcp_flags = kRst;
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, spec).action, kActionShot)
        << "a reset is never answered";
}

TEST_F(Journey, UnlistedPortAndProtocolOfAServiceAreRefused) {
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    const auto before = harness_->drops(SLUICE_DROP_PORT_NOT_SERVED);
    Outcome out = harness_->run(
        TcProgram::kPodIngress,
        packet({false, Protocol::kTcp}, pod(false), cluster_ip(false), port_, 81));
    EXPECT_EQ(out.action, kActionRedirect);
    EXPECT_EQ(out.view.tcp_flags, kRst | kAck);
    Spec ping = packet({false, Protocol::kTcp}, pod(false), cluster_ip(false), 0, 0);
    ping.protocol = 1;
    out = harness_->run(TcProgram::kPodIngress, ping);
    EXPECT_EQ(out.action, kActionRedirect);
    EXPECT_EQ(out.view.error, "");
    EXPECT_EQ(out.view.icmp_type, 3);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_PORT_NOT_SERVED), before + 2);
}

TEST_F(Journey, UnallocatedServiceAddressIsDroppedEverywhere) {
    for (const TcProgram program :
         {TcProgram::kPodIngress, TcProgram::kNodeIngress, TcProgram::kNodeEgress}) {
        const auto before = harness_->drops(SLUICE_DROP_UNALLOCATED);
        for (const bool v6 : {false, true}) {
            EXPECT_EQ(harness_
                          ->run(program, packet({v6, Protocol::kUdp}, pod(v6),
                                                v6 ? "fd00::77" : "10.96.9.9", port_, 53))
                          .action,
                      kActionShot);
        }
        EXPECT_EQ(harness_->drops(SLUICE_DROP_UNALLOCATED), before + 2);
    }
}

TEST_F(Journey, PolicyLocalWithoutLocalEndpointIsDroppedOutsideAndWideInside) {
    const Shape shape{false, Protocol::kTcp};
    image::Service local = service(false, Protocol::kTcp, {remote_pod(false)});
    for (auto& frontend : local.frontends) {
        frontend.masquerade = false;
    }
    local.external.backends.clear();
    local.external.when_empty_drop = true;
    harness_->upsert(local);
    const auto before = harness_->drops(SLUICE_DROP_NO_LOCAL_ENDPOINT);
    EXPECT_EQ(harness_
                  ->run(TcProgram::kNodeIngress,
                        packet(shape, outside(false), node(false), port_, 30080))
                  .action,
              kActionShot);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_NO_LOCAL_ENDPOINT), before + 1);
    const Outcome inside = harness_->run(
        TcProgram::kPodIngress, packet(shape, pod(false), node(false), port_, 30080));
    expect(inside, pod(false), port_, remote_pod(false), 8080);
    local.external = local.internal;
    local.external.when_empty_drop = true;
    harness_->upsert(local);
    const Outcome kept = harness_->run(
        TcProgram::kNodeIngress, packet(shape, outside(false), node(false), port_, 30080));
    expect(kept, outside(false), port_, remote_pod(false), 8080);
}

TEST_F(Journey, EverythingElsePassesUntouched) {
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    Bytes arp(60, 0);
    arp[12] = 8;
    arp[13] = 6;
    Spec other = packet({false, Protocol::kTcp}, pod(false), "203.0.113.9", port_, 443);
    Spec host = packet({false, Protocol::kTcp}, outside(false), node(false), port_, 22);
    Spec error = packet({false, Protocol::kTcp}, outside(false), node(false), 0, 0);
    error.protocol = 1;
    for (const Bytes& frame :
         {arp, packets::build(other), packets::build(host), packets::build(error)}) {
        for (const TcProgram program :
             kTcPrograms) {
            Outcome out;
            out = harness_->run(program, frame);
            EXPECT_EQ(out.action, kActionOk);
            EXPECT_EQ(out.frame, frame);
        }
    }
}

TEST_F(Journey, BrokenPacketsToServicesAreDroppedAndCounted) {
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    Spec spec = packet({false, Protocol::kTcp}, pod(false), cluster_ip(false), port_, 80);
    Bytes bad = packets::build(spec);
    bad[46] = 0x10;  // a TCP header of 4 bytes
    const auto before = harness_->drops(SLUICE_DROP_BAD_HEADER);
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, bad).action, kActionShot);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_BAD_HEADER), before + 1);
    // Cut anywhere: never an error of the run, never forwarded.
    const Bytes whole = packets::build(spec);
    for (std::size_t length = 34; length < whole.size(); ++length) {
        const Outcome out =
            harness_->run(TcProgram::kPodIngress,
                          Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
        EXPECT_EQ(out.action, kActionOk) << length << ": the stack's to judge";
        EXPECT_EQ(out.frame.size(), length);
    }
}

// Kubernetes 125467: datagrams leave a backend that no longer serves at once. 100698: TCP is never cut.
TEST_F(Journey, RemovedBackendKeepsTcpAndLosesUdp) {
    for (const bool v6 : {false, true}) {
        const std::string other = v6 ? "fd02::55" : "10.244.2.55";
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
            const Shape shape{v6, protocol};
            harness_->upsert(service(v6, protocol, {remote_pod(v6)}));
            const Spec first = packet(shape, pod(v6), cluster_ip(v6), port_, 80);
            EXPECT_EQ(harness_->run(TcProgram::kPodIngress, first).view.dst, remote_pod(v6));
            harness_->upsert(service(v6, protocol, {other}));
            const Spec next = packet(shape, pod(v6), cluster_ip(v6), port_, 80, kAck);
            EXPECT_EQ(harness_->run(TcProgram::kPodIngress, next).view.dst,
                      protocol == Protocol::kTcp ? remote_pod(v6) : other);
        }
    }
}

// Kubernetes 70747: a SYN on a closed flow selects again.
// A client that uses one port again and again, over two services with the same backend: closed connections are in
// nobody's way, whoever of the two they belonged to.
TEST_F(Journey, PortUsedAgainOverAnotherServiceIsAnsweredByThatService) {
    struct Name {
        std::string address;
        std::uint16_t port;
    };
    for (const Shape shape : {Shape{false, Protocol::kTcp}, Shape{true, Protocol::kTcp}}) {
        const bool v6 = shape.v6;
        image::Service first = service(v6, shape.protocol, {remote_pod(v6)});
        image::Service second = first;
        second.key.service = "default/other";
        for (auto& frontend : second.frontends) {
            const bool by_node = frontend.scope == image::Scope::kNodePort;
            frontend.port = by_node ? 30'090 : 81;
        }
        harness_->upsert(first);
        harness_->upsert(second);
        for (const bool snat : {false, true}) {
            const std::string client = snat ? outside(v6) : pod(v6);
            const TcProgram in = snat ? TcProgram::kNodeIngress : TcProgram::kPodIngress;
            const std::string own = snat ? node(v6) : cluster_ip(v6);
            const Name names[] = {{own, static_cast<std::uint16_t>(snat ? 30'080 : 80)},
                                  {own, static_cast<std::uint16_t>(snat ? 30'090 : 81)}};
            for (int i = 0; i < 40; ++i) {
                SCOPED_TRACE(std::string(snat ? "snat " : "kept ") + client + " " + std::to_string(i));
                const Name& name = names[i % 2];
                const auto ask = [&](std::uint8_t flags) {
                    return harness_->run(in, packet(shape, client, name.address, port_, name.port, flags));
                };
                const Outcome syn = ask(kSyn);
                ASSERT_EQ(syn.action, kActionRedirect);
                ASSERT_EQ(syn.view.dst, remote_pod(v6));
                ASSERT_EQ(syn.view.dport, 8080);
                ASSERT_EQ(syn.view.src, snat ? node(v6) : client);
                const auto answer = [&](std::uint8_t flags) {
                    return harness_->run(TcProgram::kNodeIngress,
                                         packet(shape, remote_pod(v6), syn.view.src, 8080,
                                                syn.view.sport, flags));
                };
                expect(answer(kSyn | kAck), name.address, name.port, client, port_);
                EXPECT_EQ(ask(kAck).view.sport, syn.view.sport);
                EXPECT_EQ(ask(kFin | kAck).view.sport, syn.view.sport);
                expect(answer(kFin | kAck), name.address, name.port, client, port_);
                EXPECT_EQ(ask(kAck).view.sport, syn.view.sport);
            }
        }
        harness_->remove(second.key);
    }
}

TEST_F(Journey, SynOnClosedFlowSelectsAgain) {
    const Shape shape{false, Protocol::kTcp};
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    const auto send = [&](std::uint8_t flags) {
        return harness_->run(TcProgram::kPodIngress,
                             packet(shape, pod(false), cluster_ip(false), port_, 80, flags));
    };
    EXPECT_EQ(send(kSyn).view.dst, remote_pod(false));
    image::Service both = service(false, Protocol::kTcp, {remote_pod(false), "10.244.2.55"});
    harness_->upsert(both);
    EXPECT_EQ(send(kFin | kAck).view.dst, remote_pod(false));
    (void)harness_->run(TcProgram::kNodeIngress, packet(shape, remote_pod(false), pod(false), 8080,
                                                        port_, kFin | kAck));
    std::set<std::string> chosen;
    for (int i = 0; i < 64; ++i) {
        chosen.insert(send(kSyn).view.dst);
        (void)send(kRst);
    }
    EXPECT_EQ(chosen.size(), 2U);
}

TEST_F(Journey, ChoiceIsUniform) {
    const Shape shape{false, Protocol::kUdp};
    harness_->upsert(service(false, Protocol::kUdp, {"10.244.2.1", "10.244.2.2", "10.244.2.3",
                                                     "10.244.2.4"}));
    std::map<std::string, int> counts;
    for (int i = 0; i < 4000; ++i) {
        Spec spec = packet(shape, fmt::format("10.244.1.{}", 10 + i % 200), cluster_ip(false),
                           static_cast<std::uint16_t>(1000 + i / 200), 80);
        ++counts[harness_->run(TcProgram::kPodIngress, spec).view.dst];
    }
    ASSERT_EQ(counts.size(), 4U);
    for (const auto& [backend, count] : counts) {
        EXPECT_NEAR(count, 1000, 150) << backend;  // over five standard deviations
    }
}

TEST_F(Journey, WithoutDetectLocalClusterIpKeepsTheSource) {
    const Shape shape{false, Protocol::kTcp};
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    harness_->set_node(test_node(false));
    Outcome out = harness_->run(TcProgram::kNodeIngress,
                                packet(shape, outside(false), cluster_ip(false), port_, 80));
    EXPECT_EQ(out.view.src, outside(false));
    image::Node all = test_node(false);
    all.masquerade_all = true;
    harness_->set_node(all);
    out = harness_->run(TcProgram::kNodeIngress,
                        packet(shape, outside(false), cluster_ip(false),
                               static_cast<std::uint16_t>(port_ + 1), 80));
    EXPECT_EQ(out.view.src, node(false));
    harness_->set_node(test_node());
}

}  // namespace
}  // namespace sluice::dataplane
