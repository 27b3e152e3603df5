// The table of ClientIP affinity doubling under traffic. A client that it forgot would choose among fifty backends
// anew.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "api/abi/affinity.h"
#include "dataplane/ebpf/affinity_growth.h"
#include "dataplane/ebpf/bpf_array.h"
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
    [[nodiscard]] std::vector<Client> known_clients(int count) const {
        const Ingress pod(paths(), "pod0");
        std::vector<Client> out;
        for (int i = 0; i < count; ++i) {
            out.push_back(client(i));
            out.back().backend = connect(pod, out.back());
        }
        for (std::uint64_t before = ~std::uint64_t{0}; before != table().displaced;) {
            before = table().displaced;
            std::erase_if(out, [&](const Client& one) { return connect(pod, one) != one.backend; });
        }
        return out;
    }
    // By which the table has the same buckets for the same clients. REQUIRES: nobody came yet.
    static void set_seed(std::uint64_t seed) {
        const Fd config(bpf_obj_get((paths().state + "/" + state_pin_name("sluice_aff_cfg")).c_str()));
        const std::uint32_t zero = 0;
        sluice_affinity_config facts{};
        ASSERT_EQ(bpf_map_lookup_elem(config.get(), &zero, &facts), 0);
        facts.seed = seed;
        ASSERT_EQ(bpf_map_update_elem(config.get(), &zero, &facts, BPF_ANY), 0);
    }
    static void make_known(std::vector<Client>& clients) {
        const Ingress pod(paths(), "pod0");
        for (Client& one : clients) one.backend = connect(pod, one);
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
    constexpr std::uint64_t kSeed = 77;
    start(with, {sticky});
    EXPECT_EQ(table().capacity, 1024U);
    // So many that the table has room for all of them by this seed: nobody is displaced below.
    set_seed(kSeed);
    std::vector<Client> clients = known_clients(720);
    engine.reset();
    ASSERT_TRUE(cleanup_ebpf(with));
    start(with, {sticky});
    set_seed(kSeed);
    ASSERT_GT(clients.size(), 640U);
    std::vector<Client> late(clients.begin() + 560, clients.end());
    clients.resize(560);
    make_known(clients);
    while (!growing()) engine->reclaim();
    // Who comes for the first time while it grows: the programs of before know the smaller table alone.
    make_known(late);
    std::atomic<bool> stop{false};
    std::atomic<int> lost{0}, rounds{0};
    std::thread traffic([&] {
        while (!stop) {
            lost += forgotten(late) + forgotten(clients);
            ++rounds;
        }
    });
    while (table().capacity != 2048 || growing()) {
        engine->reclaim();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const int before = rounds;
    while (rounds < before + 2) std::this_thread::yield();
    stop = true;
    traffic.join();
    EXPECT_EQ(lost, 0);
    EXPECT_EQ(table().displaced, 0U);
    EXPECT_EQ(forgotten(clients) + forgotten(late), 0);
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

// Pins that say of one table how large it is and of the other what it holds would be loaded by the next programs.
TEST_F(AffinityGrowthTest, WhatCannotBeBegunIsPutBack) {
    start(with, {sticky});
    const std::vector<Client> clients = known_clients(300);
    const AffinityGrowth growth(paths().state);
    const std::string table_pin = paths().state + "/" + state_pin_name("sluice_affinity");
    const std::string in_the_way = paths().state + "/" + state_pin_name("sluice_aff_cfg") + "-next";
    const auto pinned = [&] { return array_shape(Fd(bpf_obj_get(table_pin.c_str()))).id; };
    const auto before = pinned();
    // The last pin of all cannot be made.
    ASSERT_EQ(mkdir(in_the_way.c_str(), 0700), 0);
    EXPECT_FALSE(growth.begin());
    ASSERT_EQ(rmdir(in_the_way.c_str()), 0);
    EXPECT_FALSE(growth.pending());
    EXPECT_EQ(pinned(), before);
    EXPECT_EQ(forgotten(clients), 0);
    expect_no_pins_beside();
    ASSERT_TRUE(growth.begin());
    EXPECT_NE(pinned(), before);
}

// Programs for the larger table that cannot be loaded are not loaded all the time, and keep no other table from
// growing; those that are loaded for another's growth use the larger table.
TEST_F(AffinityGrowthTest, AFailureIsCountedAndKeepsNobodyWaiting) {
    std::string objects = "/tmp/sluice-objects-XXXXXX";
    ASSERT_NE(mkdtemp(objects.data()), nullptr);
    for (const auto& file : std::filesystem::directory_iterator(SLUICE_BPF_DIR)) {
        std::filesystem::create_symlink(file.path(), objects + "/" + file.path().filename().string());
    }
    with.object_dir = objects;
    with.flow_entries = 1U << 14U;
    with.flow_entries_max = 1U << 15U;
    start(with, {sticky});
    const std::vector<Client> clients = known_clients(640);
    std::filesystem::rename(objects + "/tc.o", objects + "/away");
    for (int i = 0; i < 1000 && table().refused == 0; ++i) {
        engine->reclaim();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(growing());
    for (int i = 0; i < 100; ++i) {
        engine->reclaim();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(table().refused, 1U);
    std::filesystem::rename(objects + "/away", objects + "/tc.o");
    const Ingress pod(paths(), "pod0");
    for (int i = 0; i < 12000; ++i) connect(pod, clients[0]);
    for (int i = 0; i < 10000 && (growing() || engine->status().tables.at(0).capacity != 1U << 15U); ++i) {
        engine->reclaim();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(engine->status().tables.at(0).capacity, 1U << 15U);
    EXPECT_EQ(table().capacity, 2048U);
    EXPECT_FALSE(growing());
    EXPECT_EQ(forgotten(clients), 0);
    std::filesystem::remove_all(objects);
}

TEST_F(AffinityGrowthTest, OptionsOutOfRangeAreRefusedByName) {
    with.affinity_entries = 5;
    const auto opened = open_ebpf_engine(with);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("affinity_entries is 5"), std::string::npos) << opened.error().message;
}

}  // namespace
}  // namespace sluice::dataplane
