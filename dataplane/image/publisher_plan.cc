// The publisher's planning: what an upsert will write and where, with nothing written yet. See
// publisher.h.
#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

#include "dataplane/image/publisher_private.h"

namespace sluice::image {
namespace {

auto place_of(const Backend& backend) {
    return std::tie(backend.address, backend.port);
}

// <0, 0, >0 as the record stands before, at or after the backend in the order of sets.
int compare_place(const sluice_backend& record, const Backend& backend) {
    const int by_address = std::memcmp(&record.address, backend.address.bytes.data(), 16);
    return by_address != 0 ? by_address : static_cast<int>(ntohs(record.port_be)) - backend.port;
}

// SLUICE_FRONTEND_* of a frontend.
std::uint32_t flags_of(const Frontend& frontend) {
    std::uint32_t flags = frontend.external ? SLUICE_FRONTEND_EXTERNAL : 0U;
    flags |= frontend.masquerade ? SLUICE_FRONTEND_MASQUERADE : 0U;
    flags |= frontend.restricted ? SLUICE_FRONTEND_SOURCES : 0U;
    switch (frontend.forwarding) {
        case Forwarding::kNat: break;
        case Forwarding::kTunnel: flags |= SLUICE_FRONTEND_DSR_TUNNEL; break;
        case Forwarding::kOption: flags |= SLUICE_FRONTEND_DSR_OPTION; break;
        case Forwarding::kLink: flags |= SLUICE_FRONTEND_DSR_LINK; break;
    }
    return flags;
}

}  // namespace

Error Publisher::lack(Table table, const ServiceKey& key, std::size_t needed) {
    wanted_ = capacities_of(*tables_.header);
    // What is needed twice over, so that its successor finds room beside it. Large tables grow by a
    // quarter.
    const auto more = [needed](std::uint32_t& value) {
        const std::size_t by = value > kLargeTable ? value / 4 / 64 * 64 : value;
        value = static_cast<std::uint32_t>(std::min<std::size_t>(
            value + std::max<std::size_t>(by, 2 * std::bit_ceil(needed)), 1U << 31U));
    };
    switch (table) {
        case Table::kBuckets: wanted_.buckets *= 2; break;
        case Table::kFrontends: more(wanted_.frontends); break;
        case Table::kServices: more(wanted_.services); break;
        case Table::kSets: more(wanted_.set_slots); break;
        case Table::kBackends: more(wanted_.backends); break;
        case Table::kRings: more(wanted_.ring_lines); break;
        case Table::kRanges: more(wanted_.ranges); break;
        default: more(wanted_.name_bytes); break;
    }
    return make_error(Code::kResourceExhausted, "service {}: table {} is full", key.display(),
                      table_specs(wanted_)[static_cast<std::size_t>(table)].name);
}

std::string_view Publisher::name_at(std::uint32_t offset) const {
    return {tables_.names + offset};
}

bool Publisher::run_holds(const Run& run, const std::vector<std::uint32_t>& members) const {
    for (std::uint32_t i = 0; run.count == members.size() && i < run.count; ++i) {
        if (tables_.sets[run.first + i].backend != members[i]) {
            return false;
        }
    }
    return run.count == members.size();
}

bool Publisher::sources_hold(const Run& run, const std::vector<AddressRange>& ranges) const {
    for (std::uint32_t i = 0; run.count == ranges.size() && i < run.count; ++i) {
        const sluice_range& range = tables_.ranges[run.first + i];
        if (address_of(range.first) != ranges[i].first ||
            address_of(range.last) != ranges[i].last) {
            return false;
        }
    }
    return run.count == ranges.size();
}
void Publisher::plan_backends(const Service& service, const std::vector<std::uint32_t>& existing,
                              Plan& plan) const {
    const std::array<const std::vector<Backend>*, SLUICE_TRAFFIC_KINDS> sets{
        &service.internal.backends, &service.external.backends, &service.inside.backends};
    std::array<std::size_t, SLUICE_TRAFFIC_KINDS> next{};
    auto old = existing.begin();
    for (;;) {
        const Backend* least = nullptr;
        for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
            if (next[kind] == sets[kind]->size()) {
                continue;
            }
            const Backend& candidate = (*sets[kind])[next[kind]];
            if (least == nullptr || place_of(candidate) < place_of(*least)) {
                least = &candidate;
            }
        }
        if (least == nullptr) {
            break;
        }
        Plan::Member member{least, 0, true, false, 0, {}};
        for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
            if (next[kind] < sets[kind]->size() &&
                place_of((*sets[kind])[next[kind]]) == place_of(*least)) {
                member.in[kind] = true;
                ++next[kind];
            }
        }
        while (old != existing.end() &&
               compare_place(tables_.backends[*old], *member.backend) < 0) {
            plan.leaving.push_back(*old++);
        }
        if (old != existing.end() && compare_place(tables_.backends[*old], *member.backend) == 0) {
            const sluice_backend& record = tables_.backends[*old];
            member.index = *old++;
            member.fresh = false;
            member.renamed = name_at(record.name) != bounded_name(member.backend->target);
        }
        plan.members.push_back(member);
    }
    plan.leaving.insert(plan.leaving.end(), old, existing.end());
}

void Publisher::plan_frontends(const Service& service, const Record& record, Plan& plan) const {
    const auto key_of = [&](const Frontend& frontend) {
        return frontend_key(frontend, service.key.protocol, service.key.family);
    };
    const auto same_key = [](const Frontend& a, const Frontend& b) {
        return a.address == b.address && a.port == b.port && a.scope == b.scope;
    };
    plan.frontends = service.frontends;
    for (Frontend& frontend : plan.frontends) {
        if (frontend.scope == Scope::kNodePort) {
            frontend.address = IpAddress{};
        }
    }
    // Of two frontends with one key the internal one wins, then the restricted one: closed rather
    // than open.
    std::sort(plan.frontends.begin(), plan.frontends.end(), [](const auto& a, const auto& b) {
        return std::tie(a.address, a.port, a.scope, a.external, b.restricted, a) <
               std::tie(b.address, b.port, b.scope, b.external, a.restricted, b);
    });
    plan.frontends.erase(std::unique(plan.frontends.begin(), plan.frontends.end(), same_key),
                         plan.frontends.end());
    const auto& before = record.frontends;
    for (const Frontend& frontend : plan.frontends) {
        if (std::find(before.begin(), before.end(), frontend) == before.end()) {
            plan.claims.push_back(Claim{key_of(frontend), flags_of(frontend), 0});
        }
    }
    for (const Frontend& frontend : before) {
        const bool stays =
            std::any_of(plan.frontends.begin(), plan.frontends.end(),
                        [&](const Frontend& other) { return same_key(other, frontend); });
        if (!stays) {
            plan.withdrawals.push_back(key_of(frontend));
        }
    }
    const auto any = [](const std::vector<Frontend>& frontends, bool external) {
        return std::any_of(frontends.begin(), frontends.end(),
                           [=](const Frontend& frontend) { return frontend.external == external; });
    };
    const auto loses = [&](bool external) {
        return any(before, external) && !any(plan.frontends, external);
    };
    plan.flip_last[SLUICE_TRAFFIC_INTERNAL] = loses(false);
    plan.flip_last[SLUICE_TRAFFIC_EXTERNAL] = loses(true);
    plan.flip_last[SLUICE_TRAFFIC_INSIDE] = loses(true);
}

Result<void> Publisher::take_room(const Service& service, Plan& plan, Taken& taken) {
    const ServiceKey& key = service.key;
    if (const auto table = frontends_.lacking(tables_, plan.claims, {})) {
        return lack(*table, key);
    }
    std::size_t handovers = 0;
    for (const auto& withdrawal : plan.withdrawals) {
        handovers += frontends_.contested(withdrawal) ? 1 : 0;
    }
    // lacking() has counted one record for each claim and one for each new address.
    if (handovers > 0 && 2 * plan.claims.size() + handovers > frontends_.records_available()) {
        return lack(Table::kFrontends, key);
    }
    for (Plan::Member& member : plan.members) {
        if (member.fresh) {
            const auto index = taken.backend();
            if (!index) {
                return lack(Table::kBackends, key);
            }
            member.index = *index;
        }
        if (member.fresh || member.renamed) {
            const auto name = taken.name(bounded_name(member.backend->target));
            if (!name) {
                return lack(Table::kNames, key);
            }
            member.name = *name;
        }
        for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
            if (member.in[kind]) {
                plan.sets[kind].push_back(member.index);
            }
        }
    }
    return {};
}

Result<void> Publisher::take_sets(const Service& service, const Record& record, Plan& plan,
                                  Taken& taken) {
    const auto desired = sets_of(service);
    for (std::size_t kind = 0; kind < SLUICE_TRAFFIC_KINDS; ++kind) {
        const auto& members = plan.sets[kind];
        if (members.empty()) {
            continue;
        }
        Run& run = plan.runs[kind];
        run.count = static_cast<std::uint32_t>(members.size());
        bool new_ring = false;
        RingMembers content;
        if (needs_ring(service, *desired[kind])) {
            content = ring_members(*desired[kind]);
            run.ring = ring_size_word(content, service.choice);
        }
        std::size_t same = 0;
        for (; same < kind; ++same) {
            if (plan.sets[same] == members && plan.runs[same].ring == run.ring &&
                (run.ring == 0 || ring_members(*desired[same]) == content)) {
                break;
            }
        }
        if (same < kind) {
            run = plan.runs[same];
            continue;
        }
        if (run.ring != 0) {
            auto line = rings_.find(content);
            new_ring = !line;
            if (new_ring) {
                line = taken.ring(run.ring);
            }
            if (!line) {
                return lack(Table::kRings, service.key, ring_lines(run.ring));
            }
            run.line = *line;
        }
        const Run& before = record.runs[kind];
        if (before.ring == run.ring && before.line == run.line && !new_ring &&
            run_holds(before, members)) {
            run = before;
            continue;
        }
        const std::uint32_t head = run.ring != 0 ? 1 : 0;
        const auto first = taken.set(run.count + head);
        if (!first) {
            return lack(Table::kSets, service.key, run.count + head);
        }
        run.first = *first + head;
        plan.write_run[kind] = true;
        if (new_ring) {
            plan.new_rings[kind] = std::move(content);
        }
    }
    return {};
}

Result<void> Publisher::take_sources(const Service& service, const Record& record, Plan& plan,
                                     Taken& taken) {
    if (sources_hold(record.sources, service.sources)) {
        plan.sources = record.sources;
        return {};
    }
    plan.sources.count = static_cast<std::uint32_t>(service.sources.size());
    plan.write_sources = true;
    if (plan.sources.count > 0) {
        const auto first = taken.ranges(plan.sources.count);
        if (!first) {
            return lack(Table::kRanges, service.key, plan.sources.count);
        }
        plan.sources.first = *first;
    }
    return {};
}

std::string Publisher::identity_of(const ServiceKey& key) {
    return Carried::identity(bounded_name(key.display()), static_cast<std::uint8_t>(key.protocol),
                             static_cast<std::uint8_t>(key.family));
}

void Publisher::recall(const ServiceKey& key, Record& record, Plan& plan) const {
    if (carried_index_.empty()) {
        return;
    }
    const auto carried = carried_index_.find(identity_of(key));
    if (carried == carried_index_.end()) {
        return;
    }
    plan.carried = true;
    plan.index = carried->second;
    const auto backends = carried_backends_.find(carried->second);
    if (backends != carried_backends_.end()) {
        record.backends = backends->second;
    }
}

Result<void> Publisher::take_service(const ServiceKey& key, Plan& plan, Taken& taken) {
    const std::string display = key.display();
    const auto name = taken.name(bounded_name(display));
    if (!name) {
        return lack(Table::kNames, key, display.size());
    }
    plan.name = *name;
    if (!plan.carried) {
        const auto index = taken.service();
        if (!index) {
            return lack(Table::kServices, key);
        }
        plan.index = *index;
    }
    return {};
}

}  // namespace sluice::image
