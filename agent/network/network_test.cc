// What the thread does to a machine that remembers: routes that come, move, vanish and cannot be set; the file.
#include "agent/network/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "api/kubernetes/core/v1/node.pb.h"

namespace sluice::network {
namespace {

using netlink::Route;
using ::testing::HasSubstr;
using ::testing::Not;
using Clock = PodNetwork::Clock;

struct FakeMachine {
    std::vector<Route> routes;
    int puts = 0;
    bool refuse = false;
    std::vector<std::string> nft;

    NetworkMachine machine() {
        NetworkMachine out;
        out.links = []() -> Result<std::vector<netlink::Link>> {
            netlink::Link link;
            link.ifindex = 2;
            link.name = "eth0";
            link.addresses = {IpAddress::parse("172.30.0.1").value()};
            link.mtu = 1'450;
            return std::vector{link};
        };
        out.routes = [this]() -> Result<std::vector<Route>> { return routes; };
        out.put_route = [this](const Route& route) -> Result<void> {
            if (refuse) return make_error(Code::kUnavailable, "no buffer space");
            ++puts;
            std::erase_if(routes, [&](const Route& r) { return r.destination == route.destination; });
            routes.insert(std::upper_bound(routes.begin(), routes.end(), route), route);
            return {};
        };
        out.remove_route = [this](const Route& route) -> Result<void> {
            std::erase(routes, route);
            return {};
        };
        out.find_hop = [](const IpAddress& to) -> Result<netlink::Hop> {
            return netlink::Hop{false, to != IpAddress::parse("198.51.100.1").value(), 2};
        };
        out.nftables = [this](const std::string& commands) -> Result<void> {
            nft.push_back(commands);
            return {};
        };
        return out;
    }
};

struct NetworkTest : ::testing::Test {
    FakeMachine fake;
    health::Metrics metrics;
    Clock::time_point now{};
    std::string folder;

    void SetUp() override {
        std::string name = ::testing::TempDir() + "network-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder); }

    static client::Delta node(const std::string& name, const std::string& address, const std::string& range) {
        auto object = std::make_shared<::k8s::io::api::core::v1::Node>();
        auto* entry = object->mutable_status()->add_addresses();
        entry->set_type("InternalIP");
        entry->set_address(address);
        if (!range.empty()) object->mutable_spec()->add_podcidrs(range);
        return {name, object};
    }
    void hear(PodNetwork& network, std::vector<client::Delta> deltas, bool synced = true) {
        client::Batch batch;
        batch.kind = &watch::nodes_kind();
        batch.synced = synced;
        batch.deltas = std::move(deltas);
        std::vector<watch::Event> events;
        events.emplace_back(std::move(batch));
        network.step(std::move(events), now);
    }
    std::string file() {
        std::ifstream in(folder + "/" + kCniFile);
        std::ostringstream out;
        out << in.rdbuf();
        return out.str();
    }
    std::string gateway_of(const char* range) {
        for (const Route& route : fake.routes) {
            if (route.destination.to_string() == range) return route.gateway.to_string();
        }
        return "";
    }
};

NetworkOptions routing() {
    NetworkOptions out;
    out.node_name = "a";
    out.route_pods = true;
    return out;
}

TEST_F(NetworkTest, RoutesFollowNodes) {
    PodNetwork network(routing(), metrics, fake.machine());
    hear(network, {node("a", "172.30.0.1", "10.244.0.0/24"), node("b", "172.30.0.2", "10.244.1.0/24")});
    EXPECT_EQ(gateway_of("10.244.1.0/24"), "172.30.0.2");
    EXPECT_EQ(fake.routes.size(), 2U);
    hear(network, {node("b", "172.30.0.3", "10.244.1.0/24")});
    EXPECT_EQ(gateway_of("10.244.1.0/24"), "172.30.0.3");
    hear(network, {{"b", nullptr}});
    EXPECT_EQ(fake.routes.size(), 1U);
}

TEST_F(NetworkTest, NothingIsTouchedBeforeAllNodesAreKnown) {
    fake.routes = {{IpPrefix::parse("10.244.1.0/24").value(), false, IpAddress::parse("172.30.0.2").value(), 2}};
    PodNetwork network(routing(), metrics, fake.machine());
    network.step({}, now);
    hear(network, {node("a", "172.30.0.1", "10.244.0.0/24")}, false);
    EXPECT_EQ(fake.routes.size(), 1U);
    hear(network, {node("b", "172.30.0.2", "10.244.1.0/24")});
    EXPECT_EQ(fake.routes.size(), 2U);
    EXPECT_EQ(fake.puts, 1) << "what was right stays untouched";
}

TEST_F(NetworkTest, ADeletedRouteComesBack) {
    PodNetwork network(routing(), metrics, fake.machine());
    hear(network, {node("b", "172.30.0.2", "10.244.1.0/24")});
    fake.routes.clear();
    std::vector<watch::Event> events;
    events.emplace_back(watch::LinksChanged{});
    network.step(std::move(events), now);
    EXPECT_EQ(gateway_of("10.244.1.0/24"), "172.30.0.2");
}

TEST_F(NetworkTest, FailuresAreTriedAgainSoonerThanAnythingElse) {
    fake.refuse = true;
    PodNetwork network(routing(), metrics, fake.machine());
    hear(network, {node("b", "172.30.0.2", "10.244.1.0/24")});
    EXPECT_EQ(network.wake_at(), now + kMinRetry);
    network.step({}, now);
    EXPECT_EQ(network.wake_at(), now + 2 * kMinRetry);
    EXPECT_THAT(metrics.render(), HasSubstr("sluice_pod_network_failures_total 2\n"));
    fake.refuse = false;
    network.step({}, now);
    EXPECT_EQ(network.wake_at(), now + kLookInterval);
    EXPECT_EQ(gateway_of("10.244.1.0/24"), "172.30.0.2");
}

TEST_F(NetworkTest, ANodeBehindARouterIsNamed) {
    PodNetwork network(routing(), metrics, fake.machine());
    hear(network, {node("far", "198.51.100.1", "10.244.1.0/24"), node("b", "172.30.0.2", "10.244.2.0/24")});
    EXPECT_THAT(metrics.render(), HasSubstr("sluice_pod_route_unreachable{node=\"far\"} 1\n"));
    EXPECT_THAT(metrics.render(), HasSubstr("sluice_pod_routes 1\n"));
    hear(network, {node("far", "172.30.0.9", "10.244.1.0/24")});
    EXPECT_THAT(metrics.render(), Not(HasSubstr("node=\"far\"")));
}

TEST_F(NetworkTest, TheFileIsWrittenOnceThereAreRangesAndFollowsThem) {
    NetworkOptions options;
    options.node_name = "a";
    options.cni_conf_dir = folder;
    PodNetwork network(options, metrics, fake.machine());
    hear(network, {node("a", "172.30.0.1", "")});
    EXPECT_EQ(file(), "");
    hear(network, {node("a", "172.30.0.1", "10.244.0.0/24")});
    EXPECT_THAT(file(), HasSubstr("10.244.0.0/24"));
    EXPECT_THAT(file(), HasSubstr("\"mtu\":1450"));
    hear(network, {node("a", "172.30.0.1", "10.244.7.0/24")});
    EXPECT_THAT(file(), HasSubstr("10.244.7.0/24"));
    hear(network, {{"a", nullptr}});
    EXPECT_THAT(file(), HasSubstr("10.244.7.0/24"));
    EXPECT_TRUE(fake.routes.empty());
    // Nothing but the file: container runtimes read the whole folder.
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST_F(NetworkTest, AFolderThatCannotBeWrittenDoesNotKeepRoutesAway) {
    NetworkOptions options = routing();
    options.cni_conf_dir = "/proc/no/such/folder";
    PodNetwork network(options, metrics, fake.machine());
    hear(network, {node("a", "172.30.0.1", "10.244.0.0/24"), node("b", "172.30.0.2", "10.244.1.0/24")});
    EXPECT_EQ(gateway_of("10.244.1.0/24"), "172.30.0.2");
    EXPECT_EQ(network.wake_at(), now + kMinRetry);
}

TEST_F(NetworkTest, MasqueradingIsWrittenWhenNodesChangeOnly) {
    NetworkOptions options;
    options.node_name = "a";
    options.masquerade = {IpPrefix::parse("10.244.0.0/16").value()};
    PodNetwork network(options, metrics, fake.machine());
    hear(network, {node("a", "172.30.0.1", "10.244.0.0/24")});
    network.step({}, now);
    EXPECT_EQ(fake.nft.size(), 1U);
    hear(network, {node("b", "172.30.0.2", "10.244.1.0/24")});
    ASSERT_EQ(fake.nft.size(), 2U);
    EXPECT_THAT(fake.nft.back(), HasSubstr("172.30.0.2"));
}

}  // namespace
}  // namespace sluice::network
