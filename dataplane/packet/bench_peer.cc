#include "dataplane/packet/bench_peer.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace sluice::dataplane {
namespace {

constexpr const char* kProgram = "balancer_ingress";
constexpr std::uint32_t kRingSlots = 65537;
constexpr std::uint32_t kBackends = 16;  // as many as our service of the tunnel cases has
constexpr std::uint32_t kFirstIpv6 = kBackends + 1;
constexpr std::uint8_t kRealIsIpv6 = 1;

// What the maps hold, as the balancer reads it.
struct Service {
    std::array<std::uint8_t, 16> address{};
    std::uint16_t port_be = 0;
    std::uint8_t protocol = 0;
    std::uint8_t padding = 0;
};
static_assert(sizeof(Service) == 20);
struct ServiceFacts {
    std::uint32_t flags = 0;
    std::uint32_t ring = 0;
};
struct Backend {
    std::array<std::uint8_t, 16> address{};
    std::array<std::uint8_t, 4> flags{};
};

bool complain(const char* what) {
    std::fprintf(stderr, "packet_bench: the peer: %s: %s\n", what, std::strerror(errno));
    return false;
}

int map_of(const bpf_object* object, const char* name) {
    const bpf_map* map = bpf_object__find_map_by_name(object, name);
    return map == nullptr ? -1 : bpf_map__fd(map);
}

bool put(const bpf_object* object, const char* map, const void* key, const void* value) {
    return bpf_map_update_elem(map_of(object, map), key, value, BPF_ANY) == 0 || complain(map);
}

// A flow table of each CPU; only the object before it is loaded tells what it holds.
struct FlowTable {
    std::uint32_t entries = 0;
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
};

bool describe(const bpf_object* object, FlowTable& table) {
    bpf_map* outer = bpf_object__find_map_by_name(object, "lru_mapping");
    const bpf_map* inner = outer == nullptr ? nullptr : bpf_map__inner_map(outer);
    if (inner == nullptr) {
        errno = ENOENT;
        return complain("lru_mapping");
    }
    table.key_size = bpf_map__key_size(inner);
    table.value_size = bpf_map__value_size(inner);
    return true;
}

bool give_flow_tables(const bpf_object* object, const FlowTable& described) {
    for (int cpu = 0; cpu < libbpf_num_possible_cpus(); ++cpu) {
        const int table = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "bench_lru", described.key_size,
                                         described.value_size, described.entries, nullptr);
        if (table < 0 || !put(object, "lru_mapping", &cpu, &table)) {
            return complain("a flow table");
        }
        close(table);
    }
    return true;
}

bool fill(const bpf_object* object, const FlowTable& table) {
    if (!give_flow_tables(object, table)) {
        return false;
    }
    for (std::uint32_t family = 0; family < 2; ++family) {
        Service service;
        service.port_be = htons(80);
        service.protocol = IPPROTO_TCP;
        inet_pton(family == 0 ? AF_INET : AF_INET6, family == 0 ? kPeerService4 : kPeerService6,
                  service.address.data());
        const ServiceFacts facts{0, family};
        if (!put(object, "vip_map", &service, &facts)) {
            return false;
        }
        for (std::uint32_t slot = 0; slot < kRingSlots; ++slot) {
            const std::uint32_t key = family * kRingSlots + slot;
            const std::uint32_t backend = (family == 0 ? 1 : kFirstIpv6) + slot % kBackends;
            if (!put(object, "ch_rings", &key, &backend)) {
                return false;
            }
        }
        for (std::uint32_t i = 0; i < kBackends; ++i) {
            Backend backend;
            inet_pton(family == 0 ? AF_INET : AF_INET6, family == 0 ? "10.244.2.1" : "fd02::1",
                      backend.address.data());
            backend.address[family == 0 ? 3 : 15] = static_cast<std::uint8_t>(1 + i);
            backend.flags[0] = family == 0 ? 0 : kRealIsIpv6;
            const std::uint32_t key = (family == 0 ? 1 : kFirstIpv6) + i;
            if (!put(object, "reals", &key, &backend)) {
                return false;
            }
        }
    }
    const std::uint32_t gateway = 0;
    const std::array<std::uint8_t, 8> mac{2, 0, 0, 0, 0, 2};
    return put(object, "ctl_array", &gateway, &mac);
}

}  // namespace

std::unique_ptr<BenchPeer> BenchPeer::load(const std::string& object, std::uint32_t lru_entries) {
    std::unique_ptr<BenchPeer> peer(new BenchPeer);
    peer->object_ = bpf_object__open_file(object.c_str(), nullptr);
    if (peer->object_ == nullptr) {
        complain(object.c_str());
        return nullptr;
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, peer->object_) {
        bpf_program__set_autoload(program, std::strcmp(bpf_program__name(program), kProgram) == 0);
        bpf_program__set_type(program, BPF_PROG_TYPE_XDP);
    }
    FlowTable table{lru_entries, 0, 0};
    if (!describe(peer->object_, table) || bpf_object__load(peer->object_) != 0 || peer->program() < 0 ||
        !fill(peer->object_, table)) {
        complain(object.c_str());
        return nullptr;
    }
    return peer;
}

BenchPeer::~BenchPeer() { bpf_object__close(object_); }

int BenchPeer::program() const {
    const bpf_program* program = bpf_object__find_program_by_name(object_, kProgram);
    return program == nullptr ? -1 : bpf_program__fd(program);
}

}  // namespace sluice::dataplane
