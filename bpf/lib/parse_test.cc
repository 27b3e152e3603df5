// From frames to tuples: what is understood, and every way a frame can be too short or contradict itself.
#include "bpf/lib/parse.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <random>

#include "bpf/lib/packet_builder.h"

namespace sluice {
namespace {

using packets::Bytes;
using packets::Spec;

struct Parsed {
    int result = 0;
    sluice_packet packet{};
};

// Parses a copy of exactly `linear` bytes on the heap, so that ASan sees a read beyond it.
Parsed parse(const Bytes& frame, std::size_t linear, std::size_t frame_len) {
    Parsed out;
    const auto copy = std::make_unique<std::uint8_t[]>(linear == 0 ? 1 : linear);
    if (linear != 0) {
        std::memcpy(copy.get(), frame.data(), linear);
    }
    out.result = sluice_parse_frame(copy.get(), copy.get() + linear,
                                    static_cast<__u32>(frame_len), &out.packet);
    return out;
}

Parsed parse(const Bytes& frame) { return parse(frame, frame.size(), frame.size()); }

std::string text_of(const sluice_address& address, const std::string& like) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const bool v4 = like.find(':') == std::string::npos;
    inet_ntop(v4 ? AF_INET : AF_INET6, &address.word_be[v4 ? 3 : 0], text.data(), text.size());
    return text.data();
}

void expect_tuple(const Parsed& parsed, const Spec& spec) {
    EXPECT_EQ(parsed.result, SLUICE_PARSE_OK);
    EXPECT_EQ(text_of(parsed.packet.tuple.src, spec.src), spec.src);
    EXPECT_EQ(text_of(parsed.packet.tuple.dst, spec.dst), spec.dst);
    EXPECT_EQ(SLUICE_NTOH16(parsed.packet.tuple.ports.port_be[0]), spec.sport);
    EXPECT_EQ(SLUICE_NTOH16(parsed.packet.tuple.ports.port_be[1]), spec.dport);
    EXPECT_EQ(parsed.packet.tuple.protocol, spec.protocol);
    EXPECT_EQ(parsed.packet.ttl, spec.ttl);
}

std::vector<Spec> understood() {
    std::vector<Spec> out;
    for (const bool v6 : {false, true}) {
        for (const std::uint8_t protocol : std::initializer_list<std::uint8_t>{6, 17, 132}) {
            for (std::size_t tags = 0; tags <= 2; ++tags) {
                Spec spec;
                if (v6) {
                    spec.src = "2001:db8::5";
                    spec.dst = "fd00::10";
                }
                spec.protocol = protocol;
                for (std::size_t i = 0; i < tags; ++i) {
                    spec.vlans.push_back(static_cast<std::uint16_t>(100 + i));
                }
                out.push_back(spec);
                if (v6) {
                    spec.extensions = {0, 60, 43};
                } else {
                    spec.option_words = 10;
                }
                out.push_back(spec);
            }
        }
    }
    return out;
}

TEST(Parse, UnderstandsEveryShape) {
    for (const Spec& spec : understood()) {
        const Bytes frame = packets::build(spec);
        const Parsed parsed = parse(frame);
        expect_tuple(parsed, spec);
        EXPECT_EQ(parsed.packet.vlan_tags, spec.vlans.size());
        EXPECT_EQ(parsed.packet.end, frame.size());
        EXPECT_EQ(parsed.packet.family, spec.src.find(':') == std::string::npos ? 4 : 6);
    }
}

TEST(Parse, PaddingIsNotPartOfThePacket) {
    Spec spec;
    spec.padding = 13;
    const Bytes frame = packets::build(spec);
    const Parsed parsed = parse(frame);
    expect_tuple(parsed, spec);
    EXPECT_EQ(parsed.packet.end, frame.size() - 13);
}

// A frame cut off at any length is never understood unless all of its IP packet is there.
TEST(Parse, FrameCutAtEachLengthIsRefused) {
    for (const Spec& spec : understood()) {
        const Bytes frame = packets::build(spec);
        for (std::size_t length = 0; length < frame.size(); ++length) {
            const Parsed parsed = parse(frame, length, length);
            ASSERT_NE(parsed.result, SLUICE_PARSE_OK) << length;
            ASSERT_NE(parsed.result, SLUICE_PARSE_NO_PORTS) << length;
            ASSERT_EQ(parsed.packet.error, SLUICE_DROP_TRUNCATED) << length;
            ASSERT_FALSE(parsed.packet.more_needed) << length;
        }
    }
}

// The same with the rest of the frame elsewhere: more is asked for until the headers are there, then it is understood.
TEST(Parse, FrameInPiecesAsksForMore) {
    for (const Spec& spec : understood()) {
        const Bytes frame = packets::build(spec);
        bool understood_before = false;
        for (std::size_t linear = 0; linear <= frame.size(); ++linear) {
            const Parsed parsed = parse(frame, linear, frame.size());
            if (parsed.result == SLUICE_PARSE_OK) {
                understood_before = true;
                expect_tuple(parsed, spec);
                continue;
            }
            ASSERT_FALSE(understood_before) << linear;
            ASSERT_TRUE(parsed.packet.more_needed) << linear;
        }
        EXPECT_TRUE(understood_before);
    }
}

TEST(Parse, OtherFramesAreNotIp) {
    Bytes frame(60, 0);
    frame[12] = 0x08;
    frame[13] = 0x06;
    EXPECT_EQ(parse(frame).result, SLUICE_PARSE_NOT_IP);
    Spec spec;
    spec.vlans = {1, 2, 3};
    EXPECT_EQ(parse(packets::build(spec)).result, SLUICE_PARSE_NOT_IP) << "a third tag";
}

TEST(Parse, ContradictionsInIpv4) {
    const auto with = [](std::size_t at, std::uint8_t value) {
        Bytes frame = packets::build({});
        frame[at] = value;
        return parse(frame);
    };
    for (const std::uint8_t first : std::initializer_list<std::uint8_t>{0x44, 0x65, 0x00, 0xf5}) {
        const Parsed parsed = with(14, first);
        EXPECT_EQ(parsed.result, SLUICE_PARSE_BAD_IP);
        EXPECT_EQ(parsed.packet.error, SLUICE_DROP_BAD_HEADER);
    }
    EXPECT_EQ(with(17, 19).packet.error, SLUICE_DROP_BAD_HEADER) << "total below the header";
    EXPECT_EQ(with(16, 0x40).packet.error, SLUICE_DROP_TRUNCATED) << "total beyond the frame";
    EXPECT_EQ(with(14, 0x4f).result, SLUICE_PARSE_BAD_IP) << "options beyond the packet";
    EXPECT_EQ(with(46, 0x40).packet.error, SLUICE_DROP_BAD_HEADER) << "TCP header below 20";
    EXPECT_EQ(with(46, 0xf0).packet.error, SLUICE_DROP_BAD_HEADER) << "TCP header beyond";
}

TEST(Parse, FragmentsAreTold) {
    Spec spec;
    spec.fragment = 0x2000;
    EXPECT_EQ(parse(packets::build(spec)).packet.fragment, SLUICE_FIRST_FRAGMENT);
    spec.fragment = 0x2001;
    Parsed later = parse(packets::build(spec));
    EXPECT_EQ(later.packet.fragment, SLUICE_LATER_FRAGMENT);
    EXPECT_EQ(later.result, SLUICE_PARSE_NO_PORTS);
    EXPECT_EQ(later.packet.tuple.ports.both_be, 0U);
    spec.src = "2001:db8::1";
    spec.dst = "fd00::1";
    spec.extensions = {44};
    spec.fragment = 0x0001;
    EXPECT_EQ(parse(packets::build(spec)).packet.fragment, SLUICE_FIRST_FRAGMENT);
    spec.fragment = 0x0008;
    later = parse(packets::build(spec));
    EXPECT_EQ(later.packet.fragment, SLUICE_LATER_FRAGMENT);
    EXPECT_EQ(later.result, SLUICE_PARSE_NO_PORTS);
    EXPECT_EQ(later.packet.tuple.protocol, spec.protocol);
}

TEST(Parse, ExtensionHeadersAreBounded) {
    Spec spec;
    spec.src = "2001:db8::1";
    spec.dst = "fd00::1";
    spec.extensions.assign(SLUICE_MAX_EXTENSION_HEADERS - 1, 60);
    EXPECT_EQ(parse(packets::build(spec)).result, SLUICE_PARSE_OK);
    spec.extensions.assign(SLUICE_MAX_EXTENSION_HEADERS, 60);
    const Parsed parsed = parse(packets::build(spec));
    EXPECT_EQ(parsed.result, SLUICE_PARSE_BAD_L4);
    EXPECT_EQ(parsed.packet.error, SLUICE_DROP_BAD_HEADER);
}

TEST(Parse, OtherProtocolsHaveNoPorts) {
    Spec spec;
    spec.protocol = 1;
    const Parsed ping = parse(packets::build(spec));
    EXPECT_EQ(ping.result, SLUICE_PARSE_NO_PORTS);
    EXPECT_EQ(ping.packet.icmp_type, 8);
}

// Random frames, and understood ones with random bytes changed: no read outside (ASan), no contradiction.
TEST(Parse, AnyBytesAreSafe) {
    std::mt19937 random(20240101);
    const std::vector<Spec> specs = understood();
    for (int round = 0; round < 200000; ++round) {
        Bytes frame = packets::build(specs[random() % specs.size()]);
        for (int i = 0; i < 4; ++i) {
            frame[12 + random() % (frame.size() - 12)] = static_cast<std::uint8_t>(random());
        }
        const std::size_t linear = random() % (frame.size() + 1);
        const Parsed parsed = parse(frame, linear, frame.size());
        if (parsed.result == SLUICE_PARSE_OK) {
            ASSERT_LE(parsed.packet.l4 + 8, linear);
            ASSERT_LE(parsed.packet.end, frame.size());
            ASSERT_LE(parsed.packet.l4 + 8, parsed.packet.end);
        } else if (parsed.result >= SLUICE_PARSE_BAD_IP) {
            ASSERT_NE(parsed.packet.error, SLUICE_DROP_NONE);
        }
    }
}

}  // namespace
}  // namespace sluice
