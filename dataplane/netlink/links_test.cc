// The role rule as a table, and the sysctl names; nothing here needs privileges.
#include "dataplane/netlink/links.h"

#include <gtest/gtest.h>
#include <poll.h>

namespace sluice::netlink {
namespace {

Link link_of(std::string kind) {
    Link link;
    link.ifindex = 7;
    link.name = "x0";
    link.kind = std::move(kind);
    link.up = true;
    return link;
}

Link with_address(Link link, std::string_view text, bool subnet) {
    link.addresses.push_back(*IpAddress::parse(text));
    link.has_subnet = subnet;
    return link;
}

Link with_default_route(Link link) {
    link.has_default_route = true;
    return link;
}

Link enslaved(Link link, std::string master_kind) {
    link.master_ifindex = 3;
    link.master_kind = std::move(master_kind);
    return link;
}

TEST(Classify, PhysicalDeviceWithAddressIsNode) {
    EXPECT_EQ(classify(with_address(link_of(""), "192.0.2.10", true)), Role::kNode);
    EXPECT_EQ(classify(with_default_route(link_of(""))), Role::kNode);
    EXPECT_EQ(classify(link_of("")), Role::kIgnore);
}

TEST(Classify, PodEndOfVethPairIsPod) {
    EXPECT_EQ(classify(link_of("veth")), Role::kPod);
    EXPECT_EQ(classify(link_of("netkit")), Role::kPod);
    EXPECT_EQ(classify(with_address(link_of("veth"), "10.244.1.1", false)), Role::kPod);
}

TEST(Classify, VethAsUplinkIsNode) {
    EXPECT_EQ(classify(with_address(link_of("veth"), "172.18.0.2", true)), Role::kNode);
    EXPECT_EQ(classify(with_default_route(link_of("veth"))), Role::kNode);
}

TEST(Classify, BridgeWithGatewayAddressIsIgnoredAndItsVethPortsArePods) {
    EXPECT_EQ(classify(with_address(link_of("bridge"), "10.244.1.1", true)), Role::kIgnore);
    EXPECT_EQ(classify(enslaved(link_of("veth"), "bridge")), Role::kPod);
    EXPECT_EQ(classify(enslaved(link_of("tun"), "bridge")), Role::kPod);
    EXPECT_EQ(classify(enslaved(link_of(""), "bridge")), Role::kIgnore);
    EXPECT_EQ(classify(with_default_route(link_of("bridge"))), Role::kNode);
}

TEST(Classify, BondIsNodeAndItsPortsAreIgnored) {
    EXPECT_EQ(classify(with_default_route(link_of("bond"))), Role::kNode);
    EXPECT_EQ(classify(enslaved(link_of(""), "bond")), Role::kIgnore);
    EXPECT_EQ(classify(enslaved(link_of("veth"), "team")), Role::kIgnore);
}

TEST(Classify, MemberOfVrfCountsAsItself) {
    EXPECT_EQ(classify(enslaved(with_address(link_of(""), "192.0.2.1", true), "vrf")), Role::kNode);
}

TEST(Classify, EthernetTunnelsCarryOtherNodesPods) {
    EXPECT_EQ(classify(with_address(link_of("vxlan"), "10.244.0.0", false)), Role::kNode);
    EXPECT_EQ(classify(link_of("geneve")), Role::kNode);
}

TEST(Classify, DownLoopbackAndBareIpAreIgnored) {
    Link down = with_default_route(link_of(""));
    down.up = false;
    EXPECT_EQ(classify(down), Role::kIgnore);
    Link loopback = with_address(link_of(""), "192.0.2.1", false);
    loopback.loopback = true;
    EXPECT_EQ(classify(loopback), Role::kIgnore);
    Link wireguard = with_default_route(link_of("wireguard"));
    wireguard.ethernet = false;
    EXPECT_EQ(classify(wireguard), Role::kIgnore);
    EXPECT_EQ(classify(with_address(link_of("dummy"), "169.254.20.10", false)), Role::kIgnore);
}

TEST(ListLinks, FindsLoopback) {
    const auto links = list_links();
    ASSERT_TRUE(links) << links.error().to_string();
    ASSERT_FALSE(links->empty());
    EXPECT_EQ(links->front().name, "lo");
    EXPECT_TRUE(links->front().loopback);
    EXPECT_EQ(classify(links->front()), Role::kIgnore);
}

TEST(Sysctl, RefusesNamesThatAreNotDotted) {
    for (const char* name : {"", "../kernel/hostname", "net..ipv4", ".net", "net/ipv4", "a b"}) {
        const auto value = read_sysctl(name);
        ASSERT_FALSE(value) << name;
        EXPECT_EQ(value.error().code, Code::kInvalidArgument) << name;
    }
    const auto missing = read_sysctl("net.ipv4.no_such_setting");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kNotFound);
}

TEST(Sysctl, ReadsLocalPortRange) {
    const auto range = local_port_range();
    ASSERT_TRUE(range) << range.error().to_string();
    EXPECT_GT(range->min, 0);
    EXPECT_GE(range->max, range->min);
}

TEST(Monitor, IsQuietUntilSomethingChanges) {
    auto monitor = Monitor::create();
    ASSERT_TRUE(monitor) << monitor.error().to_string();
    EXPECT_GE(monitor->fd(), 0);
}

Link pod_link(const std::string& name, const std::string& kind, const std::string& master = {}) {
    Link out;
    out.name = name;
    out.kind = kind;
    out.up = true;
    out.master_name = master;
    out.master_kind = master.empty() ? "" : "bridge";
    out.master_ifindex = master.empty() ? 0 : 7;
    return out;
}

// detectLocal BridgeInterface: "-i cbr0" is what kube-proxy matches.
TEST(ClassifyWithPodDevices, TheBridgeIsThePodsAndItsPortsAreNobodys) {
    const PodDevices pods{"cbr0", ""};
    EXPECT_EQ(classify(pod_link("cbr0", "bridge"), pods), Role::kPod);
    EXPECT_EQ(classify(pod_link("cbr0", "bridge"), {}), Role::kIgnore);
    EXPECT_EQ(classify(pod_link("veth1", "veth", "cbr0"), pods), Role::kIgnore);
    EXPECT_EQ(classify(pod_link("veth2", "veth", "other0"), pods), Role::kNode);
    EXPECT_EQ(classify(pod_link("veth3", "veth"), pods), Role::kNode);
    EXPECT_EQ(classify(pod_link("cbr01", "bridge"), pods), Role::kIgnore) << "the name, not its beginning";
    Link down = pod_link("cbr0", "bridge");
    down.up = false;
    EXPECT_EQ(classify(down, pods), Role::kIgnore);
}

// detectLocal InterfaceNamePrefix: "-i cali+".
TEST(ClassifyWithPodDevices, APrefixSaysWhichLinksArePods) {
    const PodDevices pods{"", "cali"};
    EXPECT_EQ(classify(pod_link("cali12", "veth"), pods), Role::kPod);
    EXPECT_EQ(classify(pod_link("cali", "dummy"), pods), Role::kPod) << "whatever its kind";
    EXPECT_EQ(classify(pod_link("veth1", "veth"), pods), Role::kNode);
    EXPECT_EQ(classify(pod_link("br0", "bridge"), pods), Role::kIgnore);
    Link uplink = pod_link("eth0", "");
    uplink.has_default_route = true;
    EXPECT_EQ(classify(uplink, pods), Role::kNode);
}

}  // namespace
}  // namespace sluice::netlink
