// Agents of different releases on one set of pins. Images of other layout versions are made by hand here, from the
// description of the layout rather than by the code that reads them.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/test_engine.h"

namespace sluice::dataplane {
namespace {

using image::Service;
using image::Table;

class UpgradeTest : public EngineFixture {
protected:
    // Ids of the maps of state, by pin.
    static std::map<std::string, std::uint32_t> state_ids() {
        std::map<std::string, std::uint32_t> out;
        for (const std::string& name : list_directory(paths().state)) {
            const Fd map(bpf_obj_get((paths().state + "/" + name).c_str()));
            bpf_map_info info{};
            std::uint32_t length = sizeof(info);
            if (map && bpf_obj_get_info_by_fd(map.get(), &info, &length) == 0) {
                out[name] = info.id;
            }
        }
        return out;
    }
    static bool exists(const std::string& path) { return std::filesystem::exists(path); }

    // A pinned array with the given content.
    static void pin_array(const std::string& directory, const char* name, std::uint32_t value_size,
                          std::uint32_t entries, const void* content) {
        LIBBPF_OPTS(bpf_map_create_opts, flags, .map_flags = BPF_F_MMAPABLE);
        const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, value_size, entries, &flags));
        ASSERT_TRUE(map);
        const std::size_t bytes = std::size_t{value_size} * entries;
        void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0);
        ASSERT_NE(at, MAP_FAILED);
        std::memcpy(at, content, bytes);
        munmap(at, bytes);
        ASSERT_EQ(bpf_obj_pin(map.get(), (directory + "/" + name).c_str()), 0);
    }

    // Turns the image in force into one as a release with layout 1 leaves it.
    void become_layout_1(std::uint64_t connections) {
        engine.reset();
        const std::string from = *current_image(paths());
        const std::string to = paths().root + "/image-v1-7";
        {
            auto opened = KernelImage::open(from, false);
            ASSERT_TRUE(opened) << opened.error().to_string();
            const image::Tables& tables = (*opened)->tables();
            const image::Capacities& sizes = (*opened)->capacities();
            ASSERT_EQ(mkdir(to.c_str(), 0700), 0);
            constexpr std::uint32_t kCpus = 2;
            sluice_header header = *tables.header;
            header.layout_version = 1;
            header.counter_rows = kCpus;
            pin_array(to, "sluice_header", sizeof(header), 1, &header);
            // struct sluice_service of layout 1: two words, then flags at 16, timeout, name, port, protocol, family.
            std::vector<std::array<std::uint32_t, 16>> services(sizes.services);
            for (std::uint32_t i = 0; i < sizes.services; ++i) {
                const sluice_service& now = tables.services[i];
                services[i][4] = now.flags;
                services[i][6] = now.name;
                services[i][7] = now.port_be | std::uint32_t{now.protocol} << 16U |
                                 std::uint32_t{now.family} << 24U;
            }
            pin_array(to, "sluice_services", 64, sizes.services, services.data());
            pin_array(to, "sluice_backends", sizeof(sluice_backend), sizes.backends,
                      tables.backends);
            pin_array(to, "sluice_names", 8, sizes.name_bytes / 8, tables.names);
            std::vector<sluice_service_counters> counters(sizes.services * (kCpus + 1));
            for (std::uint32_t i = 0; i < sizes.services; ++i) {
                counters[i].connections = connections;
                counters[sizes.services + i].connections = connections;
                counters[2 * sizes.services + i].refused = 3;
            }
            pin_array(to, "sluice_counters", sizeof(sluice_service_counters),
                      static_cast<std::uint32_t>(counters.size()), counters.data());
            std::vector<std::uint64_t> drops((kCpus + 1) * SLUICE_DROP_STRIDE, 5);
            pin_array(to, "sluice_drops", 8, static_cast<std::uint32_t>(drops.size()),
                      drops.data());
        }
        ASSERT_TRUE(set_current_image(paths(), to));
        ASSERT_TRUE(remove_directory(from));
    }
};

TEST_F(UpgradeTest, TakesOverFromLayout1WithFlowsAndFigures) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    const EchoServer three("127.0.0.3", 3);
    const auto dns = make_service("dns", Protocol::kUdp, "10.96.0.10", 53,
                                  {one.backend(), two.backend(), three.backend()});
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    start({make_service("a", Protocol::kTcp, "10.96.0.3", 80, {two.backend()}), web, dns});
    const Fd peer = open_socket(AF_INET, SOCK_STREAM);
    ASSERT_EQ(connect_to(peer.get(), AF_INET, "10.96.0.1", 80), 0);
    std::vector<Fd> sockets;
    std::vector<char> first;
    for (int i = 0; i < 12; ++i) {
        sockets.push_back(open_socket(AF_INET, SOCK_DGRAM));
        first.push_back(udp_reach(sockets.back().get(), AF_INET, "10.96.0.10", 53).number);
    }
    const auto state = state_ids();
    become_layout_1(1000);
    ConnectLoad load("10.96.0.1", 80);
    load.wait_for(5);
    // In another order than before: indices are carried by name.
    start({dns, web});
    load.wait_for(5);
    load.stop();
    EXPECT_EQ(load.failed, 0) << std::strerror(load.last_error);
    EXPECT_EQ(state_ids(), state) << "the maps of state are the very same";
    EXPECT_EQ(peer_name(peer.get()), "10.96.0.1 80");
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        EXPECT_EQ(udp_reach(sockets[i].get(), AF_INET, "10.96.0.10", 53).number, first[i]) << i;
    }
    EXPECT_FALSE(exists(paths().root + "/image-v1-7"));
    EXPECT_EQ(layout_version_of(*current_image(paths())), std::uint32_t{SLUICE_LAYOUT_VERSION});
    const auto now = KernelImage::open(*current_image(paths()), false);
    ASSERT_TRUE(now);
    int seen = 0;
    const auto counts = image::count_services((*now)->tables());
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if ((*now)->tables().services[i].flags & SLUICE_SERVICE_IN_USE) {
            EXPECT_GE(counts[i].connections, 2000U) << i;
            EXPECT_EQ(counts[i].refused, 3U) << i;
            ++seen;
        }
    }
    EXPECT_EQ(seen, 2);
}

TEST_F(UpgradeTest, DowngradeFromAnUnknownLayoutKeepsStateAndChoosesAnew) {
    const EchoServer one("127.0.0.1", 1);
    const EchoServer two("127.0.0.2", 2);
    const auto only_one = make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {one.backend()});
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    start({only_one, web});
    const Fd peer = open_socket(AF_INET, SOCK_STREAM);
    ASSERT_EQ(connect_to(peer.get(), AF_INET, "10.96.0.1", 80), 0);
    const Fd udp = open_socket(AF_INET, SOCK_DGRAM);
    ASSERT_EQ(udp_reach(udp.get(), AF_INET, "10.96.0.10", 53).number, '1');
    const auto state = state_ids();
    engine.reset();
    // A newer release was here: its image, its state of other shapes, and a hook that this one does not know.
    const std::string newer = paths().root + "/image-v9-1";
    ASSERT_EQ(rename(current_image(paths())->c_str(), newer.c_str()), 0);
    ASSERT_TRUE(set_current_image(paths(), newer));
    ASSERT_EQ(mkdir((paths().root + "/state-v9").c_str(), 0700), 0);
    const Fd some(bpf_map_create(BPF_MAP_TYPE_ARRAY, "x", 4, 4, 1, nullptr));
    ASSERT_EQ(bpf_obj_pin(some.get(), (paths().state + "/sluice_udp_over-v9").c_str()), 0);
    ASSERT_EQ(bpf_obj_pin(some.get(), (paths().state + "/sluice_udp_over-next").c_str()), 0);
    const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1},
                             {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    LIBBPF_OPTS(bpf_prog_load_opts, kind, .expected_attach_type = BPF_CGROUP_INET4_BIND);
    const Fd program(bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "new", "GPL", code, 2, &kind));
    const Fd cgroup(open(sandbox->cgroup().c_str(), O_RDONLY | O_DIRECTORY));
    const Fd link(
        bpf_link_create(program.get(), cgroup.get(), BPF_CGROUP_INET4_BIND, nullptr));
    ASSERT_TRUE(link);
    ASSERT_EQ(bpf_obj_pin(link.get(), (paths().links + "/cgroup_bind4").c_str()), 0);

    ConnectLoad load("10.96.0.1", 80);
    load.wait_for(5);
    // The backend that gets the first index is another one now: who remembers the index must not be given it.
    start({make_service("aaa", Protocol::kUdp, "10.96.0.11", 53, {one.backend(), two.backend()}),
           make_service("dns", Protocol::kUdp, "10.96.0.10", 53, {two.backend()}), web});
    load.wait_for(5);
    load.stop();
    EXPECT_EQ(load.failed, 0) << std::strerror(load.last_error);
    EXPECT_EQ(peer_name(peer.get()), "10.96.0.1 80");
    EXPECT_EQ(udp_reach(udp.get(), AF_INET, "10.96.0.10", 53).number, '2');
    EXPECT_EQ(state_ids(), state);
    EXPECT_FALSE(exists(newer));
    EXPECT_FALSE(exists(paths().root + "/state-v9"));
    EXPECT_EQ(list_directory(paths().links).size(), 9U) << "what only the other knew is detached";
    bpf_link_info info{};
    std::uint32_t length = sizeof(info);
    ASSERT_EQ(bpf_obj_get_info_by_fd(link.get(), &info, &length), 0);
    EXPECT_EQ(info.cgroup.cgroup_id, 0U);
}

TEST_F(UpgradeTest, ADamagedImageOfALayoutIsToldAndReplaced) {
    const EchoServer one("127.0.0.1", 1);
    const auto web = make_service("web", Protocol::kTcp, "10.96.0.1", 80, {one.backend()});
    start({web});
    become_layout_1(1);
    ASSERT_EQ(unlink((paths().root + "/image-v1-7/sluice_names").c_str()), 0);
    testing::internal::CaptureStderr();
    start({web});
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("sluice_names"), std::string::npos) << log;
    EXPECT_NE(log.find("TCP flows go on"), std::string::npos) << log;
    EXPECT_EQ(tcp_reach(AF_INET, "10.96.0.1", 80).number, '1');
}

TEST_F(UpgradeTest, CleanupRemovesAllVersions) {
    start({});
    for (const char* name : {"image-v1-3", "image-v9-4", "state-v9"}) {
        ASSERT_EQ(mkdir((paths().root + "/" + name).c_str(), 0700), 0);
    }
    engine.reset();
    ASSERT_TRUE(cleanup_ebpf(options()));
    EXPECT_FALSE(exists(paths().root));
}

}  // namespace
}  // namespace sluice::dataplane
