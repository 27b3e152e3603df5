// Expectations: RFC 4291, RFC 5952, and what Kubernetes accepts for addresses.
#include "api/base/ip_address.h"

#include <gtest/gtest.h>

#include <bit>
#include <unordered_set>

namespace sluice {
namespace {

std::string canonical(std::string_view text) {
    const auto address = IpAddress::parse(text);
    return address ? address->to_string() : "error";
}

TEST(IpAddress, TextsAreCanonical) {
    for (const char* text : {"0.0.0.0", "10.96.0.1", "255.255.255.255", "::", "::1", "2001:db8::1",
                             "fe80::1", "2001:db8:0:1:1:1:1:1"}) {
        EXPECT_EQ(canonical(text), text);
    }
    EXPECT_EQ(canonical("2001:DB8:0:0:0:0:0:1"), "2001:db8::1");
    EXPECT_EQ(canonical("::ffff:10.0.0.1"), "10.0.0.1");
}

TEST(IpAddress, RefusesWhatIsNone) {
    for (const char* text :
         {"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "1.2.3.4 ", " 1.2.3.4", "01.2.3.4",
          "1..2.3", "1.2.3.", "0x1.2.3.4", ":", ":::", "1::2::3", "12345::", "::1%eth0", "fe80::1 ",
          "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::ffff:256.0.0.1", "1.2.3.4/8"}) {
        EXPECT_EQ(canonical(text), "error") << text;
    }
    EXPECT_FALSE(IpAddress::parse(std::string(100'000, ':')));
    EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)));
    EXPECT_EQ(IpAddress::parse("x").error().message, "\"x\" is not a valid IP address");
}

TEST(IpAddress, SloppyReadsLeadingZerosAsDecimal) {
    EXPECT_EQ(IpAddress::parse_sloppy("010.001.000.009")->to_string(), "10.1.0.9");
    EXPECT_FALSE(IpAddress::parse_sloppy("0256.1.1.1"));
    EXPECT_FALSE(IpAddress::parse_sloppy("1.2.3"));
}

TEST(IpAddress, NetworkByteOrder) {
    const auto address = *IpAddress::parse("1.2.3.4");
    const std::array<std::uint8_t, 4> expected{1, 2, 3, 4};
    const auto bytes = std::bit_cast<std::array<std::uint8_t, 4>>(address.v4_be());
    EXPECT_EQ(bytes, expected);
    EXPECT_EQ(IpAddress::from_v4_be(address.v4_be()), address);
    EXPECT_EQ(address.bytes[10], 0xff);
    EXPECT_EQ(address.bytes[12], 1);
}

TEST(IpAddress, Classes) {
    const auto parsed = [](const char* text) { return *IpAddress::parse(text); };
    EXPECT_EQ(parsed("1.2.3.4").family(), IpFamily::kIpv4);
    EXPECT_EQ(parsed("::1").family(), IpFamily::kIpv6);
    EXPECT_TRUE(parsed("0.0.0.0").is_unspecified());
    EXPECT_TRUE(parsed("::").is_unspecified());
    EXPECT_FALSE(parsed("::1").is_unspecified());
    EXPECT_TRUE(parsed("127.255.0.1").is_loopback());
    EXPECT_TRUE(parsed("::1").is_loopback());
    EXPECT_FALSE(parsed("::2").is_loopback());
    EXPECT_FALSE(parsed("1::1").is_loopback());
    EXPECT_TRUE(parsed("169.254.1.1").is_link_local());
    EXPECT_TRUE(parsed("febf::1").is_link_local());
    EXPECT_FALSE(parsed("fec0::1").is_link_local());
    EXPECT_TRUE(parsed("224.0.0.1").is_multicast());
    EXPECT_TRUE(parsed("239.1.1.1").is_multicast());
    EXPECT_FALSE(parsed("240.0.0.1").is_multicast());
    EXPECT_TRUE(parsed("ff02::1").is_multicast());
}

TEST(IpAddress, Hashes) {
    std::unordered_set<IpAddress> set;
    for (std::uint32_t i = 0; i < 1000; ++i) set.insert(IpAddress::from_v4_be(i));
    EXPECT_EQ(set.size(), 1000U);
    EXPECT_TRUE(set.contains(IpAddress::from_v4_be(7)));
}

TEST(IpPrefix, ParsesAndContains) {
    const auto parsed = [](const char* text) { return *IpPrefix::parse(text); };
    const auto address = [](const char* text) { return *IpAddress::parse(text); };
    EXPECT_EQ(parsed("10.0.0.0/8").to_string(), "10.0.0.0/8");
    EXPECT_TRUE(parsed("10.0.0.0/8").contains(address("10.255.255.255")));
    EXPECT_FALSE(parsed("10.0.0.0/8").contains(address("11.0.0.0")));
    EXPECT_TRUE(parsed("10.96.0.0/12").contains(address("10.111.255.255")));
    EXPECT_FALSE(parsed("10.96.0.0/12").contains(address("10.112.0.0")));
    EXPECT_TRUE(parsed("0.0.0.0/0").contains(address("255.1.2.3")));
    EXPECT_FALSE(parsed("0.0.0.0/0").contains(address("::1")));
    EXPECT_FALSE(parsed("::/0").contains(address("1.2.3.4")));
    EXPECT_TRUE(parsed("1.2.3.4/32").contains(address("1.2.3.4")));
    EXPECT_FALSE(parsed("1.2.3.4/32").contains(address("1.2.3.5")));
    EXPECT_TRUE(parsed("2001:db8::/33").contains(address("2001:db8:7fff::1")));
    EXPECT_FALSE(parsed("2001:db8::/33").contains(address("2001:db8:8000::1")));
    EXPECT_TRUE(parsed("::1/128").contains(address("::1")));
}

TEST(IpPrefix, HostBits) {
    EXPECT_EQ(IpPrefix::parse("10.1.2.3/8").error().message,
              "\"10.1.2.3/8\" has host bits set, 10.0.0.0/8 would be the range");
    EXPECT_EQ(IpPrefix::parse("10.1.2.3/8", true)->to_string(), "10.0.0.0/8");
    EXPECT_EQ(IpPrefix::parse("2001:db8::ffff/113", true)->to_string(), "2001:db8::8000/113");
}

TEST(IpPrefix, RefusesWhatIsNone) {
    for (const char* text : {"", "/", "10.0.0.0", "10.0.0.0/", "/8", "10.0.0.0/33", "::/129", "10.0.0.0/08",
                             "10.0.0.0/-1", "10.0.0.0/8 ", "10.0.0.0/8/8", "10.0.0.0/4294967304"}) {
        EXPECT_FALSE(IpPrefix::parse(text).has_value()) << text;
    }
}

TEST(Protocol, Names) {
    for (const auto protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
        EXPECT_EQ(*parse_protocol(protocol_name(protocol)), protocol);
    }
    EXPECT_EQ(protocol_name(Protocol::kTcp), "TCP");
    EXPECT_FALSE(parse_protocol("tcp"));
    EXPECT_FALSE(parse_protocol(""));
}

}  // namespace
}  // namespace sluice
