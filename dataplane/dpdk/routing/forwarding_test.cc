// Snapshots against what they are made of: every kind of hop, families, VLANs, changes, and what is
// refused.
#include "dataplane/dpdk/routing/forwarding.h"

#include <gtest/gtest.h>

#include <cstring>

#include "dataplane/dpdk/routing/test_routing.h"

namespace sluice::dpdk {
namespace {

std::vector<Interface> two_interfaces() {
    return {make_interface("up0", 0, 0, "02:00:00:00:00:01",
                           {"192.0.2.2/24", "2001:db8::2/64", "fe80::1/64"}),
            make_interface("pods.7", 3, 7, "02:00:00:00:00:02", {"10.244.1.1/24", "fd00:244::1/64"},
                           1400)};
}

class ForwardingTest : public ::testing::Test {
protected:
    void make(const std::vector<Route>& routes, const std::vector<Neighbour>& neighbours) {
        auto made = Forwarding::make(two_interfaces(), routes, neighbours, 1);
        ASSERT_TRUE(made) << made.error().to_string();
        forwarding = std::move(*made);
    }
    const Hop& ask(const char* text) const { return lookup(*forwarding, text); }
    std::unique_ptr<Forwarding> forwarding;
};

TEST_F(ForwardingTest, OnLinkNeighbourGetsItsEthernetHeader) {
    make({}, {neighbour(0, "192.0.2.9", "02:00:00:00:00:99"),
              neighbour(1, "fd00:244::5", "02:00:00:00:00:55")});
    const Hop& hop = ask("192.0.2.9");
    EXPECT_EQ(hop.kind, HopKind::kForward);
    EXPECT_EQ(hop.out, 0);
    EXPECT_EQ(hop.mtu, 1500);
    EXPECT_EQ(hop.neighbour, 0U);
    EXPECT_EQ(hex({hop.l2, hop.l2_length}),
              "020000000099020000000001"
              "0800");
    const Hop& tagged = ask("fd00:244::5");
    EXPECT_EQ(tagged.kind, HopKind::kForward);
    EXPECT_EQ(tagged.out, 1);
    EXPECT_EQ(tagged.mtu, 1400);
    EXPECT_EQ(tagged.neighbour, 1U);
    EXPECT_EQ(hex({tagged.l2, tagged.l2_length}),
              "020000000055020000000002"
              "81000007"
              "86dd");
}

TEST_F(ForwardingTest, GatewaysServeTheirRoutes) {
    make({route("0.0.0.0/0", "192.0.2.1", 0), route("10.244.2.0/24", "192.0.2.9", 0),
          route("::/0", "fe80::9", 0)},
         {neighbour(0, "192.0.2.9", "02:00:00:00:00:99"),
          neighbour(0, "fe80::9", "02:00:00:00:00:98")});
    EXPECT_EQ(ask("10.244.2.7").neighbour, 0U);
    EXPECT_EQ(ask("10.244.2.7").kind, HopKind::kForward);
    EXPECT_EQ(ask("2600::1").neighbour, 1U);
    EXPECT_EQ(ask("2600::1").kind, HopKind::kForward);
    const Hop& unknown = ask("198.51.100.1");
    EXPECT_EQ(unknown.kind, HopKind::kUnresolved);
    EXPECT_EQ(unknown.out, 0);
    EXPECT_EQ(unknown.neighbour, kNoNeighbour);
    std::uint16_t interface = 9;
    IpAddress who;
    EXPECT_TRUE(forwarding->next_hop(words("198.51.100.1"), false, &interface, &who));
    EXPECT_EQ(interface, 0);
    EXPECT_EQ(who.to_string(), "192.0.2.1");
    EXPECT_TRUE(forwarding->next_hop(words("10.244.1.77"), false, &interface, &who));
    EXPECT_EQ(interface, 1);
    EXPECT_EQ(who.to_string(), "10.244.1.77");
    EXPECT_FALSE(forwarding->next_hop(words("192.0.2.2"), false, &interface, &who));
}

TEST_F(ForwardingTest, UnknownOnLinkIsUnresolved) {
    make({}, {});
    EXPECT_EQ(ask("10.244.1.5").kind, HopKind::kUnresolved);
    EXPECT_EQ(ask("10.244.1.5").out, 1);
    EXPECT_EQ(ask("10.244.1.5").neighbour, kNoNeighbour);
    EXPECT_EQ(ask("2001:db8::77").kind, HopKind::kUnresolved);
}

TEST_F(ForwardingTest, TheKernelsOwn) {
    make({route("0.0.0.0/0", "192.0.2.1", 0), route("::/0", "fe80::9", 0)}, {});
    for (const char* here :
         {"192.0.2.2", "10.244.1.1", "2001:db8::2", "fd00:244::1", "192.0.2.255", "10.244.1.255",
          "255.255.255.255", "224.0.0.1", "239.255.0.1", "127.0.0.1", "0.0.0.0", "::", "::1",
          "fe80::1", "fe80::1234", "ff02::1"}) {
        EXPECT_EQ(ask(here).kind, HopKind::kLocal) << here;
    }
}

TEST_F(ForwardingTest, NowhereWithoutARoute) {
    make({}, {});
    EXPECT_EQ(ask("198.51.100.1").kind, HopKind::kNone);
    EXPECT_EQ(ask("2600::1").kind, HopKind::kNone);
    make({route("::/0", "fe80::9", 0)}, {});
    sluice_address mapped = words("10.244.1.5");
    EXPECT_EQ(forwarding->lookup(mapped, true).kind, HopKind::kNone)
        << "an IPv4 address in an IPv6 packet";
}

TEST_F(ForwardingTest, TheLowestMetricWins) {
    Route far = route("10.9.0.0/16", "192.0.2.1", 0, 100);
    Route near = route("10.9.0.0/16", "10.244.1.9", 1, 10);
    for (const auto& routes : {std::vector{far, near}, std::vector{near, far}}) {
        make(routes, {});
        EXPECT_EQ(ask("10.9.1.1").out, 1);
    }
    Route same = route("10.9.0.0/16", "192.0.2.8", 0, 10);
    make({near, same}, {});
    const auto first = ask("10.9.1.1").out;
    make({same, near}, {});
    EXPECT_EQ(ask("10.9.1.1").out, first) << "whatever the order they came in";
    // A route that somebody else has to an interface's own prefix does not take it over.
    make({route("192.0.2.0/24", "10.244.1.9", 1, 0)}, {});
    EXPECT_EQ(ask("192.0.2.77").out, 0);
}

TEST_F(ForwardingTest, WhatTheKernelTakes) {
    make({route("0.0.0.0/0", "192.0.2.1", 0), route("10.244.0.0/16", "", kToKernel),
          route("10.244.9.0/24", "192.0.2.9", 0)},
         {});
    EXPECT_EQ(ask("10.244.7.1").kind, HopKind::kLocal);
    EXPECT_EQ(ask("10.244.9.1").kind, HopKind::kUnresolved);
    EXPECT_EQ(ask("10.245.0.1").kind, HopKind::kUnresolved);
}

TEST_F(ForwardingTest, PortsAndTags) {
    make({}, {});
    EXPECT_EQ(forwarding->interface_of(0, 0), 0U);
    EXPECT_EQ(forwarding->interface_of(3, 7), 1U);
    EXPECT_EQ(forwarding->interface_of(3, 0), kMaxInterfaces);
    EXPECT_EQ(forwarding->interface_of(0, 7), kMaxInterfaces);
    EXPECT_EQ(forwarding->interface_of(3, 8), kMaxInterfaces);
    EXPECT_EQ(forwarding->interface_of(3, 4095), kMaxInterfaces);
    EXPECT_EQ(forwarding->interface_of(4, 0), kMaxInterfaces);
    EXPECT_EQ(forwarding->interface_of(65535, 65535), kMaxInterfaces);
}

TEST_F(ForwardingTest, AChangeLeavesTheFormerSnapshotAlone) {
    make({route("0.0.0.0/0", "192.0.2.1", 0)},
         {neighbour(0, "192.0.2.1", ""), neighbour(0, "192.0.2.9", "")});
    EXPECT_EQ(ask("198.51.100.1").kind, HopKind::kUnresolved);
    EXPECT_EQ(ask("198.51.100.1").neighbour, 0U);
    auto next = forwarding->change({{{0, neighbour(0, "192.0.2.1", "02:00:00:00:00:10")}}}, 2);
    ASSERT_TRUE(next) << next.error().to_string();
    EXPECT_EQ((*next)->generation(), 2U);
    EXPECT_EQ(lookup(**next, "198.51.100.1").kind, HopKind::kForward);
    EXPECT_EQ(lookup(**next, "192.0.2.1").kind, HopKind::kForward);
    EXPECT_EQ(ask("198.51.100.1").kind, HopKind::kUnresolved);
    EXPECT_EQ(ask("192.0.2.1").kind, HopKind::kUnresolved);
    // A new one far behind, another that leaves; the gateway goes too.
    auto later = (*next)->change(
        {{{5000, neighbour(0, "192.0.2.50", "02:00:00:00:00:50")}, {1, {}}, {0, {}}}}, 3);
    ASSERT_TRUE(later) << later.error().to_string();
    EXPECT_EQ(lookup(**later, "192.0.2.50").neighbour, 5000U);
    EXPECT_EQ(lookup(**later, "192.0.2.9").neighbour, kNoNeighbour);
    EXPECT_EQ(lookup(**later, "198.51.100.1").kind, HopKind::kUnresolved);
    EXPECT_EQ(lookup(**later, "198.51.100.1").neighbour, kNoNeighbour);
    EXPECT_EQ(lookup(**next, "192.0.2.9").neighbour, 1U);
    EXPECT_EQ(lookup(**next, "192.0.2.50").neighbour, kNoNeighbour);
    // Another address takes a place.
    auto moved = (*later)->change({{{5000, neighbour(1, "10.244.1.50", "02:00:00:00:00:51")}}}, 4);
    ASSERT_TRUE(moved);
    EXPECT_EQ(lookup(**moved, "10.244.1.50").neighbour, 5000U);
    EXPECT_EQ(lookup(**moved, "192.0.2.50").neighbour, kNoNeighbour);
}

void expect_refused(std::vector<Interface> interfaces, std::vector<Route> routes,
                    std::vector<Neighbour> neighbours, const std::string& what) {
    const auto made = Forwarding::make(std::move(interfaces), routes, neighbours, 1);
    ASSERT_FALSE(made) << what;
    EXPECT_EQ(made.error().code, Code::kInvalidArgument);
    EXPECT_NE(made.error().message.find(what), std::string::npos) << made.error().message;
}

TEST(ForwardingRefuses, Interfaces) {
    const auto with = [](auto edit) {
        auto out = two_interfaces();
        edit(out);
        return out;
    };
    expect_refused(with([](auto& i) { i[1].name = "up0"; }), {}, {},
                   "two interfaces are called up0");
    expect_refused(with([](auto& i) { i[1].name = ""; }), {}, {}, "on port 3 has no name");
    expect_refused(with([](auto& i) { i[1].port = 0, i[1].vlan = 0; }), {}, {},
                   "interface pods.7: port 0 has another");
    expect_refused(with([](auto& i) { i[1].vlan = 4095; }), {}, {}, "interface pods.7: VLAN 4095");
    expect_refused(with([](auto& i) { i[1].port = 1024; }), {}, {}, "interface pods.7: port 1024");
    expect_refused(with([](auto& i) { i[0].mac = {1, 0, 0, 0, 0, 1}; }), {}, {},
                   "interface up0: 01:00:00:00:00:01");
    expect_refused(with([](auto& i) { i[0].mac = {}; }), {}, {},
                   "interface up0: 00:00:00:00:00:00");
    expect_refused(with([](auto& i) { i[0].mtu = 1279; }), {}, {}, "interface up0: MTU 1279");
    expect_refused(with([](auto& i) { i[0].mtu = 67; }), {}, {}, "interface up0: MTU 67");
    expect_refused(with([](auto& i) { i[0].addresses[0].prefix_length = 33; }), {}, {},
                   "prefix length 33 of 192.0.2.2");
    expect_refused(with([](auto& i) { i[0].addresses[0].address = address("224.0.0.1"); }), {}, {},
                   "224.0.0.1");
    expect_refused(with([](auto& i) { i[0].addresses.push_back(i[0].addresses[0]); }), {}, {},
                   "192.0.2.2 is listed twice");
    auto many = std::vector<Interface>(kMaxInterfaces + 1, two_interfaces()[0]);
    const auto made = Forwarding::make(many, {}, {}, 1);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kResourceExhausted);
}

TEST(ForwardingRefuses, RoutesAndNeighbours) {
    const auto refuse = [](const Route& r, const char* what) {
        expect_refused(two_interfaces(), {r}, {}, what);
    };
    refuse(route("10.9.0.0/16", "192.0.2.1", 2), "route 10.9.0.0/16: interface 2 is none of 2");
    refuse(route("10.9.0.0/16", "fe80::1", 0),
           "route 10.9.0.0/16: gateway fe80::1 is of the other family");
    refuse(route("10.9.0.0/16", "192.0.2.2", 0), "is interface up0's own address");
    refuse(route("10.9.0.0/16", "224.0.0.9", 0), "gateway 224.0.0.9");
    refuse(route("fe80::/64", "", 0), "link-local");
    refuse(route("224.0.0.0/8", "", 0), "multicast");
    Route host_bits = route("10.9.0.0/16", "", 0);
    host_bits.prefix.address = address("10.9.0.1");
    refuse(host_bits, "bits beyond the prefix");
    Route long_prefix = route("10.9.0.0/16", "", 0);
    long_prefix.prefix.bits = 33;
    refuse(long_prefix, "prefix length is more than 32");
    const auto refuse_neighbour = [](std::vector<Neighbour> n, const char* what) {
        expect_refused(two_interfaces(), {}, std::move(n), what);
    };
    refuse_neighbour({neighbour(2, "192.0.2.9", "")}, "neighbour 192.0.2.9: interface 2");
    refuse_neighbour({neighbour(0, "192.0.2.9", "01:00:5e:00:00:01")},
                     "neighbour 192.0.2.9: 01:00:5e:00:00:01");
    refuse_neighbour({neighbour(0, "255.255.255.255", "")}, "neighbour 255.255.255.255");
    refuse_neighbour({neighbour(0, "192.0.2.9", ""), {}, neighbour(0, "192.0.2.9", "")},
                     "places 0 and 2 of interface up0");
    const auto made = Forwarding::make(two_interfaces(), {}, {}, 1);
    const auto beyond = (*made)->change({{{kMaxNeighbours, neighbour(0, "192.0.2.9", "")}}}, 2);
    ASSERT_FALSE(beyond);
    EXPECT_NE(beyond.error().message.find("place 65536"), std::string::npos);
}

}  // namespace
}  // namespace sluice::dpdk
