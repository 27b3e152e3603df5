// What a packet costs in XDP: ns per packet by BPF_PROG_TEST_RUN with repeat. The real program
// runs under the wrapper of
// bench/ebpf/xdp_bench.bpf.c, whose own cost is measured in the same round and subtracted. Rounds are interleaved, for
// absolute figures drift with the machine, and what the kernel's own operations cost is measured beside them.
//
//   packet_bench [ROUNDS] [--quick] [--only TEXT]     prints one JSON object: {"cases": {name: [ns, ...]}, "primitives": {...}}
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "dataplane/packet/harness.h"

namespace {

using namespace sluice;             // NOLINT
using namespace sluice::dataplane;  // NOLINT

constexpr std::uint32_t kRepeat = 400000;
constexpr std::uint32_t kFlows = 1U << 20U;
constexpr std::uint32_t kEveryTurnNew = ~0U;

// As in bench/ebpf/xdp_bench.bpf.c.
struct Plan {
    std::uint64_t next;
    std::uint32_t mask;
    std::uint32_t reserved;
    std::array<std::uint8_t, 80> frame;
};

class Bench {
public:
    explicit Bench(Harness& harness) : harness_(harness) {
        const int map = harness.programs().map("bench_plan");
        void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
        if (memory == MAP_FAILED) {
            std::perror("packet_bench: the plan cannot be mapped");
            std::exit(1);
        }
        plan_ = static_cast<Plan*>(memory);
        const std::uint64_t seven = 7, value = 0;
        const std::array<std::uint32_t, 10> key{};
        bpf_map_update_elem(harness.programs().map("bench_hash"), &seven, &value, BPF_ANY);
        bpf_map_update_elem(harness.programs().map("bench_lru"), key.data(), &value, BPF_ANY);
    }

    double time(const std::string& name, const packets::Bytes& frame, std::uint32_t repeat = kRepeat) {
        xdp_md context{};
        context.data_end = static_cast<__u32>(frame.size());
        context.ingress_ifindex = harness_.node_ifindex();
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = frame.data();
        options.data_size_in = static_cast<__u32>(frame.size());
        options.ctx_in = &context;
        options.ctx_size_in = sizeof(context);
        options.repeat = static_cast<int>(repeat);
        if (bpf_prog_test_run_opts(harness_.programs().program(name), &options) != 0) {
            std::fprintf(stderr, "packet_bench: %s cannot be run\n", name.c_str());
            std::exit(1);
        }
        action_ = static_cast<int>(options.retval);
        return options.duration;
    }
    [[nodiscard]] int action() const { return action_; }

    // Of one case: the whole less what the wrapper takes. Every packet must have been sent on.
    double packet(const packets::Bytes& frame, bool v6, std::uint32_t mask, bool grows, std::uint32_t repeat) {
        const std::string family = v6 ? "6" : "4";
        plan_->mask = mask;
        std::copy(frame.begin(), frame.end(), plan_->frame.begin());
        const int stages = harness_.programs().map("sluice_xdp_stages");
        const std::uint32_t begin = 0;
        const int program = harness_.programs().program("bench_begin" + family);
        bpf_map_update_elem(stages, &begin, &program, BPF_ANY);
        const double restore = time("bench_restore" + family, frame);
        const double pair = time("bench_pair" + family, frame);
        if (mask != kEveryTurnNew) {
            for (std::uint64_t done = 0; done < 2ULL * (mask + 1ULL); done += kRepeat) {
                time("bench_frame" + family, frame);
            }
        }
        const double whole = time("bench_frame" + family, frame, repeat);
        if (action_ != kXdpTx) {
            std::fprintf(stderr, "packet_bench: a packet was not sent on but got action %d\n", action_);
            std::exit(1);
        }
        return whole - restore - (grows ? (pair - restore) / 2 : 0);
    }

private:
    Harness& harness_;
    Plan* plan_ = nullptr;
    int action_ = 0;
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

void round(Bench& bench, Samples& cases, Samples& primitives, bool quick, const std::string& only) {
    const packets::Bytes stranger = frame_to(false, "192.0.2.200");
    const double empty = bench.time("bench_empty", stranger);
    primitives["empty"].push_back(empty);
    primitives["array look-up"].push_back((bench.time("bench_array8", stranger) - empty) / 8);
    primitives["hash hot"].push_back(bench.time("bench_hash_hot", stranger) - empty);
    primitives["LRU hot"].push_back(bench.time("bench_lru_hot", stranger) - empty);
    primitives["LRU insert"].push_back(bench.time("bench_lru_new", stranger) - empty);
    primitives["ktime"].push_back(bench.time("bench_ktime", stranger) - empty);
    for (const bool v6 : {false, true}) {
        const std::string family = v6 ? ", IPv6" : ", IPv4";
        const auto other = frame_to(v6, v6 ? "2001:db8:77::1" : "198.51.100.200");
        cases["not a service" + family].push_back(bench.time("sluice_xdp", other) - empty);
        const auto direct = frame_to(v6, v6 ? "2001:db8:5::10" : "203.0.113.10");
        const auto nat = frame_to(v6, v6 ? "2001:db8:5::11" : "203.0.113.11");
        const auto add = [&](const std::string& name, const packets::Bytes& frame, std::uint32_t flows,
                             bool grows) {
            if ((name + family).find(only) == std::string::npos) {
                return;
            }
            const std::uint32_t repeat = flows == 0 ? kRepeat / 2 : kRepeat;
            cases[name + family].push_back(
                bench.packet(frame, v6, flows == 0 ? kEveryTurnNew : flows - 1, grows, repeat));
        };
        add("tunnel established, 1 flow", direct, 1, true);
        add("tunnel established, 64k flows", direct, 65536, true);
        if (!quick) {
            add("tunnel established, 1M flows", direct, kFlows, true);
        }
        add("tunnel new flow", direct, 0, true);
        add("NAT established, 1 flow", nat, 1, false);
        add("NAT established, 4k flows", nat, 4096, false);
        add("NAT established, 64k flows", nat, 65536, false);
        add("NAT new flow", nat, 0, false);
    }
}

}  // namespace

int main(int argc, char** argv) {
    int rounds = 5;
    bool quick = false;
    std::string only;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--quick") == 0) {
            quick = true;
        } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else if ((rounds = std::atoi(argv[i])) < 1) {
            std::fprintf(stderr, "usage: packet_bench [ROUNDS] [--quick] [--only TEXT]\n");
            return 2;
        }
    }
    const auto harness = Harness::make(test_node(), quick ? 1U << 18U : 1U << 21U, SLUICE_BENCH_BPF_DIR);
    if (!harness) {
        std::fprintf(stderr, "packet_bench: needs root, BPF and a network namespace\n");
        return 1;
    }
    for (const bool v6 : {false, true}) {
        harness->upsert(service(v6, true));
        harness->upsert(service(v6, false));
    }
    Bench bench(*harness);
    Samples cases;
    Samples primitives;
    for (int i = 0; i < rounds; ++i) {
        round(bench, cases, primitives, quick, only);
    }
    std::printf("{");
    print("cases", cases, ", ");
    print("primitives", primitives, "}\n");
    return 0;
}
