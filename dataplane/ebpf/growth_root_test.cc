// Flow tables that double under traffic. No flow may be lost: one that were would choose among fifty backends anew.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <tuple>

#include "dataplane/ebpf/flow_growth.h"
#include "dataplane/ebpf/test_frames.h"

namespace sluice::dataplane {
namespace {

constexpr int kBackends = 50;
constexpr std::uint8_t kUdp = 17;

class GrowthTest : public EngineFixture {
protected:
    void SetUp() override {
        with.tc = true;
        with.socket_hooks = false;
        with.xdp = XdpMode::kOff;
        with.flow_entries = 1024;
        with.flow_entries_max = 4096;
        ASSERT_TRUE(make_node_links());
        std::vector<image::Backend> backends;
        for (int i = 0; i < kBackends; ++i) {
            backends.push_back({IpAddress::parse(fmt::format("10.244.2.{}", i + 1)).value(), 8080, false,
                                false, {}});
        }
        dns = make_service("dns", Protocol::kUdp, "10.96.0.10", 53, backends);
    }
    void TearDown() override {
        EngineFixture::TearDown();
        remove_node_links();
    }

    struct Flow {
        std::string client;
        std::uint16_t port = 0;
        std::string backend;
    };
    // Sends the client's packet; the backend it goes to, empty if it was dropped.
    static std::string ask(const Ingress& pod, const Flow& flow) {
        packets::Spec there;
        there.src = flow.client;
        there.sport = flow.port;
        there.dst = "10.96.0.10";
        there.dport = 53;
        there.protocol = kUdp;
        return pod.run(there).dst;
    }
    // Sends the backend's answer; whether it came from the service to the client.
    static bool answer(const Ingress& uplink, const Flow& flow) {
        packets::Spec back;
        back.src = flow.backend;
        back.sport = 8080;
        back.dst = flow.client;
        back.dport = flow.port;
        back.protocol = kUdp;
        const packets::View out = uplink.run(back);
        return out.src == "10.96.0.10" && out.sport == 53 && out.dst == flow.client;
    }
    // Flows that are in the table and go on after an answer; what found no room is not among them.
    std::vector<Flow> open_flows(int first, int count) {
        const Ingress pod(paths(), "pod0");
        const Ingress uplink(paths(), "up0");
        std::vector<Flow> out;
        for (int i = first; i < first + count; ++i) {
            Flow flow{fmt::format("10.244.1.{}", 2 + i % 200),
                      static_cast<std::uint16_t>(20000 + i), {}};
            flow.backend = ask(pod, flow);
            if (flow.backend.starts_with("10.244.2.") && answer(uplink, flow) && ask(pod, flow) == flow.backend) {
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
            out += ask(pod, flow) != flow.backend || !answer(uplink, flow);
        }
        return out;
    }
    TableStatus table() const { return engine->status().tables.at(0); }
    // Until the table has the capacity; a test that hangs here fails by its time limit. Programs are loaded in a thread
    // meanwhile.
    void reclaim_until(std::uint64_t capacity) {
        while (table().capacity != capacity) {
            engine->reclaim();
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    bool growing() const {
        const std::vector<std::string> pins = list_directory(paths().state);
        return std::any_of(pins.begin(), pins.end(),
                           [](const std::string& pin) { return pin.ends_with("_old") || pin.ends_with("_was"); });
    }

    EbpfOptions with = options();
    image::Service dns;
};

TEST_F(GrowthTest, DoublesUnderTrafficAndLosesNoFlow) {
    start(with, {dns});
    EXPECT_EQ(table().capacity, 1024U);
    std::vector<Flow> flows = open_flows(0, 620);
    EXPECT_GT(flows.size(), 560U);
    std::atomic<bool> stop{false};
    std::atomic<int> lost{0};
    std::atomic<int> rounds{0};
    const auto traffic = [&](std::size_t part) {
        const Ingress pod(paths(), "pod0");
        const Ingress uplink(paths(), "up0");
        while (!stop) {
            // Each thread asks for all, beginning elsewhere: one flow may be brought over by both at once.
            for (std::size_t i = 0; i < flows.size() && !stop; ++i) {
                const Flow& flow = flows[(i + part * flows.size() / 2) % flows.size()];
                lost += ask(pod, flow) != flow.backend;
                lost += !answer(uplink, flow);
            }
            ++rounds;
        }
    };
    std::thread one(traffic, 0);
    std::thread two(traffic, 1);
    reclaim_until(2048);
    // Changes go on while programs are loaded; what is grown by them meanwhile is loaded for once more.
    image::Change change;
    for (int i = 0; i < 700; ++i) {
        change.upserts.push_back(make_service(fmt::format("s{}", i), Protocol::kTcp,
                                              fmt::format("10.96.{}.{}", 1 + i / 250, 1 + i % 250), 80,
                                              dns.internal.backends));
    }
    apply(change);
    while (growing()) {
        engine->reclaim();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const int before = rounds;
    while (rounds < before + 2) {
        std::this_thread::yield();
    }
    stop = true;
    one.join();
    two.join();
    EXPECT_EQ(lost, 0);
    EXPECT_EQ(table().capacity, 2048U);
    EXPECT_EQ(engine->status().tables.at(1).capacity, 1024U) << "IPv6 had no need";
    EXPECT_EQ(broken(flows), 0);
    // A restart takes the larger table as it is.
    start(with, {dns});
    EXPECT_EQ(table().capacity, 2048U);
    EXPECT_EQ(broken(flows), 0);
    for (const std::string& pin : list_directory(paths().state)) {
        EXPECT_FALSE(pin.ends_with("_old") || pin.ends_with("_was") || pin.ends_with("-next")) << pin;
    }
}

TEST_F(GrowthTest, StopsAtItsLimitAndSaysSo) {
    with.flow_entries_max = 1024;
    start(with, {dns});
    const std::vector<Flow> flows = open_flows(0, 700);
    for (std::uint32_t i = 0; i < 2 * BucketSample::kRounds; ++i) {
        engine->reclaim();
    }
    EXPECT_EQ(table().capacity, 1024U);
    EXPECT_GT(table().refused, 0U);
    EXPECT_GT(table().used, 512U);
    EXPECT_EQ(broken(flows), 0);
}

// A death at each stage: the next start goes back or goes on, and no flow is lost either way.
TEST_F(GrowthTest, IsTakenUpByTheNextStart) {
    for (int stage = 0; stage < 3; ++stage) {
        start(with, {dns});
        const std::vector<Flow> flows = open_flows(0, 350);
        EXPECT_GT(flows.size(), 330U);
        engine.reset();
        const FlowPins pins(paths().state);
        ASSERT_TRUE(pins.begin(true, true));
        if (stage >= 1) {
            ASSERT_TRUE(pins.beside());
        }
        if (stage >= 2) {
            ASSERT_TRUE(pins.swap());
        }
        start(with, {dns});
        EXPECT_EQ(table().capacity, stage >= 2 ? 2048U : 1024U) << stage;
        EXPECT_EQ(broken(flows), 0) << stage;
        for (const std::string& pin : list_directory(paths().state)) {
            EXPECT_FALSE(pin.ends_with("_old") || pin.ends_with("_was") || pin.ends_with("-next"))
                << pin;
        }
        engine.reset();
        ASSERT_TRUE(cleanup_ebpf(with));
    }
}

TEST_F(GrowthTest, OptionsOutOfRangeAreRefusedByName) {
    for (const auto& [entries, most, word] :
         {std::tuple{1U, 4096U, "flow_entries is 1"}, std::tuple{4096U, 2048U, "more than flow_entries_max"},
          std::tuple{4096U, 1U << 30U, "flow_entries_max is"}}) {
        with.flow_entries = entries;
        with.flow_entries_max = most;
        const auto opened = open_ebpf_engine(with);
        ASSERT_FALSE(opened);
        EXPECT_NE(opened.error().message.find(word), std::string::npos) << opened.error().message;
    }
}

}  // namespace
}  // namespace sluice::dataplane
