// What local clients get from the socket hooks, and what a person is told about it: real sockets, real tables.
#include "dataplane/ebpf/inspect.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "dataplane/ebpf/inspect_events.h"
#include "dataplane/ebpf/test_engine.h"
#include "dataplane/ebpf/test_frames.h"

namespace sluice::dataplane {
namespace {

constexpr int kMptcp = 262;

// A service whose address a server of the host has too: who is not translated reaches that one, number 9.
struct Shadowed {
    EchoServer host{"127.0.0.9", 9};
    EchoServer one{"127.0.0.1", 1};
    [[nodiscard]] image::Service service(Protocol protocol) const {
        return make_service(protocol == Protocol::kTcp ? "web" : "dns", protocol, "127.0.0.9", host.port(),
                            {one.backend()});
    }
};

class InspectRootTest : public EngineFixture {
protected:
    static image::Service with_choice(image::Service service, image::Choice choice) {
        service.choice = choice;
        return service;
    }
    static image::Service restricted(image::Service service) {
        service.frontends[0].external = true;
        service.frontends[0].restricted = true;
        service.sources = {{IpAddress::parse("127.0.0.0").value(), IpAddress::parse("127.255.255.255").value()}};
        return service;
    }
    static std::unique_ptr<Inspector> inspector() {
        auto opened = Inspector::open(sandbox->bpffs());
        EXPECT_TRUE(opened) << opened.error().to_string();
        return std::move(*opened);
    }
};

TEST_F(InspectRootTest, LocalClientsOfExternalAddressesAreNotBoundByPolicyLocal) {
    const EchoServer here("127.0.0.1", 1);
    const EchoServer elsewhere("127.0.0.2", 2);
    auto service = make_service("lb", Protocol::kTcp, "203.0.113.9", 443,
                                {here.backend(), elsewhere.backend()});
    service.frontends[0].external = true;
    service.external.backends = {here.backend()};
    service.internal.backends = {here.backend()};
    start({service});
    std::set<char> seen;
    for (int i = 0; i < 64; ++i) seen.insert(tcp_reach(AF_INET, "203.0.113.9", 443).number);
    EXPECT_EQ(seen, (std::set<char>{'1', '2'}));
}

TEST_F(InspectRootTest, ConsistentHashAndSourceRangesAreLeftToThePacketPath) {
    const Shadowed at;
    const auto tcp = at.service(Protocol::kTcp);
    const auto udp = at.service(Protocol::kUdp);
    const auto number_now = [&] {
        const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
        return std::string{tcp_reach(AF_INET, "127.0.0.9", at.host.port()).number,
                           udp_connected_reach(AF_INET, "127.0.0.9", at.host.port()).number,
                           udp_reach(socket.get(), AF_INET, "127.0.0.9", at.host.port()).number};
    };
    start({tcp, udp});
    EXPECT_EQ(number_now(), "111");
    for (const auto choice : {image::Choice::kTuple, image::Choice::kClient}) {
        apply({{with_choice(tcp, choice), with_choice(udp, choice)}, {}});
        EXPECT_EQ(number_now(), "999");
    }
    apply({{restricted(tcp), restricted(udp)}, {}});
    EXPECT_EQ(number_now(), "999");
    apply({{tcp, udp}, {}});
    EXPECT_EQ(number_now(), "111");
}

TEST_F(InspectRootTest, AnMptcpSocketReachesTheServicesBackend) {
    const Shadowed at;
    start({at.service(Protocol::kTcp)});
    for (const int family : {AF_INET, AF_INET6}) {
        const Fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, kMptcp));
        if (!socket) GTEST_SKIP() << "this kernel has no MPTCP";
        ASSERT_EQ(connect_to(socket.get(), family, "127.0.0.9", at.host.port()), 0);
        char number = 0;
        ASSERT_EQ(read(socket.get(), &number, 1), 1);
        EXPECT_EQ(number, '1');
    }
}

TEST_F(InspectRootTest, EachConnectionIsCountedForItsEndpoint) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    start({make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend(), two.backend()})});
    std::map<char, std::uint64_t> reached;
    for (int i = 0; i < 50; ++i) ++reached[tcp_reach(AF_INET, "10.96.0.1", 80).number];
    const auto report = inspector()->traffic();
    ASSERT_TRUE(report) << report.error().to_string();
    ASSERT_EQ(report->services.size(), 1U);
    const ServiceTraffic& web = report->services[0];
    EXPECT_EQ(web.name, "default/web:main");
    EXPECT_EQ(web.traffic.connections, 50U);
    ASSERT_EQ(web.backends.size(), 2U);
    EXPECT_EQ(web.backends[0].traffic.connections, reached['1']);
    EXPECT_EQ(web.backends[1].traffic.connections, reached['2']);
}

std::vector<EventView> drain(EventSource& follower) {
    std::vector<EventView> out;
    while (follower.poll(std::chrono::milliseconds(50), [&](const EventView& event) {
               out.push_back(event);
           }).value() != 0) {
    }
    return out;
}

TEST_F(InspectRootTest, TheFlowLogTellsOfHooksOnlyWhileSomebodyFollows) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()})});
    ASSERT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, 0);
    auto follower = EventFollower::open(sandbox->bpffs(), {});
    ASSERT_TRUE(follower) << follower.error().to_string();
    const auto second = EventFollower::open(sandbox->bpffs(), {});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kAlreadyExists);
    EXPECT_TRUE(drain(**follower).empty());

    ASSERT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, 0);
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 81).error, ECONNREFUSED);
    const auto events = drain(**follower);
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].kind, "opened");
    EXPECT_EQ(events[0].place, "socket");
    EXPECT_EQ(events[0].destination.to_string(), "10.96.0.1");
    EXPECT_EQ(events[0].destination_port, 80);
    EXPECT_EQ(events[0].backend.to_string(), "127.0.0.1");
    EXPECT_EQ(events[0].backend_port, one.port());
    EXPECT_TRUE(events[0].has_service);
    EXPECT_EQ(inspector()->service_name(events[0].service_index), "default/web:main");
    EXPECT_EQ(events[1].kind, "refused");
    EXPECT_EQ(events[1].reason, "port_not_served");
    EXPECT_EQ((*follower)->lost(), 0U);

    follower->reset();
    ASSERT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, 0);
    follower = EventFollower::open(sandbox->bpffs(), {false, true, false, 1});
    ASSERT_TRUE(follower);
    ASSERT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, 0);
    EXPECT_TRUE(drain(**follower).empty()) << "only refusals were asked for";
}

TEST_F(InspectRootTest, EventsThatNobodyReadsInTimeAreCounted) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {one.backend()})});
    auto follower = EventFollower::open(sandbox->bpffs(), {});
    ASSERT_TRUE(follower) << follower.error().to_string();
    constexpr std::uint64_t kConnects = 4000;
    for (std::uint64_t i = 0; i < kConnects; ++i) {
        const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
        ASSERT_EQ(connect_to(socket.get(), AF_INET, "10.96.0.10", 53), 0);
    }
    const std::uint64_t lost = (*follower)->lost();
    EXPECT_GT(lost, 0U);
    EXPECT_EQ(drain(**follower).size() + lost, kConnects);
}

// Which service's flow an error is about was not asked; that of the packet before it is another's.
TEST_F(InspectRootTest, AnErrorThatIsDroppedIsOfNoService) {
    ASSERT_TRUE(make_node_links());
    cpu_set_t before{}, one{};
    // What is known of a packet lies in memory of its CPU.
    ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_SET(0, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EbpfOptions with = options();
    with.tc = true;
    with.socket_hooks = false;
    with.xdp = XdpMode::kOff;
    start(with, {make_service("dns", Protocol::kUdp, "10.96.0.10", 53,
                              {{IpAddress::parse("10.244.2.1").value(), 8080, false, false, {}}})});
    const Ingress pod(paths(), "pod0"), uplink(paths(), "up0");
    packets::Spec sent;
    sent.src = "10.244.1.5";
    sent.dst = "10.96.0.10";
    sent.dport = 53;
    sent.protocol = 17;
    ASSERT_EQ(pod.run(sent).dst, "10.244.2.1");
    packets::Spec there = sent;
    there.dst = "10.244.2.1";
    there.dport = 8080;
    packets::Bytes error = packets::icmp_error(there.dst, sent.src, 3, 3, 0, packets::build(there));
    packets::set_ttl(error, 1);
    auto follower = EventFollower::open(sandbox->bpffs(), {});
    ASSERT_TRUE(follower) << follower.error().to_string();
    ++sent.sport;
    ASSERT_EQ(pod.run(sent).dst, "10.244.2.1");
    (void)uplink.run(error);
    const auto events = drain(**follower);
    EXPECT_EQ(events.size(), 2U);
    if (events.size() == 2) {
        EXPECT_TRUE(events[0].has_service);
        EXPECT_EQ(events[1].reason, "ttl_expired");
        EXPECT_FALSE(events[1].has_service);
    }
    EXPECT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
    remove_node_links();
}

TEST_F(InspectRootTest, AKilledFollowersLeaseEnds) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()})});
    auto follower = EventFollower::open(sandbox->bpffs(), {});
    ASSERT_TRUE(follower) << follower.error().to_string();
    const Fd log(bpf_obj_get((paths().state + "/" + state_pin_name("sluice_log")).c_str()));
    const std::uint32_t zero = 0;
    sluice_log_config config{};
    ASSERT_EQ(bpf_map_lookup_elem(log.get(), &zero, &config), 0);
    EXPECT_NE(config.kinds, 0U);
    config.until_ns = 1;
    ASSERT_EQ(bpf_map_update_elem(log.get(), &zero, &config, BPF_ANY), 0);
    ASSERT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, 0);
    ASSERT_EQ(bpf_map_lookup_elem(log.get(), &zero, &config), 0);
    EXPECT_EQ(config.kinds, 0U) << "from here on it costs one look at a word";
    // Who still lives renews it.
    EXPECT_TRUE(drain(**follower).empty());
    ASSERT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, 0);
    EXPECT_EQ(drain(**follower).size(), 1U);
}

TEST_F(InspectRootTest, SamplingTakesAShare) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {one.backend()})});
    auto follower = EventFollower::open(sandbox->bpffs(), {true, true, true, 10});
    ASSERT_TRUE(follower) << follower.error().to_string();
    for (int i = 0; i < 2000; ++i) {
        const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
        ASSERT_EQ(connect_to(socket.get(), AF_INET, "10.96.0.10", 53), 0);
    }
    // 200 are expected; beyond these bounds by chance once in 10^12.
    const std::size_t taken = drain(**follower).size();
    EXPECT_GT(taken, 100U);
    EXPECT_LT(taken, 310U);
}

}  // namespace
}  // namespace sluice::dataplane
