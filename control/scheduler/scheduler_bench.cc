// Decisions per second with 10, 100 and 1,000 nodes that hold 10 pods each already.
#include <benchmark/benchmark.h>

#include <deque>

#include "control/scheduler/core.h"
#include "control/scheduler/test_objects.h"

namespace sluice::scheduler::testing {
namespace {

constexpr const char* kPlain = "";
constexpr const char* kSpread =
    R"(,"topologySpreadConstraints":[{"maxSkew":5,"topologyKey":"topology.kubernetes.io/zone",
    "whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"app":"web"}}}])";
constexpr const char* kApart =
    R"(,"affinity":{"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":10,"podAffinityTerm":
    {"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"web"}}}}]}})";

// One round: a pod comes, is decided about, is confirmed, and the oldest goes.
void decisions(benchmark::State& state, const std::string& more) {
    const auto nodes = static_cast<int>(state.range(0));
    Core core(1);
    Time now{};
    for (int i = 0; i < nodes; ++i) {
        const auto node = make_node("n" + std::to_string(i), "",
                                    fmt::format(R"(,"topology.kubernetes.io/zone":"z{}")", i % 3));
        if (!core.set_node(node)) state.SkipWithError("a node is refused");
    }
    int number = 0;
    const auto pod = [&] {
        ++number;
        return make_pod("p" + std::to_string(number), requests("10m", "16Mi") + more,
                        fmt::format(R"(,"labels":{{"app":"web"}},"ownerReferences":[{{"kind":"ReplicaSet",
                        "name":"r","uid":"r{}","controller":true}}])", number % 50));
    };
    std::deque<std::string> placed;
    for (int i = 0; i < nodes * 10; ++i) {
        const auto object = pod();
        core.set_pod(assigned(object, "n" + std::to_string(i % nodes)), now);
        placed.push_back("default/" + object->metadata().name());
    }
    for (auto _ : state) {
        state.PauseTiming();
        const auto object = pod();
        state.ResumeTiming();
        core.set_pod(object, now);
        const auto outcome = core.schedule_next(now);
        if (!outcome || outcome->node.empty()) {
            state.SkipWithError("a pod fits nowhere");
            break;
        }
        state.PauseTiming();
        placed.push_back(outcome->pod->key);
        core.remove_pod(placed.front(), now);
        placed.pop_front();
        now += std::chrono::seconds(1);
        state.ResumeTiming();
    }
    state.SetItemsProcessed(state.iterations());
}

BENCHMARK_CAPTURE(decisions, plain, kPlain)->Arg(10)->Arg(100)->Arg(1'000);
BENCHMARK_CAPTURE(decisions, spread_by_zone, kSpread)->Arg(10)->Arg(100)->Arg(1'000);
BENCHMARK_CAPTURE(decisions, apart_if_possible, kApart)->Arg(10)->Arg(100)->Arg(1'000);

}  // namespace
}  // namespace sluice::scheduler::testing
