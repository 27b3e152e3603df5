// Both halves of TCP: alone, state by state, and against each other over a line that loses, doubles and
// reorders. Neighbour messages and captures, which no run on rings shows.
#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include <cstdio>
#include <deque>

#include "dataplane/pktgen/capture.h"
#include "dataplane/pktgen/neighbours.h"
#include "dataplane/pktgen/packets.h"
#include "dataplane/pktgen/tcp_client.h"
#include "dataplane/pktgen/tcp_server.h"

namespace sluice::pktgen {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

std::unique_ptr<TcpClient> client_of(std::uint64_t connections, std::uint32_t data_packets) {
    TcpClientOptions options;
    options.connections = connections;
    options.data_packets = data_packets;
    options.payload_bytes = {100};
    return std::move(*TcpClient::make(options));
}

TcpSegment answer(const TcpSegment& to, std::uint8_t flags, std::uint32_t sequence, std::uint32_t payload) {
    TcpSegment out;
    out.connection = to.connection;
    out.sequence = sequence;
    out.acknowledged = to.sequence + to.payload_bytes + ((to.flags & (kTcpSyn | kTcpFin)) != 0 ? 1 : 0);
    out.payload_bytes = payload;
    out.flags = flags;
    return out;
}

TEST(TcpClient, GoesThroughItsStates) {
    auto client = client_of(1, 2);
    std::vector<TcpSegment> out;
    client->open(0, 0, 0, out);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0].flags, kTcpSyn);
    EXPECT_FALSE(client->free(0));
    client->take(answer(out[0], kTcpSyn | kTcpAck, 5000, 0), 3 * kMs, out);
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(client->connect_times().max(), 3 * kMs);
    EXPECT_EQ(out[1].payload_bytes, 100U);
    EXPECT_EQ(out[1].sequence, out[0].sequence + 1);
    EXPECT_EQ(out[1].acknowledged, 5001U);
    client->take(answer(out[1], kTcpAck, 5001, 0), 4 * kMs, out);   // heard
    ASSERT_EQ(out.size(), 2U);
    client->take(answer(out[1], kTcpPsh | kTcpAck, 5001, 100), 4 * kMs, out);
    ASSERT_EQ(out.size(), 3U);
    EXPECT_EQ(out[2].sequence, out[1].sequence + 100);
    client->take(answer(out[1], kTcpPsh | kTcpAck, 5001, 100), 4 * kMs, out);  // once more: too late
    ASSERT_EQ(out.size(), 3U);
    EXPECT_EQ(client->counts().unexpected.get(), 1U);
    client->take(answer(out[2], kTcpPsh | kTcpAck, 5102, 100), 5 * kMs, out);  // out of sequence
    ASSERT_EQ(out.size(), 3U);
    EXPECT_EQ(client->counts().unexpected.get(), 2U);
    client->take(answer(out[2], kTcpPsh | kTcpAck, 5101, 100), 5 * kMs, out);
    ASSERT_EQ(out.size(), 4U);
    EXPECT_EQ(out[3].flags, kTcpFin | kTcpAck);
    client->take(answer(out[3], kTcpFin | kTcpAck, 5201, 0), 6 * kMs, out);
    ASSERT_EQ(out.size(), 5U);
    EXPECT_EQ(out[4].flags, kTcpAck);
    EXPECT_EQ(out[4].acknowledged, 5202U);
    EXPECT_TRUE(client->free(0));
    EXPECT_EQ(client->counts().closed.get(), 1U);
    EXPECT_EQ(client->open_count(), 0U);
    client->expire(100'000 * kMs, 100, out);
    EXPECT_EQ(out.size(), 5U);  // no timer is left
    // The next one of this tuple begins above.
    client->open(0, 0, 7 * kMs, out);
    EXPECT_GT(static_cast<std::int32_t>(out[5].sequence - out[4].sequence), 0);
}

TEST(TcpClient, ResendsThenGivesUp) {
    auto client = client_of(2, 1);
    std::vector<TcpSegment> out;
    client->open(0, 0, 0, out);
    client->open(1, 0, 100 * kMs, out);
    out.clear();
    client->expire(199 * kMs, 100, out);
    EXPECT_TRUE(out.empty());
    client->expire(200 * kMs, 100, out);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0].connection, 0U);
    EXPECT_EQ(out[0].flags, kTcpSyn);
    client->expire(599 * kMs, 100, out);
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(out[1].connection, 1U);
    for (std::uint64_t now = 600; now <= 4500; now += 10) {
        client->expire(now * kMs, 100, out);
    }
    EXPECT_EQ(client->counts().timed_out.get(), 2U);
    EXPECT_EQ(client->counts().retransmitted.get(), 6U);
    EXPECT_EQ(client->open_count(), 0U);
    EXPECT_TRUE(client->free(0));
}

TEST(TcpClient, BelievesOnlyResetsOfItsConnection) {
    auto client = client_of(1, 1);
    std::vector<TcpSegment> out;
    client->open(0, 0, 0, out);
    TcpSegment forged = answer(out[0], kTcpRst | kTcpAck, 0, 0);
    forged.acknowledged += 5;
    client->take(forged, 1, out);
    EXPECT_EQ(client->counts().reset.get(), 0U);
    client->take(answer(out[0], kTcpRst | kTcpAck, 0, 0), 1, out);
    EXPECT_EQ(client->counts().reset.get(), 1U);
    EXPECT_TRUE(client->free(0));
}

// All that is opened ends, whatever the line does; and nobody's count is missing.
TEST(TcpHalves, MeetOverABadLine) {
    Profile profile;
    profile.source = {*IpAddress::parse("fd00::1"), *IpAddress::parse("fd00::1")};
    profile.destination = {*IpAddress::parse("fd01::1"), *IpAddress::parse("fd01::1")};
    profile.source_port = {1000, 1999};
    profile.flows = 0;
    profile.l4 = L4::kTcp;
    profile.probe = false;
    profile.sizes = {{200, 1}};
    const FlowSpace flows(profile);
    const Frames frames(profile, flows, {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}});
    for (const std::uint64_t loss : {0, 3, 10}) {
        TcpClientOptions options;
        options.connections = flows.count();
        options.data_packets = 3;
        options.payload_bytes = {frames.payload_bytes(0)};
        auto made = TcpClient::make(options);
        ASSERT_TRUE(made);
        TcpClient& client = **made;
        Random random(loss);
        std::vector<TcpSegment> out;
        std::deque<TcpSegment> back;
        std::uint64_t now = 0;
        for (std::uint32_t connection = 0; connection < 1000; ++connection) {
            client.open(connection, 0, now, out);
        }
        std::vector<std::uint8_t> room(frames.room());
        for (; now < 20'000 * kMs && client.open_count() != 0; now += kMs) {
            for (const TcpSegment& segment : std::exchange(out, {})) {
                if (random.below(100) < loss) {
                    continue;
                }
                BuiltFrame built = frames.build(room.data(), segment.connection, 0,
                                                segment.flags == kTcpSyn       ? Segment::kSyn
                                                : segment.payload_bytes != 0 ? Segment::kData
                                                                               : Segment::kBare);
                Frames::set_tcp(room.data(), built, segment.sequence, segment.acknowledged);
                Frames::set_tcp_flags(room.data(), built, segment.flags);
                Frames::finish(room.data(), built);
                const ServerAnswer reply = answer_segment({}, view_frame(room.data(), built.bytes), room.data());
                ASSERT_NE(reply.verdict, ServerVerdict::kCorrupted);
                if (reply.verdict != ServerVerdict::kAnswered || random.below(100) < loss) {
                    continue;
                }
                const FrameView view = view_frame(room.data() + reply.offset, reply.bytes);
                ASSERT_EQ(view.kind, FrameKind::kTcp);
                ASSERT_TRUE(view.checksum_good());
                FlowTuple tuple = view.tuple();
                std::swap(tuple.source, tuple.destination);
                std::swap(tuple.source_port, tuple.destination_port);
                ASSERT_EQ(flows.find(tuple), segment.connection);
                back.push_back({segment.connection, view.tcp_sequence(), view.tcp_acknowledged(), view.payload_bytes, 0,
                                view.tcp_flags()});
                if (loss != 0 && random.below(10) == 0) {
                    back.push_back(back.back());
                }
                if (loss != 0 && back.size() > 2 && random.below(10) == 0) {
                    std::swap(back[back.size() - 1], back[back.size() - 3]);
                }
            }
            while (!back.empty()) {
                client.take(back.front(), now, out);
                back.pop_front();
            }
            client.expire(now, 10'000, out);
        }
        const TcpClientCounts& counts = client.counts();
        EXPECT_EQ(counts.opened.get(), 1000U);
        EXPECT_EQ(counts.closed.get() + counts.timed_out.get(), 1000U);
        EXPECT_EQ(counts.reset.get(), 0U);
        EXPECT_EQ(counts.retransmitted.get() == 0, loss == 0);
        EXPECT_GE(counts.closed.get(), loss < 10 ? 999U : 950U);
        EXPECT_EQ(client.open_count(), 0U);
    }
}

TEST(TcpServer, AnswersFromInsideOfATunnel) {
    Profile profile;
    profile.source = {*IpAddress::parse("10.0.0.1"), *IpAddress::parse("10.0.0.1")};
    profile.destination = {*IpAddress::parse("10.1.0.1"), *IpAddress::parse("10.1.0.1")};
    profile.l4 = L4::kTcp;
    profile.sizes = {{200, 1}};
    const FlowSpace flows(profile);
    const Frames frames(profile, flows, {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}});
    std::vector<std::uint8_t> inner(frames.room());
    BuiltFrame built = frames.build(inner.data(), 0, 0, Segment::kSyn);
    Frames::finish(inner.data(), built);
    std::vector<std::uint8_t> frame(inner.begin(), inner.begin() + 14);
    frame.resize(34);
    frame[14] = 0x45;
    frame[23] = 4;
    store16(&frame[16], static_cast<std::uint16_t>(20 + 44));
    frame.insert(frame.end(), inner.begin() + 14, inner.begin() + 14 + 44);
    const ServerAnswer reply = answer_segment({}, view_frame(frame.data(), frame.size()), frame.data());
    ASSERT_EQ(reply.verdict, ServerVerdict::kAnswered);
    EXPECT_EQ(reply.offset, 20U);
    const FrameView view = view_frame(frame.data() + reply.offset, reply.bytes);
    EXPECT_EQ(view.tcp_flags(), kTcpSyn | kTcpAck);
    EXPECT_FALSE(view.tunnelled);
    EXPECT_TRUE(view.checksum_good());
    EXPECT_EQ(view.tuple().destination, flows.at(0).source);
    EXPECT_EQ(view.frame[5], 1);   // to whom it came from
    EXPECT_EQ(view.frame[11], 2);
}

TEST(Neighbours, AnswersCloseTheQuestion) {
    for (const char* text : {"10.0.0.9", "fd00::9"}) {
        for (const std::uint16_t vlan : {std::uint16_t{0}, std::uint16_t{12}}) {
            const IpAddress target = *IpAddress::parse(text);
            const IpAddress sender = *IpAddress::parse(target.is_v4() ? "10.0.0.1" : "fd00::1");
            std::uint8_t asked[kNeighbourRoom];
            std::uint8_t told[kNeighbourRoom];
            const std::size_t bytes = write_question({2, 0, 0, 0, 0, 1}, sender, target, vlan, asked);
            ASSERT_LE(bytes, kNeighbourRoom);
            const FrameView view = view_frame(asked, bytes);
            const auto question = read_neighbour(view);
            ASSERT_TRUE(question);
            EXPECT_TRUE(question->question);
            EXPECT_EQ(question->target, target);
            EXPECT_EQ(question->sender, sender);
            const std::size_t answered = write_answer(view, *question, {2, 0, 0, 0, 0, 9}, told);
            ASSERT_LE(answered, kNeighbourRoom);
            const auto reply = read_neighbour(view_frame(told, answered));
            ASSERT_TRUE(reply);
            EXPECT_FALSE(reply->question);
            EXPECT_EQ(reply->target, target);
            EXPECT_EQ(reply->mac, (Mac{2, 0, 0, 0, 0, 9}));
            EXPECT_EQ(told[5], 1);
            if (vlan != 0) {
                EXPECT_EQ(load16(told + 14), vlan);
            }
            told[answered > 60 ? answered - 1 : 20] ^= 0xffU;  // a broken one is not heard
            const auto broken = read_neighbour(view_frame(told, answered));
            EXPECT_TRUE(!broken || target.is_v4());
        }
    }
}

class CaptureTest : public testing::Test {
protected:
    void write(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& frames, int link = DLT_EN10MB) {
        pcap_t* dead = pcap_open_dead(link, 65535);
        pcap_dumper_t* dump = pcap_dump_open(dead, path_.c_str());
        ASSERT_NE(dump, nullptr);
        std::uint32_t us = 100;
        for (const auto& [length, captured] : frames) {
            const std::vector<std::uint8_t> bytes(length, 0xab);
            pcap_pkthdr header{};
            header.ts.tv_sec = 1000;
            header.ts.tv_usec = us;
            header.len = length;
            header.caplen = captured;
            pcap_dump(reinterpret_cast<u_char*>(dump), &header, bytes.data());
            us += 250;
        }
        pcap_dump_close(dump);
        pcap_close(dead);
    }
    void TearDown() override { std::remove(path_.c_str()); }
    std::string path_ = testing::TempDir() + "pktgen_capture_test.pcap";
};

TEST_F(CaptureTest, KeepsFramesAndTimes) {
    write({{60, 60}, {14, 14}, {1514, 1514}});
    const auto capture = load_capture(path_, 1518);
    ASSERT_TRUE(capture) << capture.error().to_string();
    ASSERT_EQ(capture->frames.size(), 3U);
    EXPECT_EQ(capture->frames[1].bytes, 60U);  // padded
    EXPECT_EQ(capture->frames[2].at_ns, 500'000U);
    EXPECT_EQ(capture->period_ns, 750'000U);
    EXPECT_EQ(capture->longest, 1514U);
    EXPECT_EQ(capture->bytes[capture->frames[2].offset + 1513], 0xab);
}

TEST_F(CaptureTest, RefusesWhatCannotBeSent) {
    write({{60, 60}, {100, 50}});
    EXPECT_NE(load_capture(path_, 1518).error().message.find("frame 2 has 50 of its 100"), std::string::npos);
    write({{1515, 1515}});
    EXPECT_EQ(load_capture(path_, 1518).error().code, Code::kInvalidArgument);
    write({});
    EXPECT_NE(load_capture(path_, 1518).error().message.find("no frames"), std::string::npos);
    write({{60, 60}}, DLT_RAW);
    EXPECT_NE(load_capture(path_, 1518).error().message.find("not Ethernet"), std::string::npos);
    EXPECT_EQ(load_capture(path_ + ".none", 1518).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace sluice::pktgen
