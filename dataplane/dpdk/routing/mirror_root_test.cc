// The kernel's tables steer the engine: `ip` on a twin device, in a network namespace of the test's
// own. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>

#include "dataplane/dpdk/routing/controller.h"
#include "dataplane/dpdk/routing/discovery.h"
#include "dataplane/dpdk/routing/test_routing.h"

namespace sluice::dpdk {
namespace {

int run(const std::string& command) {
    return std::system(command.c_str());
}  // NOLINT

class MirrorInNamespace : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root to make a network namespace";
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "cannot make a network namespace";
        ASSERT_EQ(
            run("ip link set lo up && ip tuntap add twin0 mode tap && ip link set twin0 up && "
                "ip link add mgmt0 type veth peer name mgmt1 && ip link set mgmt1 up && ip link "
                "set mgmt0 up"),
            0);
        options.interfaces = {make_interface("up0", 0, 0, "02:00:00:00:00:01", {"192.0.2.2/24"})};
        options.twins = {{0, "twin0"}};
    }
    void start() {
        auto made = Controller::make(
            options, [this](const Forwarding*, std::unique_ptr<const Forwarding>) { ++replaced; },
            now);
        ASSERT_TRUE(made) << made.error().to_string();
        controller = std::move(*made);
    }
    // Runs a command and ticks until the condition holds: the kernel's message wakes, time is the
    // test's own.
    template <class Condition>
    bool after(const std::string& command, Condition condition) {
        EXPECT_EQ(run(command), 0) << command;
        for (int i = 0; i < 50; ++i) {
            pollfd ready{controller->fd(), POLLIN, 0};
            ::poll(&ready, 1, 20);
            now += Milliseconds(100);
            controller->tick(now);
            for (auto& frame : controller->take_frames_to_send())
                frames.push_back(std::move(frame));
            if (condition()) return true;
        }
        return false;
    }
    HopKind kind(const char* text) const { return lookup(*controller->current(), text).kind; }
    ControllerOptions options;
    std::unique_ptr<Controller> controller;
    std::vector<OutFrame> frames;
    int replaced = 0;
    Milliseconds now{1'000'000};
};

TEST_F(MirrorInNamespace, RoutesAddressesAndNeighboursOfTheTwin) {
    start();
    EXPECT_EQ(kind("198.51.100.1"), HopKind::kNone);
    EXPECT_TRUE(after("ip addr add 203.0.113.2/24 dev twin0",
                      [&] { return kind("203.0.113.2") == HopKind::kLocal; }));
    EXPECT_EQ(kind("203.0.113.9"), HopKind::kUnresolved);
    ASSERT_FALSE(frames.empty());
    const auto with_own = make_announcement(0, options.interfaces[0], address("203.0.113.2"));
    EXPECT_TRUE(std::any_of(frames.begin(), frames.end(), [&](const auto& f) {
        return f.bytes == with_own.bytes;
    })) << "the new address is announced";
    EXPECT_TRUE(after("ip route add default via 203.0.113.1",
                      [&] { return kind("198.51.100.1") == HopKind::kUnresolved; }));
    EXPECT_TRUE(after("ip neigh add 203.0.113.1 lladdr 02:00:00:00:00:aa dev twin0",
                      [&] { return kind("198.51.100.1") == HopKind::kForward; }));
    EXPECT_EQ(hex({lookup(*controller->current(), "198.51.100.1").l2, 12}),
              "0200000000aa"
              "020000000001");
    EXPECT_TRUE(after("ip neigh change 203.0.113.1 lladdr 02:00:00:00:00:bb dev twin0", [&] {
        return hex({lookup(*controller->current(), "198.51.100.1").l2, 6}) == "0200000000bb";
    }));
    EXPECT_TRUE(
        after("ip -6 addr add 2001:db8::2/64 dev twin0 nodad && ip -6 route add 2600::/16 via "
              "fe80::9 dev twin0",
              [&] { return kind("2600::1") == HopKind::kUnresolved; }));
    EXPECT_TRUE(
        after("ip route del default", [&] { return kind("198.51.100.1") == HopKind::kNone; }));
    EXPECT_TRUE(after("ip addr del 203.0.113.2/24 dev twin0",
                      [&] { return kind("203.0.113.9") == HopKind::kNone; }));
    EXPECT_EQ(kind("192.0.2.9"), HopKind::kUnresolved) << "what is configured stays";
    EXPECT_TRUE(controller->take_complaints().empty());
    const int before = replaced;
    EXPECT_FALSE(after("true", [&] { return replaced != before; })) << "nothing new, no snapshot";
}

TEST_F(MirrorInNamespace, TheKernelKeepsWhatIsItsOwn) {
    options.routes = {"default via 192.0.2.1"};
    start();
    EXPECT_EQ(kind("10.244.1.7"), HopKind::kUnresolved);
    // A pod's route by a device of the kernel, a route to nowhere, an address of another device.
    EXPECT_TRUE(after(
        "ip route add 10.244.1.7/32 dev mgmt0 && ip route add unreachable 10.244.1.0/24 && "
        "ip addr add 172.16.0.2/24 dev mgmt0",
        [&] {
            return kind("172.16.0.2") == HopKind::kLocal && kind("10.244.1.7") == HopKind::kLocal;
        }));
    EXPECT_EQ(kind("10.244.1.8"), HopKind::kLocal);
    EXPECT_EQ(kind("172.16.0.9"), HopKind::kLocal);
    EXPECT_EQ(kind("10.244.2.8"), HopKind::kUnresolved);
    EXPECT_TRUE(after("ip route del unreachable 10.244.1.0/24",
                      [&] { return kind("10.244.1.8") == HopKind::kUnresolved; }));
}

TEST_F(MirrorInNamespace, ATwinMayComeLateAndGo) {
    options.twins = {{0, "late0"}};
    start();
    EXPECT_TRUE(
        after("ip tuntap add late0 mode tap && ip link set late0 up && ip addr add 203.0.113.2/24 "
              "dev late0",
              [&] { return kind("203.0.113.9") == HopKind::kUnresolved; }));
    EXPECT_TRUE(after("ip link del late0", [&] { return kind("203.0.113.9") == HopKind::kNone; }));
    EXPECT_TRUE(after(
        "ip tuntap add early0 mode tap && ip link set early0 name late0 && ip link set late0 up && "
        "ip addr add 203.0.113.3/24 dev late0",
        [&] { return kind("203.0.113.3") == HopKind::kLocal; }));
}

TEST_F(MirrorInNamespace, ManyRoutesAreReadOnceNotOncePerMessage) {
    start();
    const auto dumps = controller->counters().kernel_dumps;
    EXPECT_TRUE(
        after("ip addr add 203.0.113.2/24 dev twin0 && for i in $(seq 0 199); do "
              "echo route add 10.$i.0.0/16 via 203.0.113.1; done | ip -batch -",
              [&] { return kind("10.199.0.1") == HopKind::kUnresolved; }));
    EXPECT_LT(controller->counters().kernel_dumps - dumps, 20U);
    EXPECT_EQ(kind("10.0.0.1"), HopKind::kUnresolved);
}

}  // namespace
}  // namespace sluice::dpdk
