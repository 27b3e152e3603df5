#include "control/controllers/deployment/rolling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::controllers {
namespace {

int total(const std::vector<SetSize>& sets) {
    return std::accumulate(sets.begin(), sets.end(), 0,
                           [](int sum, const SetSize& set) { return sum + set.replicas; });
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
    const int room = wanted + bounds.surge - total(old) - fresh.replicas;
    if (room <= 0) return fresh.replicas;
    return fresh.replicas + std::min(room, wanted - fresh.replicas);
}

std::vector<int> next_old_sizes(int wanted, const Bounds& bounds, const SetSize& fresh,
                                const std::vector<SetSize>& old) {
    std::vector<int> sizes;
    sizes.reserve(old.size());
    for (const auto& set : old) sizes.push_back(set.replicas);
    const int min_available = wanted - bounds.unavailable;
    const int fresh_missing = std::max(0, fresh.replicas - fresh.available);
    int may_go = total(old) + fresh.replicas - min_available - fresh_missing;
    if (may_go <= 0) return sizes;
    const auto order = oldest_first(old);
    for (const std::size_t i : order) {
        const int unhealthy = std::min({may_go, sizes[i] - old[i].available, sizes[i]});
        if (unhealthy <= 0) continue;
        sizes[i] -= unhealthy;
        may_go -= unhealthy;
    }
    int available = fresh.available;
    for (const auto& set : old) available += set.available;
    int spare = std::min(may_go, available - min_available);
    for (const std::size_t i : order) {
        if (spare <= 0) break;
        const int going = std::min(spare, sizes[i]);
        sizes[i] -= going;
        spare -= going;
    }
    return sizes;
}

std::vector<int> proportional_sizes(int wanted, const Bounds& bounds, int status_replicas,
                                    const std::vector<SetSize>& sets) {
    std::vector<int> sizes;
    sizes.reserve(sets.size());
    for (const auto& set : sets) sizes.push_back(set.replicas);
    const int allowed = wanted > 0 ? wanted + bounds.surge : 0;
    const int to_add = allowed - total(sets);
    std::vector<std::size_t> order(sets.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // The largest first; of equal ones the newer when growing, the older when shrinking.
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
        if (sets[a].replicas != sets[b].replicas) return sets[a].replicas > sets[b].replicas;
        return to_add > 0 ? sets[a].created > sets[b].created : sets[a].created < sets[b].created;
    });
    int added = 0;
    for (const std::size_t i : order) {
        if (sets[i].replicas == 0 || to_add == 0 || added == to_add) continue;
        const int before = sets[i].max_replicas > 0 ? sets[i].max_replicas : status_replicas;
        int share = -sets[i].replicas;
        if (wanted > 0 && before > 0) {
            const double scaled = static_cast<double>(sets[i].replicas) * allowed / before;
            share = static_cast<int>(std::lround(scaled)) - sets[i].replicas;
        } else if (wanted > 0) {
            share = 0;
        }
        const int left = to_add - added;
        share = to_add > 0 ? std::clamp(share, 0, left) : std::clamp(share, left, 0);
        sizes[i] += share;
        added += share;
    }
    if (!order.empty() && added != to_add) {
        int& largest = sizes[order.front()];
        largest = std::max(0, largest + to_add - added);
    }
    return sizes;
}

}  // namespace sluice::controllers
