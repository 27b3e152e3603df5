// The table of ClientIP affinity doubling under traffic. A client that it forgot would choose among fifty backends
// anew.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "dataplane/ebpf/affinity_growth.h"
#include "dataplane/ebpf/test_frames.h"

namespace sluice::dataplane {
namespace {

constexpr int kBackends = 50;
constexpr std::uint8_t kUdp = 17;

struct Client {
    std::string address;
    std::string backend;
};

class AffinityGrowthTest : public EngineFixture {
protected:
    void SetUp() override {
        with.tc = true;
        with.socket_hooks = false;
        with.xdp = XdpMode::kOff;
        with.affinity_entries = 1024;
        with.affinity_entries_max = 2048;
        ASSERT_TRUE(make_node_links());
        std::vector<image::Backend> backends;
        for (int i = 0; i < kBackends; ++i) {
            backends.push_back({IpAddress::parse(fmt::format("10.244.2.{}", i + 1)).value(), 8080, false, false, {}});
        }
        sticky = make_service("sticky", Protocol::kUdp, "10.96.0.10", 53, backends);
        sticky.affinity_timeout_s = 10800;
    }
    void TearDown() override {
        EngineFixture::TearDown();
        remove_node_links();
    }

    static Client client(int number) {
        return {fmt::format("10.245.{}.{}", number / 250, 1 + number % 250), {}};
    }
    // A connection of its own each time: another source port.
    static std::string connect(const Ingress& pod, const Client& client) {
        static std::atomic<std::uint16_t> port{0};
        packets::Spec there;
        there.src = client.address;
        there.sport = static_cast<std::uint16_t>(1024 + port++ % 60000);
        there.dst = "10.96.0.10";
        there.dport = 53;
        there.protocol = kUdp;
        return pod.run(there).dst;
    }
    // Clients that the table knows all at once: those that found their bucket full of others are left out.
    static std::vector<Client> known_clients(int count) {
        const Ingress pod(paths(), "pod0");
        std::vector<Client> out;
        for (int i = 0; i < count; ++i) {
            out.push_back(client(i));
            out.back().backend = connect(pod, out.back());
        }
        for (std::size_t before = 0; before != out.size();) {
            before = out.size();
            std::erase_if(out, [&](const Client& one) { return connect(pod, one) != one.backend; });
        }
        return out;
    }
    static int forgotten(const std::vector<Client>& clients) {
        const Ingress pod(paths(), "pod0");
        return static_cast<int>(std::count_if(clients.begin(), clients.end(), [&](const Client& one) {
            return connect(pod, one) != one.backend;
        }));
    }
    [[nodiscard]] TableStatus table() const {
        for (const TableStatus& one : engine->status().tables) {
            if (one.name == "affinity") return one;
        }
        return {};
    }
    static bool growing() { return AffinityGrowth(paths().state).pending(); }
    static void expect_no_pins_beside() {
        for (const std::string& pin : list_directory(paths().state)) {
            EXPECT_FALSE(pin.ends_with("_was") || pin.ends_with("-next")) << pin;
        }
    }

    EbpfOptions with = options();
    image::Service sticky;
};

TEST_F(AffinityGrowthTest, DoublesUnderTrafficAndForgetsNoClient) {
    start(with, {sticky});
    EXPECT_EQ(table().capacity, 1024U);
    const std::vector<Client> clients = known_clients(640);
    EXPECT_GT(clients.size(), 560U);
    std::atomic<bool> stop{false};
    std::atomic<int> lost{0}, rounds{0};
    std::thread old_clients([&] {
        while (!stop) {
            lost += forgotten(clients);
            ++rounds;
        }
    });
    // Those that come for the first time while it grows, into whichever table.
    std::vector<Client> late;
    std::thread new_clients([&] {
        const Ingress pod(paths(), "pod0");
        for (int i = 1000; !stop && i < 1300; ++i) {
            late.push_back(client(i));
            late.back().backend = connect(pod, late.back());
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    });
    while (table().capacity != 2048 || growing()) {
        engine->reclaim();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const int before = rounds;
    while (rounds < before + 2) std::this_thread::yield();
    stop = true;
    old_clients.join();
    new_clients.join();
    EXPECT_EQ(table().displaced == 0 ? lost.load() : 0, 0);
    EXPECT_LE(forgotten(clients) + forgotten(late), static_cast<int>(table().displaced));
    EXPECT_GT(table().used, clients.size() / 2);
    expect_no_pins_beside();
    // A restart takes the larger table as it is.
    start(with, {sticky});
    EXPECT_EQ(table().capacity, 2048U);
    EXPECT_EQ(forgotten(known_clients(300)), 0);
}

TEST_F(AffinityGrowthTest, StopsAtItsLimitAndSaysSo) {
    with.affinity_entries_max = 1024;
    start(with, {sticky});
    const std::vector<Client> clients = known_clients(700);
    for (int i = 0; i < 40; ++i) engine->reclaim();
    EXPECT_EQ(table().capacity, 1024U);
    EXPECT_GT(table().refused, 0U);
    EXPECT_EQ(forgotten(clients), 0);
    for (int i = 2000; i < 3000; ++i) connect(Ingress(paths(), "pod0"), client(i));
    EXPECT_GT(table().displaced, 0U);
}

// A death at each stage: the next start goes back or goes on, and no client is forgotten either way.
TEST_F(AffinityGrowthTest, IsTakenUpByTheNextStart) {
    for (int stage = 0; stage < 2; ++stage) {
        start(with, {sticky});
        const std::vector<Client> clients = known_clients(300);
        EXPECT_GT(clients.size(), 280U);
        // With the programs of before in force still, which is where those go that come now.
        ASSERT_TRUE(AffinityGrowth(paths().state).begin());
        Client late = client(999);
        late.backend = connect(Ingress(paths(), "pod0"), late);
        engine.reset();
        if (stage == 0) {
            // It died between the two pins.
            const std::string config = paths().state + "/" + state_pin_name("sluice_aff_cfg");
            const Fd was(bpf_obj_get((config + "_was").c_str()));
            ASSERT_TRUE(replace_pin(was.get(), config));
        }
        start(with, {sticky});
        EXPECT_EQ(table().capacity, stage == 0 ? 1024U : 2048U);
        EXPECT_EQ(forgotten(clients), 0) << stage;
        EXPECT_EQ(forgotten({late}), 0) << stage;
        expect_no_pins_beside();
        engine.reset();
        ASSERT_TRUE(cleanup_ebpf(with));
    }
}

TEST_F(AffinityGrowthTest, OptionsOutOfRangeAreRefusedByName) {
    with.affinity_entries = 5;
    const auto opened = open_ebpf_engine(with);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("affinity_entries is 5"), std::string::npos) << opened.error().message;
}

}  // namespace
}  // namespace sluice::dataplane
