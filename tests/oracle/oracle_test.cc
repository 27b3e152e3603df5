// The oracle itself, by a few packets whose fate is written down by hand.
#include <gtest/gtest.h>

#include "bpf/lib/packet_builder.h"
#include "dataplane/image/maglev.h"
#include "tests/oracle/oracle.h"
#include "tests/oracle/ring.h"

namespace sluice::oracle {
namespace {

IpAddress ip(const std::string& text) { return *IpAddress::parse(text); }

World world() {
    World out;
    out.node.nodeport_addresses = {ip("192.0.2.1")};
    out.node.masquerade_v4 = ip("192.0.2.1");
    out.node.service_cidrs = {*IpPrefix::parse("10.96.0.0/16")};
    out.node.cluster_cidrs = {*IpPrefix::parse("10.244.0.0/16")};
    out.routes = {{*IpPrefix::parse("0.0.0.0/0"), Route::Kind::kForward, 1500},
                  {*IpPrefix::parse("192.0.2.1/32"), Route::Kind::kLocal, 0}};
    return out;
}

image::Service web(std::vector<image::Backend> backends) {
    image::Service out;
    out.key = {"default/web", "", Protocol::kTcp, IpFamily::kIpv4};
    out.frontends = {{IpAddress::from_v4_be(0), 30080, image::Scope::kNodePort, true, true},
                     {ip("10.96.0.10"), 80, image::Scope::kAddress, false, false}};
    out.internal.backends = std::move(backends);
    out.external = out.inside = out.internal;
    return out;
}

image::Backend pod(const char* address) { return {ip(address), 8080, false, false, "", 1}; }

packets::Spec packet(const char* src, const char* dst, std::uint16_t dport, std::uint8_t flags = 2) {
    packets::Spec out;
    out.src = src;
    out.dst = dst;
    out.dport = dport;
    out.tcp_flags = flags;
    return out;
}

packets::View read(const Answer& answer) {
    Bytes frame(14 + answer.packet.size(), 0);
    frame[12] = 8;
    std::copy(answer.packet.begin(), answer.packet.end(), frame.begin() + 14);
    return packets::read(frame);
}

const Witness kNobody = [](const Tuple&) { return std::nullopt; };

TEST(Oracle, APodsConnectionKeepsItsSourceAndIsAnsweredAsTheService) {
    Oracle oracle(world());
    oracle.upsert(web({pod("10.244.2.9")}));
    const Answer there = oracle.judge(Place::kPod, packets::build(packet("10.244.1.5", "10.96.0.10", 80)), kNobody);
    EXPECT_EQ(there.illegal, "");
    ASSERT_EQ(there.verdict, Verdict::kSend);
    const packets::View out = read(there);
    EXPECT_EQ(out.error, "");
    EXPECT_EQ(out.src, "10.244.1.5");
    EXPECT_EQ(out.dst, "10.244.2.9");
    EXPECT_EQ(out.dport, 8080);
    EXPECT_EQ(out.ttl, 63);
    packets::Spec back = packet("10.244.2.9", "10.244.1.5", 40000, 0x12);
    back.sport = 8080;
    const packets::View answer = read(oracle.judge(Place::kUplink, packets::build(back), kNobody));
    EXPECT_EQ(answer.src, "10.96.0.10");
    EXPECT_EQ(answer.sport, 80);
    EXPECT_EQ(oracle.service(web({}).key)->backends.begin()->second->served.packets, 2U);
}

TEST(Oracle, ANodePortIsMasqueradedWithAPortThatTheEngineChose) {
    Oracle oracle(world());
    oracle.upsert(web({pod("10.244.2.9")}));
    const auto chose = [](std::uint16_t port) {
        return Witness([port](const Tuple& tuple) {
            return std::optional<Tuple>({ip("192.0.2.1"), ip("10.244.2.9"), port, 8080, tuple.protocol});
        });
    };
    const auto frame = packets::build(packet("198.51.100.7", "192.0.2.1", 30080));
    const Answer there = oracle.judge(Place::kUplink, frame, chose(5000));
    EXPECT_EQ(there.illegal, "");
    EXPECT_EQ(read(there).src, "192.0.2.1");
    EXPECT_EQ(read(there).sport, 5000);
    // The same port for another client, and one that is not the node's to give.
    for (const std::uint16_t port : {std::uint16_t{5000}, std::uint16_t{30001}}) {
        packets::Spec other = packet("198.51.100.8", "192.0.2.1", 30080);
        other.sport = port;
        EXPECT_NE(oracle.judge(Place::kUplink, packets::build(other), chose(port)).illegal, "") << port;
    }
}

TEST(Oracle, AChoiceOutsideOfTheSetIsNotLegal) {
    Oracle oracle(world());
    oracle.upsert(web({pod("10.244.2.8"), pod("10.244.2.9")}));
    const Witness stranger = [](const Tuple& tuple) {
        return std::optional<Tuple>({tuple.src, ip("10.244.2.7"), tuple.sport, 8080, tuple.protocol});
    };
    const auto frame = packets::build(packet("10.244.1.5", "10.96.0.10", 80));
    EXPECT_NE(oracle.judge(Place::kPod, frame, stranger).illegal, "");
    EXPECT_NE(oracle.judge(Place::kPod, frame, kNobody).illegal, "");
}

TEST(Oracle, WithoutEndpointsAResetComesBackAndIsCounted) {
    Oracle oracle(world());
    oracle.upsert(web({}));
    const Answer answer = oracle.judge(Place::kPod, packets::build(packet("10.244.1.5", "10.96.0.10", 80)), kNobody);
    ASSERT_EQ(answer.verdict, Verdict::kSend);
    const packets::View out = read(answer);
    EXPECT_EQ(out.error, "");
    EXPECT_EQ(out.tcp_flags, 0x14);
    EXPECT_EQ(out.ack, 1000U + 7 + 1);
    EXPECT_EQ(oracle.drops(SLUICE_DROP_NO_ENDPOINT), 1U);
    EXPECT_EQ(oracle.service(web({}).key)->refused, 1U);
}

TEST(Oracle, UnallocatedAddressesAreSilentAndOthersPass) {
    Oracle oracle(world());
    oracle.upsert(web({pod("10.244.2.9")}));
    const auto verdict = [&](const char* dst, std::uint16_t port) {
        return oracle.judge(Place::kPod, packets::build(packet("10.244.1.5", dst, port)), kNobody).verdict;
    };
    EXPECT_EQ(verdict("10.96.9.9", 80), Verdict::kDrop);
    EXPECT_EQ(verdict("10.96.0.10", 81), Verdict::kSend);  // refused: a reset
    EXPECT_EQ(verdict("192.0.2.1", 22), Verdict::kStack);
    EXPECT_EQ(verdict("203.0.113.9", 443), Verdict::kStack);
}

// Two builders of one ring, written apart.
TEST(Oracle, RingsAreThoseThatArePublished) {
    for (const std::vector<std::uint16_t>& weights :
         {std::vector<std::uint16_t>{1}, {1, 1}, {1, 1, 1, 1, 1}, {1, 2, 3}, {5, 1, 1, 4}, {7, 7, 3, 2, 1, 9}}) {
        std::vector<image::Backend> set;
        std::vector<image::RingMember> members;
        for (std::size_t i = 0; i < weights.size(); ++i) {
            image::Backend backend = pod("10.244.2.1");
            backend.address.bytes[15] = static_cast<std::uint8_t>(5 + 3 * i);
            backend.weight = weights[i];
            set.push_back(backend);
            members.push_back({backend.address, backend.port, weights[i]});
        }
        std::vector<std::uint16_t> published(image::ring_places(members));
        image::build_ring(members, std::span(published));
        const std::vector<std::uint32_t> ours = ring_of(set);
        EXPECT_EQ(ours, std::vector<std::uint32_t>(published.begin(), published.end()));
    }
}

}  // namespace
}  // namespace sluice::oracle
