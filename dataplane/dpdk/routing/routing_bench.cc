// What a look-up, a snapshot and a neighbour's change cost. "control" is a dependent load from an
// array as large as the addresses asked for: what the memory alone costs when nothing is looked up.
#include <arpa/inet.h>
#include <benchmark/benchmark.h>

#include <map>
#include <memory>
#include <numeric>
#include <random>

#include "dataplane/dpdk/routing/forwarding.h"
#include "dataplane/dpdk/routing/test_routing.h"

namespace sluice::dpdk {
namespace {

constexpr std::size_t kAsked = 1U << 16U;

std::vector<Interface> one_interface() {
    return {make_interface("up0", 0, 0, "02:00:00:00:00:01",
                           {"192.0.2.2/24", "2001:db8::2/64", "100.64.0.1/10"})};
}

// Lengths as in the Internet's table: most are /24 (IPv4), /48 (IPv6), the others spread.
std::vector<Route> routes_of(std::size_t count, bool v6) {
    std::mt19937_64 random(count);
    std::map<IpPrefix, Route> out;
    while (out.size() < count) {
        IpAddress to =
            v6 ? IpAddress{} : IpAddress::from_v4_be(static_cast<std::uint32_t>(random()));
        if (v6) {
            for (std::size_t i = 0; i < 16; ++i) to.bytes[i] = static_cast<std::uint8_t>(random());
            to.bytes[0] = 0x26;
        } else if (to.bytes[12] == 0 || to.bytes[12] == 127 || to.bytes[12] >= 224) {
            continue;
        }
        const bool common = random() % 10 < 6;
        const auto bits = static_cast<std::uint8_t>(v6 ? (common ? 48 : 20 + random() % 45)
                                                       : (common ? 24 : 9 + random() % 24));
        const IpPrefix prefix = prefix_of({to, bits});
        out.emplace(
            prefix,
            Route{prefix, address(v6 ? "fe80::9" : fmt::format("192.0.2.{}", 3 + random() % 8)), 0,
                  0});
    }
    std::vector<Route> list;
    for (const auto& [prefix, route] : out) list.push_back(route);
    return list;
}

const Forwarding& snapshot_of(std::size_t routes, bool v6) {
    static std::map<std::pair<std::size_t, bool>, std::unique_ptr<Forwarding>> made;
    auto& slot = made[{routes, v6}];
    if (!slot) {
        std::vector<Neighbour> gateways = {neighbour(0, "fe80::9", "02:00:00:00:00:09")};
        for (int i = 3; i < 11; ++i)
            gateways.push_back(neighbour(0, fmt::format("192.0.2.{}", i), "02:00:00:00:00:08"));
        slot = Forwarding::make(one_interface(), routes_of(routes, v6), gateways, 1).value();
    }
    return *slot;
}

// Addresses within the routes, at random.
std::vector<sluice_address> asked_of(std::size_t routes, bool v6, std::size_t count) {
    const auto list = routes_of(routes, v6);
    std::mt19937_64 random(99);
    std::vector<sluice_address> out;
    for (std::size_t i = 0; i < count; ++i) {
        IpAddress to = list[random() % list.size()].prefix.address;
        to.bytes[15] = static_cast<std::uint8_t>(to.bytes[15] | random() % 200);
        out.push_back(words(to));
    }
    return out;
}

// range(0): routes; range(1): family; range(2): how many addresses are asked for in turn (one: hot;
// many: cold).
void lookup_routes(benchmark::State& state) {
    const auto routes = static_cast<std::size_t>(state.range(0));
    const bool v6 = state.range(1) == 6;
    const Forwarding& forwarding = snapshot_of(routes, v6);
    const auto asked = asked_of(routes, v6, static_cast<std::size_t>(state.range(2)));
    std::size_t i = 0;
    for (auto _ : state) {
        // The next address depends on this answer, so that the time is that of one look-up, not of
        // several at once.
        const Hop& hop = forwarding.lookup(asked[i], v6);
        i = (i + 1 + static_cast<std::size_t>(hop.out)) & (asked.size() - 1);
        benchmark::DoNotOptimize(&hop);
    }
    state.counters["MB"] = static_cast<double>(forwarding.bytes()) / 1e6;
}
BENCHMARK(lookup_routes)
    ->ArgNames({"routes", "family", "asked"})
    ->ArgsProduct({{3, 10'000, 1'000'000}, {4, 6}, {1, kAsked}});

void control_dependent_load(benchmark::State& state) {
    std::vector<sluice_address> asked(static_cast<std::size_t>(state.range(0)));
    std::size_t i = 0;
    for (auto _ : state) {
        i = (i + 1 + asked[i].word_be[0]) & (asked.size() - 1);
        benchmark::DoNotOptimize(i);
    }
}
BENCHMARK(control_dependent_load)->ArgName("asked")->Arg(1)->Arg(kAsked);

std::vector<Neighbour> neighbours_of(std::size_t count) {
    std::vector<Neighbour> out;
    for (std::size_t i = 0; i < count; ++i) {
        out.push_back({0, IpAddress::from_v4_be(htonl(0x64400100U + static_cast<std::uint32_t>(i))),
                       mac("02:00:00:00:00:77"), true});
    }
    return out;
}

void lookup_neighbours(benchmark::State& state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    const auto list = neighbours_of(count);
    const auto forwarding = Forwarding::make(one_interface(), {}, list, 1).value();
    std::mt19937_64 random(5);
    std::vector<sluice_address> asked;
    for (std::size_t i = 0; i < kAsked; ++i) asked.push_back(words(list[random() % count].address));
    std::size_t i = 0;
    for (auto _ : state) {
        const Hop& hop = forwarding->lookup(asked[i], false);
        i = (i + 1 + static_cast<std::size_t>(hop.out)) & (kAsked - 1);
        benchmark::DoNotOptimize(&hop);
    }
}
BENCHMARK(lookup_neighbours)->ArgName("neighbours")->Arg(1)->Arg(1'000)->Arg(60'000);

void make_snapshot(benchmark::State& state) {
    const auto routes = routes_of(static_cast<std::size_t>(state.range(0)), state.range(1) == 6);
    for (auto _ : state) {
        auto made = Forwarding::make(one_interface(), routes, {}, 1);
        benchmark::DoNotOptimize(made);
    }
}
BENCHMARK(make_snapshot)
    ->ArgNames({"routes", "family"})
    ->ArgsProduct({{3, 10'000, 1'000'000}, {4, 6}})
    ->Unit(benchmark::kMillisecond);

void make_with_neighbours(benchmark::State& state) {
    const auto list = neighbours_of(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) {
        auto made = Forwarding::make(one_interface(), {}, list, 1);
        benchmark::DoNotOptimize(made);
    }
}
BENCHMARK(make_with_neighbours)->ArgName("neighbours")->Arg(65'000)->Unit(benchmark::kMicrosecond);

// One neighbour of many gets another MAC address, or leaves and comes back.
void change_neighbour(benchmark::State& state) {
    const auto list = neighbours_of(static_cast<std::size_t>(state.range(0)));
    auto current = Forwarding::make(one_interface(), routes_of(10'000, false), list, 1).value();
    const bool leaves = state.range(1) != 0;
    std::uint64_t generation = 1;
    for (auto _ : state) {
        NeighbourChange change{static_cast<std::uint32_t>(generation % list.size()), {}};
        if (!leaves) {
            change.neighbour = list[change.place];
            change.neighbour.mac[4] = static_cast<std::uint8_t>(generation);
        } else if (generation % 2 == 0) {
            change.place = 7;
            change.neighbour = list[7];
        } else {
            change.place = 7;
        }
        current = current->change({&change, 1}, ++generation).value();
    }
}
BENCHMARK(change_neighbour)
    ->ArgNames({"neighbours", "leaves"})
    ->ArgsProduct({{10, 65'000}, {0, 1}})
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::dpdk
