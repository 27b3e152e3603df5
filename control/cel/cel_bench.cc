// What a rule takes: compiling it, and evaluating it on an object.
#include <benchmark/benchmark.h>

#include <boost/json.hpp>

#include "control/cel/environment.h"
#include "control/cel/json.h"

namespace {

using namespace sluice::cel;

constexpr const char* kRule =
    "object.spec.template.spec.containers.all(c, has(c.resources) && has(c.resources.limits) && "
    "!c.image.endsWith(':latest') && c.image.startsWith('registry.example/'))";

boost::json::value deployment() {
    boost::json::array containers;
    for (int i = 0; i < 3; ++i) {
        containers.push_back({{"name", "c"},
                              {"image", "registry.example/app:1.2.3"},
                              {"resources", {{"limits", {{"cpu", "1"}}}}}});
    }
    return {{"spec", {{"replicas", 3}, {"template", {{"spec", {{"containers", containers}}}}}}}};
}

void compile(benchmark::State& state) {
    const Environment environment({{"object", Type::dyn()}, {"oldObject", Type::dyn()}});
    for (auto _ : state) benchmark::DoNotOptimize(environment.compile(kRule));
}
BENCHMARK(compile)->Unit(benchmark::kMicrosecond);

void evaluate(benchmark::State& state) {
    const Environment environment({{"object", Type::dyn()}, {"oldObject", Type::dyn()}});
    const auto program = environment.compile(kRule);
    const boost::json::value object = deployment();
    for (auto _ : state) {
        const SimpleActivation activation({{"object", json_view({std::shared_ptr<void>(), &object})}});
        benchmark::DoNotOptimize(program->evaluate(activation));
    }
}
BENCHMARK(evaluate)->Unit(benchmark::kMicrosecond);

}  // namespace
