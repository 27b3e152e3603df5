// See series.h.
#include "agent/metrics/series.h"

#include <algorithm>
#include <unordered_set>

namespace sluice::metrics {
namespace {

bool fell(const Counters& now, const Counters& before) {
    return now.connections < before.connections || now.packets < before.packets ||
           now.bytes < before.bytes || now.refused < before.refused;
}

// What was counted since; all of it, if it began anew meanwhile.
Counters since(const Counters& now, const Counters& before) {
    if (fell(now, before)) return now;
    return {now.connections - before.connections, now.packets - before.packets, now.bytes - before.bytes,
            now.refused - before.refused};
}

}  // namespace

Counters& Counters::operator+=(const Counters& more) {
    connections += more.connections;
    packets += more.packets;
    bytes += more.bytes;
    refused += more.refused;
    return *this;
}

Counters SeriesLedger::seen_of(std::uint64_t key) const {
    const auto found = std::lower_bound(seen_.begin(), seen_.end(), key,
                                        [](const Seen& one, std::uint64_t wanted) { return one.key < wanted; });
    return found != seen_.end() && found->key == key ? found->total : Counters{};
}

void SeriesLedger::give_places(std::vector<Counted>* items) {
    std::unordered_set<std::uint64_t> living;
    std::vector<Counted*> waiting;
    std::vector<Counted*> idle;
    for (Counted& item : *items) {
        const auto owner = owners_.find(item.key);
        item.own = owner != owners_.end();
        if (!item.own) {
            waiting.push_back(&item);
            continue;
        }
        living.insert(item.key);
        if (since(item.total, owner->second) == Counters{}) idle.push_back(&item);
    }
    std::erase_if(owners_, [&](const auto& owner) { return !living.contains(owner.first); });
    std::stable_sort(waiting.begin(), waiting.end(), [](const Counted* a, const Counted* b) {
        return a->total.connections > b->total.connections;
    });
    for (Counted* item : waiting) {
        const Counters before = seen_of(item->key);
        if (owners_.size() >= limit_) {
            const bool counts = since(item->total, before) != Counters{};
            if (idle.empty() || !counts) continue;
            idle.back()->own = false;
            owners_.erase(idle.back()->key);
            // What it counted before it had a place is in the sum already.
            seen_.insert(std::upper_bound(seen_.begin(), seen_.end(), idle.back()->key,
                                          [](std::uint64_t key, const Seen& one) { return key < one.key; }),
                         Seen{idle.back()->key, idle.back()->total});
            idle.pop_back();
        }
        item->own = true;
        owners_.emplace(item->key, fell(item->total, before) ? Counters{} : before);
    }
}

Counters SeriesLedger::settle(std::vector<Counted>* items) {
    give_places(items);
    std::vector<Seen> seen;
    for (Counted& item : *items) {
        if (item.own) {
            Counters& base = owners_.at(item.key);
            if (fell(item.total, base)) base = {};
            item.shown = since(item.total, base);
            continue;
        }
        others_ += since(item.total, seen_of(item.key));
        seen.push_back(Seen{item.key, item.total});
    }
    std::sort(seen.begin(), seen.end(), [](const Seen& a, const Seen& b) { return a.key < b.key; });
    seen_ = std::move(seen);
    return others_;
}

}  // namespace sluice::metrics
