// Endpoints shared out among zones by the CPU of their nodes: service.kubernetes.io/topology-mode
// Auto, as kube-controller-manager computes it (KEP 2433). Pure and thread-safe.
//
// A zone is due as many endpoints as keep the load of each within kOverloadThreshold above what it
// would be without hints; if all zones cannot have that, no endpoint gets hints. Endpoints serve
// their own zone, but for those that are given to a zone with too few, where that gains at least
// half an endpoint. Slices whose hints still fit are left alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/controllers/endpointslice/packing.h"

namespace sluice::controllers::endpoints {

inline constexpr double kOverloadThreshold = 0.2;

// What of a node counts here: equal for two versions of it, neither does their difference.
struct NodeCapacity {
    bool counted = false;  // ready, and no control plane's
    std::string zone;
    std::int64_t cpu_milli = 0;
    bool operator==(const NodeCapacity&) const = default;
};
[[nodiscard]] NodeCapacity capacity_of(const corev1::Node& node);

// Each zone's part of all CPU. Empty where a node that counts has no zone or no CPU, and for a
// single zone.
using ZoneShares = std::map<std::string, double>;
[[nodiscard]] ZoneShares zone_shares(const std::vector<NodePtr>& nodes);

using HintsByZone = std::map<std::string, int>;
struct Proportion {
    HintsByZone hints;
    std::string refusal;  // why there are none, in Kubernetes' words; empty if there are
};
// Sets the hints of one address type's slices, or removes them. Where zones are equally good the
// first by name is taken.
[[nodiscard]] Proportion hint_proportionally(const ZoneShares& shares, Changes* changes);

// Hints that were right once leave a zone with too few endpoints.
[[nodiscard]] bool is_overloaded(const HintsByZone& hints, const ZoneShares& shares);

}  // namespace sluice::controllers::endpoints
