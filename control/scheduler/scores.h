// How well a pod suits each of the nodes on which it may run: 0 to 100 of each kind, weighted and summed. Pure.
//
// The kinds, weights and formulas are those of kube-scheduler's default profile, but two: images that are there
// already do not count, and pods without spread constraints of their own are spread over nodes and zones by their
// controller rather than by the selectors of Services and ReplicaSets.
#pragma once

#include <cstdint>
#include <vector>

#include "control/scheduler/cluster.h"

namespace sluice::scheduler {

inline constexpr std::int64_t kMaxScore = 100;

// [node], in the order of `nodes`.
using Scores = std::vector<std::int64_t>;
using Nodes = std::vector<const NodeState*>;

[[nodiscard]] Scores least_allocated(const PodFacts& pod, const Nodes& nodes);
[[nodiscard]] Scores balanced_allocation(const PodFacts& pod, const Nodes& nodes);
[[nodiscard]] Scores preferred_node_affinity(const PodFacts& pod, const Nodes& nodes);
[[nodiscard]] Scores tolerated_taints(const PodFacts& pod, const Nodes& nodes);
[[nodiscard]] Scores topology_spread(Cluster& cluster, const PodFacts& pod, const Nodes& nodes);
[[nodiscard]] Scores preferred_pods(Cluster& cluster, const PodFacts& pod, const Nodes& nodes);

// The weighted sum of all.
[[nodiscard]] Scores total_scores(Cluster& cluster, const PodFacts& pod, const Nodes& nodes);

}  // namespace sluice::scheduler
