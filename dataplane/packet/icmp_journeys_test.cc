// ICMP errors about translated flows, both ways, and the ones that the programs send themselves: path MTU through a
// Service, time exceeded. What a quote must say is written down from the packets that each side sent.
#include <cstdlib>

#include "dataplane/packet/test_journey.h"

namespace sluice::dataplane {
namespace {

class IcmpJourney : public Journey {
protected:
    static std::string router(bool v6) { return v6 ? "2001:db8:77::1" : "203.0.113.1"; }
    static void sh(const std::string& command) {
        EXPECT_EQ(std::system(command.c_str()), 0) << command;  // NOLINT: the harness's namespace
    }
    struct Kind {
        std::uint8_t type, code;
        std::uint32_t rest;
    };
    // Too big, unreachable, time exceeded, parameter problem.
    static std::vector<Kind> kinds(bool v6) {
        if (v6) {
            return {{2, 0, 1280}, {1, 4, 0}, {1, 0, 0}, {3, 0, 0}, {4, 0, 6}};
        }
        return {{3, 4, 1300}, {3, 3, 0}, {3, 1, 0}, {11, 0, 0}, {12, 0, 0x06000000}};
    }
    // A quote: what its receiver has sent, and its checksum as it was sent.
    static void expect_quote(const Outcome& error, const Bytes& sent) {
        const packets::View quoted = packets::read_quoted(error.view);
        const packets::View original = packets::read(sent);
        EXPECT_EQ(error.view.error, "");
        EXPECT_EQ(quoted.error, "");
        EXPECT_EQ(quoted.src, original.src);
        EXPECT_EQ(quoted.dst, original.dst);
        EXPECT_EQ(quoted.sport, original.sport);
        EXPECT_EQ(quoted.dport, original.dport);
        if (original.protocol != 132) {
            EXPECT_EQ(quoted.l4_checksum, original.l4_checksum);
        }
        EXPECT_EQ(error.view.dst, original.src);
    }
};

// A router complains about what the client sent; the client hears of its own packet.
TEST_F(IcmpJourney, RoutersErrorReachesTheClient) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {remote_pod(shape.v6)}));
        const Bytes sent =
            packets::build(packet(shape, pod(shape.v6), cluster_ip(shape.v6), port_, 80));
        const Outcome there = harness_->run(TcProgram::kPodIngress, sent);
        ASSERT_EQ(there.action, kActionRedirect);
        for (const Kind kind : kinds(shape.v6)) {
            const Bytes error = packets::icmp_error(router(shape.v6), pod(shape.v6), kind.type,
                                                    kind.code, kind.rest, there.frame, 76);
            const Outcome out = harness_->run(TcProgram::kNodeIngress, error);
            EXPECT_EQ(out.action, kActionRedirect);
            expect_quote(out, sent);
            EXPECT_EQ(out.view.src, router(shape.v6)) << "a router is not hidden";
            EXPECT_EQ(out.view.icmp_type, kind.type);
            EXPECT_EQ(out.view.icmp_code, kind.code);
            EXPECT_EQ(out.view.icmp_rest, kind.rest);
            EXPECT_EQ(out.view.ttl, 63);
        }
    }
}

// A backend that has nobody at its port: the answer is the service's, and finds a client behind source NAT.
TEST_F(IcmpJourney, BackendsErrorIsTheServices) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {remote_pod(shape.v6)}));
        const Bytes sent = packets::build(packet(shape, outside(shape.v6), node(shape.v6), port_, 30080));
        const Outcome there = harness_->run(TcProgram::kNodeIngress, sent);
        ASSERT_EQ(there.view.src, node(shape.v6));
        const Bytes error =
            packets::icmp_error(remote_pod(shape.v6), node(shape.v6), shape.v6 ? 1 : 3,
                                shape.v6 ? 4 : 3, 0, there.frame, shape.v6 ? 60 : 28);
        const Outcome out = harness_->run(TcProgram::kNodeIngress, error);
        EXPECT_EQ(out.action, kActionRedirect);
        const packets::View quoted = packets::read_quoted(out.view);
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.src, node(shape.v6)) << "the address that the client knows";
        EXPECT_EQ(out.view.dst, outside(shape.v6));
        EXPECT_EQ(quoted.src, outside(shape.v6));
        EXPECT_EQ(quoted.sport, port_);
        EXPECT_EQ(quoted.dst, node(shape.v6));
        EXPECT_EQ(quoted.dport, 30080);
    }
}

// The other way: the backend's answer was too big for a router near the client.
TEST_F(IcmpJourney, ErrorAboutAnAnswerReachesTheBackend) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {pod(shape.v6)}));
        const Outcome there = harness_->run(
            TcProgram::kNodeIngress, packet(shape, outside(shape.v6), node(shape.v6), port_, 30080));
        ASSERT_EQ(there.view.dst, pod(shape.v6));
        const Bytes answer = packets::build(
            packet(shape, pod(shape.v6), node(shape.v6), 8080, there.view.sport, kSyn | kAck));
        const Outcome back = harness_->run(TcProgram::kPodIngress, answer);
        ASSERT_EQ(back.view.dst, outside(shape.v6));
        const Bytes error =
            packets::icmp_error(router(shape.v6), node(shape.v6), shape.v6 ? 2 : 3, shape.v6 ? 0 : 4,
                                1280, back.frame, 80);
        const Outcome out = harness_->run(TcProgram::kNodeIngress, error);
        EXPECT_EQ(out.action, kActionRedirect);
        expect_quote(out, answer);
        EXPECT_EQ(out.view.icmp_rest, 1280U);
        // From the client itself: the backend knows it as the node.
        const Bytes refused =
            packets::icmp_error(outside(shape.v6), node(shape.v6), shape.v6 ? 1 : 3,
                                shape.v6 ? 4 : 3, 0, back.frame, 80);
        const Outcome told = harness_->run(TcProgram::kNodeIngress, refused);
        expect_quote(told, answer);
        EXPECT_EQ(told.view.src, node(shape.v6));
    }
}

TEST_F(IcmpJourney, UdpWithoutChecksumIsQuotedWithout) {
    const Shape shape{false, Protocol::kUdp};
    harness_->upsert(service(false, Protocol::kUdp, {remote_pod(false)}));
    Spec spec = packet(shape, pod(false), cluster_ip(false), port_, 80);
    spec.udp_no_checksum = true;
    const Outcome there = harness_->run(TcProgram::kPodIngress, spec);
    const Outcome out = harness_->run(
        TcProgram::kNodeIngress, packets::icmp_error(router(false), pod(false), 3, 4, 1300, there.frame));
    expect_quote(out, packets::build(spec));
}

// Crafted: a quoted tuple of a flow, told to somebody else; an error about an error; no such flow.
TEST_F(IcmpJourney, ErrorsThatBelongToNoFlowAreNotTranslated) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        harness_->upsert(service(v6, shape.protocol, {remote_pod(v6)}));
        const Outcome there =
            harness_->run(TcProgram::kPodIngress, packet(shape, pod(v6), cluster_ip(v6), port_, 80));
        const std::uint8_t type = v6 ? 1 : 3;
        const Bytes elsewhere =
            packets::icmp_error(router(v6), v6 ? "fd01::66" : "10.244.1.66", type, 1, 0, there.frame);
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, elsewhere).frame, elsewhere);
        const Bytes error = packets::icmp_error(router(v6), pod(v6), type, 1, 0, there.frame);
        const Bytes nested = packets::icmp_error(router(v6), pod(v6), type, 1, 0, error);
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, nested).frame, nested);
        const Bytes stranger = packets::icmp_error(
            router(v6), pod(v6), type, 1, 0,
            packets::build(packet(shape, pod(v6), remote_pod(v6), 9, 9)));
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, stranger).frame, stranger);
        // To a service address nobody is there to take it.
        const auto before = harness_->drops(SLUICE_DROP_NO_FLOW);
        const Bytes owned = packets::icmp_error(
            router(v6), cluster_ip(v6), type, 1, 0,
            packets::build(packet(shape, cluster_ip(v6), outside(v6), 80, 9)));
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, owned).action, kActionShot);
        EXPECT_EQ(harness_->drops(SLUICE_DROP_NO_FLOW), before + 1);
    }
}

// Path MTU through a Service: what is larger than the next link takes is answered with that link's size.
TEST_F(IcmpJourney, TooBigForTheNextLinkIsAnswered) {
    sh("ip route change 10.244.2.0/24 via 192.0.2.2 mtu lock 1300");
    sh("ip -6 route change fd02::/64 via 2001:db8::2 mtu lock 1300");
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        harness_->upsert(service(v6, shape.protocol, {remote_pod(v6)}));
        for (const bool snat : {false, true}) {
            Spec spec = snat ? packet(shape, outside(v6), node(v6), port_, 30080)
                             : packet(shape, pod(v6), cluster_ip(v6), port_, 80);
            const TcProgram program = snat ? TcProgram::kNodeIngress : TcProgram::kPodIngress;
            spec.payload = std::string(1200, 'x');
            spec.fragment = v6 ? 0 : 0x4000;  // do not fragment
            EXPECT_EQ(harness_->run(program, spec).action, kActionRedirect) << "this fits";
            spec.payload = std::string(1300, 'x');
            const auto before = harness_->drops(SLUICE_DROP_TOO_BIG);
            const Outcome out = harness_->run(program, spec);
            EXPECT_EQ(out.action, kActionRedirect) << "back where it came from";
            EXPECT_EQ(harness_->drops(SLUICE_DROP_TOO_BIG), before + 1);
            EXPECT_EQ(out.view.icmp_type, v6 ? 2 : 3);
            EXPECT_EQ(out.view.icmp_code, v6 ? 0 : 4);
            EXPECT_EQ(out.view.icmp_rest, 1300U);
            const packets::View quoted = packets::read_quoted(out.view);
            EXPECT_EQ(out.view.error, "");
            EXPECT_EQ(out.view.dst, spec.src);
            EXPECT_EQ(out.view.src, spec.dst);
            EXPECT_EQ(quoted.src, spec.src);
            EXPECT_EQ(quoted.dport, spec.dport);
        }
    }
    sh("ip route change 10.244.2.0/24 via 192.0.2.2");
    sh("ip -6 route change fd02::/64 via 2001:db8::2");
}

// IPv4 that may be cut up is the stack's to cut up, unless it has got another source.
TEST_F(IcmpJourney, TooBigWithoutDfGoesUpTheStackOrIsAnswered) {
    sh("ip route change 10.244.2.0/24 via 192.0.2.2 mtu lock 1300");
    const Shape shape{false, Protocol::kUdp};
    harness_->upsert(service(false, Protocol::kUdp, {remote_pod(false)}));
    Spec spec = packet(shape, pod(false), cluster_ip(false), port_, 80);
    spec.payload = std::string(1300, 'x');
    const Outcome kept = harness_->run(TcProgram::kPodIngress, spec);
    EXPECT_EQ(kept.action, kActionOk);
    expect(kept, pod(false), port_, remote_pod(false), 8080);
    EXPECT_EQ(kept.view.ttl, 64) << "the stack takes one off";
    spec = packet(shape, outside(false), node(false), port_, 30080);
    spec.payload = std::string(1300, 'x');
    const Outcome changed = harness_->run(TcProgram::kNodeIngress, spec);
    EXPECT_EQ(changed.view.icmp_code, 4);
    EXPECT_EQ(changed.view.dst, outside(false));
    sh("ip route change 10.244.2.0/24 via 192.0.2.2");
}

// The last hop is this node: told, whether the source is kept or not, but never about an error.
TEST_F(IcmpJourney, TimeExceededIsAnswered) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        harness_->upsert(service(v6, shape.protocol, {remote_pod(v6)}));
        Spec spec = packet(shape, outside(v6), node(v6), port_, 30080);
        const Outcome there = harness_->run(TcProgram::kNodeIngress, spec);
        for (const std::uint8_t ttl : std::initializer_list<std::uint8_t>{0, 1}) {
            spec.ttl = ttl;
            const auto before = harness_->drops(SLUICE_DROP_TTL_EXPIRED);
            const Outcome out = harness_->run(TcProgram::kNodeIngress, spec);
            EXPECT_EQ(harness_->drops(SLUICE_DROP_TTL_EXPIRED), before + 1);
            EXPECT_EQ(out.action, kActionRedirect);
            EXPECT_EQ(out.view.error, "");
            EXPECT_EQ(out.view.icmp_type, v6 ? 3 : 11);
            EXPECT_EQ(out.view.dst, outside(v6));
            EXPECT_EQ(packets::read_quoted(out.view).sport, port_);
        }
        Bytes error = packets::icmp_error(router(v6), node(v6), v6 ? 1 : 3, 1, 0, there.frame);
        if (v6) {
            error[21] = 1;
        } else {
            error[22] = 1;
            error[24] = error[25] = 0;
            const std::uint32_t sum = 0xffffU ^ packets::sum16(&error[14], 20);
            error[24] = static_cast<std::uint8_t>(sum >> 8U);
            error[25] = static_cast<std::uint8_t>(sum);
        }
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, error).action, kActionShot);
    }
}

}  // namespace
}  // namespace sluice::dataplane
