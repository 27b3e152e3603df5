#include "dataplane/image/life.h"

#include <sys/random.h>

#include <algorithm>
#include <string>
#include <unordered_set>

namespace sluice::image {
namespace {

std::string identity_of(const ServiceKey& key) {
    return Carried::identity(key.display(), static_cast<std::uint8_t>(key.protocol),
                             static_cast<std::uint8_t>(key.family));
}

void keep_first(Result<void>& outcome, Result<void> done) {
    if (!done && outcome) {
        outcome = std::move(done);
    }
}

}  // namespace

std::uint64_t random_seed() {
    std::uint64_t seed = 0;
    while (seed == 0) {
        SLUICE_ASSERT(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
    }
    return seed;
}

Carried carried_from_nothing(std::uint32_t backends) {
    Carried out;
    sluice_backend free{};
    free.incarnation = static_cast<std::uint32_t>(random_seed()) & ~1U;
    out.backends.assign(backends, free);
    out.usage.backends = backends;
    return out;
}

std::uint32_t fresh_incarnation(const Carried& carried) {
    return carried.services.empty() && !carried.backends.empty() ? carried.backends.back().incarnation & ~1U : 0;
}

Capacities first_capacities(const Node& node, std::span<const Service> services, const Carried& carried,
                            std::uint32_t counter_rows) {
    Capacities least;
    least.counter_rows = counter_rows;
    least.services = std::max(least.services, static_cast<std::uint32_t>(carried.usage.services));
    least.backends = std::max(least.backends, static_cast<std::uint32_t>(carried.usage.backends));
    return capacities_for(usage_of(node, services), least);
}

Result<std::unique_ptr<Publisher>> fill(const Tables& tables, const Capacities& capacities, const HeaderFacts& facts,
                                        std::span<const Service> services, const Carried& carried,
                                        Capacities& wanted) {
    // Even, as between changes, and above what it succeeds.
    const std::uint64_t generation = (carried.generation | 1U) + 1;
    SLUICE_TRY(write_header(tables, capacities, facts, generation));
    auto publisher = std::make_unique<Publisher>(tables, carried);
    Result<void> filled = publisher->set_node_addresses(facts.node.nodeport_addresses);
    for (std::size_t i = 0; filled && i < services.size(); ++i) {
        filled = publisher->upsert(services[i]);
    }
    if (!filled) {
        wanted = publisher->wanted();
        return filled.error();
    }
    publisher->finish_carrying();
    return publisher;
}

Result<void> copy_all(const Publisher& publisher, const Tables& successor, const Capacities& capacities,
                      const HeaderFacts& facts, std::uint32_t fresh) {
    const sluice_header& from = *publisher.tables().header;
    SLUICE_TRY(write_header(successor, capacities, facts, from.generation + 2));
    SLUICE_TRY(publisher.copy_into(successor));
    for (std::uint32_t i = from.backend_capacity; fresh != 0 && i < capacities.backends; ++i) {
        successor.backends[i].incarnation = fresh;
    }
    return {};
}

Result<void> with_room(const Step& step, const std::function<bool()>& collect, const Step& grow) {
    Result<void> outcome;
    for (int attempt = 0; attempt < kMaxGrowths; ++attempt) {
        outcome = step();
        if (outcome || outcome.error().code != Code::kResourceExhausted) {
            return outcome;
        }
        if (!collect()) {
            SLUICE_TRY(grow());
        }
    }
    return outcome;
}

Result<void> publish_all(Publisher& publisher, std::span<const Service> services, const RunStep& run) {
    std::unordered_set<std::string> wanted;
    Result<void> outcome;
    for (const Service& service : services) {
        wanted.insert(identity_of(service.key));
        keep_first(outcome, run(service.key, [&] { return publisher.upsert(service); }));
    }
    for (const ServiceKey& key : publisher.keys()) {
        if (!wanted.contains(identity_of(key))) {
            keep_first(outcome, run(key, [&] { return publisher.remove(key); }));
        }
    }
    return outcome;
}

Result<void> publish_change(Publisher& publisher, const Change& change, const RunStep& run) {
    Result<void> outcome;
    for (const Service& service : change.upserts) {
        keep_first(outcome, run(service.key, [&] { return publisher.upsert(service); }));
    }
    for (const ServiceKey& key : change.removals) {
        keep_first(outcome, run(key, [&] { return publisher.remove(key); }));
    }
    return outcome;
}

}  // namespace sluice::image
