// Which endpoints a node should prefer: the hints of EndpointSlices, as a Service asks for them by
// spec.trafficDistribution or by the annotation service.kubernetes.io/topology-mode. Pure and
// thread-safe.
//
// Hints are put on slices that are already packed: they neither move endpoints nor count as a
// difference of one. A slice that needed no write and now does goes from Changes::unchanged to
// Changes::update.
#pragma once

#include <cstdint>

#include "control/controllers/endpointslice/packing.h"

namespace sluice::controllers::endpoints {

inline constexpr char kTopologyMode[] = "service.kubernetes.io/topology-mode";
// The older name of it, which wins where both are given.
inline constexpr char kTopologyAwareHints[] = "service.kubernetes.io/topology-aware-hints";

enum class HintRule : std::uint8_t {
    kNone,
    kSameZone,      // trafficDistribution: PreferClose, PreferSameZone
    kSameNode,      // trafficDistribution: PreferSameNode
    kProportional,  // topology-mode: Auto, whatever trafficDistribution says
};
[[nodiscard]] HintRule hint_rule(const corev1::Service& service);

// Without the condition, an endpoint does not count as ready here.
[[nodiscard]] bool is_ready_endpoint(const discoveryv1::Endpoint& endpoint);

// Every ready endpoint is for its own zone, one without a zone for the zone ""; with kSameNode for
// its own node, too. REQUIRES: rule is kSameZone or kSameNode.
void hint_own_place(HintRule rule, Changes* changes);
void remove_hints(Changes* changes);

}  // namespace sluice::controllers::endpoints
