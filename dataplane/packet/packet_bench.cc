// What a packet costs in XDP: ns per packet by BPF_PROG_TEST_RUN with repeat. The real program runs under the wrapper
// of bench/ebpf, whose own cost is measured beside each sample and subtracted. Rounds are interleaved, for
// absolute figures drift with the machine, and what the kernel's own operations cost is measured beside them. With
// --katran, each tunnel case has a sample of that object's program right after ours.
//
//   packet_bench [ROUNDS] [--quick] [--only TEXT] [--flows N] [--services N] [--katran OBJECT]
// --services: others beside those that packets are for, each with a cluster IP of either family and two backends.
// prints one JSON object: {"cases": {name: [ns, ...]}, "peer": {name: [ns, ...]}, "primitives": {...}}
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/packet/bench_peer.h"
#include "dataplane/packet/bench_wrapper.h"
#include "dataplane/packet/harness.h"

namespace {

using namespace sluice;             // NOLINT
using namespace sluice::dataplane;  // NOLINT

constexpr std::uint32_t kRepeat = 100000;
// Of new flows: few, so that over a run's rounds most find room in the table, ours and the peer's.
constexpr std::uint32_t kInserts = 20000;
constexpr std::uint32_t kMillion = 1U << 20U;
// Of our table by default, and of each flow table of the peer: with a million flows, and without.
constexpr std::uint32_t kTable = 1U << 19U;
constexpr std::uint32_t kLargeTable = 1U << 21U;

// Whom a round measures.
struct Bench {
    BenchWrapper& wrapper;
    int ours;
    // Null without a peer, which has a wrapper of its own.
    BenchWrapper* peer_wrapper;
    int peer;
};

image::Service service(bool v6, bool tunnel) {
    image::Service out;
    out.key = {tunnel ? "default/direct" : "default/nat", "", Protocol::kTcp,
               v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
    out.port = 80;
    image::Frontend frontend;
    frontend.address = *IpAddress::parse(v6 ? (tunnel ? "2001:db8:5::10" : "2001:db8:5::11")
                                            : (tunnel ? "203.0.113.10" : "203.0.113.11"));
    frontend.port = 80;
    frontend.external = frontend.masquerade = true;
    frontend.forwarding = tunnel ? image::Forwarding::kTunnel : image::Forwarding::kNat;
    out.frontends = {frontend};
    // Each backend has as many flows with source NAT as there are ports.
    for (int i = 1; i <= (tunnel ? 16 : 250); ++i) {
        image::Backend backend;
        char text[32];
        std::snprintf(text, sizeof(text), v6 ? "fd02::%x" : "10.244.2.%d", i);
        backend.address = *IpAddress::parse(text);
        backend.port = 8080;
        out.external.backends.push_back(backend);
    }
    out.internal = out.inside = out.external;
    out.choice = tunnel ? image::Choice::kTuple : image::Choice::kRandom;
    return out;
}

// The one with this number of those that no packet is for.
image::Service other_service(std::uint32_t number, bool v6) {
    image::Service out;
    out.key = {"default/other-" + std::to_string(number), "", Protocol::kTcp, v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
    out.port = 80;
    image::Frontend frontend;
    char text[64];
    std::snprintf(text, sizeof(text), v6 ? "fd00:10:96::%x:%x" : "10.%u.%u.%u", v6 ? number >> 16U : 96 + (number >> 16U),
                  v6 ? number & 0xffffU : number >> 8U & 0xffU, number & 0xffU);
    frontend.address = *IpAddress::parse(text);
    frontend.port = 80;
    out.frontends = {frontend};
    for (const std::uint32_t i : {0U, 1U}) {
        const std::uint32_t pod = 2 * number + i;
        std::snprintf(text, sizeof(text), v6 ? "fd03::%x:%x" : "10.%u.%u.%u", v6 ? pod >> 16U : 160 + (pod >> 16U),
                      v6 ? pod & 0xffffU : pod >> 8U & 0xffU, pod & 0xffU);
        image::Backend backend;
        backend.address = *IpAddress::parse(text);
        backend.port = 8080;
        out.internal.backends.push_back(backend);
    }
    out.inside = out.external = out.internal;
    return out;
}

packets::Bytes frame_to(bool v6, const std::string& dst) {
    packets::Spec spec;
    spec.src = v6 ? "2001:db8:1::1" : "10.128.0.1";
    spec.dst = dst;
    spec.tcp_flags = 16;
    spec.payload = std::string(v6 ? 0 : 20, 'x');
    return packets::build(spec);
}

using Samples = std::map<std::string, std::vector<double>>;

void print(const char* name, const Samples& samples, const char* end) {
    std::printf("\"%s\": {", name);
    const char* comma = "";
    for (const auto& [key, values] : samples) {
        std::printf("%s\"%s\": [", comma, key.c_str());
        for (std::size_t i = 0; i < values.size(); ++i) {
            std::printf("%s%.2f", i == 0 ? "" : ", ", values[i]);
        }
        std::printf("]");
        comma = ", ";
    }
    std::printf("}%s", end);
}

struct Results {
    Samples cases, peer, primitives;
};

struct Options {
    int rounds = 5;
    bool quick = false;
    std::string only;
    std::string katran;
    std::uint32_t flows = 0;
    std::uint32_t services = 0;
};

void kernel_operations(const Bench& bench, Samples& primitives, double empty) {
    const packets::Bytes frame = frame_to(false, "192.0.2.200");
    const auto cost = [&](const char* program) { return bench.wrapper.alone(program, frame, kRepeat) - empty; };
    primitives["empty"].push_back(empty);
    primitives["array look-up"].push_back(cost("bench_array8") / 8);
    primitives["hash hot"].push_back(cost("bench_hash_hot"));
    primitives["LRU hot"].push_back(cost("bench_lru_hot"));
    primitives["LRU insert"].push_back(cost("bench_lru_new"));
    primitives["ktime"].push_back(cost("bench_ktime"));
    for (const auto& [name, flows] : {std::pair{"one place of 64k", 65536U}, {"one place of 1M", kMillion}}) {
        bench.wrapper.spread_over(flows);
        primitives[name].push_back(cost("bench_far_read4") / 4);
    }
}

void round(const Bench& bench, Results& results, const Options& options) {
    const auto wanted = [&](const std::string& name) { return name.find(options.only) != std::string::npos; };
    const double empty = bench.wrapper.alone("bench_empty", frame_to(false, "192.0.2.200"), kRepeat);
    kernel_operations(bench, results.primitives, empty);
    for (const bool v6 : {false, true}) {
        const std::string family = v6 ? ", IPv6" : ", IPv4";
        const auto other = frame_to(v6, v6 ? "2001:db8:77::1" : "198.51.100.200");
        if (wanted("not a service" + family)) {
            results.cases["not a service" + family].push_back(
                bench.wrapper.alone(bench.ours, other, kRepeat) - empty);
            if (bench.peer_wrapper != nullptr) {
                results.peer["not a service" + family].push_back(
                    bench.peer_wrapper->alone(bench.peer, other, kRepeat) - empty);
            }
        }
        const auto direct = frame_to(v6, v6 ? kPeerService6 : kPeerService4);
        const auto nat = frame_to(v6, v6 ? "2001:db8:5::11" : "203.0.113.11");
        const auto add = [&](const std::string& what, bool tunnel, std::uint32_t flows) {
            const std::string name = what + family;
            if (!wanted(name)) {
                return;
            }
            const packets::Bytes& frame = tunnel ? direct : nat;
            const std::uint32_t mask = flows == 0 ? BenchWrapper::kEveryTurnNew : flows - 1;
            const std::uint32_t repeat = flows == 0 ? kInserts : kRepeat;
            results.cases[name].push_back(bench.wrapper.packet(bench.ours, frame, v6, mask, tunnel, repeat));
            if (tunnel && bench.peer_wrapper != nullptr) {
                results.peer[name].push_back(
                    bench.peer_wrapper->packet(bench.peer, frame, v6, mask, true, repeat));
            }
        };
        add("tunnel established, 1 flow", true, 1);
        add("tunnel established, 64k flows", true, 65536);
        if (!options.quick) {
            add("tunnel established, 1M flows", true, kMillion);
        }
        add("tunnel new flow", true, 0);
        add("NAT established, 1 flow", false, 1);
        add("NAT established, 4k flows", false, 4096);
        add("NAT established, 64k flows", false, 65536);
        add("NAT new flow", false, 0);
    }
}

[[noreturn]] void usage() {
    std::fprintf(stderr,
                 "usage: packet_bench [ROUNDS] [--quick] [--only TEXT] [--flows N] [--services N] [--katran OBJECT]\n");
    std::exit(2);
}

Options parse(int argc, char** argv) {
    Options out;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const bool value = i + 1 < argc;
        if (word == "--quick") {
            out.quick = true;
        } else if (word == "--only" && value) {
            out.only = argv[++i];
        } else if (word == "--katran" && value) {
            out.katran = argv[++i];
        } else if (word == "--services" && value) {
            out.services = static_cast<std::uint32_t>(std::strtoul(argv[++i], nullptr, 10));
            if (out.services > 1U << 20U) {
                std::fprintf(stderr, "packet_bench: --services: at most 1048576\n");
                std::exit(2);
            }
        } else if (word == "--flows" && value) {
            out.flows = static_cast<std::uint32_t>(std::strtoul(argv[++i], nullptr, 10));
            if (out.flows < 1024 || out.flows > (1U << 24U) || (out.flows & (out.flows - 1)) != 0) {
                std::fprintf(stderr, "packet_bench: --flows: a power of two from 1024 to 16777216\n");
                std::exit(2);
            }
        } else if ((out.rounds = std::atoi(argv[i])) < 1) {
            usage();
        }
    }
    if (out.flows == 0) {
        out.flows = out.quick ? kTable : kLargeTable;
    }
    return out;
}

}  // namespace

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    std::vector<image::Service> services;
    for (const bool v6 : {false, true}) {
        services.push_back(service(v6, true));
        services.push_back(service(v6, false));
        for (std::uint32_t i = 0; i < options.services; ++i) services.push_back(other_service(i, v6));
    }
    const auto harness = Harness::make(test_node(), options.flows, std::move(services));
    if (!harness) {
        std::fprintf(stderr, "packet_bench: needs root, BPF and a network namespace\n");
        return 1;
    }
    const auto wrapper = BenchWrapper::load(SLUICE_BENCH_OBJECT, Features::probe().xdp_frags,
                                            harness->node_ifindex());
    std::unique_ptr<BenchWrapper> peer_wrapper;
    std::unique_ptr<BenchPeer> peer;
    if (!options.katran.empty()) {
        peer_wrapper = BenchWrapper::load(SLUICE_BENCH_OBJECT, false, harness->node_ifindex());
        peer = BenchPeer::load(options.katran, kLargeTable);
    }
    if (!wrapper || (!options.katran.empty() && (!peer || !peer_wrapper))) {
        return 1;
    }
    const Bench bench{*wrapper, harness->programs().xdp_program(), peer_wrapper.get(), peer ? peer->program() : -1};
    Results results;
    for (int i = 0; i < options.rounds; ++i) {
        round(bench, results, options);
    }
    std::printf("{");
    print("cases", results.cases, ", ");
    print("peer", results.peer, ", ");
    print("primitives", results.primitives, "}\n");
    return 0;
}
