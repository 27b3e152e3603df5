// Neighbours come, answer, move and go; strangers, spoofers and scans get nowhere.
#include "dataplane/dpdk/routing/resolver.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/dpdk/routing/test_routing.h"

namespace sluice::dpdk {
namespace {

constexpr const char* kMacA = "02:00:00:00:00:0a";
constexpr const char* kMacB = "02:00:00:00:00:0b";

// The smallest IPv4 frame that tells apart which one it is.
std::vector<std::uint8_t> packet(std::uint8_t number, std::size_t size = 20) {
    std::vector<std::uint8_t> out(14 + size);
    out[12] = 0x08;
    out[14] = 0x45;
    out[15] = number;
    return out;
}

class ResolverTest : public ::testing::Test {
protected:
    ResolverTest() {
        interfaces = {
            make_interface("up0", 0, 0, "02:00:00:00:00:01", {"192.0.2.2/24", "2001:db8::2/64"}),
            make_interface("up1.7", 1, 7, "02:00:00:00:00:02",
                           {"10.0.0.2/8", "fd00::2/64", "fe80::2/64"})};
        resolver.use(interfaces, {}, now);
    }
    void wait(const char* who, std::uint8_t number = 0, std::uint16_t interface = 0) {
        resolver.wait(interface, address(who), packet(number), now);
    }
    Discovery said(Discovery::Kind kind, const char* sender, const char* mac_address,
                   const char* target) {
        Discovery out;
        out.kind = kind;
        out.sender = address(sender);
        out.target = address(target);
        out.mac = mac(mac_address);
        out.source = *out.mac;
        out.destination = interfaces[0].mac;
        return out;
    }
    // An ARP reply to us.
    void reply(const char* sender, const char* mac_address, std::uint16_t interface = 0) {
        auto what = said(Discovery::Kind::kArpReply, sender, mac_address, "192.0.2.2");
        what.destination = interfaces[interface].mac;
        resolver.learn(interface, what, true, now);
    }
    void advertise(const char* target, const char* mac_address, bool solicited, bool overrides) {
        auto what = said(Discovery::Kind::kAdvertisement, target, mac_address, target);
        what.solicited = solicited;
        what.overrides = overrides;
        resolver.learn(0, what, false, now);
    }
    void pass(int milliseconds) {
        for (int i = 0; i < milliseconds; i += 100) {
            now += Milliseconds(100);
            resolver.tick(now);
        }
    }
    std::string state(const char* who) const {
        for (const auto& view : resolver.views()) {
            if (view.neighbour.address == address(who)) return std::string(state_name(view.state));
        }
        return "";
    }
    std::string mac_of(const char* who) const {
        for (const auto& view : resolver.views()) {
            if (view.neighbour.address == address(who)) return mac_text(view.neighbour.mac);
        }
        return "";
    }
    std::vector<Interface> interfaces;
    RoutingCounters counters;
    Resolver resolver{counters};
    Milliseconds now{100'000};
};

TEST_F(ResolverTest, AsksThenSendsWhatWaited) {
    wait("192.0.2.9", 1);
    EXPECT_EQ(state("192.0.2.9"), "INCOMPLETE");
    auto frames = resolver.take_frames();
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(
        frames[0].bytes,
        make_question(0, interfaces[0], address("192.0.2.2"), address("192.0.2.9"), {}).bytes);
    EXPECT_TRUE(resolver.take_changes().empty()) << "nothing for lcores before there is an answer";
    wait("192.0.2.9", 2);
    EXPECT_TRUE(resolver.take_frames().empty()) << "one question for both";
    reply("192.0.2.9", kMacA);
    EXPECT_EQ(state("192.0.2.9"), "REACHABLE");
    frames = resolver.take_frames();
    ASSERT_EQ(frames.size(), 2U);
    EXPECT_EQ(hex({frames[0].bytes.data(), 16}),
              "02000000000a"
              "020000000001"
              "0800"
              "4501");
    EXPECT_EQ(hex({frames[1].bytes.data(), 16}),
              "02000000000a"
              "020000000001"
              "0800"
              "4502");
    const auto changes = resolver.take_changes();
    ASSERT_EQ(changes.size(), 1U);
    EXPECT_EQ(changes[0].neighbour, neighbour(0, "192.0.2.9", kMacA));
    EXPECT_EQ(resolver.all()[changes[0].place], changes[0].neighbour);
    EXPECT_EQ(resolver.waiting_bytes(), 0U);
}

TEST_F(ResolverTest, ATaggedInterfaceTagsWhatWaited) {
    resolver.wait(1, address("10.1.2.3"), packet(7), now);
    (void)resolver.take_frames();
    reply("10.1.2.3", kMacA, 1);
    const auto frames = resolver.take_frames();
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].interface, 1);
    EXPECT_EQ(hex({frames[0].bytes.data(), 20}),
              "02000000000a"
              "020000000002"
              "81000007"
              "0800"
              "4507");
}

TEST_F(ResolverTest, NobodyThere) {
    wait("192.0.2.9");
    pass(2'900);
    EXPECT_EQ(resolver.take_frames().size(), 3U);
    EXPECT_EQ(state("192.0.2.9"), "INCOMPLETE");
    pass(100);
    EXPECT_EQ(state("192.0.2.9"), "FAILED");
    EXPECT_EQ(counters.waiting_failed, 1U);
    EXPECT_EQ(counters.neighbours_failed, 1U);
    EXPECT_EQ(resolver.waiting_bytes(), 0U);
    wait("192.0.2.9");
    EXPECT_TRUE(resolver.take_frames().empty()) << "no question for each packet to nobody";
    EXPECT_EQ(counters.unresolved_failed, 1U);
    pass(1'000);
    EXPECT_EQ(state("192.0.2.9"), "");
    wait("192.0.2.9");
    EXPECT_EQ(resolver.take_frames().size(), 1U);
    EXPECT_TRUE(resolver.take_changes().empty());
}

TEST_F(ResolverTest, WhoIsKnownIsProbedAndForgottenWhenGone) {
    wait("192.0.2.9");
    reply("192.0.2.9", kMacA);
    (void)resolver.take_frames();
    (void)resolver.take_changes();
    int quiet = 0;
    while (state("192.0.2.9") == "REACHABLE" && quiet < 60'000) pass(100), quiet += 100;
    EXPECT_GE(quiet, 15'000);
    EXPECT_LE(quiet, 45'000);
    EXPECT_EQ(state("192.0.2.9"), "STALE");
    pass(5'000);
    EXPECT_EQ(state("192.0.2.9"), "PROBE");
    auto frames = resolver.take_frames();
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].bytes, make_question(0, interfaces[0], address("192.0.2.2"),
                                             address("192.0.2.9"), mac(kMacA))
                                   .bytes);
    EXPECT_TRUE(resolver.take_changes().empty()) << "packets go on meanwhile";
    reply("192.0.2.9", kMacA);
    EXPECT_EQ(state("192.0.2.9"), "REACHABLE");
    pass(45'000 + 5'000 + 3'000);
    EXPECT_EQ(state("192.0.2.9"), "");
    const auto changes = resolver.take_changes();
    ASSERT_EQ(changes.size(), 1U);
    EXPECT_TRUE(changes[0].neighbour.address.is_unspecified());
    EXPECT_EQ(counters.neighbours_failed, 1U);
}

TEST_F(ResolverTest, WaitingIsBounded) {
    for (std::uint8_t i = 1; i <= 5; ++i) wait("192.0.2.9", i);
    EXPECT_EQ(counters.waiting_replaced, 2U);
    (void)resolver.take_frames();
    reply("192.0.2.9", kMacA);
    const auto frames = resolver.take_frames();
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[0].bytes[15], 3) << "the newest stay";
    EXPECT_EQ(frames[2].bytes[15], 5);
    // In all.
    for (int i = 0; i < 2'000; ++i) {
        const auto large = packet(1, 9'000);
        resolver.wait(1, address(fmt::format("10.1.{}.{}", i / 250, 1 + i % 250)), large, now);
    }
    EXPECT_LE(resolver.waiting_bytes(), kMaxWaitingBytes);
    EXPECT_GT(counters.waiting_full, 0U);
}

TEST_F(ResolverTest, AScanDoesNotDisplaceWhoIsKnown) {
    wait("10.9.9.9", 0, 1);
    reply("10.9.9.9", kMacA, 1);
    for (int i = 0; i < 70'000; ++i) {
        resolver.wait(
            1, address(fmt::format("10.{}.{}.{}", 10 + i / 62500, i / 250 % 250, 1 + i % 250)),
            packet(0), now);
    }
    EXPECT_EQ(resolver.size(), kMaxIncomplete + 1);
    EXPECT_EQ(counters.neighbours_refused, 70'000 - kMaxIncomplete);
    EXPECT_EQ(state("10.9.9.9"), "REACHABLE");
    // Questions go out a portion a tick.
    (void)resolver.take_frames();
    now += Milliseconds(1'000);
    resolver.tick(now);
    EXPECT_EQ(resolver.take_frames().size(), kQuestionsPerTick);
}

TEST_F(ResolverTest, AFloodOfStrangersDisplacesNobodyAndTheyMakeRoom) {
    wait("10.9.9.9", 0, 1);
    reply("10.9.9.9", kMacA, 1);
    for (int i = 0; i < 70'000; ++i) {
        auto request =
            said(Discovery::Kind::kArpRequest,
                 fmt::format("10.{}.{}.{}", 10 + i / 62500, i / 250 % 250, 1 + i % 250).c_str(),
                 kMacB, "10.0.0.2");
        resolver.learn(1, request, true, now);
    }
    EXPECT_EQ(resolver.size(), kMaxNeighbours);
    EXPECT_EQ(counters.neighbours_refused, 70'001 - kMaxNeighbours);
    EXPECT_EQ(state("10.9.9.9"), "REACHABLE");
    wait("10.200.0.1", 0, 1);
    EXPECT_EQ(state("10.200.0.1"), "INCOMPLETE");
    EXPECT_EQ(counters.neighbours_evicted, 1U);
    EXPECT_EQ(resolver.size(), kMaxNeighbours);
}

TEST_F(ResolverTest, WhatIsNotBelieved) {
    // Nobody asked for it, and it is nobody we know.
    reply("192.0.2.9", kMacA);
    EXPECT_EQ(state("192.0.2.9"), "");
    // Outside of the prefixes.
    wait("192.0.2.9");
    resolver.learn(0, said(Discovery::Kind::kArpRequest, "203.0.113.9", kMacA, "192.0.2.2"), true,
                   now);
    EXPECT_EQ(state("203.0.113.9"), "");
    EXPECT_EQ(counters.discovery_foreign, 1U);
    // On the other interface.
    reply("192.0.2.9", kMacA, 1);
    EXPECT_EQ(state("192.0.2.9"), "INCOMPLETE");
    // With our own MAC, or our own address.
    reply("192.0.2.9", "02:00:00:00:00:01");
    EXPECT_EQ(state("192.0.2.9"), "INCOMPLETE");
    resolver.learn(0, said(Discovery::Kind::kArpRequest, "192.0.2.2", kMacA, "192.0.2.2"), true,
                   now);
    EXPECT_EQ(state("192.0.2.2"), "");
    // The subnet's questions are not for us.
    resolver.learn(0, said(Discovery::Kind::kArpRequest, "192.0.2.77", kMacA, "192.0.2.78"), false,
                   now);
    EXPECT_EQ(state("192.0.2.77"), "");
    // From an interface that there is not.
    resolver.learn(9, said(Discovery::Kind::kArpRequest, "192.0.2.77", kMacA, "192.0.2.2"), true,
                   now);
    EXPECT_EQ(resolver.size(), 1U);
    // Frames of no IP packet wait for nobody.
    std::vector<std::uint8_t> other(60);
    for (std::size_t size = 0; size <= other.size(); ++size)
        resolver.wait(0, address("192.0.2.80"), {other.data(), size}, now);
    EXPECT_EQ(state("192.0.2.80"), "");
    EXPECT_EQ(counters.unresolved_unroutable, 61U);
}

TEST_F(ResolverTest, WhoAsksUsIsKnownThenProbed) {
    resolver.learn(0, said(Discovery::Kind::kArpRequest, "192.0.2.9", kMacA, "192.0.2.2"), true,
                   now);
    EXPECT_EQ(state("192.0.2.9"), "STALE");
    EXPECT_EQ(resolver.take_changes().size(), 1U);
    wait("192.0.2.9");
    EXPECT_EQ(resolver.take_frames().size(), 1U) << "sent at once";
    pass(5'000);
    EXPECT_EQ(state("192.0.2.9"), "PROBE");
    pass(3'000);
    EXPECT_EQ(state("192.0.2.9"), "") << "made up";
}

TEST_F(ResolverTest, AnArpMoveIsFollowedButNotAtOnce) {
    wait("192.0.2.9");
    reply("192.0.2.9", kMacA);
    auto gratuitous = said(Discovery::Kind::kArpRequest, "192.0.2.9", kMacB, "192.0.2.9");
    now += kLockMs;
    resolver.learn(0, gratuitous, false, now);
    EXPECT_EQ(mac_of("192.0.2.9"), kMacA) << "two answers within a second: the first stands";
    EXPECT_EQ(state("192.0.2.9"), "STALE") << "but it is looked into";
    now += Milliseconds(1);
    resolver.learn(0, gratuitous, false, now);
    EXPECT_EQ(mac_of("192.0.2.9"), kMacB);
    EXPECT_EQ(state("192.0.2.9"), "STALE");
}

// RFC 4861, appendix C: every line of the table about advertisements.
TEST_F(ResolverTest, Advertisements) {
    const char* const who = "2001:db8::9";
    advertise(who, kMacA, true, true);
    EXPECT_EQ(state(who), "") << "unknown: nothing";
    wait(who);
    advertise(who, kMacA, false, false);
    EXPECT_EQ(state(who), "STALE");
    EXPECT_EQ(mac_of(who), kMacA);
    advertise(who, kMacA, true, false);
    EXPECT_EQ(state(who), "REACHABLE") << "solicited, the same address";
    advertise(who, kMacB, false, false);
    EXPECT_EQ(state(who), "STALE") << "another address without override: doubted";
    EXPECT_EQ(mac_of(who), kMacA);
    advertise(who, kMacB, true, false);
    EXPECT_EQ(state(who), "STALE") << "and again";
    EXPECT_EQ(mac_of(who), kMacA);
    advertise(who, kMacB, true, true);
    EXPECT_EQ(state(who), "REACHABLE");
    EXPECT_EQ(mac_of(who), kMacB);
    advertise(who, kMacB, false, true);
    EXPECT_EQ(state(who), "REACHABLE") << "unsolicited, the same: unchanged";
    advertise(who, kMacA, false, true);
    EXPECT_EQ(state(who), "STALE");
    EXPECT_EQ(mac_of(who), kMacA);
    // Without the option: what is known is confirmed; what is not stays unknown.
    auto bare = said(Discovery::Kind::kAdvertisement, who, kMacA, who);
    bare.mac.reset();
    bare.solicited = true;
    resolver.learn(0, bare, false, now);
    EXPECT_EQ(state(who), "REACHABLE");
    wait("2001:db8::10");
    bare.target = address("2001:db8::10");
    resolver.learn(0, bare, false, now);
    EXPECT_EQ(state("2001:db8::10"), "INCOMPLETE");
}

TEST_F(ResolverTest, SolicitationsAreSentFromTheRightAddress) {
    const auto source_to = [&](const char* who, std::uint16_t interface) {
        resolver.wait(interface, address(who), packet(0), now);
        const auto frames = resolver.take_frames();
        EXPECT_EQ(frames.size(), 1U) << who;
        if (frames.empty()) return std::string();
        const auto& bytes = frames[0].bytes;
        const std::size_t at = interface == 1 ? 18 : 14;
        if (bytes[at] >> 4U == 6) {
            std::array<std::uint8_t, 16> from{};
            std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at) + 8, 16, from.begin());
            return IpAddress::from_v6(from).to_string();
        }
        return fmt::format("{}.{}.{}.{}", bytes[at + 14], bytes[at + 15], bytes[at + 16],
                           bytes[at + 17]);
    };
    EXPECT_EQ(source_to("192.0.2.9", 0), "192.0.2.2");
    EXPECT_EQ(source_to("2001:db8::9", 0), "2001:db8::2");
    EXPECT_EQ(source_to("fe80::9", 0), "2001:db8::2");
    EXPECT_EQ(source_to("fd00::9", 1), "fd00::2");
    EXPECT_EQ(source_to("fe80::9", 1), "fe80::2");
    EXPECT_EQ(source_to("2001:db8:7::1", 1), "fe80::2") << "on the link by a route only";
    // No address of the family: ARP can ask all the same.
    interfaces[0].addresses.clear();
    resolver.use(interfaces, {}, now);
    EXPECT_EQ(source_to("192.0.2.99", 0), "0.0.0.0");
    resolver.wait(0, address("2001:db8::99"), packet(0), now);
    EXPECT_TRUE(resolver.take_frames().empty());
}

TEST_F(ResolverTest, GatewaysAreLookedForWithoutAPacketAndWithoutEnd) {
    const std::pair<std::uint16_t, IpAddress> gateway{0, address("192.0.2.1")};
    resolver.use(interfaces, {&gateway, 1}, now);
    EXPECT_EQ(resolver.take_frames().size(), 1U);
    pass(60'000);
    EXPECT_GT(resolver.take_frames().size(), 15U);
    EXPECT_NE(state("192.0.2.1"), "");
    reply("192.0.2.1", kMacA);
    EXPECT_EQ(resolver.take_changes().size(), 1U);
    pass(60'000);
    EXPECT_NE(state("192.0.2.1"), "") << "gone: looked for again";
    const auto changes = resolver.take_changes();
    ASSERT_EQ(changes.size(), 1U);
    EXPECT_TRUE(changes[0].neighbour.address.is_unspecified());
}

TEST_F(ResolverTest, PermanentOnes) {
    const std::vector<Neighbour> fixed = {neighbour(0, "192.0.2.9", kMacA),
                                          neighbour(1, "203.0.113.5", kMacB)};
    resolver.set_permanent(fixed, now);
    EXPECT_EQ(resolver.take_changes().size(), 2U);
    pass(120'000);
    reply("192.0.2.9", kMacB);
    EXPECT_EQ(mac_of("192.0.2.9"), kMacA) << "what was configured is not overridden";
    EXPECT_TRUE(resolver.take_frames().empty());
    resolver.set_permanent({}, now);
    EXPECT_EQ(state("203.0.113.5"), "") << "not on the link: gone with its configuration";
    pass(100);
    EXPECT_EQ(state("192.0.2.9"), "PROBE");
    pass(3'000);
    EXPECT_EQ(state("192.0.2.9"), "");
    EXPECT_EQ(resolver.take_changes().size(), 2U);
}

TEST_F(ResolverTest, NeighboursGoWithTheirPrefix) {
    wait("192.0.2.9");
    reply("192.0.2.9", kMacA);
    wait("2001:db8::9");
    (void)resolver.take_changes();
    interfaces[0].addresses.erase(interfaces[0].addresses.begin());
    resolver.use(interfaces, {}, now);
    EXPECT_EQ(state("192.0.2.9"), "");
    EXPECT_EQ(state("2001:db8::9"), "INCOMPLETE");
    EXPECT_EQ(resolver.take_changes().size(), 1U);
}

// Whatever happens, the changes lead to what all() says, and nothing is kept that may not be.
TEST_F(ResolverTest, ChangesLeadToTheWhole) {
    std::uint32_t seed = 12345;
    const auto draw = [&](std::uint32_t below) {
        seed = seed * 1664525U + 1013904223U;
        return (seed >> 8U) % below;
    };
    std::vector<Neighbour> mirrored;
    for (int step = 0; step < 20'000; ++step) {
        const std::string who = fmt::format("192.0.2.{}", 3 + draw(40));
        const char* const from = draw(2) == 0 ? kMacA : kMacB;
        switch (draw(8)) {
            case 0: reply(who.c_str(), from); break;
            case 1:
                resolver.learn(0,
                               said(Discovery::Kind::kArpRequest, who.c_str(), from, "192.0.2.2"),
                               true, now);
                break;
            case 2: pass(100 * static_cast<int>(1 + draw(30))); break;
            case 3: resolver.set_permanent(std::vector{neighbour(0, who, from)}, now); break;
            case 4: resolver.hint(neighbour(0, who, from), now); break;
            default: wait(who.c_str(), 1); break;
        }
        (void)resolver.take_frames();
        for (const auto& change : resolver.take_changes()) {
            if (mirrored.size() <= change.place) mirrored.resize(change.place + 1);
            mirrored[change.place] = change.neighbour;
        }
        auto all = resolver.all();
        mirrored.resize(std::max(mirrored.size(), all.size()));
        all.resize(mirrored.size());
        ASSERT_EQ(all, mirrored) << step;
    }
    EXPECT_GT(counters.neighbours_learnt, 100U);
    EXPECT_GT(counters.neighbours_failed, 100U);
    pass(200'000);
    EXPECT_EQ(resolver.size(), 1U) << "the permanent one";
    EXPECT_EQ(resolver.waiting_bytes(), 0U);
    EXPECT_EQ(counters.waiting_queued,
              counters.waiting_failed + counters.waiting_replaced + counters.waiting_sent)
        << "each frame that waited has one end";
}

}  // namespace
}  // namespace sluice::dpdk
