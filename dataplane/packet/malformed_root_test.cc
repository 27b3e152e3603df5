// Packets that contradict themselves, and packets made to deceive: never forwarded wrongly, and what is dropped here is
// counted. What is not ours, or cannot be told to be, is left to the stack as it came.
#include <random>

#include "dataplane/packet/test_journey.h"

namespace sluice::dataplane {
namespace {

class Malformed : public Journey {
protected:
    static std::uint64_t all_drops() {
        std::uint64_t sum = 0;
        for (std::uint32_t reason = 0; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
            sum += harness_->drops(reason);
        }
        return sum;
    }
    static void seal_ipv4(Bytes& frame, std::size_t header) {
        frame[24] = frame[25] = 0;
        const std::uint32_t sum = 0xffffU ^ packets::sum16(&frame[14], header);
        frame[24] = static_cast<std::uint8_t>(sum >> 8U);
        frame[25] = static_cast<std::uint8_t>(sum);
    }
    static void set_length(Bytes& frame, bool v6) {
        const std::size_t length = frame.size() - (v6 ? 54 : 14);
        frame[v6 ? 18 : 16] = static_cast<std::uint8_t>(length >> 8U);
        frame[v6 ? 19 : 17] = static_cast<std::uint8_t>(length);
    }
    // Dropped and counted, or passed as it was.
    void expect_harmless(TcProgram program, const Bytes& frame) {
        const auto before = all_drops();
        const Outcome out = harness_->run(program, frame);
        if (out.action == kActionShot) {
            EXPECT_GE(all_drops(), before + 1) << "a drop that nobody counts";
        } else {
            EXPECT_EQ(out.action, kActionOk);
            EXPECT_EQ(out.frame, frame);
        }
    }
    void expect_drop(TcProgram program, const Bytes& frame, std::uint32_t reason) {
        const auto before = harness_->drops(reason);
        EXPECT_EQ(harness_->run(program, frame).action, kActionShot);
        EXPECT_EQ(harness_->drops(reason), before + 1) << reason;
    }
    static std::vector<Spec> every_kind() {
        std::vector<Spec> out;
        for (const Shape shape : shapes()) {
            harness_->upsert(service(shape.v6, shape.protocol, {remote_pod(shape.v6)}));
            Spec spec = packet(shape, pod(shape.v6), cluster_ip(shape.v6), port_, 80);
            out.push_back(spec);
            if (shape.v6) {
                spec.extensions = {0, 60, 43};
            } else {
                spec.option_words = 10;
            }
            out.push_back(spec);
            spec.protocol = shape.v6 ? 58 : 1;
            out.push_back(spec);
        }
        return out;
    }
};

// The frame ends before its IP packet does. (A test run takes no frame without room for the IP header;
// bpf/lib/parse_test.cc cuts there.)
TEST_F(Malformed, FramesCutAtEachLengthAreTheStacks) {
    for (Spec spec : every_kind()) {
        for (const std::size_t tags : {0U, 1U, 2U}) {
            spec.vlans.assign(tags, 9);
            const Bytes whole = packets::build(spec);
            const bool v6 = spec.src.find(':') != std::string::npos;
            for (std::size_t length = (v6 ? 54 : 34) + 4 * tags; length < whole.size(); ++length) {
                const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
                const Outcome out = harness_->run(TcProgram::kPodIngress, cut);
                ASSERT_EQ(out.action, kActionOk) << length;
                ASSERT_EQ(out.frame, cut) << length;
            }
        }
    }
}

// The IP packet itself ends within its headers, and says so.
TEST_F(Malformed, PacketsThatEndInTheirHeadersAreDroppedAndCounted) {
    for (const Shape shape : shapes()) {
        harness_->upsert(service(shape.v6, shape.protocol, {remote_pod(shape.v6)}));
        const Bytes whole =
            packets::build(packet(shape, pod(shape.v6), cluster_ip(shape.v6), port_, 80));
        const std::size_t l4 = shape.v6 ? 54 : 34;
        const std::size_t least = shape.protocol == Protocol::kTcp ? 20 : shape.protocol == Protocol::kUdp ? 8 : 12;
        for (std::size_t length = l4; length < l4 + least; ++length) {
            Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
            set_length(cut, shape.v6);
            if (!shape.v6) {
                seal_ipv4(cut, 20);
            }
            expect_drop(TcProgram::kPodIngress, cut, SLUICE_DROP_TRUNCATED);
        }
    }
}

TEST_F(Malformed, WrongIpv4ChecksumIsDroppedIfItIsOurs) {
    for (const std::size_t options : {0U, 3U, 10U}) {
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
            harness_->upsert(service(false, protocol, {remote_pod(false)}));
            Spec spec = packet({false, protocol}, pod(false), cluster_ip(false), port_, 80);
            spec.option_words = options;
            const Bytes right = packets::build(spec);
            EXPECT_EQ(harness_->run(TcProgram::kPodIngress, right).action, kActionRedirect);
            for (std::size_t at = 22; at < 34 + 4 * options; ++at) {
                if (at == 23 || (at >= 30 && at < 34)) {
                    continue;  // protocol and destination: another packet altogether
                }
                Bytes wrong = right;
                wrong[at] ^= 0x10;
                expect_drop(TcProgram::kPodIngress, wrong, SLUICE_DROP_BAD_CHECKSUM);
            }
        }
    }
}

TEST_F(Malformed, SourcesThatAreNoSingleHostGetNothing) {
    for (const Shape shape : shapes()) {
        for (const bool endpoints : {true, false}) {
            harness_->upsert(service(shape.v6, shape.protocol,
                                     endpoints ? std::vector{remote_pod(shape.v6)}
                                               : std::vector<std::string>{}));
            for (const char* source : shape.v6 ? std::vector{"ff02::1", "::1", "::"}
                                               : std::vector{"255.255.255.255", "224.0.0.1", "127.0.0.1",
                                                             "0.0.0.0"}) {
                Spec spec = packet(shape, source, cluster_ip(shape.v6), port_, 80);
                expect_drop(TcProgram::kNodeIngress, packets::build(spec), SLUICE_DROP_BAD_SOURCE);
                spec.protocol = shape.v6 ? 58 : 1;
                expect_drop(TcProgram::kNodeIngress, packets::build(spec), SLUICE_DROP_BAD_SOURCE);
            }
        }
    }
}

// Such addresses stand for IPv4's in the tables.
TEST_F(Malformed, MappedAddressesOnTheWireAreNotIpv4) {
    harness_->upsert(service(false, Protocol::kTcp, {remote_pod(false)}));
    for (const auto& [src, dst] : {std::pair{"fd01::5", "::ffff:10.96.0.10"},
                                   std::pair{"::ffff:10.244.1.5", "::ffff:10.96.0.10"}}) {
        const Bytes frame = packets::build(packet({true, Protocol::kTcp}, src, dst, port_, 80));
        for (const TcProgram program : kTcPrograms) {
            const Outcome out = harness_->run(program, frame);
            EXPECT_EQ(out.action, kActionOk);
            EXPECT_EQ(out.frame, frame);
        }
    }
}

TEST_F(Malformed, LengthsThatContradictEachOther) {
    for (const bool v6 : {false, true}) {
        harness_->upsert(service(v6, Protocol::kTcp, {remote_pod(v6)}));
        const Bytes right =
            packets::build(packet({v6, Protocol::kTcp}, pod(v6), cluster_ip(v6), port_, 80));
        // TCP's own header: too short, or beyond the packet.
        for (const std::uint8_t words : std::initializer_list<std::uint8_t>{0, 4, 15}) {
            Bytes wrong = right;
            wrong[(v6 ? 54 : 34) + 12] = static_cast<std::uint8_t>(words << 4U);
            expect_drop(TcProgram::kPodIngress, wrong, SLUICE_DROP_BAD_HEADER);
        }
        // The IP packet's length: more than there is, less than its header, none.
        for (const std::uint16_t length : std::initializer_list<std::uint16_t>{0, 1, 19, 1500, 65535}) {
            Bytes wrong = right;
            wrong[v6 ? 18 : 16] = static_cast<std::uint8_t>(length >> 8U);
            wrong[v6 ? 19 : 17] = static_cast<std::uint8_t>(length);
            if (!v6) {
                seal_ipv4(wrong, 20);
            }
            expect_harmless(TcProgram::kPodIngress, wrong);
        }
        for (const std::uint8_t version : std::initializer_list<std::uint8_t>{0x05, 0x44, 0x55, 0x71, 0xff}) {
            Bytes wrong = right;
            wrong[14] = version;
            expect_harmless(TcProgram::kPodIngress, wrong);
        }
    }
}

// Fragments that overlap the first: translated by address like the rest. Where they end up is the receiver's to
// settle, which discards the datagram; they never reach anybody else.
TEST_F(Malformed, OverlappingFragmentsGoWhereTheFirstWent) {
    for (const bool v6 : {false, true}) {
        harness_->upsert(service(v6, Protocol::kTcp, {remote_pod(v6)}));
        Spec spec = packet({v6, Protocol::kTcp}, pod(v6), cluster_ip(v6), port_, 80);
        spec.payload = std::string(64, 'x');
        const auto pieces = packets::cut(packets::build(spec), 40, port_);
        EXPECT_EQ(harness_->run(TcProgram::kPodIngress, pieces[0]).action, kActionRedirect);
        // Offset 8: over the ports' neighbours.
        Bytes overlap = pieces[1];
        if (v6) {
            overlap[56] = 0;
            overlap[57] = 9;
        } else {
            overlap[20] = 0x20;
            overlap[21] = 1;
            seal_ipv4(overlap, 20);
        }
        const Outcome out = harness_->run(TcProgram::kPodIngress, overlap);
        EXPECT_EQ(out.action, kActionRedirect);
        EXPECT_EQ(out.view.dst, remote_pod(v6));
        const std::size_t data = v6 ? 62 : 34;
        EXPECT_TRUE(std::equal(out.frame.begin() + static_cast<std::ptrdiff_t>(data), out.frame.end(),
                               overlap.begin() + static_cast<std::ptrdiff_t>(data)))
            << "its bytes are payload, whatever stands there";
    }
}

// An ICMP error about a flow, its quote cut at each length: translated or passed as it was, nothing between.
TEST_F(Malformed, QuotesCutAtEachLength) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        harness_->upsert(service(v6, shape.protocol, {remote_pod(v6)}));
        const Outcome there =
            harness_->run(TcProgram::kPodIngress, packet(shape, pod(v6), cluster_ip(v6), port_, 80));
        const std::size_t header = v6 ? 40 : 20;
        for (std::size_t quoted = 0; quoted < 70; ++quoted) {
            const Bytes error = packets::icmp_error(v6 ? "2001:db8:77::1" : "203.0.113.1", pod(v6), v6 ? 1 : 3,
                                                    1, 0, there.frame, quoted);
            const Outcome out = harness_->run(TcProgram::kNodeIngress, error);
            if (quoted < header + 8) {
                EXPECT_EQ(out.action, kActionOk) << quoted;
                EXPECT_EQ(out.frame, error) << quoted;
            } else {
                EXPECT_EQ(out.action, kActionRedirect) << quoted;
                EXPECT_EQ(out.view.error, "") << quoted;
                EXPECT_EQ(packets::read_quoted(out.view).dst, cluster_ip(v6)) << quoted;
            }
        }
    }
}

// Bytes changed at random: forwarded to the backend or answered to the sender, dropped and counted, or passed as
// they came. Nothing else.
TEST_F(Malformed, RandomDamageNeverForwardsWrongly) {
    std::mt19937 random(4);  // NOLINT: reproducible
    const std::vector<Spec> kinds = every_kind();
    std::size_t forwarded = 0, dropped = 0;
    for (int round = 0; round < 20000; ++round) {
        const Spec& spec = kinds[random() % kinds.size()];
        const bool v6 = spec.src.find(':') != std::string::npos;
        Bytes frame = packets::build(spec);
        for (std::uint32_t i = random() % 4; i < 4; ++i) {
            // The destination is left alone, so that it stays ours.
            const std::size_t at = 12 + random() % (frame.size() - 12);
            if (at < (v6 ? 38U : 30U) || at >= (v6 ? 54U : 34U)) {
                frame[at] = static_cast<std::uint8_t>(random());
            }
        }
        if (!v6 && frame[14] == 0x45 && random() % 2 == 0) {
            seal_ipv4(frame, 20);
        }
        const auto before = all_drops();
        const Outcome out = harness_->run(TcProgram::kPodIngress, frame);
        if (out.action == kActionShot) {
            ASSERT_GE(all_drops(), before + 1) << "a drop that nobody counts, round " << round;
            ++dropped;
        } else if (out.action == kActionOk) {
            ASSERT_EQ(out.frame, frame) << "changed and passed, round " << round;
        } else {
            ASSERT_EQ(out.action, kActionRedirect);
            const std::size_t src = v6 ? 22 : 26, dst = v6 ? 38 : 30, size = v6 ? 16 : 4;
            const bool back = std::equal(out.frame.begin() + static_cast<std::ptrdiff_t>(dst),
                                         out.frame.begin() + static_cast<std::ptrdiff_t>(dst + size),
                                         frame.begin() + static_cast<std::ptrdiff_t>(src));
            const IpAddress to = *IpAddress::parse(remote_pod(v6));
            ASSERT_TRUE(back || out.view.dst == to.to_string()) << out.view.dst << ", round " << round;
            ++forwarded;
        }
    }
    EXPECT_GT(forwarded, 1000U);
    EXPECT_GT(dropped, 1000U);
}

}  // namespace
}  // namespace sluice::dataplane
