// The decision about one pod: the best node, or why there is none and what could change that.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "control/scheduler/cluster.h"
#include "control/scheduler/queue.h"

namespace sluice::scheduler {

struct Decision {
    const NodeState* node = nullptr;  // null: the pod fits nowhere
    Changes helpful = 0;              // which changes can help it
    std::string message;              // "0/2 nodes are available: 1 Insufficient cpu, ..."
};

// Among equals, chance decides. Cost: one look at each node, unless the pod names its nodes.
[[nodiscard]] Decision decide(Cluster& cluster, const PodFacts& pod, std::mt19937_64& random);

}  // namespace sluice::scheduler
