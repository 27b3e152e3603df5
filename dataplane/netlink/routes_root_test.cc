// Routes in a network namespace of the test's own, seen by `ip` as well. Needs root; skips visibly without it.
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "dataplane/netlink/links.h"
#include "dataplane/netlink/routes.h"

namespace sluice::netlink {
namespace {

int run(const std::string& command) { return std::system(command.c_str()); }  // NOLINT

std::string output(const std::string& command) {
    std::string out;
    FILE* const pipe = ::popen(command.c_str(), "r");
    std::array<char, 512> buffer{};
    while (std::fgets(buffer.data(), static_cast<int>(buffer.size()), pipe) != nullptr) out += buffer.data();
    ::pclose(pipe);
    return out;
}

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }
IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }

class RoutesInNamespace : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root to make a network namespace";
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "cannot make a network namespace";
        ASSERT_EQ(run("ip link set lo up && ip link add up0 type veth peer name up1 && "
                      "ip addr add 192.0.2.2/24 dev up0 && ip -6 addr add 2001:db8::2/64 dev up0 nodad && "
                      "ip link set up0 mtu 1400 up && ip link set up1 up && "
                      "ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8::1"),
                  0);
        const auto links = list_links();
        ASSERT_TRUE(links);
        for (const auto& link : *links) {
            if (link.name == "up0") uplink = link;
        }
    }
    Link uplink;
};

TEST_F(RoutesInNamespace, LinksTellTheirMtu) { EXPECT_EQ(uplink.mtu, 1'400U); }

TEST_F(RoutesInNamespace, AreSetReplacedAndRemoved) {
    const Route v4{prefix("10.244.1.0/24"), false, address("192.0.2.9"), uplink.ifindex};
    const Route v6{prefix("fd00:244:1::/64"), false, address("2001:db8::9"), uplink.ifindex};
    const Route none{prefix("10.244.0.0/24"), true, {}, 0};
    const Route none6{prefix("fd00:244::/64"), true, {}, 0};
    for (const Route& route : {v4, v6, none, none6}) {
        ASSERT_TRUE(put_route(route)) << put_route(route).error().to_string();
        ASSERT_TRUE(put_route(route)) << "twice is once";
    }
    EXPECT_EQ(output("ip route show 10.244.1.0/24"), "10.244.1.0/24 via 192.0.2.9 dev up0 proto 83 metric 2048 \n");
    auto routes = list_routes();
    ASSERT_TRUE(routes) << routes.error().to_string();
    ASSERT_EQ(routes->size(), 4U);
    EXPECT_EQ((*routes)[0].destination, none.destination);
    EXPECT_TRUE((*routes)[0].unreachable);
    EXPECT_EQ((*routes)[1], v4);

    Route moved = v4;
    moved.gateway = address("192.0.2.10");
    Route moved6 = v6;
    moved6.gateway = address("2001:db8::10");
    ASSERT_TRUE(put_route(moved));
    ASSERT_TRUE(put_route(moved6));
    routes = list_routes();
    ASSERT_EQ(routes->size(), 4U);
    EXPECT_EQ((*routes)[1], moved);

    for (const Route& route : *routes) EXPECT_TRUE(remove_route(route));
    EXPECT_TRUE(remove_route(moved)) << "gone already";
    EXPECT_EQ(list_routes()->size(), 0U);
    EXPECT_EQ(output("ip route show proto 83; ip -6 route show proto 83"), "");
}

TEST_F(RoutesInNamespace, LeaveOthersAlone) {
    ASSERT_EQ(run("ip route add 10.244.1.0/24 via 192.0.2.77 && ip -6 route add fd00:244:1::/64 via 2001:db8::77"), 0);
    const Route v4{prefix("10.244.1.0/24"), false, address("192.0.2.9"), uplink.ifindex};
    const Route v6{prefix("fd00:244:1::/64"), false, address("2001:db8::9"), uplink.ifindex};
    for (const Route& route : {v4, v6}) ASSERT_TRUE(put_route(route));
    // Theirs goes first.
    EXPECT_NE(output("ip route get 10.244.1.5").find("192.0.2.77"), std::string::npos);
    EXPECT_NE(output("ip route get fd00:244:1::5").find("2001:db8::77"), std::string::npos);
    for (const Route& route : {v4, v6}) ASSERT_TRUE(remove_route(route));
    EXPECT_NE(output("ip route get 10.244.1.5").find("192.0.2.77"), std::string::npos);
    EXPECT_NE(output("ip -6 route show").find("2001:db8::77"), std::string::npos);
}

TEST_F(RoutesInNamespace, SayWhichAddressesAreNear) {
    for (const char* near : {"192.0.2.9", "2001:db8::9"}) {
        const auto hop = find_hop(address(near));
        ASSERT_TRUE(hop) << hop.error().to_string();
        EXPECT_TRUE(hop->direct);
        EXPECT_FALSE(hop->local);
        EXPECT_EQ(hop->ifindex, uplink.ifindex);
    }
    for (const char* far : {"198.51.100.1", "2001:db9::1"}) {
        const auto hop = find_hop(address(far));
        ASSERT_TRUE(hop) << hop.error().to_string();
        EXPECT_FALSE(hop->direct);
    }
    for (const char* own : {"192.0.2.2", "2001:db8::2"}) {
        const auto hop = find_hop(address(own));
        ASSERT_TRUE(hop) << hop.error().to_string();
        EXPECT_TRUE(hop->local);
    }
    ASSERT_EQ(run("ip route del default && ip -6 route del default"), 0);
    for (const char* nowhere : {"198.51.100.1", "2001:db9::1"}) {
        const auto hop = find_hop(address(nowhere));
        ASSERT_FALSE(hop);
        EXPECT_EQ(hop.error().code, Code::kNotFound);
    }
}

}  // namespace
}  // namespace sluice::netlink
