// What is planned from Nodes, with next hops as a table says.
#include "agent/network/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/node.pb.h"

namespace sluice::network {
namespace {

using netlink::Hop;
using netlink::Route;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }
IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }

PodNode node(std::vector<const char*> addresses, std::vector<const char*> ranges) {
    PodNode out;
    for (const char* one : addresses) out.addresses.push_back(address(one));
    for (const char* one : ranges) out.ranges.push_back(prefix(one));
    return out;
}

// 172.30.0.0/16 and fd00:30::/32 are on link 2; 172.30.0.1 is the machine itself; all else is behind a router.
Result<Hop> find_hop(const IpAddress& to) {
    if (to == address("172.30.0.1")) return Hop{true, false, 1};
    if (to == address("203.0.113.9")) return make_error(Code::kNotFound, "there is no route");
    const bool near = prefix("172.30.0.0/16").contains(to) || prefix("fd00:30::/32").contains(to);
    return Hop{false, near, 2};
}

netlink::Link uplink() {
    netlink::Link out;
    out.ifindex = 2;
    out.name = "eth0";
    out.addresses = {address("172.30.0.1"), address("fd00:30::1")};
    out.mtu = 1'450;
    return out;
}

RoutePlan plan(const PodNodes& nodes) { return plan_routes("a", nodes, {uplink()}, find_hop); }

TEST(PlanRoutes, ToEachNodeByItsAddressOfTheFamily) {
    const RoutePlan out = plan({{"a", node({"172.30.0.1", "fd00:30::1"}, {"10.244.0.0/24", "fd00:244::/64"})},
                                {"b", node({"172.30.0.2", "fd00:30::2"}, {"10.244.1.0/24", "fd00:244:1::/64"})}});
    EXPECT_THAT(out.problems, IsEmpty());
    EXPECT_THAT(out.routes, ElementsAre(Route{prefix("10.244.0.0/24"), true, {}, 0},
                                        Route{prefix("10.244.1.0/24"), false, address("172.30.0.2"), 2},
                                        Route{prefix("fd00:244::/64"), true, {}, 0},
                                        Route{prefix("fd00:244:1::/64"), false, address("fd00:30::2"), 2}));
}

struct BadNode {
    const char* name;
    PodNode node;
    const char* message;
};
class PlanRoutesProblem : public ::testing::TestWithParam<BadNode> {};
TEST_P(PlanRoutesProblem, NamesTheNodeAndKeepsTheOthers) {
    const RoutePlan out = plan({{"a", node({"172.30.0.1"}, {"10.244.0.0/24"})},
                                {"b", node({"172.30.0.2"}, {"10.244.1.0/24"})},
                                {"x", GetParam().node}});
    ASSERT_EQ(out.problems.size(), 1U) << GetParam().name;
    EXPECT_EQ(out.problems[0].node, "x");
    EXPECT_THAT(out.problems[0].message, HasSubstr(GetParam().message));
    EXPECT_EQ(out.routes.size(), 2U);
}
INSTANTIATE_TEST_SUITE_P(
    All, PlanRoutesProblem,
    ::testing::Values(
        BadNode{"behind a router", node({"198.51.100.1"}, {"10.244.2.0/24"}), "198.51.100.1 is not on a link"},
        BadNode{"no way", node({"203.0.113.9"}, {"10.244.2.0/24"}), "203.0.113.9: there is no route"},
        BadNode{"no address of the family", node({"fd00:30::9"}, {"10.244.2.0/24"}), "no InternalIP of the family"},
        BadNode{"our own address", node({"172.30.0.1"}, {"10.244.2.0/24"}), "172.30.0.1 is this machine's own"},
        BadNode{"overlap", node({"172.30.0.9"}, {"10.244.1.128/25"}), "overlaps 10.244.1.0/24 of node b"},
        BadNode{"overlap of a larger", node({"172.30.0.9"}, {"10.244.0.0/16"}), "overlaps"},
        BadNode{"holds a node", node({"172.30.0.9"}, {"172.30.0.0/24"}), "holds the address 172.30.0.1 of node a"}),
    [](const auto& one) {
        std::string name = one.param.name;
        for (char& c : name) c = c == ' ' ? '_' : c;
        return name;
    });

TEST(PlanRoutes, ARangeMayNotHoldThisMachinesAddresses) {
    netlink::Link other;
    other.name = "eth1";
    other.addresses = {address("192.0.2.1")};
    const RoutePlan out = plan_routes("a", {{"x", node({"172.30.0.9"}, {"192.0.2.0/24"})}}, {other}, find_hop);
    ASSERT_EQ(out.problems.size(), 1U);
    EXPECT_THAT(out.problems[0].message, HasSubstr("192.0.2.1 of eth1"));
    EXPECT_THAT(out.routes, IsEmpty());
}

PodNode read(std::vector<const char*> ranges) {
    ::k8s::io::api::core::v1::Node object;
    for (const char* one : ranges) object.mutable_spec()->add_podcidrs(one);
    return read_pod_node(object);
}

TEST(ReadPodNode, AddressesAndRanges) {
    ::k8s::io::api::core::v1::Node object;
    const auto add = [&](const char* type, const char* text) {
        auto* entry = object.mutable_status()->add_addresses();
        entry->set_type(type);
        entry->set_address(text);
    };
    add("Hostname", "a");
    add("ExternalIP", "198.51.100.7");
    add("InternalIP", "172.30.0.2");
    add("InternalIP", "nonsense");
    add("InternalIP", "127.0.0.1");
    object.mutable_spec()->set_podcidr("10.244.1.0/24");
    EXPECT_EQ(read_pod_node(object), node({"172.30.0.2"}, {"10.244.1.0/24"}));
}

TEST(ReadPodNode, RangesThatCannotBe) {
    for (const auto& ranges : std::vector<std::vector<const char*>>{
             {"10.244.1.5/24"}, {"0.0.0.0/0"}, {"10.0.0.0/7"}, {"::/0"}, {"127.0.0.0/24"}, {"169.254.0.0/16"},
             {"224.0.0.0/8"}, {"fe80::/64"}, {"x"}, {"10.244.1.0/24", "10.245.1.0/24"},
             {"10.244.1.0/24", "fd00::/64", "fd01::/64"}}) {
        const PodNode out = read(ranges);
        EXPECT_THAT(out.ranges, IsEmpty()) << ranges.front();
        EXPECT_NE(out.problem, "") << ranges.front();
    }
    EXPECT_EQ(read({"fd00::/64", "10.244.1.0/24"}).ranges.size(), 2U);
}

TEST(RenderCni, IsWhatThePluginReads) {
    EXPECT_EQ(render_cni({{prefix("10.244.0.0/24"), prefix("fd00::/64")}, 1'450, "/run/x"}),
              R"({"cniVersion":"1.0.0","name":"sluice","plugins":[{"type":"sluice-cni","podCIDRs":["10.244.0.0/24","fd00::/64"],)"
              R"("mtu":1450,"dataDir":"/run/x"}]})" "\n");
    EXPECT_EQ(render_cni({{prefix("10.244.0.0/24")}, 0, ""}),
              R"({"cniVersion":"1.0.0","name":"sluice","plugins":[{"type":"sluice-cni","podCIDRs":["10.244.0.0/24"]}]})" "\n");
}

TEST(MtuOf, TheLinkWithTheNodesAddress) {
    EXPECT_EQ(mtu_of(node({"172.30.0.1"}, {}), {uplink()}), 1'450U);
    EXPECT_EQ(mtu_of(node({"172.30.0.7"}, {}), {uplink()}), 0U);
}

TEST(Masquerade, SparesPodsAndNodes) {
    EXPECT_EQ(render_masquerade({prefix("10.244.0.0/16"), prefix("fd00:244::/32")},
                                {{"a", node({"172.30.0.1", "fd00:30::1"}, {})}}),
              "add table inet sluice-pods\ndelete table inet sluice-pods\nadd table inet sluice-pods\n"
              "add chain inet sluice-pods postrouting { type nat hook postrouting priority srcnat; policy accept; }\n"
              "add rule inet sluice-pods postrouting ip saddr { 10.244.0.0/16 } ip daddr != { 10.244.0.0/16, 172.30.0.1, "
              "224.0.0.0/4 } masquerade fully-random\n"
              "add rule inet sluice-pods postrouting ip6 saddr { fd00:244::/32 } ip6 daddr != { fd00:244::/32, "
              "fd00:30::1, ff00::/8 } masquerade fully-random\n");
}

}  // namespace
}  // namespace sluice::network
