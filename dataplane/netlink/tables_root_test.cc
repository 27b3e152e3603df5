// Addresses, routes and neighbours as `ip` sets them, in a network namespace of the test's own.
// Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "dataplane/netlink/tables.h"

namespace sluice::netlink {
namespace {

using ::testing::Contains;
using ::testing::Not;

int run(const std::string& command) {
    return std::system(command.c_str());
}  // NOLINT
IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}
IpPrefix prefix(const char* text) {
    return IpPrefix::parse(text).value();
}

class TablesInNamespace : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root to make a network namespace";
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "cannot make a network namespace";
        ASSERT_EQ(run("ip link set lo up && ip link add up0 type veth peer name up1 && ip link set "
                      "up1 up && "
                      "ip addr add 192.0.2.2/24 dev up0 && ip -6 addr add 2001:db8::2/64 dev up0 "
                      "nodad && "
                      "ip link set up0 up"),
                  0);
        index = device_index("up0").value();
        other = device_index("up1").value();
    }
    int index = 0;
    int other = 0;
};

TEST_F(TablesInNamespace, Devices) {
    const auto none = device_index("nosuch0");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::kNotFound);
    EXPECT_NE(none.error().message.find("nosuch0"), std::string::npos);
}

TEST_F(TablesInNamespace, Addresses) {
    const auto addresses = list_addresses();
    ASSERT_TRUE(addresses) << addresses.error().to_string();
    EXPECT_THAT(*addresses, Contains(TableAddress{index, address("192.0.2.2"), 24}));
    EXPECT_THAT(*addresses, Contains(TableAddress{index, address("2001:db8::2"), 64}));
    EXPECT_THAT(*addresses, Contains(TableAddress{1, address("127.0.0.1"), 8}));
    ASSERT_EQ(run("ip addr add 192.0.2.3 peer 192.0.2.4/32 dev up1"), 0);
    EXPECT_THAT(*list_addresses(), Contains(TableAddress{other, address("192.0.2.3"), 32}))
        << "not the peer's";
}

TEST_F(TablesInNamespace, Routes) {
    ASSERT_EQ(
        run("ip addr add 198.51.100.2/24 dev up1 && ip route add default via 192.0.2.1 metric 5 && "
            "ip route add unreachable 10.244.1.0/24 && ip route add blackhole 10.244.2.0/24 metric "
            "9 && "
            "ip route add 10.9.0.0/16 nexthop via 192.0.2.8 nexthop via 198.51.100.9 && "
            "ip -6 route add 2001:db8:7::/48 via fe80::9 dev up0 metric 77 && "
            "ip route add 10.10.0.0/16 via 192.0.2.8 table 100 && ip route add 10.11.0.0/16 dev "
            "up0 && "
            "ip -6 route add unreachable fd00:9::/64"),
        0);
    const auto routes = list_all_routes();
    ASSERT_TRUE(routes) << routes.error().to_string();
    EXPECT_THAT(*routes, Contains(TableRoute{prefix("0.0.0.0/0"), address("192.0.2.1"), index, 5}));
    EXPECT_THAT(*routes, Contains(TableRoute{prefix("192.0.2.0/24"), {}, index, 0}));
    EXPECT_THAT(*routes, Contains(TableRoute{prefix("10.244.1.0/24"), {}, 0, 0}));
    EXPECT_THAT(*routes, Contains(TableRoute{prefix("10.244.2.0/24"), {}, 0, 9}));
    EXPECT_THAT(*routes,
                Contains(TableRoute{prefix("10.9.0.0/16"), address("192.0.2.8"), index, 0}));
    EXPECT_THAT(*routes,
                Contains(TableRoute{prefix("10.9.0.0/16"), address("198.51.100.9"), other, 0}));
    EXPECT_THAT(*routes, Contains(TableRoute{prefix("10.11.0.0/16"), {}, index, 0}));
    EXPECT_THAT(*routes,
                Contains(TableRoute{prefix("2001:db8:7::/48"), address("fe80::9"), index, 77}));
    EXPECT_THAT(*routes, Contains(TableRoute{prefix("2001:db8::/64"), {}, index, 256}));
    for (const auto& route : *routes) {
        EXPECT_NE(route.destination, prefix("10.10.0.0/16")) << "of another table";
        EXPECT_NE(route.destination, prefix("192.0.2.2/32")) << "of the local table";
    }
}

TEST_F(TablesInNamespace, Neighbours) {
    ASSERT_EQ(
        run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0 && "
            "ip neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev up0 nud stale && "
            "ip -6 neigh add 2001:db8::9 lladdr 02:00:00:00:00:07 dev up0 && "
            "ip neigh add proxy 192.0.2.7 dev up0 && ip neigh add 192.0.2.6 dev up0 nud failed"),
        0);
    const auto neighbours = list_neighbours();
    ASSERT_TRUE(neighbours) << neighbours.error().to_string();
    EXPECT_THAT(*neighbours,
                Contains(TableNeighbour{index, address("192.0.2.9"), {2, 0, 0, 0, 0, 9}, true}));
    EXPECT_THAT(*neighbours,
                Contains(TableNeighbour{index, address("192.0.2.8"), {2, 0, 0, 0, 0, 8}, false}));
    EXPECT_THAT(*neighbours,
                Contains(TableNeighbour{index, address("2001:db8::9"), {2, 0, 0, 0, 0, 7}, true}));
    for (const auto& neighbour : *neighbours) {
        EXPECT_NE(neighbour.address, address("192.0.2.7"));
        EXPECT_NE(neighbour.address, address("192.0.2.6"));
        EXPECT_FALSE(neighbour.address.is_multicast());
    }
}

TEST_F(TablesInNamespace, TheWatchTellsKindsApart) {
    auto watch = TableWatch::create();
    ASSERT_TRUE(watch) << watch.error().to_string();
    (void)(*watch)->drain();
    const auto after = [&](const char* command) {
        EXPECT_EQ(run(command), 0) << command;
        pollfd ready{(*watch)->fd(), POLLIN, 0};
        EXPECT_EQ(::poll(&ready, 1, 5'000), 1) << command;
        return (*watch)->drain().value_or(TableChanges{});
    };
    EXPECT_TRUE(after("ip route add 10.9.0.0/16 via 192.0.2.1").routes);
    const auto neighbour = after("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0");
    EXPECT_TRUE(neighbour.neighbours);
    EXPECT_FALSE(neighbour.routes);
    EXPECT_TRUE(after("ip addr add 192.0.2.3/24 dev up0").addresses);
    EXPECT_TRUE(after("ip link add d0 type veth peer name d1").links);
}

}  // namespace
}  // namespace sluice::netlink
