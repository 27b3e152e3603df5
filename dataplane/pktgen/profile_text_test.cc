// Profiles as text: what a user writes and reads.
#include "dataplane/pktgen/profile_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>

namespace sluice::pktgen {
namespace {

using testing::HasSubstr;

IpAddress address(std::string_view text) {
    return *IpAddress::parse(text);
}

// All fields of profile.h, one by one: a field that the table forgets is not found by comparing
// texts.
void expect_equal(const Profile& a, const Profile& b) {
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.flows, b.flows);
    EXPECT_EQ(a.source.first, b.source.first);
    EXPECT_EQ(a.source.last, b.source.last);
    EXPECT_EQ(a.destination.first, b.destination.first);
    EXPECT_EQ(a.destination.last, b.destination.last);
    EXPECT_EQ(a.source_port.first, b.source_port.first);
    EXPECT_EQ(a.source_port.last, b.source_port.last);
    EXPECT_EQ(a.destination_port.first, b.destination_port.first);
    EXPECT_EQ(a.destination_port.last, b.destination_port.last);
    EXPECT_EQ(a.l4, b.l4);
    EXPECT_EQ(a.choice, b.choice);
    EXPECT_EQ(a.zipf_exponent, b.zipf_exponent);
    ASSERT_EQ(a.sizes.size(), b.sizes.size());
    for (std::size_t i = 0; i < a.sizes.size(); ++i) {
        EXPECT_EQ(a.sizes[i].frame_bytes, b.sizes[i].frame_bytes);
        EXPECT_EQ(a.sizes[i].weight, b.sizes[i].weight);
    }
    EXPECT_EQ(a.life_cycle, b.life_cycle);
    EXPECT_EQ(a.data_packets, b.data_packets);
    EXPECT_EQ(a.vlan, b.vlan);
    EXPECT_EQ(a.ttl, b.ttl);
    EXPECT_EQ(a.dscp, b.dscp);
    EXPECT_EQ(a.source_mac, b.source_mac);
    EXPECT_EQ(a.destination_mac, b.destination_mac);
    EXPECT_EQ(a.next_hop, b.next_hop);
    ASSERT_EQ(a.answer_for.size(), b.answer_for.size());
    for (std::size_t i = 0; i < a.answer_for.size(); ++i) {
        EXPECT_EQ(a.answer_for[i].first, b.answer_for[i].first);
        EXPECT_EQ(a.answer_for[i].last, b.answer_for[i].last);
    }
    EXPECT_EQ(a.pcap, b.pcap);
    EXPECT_EQ(a.pcap_timing, b.pcap_timing);
    EXPECT_EQ(a.packets_per_second, b.packets_per_second);
    EXPECT_EQ(a.bits_per_second, b.bits_per_second);
    EXPECT_EQ(a.connections_per_second, b.connections_per_second);
    EXPECT_EQ(a.duration_s, b.duration_s);
    EXPECT_EQ(a.count, b.count);
    EXPECT_EQ(a.warmup_s, b.warmup_s);
    EXPECT_EQ(a.drain_s, b.drain_s);
    EXPECT_EQ(a.probe, b.probe);
    EXPECT_EQ(a.seed, b.seed);
}

Profile any_profile() {
    const auto number = [](std::uint64_t below) {
        return *rc::gen::inRange<std::uint64_t>(0, below);
    };
    const auto real = [] { return static_cast<double>(*rc::gen::inRange(0, 1 << 30)) / 1024.0; };
    const auto text = [] { return *rc::gen::container<std::string>(rc::gen::inRange(' ', '~')); };
    const auto any_address = [&] {
        IpAddress out;
        if (number(2) == 0) {
            return IpAddress::from_v4_be(static_cast<std::uint32_t>(number(1ULL << 32U)));
        }
        for (auto& byte : out.bytes) byte = static_cast<std::uint8_t>(number(256));
        return out;
    };
    const auto port = [&] { return static_cast<std::uint16_t>(number(65536)); };
    Profile p;
    p.name = text();
    p.flows = number(1ULL << 62U);
    p.source = {any_address(), any_address()};
    p.destination = {any_address(), any_address()};
    p.source_port = {port(), port()};
    p.destination_port = {port(), port()};
    p.l4 = number(2) == 0 ? L4::kUdp : L4::kTcp;
    p.choice = static_cast<Choice>(number(3));
    p.zipf_exponent = real();
    p.sizes.clear();
    for (std::uint64_t i = 0, n = 1 + number(5); i < n; ++i) {
        p.sizes.push_back(
            {static_cast<std::uint32_t>(number(9000)), static_cast<std::uint32_t>(number(100))});
    }
    p.life_cycle = static_cast<LifeCycle>(number(4));
    p.data_packets = static_cast<std::uint32_t>(number(1ULL << 32U));
    p.vlan = static_cast<std::uint16_t>(number(4096));
    p.ttl = static_cast<std::uint8_t>(number(256));
    p.dscp = static_cast<std::uint8_t>(number(64));
    p.source_mac = number(2) == 0 ? "" : "02:00:00:00:00:01";
    p.destination_mac = number(2) == 0 ? "" : "10:20:30:40:50:59";
    if (number(2) == 0) p.next_hop = any_address();
    for (std::uint64_t i = 0, n = number(4); i < n; ++i)
        p.answer_for.push_back({any_address(), any_address()});
    p.pcap = text();
    p.pcap_timing = number(2) == 0;
    p.packets_per_second = real();
    p.bits_per_second = real();
    p.connections_per_second = real();
    p.duration_s = real();
    p.count = number(1ULL << 63U);
    p.warmup_s = real();
    p.drain_s = real();
    p.probe = number(2) == 0;
    p.seed = static_cast<std::uint32_t>(number(1ULL << 32U));
    return p;
}

RC_GTEST_PROP(ProfileText, ADumpIsReadAsTheSameProfile, ()) {
    const Profile profile = any_profile();
    const std::string text = profile_to_yaml(profile);
    auto read = profile_from_yaml(text, "dump");
    if (!read) {
        RC_FAIL(read.error().message + "\n" + text);
    }
    expect_equal(*read, profile);
    RC_ASSERT(!testing::Test::HasFailure());
}

RC_GTEST_PROP(ProfileText, FlagsGiveTheSameProfile, ()) {
    const Profile profile = any_profile();
    Profile read;
    for (const ProfileField& field : profile_fields()) {
        auto set = set_profile_field(read, field.name, field.get(profile));
        if (!set) RC_FAIL(set.error().message);
    }
    expect_equal(read, profile);
    RC_ASSERT(!testing::Test::HasFailure());
}

TEST(ProfileText, AFileSaysWhatFlagsSay) {
    const auto profile = profile_from_yaml(R"(# A web server's mix.
name: web
source: 10.0.0.0/30
destination: fd00::1-fd00::ff
source-port: 1024-65535
destination-port: 80
l4: tcp
choice: zipf
zipf-exponent: 0.9
flows: 1M
sizes: [64:7, "594:4", 1518]
packets-per-second: 1.5M
probe: no
destination-mac: "02:00:00:00:00:02"
next-hop: fe80::1
answer-for: [10.9.0.0/16, fd00::7]
)",
                                           "web.yaml");
    ASSERT_TRUE(profile.has_value()) << profile.error().message;
    EXPECT_EQ(profile->name, "web");
    EXPECT_EQ(profile->source.first, address("10.0.0.0"));
    EXPECT_EQ(profile->source.last, address("10.0.0.3"));
    EXPECT_EQ(profile->destination.last, address("fd00::ff"));
    EXPECT_EQ(profile->source_port.last, 65535);
    EXPECT_EQ(profile->destination_port.first, 80);
    EXPECT_EQ(profile->l4, L4::kTcp);
    EXPECT_EQ(profile->choice, Choice::kZipf);
    EXPECT_EQ(profile->zipf_exponent, 0.9);
    EXPECT_EQ(profile->flows, 1000000U);
    EXPECT_EQ(sizes_text(profile->sizes), "64:7,594:4,1518:1");
    EXPECT_EQ(profile->packets_per_second, 1.5e6);
    EXPECT_FALSE(profile->probe);
    EXPECT_EQ(profile->destination_mac, "02:00:00:00:00:02");
    EXPECT_EQ(profile->next_hop, address("fe80::1"));
    ASSERT_EQ(profile->answer_for.size(), 2U);
    EXPECT_EQ(profile->answer_for[0].last, address("10.9.255.255"));
    EXPECT_EQ(profile->answer_for[1].first, address("fd00::7"));
    // What is not said stays as it was.
    EXPECT_EQ(profile->ttl, 64);
    EXPECT_EQ(profile->duration_s, 10);
}

TEST(ProfileText, AFileIsLaidOverABase) {
    Profile base;
    base.ttl = 3;
    base.vlan = 7;
    const auto profile = profile_from_yaml("vlan: 9\n", "x", base);
    ASSERT_TRUE(profile.has_value());
    EXPECT_EQ(profile->ttl, 3);
    EXPECT_EQ(profile->vlan, 9);
    EXPECT_TRUE(profile_from_yaml("", "x", base).has_value());
}

TEST(ProfileText, ErrorsNameFileLineAndField) {
    const auto message = [](const char* text) {
        const auto read = profile_from_yaml(text, "p.yaml");
        EXPECT_FALSE(read.has_value()) << text;
        return read ? std::string() : read.error().message;
    };
    EXPECT_EQ(message("name: x\n\nttl: 256\n"), "p.yaml:3: ttl: 256 is more than 255");
    EXPECT_EQ(message("name: x\nports: 3\n"), "p.yaml:2: a profile has no field \"ports\"");
    EXPECT_EQ(message("{ttl: -1}"),
              "p.yaml: ttl: \"-1\" is not a number from 0 on (k, M and G may follow it)");
    EXPECT_EQ(message("l4: sctp"), "p.yaml:1: l4: \"sctp\" is none of udp, tcp");
    EXPECT_EQ(message("choice: random"),
              "p.yaml:1: choice: \"random\" is none of round-robin, uniform, zipf");
    EXPECT_EQ(message("source: 10.0.0.300"),
              "p.yaml:1: source: " + IpAddress::parse("10.0.0.300").error().message);
    EXPECT_EQ(message("source-port: 1-70000"),
              "p.yaml:1: source-port: \"1-70000\" is not a port or a range of ports (0 to 65535)");
    EXPECT_EQ(message("sizes: []"), "p.yaml:1: sizes: \"\" is not a frame's size in bytes");
    EXPECT_EQ(message("sizes: [[64]]"), "p.yaml:1: sizes: a list within a list");
    EXPECT_EQ(message("\"ttl\" : {a: b}"), "p.yaml:1: ttl: is a mapping, not a value");
    EXPECT_EQ(message("ttl:"), "p.yaml:1: ttl: has no value");
    EXPECT_EQ(message("- ttl"), "p.yaml: a profile is a mapping of fields to values");
    EXPECT_EQ(message("source-mac: 02:00"),
              "p.yaml:1: source-mac: \"02:00\" is not a MAC address such as 02:00:00:00:00:01");
    EXPECT_EQ(message("probe: 2"), "p.yaml:1: probe: \"2\" is neither true nor false");
    EXPECT_EQ(message("flows: 1.5"), "p.yaml:1: flows: \"1.5\" is not a whole number");
    EXPECT_THAT(message("ttl: 1\nttl: 2"), HasSubstr("p.yaml"));
}

TEST(ProfileText, AnErrorChangesNothing) {
    Profile profile;
    profile.source_port = {5, 6};
    ASSERT_FALSE(set_profile_field(profile, "source-port", "7-x").has_value());
    EXPECT_EQ(profile.source_port.first, 5);
    EXPECT_EQ(profile.source_port.last, 6);
}

TEST(ProfileText, QuantitiesHaveDecimalMultiples) {
    EXPECT_EQ(*parse_quantity("0"), 0);
    EXPECT_EQ(*parse_quantity("1.5k"), 1500);
    EXPECT_EQ(*parse_quantity("2M"), 2e6);
    EXPECT_EQ(*parse_quantity("10G"), 1e10);
    EXPECT_EQ(*parse_quantity("1e6"), 1e6);
    EXPECT_EQ(*parse_count("18446744073709551615"), 18446744073709551615ULL);
    EXPECT_EQ(*parse_count("64k"), 64000U);
    for (const char* wrong :
         {"", "k", "-1", "-0", "nan", "inf", "1e999", "1 k", "1kk", "0x10", "1m", " 1"}) {
        EXPECT_FALSE(parse_quantity(wrong).has_value()) << wrong;
        EXPECT_FALSE(parse_count(wrong).has_value()) << wrong;
    }
}

TEST(ProfileText, ImixIsSevenFourOne) {
    EXPECT_EQ(sizes_text(*parse_sizes("imix")), "64:7,594:4,1518:1");
    EXPECT_EQ(sizes_text(*parse_sizes("128")), "128");
    for (const char* wrong : {"", "imix2", "64:", ":3", "64,", ",64", "64:1:1", "-64", "64;7"}) {
        EXPECT_FALSE(parse_sizes(wrong).has_value()) << wrong;
    }
}

TEST(ProfileText, AFileThatIsNotThereIsNotFound) {
    const auto read = load_profile("/nonexistent/p.yaml");
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, Code::kNotFound);
    EXPECT_THAT(read.error().message, HasSubstr("/nonexistent/p.yaml"));
    // A folder opens, but has no bytes to read.
    EXPECT_FALSE(load_profile("/").has_value());
}

TEST(ProfileText, AFileIsRead) {
    const std::string path = testing::TempDir() + "/profile_text_test.yaml";
    std::ofstream(path) << "ttl: 17\n";
    EXPECT_EQ(load_profile(path)->ttl, 17);
    std::ofstream(path) << "ttl: seventeen\n";
    EXPECT_THAT(load_profile(path).error().message, HasSubstr(path + ":1: ttl: "));
}

}  // namespace
}  // namespace sluice::pktgen
