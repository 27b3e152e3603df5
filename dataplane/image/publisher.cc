// The publisher's writing: nothing here fails. See publisher.h for the order of stores.
#include "dataplane/image/publisher.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "bpf/lib/view_memory.h"
// The view comes first: the look-up is written against it.
#include "bpf/lib/lookup.h"
#include "dataplane/image/check.h"
#include "dataplane/image/publisher_private.h"

namespace sluice::image {
namespace {

std::uint16_t flags_of(const Backend& backend) {
    return static_cast<std::uint16_t>((backend.local ? SLUICE_BACKEND_LOCAL : 0) |
                                      (backend.terminating ? SLUICE_BACKEND_TERMINATING : 0));
}

// The word without its generation.
std::uint64_t word_of(std::uint32_t first, std::uint32_t count, bool ring) {
    return static_cast<std::uint64_t>(count) << SLUICE_WORD_COUNT_SHIFT |
           (ring ? SLUICE_WORD_RING : 0) | first;
}

constexpr std::uint64_t kWordMask = (std::uint64_t{1} << SLUICE_WORD_GENERATION_SHIFT) - 1;

}  // namespace

Result<void> Publisher::upsert(const Service& service) {
    SLUICE_TRY(check_service(service));
    const auto found = records_.find(service.key);
    const bool fresh = found == records_.end();
    Record blank;
    Record& current = fresh ? blank : found->second;
    Plan plan;
    Taken taken(*this);

    if (fresh) {
        recall(service.key, current, plan);
    }
    plan_backends(service, current.backends, plan);
    plan_frontends(service, current, plan);
    SLUICE_TRY(take_room(service, plan, taken));
    SLUICE_TRY(take_sets(service, current, plan, taken));
    SLUICE_TRY(take_sources(service, current, plan, taken));
    if (fresh) {
        SLUICE_TRY(take_service(service.key, plan, taken));
    }

    // From here on nothing fails.
    taken.keep();
    begin_change();
    if (fresh) {
        const auto place = records_.emplace(service.key, std::move(blank)).first;
        Record& record = place->second;
        record.index = plan.index;
        record.name = plan.name;
        keys_[plan.index] = &place->first;
        write_name(plan.name, bounded_name(service.key.display()));
        if (plan.carried) {
            carried_services_[plan.index] = true;
            carried_backends_.erase(plan.index);
            carried_index_.erase(identity_of(service.key));
        } else {
            tables_.counters[plan.index] = sluice_service_counters{};
        }
        publish(service, record, plan, true);
    } else {
        publish(service, current, plan, false);
    }
    end_change();
    return {};
}

void Publisher::publish(const Service& service, Record& record, Plan& plan, bool fresh) {
    write_backends(plan, record.index);
    write_sets(plan);
    write_service(service, record, fresh);
    const std::array<Run, SLUICE_TRAFFIC_KINDS> former = record.runs;
    record.runs = plan.runs;
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        if (!plan.flip_last[kind]) {
            flip(service, record, kind);
        }
    }
    // Ranges that narrow a frontend are there before it, and go after it.
    const Run former_sources = record.sources;
    record.sources = plan.sources;
    write_sources(service, plan);
    if (plan.write_sources && plan.sources.count > 0) {
        flip_sources(record);
    }
    for (Claim& claim : plan.claims) {
        claim.service = record.index;
    }
    frontends_.add(tables_, plan.claims, retired_);
    frontends_.withdraw(tables_, plan.withdrawals, record.index, retired_);
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        if (plan.flip_last[kind]) {
            flip(service, record, kind);
        }
    }
    if (plan.write_sources) {
        flip_sources(record);
        retire_sources(former_sources);
    }
    retire_runs(former, record.runs);
    for (const std::uint32_t backend : plan.leaving) {
        retire_backend(backend);
    }
    record.frontends = std::move(plan.frontends);
    record.frontends.shrink_to_fit();
    record.backends.clear();
    record.backends.reserve(plan.members.size());
    for (const auto& member : plan.members) {
        record.backends.push_back(member.index);
    }
}

void Publisher::write_sets(Plan& plan) {
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        const Run& run = plan.runs[kind];
        if (!plan.write_run[kind]) {
            continue;
        }
        if (!plan.new_rings[kind].empty()) {
            rings_.add(tables_, run.line, run.ring, std::move(plan.new_rings[kind]));
        }
        if (run.ring != 0) {
            rings_.use(run.line);
            const sluice_ring ring{run.line, run.ring};
            std::memcpy(&tables_.sets[run.first - 1], &ring, sizeof(ring));
        }
        for (std::uint32_t i = 0; i < run.count; ++i) {
            const std::uint32_t backend = plan.sets[kind][i];
            tables_.sets[run.first + i] =
                sluice_set_slot{backend, tables_.backends[backend].incarnation};
        }
    }
}

void Publisher::write_sources(const Service& service, const Plan& plan) {
    for (std::uint32_t i = 0; plan.write_sources && i < plan.sources.count; ++i) {
        const AddressRange& range = service.sources[i];
        tables_.ranges[plan.sources.first + i] =
            sluice_range{image_address(range.first), image_address(range.last)};
    }
}

void Publisher::write_backends(const Plan& plan, std::uint32_t service) {
    for (const Plan::Member& member : plan.members) {
        sluice_backend& record = tables_.backends[member.index];
        const Backend& backend = *member.backend;
        if (member.fresh || member.renamed) {
            write_name(member.name, bounded_name(backend.target));
        }
        if (member.fresh) {
            record.address = image_address(backend.address);
            record.port_be = htons(backend.port);
            record.flags = flags_of(backend);
            record.service = service;
            record.name = member.name;
            clear_served(member.index);
            __atomic_store_n(&record.incarnation, record.incarnation + 1, __ATOMIC_RELEASE);
            continue;
        }
        __atomic_store_n(&record.flags, flags_of(backend), __ATOMIC_RELAXED);
        if (member.renamed) {
            retire_name(record.name);
            __atomic_store_n(&record.name, member.name, __ATOMIC_RELEASE);
        }
    }
}

void Publisher::write_service(const Service& service, const Record& record, bool fresh) {
    sluice_service& out = tables_.services[record.index];
    if (fresh) {
        out = sluice_service{};
        out.name = record.name;
        out.protocol = static_cast<std::uint8_t>(service.key.protocol);
        out.family = static_cast<std::uint8_t>(service.key.family);
        // A service in use has its name: a successor finds it by that.
        __atomic_store_n(&out.flags, SLUICE_SERVICE_IN_USE, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&out.port_be, htons(service.port), __ATOMIC_RELAXED);
    __atomic_store_n(&out.affinity_timeout_s, service.affinity_timeout_s, __ATOMIC_RELAXED);
}

void Publisher::flip(const Service& service, const Record& record, std::size_t kind) {
    auto& word = tables_.services[record.index].word[kind];
    const Run& run = record.runs[kind];
    const std::uint32_t when_empty =
        sets_of(service)[kind]->when_empty_drop ? SLUICE_EMPTY_DROP : SLUICE_EMPTY_REFUSE;
    const std::uint64_t next =
        word_of(run.count > 0 ? run.first : when_empty, run.count, run.ring != 0);
    if ((word & kWordMask) != next) {
        const std::uint64_t generation = (word >> SLUICE_WORD_GENERATION_SHIFT) + 1;
        __atomic_store_n(&word, generation << SLUICE_WORD_GENERATION_SHIFT | next,
                         __ATOMIC_RELEASE);
    }
}

void Publisher::flip_sources(const Record& record) {
    const Run& run = record.sources;
    __atomic_store_n(&tables_.services[record.index].sources, word_of(run.first, run.count, false),
                     __ATOMIC_RELEASE);
}

void Publisher::retire_runs(const std::array<Run, SLUICE_TRAFFIC_KINDS>& former,
                            const std::array<Run, SLUICE_TRAFFIC_KINDS>& kept) {
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        const Run& run = former[kind];
        const auto earlier = former.begin() + static_cast<std::ptrdiff_t>(kind);
        if (run.count == 0 || std::find(kept.begin(), kept.end(), run) != kept.end() ||
            std::find(former.begin(), earlier, run) != earlier) {
            continue;
        }
        const std::uint32_t head = run.ring != 0 ? 1 : 0;
        retired_.sets.push_back({run.first - head, run.count + head});
        if (run.ring != 0) {
            rings_.drop(run.line, retired_);
        }
    }
}

void Publisher::retire_sources(const Run& run) {
    if (run.count > 0) {
        retired_.ranges.push_back({run.first, run.count});
    }
}

Result<void> Publisher::remove(const ServiceKey& key) {
    const auto found = records_.find(key);
    if (found == records_.end()) {
        return {};
    }
    Record& record = found->second;
    std::size_t handovers = 0;
    std::vector<sluice_frontend_key> withdrawals;
    for (const Frontend& frontend : record.frontends) {
        withdrawals.push_back(frontend_key(frontend, key.protocol, key.family));
        handovers += frontends_.contested(withdrawals.back()) ? 1 : 0;
    }
    if (handovers > frontends_.records_available()) {
        return lack(Table::kFrontends, key);
    }
    begin_change();
    frontends_.withdraw(tables_, withdrawals, record.index, retired_);
    // Programs that found the frontend before go on reading the word and its set until the grace
    // period ends.
    sluice_service& service = tables_.services[record.index];
    __atomic_store_n(&service.flags, service.flags & ~std::uint32_t{SLUICE_SERVICE_IN_USE},
                     __ATOMIC_RELAXED);
    retire_runs(record.runs, {});
    retire_sources(record.sources);
    for (const std::uint32_t backend : record.backends) {
        retire_backend(backend);
    }
    retire_name(record.name);
    retired_.services.push_back(record.index);
    keys_[record.index] = nullptr;
    carried_services_[record.index] = false;
    records_.erase(found);
    end_change();
    return {};
}

Result<void> Publisher::set_node_addresses(std::span<const IpAddress> addresses) {
    std::vector<IpAddress> usable;
    for (const IpAddress& address : addresses) {
        // NodePorts never answer on loopback, whatever nodePortAddresses says.
        if (!address.is_loopback() && !address.is_unspecified()) {
            usable.push_back(address);
        }
    }
    if (const auto table = frontends_.lacking(tables_, {}, usable)) {
        Error error = lack(*table, ServiceKey{});
        error.message = "node addresses: the frontend table is full";
        return error;
    }
    begin_change();
    frontends_.set_node_addresses(tables_, usable, retired_);
    end_change();
    return {};
}

void Publisher::clear_served(std::uint32_t backend) {
    const std::size_t stride = tables_.header->backend_capacity;
    for (std::size_t row = 0; row < tables_.header->counter_rows; ++row) {
        tables_.served[row * stride + backend] = sluice_backend_counters{};
    }
}

void Publisher::retire_backend(std::uint32_t index) {
    sluice_backend& record = tables_.backends[index];
    // What it has counted stays with its service.
    const sluice_backend_counters served = sum_served(tables_, index);
    sluice_service_counters& service = tables_.counters[record.service];
    service.connections += served.connections;
    service.packets += served.packets;
    service.bytes += served.bytes;
    __atomic_store_n(&record.incarnation, record.incarnation + 1, __ATOMIC_RELEASE);
    retire_name(record.name);
    retired_.backends.push_back(index);
}

void Publisher::retire_name(std::uint32_t offset) {
    if (offset != 0) {
        retired_.names.push_back({offset / kNameUnit, name_units(name_at(offset).size())});
    }
}

void Publisher::write_name(std::uint32_t offset, std::string_view text) {
    if (offset != 0) {
        std::memcpy(tables_.names + offset, text.data(), text.size());
        tables_.names[offset + text.size()] = '\0';
    }
}

void Publisher::begin_change() {
    __atomic_store_n(&tables_.header->generation, tables_.header->generation + 1, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

void Publisher::end_change() {
    __atomic_store_n(&tables_.header->generation, tables_.header->generation + 1, __ATOMIC_RELEASE);
}

}  // namespace sluice::image
