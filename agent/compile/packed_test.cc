// Packed facts come back as they were, are equal when the facts are, and take the bytes that a large cluster is
// reckoned with.
#include "agent/compile/packed.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace sluice::compile {
namespace {

IpAddress parsed(const char* text) { return *IpAddress::parse(text); }

ServiceFacts everything() {
    ServiceFacts out;
    out.key = "team/shop";
    out.created_s = 1'700'000'000;
    out.cluster_ips = {parsed("10.96.0.10"), parsed("fd00::10")};
    out.external_ips = {parsed("203.0.113.7")};
    out.load_balancer_ips = {parsed("2001:db8::7"), parsed("198.51.100.1")};
    out.ports = {{"http", Protocol::kTcp, 80, 30080}, {"", Protocol::kSctp, 65535, 0}};
    out.internal_local = true;
    out.external_local = true;
    out.sources = {*IpPrefix::parse("192.0.2.0/24"), *IpPrefix::parse("2001:db8::/127")};
    out.health_check_port = 32'000;
    out.choice = image::Choice::kClient;
    out.forwarding = image::Forwarding::kOption;
    out.affinity_timeout_s = 86'400;
    out.notes = {"service team/shop: spec.externalIPs[1]: left out", ""};
    return out;
}

TEST(Packed, AServiceComesBackWhole) {
    const ServiceFacts facts = everything();
    EXPECT_EQ(unpack_service(pack(facts), facts.key), facts);
    const ServiceFacts nothing;
    EXPECT_EQ(unpack_service(pack(nothing), ""), nothing);
    ServiceFacts before_1970 = nothing;
    before_1970.created_s = -5;
    EXPECT_EQ(unpack_service(pack(before_1970), ""), before_1970);
}

TEST(Packed, EachFactOfAServiceCounts) {
    const ServiceFacts facts = everything();
    std::vector<ServiceFacts> others(14, facts);
    others[0].created_s += 1;
    others[1].cluster_ips.pop_back();
    others[2].external_ips[0] = parsed("203.0.113.8");
    others[3].load_balancer_ips.clear();
    others[4].ports[0].name = "https";
    others[5].ports[0].node_port = 30081;
    others[6].internal_local = false;
    others[7].external_local = false;
    others[8].sources[1].bits = 128;
    others[9].health_check_port = 0;
    others[10].choice = image::Choice::kTuple;
    others[11].forwarding.reset();
    others[12].affinity_timeout_s = 0;
    others[13].notes.pop_back();
    for (std::size_t i = 0; i < others.size(); ++i) {
        EXPECT_FALSE(pack(others[i]) == pack(facts)) << i;
        EXPECT_EQ(unpack_service(pack(others[i]), facts.key), others[i]) << i;
    }
    EXPECT_EQ(pack(facts), pack(everything()));
}

TEST(Packed, AbsentIsNotEmpty) {
    EXPECT_FALSE(Packed());
    EXPECT_TRUE(pack(ServiceFacts{}));
    EXPECT_FALSE(Packed() == Packed(std::string_view()));
    EXPECT_EQ(Packed(), Packed());
    EXPECT_EQ(Packed("abc").bytes(), "abc");
}

Slice any_slice(std::mt19937& random) {
    const auto pick = [&](std::uint32_t below) {
        return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random);
    };
    Slice out;
    out.family = pick(2) == 0 ? IpFamily::kIpv4 : IpFamily::kIpv6;
    out.weight = 1 + pick(1000);
    for (auto n = pick(3); n > 0; --n) {
        out.ports.push_back({std::string(pick(20), 'p'), pick(2) == 0 ? Protocol::kTcp : Protocol::kUdp,
                             static_cast<std::uint16_t>(pick(65'536))});
    }
    const std::uint32_t lists = pick(4);
    for (std::uint32_t i = 0; i < lists; ++i) {
        out.zone_hints.emplace_back(1 + pick(3), std::string("zone-") + static_cast<char>('a' + i));
    }
    for (auto n = pick(300); n > 0; --n) {
        Endpoint endpoint;
        for (auto& byte : endpoint.address.bytes) byte = static_cast<std::uint8_t>(pick(256));
        if (out.family == IpFamily::kIpv4) endpoint.address = IpAddress::from_v4_be(pick(UINT32_MAX));
        out.targets.append(pick(60), 't');
        endpoint.target_end = static_cast<std::uint32_t>(out.targets.size());
        endpoint.zones = static_cast<std::uint16_t>(pick(lists + 1));
        for (bool* flag : {&endpoint.ready, &endpoint.serving, &endpoint.terminating, &endpoint.local,
                           &endpoint.has_node_hints, &endpoint.hinted_to_this_node}) {
            *flag = pick(2) == 0;
        }
        out.endpoints.push_back(endpoint);
    }
    return out;
}

TEST(Packed, AnySliceComesBackWhole) {
    for (std::uint32_t seed = 1; seed <= 300; ++seed) {
        std::mt19937 random(seed);
        const Slice slice = any_slice(random);
        const Packed packed = pack(slice);
        ASSERT_EQ(unpack_slice(packed), slice) << "seed " << seed;
        Slice other = slice;
        if (other.endpoints.empty()) continue;
        Endpoint& changed = other.endpoints[seed % other.endpoints.size()];
        changed.terminating = !changed.terminating;
        EXPECT_FALSE(pack(other) == packed) << "seed " << seed;
    }
}

// Five IPv4 endpoints without names of pods: 6 bytes each, and 6 for the slice and its port's name.
TEST(Packed, AnEndpointTakesSixBytesAndItsPodsName) {
    Slice slice;
    slice.ports = {{"http", Protocol::kTcp, 8080}};
    for (std::uint32_t i = 0; i < 5; ++i) {
        Endpoint endpoint;
        endpoint.address = IpAddress::from_v4_be(i);
        slice.endpoints.push_back(endpoint);
    }
    const std::size_t bare = pack(slice).bytes().size();
    EXPECT_LE(bare, 5 * 6 + 16U);
    slice.targets = "0123456789";
    for (auto& endpoint : slice.endpoints) endpoint.target_end = 10;
    EXPECT_EQ(pack(slice).bytes().size(), bare + 10);
}

}  // namespace
}  // namespace sluice::compile
