#include "dataplane/image/counts.h"

namespace sluice::image {
namespace {

template <class Cell>
void add_to(Cell& cell, Cell now, Cell before) {
    if (now > before) {
        __atomic_fetch_add(&cell, now - before, __ATOMIC_RELAXED);
    }
}

}  // namespace

Counts Counts::of(const Tables& tables) {
    Counts out;
    out.services.assign(tables.counters, tables.counters + tables.header->service_capacity);
    out.backends.reserve(tables.header->backend_capacity);
    for (std::uint32_t i = 0; i < tables.header->backend_capacity; ++i) {
        out.backends.push_back(sum_served(tables, i));
    }
    for (std::uint32_t reason = 0; reason < SLUICE_DROP_STRIDE; ++reason) {
        out.drops[reason] = sum_drops(tables, reason);
    }
    return out;
}

void carry_counts(const Counts& before, const Counts& now, const Tables& to,
                  const std::vector<bool>& services) {
    const auto kept = [&](std::size_t service) {
        return service < services.size() && services[service];
    };
    for (std::size_t i = 0; i < now.services.size() && i < to.header->service_capacity; ++i) {
        if (!kept(i)) {
            continue;
        }
        const auto was = i < before.services.size() ? before.services[i] : sluice_service_counters{};
        add_to(to.counters[i].connections, now.services[i].connections, was.connections);
        add_to(to.counters[i].packets, now.services[i].packets, was.packets);
        add_to(to.counters[i].bytes, now.services[i].bytes, was.bytes);
        add_to(to.counters[i].refused, now.services[i].refused, was.refused);
    }
    for (std::size_t i = 0; i < now.backends.size() && i < to.header->backend_capacity; ++i) {
        if (to.backends[i].incarnation % 2 == 0 || !kept(to.backends[i].service)) {
            continue;
        }
        const auto was = i < before.backends.size() ? before.backends[i] : sluice_backend_counters{};
        add_to(to.served[i].connections, now.backends[i].connections, was.connections);
        add_to(to.served[i].packets, now.backends[i].packets, was.packets);
        add_to(to.served[i].bytes, now.backends[i].bytes, was.bytes);
    }
    const std::size_t row = to.header->counter_rows;
    for (std::uint32_t reason = 0; reason < SLUICE_DROP_STRIDE; ++reason) {
        add_to(to.drops[row * SLUICE_DROP_STRIDE + reason], now.drops[reason], before.drops[reason]);
    }
}

}  // namespace sluice::image
