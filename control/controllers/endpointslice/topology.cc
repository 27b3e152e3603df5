#include "control/controllers/endpointslice/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::controllers::endpoints {
namespace {

constexpr char kEnabled[] = "TopologyAwareHintsEnabled";
constexpr char kDisabled[] = "TopologyAwareHintsDisabled";

std::string with_type(const std::string& text, const std::string& address_type) {
    return fmt::format("{}, addressType: {}", text, address_type);
}

}  // namespace

void Topology::refresh_locked() {
    // A node that changes from here on makes it stale again.
    if (!stale_.exchange(false)) return;
    ZoneShares shares = zone_shares(nodes_());
    if (shares == shares_) return;
    shares_ = std::move(shares);
    ++version_;
}

bool Topology::has_hints_locked(const std::string& service) const {
    const auto found = records_.find(service);
    return found != records_.end() &&
           std::any_of(found->second.begin(), found->second.end(),
                       [](const auto& record) { return record.second.proportion.refusal.empty(); });
}

std::vector<Topology::Told> Topology::hint(const std::string& service,
                                           const corev1::Service& object,
                                           const std::string& address_type, Changes* changes) {
    const HintRule rule = hint_rule(object);
    if (rule == HintRule::kNone) remove_hints(changes);
    if (rule == HintRule::kSameZone || rule == HintRule::kSameNode) hint_own_place(rule, changes);
    const std::scoped_lock lock(mutex_);
    const bool had_hints = has_hints_locked(service);
    if (rule != HintRule::kProportional) {
        records_.erase(service);
        if (!had_hints) return {};
        return {
            {true, kDisabled, with_type("Topology Aware Hints has been disabled", address_type)}};
    }
    refresh_locked();
    Record& record = records_[service][address_type];
    const std::string refused_before = std::move(record.proportion.refusal);
    record.proportion = hint_proportionally(shares_, changes);
    record.version = version_;
    const std::string& refusal = record.proportion.refusal;
    if (refusal.empty()) {
        if (had_hints) return {};
        return {
            {false, kEnabled, with_type("Topology Aware Hints has been enabled", address_type)}};
    }
    if (refusal == refused_before) return {};
    return {{true, kDisabled, with_type(refusal, address_type)}};
}

void Topology::forget(const std::string& service, const std::string& address_type) {
    const std::scoped_lock lock(mutex_);
    const auto found = records_.find(service);
    if (found == records_.end()) return;
    found->second.erase(address_type);
    if (found->second.empty()) records_.erase(found);
}

void Topology::forget(const std::string& service) {
    const std::scoped_lock lock(mutex_);
    records_.erase(service);
}

std::vector<std::string> Topology::outdated() {
    const std::scoped_lock lock(mutex_);
    refresh_locked();
    std::vector<std::string> out;
    for (auto& [service, records] : records_) {
        bool look_again = false;
        for (auto& [type, record] : records) {
            if (record.version == version_) continue;
            if (!record.proportion.refusal.empty() ||
                is_overloaded(record.proportion.hints, shares_)) {
                look_again = true;
            } else {
                record.version = version_;
            }
        }
        if (look_again) out.push_back(service);
    }
    return out;
}

}  // namespace sluice::controllers::endpoints
