// SIGKILL at each step: the engine runs in a child that is stopped at each of its system calls, and killed at the n-th,
// for n over all of them (a stride of them; with SLUICE_CRASH_ALL set, every one: scripts/crash-steps).
//
// What must hold after each: who connects to a service reaches it, by the old state or the new; the next start
// succeeds, reaches what is desired, and leaves nothing behind.
#include <net/if.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <set>

#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/test_frames.h"

namespace sluice::dataplane {
namespace {

using image::Service;

// Kills in one sweep, unless all are asked for; chosen so that the whole test lasts well under a minute. Those with tc
// programs take the verifier's second each time.
constexpr int kKills = 14;
constexpr int kKillsWithTc = 4;
constexpr int kNever = -1;

using Opened = std::unique_ptr<Engine>;
using Prepare = std::function<Opened()>;
using Step = std::function<bool(Opened&)>;

// Runs prepare() in a child, then step() with a stop at the entry of each system call of each thread that the step
// starts or runs in; kills it at stop number kill_at. Returns how many there were, -1 if the step failed by itself.
int run_and_kill(const Prepare& prepare, const Step& step, int kill_at) {
    const pid_t child = fork();
    if (child == 0) {
        Opened engine = prepare();
        ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        raise(SIGSTOP);
        // Without destructors: the end of the process is the end.
        _exit(step(engine) ? 0 : 1);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
        return -1;
    }
    ptrace(PTRACE_SETOPTIONS, child, nullptr,
           PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    std::set<pid_t> inside;  // between entry and exit of a system call
    int count = 0;
    for (;;) {
        const pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0) {
            return -1;
        }
        if (!WIFSTOPPED(status)) {
            if (thread == child) {
                return WIFSIGNALED(status) || WEXITSTATUS(status) == 0 ? count : -1;
            }
            continue;
        }
        long signal = 0;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            if (inside.erase(thread) == 0) {
                inside.insert(thread);
                if (count == kill_at) {
                    kill(child, SIGKILL);
                    continue;
                }
                ++count;
            }
        } else if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP) {
            signal = WSTOPSIG(status);
        }
        ptrace(PTRACE_SYSCALL, thread, nullptr, signal);
    }
}

class CrashTest : public EngineFixture {
protected:
    void SetUp() override {
        web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
        more = make_service("more", Protocol::kTcp, "10.96.0.2", 80, {two.backend()});
    }

    Opened open_with(const std::vector<Service>& services) const {
        auto opened = open_ebpf_engine(with);
        if (!opened || !(*opened)->replace_all(node(), services)) {
            return nullptr;
        }
        return std::move(*opened);
    }

    // The next start, by this process.
    void recover(const std::string& when) {
        engine.reset();
        auto opened = open_ebpf_engine(with);
        ASSERT_TRUE(opened) << when << opened.error().to_string();
        const auto done = (*opened)->replace_all(desired_node, std::vector{web, more});
        ASSERT_TRUE(done) << when << done.error().to_string();
        EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, '1') << when;
        EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.2", 80).number, '2') << when;
        const std::string current = *current_image(paths());
        EXPECT_EQ(list_directory(paths().root),
                  (std::vector<std::string>{"current", current.substr(current.rfind('/') + 1),
                                            "links", "state-v1"}))
            << when;
        for (const std::string& name : list_directory(paths().state)) {
            EXPECT_EQ(name, state_pin_name(state_base_name(name))) << when;
        }
        const std::size_t hooks = list_directory(paths().links).size();
        EXPECT_EQ(hooks, (*opened)->status().attached.size()) << when;
        opened->reset();
    }

    // had_state: a dataplane was in force before the step, so there must be one at every moment.
    void sweep(const char* what, const Prepare& prepare, const Step& step, bool had_state) {
        recover("before");
        if (!had_state) {
            ASSERT_TRUE(cleanup_ebpf(with));
        }
        const int calls = run_and_kill(prepare, step, kNever);
        ASSERT_GT(calls, 0) << what;
        recover("after");
        if (!had_state) {
            ASSERT_TRUE(cleanup_ebpf(with));
        }
        const int kills = with.tc ? kKillsWithTc : kKills;
        const int stride =
            std::getenv("SLUICE_CRASH_ALL") != nullptr ? 1 : std::max(1, (calls + kills - 1) / kills);
        int killed = 0;
        for (int n = 0; n < calls + stride; n += stride) {
            const std::string when = fmt::format("{}, killed at system call {} of {}: ", what, n, calls);
            if (run_and_kill(prepare, step, n) < 0) {
                ADD_FAILURE() << when << "the step failed by itself";
            }
            const Reached reached = tcp_reach(AF_INET, "10.96.0.1", 80);
            const bool nothing_yet = !had_state && reached.error == ENETUNREACH;
            EXPECT_TRUE(reached.number == '1' || nothing_yet) << when << std::strerror(reached.error);
            ++killed;
            recover(when);
            if (HasFailure()) {
                return;
            }
            if (!had_state) {
                ASSERT_TRUE(cleanup_ebpf(with));
            }
        }
        std::printf("%s: %d kills over %d system calls\n", what, killed, calls);
    }

    const EchoServer one{"127.0.0.1", 1};
    const EchoServer two{"127.0.0.2", 2};
    Service web;
    Service more;
    EbpfOptions with = options();
    image::Node desired_node = node();
};

TEST_F(CrashTest, FirstStart) {
    sweep("first start", [] { return Opened(); },
          [&](Opened&) { return open_with({web, more}) != nullptr; }, false);
}

TEST_F(CrashTest, Restart) {
    sweep("restart", [] { return Opened(); },
          [&](Opened&) { return open_with({web, more}) != nullptr; }, true);
}

TEST_F(CrashTest, Growth) {
    image::Change change;
    for (int i = 0; i < 700; ++i) {
        change.upserts.push_back(make_service(fmt::format("s{}", i), Protocol::kTcp,
                                              fmt::format("10.96.{}.{}", 1 + i / 250, 1 + i % 250),
                                              80, {one.backend(), two.backend()}));
    }
    sweep("growth", [&] { return open_with({web, more}); },
          [&](Opened& opened) { return opened && opened->apply(change).has_value(); }, true);
}

TEST_F(CrashTest, NodeFacts) {
    image::Node other = node();
    other.service_cidrs.push_back(IpPrefix::parse("10.97.0.0/16").value());
    other.nodeport_addresses = {IpAddress::parse("192.0.2.1").value()};
    sweep("node facts", [&] { return open_with({web, more}); },
          [&](Opened& opened) { return opened && opened->set_node(other).has_value(); }, true);
}

TEST_F(CrashTest, Devices) {
    ASSERT_EQ(std::system("ip link add crash0 type veth peer name crash1 && ip link set crash0 up && "
                          "ip link set crash1 up"),
              0);
    with.tc = true;
    with.flow_entries = 4096;
    with.devices = {"crash*"};
    sweep("devices",
          [&] {
              // A link that is down is nobody's; it comes up after the start.
              Opened opened = std::system("ip link set crash0 down") == 0 ? open_with({web, more})
                                                                          : nullptr;
              return std::system("ip link set crash0 up") == 0 ? std::move(opened) : nullptr;
          },
          [&](Opened& opened) { return opened && opened->sync_devices().has_value(); }, true);
    ASSERT_EQ(std::system("ip link del crash0"), 0);
}

// All three exchanges of programs, with flows to carry.
TEST_F(CrashTest, FlowGrowth) {
    constexpr std::uint64_t kLarger = 2048;
    constexpr int kFlows = 700;
    ASSERT_TRUE(make_node_links());
    with.tc = true;
    with.xdp = XdpMode::kOff;
    with.flow_entries = 1024;
    with.flow_entries_max = kLarger;
    with.devices = {"pod0", "up0"};
    const Service far = make_service("far", Protocol::kTcp, "10.96.0.3", 80,
                                     {{IpAddress::parse("10.244.2.1").value(), 8080, false, false, {}}});
    const auto full = [&] {
        if (!cleanup_ebpf(with)) {
            return Opened();
        }
        Opened opened = open_with({web, more, far});
        const Ingress pod(paths(), "pod0");
        for (int i = 0; i < kFlows; ++i) {
            packets::Spec packet;
            packet.src = fmt::format("10.244.1.{}", 2 + i % 200);
            packet.sport = static_cast<std::uint16_t>(20000 + i);
            packet.dst = "10.96.0.3";
            packet.dport = 80;
            EXPECT_EQ(pod.run(packet).dst, "10.244.2.1");
        }
        return opened;
    };
    const auto grow = [&](Opened& opened) {
        const auto moving = [&] {
            const auto pins = list_directory(paths().state);
            return std::any_of(pins.begin(), pins.end(), [](const std::string& pin) { return pin.ends_with("_old"); });
        };
        while (opened && (opened->status().tables.at(0).capacity != kLarger || moving())) {
            opened->reclaim();
            usleep(20000);
        }
        return opened != nullptr;
    };
    sweep("flow growth", full, grow, true);
    remove_node_links();
}

}  // namespace
}  // namespace sluice::dataplane
