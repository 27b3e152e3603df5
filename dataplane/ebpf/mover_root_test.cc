// The mover of flows, killed again and again while flows move to a larger table: what is pinned in between can be read
// and gone on with, and no flow is lost.
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "bpf/lib/test_flow_sound.h"
#include "dataplane/ebpf/flow_growth.h"
#include "dataplane/ebpf/inspect_flows.h"
#include "dataplane/ebpf/test_frames.h"

namespace sluice::dataplane {
namespace {

constexpr std::uint32_t kEntries = 1U << 14U;
constexpr int kFlows = 3000;
constexpr int kKills = 12;

struct Flow {
    packets::Spec there, back;
};

class MoverTest : public EngineFixture {
protected:
    void SetUp() override {
        with.tc = true;
        with.socket_hooks = false;
        with.xdp = XdpMode::kOff;
        with.flow_entries = kEntries;
        with.flow_entries_max = 4 * kEntries;
        ASSERT_TRUE(make_node_links());
        std::vector<image::Backend> backends;
        for (int i = 1; i <= 50; ++i) {
            backends.push_back(
                {IpAddress::parse(fmt::format("10.244.2.{}", i)).value(), 8080, false, false, {}});
        }
        dns = make_service("dns", Protocol::kUdp, "10.96.0.10", 53, backends);
    }
    void TearDown() override {
        EngineFixture::TearDown();
        remove_node_links();
    }
    std::vector<Flow> open_flows() {
        const Ingress pod(paths(), "pod0");
        const Ingress uplink(paths(), "up0");
        std::vector<Flow> out;
        for (int i = 0; i < kFlows; ++i) {
            Flow flow;
            flow.there.src = fmt::format("10.244.1.{}", 2 + i % 200);
            flow.there.sport = static_cast<std::uint16_t>(20000 + i);
            flow.there.dst = "10.96.0.10";
            flow.there.dport = 53;
            flow.there.protocol = flow.back.protocol = 17;
            flow.back.src = pod.run(flow.there).dst;
            flow.back.sport = 8080;
            flow.back.dst = flow.there.src;
            flow.back.dport = flow.there.sport;
            if (!flow.back.src.empty() && uplink.run(flow.back).src == "10.96.0.10" &&
                pod.run(flow.there).dst == flow.back.src) {
                out.push_back(flow);
            }
        }
        return out;
    }
    static int broken(const std::vector<Flow>& flows) {
        const Ingress pod(paths(), "pod0");
        const Ingress uplink(paths(), "up0");
        int out = 0;
        for (const Flow& flow : flows) {
            out += pod.run(flow.there).dst != flow.back.src || uplink.run(flow.back).src != "10.96.0.10";
        }
        return out;
    }
    // Flows in either table, by the inspector's eyes.
    static std::size_t listed() {
        const auto tables = FlowTables::open(paths().state);
        EXPECT_TRUE(tables);
        std::size_t out = 0;
        scan_flows((*tables)->view(), [&](const FlowView&) { ++out; });
        return out;
    }
    // The table in use; nobody may have left it claimed or half done.
    static std::string fault() {
        const auto tables = FlowTables::open(paths().state);
        return tables ? flow_fault((*tables)->view(), 0) : tables.error().to_string();
    }

    EbpfOptions with = options();
    image::Service dns;
};

TEST_F(MoverTest, KilledAtAnyMomentLosesNoFlow) {
    start(with, {dns});
    const std::vector<Flow> flows = open_flows();
    ASSERT_GT(flows.size(), kFlows / 100 * 99U);
    engine.reset();
    const FlowPins pins(paths().state);
    ASSERT_TRUE(pins.begin(true, true));
    ASSERT_TRUE(pins.beside());
    EXPECT_GE(listed(), flows.size()) << "the larger table is still empty";
    ASSERT_TRUE(pins.swap());
    EXPECT_GE(listed(), flows.size()) << "all are in the table that is left behind";
    const auto tables = FlowTables::open(paths().state);
    ASSERT_TRUE(tables);
    sluice_flow_view moved = (*tables)->view();
    ASSERT_EQ(moved.mode, SLUICE_FLOW_MOVE);
    moved.mode = SLUICE_FLOW_ALONE;
    const std::string object = std::string(SLUICE_BPF_DIR) + "/flow_move.o";
    int killed = 0;
    for (int i = 0; i < kKills; ++i) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            _exit(pins.carry(object) ? 0 : 1);
        }
        // Once it has carried its share, and is at the next.
        const std::size_t share = flows.size() * static_cast<std::size_t>(i) / kKills;
        siginfo_t ended{};
        for (std::size_t there = 0; there <= share && ended.si_pid == 0;) {
            there = 0;
            scan_flows(moved, [&](const FlowView&) { ++there; });
            ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT), 0);
        }
        kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        killed += WIFSIGNALED(status) ? 1 : 0;
        ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        // A program runs to its end, whoever started it.
        ASSERT_EQ(fault(), "") << "after " << i;
        ASSERT_GE(listed(), flows.size()) << "after " << i;
    }
    std::printf("%d of %d killed before their end\n", killed, kKills);
    start(with, {dns});
    EXPECT_EQ(engine->status().tables.at(0).capacity, 2U * kEntries);
    EXPECT_EQ(broken(flows), 0);
    EXPECT_EQ(fault(), "");
    EXPECT_EQ(listed(), flows.size());
}

}  // namespace
}  // namespace sluice::dataplane
