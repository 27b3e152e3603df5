// Datagrams in fragments through the programs: the first is translated like a whole packet, the others follow it. What
// comes out is put together again and checked as one packet.
#include "dataplane/packet/test_journey.h"

namespace sluice::dataplane {
namespace {

class FragmentJourney : public Journey {
protected:
    static Bytes datagram(const Spec& from) {
        Spec spec = from;
        spec.payload.clear();
        for (int i = 0; i < 500; ++i) {
            spec.payload.push_back(static_cast<char>(i * 7));
        }
        return packets::build(spec);
    }
    Bytes send(TcProgram program, const Bytes& whole, std::uint32_t id) {
        std::vector<Bytes> out;
        for (const Bytes& piece : packets::cut(whole, 136, id)) {
            const Outcome outcome = harness_->run(program, piece);
            EXPECT_EQ(outcome.action, kActionRedirect);
            out.push_back(outcome.frame);
        }
        EXPECT_GE(out.size(), 4U);
        return packets::join(out);
    }
};

TEST_F(FragmentJourney, BothDirectionsWithAndWithoutSourceNat) {
    for (const Shape shape : shapes()) {
        if (shape.protocol == Protocol::kSctp) {
            continue;
        }
        const bool v6 = shape.v6;
        harness_->upsert(service(v6, shape.protocol, {remote_pod(v6)}));
        for (const bool snat : {false, true}) {
            const std::string client = snat ? outside(v6) : pod(v6);
            const std::string to = snat ? node(v6) : cluster_ip(v6);
            const std::uint16_t port = snat ? 30080 : 80;
            const TcProgram in = snat ? TcProgram::kNodeIngress : TcProgram::kPodIngress;
            const Bytes whole = datagram(packet(shape, client, to, port_, port));
            const Bytes there = send(in, whole, port_);
            ASSERT_FALSE(there.empty()) << "one of another address";
            const packets::View view = packets::read(there);
            EXPECT_EQ(view.error, "");
            EXPECT_EQ(view.src, snat ? node(v6) : pod(v6));
            EXPECT_EQ(view.dst, remote_pod(v6));
            EXPECT_EQ(view.dport, 8080);
            EXPECT_EQ(view.payload, packets::read(whole).payload);
            const Bytes answer = datagram(
                packet(shape, remote_pod(v6), view.src, 8080, view.sport, kSyn | kAck));
            const Bytes back = send(TcProgram::kNodeIngress, answer, port_ + 1U);
            ASSERT_FALSE(back.empty());
            const packets::View told = packets::read(back);
            EXPECT_EQ(told.error, "");
            EXPECT_EQ(told.src, to);
            EXPECT_EQ(told.sport, port);
            EXPECT_EQ(told.dst, client);
            EXPECT_EQ(told.dport, port_);
        }
    }
}

// Without its first fragment nobody knows the ports. After it the order does not matter.
TEST_F(FragmentJourney, LaterBeforeTheFirstIsDroppedAndCounted) {
    for (const bool v6 : {false, true}) {
        const Shape shape{v6, Protocol::kUdp};
        harness_->upsert(service(v6, Protocol::kUdp, {remote_pod(v6)}));
        const auto pieces = packets::cut(
            datagram(packet(shape, pod(v6), cluster_ip(v6), port_, 80)), 136, port_ + 7U);
        const auto before = harness_->drops(SLUICE_DROP_FRAGMENT);
        EXPECT_EQ(harness_->run(TcProgram::kPodIngress, pieces[2]).action, kActionShot);
        EXPECT_EQ(harness_->drops(SLUICE_DROP_FRAGMENT), before + 1);
        EXPECT_EQ(harness_->run(TcProgram::kPodIngress, pieces[0]).action, kActionRedirect);
        EXPECT_EQ(harness_->run(TcProgram::kPodIngress, pieces[2]).view.dst, remote_pod(v6));
        EXPECT_EQ(harness_->run(TcProgram::kPodIngress, pieces[1]).view.dst, remote_pod(v6));
    }
}

// Another datagram, another protocol, another client: not this one's ports.
TEST_F(FragmentJourney, OnlyTheSameDatagramFollows) {
    const Shape shape{false, Protocol::kUdp};
    harness_->upsert(service(false, Protocol::kUdp, {remote_pod(false)}));
    const Bytes whole = datagram(packet(shape, pod(false), cluster_ip(false), port_, 80));
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, packets::cut(whole, 136, port_ + 20U)[0]).action,
              kActionRedirect);
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, packets::cut(whole, 136, port_ + 21U)[1]).action,
              kActionShot);
    const Bytes other = datagram(packet(shape, "10.244.1.99", cluster_ip(false), port_, 80));
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, packets::cut(other, 136, port_ + 20U)[1]).action,
              kActionShot);
    const Bytes tcp =
        datagram(packet({false, Protocol::kTcp}, pod(false), cluster_ip(false), port_, 80));
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, packets::cut(tcp, 136, port_ + 20U)[1]).action,
              kActionShot);
}

// RFC 1858, RFC 8200: a first fragment too short to hold the ports, or TCP's flags.
TEST_F(FragmentJourney, FirstFragmentWithoutItsHeaderIsDroppedAndCounted) {
    for (const bool v6 : {false, true}) {
        harness_->upsert(service(v6, Protocol::kTcp, {remote_pod(v6)}));
        const Bytes whole = packets::build(
            packet({v6, Protocol::kTcp}, pod(v6), cluster_ip(v6), port_, 80));
        const auto before = harness_->drops(SLUICE_DROP_TRUNCATED);
        for (const std::size_t size : {8U, 16U}) {
            EXPECT_EQ(harness_->run(TcProgram::kPodIngress, packets::cut(whole, size)[0]).action,
                      kActionShot);
        }
        EXPECT_EQ(harness_->drops(SLUICE_DROP_TRUNCATED), before + 2);
    }
}

// The CRC of SCTP covers what the other fragments hold: another port cannot be had, the same one can.
TEST_F(FragmentJourney, SctpInFragmentsKeepsItsPortOrIsDropped) {
    const Shape shape{false, Protocol::kSctp};
    harness_->upsert(service(false, Protocol::kSctp, {remote_pod(false)}));
    const Bytes whole = datagram(packet(shape, pod(false), cluster_ip(false), port_, 80));
    const auto before = harness_->drops(SLUICE_DROP_SCTP_PORT);
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, packets::cut(whole, 136)[0]).action, kActionShot);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_SCTP_PORT), before + 1);
    image::Service same = service(false, Protocol::kSctp, {remote_pod(false)});
    same.internal.backends[0].port = 80;
    harness_->upsert(same);
    const Bytes again = datagram(
        packet(shape, pod(false), cluster_ip(false), static_cast<std::uint16_t>(port_ + 1), 80));
    const packets::View view = packets::read(send(TcProgram::kPodIngress, again, port_));
    EXPECT_EQ(view.error, "");
    EXPECT_EQ(view.dst, remote_pod(false));
}

// Strangers' fragments, and those to the node's own sockets, are nobody's business here.
TEST_F(FragmentJourney, OthersPassUntouched) {
    harness_->upsert(service(false, Protocol::kUdp, {remote_pod(false)}));
    for (const char* to : {"203.0.113.9", "192.0.2.1"}) {
        for (const Bytes& piece : packets::cut(
                 datagram(packet({false, Protocol::kUdp}, pod(false), to, port_, 53)), 136)) {
            const Outcome out = harness_->run(TcProgram::kPodIngress, piece);
            EXPECT_EQ(out.action, kActionOk);
            EXPECT_EQ(out.frame, piece);
        }
    }
}

// Far more datagrams at once than are remembered: old ones give way, the newest are still whole.
TEST_F(FragmentJourney, MemoryIsBoundedAndTheOldestGivesWay) {
    const Shape shape{false, Protocol::kUdp};
    harness_->upsert(service(false, Protocol::kUdp, {remote_pod(false)}));
    const Bytes whole = datagram(packet(shape, pod(false), cluster_ip(false), port_, 80));
    for (std::uint32_t id = 0; id < 20000; ++id) {
        ASSERT_EQ(harness_->run(TcProgram::kPodIngress, packets::cut(whole, 136, id)[0]).action,
                  kActionRedirect);
    }
    const auto last = packets::cut(whole, 136, 19999);
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, last[1]).action, kActionRedirect);
    const auto first = packets::cut(whole, 136, 0);
    EXPECT_EQ(harness_->run(TcProgram::kPodIngress, first[1]).action, kActionShot);
}

}  // namespace
}  // namespace sluice::dataplane
