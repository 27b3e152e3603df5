// One frame at a time through the XDP program: what it sends on, byte by byte, and what it leaves to tc untouched.
// Names say which line of the service semantics they cover.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "api/abi/drop_reasons.h"
#include "dataplane/packet/harness.h"

namespace sluice::dataplane {
namespace {

using packets::Bytes;
using packets::Spec;

constexpr std::uint8_t kSyn = 2, kRst = 4, kAck = 16;
constexpr std::uint16_t kNodePort = 30080;
const Bytes kNeighbour{2, 0, 0, 0, 0, 2};

struct Shape {
    bool v6 = false;
    std::uint8_t protocol = 6;
};

class Xdp : public ::testing::TestWithParam<Shape> {
protected:
    static void SetUpTestSuite() { harness_ = Harness::make(test_node()); }
    static void TearDownTestSuite() { harness_.reset(); }
    void SetUp() override {
        if (!harness_) {
            GTEST_SKIP() << "needs root, BPF and a network namespace";
        }
        port_ = static_cast<std::uint16_t>(port_ + 50);  // tests share the flow table, not the flows
    }

    static std::string client(bool v6) { return v6 ? "2001:db8:1::7" : "198.51.100.7"; }
    static std::string node(bool v6) { return v6 ? "2001:db8::1" : "192.0.2.1"; }
    static std::string balancer(bool v6) { return v6 ? "2001:db8:5::10" : "203.0.113.10"; }
    static std::string remote(bool v6) { return v6 ? "fd02::9" : "10.244.2.9"; }
    static std::string local(bool v6) { return v6 ? "fd01::9" : "10.244.1.9"; }

    // default/web: NodePort 30080, and port 80 of a load-balancer address.
    static image::Service service(Shape shape, image::Forwarding forwarding,
                                  const std::vector<image::Backend>& backends, bool drop = false) {
        image::Service out;
        const auto protocol = static_cast<Protocol>(shape.protocol);
        out.key = {"default/web", "", protocol, shape.v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
        out.port = 80;
        image::Frontend port;
        port.address = shape.v6 ? IpAddress{} : IpAddress::from_v4_be(0);
        port.port = kNodePort;
        port.scope = image::Scope::kNodePort;
        port.external = port.masquerade = true;
        port.forwarding = forwarding;
        image::Frontend address = port;
        address.address = *IpAddress::parse(balancer(shape.v6));
        address.port = 80;
        address.scope = image::Scope::kAddress;
        out.frontends = {port, address};
        std::sort(out.frontends.begin(), out.frontends.end());
        out.internal.backends = backends;
        out.internal.when_empty_drop = drop;
        out.external = out.internal;
        out.inside = out.internal;
        return out;
    }
    static image::Backend backend(const std::string& address, bool is_local) {
        image::Backend out;
        out.address = *IpAddress::parse(address);
        out.port = 8080;
        out.local = is_local;
        return out;
    }
    static Spec packet(Shape shape, const std::string& dst, std::uint16_t dport, std::uint8_t flags = kSyn) {
        Spec spec;
        spec.src = client(shape.v6);
        spec.dst = dst;
        spec.sport = port_;
        spec.dport = dport;
        spec.protocol = shape.protocol;
        spec.tcp_flags = flags;
        return spec;
    }
    static void expect_untouched(const Spec& spec) { expect_untouched(packets::build(spec)); }
    static void expect_untouched(const Bytes& frame) {
        const Outcome out = harness_->run_xdp(frame);
        EXPECT_EQ(out.action, kXdpPass);
        EXPECT_EQ(out.frame, frame);
    }
    static Bytes slice(const Bytes& frame, std::size_t from, std::size_t size) {
        return {frame.begin() + static_cast<std::ptrdiff_t>(from),
                frame.begin() + static_cast<std::ptrdiff_t>(from + size)};
    }
    static std::uint32_t at16(const Bytes& frame, std::size_t at) {
        return static_cast<std::uint32_t>(frame[at]) << 8U | frame[at + 1];
    }
    // The packet of a spec in another IP header, as another node would send it.
    static Bytes tunnelled(const Spec& spec, const std::string& pod, std::uint16_t port) {
        const bool v6 = spec.src.find(':') != std::string::npos;
        const Bytes inner = packets::build(spec);
        Spec outer;
        outer.src = v6 ? "2001:db8::2" : "192.0.2.2";
        outer.dst = pod;
        outer.protocol = 17;
        outer.payload = std::string(inner.size() - 14 - 8, 'x');
        outer.udp_no_checksum = true;
        Bytes out = packets::build(outer);
        const std::size_t header = v6 ? 40 : 20;
        if (v6) {
            out[14 + 6] = 41;
            out[14 + 2] = static_cast<std::uint8_t>(port >> 8U);
            out[14 + 3] = static_cast<std::uint8_t>(port);
        } else {
            out[14 + 9] = 4;
            out[14 + 4] = static_cast<std::uint8_t>(port >> 8U);
            out[14 + 5] = static_cast<std::uint8_t>(port);
            out[14 + 10] = out[14 + 11] = 0;
            const std::uint32_t check = 0xffffU ^ packets::sum16(&out[14], header);
            out[14 + 10] = static_cast<std::uint8_t>(check >> 8U);
            out[14 + 11] = static_cast<std::uint8_t>(check);
        }
        std::copy(inner.begin() + 14, inner.end(), out.begin() + static_cast<std::ptrdiff_t>(14 + header));
        return out;
    }

    static std::unique_ptr<Harness> harness_;
    static std::uint16_t port_;
};

std::unique_ptr<Harness> Xdp::harness_;
std::uint16_t Xdp::port_ = 20000;

TEST_P(Xdp, NodePortToAnotherNodeIsMasqueradedAndItsAnswerComesBackAsTheNodePort) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kNat, {backend(remote(shape.v6), false)}));
    const Outcome out = harness_->run_xdp(packet(shape, node(shape.v6), kNodePort));
    ASSERT_EQ(out.action, kXdpTx);
    EXPECT_EQ(out.view.error, "");
    EXPECT_EQ(out.view.src, node(shape.v6));
    EXPECT_EQ(out.view.dst, remote(shape.v6));
    EXPECT_EQ(out.view.dport, 8080);
    EXPECT_EQ(out.view.ttl, 63);
    EXPECT_EQ(slice(out.frame, 0, 6), kNeighbour);
    const Outcome again = harness_->run_xdp(packet(shape, node(shape.v6), kNodePort, kAck));
    EXPECT_EQ(again.action, kXdpTx);
    EXPECT_EQ(again.view.sport, out.view.sport);

    Spec answer = packet(shape, node(shape.v6), out.view.sport, kSyn | kAck);
    answer.src = remote(shape.v6);
    answer.sport = 8080;
    const Outcome back = harness_->run_xdp(answer);
    ASSERT_EQ(back.action, kXdpTx);
    EXPECT_EQ(back.view.error, "");
    EXPECT_EQ(back.view.src, node(shape.v6));
    EXPECT_EQ(back.view.sport, kNodePort);
    EXPECT_EQ(back.view.dst, client(shape.v6));
    EXPECT_EQ(back.view.dport, port_);
    EXPECT_EQ(back.view.ttl, 63);
}

TEST_P(Xdp, FlowsAreOneTableWithTc) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kNat, {backend(remote(shape.v6), false)}));
    const Outcome first = harness_->run_xdp(packet(shape, balancer(shape.v6), 80));
    const Outcome second = harness_->run(TcProgram::kNodeIngress, packet(shape, balancer(shape.v6), 80, kAck));
    ASSERT_EQ(first.action, kXdpTx);
    ASSERT_EQ(second.action, kActionRedirect);
    EXPECT_EQ(first.view.sport, second.view.sport);
    EXPECT_EQ(first.view.dst, second.view.dst);
}

TEST_P(Xdp, BackendOfThisNodeIsLeftToTcBeforeAFlowIsMade) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kNat, {backend(local(shape.v6), true)}));
    expect_untouched(packet(shape, node(shape.v6), kNodePort));
    EXPECT_NE(harness_->run(TcProgram::kNodeIngress, packet(shape, node(shape.v6), kNodePort)).action,
              kActionShot);
    expect_untouched(packet(shape, node(shape.v6), kNodePort, kAck));
}

TEST_P(Xdp, StrangersPassUntouched) {
    const Shape shape = GetParam();
    Spec spec = packet(shape, "10.1.2.3", 80);
    if (shape.v6) {
        spec.dst = "2001:db8:77::1";
    }
    expect_untouched(spec);
}

TEST_P(Xdp, WhatCannotBeFinishedHerePassesUntouched) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(remote(shape.v6), false)}));
    Spec spec = packet(shape, balancer(shape.v6), 80);
    ASSERT_EQ(harness_->run_xdp(spec).action, kXdpTx);
    Spec tagged = spec;
    tagged.vlans = {5};
    expect_untouched(tagged);
    Spec fragment = spec;
    if (shape.v6) {
        fragment.extensions = {44};
        fragment.fragment = 1;
    } else {
        fragment.fragment = 0x2000;
    }
    expect_untouched(fragment);
    Spec options = spec;
    if (shape.v6) {
        options.extensions = {60};
    } else {
        options.option_words = 1;
    }
    expect_untouched(options);
    Spec ping = spec;
    ping.protocol = shape.v6 ? 58 : 1;
    expect_untouched(ping);
    Spec huge = spec;
    huge.payload = std::string(1480, 'x');
    huge.tcp_flags = kAck;
    expect_untouched(huge);
    // Every header cut short at each length.
    const Bytes whole = packets::build(spec);
    for (std::size_t size = 14; size + 8 < whole.size(); ++size) {
        expect_untouched(slice(whole, 0, size));
    }
}

TEST_P(Xdp, NoEndpointIsRefusedByTcAndPolicyLocalWithoutOneIsSilence) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kNat, {}));
    expect_untouched(packet(shape, balancer(shape.v6), 80));
    harness_->upsert(service(shape, image::Forwarding::kNat, {}, true));
    const auto before = harness_->drops(SLUICE_DROP_NO_LOCAL_ENDPOINT);
    EXPECT_EQ(harness_->run_xdp(packet(shape, balancer(shape.v6), 80)).action, kXdpDrop);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_NO_LOCAL_ENDPOINT), before + 1);
}

TEST_P(Xdp, DirectReturnByTunnelSendsTheClientsPacketUnchangedInsideOne) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(remote(shape.v6), false)}));
    const std::size_t header = shape.v6 ? 40 : 20;
    for (const std::uint8_t flags : {kSyn, kAck}) {
        const Bytes inner = packets::build(packet(shape, balancer(shape.v6), 80, flags));
        const Outcome out = harness_->run_xdp(inner);
        ASSERT_EQ(out.action, kXdpTx);
        ASSERT_EQ(out.frame.size(), inner.size() + header);
        EXPECT_EQ(slice(out.frame, 0, 6), kNeighbour);
        EXPECT_EQ(slice(out.frame, 14 + header, inner.size() - 14), slice(inner, 14, inner.size() - 14));
        EXPECT_EQ(out.view.src, node(shape.v6));
        EXPECT_EQ(out.view.dst, remote(shape.v6));
        EXPECT_EQ(out.view.ttl, 64);
        EXPECT_EQ(out.view.end, out.frame.size());
        EXPECT_EQ(at16(out.frame, 14 + (shape.v6 ? 2 : 4)), 8080U);
        EXPECT_EQ(out.frame[14 + (shape.v6 ? 6 : 9)], shape.v6 ? 41 : 4);
        if (!shape.v6) {
            EXPECT_EQ(packets::sum16(&out.frame[14], 20), 0xffffU);
            EXPECT_EQ(at16(out.frame, 20), 0x4000U);
        }
    }
}

TEST_P(Xdp, DirectReturnByOptionNamesTheFrontendInTheFirstPackets) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kOption, {backend(remote(shape.v6), false)}));
    for (const std::uint8_t flags : {kSyn, kSyn, kAck}) {
        const Bytes before = packets::build(packet(shape, balancer(shape.v6), 80, flags));
        const Outcome out = harness_->run_xdp(before);
        const bool carries = shape.protocol != 6 || flags == kSyn;
        const std::size_t growth = !carries ? 0 : shape.v6 ? 24 : 8;
        ASSERT_EQ(out.action, kXdpTx);
        ASSERT_EQ(out.frame.size(), before.size() + growth);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.end, out.frame.size());
        EXPECT_EQ(out.view.src, client(shape.v6));
        EXPECT_EQ(out.view.sport, port_);
        EXPECT_EQ(out.view.dst, remote(shape.v6));
        EXPECT_EQ(out.view.dport, 8080);
        EXPECT_EQ(out.view.protocol, shape.protocol);
        EXPECT_EQ(slice(out.frame, 0, 6), kNeighbour);
        if (!carries) {
            continue;
        }
        const IpAddress frontend = *IpAddress::parse(balancer(shape.v6));
        if (shape.v6) {
            EXPECT_EQ(slice(out.frame, 54, 4), (Bytes{shape.protocol, 2, 0x1e, 20}));
            EXPECT_EQ(std::memcmp(&out.frame[58], frontend.bytes.data(), 16), 0);
            EXPECT_EQ(at16(out.frame, 74), 80U);
        } else {
            EXPECT_EQ(slice(out.frame, 34, 4), (Bytes{0x9e, 8, 0, 80}));
            EXPECT_EQ(slice(out.frame, 38, 4), (Bytes{203, 0, 113, 10}));
        }
    }
}

TEST_P(Xdp, TunnelForAPodOfThisNodeIsUnwrappedAndItsAnswerHasTheFrontendsAddress) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel,
                             {backend(local(shape.v6), true), backend(remote(shape.v6), false)}));
    const Spec spec = packet(shape, balancer(shape.v6), 80);
    const Outcome out = harness_->run_xdp(tunnelled(spec, local(shape.v6), 8080));
    ASSERT_EQ(out.action, kXdpPass);
    EXPECT_EQ(slice(out.frame, 12, out.frame.size() - 12),
              slice(packets::build(spec), 12, packets::build(spec).size() - 12));
    const Outcome inside = harness_->run(TcProgram::kNodeIngress, out.frame);
    EXPECT_EQ(inside.view.error, "");
    EXPECT_EQ(inside.view.src, client(shape.v6));
    EXPECT_EQ(inside.view.dst, local(shape.v6));
    EXPECT_EQ(inside.view.dport, 8080);
    Spec answer = packet(shape, client(shape.v6), port_, kSyn | kAck);
    answer.src = local(shape.v6);
    answer.sport = 8080;
    const Outcome back = harness_->run(TcProgram::kPodIngress, answer);
    EXPECT_EQ(back.action, kActionRedirect);
    EXPECT_EQ(back.view.src, balancer(shape.v6));
    EXPECT_EQ(back.view.sport, 80);
    EXPECT_EQ(back.view.dst, client(shape.v6));
}

TEST_P(Xdp, TunnelThatNoServiceExplainsIsDroppedAndOneThatIsNotOursPasses) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(local(shape.v6), true)}));
    const Spec spec = packet(shape, balancer(shape.v6), 80);
    const auto before = harness_->drops(SLUICE_DROP_BAD_TUNNEL);
    EXPECT_EQ(harness_->run_xdp(tunnelled(spec, local(shape.v6), 8081)).action, kXdpDrop);
    EXPECT_EQ(harness_->run_xdp(tunnelled(spec, shape.v6 ? "fd01::77" : "10.244.1.77", 8080)).action,
              kXdpDrop);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_BAD_TUNNEL), before + 2);
    Spec other = spec;
    other.dst = shape.v6 ? "2001:db8:77::1" : "10.1.2.3";
    expect_untouched(tunnelled(other, local(shape.v6), 8080));
    // On its way to another node's pod.
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(remote(shape.v6), false)}));
    expect_untouched(tunnelled(spec, remote(shape.v6), 8080));
}

TEST_P(Xdp, TunnelWinsOverAFlowThatWouldSendThePacketOn) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(remote(shape.v6), false)}));
    const Spec spec = packet(shape, balancer(shape.v6), 80);
    ASSERT_EQ(harness_->run_xdp(spec).action, kXdpTx);
    harness_->upsert(service(shape, image::Forwarding::kTunnel,
                             {backend(local(shape.v6), true), backend(remote(shape.v6), false)}));
    const Outcome out = harness_->run_xdp(tunnelled(spec, local(shape.v6), 8080));
    ASSERT_EQ(out.action, kXdpPass);
    EXPECT_EQ(out.frame.size(), packets::build(spec).size());
    EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, out.frame).view.dst, local(shape.v6));
}

// The same where XDP does not run.
TEST_P(Xdp, TcSendsThroughATunnelTheSameBytes) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(remote(shape.v6), false)}));
    const Spec spec = packet(shape, balancer(shape.v6), 80);
    const Outcome out = harness_->run(TcProgram::kNodeIngress, spec);
    const Outcome xdp = harness_->run_xdp(spec);
    ASSERT_EQ(out.action, kActionRedirect);
    ASSERT_EQ(xdp.action, kXdpTx);
    ASSERT_EQ(out.frame.size(), xdp.frame.size());
    EXPECT_EQ(slice(out.frame, 12, out.frame.size() - 12), slice(xdp.frame, 12, xdp.frame.size() - 12));
}

TEST_P(Xdp, TcTellsTheClientOfTheTunnelsMtu) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(remote(shape.v6), false)}));
    Spec spec = packet(shape, balancer(shape.v6), 80, kAck);
    spec.payload = std::string(shape.v6 ? 1440 : 1460, 'x');
    spec.fragment = shape.v6 ? 0 : 0x4000;
    const Outcome out = harness_->run(TcProgram::kNodeIngress, spec);
    ASSERT_EQ(out.action, kActionRedirect);
    EXPECT_EQ(out.view.error, "");
    EXPECT_EQ(out.view.dst, client(shape.v6));
    EXPECT_EQ(out.view.icmp_type, shape.v6 ? 2 : 3);
    EXPECT_EQ(at16(out.frame, out.view.l4 + 6), shape.v6 ? 1460U : 1480U);
}

TEST_P(Xdp, TcUnwrapsATunnelAndDeliversToThePod) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kTunnel, {backend(local(shape.v6), true)}));
    const Spec spec = packet(shape, balancer(shape.v6), 80);
    const Outcome out = harness_->run(TcProgram::kNodeIngress, tunnelled(spec, local(shape.v6), 8080));
    EXPECT_EQ(out.view.error, "");
    EXPECT_EQ(out.frame.size(), packets::build(spec).size());
    EXPECT_EQ(out.view.src, client(shape.v6));
    EXPECT_EQ(out.view.dst, local(shape.v6));
    EXPECT_EQ(out.view.dport, 8080);
    const auto before = harness_->drops(SLUICE_DROP_BAD_TUNNEL);
    // The flow is known, and its port is not asked for again.
    EXPECT_NE(harness_->run(TcProgram::kNodeIngress, tunnelled(spec, local(shape.v6), 8081)).action, kActionShot);
    Spec other = spec;
    other.sport = static_cast<std::uint16_t>(port_ + 1);
    EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, tunnelled(other, local(shape.v6), 8081)).action,
              kActionShot);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_BAD_TUNNEL), before + 1);
}

// By link: the client's packet, one hop older, in a frame to the next hop towards the backend; from XDP and from tc.
TEST_P(Xdp, DirectReturnByLinkChangesNothingButTheFrame) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kLink, {backend(remote(shape.v6), false)}));
    const std::uint64_t before = harness_->drops(SLUICE_DROP_TTL_EXPIRED);
    for (const std::uint8_t flags : {kSyn, kAck, kAck}) {
        Spec spec = packet(shape, balancer(shape.v6), 80, flags);
        const Bytes frame = packets::build(spec);
        const Outcome out = harness_->run_xdp(frame);
        const Outcome tc = harness_->run(TcProgram::kNodeIngress, frame);
        --spec.ttl;
        const Bytes older = packets::build(spec);
        ASSERT_EQ(out.action, kXdpTx);
        EXPECT_EQ(slice(out.frame, 0, 6), kNeighbour);
        EXPECT_EQ(slice(out.frame, 12, out.frame.size() - 12), slice(older, 12, older.size() - 12));
        ASSERT_EQ(tc.action, kActionRedirect);
        EXPECT_EQ(slice(tc.frame, 12, tc.frame.size() - 12), slice(older, 12, older.size() - 12));
        // Too old for another hop: tc says so.
        spec.ttl = 1;
        expect_untouched(spec);
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, spec).view.dst, client(shape.v6));
    }
    EXPECT_EQ(harness_->drops(SLUICE_DROP_TTL_EXPIRED), before + 3);
}

TEST_P(Xdp, ByLinkOnlyWhatIsLargerThanTheLinkIsTooBig) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kLink, {backend(remote(shape.v6), false)}));
    Spec spec = packet(shape, balancer(shape.v6), 80, kAck);
    spec.payload = std::string(1400, 'x');
    const std::size_t rest = 1500 - (packets::build(spec).size() - 14);
    spec.payload += std::string(rest, 'x');
    const Outcome fits = harness_->run(TcProgram::kNodeIngress, spec);
    EXPECT_EQ(fits.view.dst, balancer(shape.v6));
    EXPECT_EQ(harness_->run_xdp(packets::build(spec)).action, kXdpTx);
    // Without DF too, for the stack would send it to the frontend.
    spec.payload += "x";
    const Outcome out = harness_->run(TcProgram::kNodeIngress, spec);
    ASSERT_EQ(out.action, kActionRedirect);
    EXPECT_EQ(out.view.dst, client(shape.v6));
    EXPECT_EQ(out.view.icmp_type, shape.v6 ? 2 : 3);
    EXPECT_EQ(at16(out.frame, out.view.l4 + 6), 1500U);
}

TEST_P(Xdp, WhatCameByLinkIsTranslatedForAPodHere) {
    const Shape shape = GetParam();
    harness_->upsert(service(shape, image::Forwarding::kLink, {backend(local(shape.v6), true)}));
    const Spec spec = packet(shape, balancer(shape.v6), 80);
    expect_untouched(spec);
    const Outcome in = harness_->run(TcProgram::kNodeIngress, spec);
    EXPECT_EQ(in.view.src, client(shape.v6));
    EXPECT_EQ(in.view.dst, local(shape.v6));
    EXPECT_EQ(in.view.dport, 8080);
    Spec answer = packet(shape, client(shape.v6), port_, kSyn | kAck);
    answer.src = local(shape.v6);
    answer.sport = 8080;
    const Outcome back = harness_->run(TcProgram::kPodIngress, answer);
    EXPECT_EQ(back.view.src, balancer(shape.v6));
    EXPECT_EQ(back.view.sport, 80);
    EXPECT_EQ(back.view.dst, client(shape.v6));
}

TEST_P(Xdp, OptionFromOneNodeIsTakenOffByTheOther) {
    const Shape shape = GetParam();
    // As the load balancer's node, which does not have the pod.
    harness_->upsert(service(shape, image::Forwarding::kOption, {backend(local(shape.v6), false)}));
    const Spec spec = packet(shape, balancer(shape.v6), 80);
    const Outcome sent = harness_->run(TcProgram::kNodeIngress, spec);
    ASSERT_EQ(sent.action, kActionRedirect);
    EXPECT_EQ(sent.view.error, "");
    EXPECT_EQ(sent.view.dst, local(shape.v6));
    ASSERT_EQ(sent.frame.size(), packets::build(spec).size() + (shape.v6 ? 24 : 8));
    // As the pod's.
    harness_->upsert(service(shape, image::Forwarding::kOption, {backend(local(shape.v6), true)}));
    const Outcome out = harness_->run(TcProgram::kNodeIngress, sent.frame);
    EXPECT_EQ(out.view.error, "");
    EXPECT_EQ(out.frame.size(), packets::build(spec).size());
    EXPECT_EQ(out.view.src, client(shape.v6));
    EXPECT_EQ(out.view.sport, port_);
    EXPECT_EQ(out.view.dst, local(shape.v6));
    EXPECT_EQ(out.view.dport, 8080);
    Spec answer = packet(shape, client(shape.v6), port_, kSyn | kAck);
    answer.src = local(shape.v6);
    answer.sport = 8080;
    const Outcome back = harness_->run(TcProgram::kPodIngress, answer);
    EXPECT_EQ(back.view.error, "");
    EXPECT_EQ(back.view.src, balancer(shape.v6));
    EXPECT_EQ(back.view.sport, 80);
    if (shape.protocol == 6) {
        // What follows names the pod itself.
        Spec further = packet(shape, local(shape.v6), 8080, kAck);
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, further).view.dst, local(shape.v6));
    }
}

INSTANTIATE_TEST_SUITE_P(Families, Xdp,
                         ::testing::Values(Shape{false, 6}, Shape{false, 17}, Shape{true, 6}, Shape{true, 17}),
                         [](const auto& param) {
                             return std::string(param.param.v6 ? "V6" : "V4") +
                                    (param.param.protocol == 6 ? "Tcp" : "Udp");
                         });

}  // namespace
}  // namespace sluice::dataplane
