// Connected UDP sockets whose backend leaves, through the real hooks. SERVICE-SEMANTICS: "UDP: when a service's endpoints
// change, flows whose backend no longer serves are forgotten, also when the last endpoint goes"; "connected UDP pinned to
// a deleted backend: destroy those sockets".
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/ebpf/test_engine.h"

namespace sluice::dataplane {
namespace {

using image::Service;

class StalePeersTest : public EngineFixture {
protected:
    Service dns(const std::vector<image::Backend>& backends) const {
        return make_service("dns", Protocol::kUdp, "10.96.0.10", 53, backends);
    }
    static Fd connected(int family, const std::string& address, std::uint16_t port) {
        Fd out = open_socket(family, SOCK_DGRAM);
        EXPECT_EQ(connect_to(out.get(), family, address, port), 0);
        return out;
    }
    // The error that the application is told within two seconds, or 0.
    static int told(const Fd& socket) {
        pollfd waiting{socket.get(), POLLIN, 0};
        poll(&waiting, 1, 2000);
        int error = 0;
        socklen_t length = sizeof(error);
        getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
        return error;
    }
    static int quiet(const Fd& socket) {
        pollfd waiting{socket.get(), POLLIN, 0};
        return poll(&waiting, 1, 100);
    }
    const EchoServer one{"127.0.0.1", 1};
    const EchoServer two{"127.0.0.2", 2};
};

TEST_F(StalePeersTest, ARemovedBackendsSocketIsToldAndANewConnectReachesAnother) {
    for (const int family : {AF_INET, AF_INET6}) {
        start({dns({one.backend()})});
        const Fd stale = connected(family, "10.96.0.10", 53);
        const Fd direct = connected(family, "127.0.0.1", one.port());
        const Fd other = connected(family, "127.0.0.2", two.port());
        apply({{dns({two.backend()})}, {}});
        EXPECT_EQ(told(stale), ECONNABORTED);
        EXPECT_EQ(quiet(direct), 0) << "who connected to the pod itself is left alone";
        EXPECT_EQ(quiet(other), 0);
        EXPECT_EQ(udp_connected_reach(family, "10.96.0.10", 53).number, '2');
        // The same socket may connect again.
        EXPECT_EQ(connect_to(stale.get(), family, "10.96.0.10", 53), 0);
        EXPECT_EQ(peer_name(stale.get()), "10.96.0.10 53");
        EXPECT_EQ(engine->status().stale_sockets.destroyed, 1U);
        EXPECT_EQ(engine->status().stale_sockets.errors, 0U)
            << engine->status().stale_sockets.last_error;
    }
}

TEST_F(StalePeersTest, SocketsOfBackendsThatStayAndOfTcpAreLeftAlone) {
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    const auto same = make_service("same", Protocol::kUdp, "10.96.0.11", 53, {one.backend()});
    start({dns({one.backend()}), web, same});
    const Fd tcp = open_socket(AF_INET, SOCK_STREAM);
    ASSERT_EQ(connect_to(tcp.get(), AF_INET, "10.96.0.1", 80), 0);
    char number = 0;
    ASSERT_EQ(read(tcp.get(), &number, 1), 1);
    const Fd kept = connected(AF_INET, "10.96.0.11", 53);
    const Fd stale = connected(AF_INET, "10.96.0.10", 53);
    // One's backend leaves one service, and stays in another.
    apply({{dns({two.backend()}), make_service("web", Protocol::kTcp, "10.96.0.1", 80, {two.backend()})}, {}});
    EXPECT_EQ(told(stale), ECONNABORTED);
    EXPECT_EQ(quiet(kept), 0);
    EXPECT_EQ(peer_name(kept.get()), "10.96.0.11 53");
    EXPECT_EQ(peer_name(tcp.get()), "10.96.0.1 80") << "TCP flows are never cut";
}

TEST_F(StalePeersTest, ScaledToZeroAndRemovedServices) {
    start({dns({one.backend()})});
    const Fd zero = connected(AF_INET, "10.96.0.10", 53);
    apply({{dns({})}, {}});
    EXPECT_EQ(told(zero), ECONNABORTED);
    EXPECT_EQ(connect_to(zero.get(), AF_INET, "10.96.0.10", 53), ECONNREFUSED);
    apply({{dns({two.backend()})}, {}});
    const Fd removed = connected(AF_INET, "10.96.0.10", 53);
    apply({{}, {dns({}).key}});
    EXPECT_EQ(told(removed), ECONNABORTED);
}

TEST_F(StalePeersTest, ChangesWhileNoAgentRanAreSeenAtTheStart) {
    const auto same = make_service("same", Protocol::kUdp, "10.96.0.11", 53, {one.backend()});
    start({dns({one.backend()}), same});
    const Fd stale = connected(AF_INET, "10.96.0.10", 53);
    const Fd kept = connected(AF_INET, "10.96.0.11", 53);
    start({dns({two.backend()}), same});
    EXPECT_EQ(told(stale), ECONNABORTED);
    EXPECT_EQ(quiet(kept), 0);
}

TEST_F(StalePeersTest, NodePortsOnAnyAddress) {
    auto service = dns({one.backend()});
    service.frontends.push_back({IpAddress::from_v4_be(0), 30053, image::Scope::kNodePort, true, true});
    start({service});
    image::Node with_address = node();
    with_address.nodeport_addresses = {IpAddress::parse("192.0.2.7").value()};
    ASSERT_TRUE(engine->set_node(with_address));
    const Fd stale = connected(AF_INET, "192.0.2.7", 30053);
    auto moved = dns({two.backend()});
    moved.frontends = service.frontends;
    apply({{moved}, {}});
    EXPECT_EQ(told(stale), ECONNABORTED);
}

TEST_F(StalePeersTest, InAnotherNetworkNamespace) {
    start({dns({one.backend()})});
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNET) != 0 || std::system("ip link set lo up") != 0) _exit(100);
        const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
        if (connect_to(socket.get(), AF_INET, "10.96.0.10", 53) != 0) _exit(101);
        if (write(ready[1], "x", 1) != 1) _exit(102);
        char byte = 0;
        _exit(recv(socket.get(), &byte, 1, 0) < 0 ? errno : 103);
    }
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    apply({{dns({two.backend()})}, {}});
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), ECONNABORTED);
}

}  // namespace
}  // namespace sluice::dataplane
