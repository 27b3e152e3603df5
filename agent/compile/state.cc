// See state.h.
#include "agent/compile/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::compile {

void State::mark(Node& node) {
    if (std::exchange(node.second.dirty, true)) return;
    dirty_.push_back(&node);
}

void State::upsert(const corev1::Service& service) {
    const std::string key = service.metadata().namespace_() + "/" + service.metadata().name();
    auto facts = read_service(service);
    if (!facts) {
        remove_service(key);
        return;
    }
    const auto known = entries_.find(key);
    const bool is_new = known == entries_.end() || !known->second.service;
    if (is_new && services_ >= kMaxServices) {
        notes_.push_back(fmt::format("service {}: more than {} services; left out", key, kMaxServices));
        return;
    }
    Node& node = *entries_.try_emplace(key).first;
    Entry& entry = node.second;
    Packed packed = pack(*facts);
    std::vector<std::string> told;
    if (is_new) {
        ++services_;
    } else if (entry.service == packed) {
        return;
    } else {
        told = facts_of(node)->notes;
    }
    for (const auto& note : facts->notes) {
        if (std::find(told.begin(), told.end(), note) == told.end()) notes_.push_back(note);
    }
    entry.service = std::move(packed);
    mark(node);
}

void State::remove_service(const std::string& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || !found->second.service) return;
    found->second.service = {};
    --services_;
    mark(*found);
}

std::vector<State::StoredSlice>::iterator State::place_in(std::vector<StoredSlice>& slices,
                                                          const std::string& name) {
    return std::lower_bound(
        slices.begin(), slices.end(), name,
        [](const StoredSlice& slice, const std::string& wanted) { return *slice.name < wanted; });
}

void State::upsert(const discoveryv1::EndpointSlice& slice) {
    const std::string key = slice.metadata().namespace_() + "/" + slice.metadata().name();
    std::vector<std::string> notes;
    auto owned = read_slice(slice, node_.name, &notes);
    const auto owner = slice_owner_.find(key);
    const bool known = owner != slice_owner_.end();
    if (known && (!owned || owner->second->first != owned->service)) {
        drop_slice(key);
    } else if (owned && !known && slice_owner_.size() >= kMaxSlices) {
        notes_.push_back(
            fmt::format("endpointslice {}: more than {} slices; left out", key, kMaxSlices));
        return;
    }
    if (!owned) return;
    Node& node = *entries_.try_emplace(owned->service).first;
    const auto named = slice_owner_.insert_or_assign(key, &node).first;
    auto& slices = node.second.slices;
    const auto place = place_in(slices, key);
    Packed packed = pack(owned->slice);
    if (place == slices.end() || *place->name != key) {
        slices.insert(place, {&named->first, std::move(packed)});
    } else if (place->packed == packed) {
        return;
    } else {
        place->packed = std::move(packed);
    }
    notes_.insert(notes_.end(), notes.begin(), notes.end());
    mark(node);
}

void State::remove_slice(const std::string& key) { drop_slice(key); }

void State::drop_slice(const std::string& key) {
    const auto owner = slice_owner_.find(key);
    if (owner == slice_owner_.end()) return;
    auto& slices = owner->second->second.slices;
    const auto place = place_in(slices, key);
    SLUICE_ASSERT(place != slices.end() && *place->name == key);
    slices.erase(place);
    mark(*owner->second);
    slice_owner_.erase(owner);
}

void State::set_zone(const std::string& zone) {
    if (zone == node_.zone) return;
    node_.zone = zone;
    for (auto& node : entries_) {
        const auto& slices = node.second.slices;
        const bool hinted = std::any_of(slices.begin(), slices.end(), [](const StoredSlice& s) {
            return !unpack_slice(s.packed).zone_hints.empty();
        });
        if (hinted) mark(node);
    }
}

void State::set_addresses(std::vector<IpAddress> addresses) {
    std::sort(addresses.begin(), addresses.end());
    if (addresses == node_.addresses) return;
    node_.addresses = std::move(addresses);
    for (auto& node : entries_) {
        const auto facts = facts_of(node);
        if (facts && !facts->sources.empty()) mark(node);
    }
}

std::optional<ServiceFacts> State::facts_of(const Node& node) {
    if (!node.second.service) return std::nullopt;
    return unpack_service(node.second.service, node.first);
}

Slices State::slices_of(const Node& node) {
    Slices out;
    out.reserve(node.second.slices.size());
    for (const auto& slice : node.second.slices) {
        out.push_back({*slice.name, unpack_slice(slice.packed)});
    }
    return out;
}

image::ServiceKey State::key_of(const Node& node, const Record& record) {
    return {node.first, record.port, record.protocol, record.family};
}

Place State::place_of(const Record& record, const image::Frontend& frontend) {
    return {frontend.address, frontend.port, frontend.scope, record.family, record.protocol};
}

void State::mark_other(const Claim& claim, const Node& node) {
    if (claim.service != &node.first) mark(*entries_.find(*claim.service));
}

void State::withdraw(const Node& node, Record& record, Progress* progress) {
    if (!record.published) return;
    count(record, -1);
    record.published = false;
    progress->change.removals.push_back(key_of(node, record));
}

void State::claim(Node& node, Progress* progress) {
    Entry& entry = node.second;
    const auto facts = facts_of(node);
    std::vector<Wish> wishes;
    if (facts) wishes = read_wishes(*facts, node_);
    const auto same_port = [](const Wish& wish, const Record& record) {
        return wish.key.port == record.port && wish.key.protocol == record.protocol &&
               wish.key.family == record.family;
    };
    // The usual case, an endpoint change: nobody else can be concerned.
    const bool same =
        facts && facts->created_s == entry.claimed_created_s &&
        std::equal(wishes.begin(), wishes.end(), entry.records.begin(), entry.records.end(),
                   [&](const Wish& wish, const Record& record) {
                       return same_port(wish, record) && wish.frontends == record.claimed;
                   });
    if (same) return;
    const auto wake = [&](const Place& place) {
        claims_.for_each(place, [&](const Claim& other) { mark_other(other, node); });
    };
    for (const auto& record : entry.records) {
        for (const auto& frontend : record.claimed) {
            const Place place = place_of(record, frontend);
            claims_.remove(place, {frontend.external, entry.claimed_created_s, &node.first, &record.port});
            wake(place);
        }
    }
    std::vector<Record> former = std::exchange(entry.records, {});
    entry.records.reserve(wishes.size());
    auto old = former.begin();
    for (auto& wish : wishes) {
        Record made;
        made.port = wish.key.port;
        made.protocol = wish.key.protocol;
        made.family = wish.key.family;
        while (old != former.end() && key_of(node, *old) < wish.key) withdraw(node, *old++, progress);
        if (old != former.end() && same_port(wish, *old)) made = std::move(*old++);
        made.claimed = std::move(wish.frontends);
        entry.records.push_back(std::move(made));
    }
    while (old != former.end()) withdraw(node, *old++, progress);
    entry.claimed_created_s = facts ? facts->created_s : 0;
    for (const auto& record : entry.records) {
        for (const auto& frontend : record.claimed) {
            const Place place = place_of(record, frontend);
            wake(place);
            claims_.add(place, {frontend.external, entry.claimed_created_s, &node.first, &record.port});
        }
    }
}

std::vector<std::string> State::settle(const std::string& key,
                                       std::vector<image::Service>* services) const {
    std::vector<std::string> notes;
    for (auto& service : *services) {
        std::erase_if(service.frontends, [&](const image::Frontend& frontend) {
            const Claim& winner = claims_.winner({frontend.address, frontend.port, frontend.scope,
                                                  service.key.family, service.key.protocol});
            if (*winner.service == key && *winner.port == service.key.port) return false;
            const image::ServiceKey owner{*winner.service, *winner.port, service.key.protocol,
                                          service.key.family};
            notes.push_back(fmt::format(
                "service {}: {} port {} belongs to service {} already; left out", key,
                frontend.scope == image::Scope::kNodePort ? "node" : frontend.address.to_string(),
                frontend.port, owner.display()));
            return true;
        });
        const bool external = std::any_of(service.frontends.begin(), service.frontends.end(),
                                          [](const image::Frontend& f) { return f.external; });
        if (!external) {
            service.external = {};
            service.inside = {};
        }
        const bool restricted =
            std::any_of(service.frontends.begin(), service.frontends.end(),
                        [](const image::Frontend& f) { return f.restricted; });
        if (!restricted) service.sources.clear();
    }
    // A service port that answers nowhere is no entry of the table.
    std::erase_if(*services, [](const image::Service& service) { return service.frontends.empty(); });
    return notes;
}

void State::count(const Record& record, int sign) {
    if (record.drops_internal) no_local_internal_ += sign;
    if (record.drops_external) no_local_external_ += sign;
}

bool State::update_health_check(const std::string& key, const std::optional<ServiceFacts>& facts,
                                const Slices& slices) {
    if (!facts || facts->health_check_port == 0) return health_checks_.erase(key) > 0;
    const HealthCheck wanted{facts->health_check_port, count_local_ready(slices)};
    return std::exchange(health_checks_[key], wanted) != wanted;
}

void State::compile(Node& node, Report report, Progress* progress) {
    auto& [key, entry] = node;
    ++progress->compiled;
    const auto facts = facts_of(node);
    const Slices slices = facts ? slices_of(node) : Slices{};
    if (update_health_check(key, facts, slices)) progress->health_checks_changed = true;
    std::vector<image::Service> compiled;
    if (facts) compiled = compile_service(*facts, slices, node_);
    std::vector<std::string> lost = settle(key, &compiled);
    if (lost != entry.lost) {
        progress->notes.insert(progress->notes.end(), lost.begin(), lost.end());
        entry.lost = std::move(lost);
    }
    // Both are in the order of their keys, and records has all of them.
    auto service = compiled.begin();
    for (auto& record : entry.records) {
        if (service == compiled.end() || service->key != key_of(node, record)) {
            withdraw(node, record, progress);
            continue;
        }
        const Fingerprint fingerprint = fingerprint_of(*service);
        if (!record.published || fingerprint != record.fingerprint) {
            if (record.published) count(record, -1);
            record.published = true;
            record.fingerprint = fingerprint;
            record.drops_internal = service->internal.when_empty_drop;
            record.drops_external = service->external.when_empty_drop;
            count(record, 1);
            if (report == Report::kChange) progress->change.upserts.push_back(std::move(*service));
        }
        ++service;
    }
}

Progress State::take(Report report) {
    Progress progress;
    progress.notes = std::exchange(notes_, {});
    const auto by_name = [](const Node* a, const Node* b) { return a->first < b->first; };
    // First all claims, which may wake services that stand behind or before one of them; then the outcome.
    std::vector<Node*> changed = std::exchange(dirty_, {});
    for (Node* node : changed) claim(*node, &progress);
    changed.insert(changed.end(), dirty_.begin(), dirty_.end());
    dirty_ = {};
    std::sort(changed.begin(), changed.end(), by_name);
    for (Node* node : changed) {
        node->second.dirty = false;
        compile(*node, report, &progress);
        const Entry& entry = node->second;
        if (!entry.service && entry.slices.empty()) entries_.erase(entries_.find(node->first));
    }
    const auto by_key = [](const image::Service& a, const image::Service& b) { return a.key < b.key; };
    std::sort(progress.change.upserts.begin(), progress.change.upserts.end(), by_key);
    std::sort(progress.change.removals.begin(), progress.change.removals.end());
    progress.no_local_internal = static_cast<std::size_t>(no_local_internal_);
    progress.no_local_external = static_cast<std::size_t>(no_local_external_);
    return progress;
}

std::vector<image::Service> State::all() const {
    SLUICE_ASSERT(!dirty());
    std::vector<image::Service> out;
    out.reserve(services_);
    for (const auto& node : entries_) {
        const auto facts = facts_of(node);
        if (!facts) continue;
        std::vector<image::Service> compiled = compile_service(*facts, slices_of(node), node_);
        settle(node.first, &compiled);
        std::move(compiled.begin(), compiled.end(), std::back_inserter(out));
    }
    std::sort(out.begin(), out.end(),
              [](const image::Service& a, const image::Service& b) { return a.key < b.key; });
    return out;
}

}  // namespace sluice::compile
