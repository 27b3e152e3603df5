#include "control/controllers/endpointslice/proportion.h"

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/types.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/endpointslice/hints.h"

namespace sluice::controllers::endpoints {
namespace {

using google::protobuf::util::MessageDifferencer;

// The part of its fair share that a zone may be cut to.
constexpr double kLeast = 1.0 / (1.0 + kOverloadThreshold);
// Less than half an endpoint is not worth moving one.
constexpr double kWorthMoving = 0.5;

struct Allocation {
    int minimum = 0;
    int maximum = 0;
    double desired = 0;
};
using Allocations = std::map<std::string, Allocation>;

template <class Function>
void for_each_ready(Changes* changes, const Function& function) {
    for (auto* slices : {&changes->create, &changes->update}) {
        for (auto& slice : *slices) {
            for (auto& endpoint : *slice.mutable_endpoints()) {
                if (is_ready_endpoint(endpoint)) function(&endpoint);
            }
        }
    }
}

int count_ready(const Slice& slice) {
    return static_cast<int>(
        std::count_if(slice.endpoints().begin(), slice.endpoints().end(), is_ready_endpoint));
}

int count_ready(const Changes& changes) {
    int count = 0;
    for (const auto& slice : changes.create) count += count_ready(slice);
    for (const auto& slice : changes.update) count += count_ready(slice);
    for (const auto& slice : changes.unchanged) count += count_ready(*slice);
    return count;
}

// Returns why not, or nothing.
std::string allocate(const ZoneShares& shares, int endpoints, Allocations* out) {
    const int zones = static_cast<int>(shares.size());
    if (shares.empty()) {
        return "Insufficient Node information: allocatable CPU or zone not specified on one or "
               "more nodes";
    }
    if (zones > endpoints) {
        return fmt::format("Insufficient number of endpoints ({} endpoints, {} zones)", endpoints,
                           zones);
    }
    int spare = endpoints;
    for (const auto& [zone, share] : shares) {
        const double fair = share * endpoints;
        Allocation allocation;
        allocation.minimum = static_cast<int>(std::ceil(fair * kLeast));
        allocation.desired = std::max(fair, static_cast<double>(allocation.minimum));
        spare -= allocation.minimum;
        out->emplace(zone, allocation);
    }
    if (spare < 0) {
        return fmt::format(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload "
            "threshold ({} endpoints, {} zones)",
            endpoints, zones);
    }
    for (auto& [zone, allocation] : *out) allocation.maximum = allocation.minimum + spare;
    return {};
}

// Adds the slice's hints to *hints if they can stay.
bool keep_hints(const Slice& slice, const Allocations& allocations, HintsByZone* hints) {
    HintsByZone with = *hints;
    for (const auto& endpoint : slice.endpoints()) {
        if (!is_ready_endpoint(endpoint)) continue;
        if (endpoint.hints().forzones().empty()) return false;
        for (const auto& hint : endpoint.hints().forzones()) {
            const auto allocation = allocations.find(hint.name());
            if (allocation == allocations.end()) return false;
            if (++with[hint.name()] > allocation->second.maximum) return false;
        }
    }
    *hints = std::move(with);
    return true;
}

// How many endpoints zones have too many, and too few.
struct Moves {
    std::map<std::string, int> give;
    std::map<std::string, int> receive;
};

std::map<std::string, double>::iterator largest(std::map<std::string, double>* zones) {
    return std::max_element(zones->begin(), zones->end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; });
}

Moves plan_moves(const Allocations& allocations, const HintsByZone& hints) {
    std::map<std::string, double> surplus;
    std::map<std::string, double> lack;
    for (const auto& [zone, allocation] : allocations) {
        const auto found = hints.find(zone);
        const double has = found == hints.end() ? 0.0 : found->second;
        if (has > allocation.desired) surplus[zone] = has - allocation.desired;
        if (has < allocation.desired) lack[zone] = allocation.desired - has;
    }
    Moves moves;
    while (!surplus.empty() && !lack.empty()) {
        const auto from = largest(&surplus);
        const auto to = largest(&lack);
        if (from->second < kWorthMoving || to->second < kWorthMoving) break;
        if (from->second < 1.0 && to->second < 1.0) break;
        ++moves.give[from->first];
        ++moves.receive[to->first];
        from->second -= 1.0;
        to->second -= 1.0;
    }
    return moves;
}

void set_zone(const std::string& zone, discoveryv1::Endpoint* endpoint) {
    endpoint->clear_hints();
    endpoint->mutable_hints()->add_forzones()->set_name(zone);
}

void move(Moves moves, Changes* changes, HintsByZone* hints) {
    for_each_ready(changes, [&](discoveryv1::Endpoint* endpoint) {
        const auto from = moves.give.find(endpoint->zone());
        const auto to = moves.receive.begin();
        if (from == moves.give.end() || to == moves.receive.end()) return;
        set_zone(to->first, endpoint);
        --(*hints)[from->first];
        ++(*hints)[to->first];
        if (--from->second == 0) moves.give.erase(from);
        if (--to->second == 0) moves.receive.erase(to);
    });
}

// Slices that were taken up again for the sake of their hints, and came out as they were.
void drop_what_stayed(const std::vector<SlicePtr>& reopened, Changes* changes) {
    for (const auto& before : reopened) {
        const auto same = std::find_if(
            changes->update.begin(), changes->update.end(),
            [&](const Slice& slice) { return MessageDifferencer::Equals(slice, *before); });
        if (same == changes->update.end()) continue;
        changes->update.erase(same);
        changes->unchanged.push_back(before);
    }
}

}  // namespace

NodeCapacity capacity_of(const corev1::Node& node) {
    NodeCapacity out;
    const auto& labels = node.metadata().labels();
    if (labels.contains("node-role.kubernetes.io/control-plane") ||
        labels.contains("node-role.kubernetes.io/master")) {
        return out;
    }
    const auto& conditions = node.status().conditions();
    out.counted = std::any_of(conditions.begin(), conditions.end(), [](const auto& condition) {
        return condition.type() == "Ready" && condition.status() == "True";
    });
    if (!out.counted) return out;
    if (const auto zone = labels.find(kZoneLabel); zone != labels.end()) out.zone = zone->second;
    const auto& allocatable = node.status().allocatable();
    if (const auto cpu = allocatable.find("cpu"); cpu != allocatable.end()) {
        const auto quantity = codec::Quantity::parse(cpu->second.string());
        if (quantity) out.cpu_milli = quantity->milli();
    }
    return out;
}

ZoneShares zone_shares(const std::vector<NodePtr>& nodes) {
    std::map<std::string, double> cpu;
    double total = 0;
    for (const auto& node : nodes) {
        const NodeCapacity capacity = capacity_of(*node);
        if (!capacity.counted) continue;
        if (capacity.zone.empty() || capacity.cpu_milli <= 0) return {};
        cpu[capacity.zone] += static_cast<double>(capacity.cpu_milli);
        total += static_cast<double>(capacity.cpu_milli);
    }
    if (cpu.size() < 2) return {};
    for (auto& [zone, share] : cpu) share /= total;
    return cpu;
}

Proportion hint_proportionally(const ZoneShares& shares, Changes* changes) {
    Proportion out;
    Allocations allocations;
    out.refusal = allocate(shares, count_ready(*changes), &allocations);
    if (!out.refusal.empty()) {
        remove_hints(changes);
        return out;
    }
    std::vector<SlicePtr> reopened;
    std::vector<SlicePtr> unchanged;
    for (auto& slice : changes->unchanged) {
        const bool keep = keep_hints(*slice, allocations, &out.hints);
        (keep ? unchanged : reopened).push_back(std::move(slice));
    }
    changes->unchanged = std::move(unchanged);
    for (const auto& slice : reopened) {
        changes->update.push_back(*slice);
        for (auto& endpoint : *changes->update.back().mutable_endpoints()) endpoint.clear_hints();
    }
    bool zones_known = true;
    for_each_ready(changes, [&](discoveryv1::Endpoint* endpoint) {
        if (endpoint->zone().empty()) {
            zones_known = false;
            return;
        }
        set_zone(endpoint->zone(), endpoint);
        ++out.hints[endpoint->zone()];
    });
    if (zones_known) {
        move(plan_moves(allocations, out.hints), changes, &out.hints);
    } else {
        out.refusal = "One or more endpoints do not have a zone specified";
        out.hints.clear();
        remove_hints(changes);
    }
    drop_what_stayed(reopened, changes);
    return out;
}

bool is_overloaded(const HintsByZone& hints, const ZoneShares& shares) {
    if (hints.empty()) return false;
    if (shares.empty()) return true;
    double total = 0;
    for (const auto& [zone, count] : hints) total += count;
    return std::any_of(shares.begin(), shares.end(), [&](const auto& share) {
        const auto found = hints.find(share.first);
        if (found == hints.end()) return true;
        return found->second < static_cast<int>(std::ceil(total * share.second * kLeast));
    });
}

}  // namespace sluice::controllers::endpoints
