// What a packet costs: ns per packet by BPF_PROG_TEST_RUN, the cost of an empty program subtracted. A run with repeat
// does not restore the packet, so translated packets are timed one by one through a loop of single runs whose own
// cost is measured on a packet that passes.
#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "dataplane/packet/harness.h"

namespace {

using namespace sluice;             // NOLINT
using namespace sluice::dataplane;  // NOLINT

constexpr std::uint32_t kRepeat = 100000;
constexpr int kRounds = 40;
constexpr int kSingles = 20000;

// A program that does nothing: what a run itself costs.
std::uint32_t time_empty(const packets::Bytes& frame) {
    const bpf_insn code[] = {
        {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    };
    const Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", code, 2, nullptr));
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.repeat = static_cast<int>(kRepeat);
    return bpf_prog_test_run_opts(program.get(), &options) == 0 ? options.duration : 0;
}

// Of many rounds the quickest: what the work costs when nothing else takes the CPU. The empty program takes its turns
// among the others, for absolute figures drift.
struct Passed {
    std::uint32_t empty = ~0U;
    std::uint32_t other = ~0U;
    std::uint32_t ingress = ~0U;
    std::uint32_t egress = ~0U;
};
Passed time_passed(Harness& harness, const packets::Bytes& other, const packets::Bytes& stranger) {
    Passed out;
    for (int i = 0; i < kRounds; ++i) {
        out.empty = std::min(out.empty, time_empty(stranger));
        out.other = std::min(out.other, harness.time_ns(TcProgram::kPodIngress, other, kRepeat));
        out.ingress = std::min(out.ingress, harness.time_ns(TcProgram::kPodIngress, stranger, kRepeat));
        out.egress = std::min(out.egress, harness.time_ns(TcProgram::kPodEgress, stranger, kRepeat));
    }
    return out;
}

// The kernel reports whole nanoseconds of each single run; the median of many is the figure.
double median_single(Harness& harness, TcProgram program, const std::vector<packets::Bytes>& frames) {
    std::vector<std::uint32_t> times;
    times.reserve(frames.size());
    for (const auto& frame : frames) {
        times.push_back(harness.time_ns(program, frame, 1));
    }
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                     times.end());
    return times[times.size() / 2];
}

}  // namespace

int main() {
    const auto harness = Harness::make(test_node(), 1U << 19U);
    if (!harness) {
        std::fprintf(stderr, "packet_bench: needs root, BPF and a network namespace\n");
        return 1;
    }
    std::printf("%-44s %10s\n", "case", "ns/packet");
    for (const bool v6 : {false, true}) {
        const char* const family = v6 ? "IPv6" : "IPv4";
        image::Service service =
            make_service("web", Protocol::kUdp, v6 ? "fd00::10" : "10.96.0.10", 80,
                         {{*IpAddress::parse(v6 ? "fd02::9" : "10.244.2.9"), 8080, false, false, ""}});
        harness->upsert(service);
        packets::Spec spec;
        spec.protocol = 17;
        spec.src = v6 ? "fd01::5" : "10.244.1.5";
        spec.dst = v6 ? "2001:db8:9::1" : "203.0.113.9";
        const packets::Bytes other = packets::build(spec);
        packets::Bytes arp(64, 0);
        arp[12] = 8;
        arp[13] = 6;
        const Passed passed = time_passed(*harness, arp, other);
        std::printf("%-5s%-39s %10u\n", family, "(an empty program, not subtracted)", passed.empty);
        std::printf("%-5s%-39s %10u\n", family, "not IP", passed.other - passed.empty);
        std::printf("%-5s%-39s %10u\n", family, "not a service, passed",
                    passed.ingress - passed.empty);
        std::printf("%-5s%-39s %10u\n", family, "the same, towards a pod",
                    passed.egress - passed.empty);
        std::vector<packets::Bytes> floor(kSingles, arp);
        std::vector<packets::Bytes> fresh;
        std::vector<packets::Bytes> one;
        spec.dst = v6 ? "fd00::10" : "10.96.0.10";
        for (int i = 0; i < kSingles; ++i) {
            spec.sport = static_cast<std::uint16_t>(10000 + i);
            fresh.push_back(packets::build(spec));
            one.push_back(fresh.front());
        }
        const double base = median_single(*harness, TcProgram::kPodIngress, floor);
        const double created = median_single(*harness, TcProgram::kPodIngress, fresh);
        const double hot = median_single(*harness, TcProgram::kPodIngress, one);
        const double spread = median_single(*harness, TcProgram::kPodIngress, fresh);
        std::printf("%-5s%-39s %10.0f\n", family, "new flow, inserted, routed", created - base);
        std::printf("%-5s%-39s %10.0f\n", family, "established, 1 flow, routed", hot - base);
        std::printf("%-5s%-39s %10.0f\n", family, "established, 20k flows, routed", spread - base);
    }
    return 0;
}
