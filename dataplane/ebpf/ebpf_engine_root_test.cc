// The engine against the kernel: real sockets through the hooks, in a network namespace and cgroup
// of their own.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/inspect.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/ebpf/sandbox.h"

namespace sluice::dataplane {
namespace {

using image::Service;

constexpr int kTestServices = 3000;

class EbpfEngineTest : public testing::Test {
protected:
    static void SetUpTestSuite() {
        sandbox = Sandbox::enter();
        ASSERT_TRUE(sandbox);
    }
    static void TearDownTestSuite() { sandbox.reset(); }
    void TearDown() override {
        engine.reset();
        ASSERT_TRUE(cleanup_ebpf(options()));
    }

    static EbpfOptions options() {
        EbpfOptions out;
        out.object_dir = SLUICE_BPF_DIR;
        out.bpffs = sandbox->bpffs();
        out.cgroup_root = sandbox->cgroup();
        out.tc = false;
        return out;
    }
    static image::Node node() {
        image::Node out;
        out.service_cidrs = {IpPrefix::parse("10.96.0.0/16").value(),
                             IpPrefix::parse("fd00:96::/112").value()};
        return out;
    }
    void start(const std::vector<Service>& services) {
        engine.reset();
        auto opened = open_ebpf_engine(options());
        ASSERT_TRUE(opened) << opened.error().to_string();
        engine = std::move(*opened);
        const auto done = engine->replace_all(node(), services);
        ASSERT_TRUE(done) << done.error().to_string();
    }
    void apply(const image::Change& change) {
        const auto done = engine->apply(change);
        ASSERT_TRUE(done) << done.error().to_string();
    }

    static std::unique_ptr<Sandbox> sandbox;
    std::unique_ptr<Engine> engine;
};
std::unique_ptr<Sandbox> EbpfEngineTest::sandbox;

// Connects in a loop until destroyed; failures are counted, and so is what was reached.
class Load {
public:
    Load(const std::string& address, std::uint16_t port)
        : thread_([this, address, port] {
              while (!stopping_) {
                  const Reached reached = tcp_reach(AF_INET, address, port);
                  (reached.error == 0 ? good_ : failed_) += 1;
                  last_error_ = reached.error != 0 ? reached.error : last_error_.load();
              }
          }) {}
    ~Load() { stop(); }
    void stop() {
        stopping_ = true;
        if (thread_.joinable()) thread_.join();
    }
    void wait_for(int more) const {
        const int target = good_ + more;
        while (good_ < target && failed_ == 0) std::this_thread::yield();
    }
    std::atomic<int> good_{0};
    std::atomic<int> failed_{0};
    std::atomic<int> last_error_{0};

private:
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

TEST_F(EbpfEngineTest, TcpReachesBackendsAndPeerIsTheService) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    const EchoServer six("::1", 6);
    start({make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend(), two.backend()}),
           make_service("web6", Protocol::kTcp, "fd00:96::1", 80, {six.backend()})});
    std::set<char> seen;
    for (int i = 0; i < 64; ++i) {
        const Reached reached = tcp_reach(AF_INET, "10.96.0.1", 80);
        ASSERT_EQ(reached.error, 0);
        EXPECT_EQ(reached.peer, "10.96.0.1 80");
        seen.insert(reached.number);
    }
    EXPECT_EQ(seen, (std::set<char>{'1', '2'}));
    const Reached by6 = tcp_reach(AF_INET6, "fd00:96::1", 80);
    EXPECT_EQ(by6.number, '6');
    EXPECT_EQ(by6.peer, "fd00:96::1 80");
    const Reached mapped = tcp_reach(AF_INET6, "10.96.0.1", 80);
    EXPECT_TRUE(mapped.number == '1' || mapped.number == '2') << mapped.error;
    EXPECT_EQ(mapped.peer, "10.96.0.1 80");
    // Directly to the pod, the peer is the pod.
    const Reached direct = tcp_reach(AF_INET, "127.0.0.1", one.port());
    EXPECT_EQ(direct.peer, fmt::format("127.0.0.1 {}", one.port()));
}

TEST_F(EbpfEngineTest, ConnectedUdp) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer six("::1", 6);
    start({make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {one.backend()}),
           make_service("dns6", Protocol::kUdp, "fd00:96::10", 53, {six.backend()})});
    for (const int family : {AF_INET, AF_INET6}) {
        const Reached reached = udp_connected_reach(family, "10.96.0.10", 53);
        EXPECT_EQ(reached.number, '1') << reached.error;
        EXPECT_EQ(reached.peer, "10.96.0.10 53");
    }
    const Reached reached = udp_connected_reach(AF_INET6, "fd00:96::10", 53);
    EXPECT_EQ(reached.number, '6') << reached.error;
    EXPECT_EQ(reached.peer, "fd00:96::10 53");
}

TEST_F(EbpfEngineTest, ReconnectingElsewhereForgetsTheService) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {one.backend()})});
    const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
    ASSERT_EQ(connect_to(socket.get(), AF_INET, "10.96.0.10", 53), 0);
    EXPECT_EQ(peer_name(socket.get()), "10.96.0.10 53");
    ASSERT_EQ(connect_to(socket.get(), AF_INET, "127.0.0.1", one.port()), 0);
    EXPECT_EQ(peer_name(socket.get()), fmt::format("127.0.0.1 {}", one.port()));
}

TEST_F(EbpfEngineTest, UnconnectedUdpSticksAndFollowsRemoval) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    const EchoServer six("::1", 6);
    const auto both =
        make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {one.backend(), two.backend()});
    start({both, make_service("dns6", Protocol::kUdp, "fd00:96::10", 53, {six.backend()})});
    for (const int family : {AF_INET, AF_INET6}) {
        const Fd socket = open_socket(family, SOCK_DGRAM);
        const Reached first = udp_reach(socket.get(), family, "10.96.0.10", 53);
        ASSERT_EQ(first.error, 0);
        EXPECT_EQ(first.peer, "10.96.0.10 53");
        for (int i = 0; i < 32; ++i) {
            EXPECT_EQ(udp_reach(socket.get(), family, "10.96.0.10", 53).number, first.number);
        }
        const EchoServer& other = first.number == '1' ? two : one;
        apply({{make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {other.backend()})}, {}});
        const Reached moved = udp_reach(socket.get(), family, "10.96.0.10", 53);
        EXPECT_NE(moved.number, first.number);
        EXPECT_EQ(moved.peer, "10.96.0.10 53");
        apply({{both}, {}});
        EXPECT_EQ(udp_reach(socket.get(), family, "10.96.0.10", 53).number, moved.number);
    }
    const Fd socket = open_socket(AF_INET6, SOCK_DGRAM);
    EXPECT_EQ(udp_reach(socket.get(), AF_INET6, "fd00:96::10", 53).peer, "fd00:96::10 53");
}

TEST_F(EbpfEngineTest, OneUdpSocketTalksToManyServices) {
    constexpr int kServices = 20;
    std::vector<std::unique_ptr<EchoServer>> servers;
    std::vector<Service> services;
    for (int i = 0; i < kServices; ++i) {
        servers.push_back(std::make_unique<EchoServer>("127.0.0.1", 1));
        servers.push_back(std::make_unique<EchoServer>("127.0.0.1", 2));
        services.push_back(
            make_service(fmt::format("udp-{}", i), Protocol::kUdp, fmt::format("10.96.1.{}", i), 53,
                         {servers[servers.size() - 2]->backend(), servers.back()->backend()}));
    }
    start(services);
    const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
    std::vector<char> first(kServices);
    for (int round = 0; round < 4; ++round) {
        for (int i = 0; i < kServices; ++i) {
            const Reached reached =
                udp_reach(socket.get(), AF_INET, fmt::format("10.96.1.{}", i), 53);
            ASSERT_EQ(reached.error, 0);
            EXPECT_EQ(reached.peer, fmt::format("10.96.1.{} 53", i));
            if (round == 0) first[static_cast<std::size_t>(i)] = reached.number;
            EXPECT_EQ(reached.number, first[static_cast<std::size_t>(i)]);
        }
    }
}

TEST_F(EbpfEngineTest, RefusesAndDrops) {
    auto empty = make_service("empty", Protocol::kTcp, "10.96.0.2", 80, {});
    auto local = make_service("local", Protocol::kTcp, "10.96.0.3", 80, {});
    local.internal.when_empty_drop = true;
    auto udp = make_service("udp", Protocol::kUdp, "10.96.0.4", 53, {});
    start({empty, local, udp});
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.2", 80).error, ECONNREFUSED);
    EXPECT_EQ(tcp_reach(AF_INET6, "10.96.0.2", 80).error, ECONNREFUSED);
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.2", 81).error, ECONNREFUSED) << "port not served";
    EXPECT_EQ(udp_connected_reach(AF_INET, "10.96.0.2", 80).error, ECONNREFUSED) << "protocol";
    const Fd socket = open_socket(AF_INET, SOCK_DGRAM);
    EXPECT_EQ(udp_reach(socket.get(), AF_INET, "10.96.0.4", 53).error, ECONNREFUSED);
    // Dropped traffic goes on unchanged, and here finds no route.
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.3", 80).error, ENETUNREACH);
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.99", 80).error, ENETUNREACH);
}

TEST_F(EbpfEngineTest, NodePortAnswersOnNodeAddressesOnly) {
    const EchoServer one("127.0.0.1", 1);
    auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    web.frontends.push_back({IpAddress{}, 30080, image::Scope::kNodePort, true, true});
    start({web});
    image::Node with_address = node();
    with_address.nodeport_addresses = {IpAddress::parse("127.0.0.1").value(),
                                       IpAddress::parse("192.0.2.7").value()};
    ASSERT_TRUE(engine->set_node(with_address));
    const Reached reached = tcp_reach(AF_INET, "192.0.2.7", 30080);
    EXPECT_EQ(reached.number, '1') << reached.error;
    EXPECT_EQ(reached.peer, "192.0.2.7 30080");
    EXPECT_EQ(tcp_reach(AF_INET, "127.0.0.1", 30080).error, ECONNREFUSED) << "never on loopback";
    // Another port of the node is the host's own.
    EXPECT_EQ(tcp_reach(AF_INET, "192.0.2.7", 22).error, ENETUNREACH);
}

TEST_F(EbpfEngineTest, AffinityKeepsAClientOnItsBackend) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend(), two.backend()});
    web.affinity_timeout_s = 10800;
    start({web});
    const char first = tcp_reach(AF_INET, "10.96.0.1", 80).number;
    for (int i = 0; i < 32; ++i) {
        ASSERT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, first);
    }
    const auto& other = first == '1' ? two : one;
    auto moved = web;
    moved.internal.backends = moved.external.backends = moved.inside.backends = {other.backend()};
    apply({{moved}, {}});
    EXPECT_NE(tcp_reach(AF_INET, "10.96.0.1", 80).number, first);
}

TEST_F(EbpfEngineTest, EndpointChangesUnderLoadLoseNothing) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    start({make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()})});
    Load load("10.96.0.1", 80);
    for (int i = 0; i < 300; ++i) {
        const auto& only = i % 2 == 0 ? two : one;
        apply({{make_service("web", Protocol::kTcp, "10.96.0.1", 80, {only.backend()})}, {}});
        EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, i % 2 == 0 ? '2' : '1');
        engine->reclaim();
    }
    load.stop();
    EXPECT_EQ(load.failed_, 0) << std::strerror(load.last_error_);
    EXPECT_GT(load.good_, 0);
}

TEST_F(EbpfEngineTest, ForwardsWithoutAnAgentAndIsTakenOver) {
    const EchoServer one("127.0.0.1", 1);
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    start({web});
    const Fd before = open_socket(AF_INET, SOCK_STREAM);
    ASSERT_EQ(connect_to(before.get(), AF_INET, "10.96.0.1", 80), 0);
    const Fd udp = open_socket(AF_INET, SOCK_DGRAM);
    Load load("10.96.0.1", 80);
    load.wait_for(20);
    for (int restart = 0; restart < 5; ++restart) {
        engine.reset();
        load.wait_for(20);
        start({web, make_service(fmt::format("more-{}", restart), Protocol::kUdp, "10.96.0.9", 53,
                                 {one.backend()})});
        load.wait_for(20);
        EXPECT_EQ(udp_reach(udp.get(), AF_INET, "10.96.0.9", 53).peer, "10.96.0.9 53");
    }
    load.stop();
    EXPECT_EQ(load.failed_, 0) << std::strerror(load.last_error_);
    EXPECT_EQ(peer_name(before.get()), "10.96.0.1 80");
}

TEST_F(EbpfEngineTest, GrowsUnderLoad) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()})});
    Load load("10.96.0.1", 80);
    load.wait_for(20);
    image::Change more;
    for (int i = 0; i < kTestServices; ++i) {
        more.upserts.push_back(make_service(fmt::format("s{}", i), Protocol::kTcp,
                                            fmt::format("10.96.{}.{}", 1 + i / 250, 1 + i % 250),
                                            80, {one.backend()}));
    }
    apply(more);
    EXPECT_EQ(engine->status().services, std::size_t{kTestServices} + 1);
    load.wait_for(20);
    load.stop();
    EXPECT_EQ(load.failed_, 0) << std::strerror(load.last_error_);
    for (int i = 0; i < kTestServices; i += 97) {
        EXPECT_EQ(
            tcp_reach(AF_INET, fmt::format("10.96.{}.{}", 1 + i / 250, 1 + i % 250), 80).number,
            '1');
    }
}

TEST_F(EbpfEngineTest, SurvivesKillsWhilePublishing) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    for (int round = 0; round < 8; ++round) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            auto opened = open_ebpf_engine(options());
            if (!opened || !(*opened)->replace_all(node(), std::vector{web})) _exit(1);
            for (int i = 0;; ++i) {
                image::Change change;
                change.upserts = {
                    web, make_service(fmt::format("s{}", i), Protocol::kTcp,
                                      fmt::format("10.96.{}.{}", 1 + i / 250 % 250, 1 + i % 250),
                                      80, {one.backend(), two.backend()})};
                if (i > 700) {
                    change.removals = {make_service(fmt::format("s{}", i - 700), Protocol::kTcp,
                                                    "10.96.0.1", 80, {})
                                           .key};
                }
                if (!(*opened)->apply(change)) _exit(2);
                (*opened)->reclaim();
            }
        }
        // Any moment will do; later rounds reach further into growth.
        usleep(static_cast<useconds_t>(60000 + 45000 * round));
        ASSERT_EQ(kill(child, SIGKILL), 0);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
        if (std::filesystem::exists(sandbox->bpffs() + "/sluice/links/cgroup_connect4")) {
            EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, '1');
        }
    }
    start({web});
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, '1');
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.1.1", 80).error, ENETUNREACH) << "an old service is gone";
    EXPECT_EQ(engine->status().services, 1U);
    EXPECT_EQ(engine->status().backends, 1U);
}

TEST_F(EbpfEngineTest, InspectorReadsThePinnedImageAndCountersOutliveIt) {
    const EchoServer one("127.0.0.1", 1);
    const auto missing = Inspector::open(sandbox->bpffs());
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kNotFound);
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    const auto empty = make_service("empty", Protocol::kTcp, "10.96.0.2", 80, {});
    start({web, empty});
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, 0);
        EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.2", 80).error, ECONNREFUSED);
    }
    for (int restart = 0; restart < 2; ++restart) {
        auto opened = Inspector::open(sandbox->bpffs());
        ASSERT_TRUE(opened) << opened.error().to_string();
        const auto services = (*opened)->services();
        ASSERT_TRUE(services);
        ASSERT_EQ(services->size(), 2U);
        const ServiceView& view = services->back();
        EXPECT_EQ(view.name, "default/web:main");
        EXPECT_EQ(view.connections, 10U);
        EXPECT_EQ(services->front().refused, 10U);
        ASSERT_EQ(view.internal.size(), 1U);
        EXPECT_EQ(view.internal[0].port, one.port());
        EXPECT_EQ(view.internal[0].target, "default/pod-1");
        ASSERT_EQ(view.frontends.size(), 1U);
        EXPECT_EQ(view.frontends[0].address.to_string(), "10.96.0.1");
        const auto status = (*opened)->status();
        ASSERT_TRUE(status);
        EXPECT_EQ(status->services, 2U);
        EXPECT_EQ(status->backends, 1U);
        EXPECT_EQ(status->programs.size(), 9U);
        EXPECT_GT(status->kernel_bytes, 0U);
        const auto drops = (*opened)->drops();
        ASSERT_TRUE(drops);
        EXPECT_EQ(drops->front().reason, "no_endpoint");
        EXPECT_EQ(drops->front().count, 10U);
        start({empty, web});
    }
}

TEST_F(EbpfEngineTest, TcProgramsLoadAttachAndAreExchanged) {
    const EchoServer one("127.0.0.1", 1);
    const std::vector web{make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()})};
    auto with_tc = options();
    with_tc.tc = true;
    with_tc.devices = {"l?"};
    with_tc.flow_entries = 4096;
    for (int restart = 0; restart < 2; ++restart) {
        engine.reset();
        auto opened = open_ebpf_engine(with_tc);
        ASSERT_TRUE(opened) << opened.error().to_string();
        engine = std::move(*opened);
        const auto done = engine->replace_all(node(), web);
        ASSERT_TRUE(done) << done.error().to_string();
        ASSERT_TRUE(engine->sync_devices());
        const auto status = engine->status();
        EXPECT_EQ(status.attached.size(), 11U);
        EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, '1');
        const auto links = describe_links(PinPaths::under(with_tc.bpffs).links);
        EXPECT_NE(std::find(links.begin(), links.end(), "tcx_ingress_1 lo"), links.end());
        EXPECT_NE(std::find(links.begin(), links.end(), "tcx_egress_1 lo"), links.end());
    }
    // Started without tc, what the earlier agent attached is taken off.
    start(web);
    EXPECT_EQ(engine->status().attached.size(), 9U);
    EXPECT_EQ(describe_links(PinPaths::under(with_tc.bpffs).links).size(), 9U);
}

TEST_F(EbpfEngineTest, FiltersStandInForLinksAndAreRemoved) {
    const bpf_insn code[] = {
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    };
    const Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "pass", "GPL", code, 2, nullptr));
    ASSERT_TRUE(program);
    for (const bool egress : {false, true}) {
        // Twice: the second exchanges the first.
        for (int i = 0; i < 2; ++i) {
            const auto done = attach_filter(DeviceHook{1, egress}, "lo", program.get());
            ASSERT_TRUE(done) << done.error().to_string();
        }
    }
    auto removed = remove_filters();
    ASSERT_TRUE(removed);
    EXPECT_EQ(*removed,
              (std::vector<std::string>{"tc filter on lo ingress", "tc filter on lo egress"}));
    removed = remove_filters();
    ASSERT_TRUE(removed);
    EXPECT_TRUE(removed->empty());
}

TEST_F(EbpfEngineTest, ManyLiveSocketsKeepTheirPeers) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {one.backend()})});
    std::vector<Fd> sockets;
    for (int i = 0; i < 900; ++i) {
        sockets.push_back(open_socket(AF_INET, SOCK_DGRAM));
        ASSERT_EQ(connect_to(sockets.back().get(), AF_INET, "10.96.0.10", 53), 0);
    }
    for (const Fd& socket : sockets) {
        ASSERT_EQ(peer_name(socket.get()), "10.96.0.10 53");
    }
}

TEST_F(EbpfEngineTest, CleanupLeavesNothing) {
    const EchoServer one("127.0.0.1", 1);
    start({make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()})});
    // Also while the agent still holds the links.
    const auto removed = cleanup_ebpf(options());
    ASSERT_TRUE(removed) << removed.error().to_string();
    EXPECT_FALSE(removed->empty());
    // The kernel's own files of a BPF file system stay.
    EXPECT_FALSE(std::filesystem::exists(sandbox->bpffs() + "/sluice"));
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).error, ENETUNREACH);
    const auto again = cleanup_ebpf(options());
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->empty());
}

TEST_F(EbpfEngineTest, SaysWhichRightsAreMissingBeforeAnythingElse) {
    auto wrong = options();
    wrong.bpffs = "/tmp";
    wrong.cgroup_root = "/tmp";
    std::string message;
    std::thread([&] {
        // The system call itself changes this thread alone.
        ASSERT_EQ(syscall(SYS_setresuid, 65534, 65534, 65534), 0);
        auto opened = open_ebpf_engine(wrong);
        ASSERT_FALSE(opened);
        message = opened.error().message;
    }).join();
    EXPECT_NE(message.find("root"), std::string::npos) << message;
    EXPECT_NE(message.find("CAP_BPF"), std::string::npos) << message;
    auto opened = open_ebpf_engine(wrong);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("cgroup2"), std::string::npos);
}

TEST_F(EbpfEngineTest, CleanupIsSilent) {
    testing::internal::CaptureStderr();
    ASSERT_TRUE(cleanup_ebpf(options()));
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(EbpfEngineTest, SaysWhatIsMissing) {
    auto wrong = options();
    wrong.bpffs = "/tmp";
    auto opened = open_ebpf_engine(wrong);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("mount -t bpf"), std::string::npos);
    wrong = options();
    wrong.cgroup_root = "/tmp";
    opened = open_ebpf_engine(wrong);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("cgroup2"), std::string::npos);
    wrong = options();
    wrong.object_dir = "/nonexistent";
    opened = open_ebpf_engine(wrong);
    ASSERT_TRUE(opened);
    const auto done = (*opened)->replace_all(node(), {});
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().message.find("/nonexistent/socket.o"), std::string::npos);
}

}  // namespace
}  // namespace sluice::dataplane
