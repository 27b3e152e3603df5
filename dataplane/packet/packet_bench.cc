// What a packet costs: ns per packet by BPF_PROG_TEST_RUN, the cost of an empty program subtracted. A run with repeat
// does not restore the packet, so translated packets are timed one by one through a loop of single runs whose own
// cost is measured on a packet that passes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "dataplane/packet/harness.h"

namespace {

using namespace sluice;             // NOLINT
using namespace sluice::dataplane;  // NOLINT

constexpr std::uint32_t kRepeat = 1000000;
constexpr int kSingles = 20000;

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
        std::printf("%-5s%-39s %10u\n", family, "not IP (the floor of the program)",
                    harness->time_ns(TcProgram::kPodIngress, arp, kRepeat));
        std::printf("%-5s%-39s %10u\n", family, "not a service, passed",
                    harness->time_ns(TcProgram::kPodIngress, other, kRepeat));
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
