// Whether a pod may run on a node. What concerns the whole cluster (spread, affinity between pods) is worked out once
// per pod by prepare(); check() then looks at one node. Pure; the rules, their order and their words are Kubernetes'.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "control/scheduler/cluster.h"

namespace sluice::scheduler {

// In the order in which they are asked; the first that says no ends the matter for the node.
enum class Filter : std::uint8_t {
    kUnschedulable,
    kNodeName,
    kTaints,
    kNodeAffinity,
    kPorts,
    kResources,
    kSpread,
    kPodAffinity,
};
inline constexpr std::size_t kFilters = 8;

// Number of pods by the value of a node label.
using ValueCounts = std::unordered_map<std::string, std::int64_t>;

struct Prepared {
    const PodFacts* pod = nullptr;

    struct Spread {
        const SpreadConstraint* constraint = nullptr;
        ValueCounts counts;  // of every value that some eligible node has
        std::int64_t minimum = 0;
        bool counts_itself = false;
    };
    std::vector<Spread> spread;  // hard constraints only

    struct Near {
        std::string topology_key;
        ValueCounts counts;
    };
    std::vector<Near> affinity;
    // No pod matches the required affinity yet, but this one would: it may be the first.
    bool first_of_its_kind = false;
    std::vector<Near> anti_affinity;
    // Values of labels where pods stand that want this one elsewhere: [label][value].
    std::unordered_map<std::string, std::unordered_set<std::string>> forbidden;
};

// pod outlives the result.
[[nodiscard]] Prepared prepare(Cluster& cluster, const PodFacts& pod);

// Nothing if the pod may run there. reasons may be null; more than one resource may be short.
[[nodiscard]] std::optional<Filter> check(const Prepared& prepared, const NodeState& node,
                                          std::vector<std::string>* reasons);

// The value of a node's label; null without it.
[[nodiscard]] const std::string* label_of(const NodeState& node, const std::string& key);
// Whether the node counts for the constraint when it comes to pods and domains.
[[nodiscard]] bool is_eligible(const SpreadConstraint& constraint, const PodFacts& pod,
                               const NodeState& node);

}  // namespace sluice::scheduler
