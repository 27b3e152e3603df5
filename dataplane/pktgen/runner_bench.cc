// What the generator itself can send on one lcore, to a port that costs nothing. The control takes the
// same buffers from a pool and hands them to the same port, and does nothing else. Times are of the CPU,
// not of the wall, so that a machine that is shared shows the same; the rate by the wall stands beside.
#include <benchmark/benchmark.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <cstdio>
#include <ctime>

#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {
namespace {

constexpr double kSeconds = 0.5;

Profile profile_of(std::uint64_t flows, std::uint32_t frame_bytes, bool probe, bool v6) {
    Profile profile;
    const auto ip = [&](const char* v4, const char* six) { return *IpAddress::parse(v6 ? six : v4); };
    profile.source = {ip("10.0.0.0", "fd00::"), ip("10.15.255.255", "fd00::f:ffff")};
    profile.destination = {ip("10.16.0.1", "fd01::1"), ip("10.16.0.1", "fd01::1")};
    profile.destination_mac = "02:00:00:00:00:02";
    profile.flows = flows;
    profile.sizes = {{frame_bytes, 1}};
    profile.probe = probe;
    profile.duration_s = kSeconds;
    profile.drain_s = 0.01;
    return profile;
}

double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void report(benchmark::State& state, double cpu, double packets, double wall_pps) {
    state.SetIterationTime(cpu / packets);
    state.counters["Mpps"] = packets / cpu / 1e6;
    state.counters["wall_Mpps"] = wall_pps / 1e6;
}

void run(benchmark::State& state, const Profile& profile) {
    auto runner = make_runner({});
    if (!runner) {
        state.SkipWithError(runner.error().to_string().c_str());
        return;
    }
    for (auto turn : state) {
        // The cost of beginning and ending a run is taken off by a second, shorter one.
        const double from = cpu_seconds();
        const auto result = (*runner)->run(profile, Observer{});
        const double between = cpu_seconds();
        Profile brief = profile;
        brief.duration_s = kSeconds / 10;
        const auto shorter = (*runner)->run(brief, Observer{});
        const double to = cpu_seconds();
        if (!result || !shorter) {
            state.SkipWithError((result ? shorter : result).error().to_string().c_str());
            return;
        }
        report(state, 2 * between - from - to, static_cast<double>(result->sent) - static_cast<double>(shorter->sent),
               result->sent_pps);
    }
}

void null_control(benchmark::State& state) {
    auto runner = make_runner({});  // configures and starts the port
    rte_mempool* pool = rte_pktmbuf_pool_create("control", 16383, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    rte_mbuf* mbufs[32];
    constexpr std::uint64_t kBursts = 1'000'000;
    for (auto turn : state) {
        const double cpu = cpu_seconds();
        const std::uint64_t from = rte_rdtsc();
        for (std::uint64_t i = 0; i < kBursts; ++i) {
            rte_pktmbuf_alloc_bulk(pool, mbufs, 32);
            for (rte_mbuf* mbuf : mbufs) {
                mbuf->data_len = 60;
                mbuf->pkt_len = 60;
            }
            rte_eth_tx_burst(0, 0, mbufs, 32);
        }
        const double seconds = static_cast<double>(rte_rdtsc() - from) / static_cast<double>(rte_get_tsc_hz());
        report(state, cpu_seconds() - cpu, 32.0 * kBursts, 32.0 * kBursts / seconds);
    }
    rte_mempool_free(pool);
}

void null_send(benchmark::State& state) {
    run(state, profile_of(static_cast<std::uint64_t>(state.range(0)), static_cast<std::uint32_t>(state.range(1)),
                          state.range(2) != 0, state.range(3) != 0));
}

BENCHMARK(null_control)->UseManualTime()->Iterations(1)->Repetitions(3);
BENCHMARK(null_send)
    ->ArgNames({"flows", "bytes", "probe", "v6"})
    ->Args({1, 64, 0, 0})
    ->Args({1, 64, 1, 0})
    ->Args({65536, 64, 0, 0})
    ->Args({65536, 64, 1, 0})
    ->Args({1048576, 64, 1, 0})
    ->Args({1, 1518, 0, 0})
    ->Args({1, 1518, 1, 0})
    ->Args({1, 84, 1, 1})
    ->Args({1048576, 84, 1, 1})
    ->UseManualTime()
    ->Iterations(1)
    ->Repetitions(3);

}  // namespace
}  // namespace sluice::pktgen

// usage: pktgen_runner_bench [--benchmark_...] [-- EAL arguments]; one net_null port on one lcore by default.
int main(int argc, char** argv) {
    std::vector<std::string> eal{"-l", "0", "--no-huge", "-m", "512", "--no-pci", "--no-telemetry",
                                 "--log-level=4", "--vdev=net_null0,no-rx=1"};
    int ours = argc;
    for (int i = 1; i < argc; ++i) {
        if (std::string(argv[i]) == "--") {
            ours = i;
            eal.assign(argv + i + 1, argv + argc);
        }
    }
    const auto started = sluice::pktgen::start_eal("pktgen_runner_bench", eal);
    if (!started) {
        std::fprintf(stderr, "%s\n", started.error().to_string().c_str());
        return 1;
    }
    benchmark::Initialize(&ours, argv);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
