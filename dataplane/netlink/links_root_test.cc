// Links, roles and the monitor in a network namespace of the test's own. Needs root; skips visibly without it.
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "dataplane/netlink/links.h"

namespace sluice::netlink {
namespace {

int run(const std::string& command) { return std::system(command.c_str()); }  // NOLINT

class LinksInNamespace : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) {
            GTEST_SKIP() << "needs root to make a network namespace";
        }
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "cannot make a network namespace";
    }
};

const Link* find(const std::vector<Link>& links, std::string_view name) {
    const auto found = std::find_if(links.begin(), links.end(),
                                    [&](const Link& link) { return link.name == name; });
    return found == links.end() ? nullptr : &*found;
}

TEST_F(LinksInNamespace, RolesOfAnOrdinaryNode) {
    ASSERT_EQ(run("ip link set lo up && ip link add up0 type veth peer name up1 && "
                  "ip addr add 192.0.2.2/24 dev up0 && ip -6 addr add 2001:db8::2/64 dev up0 nodad "
                  "&& ip link set up0 up && ip link set up1 up && "
                  "ip route add default via 192.0.2.1 && "
                  "ip link add pod0 type veth peer name c0 && ip link set pod0 up && "
                  "ip addr add 10.244.0.1/32 dev pod0 && "
                  "ip link add br0 type bridge && ip addr add 10.245.0.1/24 dev br0 && "
                  "ip link set br0 up && ip link add port0 type veth peer name c1 && "
                  "ip link set port0 master br0 up"),
              0);
    const auto links = list_links();
    ASSERT_TRUE(links) << links.error().to_string();
    const Link* uplink = find(*links, "up0");
    ASSERT_NE(uplink, nullptr);
    EXPECT_EQ(uplink->kind, "veth");
    EXPECT_TRUE(uplink->up);
    EXPECT_TRUE(uplink->has_default_route);
    ASSERT_EQ(uplink->addresses.size(), 2U) << "link-local addresses are not listed";
    EXPECT_EQ(classify(*uplink), Role::kNode);
    const Link* pod = find(*links, "pod0");
    ASSERT_NE(pod, nullptr);
    EXPECT_FALSE(pod->has_subnet);
    EXPECT_EQ(classify(*pod), Role::kPod);
    const Link* bridge = find(*links, "br0");
    ASSERT_NE(bridge, nullptr);
    EXPECT_EQ(classify(*bridge), Role::kIgnore);
    const Link* port = find(*links, "port0");
    ASSERT_NE(port, nullptr);
    EXPECT_EQ(port->master_ifindex, bridge->ifindex);
    EXPECT_EQ(port->master_kind, "bridge");
    EXPECT_EQ(classify(*port), Role::kPod);
    const Link* down = find(*links, "c0");
    ASSERT_NE(down, nullptr);
    EXPECT_EQ(classify(*down), Role::kIgnore);
}

TEST_F(LinksInNamespace, MonitorReportsLinkAddressAndRoute) {
    ASSERT_EQ(run("ip link add a0 type veth peer name a1"), 0);
    auto monitor = Monitor::create();
    ASSERT_TRUE(monitor) << monitor.error().to_string();
    auto quiet = monitor->drain();
    ASSERT_TRUE(quiet);
    EXPECT_FALSE(*quiet);
    for (const char* change :
         {"ip link set a0 up", "ip addr add 192.0.2.1/24 dev a0", "ip link set a1 up",
          "ip route add default via 192.0.2.9", "ip link add b0 type veth peer name b1", "ip link del a0"}) {
        ASSERT_EQ(run(change), 0) << change;
        pollfd poll_fd{monitor->fd(), POLLIN, 0};
        ASSERT_EQ(::poll(&poll_fd, 1, 5000), 1) << change;
        auto changed = monitor->drain();
        ASSERT_TRUE(changed) << changed.error().to_string();
        EXPECT_TRUE(*changed) << change;
    }
}

TEST_F(LinksInNamespace, ForwardingIsSetInThisNamespaceOnly) {
    for (const IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        for (const bool enabled : {true, false, true}) {
            const auto set = set_forwarding(family, enabled);
            ASSERT_TRUE(set) << set.error().to_string();
            const auto now = forwarding(family);
            ASSERT_TRUE(now);
            EXPECT_EQ(*now, enabled);
        }
    }
    const auto bad = write_sysctl("net.ipv4.ip_local_port_range", "9 1");
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace sluice::netlink
