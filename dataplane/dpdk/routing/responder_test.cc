// ARP and ND as they lie on the wire: questions and answers written out byte by byte after the
// RFCs' pictures.
#include "dataplane/dpdk/routing/responder.h"

#include <gtest/gtest.h>

#include "dataplane/dpdk/routing/test_routing.h"

namespace sluice::dpdk {
namespace {

using Bytes = std::vector<std::uint8_t>;

// A frame with room behind it.
struct Held {
    explicit Held(const Bytes& bytes, std::uint16_t tailroom = 64) : memory(bytes) {
        memory.resize(bytes.size() + tailroom, 0xee);
        frame.data = memory.data();
        frame.length = static_cast<std::uint32_t>(bytes.size());
        frame.tailroom = tailroom;
    }
    [[nodiscard]] std::string text() const { return hex({frame.data, frame.length}); }
    Bytes memory;
    Frame frame;
};

const Interface kUplink = make_interface("up0", 0, 0, "02:00:00:00:00:01",
                                         {"192.0.2.2/24", "2001:db8::2/64", "fe80::ff:fe00:1/64"});

class ResponderTest : public ::testing::Test {
protected:
    bool ask(Held& held, const Interface& interface = kUplink) {
        Discovery asked;
        read = read_discovery(held.frame, &asked);
        return read == Read::kDiscovery && responder.answer(held.frame, asked, 0, interface);
    }
    RoutingCounters counters;
    Announced announced{counters};
    Responder responder{announced, counters};
    Read read = Read::kOther;
};

constexpr const char* kRequest =
    "ffffffffffff 020000000009 0806"
    "0001 0800 06 04 0001  020000000009 c0000209  000000000000 c0000202";

TEST_F(ResponderTest, ArpRequest) {
    Held held(from_hex(kRequest));
    ASSERT_TRUE(ask(held));
    EXPECT_EQ(held.text(),
              hex(from_hex("020000000009 020000000001 0806"
                           "0001 0800 06 04 0002  020000000001 c0000202  020000000009 c0000209")));
    EXPECT_EQ(counters.arp_answered, 1U);
}

TEST_F(ResponderTest, ArpProbeIsDefended) {
    Held held(
        from_hex("ffffffffffff 020000000009 0806"
                 "0001 0800 06 04 0001  020000000009 00000000  000000000000 c0000202"));
    ASSERT_TRUE(ask(held));
    EXPECT_EQ(held.text(),
              hex(from_hex("020000000009 020000000001 0806"
                           "0001 0800 06 04 0002  020000000001 c0000202  020000000009 00000000")));
}

TEST_F(ResponderTest, TagsAndPaddingStay) {
    Held held(
        from_hex("ffffffffffff 020000000009 8100 6007 0806"
                 "0001 0800 06 04 0001  020000000009 c0000209  000000000000 c0000202 abababab"));
    ASSERT_TRUE(ask(held));
    EXPECT_EQ(held.text(),
              hex(from_hex(
                  "020000000009 020000000001 8100 6007 0806"
                  "0001 0800 06 04 0002  020000000001 c0000202  020000000009 c0000209 abababab")));
}

TEST_F(ResponderTest, OthersAreLeftToTheKernel) {
    for (const char* text : {"ffffffffffff 020000000009 0806 0001 0800 06 04 0001 020000000009 "
                             "c0000209 000000000000 c0000203",  // other
                             "ffffffffffff 020000000009 0806 0001 0800 06 04 0001 020000000009 "
                             "c0000202 000000000000 c0000202",  // claims
                             "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 "
                             "c0000209 000000000000 c0000202",  // ours
                             "020000000001 020000000009 0806 0001 0800 06 04 0002 020000000009 "
                             "c0000209 020000000001 c0000202"}) {  // reply
        Held held(from_hex(text));
        EXPECT_FALSE(ask(held)) << text;
        EXPECT_EQ(read, Read::kDiscovery) << text;
        EXPECT_EQ(held.text(), hex(from_hex(text)));
    }
}

TEST_F(ResponderTest, WhatIsNoArpOfIpv4OnEthernet) {
    const auto read_with = [&](std::size_t at, std::uint8_t value) {
        Held held(from_hex(kRequest));
        held.frame.data[at] = value;
        EXPECT_FALSE(ask(held));
        return read;
    };
    EXPECT_EQ(read_with(15, 6), Read::kOther) << "hardware type";
    EXPECT_EQ(read_with(16, 0x86), Read::kOther) << "protocol type";
    EXPECT_EQ(read_with(21, 3), Read::kOther) << "RARP";
    EXPECT_EQ(read_with(18, 8), Read::kMalformed) << "hardware length";
    EXPECT_EQ(read_with(19, 16), Read::kMalformed) << "protocol length";
    EXPECT_EQ(read_with(22, 0x03), Read::kMalformed) << "a sender that is a group";
    EXPECT_EQ(read_with(6, 0x03), Read::kMalformed) << "an Ethernet source that is a group";
    EXPECT_EQ(read_with(28, 0xe0), Read::kMalformed) << "a multicast sender";
    for (std::uint32_t length = 0; length < 42; ++length) {
        Held held(from_hex(kRequest));
        held.frame.length = length;
        EXPECT_FALSE(ask(held)) << length;
        EXPECT_EQ(read, Read::kMalformed) << length;
    }
}

// From fe80::9 to the solicited-node address of 2001:db8::2.
constexpr const char* kSolicitation =
    "3333ff000002 020000000009 86dd"
    "60000000 0020 3a ff fe800000000000000000000000000009 ff0200000000000000000001ff000002"
    "87 00 4b4f 00000000 20010db8000000000000000000000002 01 01 020000000009";

TEST_F(ResponderTest, Solicitation) {
    Held held(from_hex(kSolicitation), 0);
    ASSERT_TRUE(ask(held)) << static_cast<int>(read);
    EXPECT_EQ(
        held.text(),
        hex(from_hex(
            "020000000009 020000000001 86dd"
            "60000000 0020 3a ff 20010db8000000000000000000000002 fe800000000000000000000000000009"
            "88 00 39a2 e0000000 20010db8000000000000000000000002 02 01 020000000001")));
    EXPECT_EQ(counters.nd_answered, 1U);
}

constexpr const char* kProbe =
    "3333ff000002 020000000009 86dd"
    "60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff000002"
    "87 00 4ceb 00000000 20010db8000000000000000000000002";

TEST_F(ResponderTest, DuplicateAddressDetectionIsToldToAllNodes) {
    Held held(from_hex(kProbe), 8);
    ASSERT_TRUE(ask(held)) << static_cast<int>(read);
    EXPECT_EQ(
        held.text(),
        hex(from_hex(
            "333300000001 020000000001 86dd"
            "60000000 0020 3a ff 20010db8000000000000000000000002 ff020000000000000000000000000001"
            "88 00 7928 a0000000 20010db8000000000000000000000002 02 01 020000000001")));
    Held tight(from_hex(kProbe), 7);
    EXPECT_FALSE(ask(tight));
    EXPECT_EQ(tight.text(), hex(from_hex(kProbe)));
    EXPECT_EQ(counters.discovery_no_room, 1U);
}

// Puts the message's checksum right, so that what is tested is tested alone.
void repair(Frame& frame) {
    std::uint8_t* const ip = frame.data + 14;
    const std::size_t length = frame.length - 54;
    std::uint32_t sum = 58 + static_cast<std::uint32_t>(length);
    ip[42] = ip[43] = 0;
    for (std::size_t i = 8; i < 40 + length; ++i)
        sum += i % 2 == 0 ? static_cast<std::uint32_t>(ip[i]) << 8U : ip[i];
    while (sum > 0xffff) sum = (sum & 0xffffU) + (sum >> 16U);
    ip[42] = static_cast<std::uint8_t>(~sum >> 8U & 0xffU);
    ip[43] = static_cast<std::uint8_t>(~sum & 0xffU);
}

TEST_F(ResponderTest, BrokenSolicitations) {
    const auto read_with = [&](const char* text, std::size_t at, std::uint8_t value,
                               bool repaired = true) {
        Held held(from_hex(text));
        held.frame.data[at] = value;
        if (repaired) repair(held.frame);
        EXPECT_FALSE(ask(held)) << at;
        return read;
    };
    constexpr std::size_t kIp = 14;
    constexpr std::size_t kMessage = 54;
    EXPECT_EQ(read_with(kSolicitation, kIp + 7, 254), Read::kMalformed) << "came through a router";
    EXPECT_EQ(read_with(kSolicitation, kMessage + 1, 1), Read::kMalformed) << "code";
    EXPECT_EQ(read_with(kSolicitation, kMessage + 3, 0, false), Read::kMalformed) << "checksum";
    EXPECT_EQ(read_with(kSolicitation, kMessage + 25, 0), Read::kMalformed)
        << "an option without length";
    EXPECT_EQ(read_with(kSolicitation, kMessage + 25, 2), Read::kMalformed)
        << "an option beyond the end";
    EXPECT_EQ(read_with(kSolicitation, kMessage + 26, 3), Read::kMalformed)
        << "a group's MAC address";
    EXPECT_EQ(read_with(kSolicitation, kMessage + 8, 0xff), Read::kMalformed)
        << "a multicast target";
    EXPECT_EQ(read_with(kSolicitation, kIp + 5, 0x21), Read::kMalformed) << "longer than the frame";
    EXPECT_EQ(read_with(kSolicitation, kIp + 6, 0), Read::kOther) << "extension headers";
    EXPECT_EQ(read_with(kSolicitation, kMessage, 134), Read::kOther) << "a router's";
    EXPECT_EQ(read_with(kProbe, kIp + 39, 3), Read::kMalformed) << "a probe to another group";
    // The sender may not say where an address is that it does not have yet.
    Held held(from_hex(kSolicitation));
    std::fill_n(held.frame.data + kIp + 8, 16, std::uint8_t{0});
    repair(held.frame);
    EXPECT_FALSE(ask(held));
    EXPECT_EQ(read, Read::kMalformed);
    for (std::uint32_t length = 0; length < 86; ++length) {
        Held cut(from_hex(kSolicitation));
        cut.frame.length = length;
        EXPECT_FALSE(ask(cut)) << length;
        EXPECT_EQ(read, Read::kMalformed) << length;
    }
    // One byte wrong anywhere the checksum covers.
    for (std::size_t at = kIp + 8; at < 86; ++at) {
        Held flipped(from_hex(kSolicitation));
        flipped.frame.data[at] ^= 0x10;
        EXPECT_FALSE(ask(flipped)) << at;
    }
}

TEST_F(ResponderTest, QuestionsAndAnnouncements) {
    const Interface tagged = make_interface("up0.7", 0, 7, "02:00:00:00:00:01", {"192.0.2.2/24"});
    EXPECT_EQ(hex(make_question(3, tagged, address("192.0.2.2"), address("192.0.2.9"), std::nullopt)
                      .bytes),
              hex(from_hex("ffffffffffff 020000000001 8100 0007 0806"
                           "0001 0800 06 04 0001 020000000001 c0000202 000000000000 c0000209"
                           "0000000000000000000000000000")));
    EXPECT_EQ(make_question(3, tagged, address("192.0.2.2"), address("192.0.2.9"), std::nullopt)
                  .interface,
              3);
    EXPECT_EQ(hex(make_question(0, kUplink, address("192.0.2.2"), address("192.0.2.9"),
                                mac("02:00:00:00:00:09"))
                      .bytes),
              hex(from_hex("020000000009 020000000001 0806"
                           "0001 0800 06 04 0001 020000000001 c0000202 000000000000 c0000209"
                           "000000000000000000000000000000000000")));
    EXPECT_EQ(
        hex(make_question(0, kUplink, address("fe80::ff:fe00:1"), address("2001:db8::12:3456"),
                          std::nullopt)
                .bytes),
        hex(from_hex("3333ff123456 020000000001 86dd 60000000 0020 3a ff"
                     "fe80000000000000000000fffe000001 ff0200000000000000000001ff123456"
                     "87 00 e392 00000000 20010db8000000000000000000123456 01 01 020000000001")));
    EXPECT_EQ(hex(make_announcement(0, kUplink, address("192.0.2.50")).bytes),
              hex(from_hex("ffffffffffff 020000000001 0806"
                           "0001 0800 06 04 0001 020000000001 c0000232 000000000000 c0000232"
                           "000000000000000000000000000000000000")));
    EXPECT_EQ(
        hex(make_announcement(0, kUplink, address("2001:db8::2")).bytes),
        hex(from_hex(
            "333300000001 020000000001 86dd"
            "60000000 0020 3a ff 20010db8000000000000000000000002 ff020000000000000000000000000001"
            "88 00 7928 a0000000 20010db8000000000000000000000002 02 01 020000000001")));
}

TEST_F(ResponderTest, WhoClaimsOurAddressIsAnsweredOnceInAWhile) {
    Held claim(
        from_hex("ffffffffffff 020000000009 0806"
                 "0001 0800 06 04 0001  020000000009 c0000202  000000000000 c0000202"));
    Discovery said;
    ASSERT_EQ(read_discovery(claim.frame, &said), Read::kDiscovery);
    using std::chrono::milliseconds;
    const auto first = responder.defend(said, 0, kUplink, milliseconds(1000));
    ASSERT_TRUE(first);
    EXPECT_EQ(first->bytes, make_announcement(0, kUplink, address("192.0.2.2")).bytes);
    EXPECT_FALSE(responder.defend(said, 0, kUplink, milliseconds(10'999)));
    EXPECT_TRUE(responder.defend(said, 0, kUplink, milliseconds(11'000)));
    EXPECT_EQ(counters.address_conflicts, 3U);
    EXPECT_EQ(counters.announcements_sent, 2U);
    // Not ours to defend.
    Held other(from_hex(kRequest));
    ASSERT_EQ(read_discovery(other.frame, &said), Read::kDiscovery);
    EXPECT_FALSE(responder.defend(said, 0, kUplink, milliseconds(99'000)));
}

}  // namespace
}  // namespace sluice::dpdk
