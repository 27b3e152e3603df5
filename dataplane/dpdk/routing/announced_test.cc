// Which addresses of an image are answered for: as a person would say it of Services, not of
// records.
#include "dataplane/dpdk/routing/announced.h"

#include <gtest/gtest.h>

#include "dataplane/dpdk/routing/responder.h"
#include "dataplane/dpdk/routing/test_routing.h"
#include "dataplane/image/test_image.h"

namespace sluice::dpdk {
namespace {

using image::backend;
using image::cluster_ip;
using image::external_ip;
using image::service;

class AnnouncedTest : public ::testing::Test {
protected:
    AnnouncedTest() {
        interfaces = {
            make_interface("up0", 0, 0, "02:00:00:00:00:01", {"192.0.2.2/24", "2001:db8::2/64"}),
            make_interface("up1", 1, 0, "02:00:00:00:00:02", {"198.51.100.2/24"})};
        announced.use(interfaces);
    }
    void read(const image::Image& of) {
        announced.use(of.tables());
        while (announced.behind()) announced.step();
    }
    bool owns(const char* text, std::uint16_t interface = 0) const {
        return announced.owns(interface, address(text));
    }
    std::vector<Interface> interfaces;
    RoutingCounters counters;
    Announced announced{counters};
};

TEST_F(AnnouncedTest, ExternalAddressesOnTheLinkOnly) {
    image::Image of;
    of.upsert(service(1, {backend(1)},
                      {cluster_ip("192.0.2.10"), external_ip("192.0.2.50"),
                       external_ip("203.0.113.1"), external_ip("198.51.100.50")}));
    image::Backend far{address("fd00::7"), 8080, false, false, "default/pod-6"};
    auto v6 = service(2, {far}, {external_ip("2001:db8::50")});
    v6.key.family = IpFamily::kIpv6;
    of.upsert(v6);
    read(of);
    EXPECT_TRUE(owns("192.0.2.50"));
    EXPECT_TRUE(owns("2001:db8::50"));
    EXPECT_TRUE(owns("198.51.100.50", 1));
    EXPECT_FALSE(owns("198.51.100.50", 0)) << "on the other link";
    EXPECT_FALSE(owns("192.0.2.10")) << "a ClusterIP, though it lies in the link's prefix";
    EXPECT_FALSE(owns("203.0.113.1")) << "on no link";
    EXPECT_FALSE(owns("192.0.2.51"));
    EXPECT_EQ(announced.list().size(), 3U);
    EXPECT_EQ(announced.take_added().size(), 3U);
    EXPECT_EQ(announced.take_added().size(), 0U);
    // Told once: nothing is new in another pass over the same.
    read(of);
    EXPECT_EQ(announced.take_added().size(), 0U);
}

TEST_F(AnnouncedTest, TheSwitchTurnsItOff) {
    image::Image of;
    of.upsert(service(1, {backend(1)}, {external_ip("192.0.2.50"), external_ip("198.51.100.50")}));
    interfaces[0].announce = false;
    announced.use(interfaces);
    read(of);
    EXPECT_FALSE(owns("192.0.2.50"));
    EXPECT_TRUE(owns("198.51.100.50", 1));
}

TEST_F(AnnouncedTest, AnAddressThatIsAlsoAClusterIpOrTheNodesIsNotOurs) {
    image::Node node;
    node.nodeport_addresses = {address("192.0.2.60")};
    image::Image of(node);
    of.upsert(service(1, {backend(1)}, {cluster_ip("192.0.2.10", 80)}));
    of.upsert(
        service(2, {backend(2)}, {external_ip("192.0.2.10", 81), external_ip("192.0.2.60", 82)}));
    of.upsert(service(3, {backend(3)}, {external_ip("192.0.2.2", 83)}));
    read(of);
    EXPECT_FALSE(owns("192.0.2.10"));
    EXPECT_FALSE(owns("192.0.2.60"));
    EXPECT_TRUE(announced.list().empty()) << "the interface's own address needs no announcing";
}

TEST_F(AnnouncedTest, PolicyLocalWithoutALocalEndpointLeavesItToOthers) {
    image::Image of;
    auto local = service(1, {backend(1)}, {external_ip("192.0.2.50")});
    local.external.backends.clear();
    local.external.when_empty_drop = true;
    of.upsert(local);
    read(of);
    EXPECT_FALSE(owns("192.0.2.50"));
    // An endpoint starts here: at once, with an announcement.
    local.external.backends = {backend(1)};
    of.upsert(local);
    read(of);
    EXPECT_TRUE(owns("192.0.2.50"));
    EXPECT_EQ(announced.take_added().size(), 1U);
    // Without any endpoint anywhere it is refused here, which needs an answer too.
    local.external.backends.clear();
    local.external.when_empty_drop = false;
    of.upsert(local);
    read(of);
    EXPECT_TRUE(owns("192.0.2.50"));
}

TEST_F(AnnouncedTest, WhatIsGoneIsNotAnsweredForEvenBeforeTheNextPass) {
    image::Image of(image::Node{}, image::Capacities{});
    of.upsert(service(1, {backend(1)}, {external_ip("192.0.2.50")}));
    read(of);
    ASSERT_TRUE(owns("192.0.2.50"));
    of.remove({"default/s1", "http", Protocol::kTcp, IpFamily::kIpv4});
    EXPECT_FALSE(owns("192.0.2.50"));
    EXPECT_TRUE(announced.behind());
    while (announced.behind()) announced.step();
    EXPECT_TRUE(announced.list().empty());
    announced.use(image::Tables{});
    EXPECT_FALSE(owns("192.0.2.50"));
}

TEST_F(AnnouncedTest, AnswersThroughTheResponder) {
    image::Image of;
    of.upsert(service(1, {backend(1)}, {external_ip("192.0.2.50")}));
    read(of);
    Responder responder(announced, counters);
    auto bytes = from_hex(
        "ffffffffffff 020000000009 0806"
        "0001 0800 06 04 0001  020000000009 c0000209  000000000000 c0000232");
    Frame frame;
    frame.data = bytes.data();
    frame.length = static_cast<std::uint32_t>(bytes.size());
    Discovery asked;
    ASSERT_EQ(read_discovery(frame, &asked), Read::kDiscovery);
    EXPECT_FALSE(responder.answer(frame, asked, 1, interfaces[1])) << "asked on the other link";
    ASSERT_TRUE(responder.answer(frame, asked, 0, interfaces[0]));
    EXPECT_EQ(hex({bytes.data() + 20, 22}),
              hex(from_hex("0002 020000000001 c0000232 020000000009 c0000209")));
}

}  // namespace
}  // namespace sluice::dpdk
