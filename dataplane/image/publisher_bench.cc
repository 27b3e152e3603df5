// What one changed endpoint costs to publish, with the release of what it replaces.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "dataplane/image/publisher.h"

namespace sluice::image {
namespace {

Service service_of(std::uint32_t endpoints, Choice choice) {
    Service out;
    out.key = {"default/large", "http", Protocol::kTcp, IpFamily::kIpv4};
    out.port = 80;
    out.choice = choice;
    out.frontends = {{IpAddress::parse("10.96.0.1").value(), 80, Scope::kAddress, false, false,
                      false, Forwarding::kNat}};
    for (std::uint32_t i = 0; i < endpoints; ++i) {
        const auto address =
            IpAddress::from_v4_be(10U | (i >> 8U & 255U) << 16U | (i & 255U) << 24U);
        out.internal.backends.push_back({address, 8080, false, false, "default/pod", 1});
    }
    std::sort(out.internal.backends.begin(), out.internal.backends.end());
    return out;
}

void publish(benchmark::State& state, Choice choice) {
    std::array<Service, 2> turns;
    turns.fill(service_of(static_cast<std::uint32_t>(state.range(0)), choice));
    turns[1].internal.backends[turns[1].internal.backends.size() / 2].port = 8081;
    Capacities capacities = capacities_for(usage_of({}, turns), Capacities{});
    capacities.ring_lines *= 2;
    MemoryImage image(capacities);
    if (!write_header(image.tables(), capacities, HeaderFacts{{}, 1024, 29999, 7}, 2)) {
        state.SkipWithError("the header was refused");
        return;
    }
    Publisher publisher(image.tables(), Carried{});
    std::size_t turn = 0;
    for (auto run : state) {
        if (!publisher.upsert(turns[turn++ % 2])) {
            state.SkipWithError("the service was refused");
            return;
        }
        publisher.release(publisher.take_retired());
    }
}

void BM_OneEndpointAtRandom(benchmark::State& state) {
    publish(state, Choice::kRandom);
}
void BM_OneEndpointHashed(benchmark::State& state) {
    publish(state, Choice::kTuple);
}
BENCHMARK(BM_OneEndpointAtRandom)->Arg(5)->Arg(1000)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_OneEndpointHashed)->Arg(5)->Arg(1000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::image
