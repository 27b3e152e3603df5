// What the socket hooks leave to the packet programs, and to whom (docs/adr/0010). A client in another network
// namespace than the engine's stands for a pod: the service's addresses are on its loopback device, where nobody
// listens, so that what a hook has left alone is refused there.
#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <functional>
#include <thread>

#include "dataplane/ebpf/netns.h"
#include "dataplane/ebpf/test_engine.h"

namespace sluice::dataplane {
namespace {

using image::Choice;
using image::Scope;
using image::Service;

constexpr const char* kNodeAddress = "192.0.2.7";
constexpr std::uint16_t kNodePort = 30080;

class HookPathTest : public EngineFixture {
protected:
    static EbpfOptions with_tc() {
        EbpfOptions out = options();
        out.tc = true;
        out.xdp = XdpMode::kOff;
        out.flow_entries = kLeastFlowEntries;
        return out;
    }
    void TearDown() override {
        engine.reset();
        ASSERT_TRUE(cleanup_ebpf(with_tc()));
    }
    void begin(const EbpfOptions& options, const image::Node& facts, const std::vector<Service>& services) {
        engine.reset();
        auto opened = open_ebpf_engine(options);
        ASSERT_TRUE(opened) << opened.error().to_string();
        engine = std::move(*opened);
        const auto done = engine->replace_all(facts, services);
        ASSERT_TRUE(done) << done.error().to_string();
    }
    static image::Node facts() {
        image::Node out = node();
        out.nodeport_addresses = {IpAddress::parse(kNodeAddress).value()};
        out.masquerade_v4 = IpAddress::parse(kNodeAddress).value();
        return out;
    }
    // In a namespace of its own, as a pod's process is.
    static void in_pod(const std::function<void()>& body) {
        std::thread([&] {
            ASSERT_EQ(unshare(CLONE_NEWNET), 0);
            ASSERT_EQ(std::system("ip link set lo up && ip addr add 192.0.2.7/32 dev lo && "
                                  "ip addr add 10.96.0.1/32 dev lo"), 0);
            body();
        }).join();
    }
    // A service of both protocols' worth on the one ClusterIP, and a NodePort.
    static Service web(Protocol protocol, const image::Backend& backend, bool masquerade) {
        Service out = make_service("web", protocol, "10.96.0.1", 80, {backend});
        out.frontends.insert(out.frontends.begin(), {IpAddress{}, kNodePort, Scope::kNodePort, true, masquerade});
        return out;
    }
    static void taken(const std::string& address, std::uint16_t port) {
        const Reached reached = tcp_reach(AF_INET, address, port);
        EXPECT_EQ(reached.number, '1') << address << ": " << std::strerror(reached.error);
        EXPECT_EQ(reached.peer, fmt::format("{} {}", address, port));
    }
    static void left(const std::string& address, std::uint16_t port) {
        for (const int family : {AF_INET, AF_INET6}) {  // the second mapped
            EXPECT_EQ(tcp_reach(family, address, port).error, ECONNREFUSED) << address;
        }
    }
};

TEST_F(HookPathTest, PodToExternalPolicyClusterIsLeftAndClusterIpIsTaken) {
    begin(with_tc(), facts(), {});
    in_pod([&] {
        const EchoServer one("127.0.0.1", 1);
        apply({{web(Protocol::kTcp, one.backend(), true)}, {}});
        taken("10.96.0.1", 80);
        left(kNodeAddress, kNodePort);
        // "external, policy Local: all endpoints, source kept"
        apply({{web(Protocol::kTcp, one.backend(), false)}, {}});
        taken(kNodeAddress, kNodePort);
    });
}

TEST_F(HookPathTest, NodeToExternalPolicyClusterIsTaken) {
    ASSERT_EQ(std::system("ip addr replace 192.0.2.7/32 dev lo"), 0);
    const EchoServer one("127.0.0.1", 1);
    image::Node all = facts();
    all.masquerade_all = true;
    begin(with_tc(), all, {web(Protocol::kTcp, one.backend(), true)});
    taken("10.96.0.1", 80);
    taken(kNodeAddress, kNodePort);
    ASSERT_EQ(std::system("ip addr del 192.0.2.7/32 dev lo"), 0);
}

TEST_F(HookPathTest, MasqueradeAllLeavesPodsClusterIpTrafficToo) {
    image::Node all = facts();
    all.masquerade_all = true;
    begin(with_tc(), all, {});
    in_pod([&] {
        const EchoServer one("127.0.0.1", 1);
        apply({{web(Protocol::kTcp, one.backend(), false)}, {}});
        left("10.96.0.1", 80);
        taken(kNodeAddress, kNodePort);
    });
}

TEST_F(HookPathTest, DatagramsAreLeftWhetherConnectedOrNot) {
    begin(with_tc(), facts(), {});
    in_pod([&] {
        const EchoServer one("127.0.0.1", 1);
        apply({{web(Protocol::kUdp, one.backend(), true)}, {}});
        EXPECT_EQ(udp_connected_reach(AF_INET, "10.96.0.1", 80).number, '1');
        EXPECT_EQ(udp_connected_reach(AF_INET, kNodeAddress, kNodePort).error, ECONNREFUSED);
        const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
        EXPECT_EQ(udp_reach(socket.get(), AF_INET, "10.96.0.1", 80).number, '1');
        EXPECT_NE(udp_reach(socket.get(), AF_INET, kNodeAddress, kNodePort).number, '1');
        // A socket that was connected to what a hook takes, and then to what it leaves, has that one as its peer.
        const Fd again = open_socket(AF_INET, SOCK_DGRAM);
        ASSERT_EQ(connect_to(again.get(), AF_INET, "10.96.0.1", 80), 0);
        ASSERT_EQ(connect_to(again.get(), AF_INET, kNodeAddress, kNodePort), 0);
        EXPECT_EQ(peer_name(again.get()), fmt::format("{} {}", kNodeAddress, kNodePort));
    });
}

TEST_F(HookPathTest, AffinityOfPodsIsByAddressAndSoIsLeft) {
    begin(with_tc(), facts(), {});
    in_pod([&] {
        const EchoServer one("127.0.0.1", 1);
        Service sticky = web(Protocol::kTcp, one.backend(), false);
        sticky.affinity_timeout_s = 10800;
        apply({{sticky}, {}});
        left("10.96.0.1", 80);
        left(kNodeAddress, kNodePort);
    });
}

TEST_F(HookPathTest, RefusalsAreToldByTheHookToPodsAsWell) {
    Service empty = web(Protocol::kTcp, {}, true);
    empty.internal.backends = empty.external.backends = empty.inside.backends = {};
    begin(with_tc(), facts(), {empty});
    in_pod([&] {
        // Another error than the loopback device's, which has neither of the addresses.
        ASSERT_EQ(std::system("ip addr del 192.0.2.7/32 dev lo"), 0);
        EXPECT_EQ(tcp_reach(AF_INET, kNodeAddress, kNodePort).error, ECONNREFUSED);
    });
}

TEST_F(HookPathTest, WithoutPacketProgramsEverybodyIsTaken) {
    begin(options(), facts(), {});
    in_pod([&] {
        const EchoServer one("127.0.0.1", 1);
        apply({{web(Protocol::kTcp, one.backend(), true)}, {}});
        taken("10.96.0.1", 80);
        taken(kNodeAddress, kNodePort);
    });
}

TEST_F(HookPathTest, ACookieIsOfOneNamespace) {
    const auto here = netns_cookie();
    ASSERT_TRUE(here);
    EXPECT_EQ(netns_cookie().value(), *here);
    in_pod([&] { EXPECT_NE(netns_cookie().value(), *here); });
}

}  // namespace
}  // namespace sluice::dataplane
