// What 50,000 services with 250,000 endpoints cost the agent: time of a cold compile, of one changed slice, and the
// memory that stays. Counters: p50_us, p99_us of a change; state_MB and publisher_MB resident, the image apart.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "agent/compile/state.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "dataplane/image/publisher.h"

namespace sluice::compile {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kServices = 50'000;
constexpr int kEndpoints = 5;

double resident_mb() {
    malloc_trim(0);
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        unsigned long kilobytes = 0;
        if (std::sscanf(line.c_str(), "VmRSS: %lu", &kilobytes) == 1) {
            return static_cast<double>(kilobytes) / 1024;
        }
    }
    return 0;
}

std::string name_of(int i) { return fmt::format("checkout-backend-{}", i); }

corev1::Service service(int i) {
    corev1::Service out;
    out.mutable_metadata()->set_namespace_("production");
    out.mutable_metadata()->set_name(name_of(i));
    out.mutable_metadata()->mutable_creationtimestamp()->set_seconds(1'700'000'000 + i);
    out.mutable_spec()->set_type("ClusterIP");
    const std::string ip = fmt::format("10.{}.{}.{}", 96 + i / 62'500, i / 250 % 250, i % 250 + 1);
    out.mutable_spec()->set_clusterip(ip);
    out.mutable_spec()->add_clusterips(ip);
    auto* port = out.mutable_spec()->add_ports();
    port->set_name("http");
    port->set_protocol("TCP");
    port->set_port(80);
    return out;
}

discoveryv1::EndpointSlice slice(int i, int generation) {
    discoveryv1::EndpointSlice out;
    out.mutable_metadata()->set_namespace_("production");
    out.mutable_metadata()->set_name(name_of(i) + "-x7k2p");
    (*out.mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = name_of(i);
    out.set_addresstype("IPv4");
    auto* port = out.add_ports();
    port->set_name("http");
    port->set_protocol("TCP");
    port->set_port(8080);
    for (int j = 0; j < kEndpoints; ++j) {
        const int n = i * kEndpoints + j;
        auto* endpoint = out.add_endpoints();
        endpoint->add_addresses(fmt::format("10.{}.{}.{}", 128 + n / 62'500, n / 250 % 250,
                                            n % 250 + 1));
        endpoint->set_nodename(fmt::format("node-{}", n % 500));
        endpoint->set_zone(fmt::format("eu-west-1{}", "abc"[n % 3]));
        endpoint->mutable_conditions()->set_ready(j > 0 || generation % 2 == 0);
        endpoint->mutable_targetref()->set_namespace_("production");
        endpoint->mutable_targetref()->set_name(fmt::format("{}-6d4cf56db6-{:05}", name_of(i), j));
        endpoint->mutable_hints()->add_forzones()->set_name(endpoint->zone());
    }
    return out;
}

void fill(State* state) {
    for (int i = 0; i < kServices; ++i) {
        state->upsert(service(i));
        state->upsert(slice(i, 0));
    }
}

void BM_ColdCompileOfAll(benchmark::State& bench) {
    for (auto run : bench) {
        bench.PauseTiming();
        State state("node-7");
        fill(&state);
        bench.ResumeTiming();
        state.take();
        benchmark::DoNotOptimize(state.all());
    }
}
BENCHMARK(BM_ColdCompileOfAll)->Unit(benchmark::kMillisecond)->Iterations(3);

// From the decoded slice to the difference that an engine gets.
void BM_OneChangedSlice(benchmark::State& bench) {
    const double before = resident_mb();
    State state("node-7");
    fill(&state);
    state.take();
    bench.counters["state_MB"] = resident_mb() - before;
    std::vector<double> took;
    int turn = 0;
    for (auto run : bench) {
        bench.PauseTiming();
        const auto changed = slice(turn * 7919 % kServices, turn / kServices + 1);
        ++turn;
        bench.ResumeTiming();
        const auto began = Clock::now();
        state.upsert(changed);
        const Progress progress = state.take();
        took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - began).count());
        if (progress.change.upserts.size() != 1) {
            bench.SkipWithError("a change was lost");
            return;
        }
    }
    std::sort(took.begin(), took.end());
    bench.counters["p50_us"] = took[took.size() / 2];
    bench.counters["p99_us"] = took[took.size() * 99 / 100];
}
BENCHMARK(BM_OneChangedSlice)->Unit(benchmark::kMicrosecond)->Iterations(20'000);

// What the publisher keeps beside the image; the image's own memory is the kernel's in an agent.
void BM_PublishAll(benchmark::State& bench) {
    State state("node-7");
    fill(&state);
    state.take();
    for (auto run : bench) {
        bench.PauseTiming();
        const auto all = state.all();
        const image::Capacities capacities =
            image::capacities_for(image::usage_of({}, all), image::Capacities{});
        const double before = resident_mb();
        image::MemoryImage image(capacities);
        if (!write_header(image.tables(), capacities, image::HeaderFacts{{}, 1024, 29999, 7}, 2)) {
            bench.SkipWithError("the header was refused");
            return;
        }
        auto publisher = std::make_unique<image::Publisher>(image.tables(), image::Carried{});
        bench.ResumeTiming();
        for (const auto& one : all) {
            if (publisher->upsert(one)) continue;
            bench.SkipWithError("a service was refused");
            return;
        }
        bench.PauseTiming();
        const double with = resident_mb();
        publisher.reset();
        bench.counters["publisher_MB"] = with - resident_mb();
        bench.counters["publisher_and_image_MB"] = with - before;
        bench.ResumeTiming();
    }
}
BENCHMARK(BM_PublishAll)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
}  // namespace sluice::compile
