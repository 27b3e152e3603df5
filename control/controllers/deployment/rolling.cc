#include "control/controllers/deployment/rolling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::controllers {
namespace {

std::int64_t total(const std::vector<SetSize>& sets) {
    return std::accumulate(
        sets.begin(), sets.end(), std::int64_t{0},
        [](std::int64_t sum, const SetSize& set) { return sum + set.replicas; });
}

int to_size(std::int64_t size) {
    return static_cast<int>(std::clamp<std::int64_t>(size, 0, INT32_MAX));
}

std::vector<std::size_t> oldest_first(const std::vector<SetSize>& sets) {
    std::vector<std::size_t> order(sets.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
        if (sets[a].created != sets[b].created) return sets[a].created < sets[b].created;
        return sets[a].name < sets[b].name;
    });
    return order;
}

}  // namespace

int next_new_size(int wanted, const Bounds& bounds, const SetSize& fresh,
                  const std::vector<SetSize>& old) {
    if (fresh.replicas >= wanted) return wanted;
    const std::int64_t most = std::int64_t{wanted} + bounds.surge - total(old);
    if (most <= fresh.replicas) return fresh.replicas;
    return to_size(std::min<std::int64_t>(most, wanted));
}

std::vector<int> next_old_sizes(int wanted, const Bounds& bounds, const SetSize& fresh,
                                const std::vector<SetSize>& old) {
    std::vector<int> sizes;
    sizes.reserve(old.size());
    for (const auto& set : old) sizes.push_back(set.replicas);
    const std::int64_t min_available = std::int64_t{wanted} - bounds.unavailable;
    const std::int64_t fresh_missing =
        std::max<std::int64_t>(0, std::int64_t{fresh.replicas} - fresh.available);
    std::int64_t may_go = total(old) + fresh.replicas - min_available - fresh_missing;
    if (may_go <= 0) return sizes;
    const auto order = oldest_first(old);
    for (const std::size_t i : order) {
        const std::int64_t unhealthy =
            std::min({may_go, std::int64_t{sizes[i]} - old[i].available, std::int64_t{sizes[i]}});
        if (unhealthy <= 0) continue;
        sizes[i] -= to_size(unhealthy);
        may_go -= unhealthy;
    }
    std::int64_t available = fresh.available;
    for (const auto& set : old) available += set.available;
    // may_go counts what is asked for, available what was seen: a set that was made smaller just
    // now still shows the pods that it is about to lose.
    std::int64_t spare = std::min(may_go, available - min_available);
    for (const std::size_t i : order) {
        if (spare <= 0) break;
        const std::int64_t going = std::min(spare, std::int64_t{sizes[i]});
        sizes[i] -= to_size(going);
        spare -= going;
    }
    return sizes;
}

std::vector<int> proportional_sizes(int wanted, const Bounds& bounds, int status_replicas,
                                    const std::vector<SetSize>& sets) {
    std::vector<int> sizes;
    sizes.reserve(sets.size());
    for (const auto& set : sets) sizes.push_back(set.replicas);
    const std::int64_t allowed = wanted > 0 ? std::int64_t{wanted} + bounds.surge : 0;
    const std::int64_t to_add = allowed - total(sets);
    std::vector<std::size_t> order(sets.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // The largest first; of equal ones the newer when growing, the older when shrinking.
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
        if (sets[a].replicas != sets[b].replicas) return sets[a].replicas > sets[b].replicas;
        return to_add > 0 ? sets[a].created > sets[b].created : sets[a].created < sets[b].created;
    });
    std::int64_t added = 0;
    for (const std::size_t i : order) {
        if (sets[i].replicas == 0 || to_add == 0 || added == to_add) continue;
        const int before = sets[i].max_replicas > 0 ? sets[i].max_replicas : status_replicas;
        std::int64_t share = -std::int64_t{sets[i].replicas};
        if (wanted > 0 && before > 0) {
            const double scaled =
                static_cast<double>(sets[i].replicas) * static_cast<double>(allowed) / before;
            share = std::llround(scaled) - sets[i].replicas;
        } else if (wanted > 0) {
            share = 0;
        }
        const std::int64_t left = to_add - added;
        share = to_add > 0 ? std::clamp<std::int64_t>(share, 0, left)
                           : std::clamp<std::int64_t>(share, left, 0);
        sizes[i] = to_size(sizes[i] + share);
        added += share;
    }
    if (!order.empty() && added != to_add) {
        int& largest = sizes[order.front()];
        largest = to_size(largest + to_add - added);
    }
    return sizes;
}

}  // namespace sluice::controllers
