// Every frame is what its profile says, by a reading of its own: the checksums are summed here word by
// word, and the fields read at the places that the RFCs give.
#include "dataplane/pktgen/packets.h"

#include <gtest/gtest.h>

#include "dataplane/pktgen/frame_view.h"

namespace sluice::pktgen {
namespace {

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

std::uint32_t plain_sum(const std::uint8_t* bytes, std::size_t length, std::uint32_t sum) {
    for (std::size_t i = 0; i < length; ++i) {
        sum += i % 2 == 0 ? std::uint32_t{bytes[i]} << 8U : bytes[i];
        sum = (sum & 0xffffU) + (sum >> 16U);
    }
    return sum;
}

struct Case {
    bool v6, tcp, vlan, probe;
};

Profile profile_of(const Case& c) {
    Profile profile;
    if (c.v6) {
        profile.source = {ip("fd00::fffe"), ip("fd00::1:3")};
        profile.destination = {ip("fd01::1"), ip("fd01::2")};
    } else {
        profile.source = {ip("10.0.0.254"), ip("10.0.1.3")};
        profile.destination = {ip("192.0.2.1"), ip("192.0.2.2")};
    }
    profile.source_port = {65533, 65535};
    profile.destination_port = {80, 81};
    profile.flows = 0;
    profile.l4 = c.tcp ? L4::kTcp : L4::kUdp;
    profile.vlan = c.vlan ? 100 : 0;
    profile.probe = c.probe;
    profile.dscp = 46;
    profile.ttl = 17;
    return profile;
}

void expect_frame(const Profile& profile, const std::vector<std::uint8_t>& frame, const FlowTuple& tuple,
                  std::uint32_t frame_bytes) {
    const bool v6 = !profile.source.first.is_v4();
    const bool tcp = profile.l4 == L4::kTcp;
    ASSERT_EQ(frame.size() + 4, frame_bytes);
    std::size_t at = 12;
    if (profile.vlan != 0) {
        EXPECT_EQ(load16(&frame[12]), 0x8100);
        EXPECT_EQ(load16(&frame[14]), profile.vlan);
        at = 16;
    }
    EXPECT_EQ(load16(&frame[at]), v6 ? 0x86dd : 0x0800);
    const std::uint8_t* l3 = &frame[at + 2];
    const std::size_t datagram = frame.size() - at - 2;
    const std::size_t address = v6 ? 16 : 4;
    const std::uint8_t* l4 = l3 + (v6 ? 40 : 20);
    if (v6) {
        EXPECT_EQ(load32(l3), 6U << 28U | 46U << 22U);
        EXPECT_EQ(load16(l3 + 4) + 40U, datagram);
        EXPECT_EQ(l3[6], tcp ? 6 : 17);
        EXPECT_EQ(l3[7], 17);
    } else {
        EXPECT_EQ(l3[0], 0x45);
        EXPECT_EQ(l3[1], 46 << 2);
        EXPECT_EQ(load16(l3 + 2), datagram);
        EXPECT_EQ(l3[8], 17);
        EXPECT_EQ(l3[9], tcp ? 6 : 17);
        EXPECT_EQ(plain_sum(l3, 20, 0), 0xffffU);
    }
    EXPECT_EQ(std::memcmp(l3 + (v6 ? 8 : 12), tuple.source.data(), address), 0);
    EXPECT_EQ(std::memcmp(l3 + (v6 ? 24 : 16), tuple.destination.data(), address), 0);
    EXPECT_EQ(load16(l4), tuple.source_port);
    EXPECT_EQ(load16(l4 + 2), tuple.destination_port);
    const auto length = static_cast<std::uint32_t>(&frame.back() + 1 - l4);
    if (!tcp) {
        EXPECT_EQ(load16(l4 + 4), length);
        EXPECT_NE(load16(l4 + 6), 0);
    }
    const std::uint32_t pseudo = plain_sum(l3 + (v6 ? 8 : 12), 2 * address, (tcp ? 6U : 17U) + length);
    EXPECT_EQ(plain_sum(l4, length, pseudo), 0xffffU);
}

TEST(Frames, EveryShapeHasItsFieldsAndChecksums) {
    for (unsigned bits = 0; bits < 16; ++bits) {
        SCOPED_TRACE(bits);
        Profile profile =
            profile_of({(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0});
        const std::uint32_t least = min_frame_bytes(profile);
        profile.sizes = {{least, 1}, {least + 1, 1}, {594, 1}, {1518, 1}};
        ASSERT_TRUE(check(profile)) << check(profile).error().to_string();
        const FlowSpace flows(profile);
        for (const bool reversed : {false, true}) {
            const Frames frames(profile, flows, {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, 0xbeef, reversed});
            std::vector<std::uint8_t> room(frames.room(), 0xee);
            for (std::uint64_t flow = 0; flow < flows.count(); ++flow) {
                for (std::uint32_t size = 0; size < profile.sizes.size(); ++size) {
                    const BuiltFrame built = frames.build(room.data(), flow, size);
                    const Probe probe{0xbeef, static_cast<std::uint32_t>(flow), 0xfffffff0U + size,
                                      0x123456789abcULL * flow};
                    if (profile.probe) {
                        ASSERT_NE(built.probe_at, 0);
                        Frames::finish(room.data(), built, {1, 2, 3, 4});  // and once more, as after a refusal
                        Frames::finish(room.data(), built, probe);
                        const Probe back = read_probe(room.data() + built.probe_at);
                        EXPECT_EQ(back.run, probe.run);
                        EXPECT_EQ(back.stream, probe.stream);
                        EXPECT_EQ(back.sequence, probe.sequence);
                        EXPECT_EQ(back.time, probe.time & 0xffffffffffffULL);
                    } else {
                        Frames::finish(room.data(), built);
                    }
                    FlowTuple tuple = flows.at(flow);
                    if (reversed) {
                        std::swap(tuple.source, tuple.destination);
                        std::swap(tuple.source_port, tuple.destination_port);
                    }
                    expect_frame(profile, {room.begin(), room.begin() + built.bytes}, tuple,
                                 profile.sizes[size].frame_bytes);
                }
            }
        }
    }
}

// One in 65,536 sums to zero, which in UDP would say that there is no checksum.
TEST(Frames, UdpChecksumIsNeverZero) {
    Profile profile = profile_of({false, false, false, true});
    const FlowSpace flows(profile);
    const Frames frames(profile, flows, {});
    std::vector<std::uint8_t> room(frames.room());
    const BuiltFrame built = frames.build(room.data(), 0, 0);
    int ones = 0;
    for (std::uint32_t sequence = 0; sequence < 65536; ++sequence) {
        Frames::finish(room.data(), built, {1, 0, sequence, 0});
        const std::uint16_t check = load16(room.data() + built.check_at);
        ASSERT_NE(check, 0);
        ones += check == 0xffff ? 1 : 0;
    }
    EXPECT_GE(ones, 1);
}

TEST(Frames, SegmentsOfTcpKeepTheirChecksums) {
    Profile profile = profile_of({false, true, false, true});
    profile.life_cycle = LifeCycle::kScripted;
    profile.sizes = {{200, 1}};
    const FlowSpace flows(profile);
    const Frames frames(profile, flows, {});
    std::vector<std::uint8_t> room(frames.room());
    for (const Segment segment : {Segment::kSyn, Segment::kData, Segment::kFin, Segment::kBare}) {
        BuiltFrame built = frames.build(room.data(), 1, 0, segment);
        Frames::set_tcp(room.data(), built, 0xfedcba98, 0x01020304);
        Frames::set_tcp(room.data(), built, 0x89abcdef, 0xffffffff);
        if (segment == Segment::kBare) {
            Frames::set_tcp_flags(room.data(), built, kTcpRst | kTcpAck);
        }
        if (built.probe_at != 0) {
            Frames::finish(room.data(), built, {7, 8, 9, 10});
        } else {
            Frames::finish(room.data(), built);
        }
        const FrameView view = view_frame(room.data(), built.bytes);
        ASSERT_EQ(view.kind, FrameKind::kTcp);
        EXPECT_EQ(view.tcp_sequence(), 0x89abcdefU);
        EXPECT_EQ(view.tcp_acknowledged(), 0xffffffffU);
        const std::uint8_t flags[] = {kTcpPsh | kTcpAck, kTcpSyn, kTcpFin | kTcpAck, kTcpRst | kTcpAck};
        EXPECT_EQ(view.tcp_flags(), flags[static_cast<std::size_t>(segment)]);
        const bool empty = segment == Segment::kSyn || segment == Segment::kBare;
        EXPECT_EQ(view.payload_bytes, empty ? 0U : 200U - 4 - 14 - 20 - 20);
        EXPECT_GE(built.bytes, 60U);
        std::uint32_t pseudo = plain_sum(view.l3 + 12, 8, 6 + view.l4_bytes);
        EXPECT_EQ(plain_sum(view.l4, view.l4_bytes, pseudo), 0xffffU);
        EXPECT_TRUE(view.checksum_good());
    }
}

TEST(Frames, ProbeAgeWrapsAndNeverRunsBackwards) {
    EXPECT_EQ(probe_age(5, (1ULL << 48U) - 5), 10U);
    EXPECT_EQ(probe_age((7ULL << 48U) + 100, 40), 60U);
    EXPECT_EQ(probe_age(100, 101), 0U);
}

TEST(Profile, NamesWhatIsWrong) {
    const auto error_of = [](auto change) {
        Profile profile = profile_of({false, false, false, true});
        profile.sizes = {{128, 1}};
        change(profile);
        const auto result = check(profile);
        return result ? std::string() : result.error().message;
    };
    EXPECT_EQ(error_of([](Profile&) {}), "");
    const auto expect = [&](const char* field, auto change) {
        EXPECT_NE(error_of(change).find(field), std::string::npos) << field << ": " << error_of(change);
    };
    expect("flows", [](Profile& p) { p.flows = 1000; });
    expect("source", [](Profile& p) { p.source.last = ip("10.0.0.1"); });
    expect("source", [](Profile& p) { p.source = {}; });
    expect("destination", [](Profile& p) { p.destination = {ip("fd00::1"), ip("fd00::1")}; });
    expect("destination_port", [](Profile& p) { p.destination_port = {2, 1}; });
    expect("64 at least", [](Profile& p) { p.sizes = {{63, 1}}; });
    expect("84 at least", [](Profile& p) {
        p.source = {ip("fd00::1"), ip("fd00::1")};
        p.destination = p.source;
        p.flows = 1;
        p.sizes = {{64, 1}};
    });
    expect("weight", [](Profile& p) { p.sizes = {{128, 0}}; });
    expect("at most one", [](Profile& p) { p.packets_per_second = p.bits_per_second = 1; });
    expect("connections_per_second", [](Profile& p) { p.connections_per_second = 1; });
    expect("life_cycle", [](Profile& p) { p.life_cycle = LifeCycle::kSynOnly; });
    expect("vlan", [](Profile& p) { p.vlan = 4095; });
    expect("dscp", [](Profile& p) { p.dscp = 64; });
    expect("ttl", [](Profile& p) { p.ttl = 0; });
    expect("source_mac", [](Profile& p) { p.source_mac = "01:00:00:00:00:00"; });
    expect("destination_mac", [](Profile& p) { p.destination_mac = "02:00:00:00:00"; });
    expect("duration_s", [](Profile& p) { p.duration_s = 0; });
    expect("zipf_exponent", [](Profile& p) { p.choice = Choice::kZipf; p.zipf_exponent = 0; });
    expect("pcap_timing", [](Profile& p) { p.pcap_timing = true; });
    expect("packets_per_second", [](Profile& p) { p.packets_per_second = -1; });
    expect("next_hop", [](Profile& p) { p.next_hop = ip("fe80::1"); });
}

}  // namespace
}  // namespace sluice::pktgen
