// What a ring costs to build, and how good it is: goal 7 compares with Katran's builder at 1,000
// members and 65,537 places (1.72 ms, 0.55 % of the other places moved, most / mean 1.007).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <vector>

#include "dataplane/image/maglev.h"

namespace sluice::image {
namespace {

std::vector<RingMember> members_of(std::size_t count, bool weighted) {
    std::vector<RingMember> out(count);
    for (std::size_t i = 0; i < count; ++i) {
        out[i].address = IpAddress::from_v4_be(static_cast<std::uint32_t>(
            10U | (i >> 16U & 255U) << 8U | (i >> 8U & 255U) << 16U | (i & 255U) << 24U));
        out[i].port = 8080;
        out[i].weight = static_cast<std::uint16_t>(weighted ? 1 + i % 10 : 1);
    }
    return out;
}

template <class Position>
void build(benchmark::State& state, bool weighted, RingWay way = RingWay::kFastest) {
    const auto members = members_of(static_cast<std::size_t>(state.range(0)), weighted);
    std::vector<Position> ring(static_cast<std::size_t>(state.range(1)));
    for (auto run : state) {
        build_ring(members, ring, way);
        benchmark::DoNotOptimize(ring.data());
    }
    std::vector<std::size_t> share(members.size());
    for (const auto position : ring) {
        ++share[position];
    }
    double heaviest = 0;
    double weights = 0;
    for (const RingMember& member : members) {
        weights += member.weight;
    }
    for (std::size_t i = 0; i < members.size(); ++i) {
        const double fair = static_cast<double>(ring.size()) * members[i].weight / weights;
        heaviest = std::max(heaviest, static_cast<double>(share[i]) / fair);
    }
    // One leaves: the mean over some, evenly spread.
    constexpr std::size_t kMostLeave = 20;
    const std::size_t leave = std::min(kMostLeave, ring.size() > 1'000'000 ? 1 : members.size());
    double moved = 0;
    for (std::size_t each = 0; each < leave; ++each) {
        const std::size_t gone = members.size() * (2 * each + 1) / (2 * leave);
        auto fewer = members;
        fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(gone));
        std::vector<Position> after(ring.size());
        build_ring(fewer, after);
        std::size_t places = 0;
        for (std::size_t i = 0; i < ring.size(); ++i) {
            const std::size_t now = after[i] < gone ? after[i] : std::size_t{after[i]} + 1;
            places += ring[i] != gone && now != ring[i] ? 1 : 0;
        }
        moved += 100.0 * static_cast<double>(places) / static_cast<double>(ring.size() - share[gone]);
    }
    state.counters["moved_percent"] = moved / static_cast<double>(leave);
    state.counters["max_to_fair"] = heaviest;
}

// The paper's loop as it is written there, for the ratio on this machine.
void BM_PaperRing(benchmark::State& state) {
    const auto members = static_cast<std::size_t>(state.range(0));
    const auto size = static_cast<std::uint32_t>(state.range(1));
    std::vector<std::uint32_t> offset(members);
    std::vector<std::uint32_t> skip(members);
    std::mt19937 random(1);
    for (std::size_t i = 0; i < members; ++i) {
        offset[i] = static_cast<std::uint32_t>(random() % size);
        skip[i] = static_cast<std::uint32_t>(random() % (size - 1)) + 1;
    }
    std::vector<int> entry(size);
    for (auto run : state) {
        std::vector<std::uint32_t> next(members);
        std::fill(entry.begin(), entry.end(), -1);
        for (std::uint32_t filled = 0; filled < size;) {
            for (std::size_t i = 0; i < members && filled < size; ++i, ++filled) {
                const auto at = [&] {
                    return (offset[i] + std::uint64_t{next[i]++} * skip[i]) % size;
                };
                std::uint64_t place = at();
                while (entry[place] >= 0) {
                    place = at();
                }
                entry[place] = static_cast<int>(i);
            }
        }
        benchmark::DoNotOptimize(entry.data());
    }
}

void BM_Ring(benchmark::State& state) {
    build<std::uint16_t>(state, false);
}
// As on processors without AVX-512.
void BM_PlainRing(benchmark::State& state) {
    build<std::uint16_t>(state, false, RingWay::kPlain);
}
void BM_WeightedRing(benchmark::State& state) {
    build<std::uint16_t>(state, true);
}
void BM_WideRing(benchmark::State& state) {
    build<std::uint32_t>(state, false);
}

BENCHMARK(BM_PaperRing)->Args({1000, 65537})->Args({1000, 655373})->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_Ring)
    ->Args({5, 509})
    ->Args({100, 16381})
    ->Args({1000, 65537})
    ->Args({1000, 131071})
    ->Args({1000, 655373})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_PlainRing)->Args({1000, 65537})->Args({1000, 655373})->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_WeightedRing)
    ->Args({1000, 65537})
    ->Args({1000, 655373})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_WideRing)->Args({100000, 12582917})->Unit(benchmark::kMicrosecond)->Iterations(1);

}  // namespace
}  // namespace sluice::image
