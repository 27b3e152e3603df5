// See state.h.
#include "agent/compile/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::compile {

void State::upsert(const corev1::Service& service) {
    const std::string key = service.metadata().namespace_() + "/" + service.metadata().name();
    auto facts = read_service(service);
    if (!facts) {
        remove_service(key);
        return;
    }
    const auto known = entries_.find(key);
    const bool is_new = known == entries_.end() || !known->second.facts;
    if (is_new && services_ >= kMaxServices) {
        notes_.push_back(fmt::format("service {}: more than {} services; left out", key, kMaxServices));
        return;
    }
    Entry& entry = entries_[key];
    if (is_new) {
        ++services_;
    } else if (*entry.facts == *facts) {
        return;
    }
    for (const auto& note : facts->notes) {
        if (is_new || std::find(entry.facts->notes.begin(), entry.facts->notes.end(), note) ==
                          entry.facts->notes.end()) {
            notes_.push_back(note);
        }
    }
    entry.facts = std::move(*facts);
    dirty_.insert(key);
}

void State::remove_service(const std::string& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end() || !found->second.facts) return;
    found->second.facts.reset();
    --services_;
    dirty_.insert(key);
}

void State::upsert(const discoveryv1::EndpointSlice& slice) {
    const std::string key = slice.metadata().namespace_() + "/" + slice.metadata().name();
    std::vector<std::string> notes;
    auto facts = read_slice(slice, node_.name, &notes);
    const auto owner = slice_owner_.find(key);
    if (!facts || (owner != slice_owner_.end() && owner->second != facts->service)) drop_slice(key);
    if (!facts) return;
    if (!slice_owner_.contains(key) && slice_owner_.size() >= kMaxSlices) {
        notes_.push_back(
            fmt::format("endpointslice {}: more than {} slices; left out", key, kMaxSlices));
        return;
    }
    Entry& entry = entries_[facts->service];
    const auto known = entry.slices.find(key);
    if (known != entry.slices.end() && known->second == *facts) return;
    notes_.insert(notes_.end(), notes.begin(), notes.end());
    dirty_.insert(facts->service);
    slice_owner_.insert_or_assign(key, facts->service);
    entry.slices.insert_or_assign(key, std::move(*facts));
}

void State::remove_slice(const std::string& key) { drop_slice(key); }

void State::drop_slice(const std::string& key) {
    const auto owner = slice_owner_.find(key);
    if (owner == slice_owner_.end()) return;
    entries_[owner->second].slices.erase(key);
    dirty_.insert(owner->second);
    slice_owner_.erase(owner);
}

void State::set_zone(const std::string& zone) {
    if (zone == node_.zone) return;
    node_.zone = zone;
    for (const auto& [key, entry] : entries_) {
        const bool hinted = std::any_of(entry.slices.begin(), entry.slices.end(), [](const auto& s) {
            return std::any_of(s.second.endpoints.begin(), s.second.endpoints.end(),
                               [](const Endpoint& e) { return !e.zone_hints.empty(); });
        });
        if (hinted) dirty_.insert(key);
    }
}

void State::set_addresses(std::vector<IpAddress> addresses) {
    std::sort(addresses.begin(), addresses.end());
    if (addresses == node_.addresses) return;
    node_.addresses = std::move(addresses);
    for (const auto& [key, entry] : entries_) {
        if (entry.facts && !entry.facts->sources.empty()) dirty_.insert(key);
    }
}

State::Place State::place_of(const image::ServiceKey& key, const image::Frontend& frontend) {
    return {frontend.scope, key.family, frontend.address, frontend.port, key.protocol};
}

void State::claim(const std::string& key, Entry& entry,
                  const std::vector<image::Service>& services) {
    const auto wake = [&](const std::set<Claim>& claims) {
        for (const auto& other : claims) {
            if (std::get<2>(other).service != key) dirty_.insert(std::get<2>(other).service);
        }
    };
    for (const auto& old : entry.claimed) {
        for (const auto& frontend : old.frontends) {
            const auto found = claims_.find(place_of(old.key, frontend));
            SLUICE_ASSERT(found != claims_.end());
            found->second.erase({frontend.external, entry.claimed_created_s, old.key});
            wake(found->second);
            if (found->second.empty()) claims_.erase(found);
        }
    }
    entry.claimed.clear();
    if (!entry.facts) return;
    entry.claimed_created_s = entry.facts->created_s;
    for (const auto& service : services) {
        for (const auto& frontend : service.frontends) {
            auto& claims = claims_[place_of(service.key, frontend)];
            wake(claims);
            claims.insert({frontend.external, entry.claimed_created_s, service.key});
        }
        entry.claimed.push_back({service.key, service.frontends});
    }
}

std::vector<std::string> State::settle(const std::string& key,
                                       std::vector<image::Service>* services) const {
    std::vector<std::string> notes;
    for (auto& service : *services) {
        std::erase_if(service.frontends, [&](const image::Frontend& frontend) {
            const Claim& winner = *claims_.at(place_of(service.key, frontend)).begin();
            if (std::get<2>(winner) == service.key) return false;
            notes.push_back(fmt::format(
                "service {}: {} port {} belongs to service {} already; left out", key,
                frontend.scope == image::Scope::kNodePort ? "node" : frontend.address.to_string(),
                frontend.port, std::get<2>(winner).display()));
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

void State::count(const std::vector<image::Service>& services, int sign) {
    for (const auto& service : services) {
        if (service.internal.when_empty_drop) no_local_internal_ += sign;
        if (service.external.when_empty_drop) no_local_external_ += sign;
    }
}

bool State::update_health_check(const std::string& key, const Entry& entry) {
    if (!entry.facts || entry.facts->health_check_port == 0) return health_checks_.erase(key) > 0;
    const HealthCheck wanted{entry.facts->health_check_port, count_local_ready(entry.slices)};
    return std::exchange(health_checks_[key], wanted) != wanted;
}

Progress State::take() {
    Progress progress;
    progress.notes = std::exchange(notes_, {});
    // First all claims, which may wake services that stand behind or before one of them; then the outcome.
    std::unordered_map<std::string, std::vector<image::Service>> fresh;
    const std::set<std::string> changed = dirty_;
    for (const auto& key : changed) {
        const auto found = entries_.find(key);
        if (found == entries_.end()) continue;
        Entry& entry = found->second;
        auto& services = fresh[key];
        if (entry.facts) services = compile_service(*entry.facts, entry.slices, node_);
        // The usual case, an endpoint change: nobody else can be concerned.
        const bool same =
            entry.facts && entry.facts->created_s == entry.claimed_created_s &&
            std::equal(services.begin(), services.end(), entry.claimed.begin(),
                       entry.claimed.end(), [](const image::Service& a, const Claimed& b) {
                           return a.key == b.key && a.frontends == b.frontends;
                       });
        if (!same) claim(key, entry, services);
    }
    const auto by_key = [](const image::Service& a, const image::Service& b) { return a.key < b.key; };
    for (const auto& key : std::exchange(dirty_, {})) {
        const auto found = entries_.find(key);
        if (found == entries_.end()) continue;
        Entry& entry = found->second;
        ++progress.compiled;
        if (update_health_check(key, entry)) progress.health_checks_changed = true;
        std::vector<image::Service> compiled;
        if (const auto ready = fresh.find(key); ready != fresh.end()) {
            compiled = std::move(ready->second);
        } else if (entry.facts) {
            compiled = compile_service(*entry.facts, entry.slices, node_);
        }
        std::vector<std::string> lost = settle(key, &compiled);
        if (lost != entry.lost) {
            progress.notes.insert(progress.notes.end(), lost.begin(), lost.end());
            entry.lost = std::move(lost);
        }
        for (const auto& service : compiled) {
            const auto before =
                std::lower_bound(entry.compiled.begin(), entry.compiled.end(), service, by_key);
            if (before == entry.compiled.end() || *before != service) {
                progress.change.upserts.push_back(service);
            }
        }
        for (const auto& before : entry.compiled) {
            if (!std::binary_search(compiled.begin(), compiled.end(), before, by_key)) {
                progress.change.removals.push_back(before.key);
            }
        }
        count(entry.compiled, -1);
        count(compiled, 1);
        entry.compiled = std::move(compiled);
        if (!entry.facts && entry.slices.empty()) entries_.erase(found);
    }
    std::sort(progress.change.upserts.begin(), progress.change.upserts.end(), by_key);
    std::sort(progress.change.removals.begin(), progress.change.removals.end());
    progress.no_local_internal = static_cast<std::size_t>(no_local_internal_);
    progress.no_local_external = static_cast<std::size_t>(no_local_external_);
    return progress;
}

std::vector<image::Service> State::all() const {
    std::vector<image::Service> out;
    for (const auto& [key, entry] : entries_) {
        out.insert(out.end(), entry.compiled.begin(), entry.compiled.end());
    }
    std::sort(out.begin(), out.end(),
              [](const image::Service& a, const image::Service& b) { return a.key < b.key; });
    return out;
}

}  // namespace sluice::compile
