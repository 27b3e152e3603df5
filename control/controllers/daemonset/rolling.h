// What is to be done about the pods of a DaemonSet, node by node, and what its status counts. Pure:
// a clock and what the caches show go in, steps come out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/controllers/daemonset/placement.h"
#include "control/controllers/pod_status.h"

namespace sluice::controllers {

inline constexpr char kRevisionHashLabel[] = "controller-revision-hash";
inline constexpr char kTemplateGenerationLabel[] = "pod-template-generation";

// One node and the pods that are there or on their way.
struct Place {
    std::string node;
    Eligibility eligible;
    Pods pods;
};

// What all decisions of one look share.
struct DaemonRules {
    std::string hash;                 // of the present template
    std::string template_generation;  // of the present template; empty when unknown
    int min_ready_seconds = 0;
    int max_unavailable = 1;
    int max_surge = 0;  // 0: an old pod goes before its successor comes
    std::int64_t now_ns = 0;
};

struct DaemonSteps {
    std::vector<std::string> create_on;  // nodes
    Pods remove;
    // To be removed too, and told of: they ended by themselves.
    Pods failed;
    Pods succeeded;
};

// Whether the pod is of the present template.
[[nodiscard]] bool is_updated(const Pod& pod, const DaemonRules& rules);

// One running pod on each node that should have one, none where none may stay. With surge, an old
// pod and its successor stand side by side until the successor is available.
[[nodiscard]] DaemonSteps steps_per_node(const std::vector<Place>& places,
                                         const DaemonRules& rules);

// The next step of a rolling update. Old pods that are not available are replaced at once; of the
// others as many as max_unavailable or max_surge leave room for.
[[nodiscard]] DaemonSteps rolling_steps(const std::vector<Place>& places, const DaemonRules& rules);

struct DaemonCounts {
    int desired = 0;
    int current = 0;
    int misscheduled = 0;
    int ready = 0;
    int available = 0;
    int updated = 0;
    bool operator==(const DaemonCounts&) const = default;
};
// Of several pods on a node the oldest counts.
[[nodiscard]] DaemonCounts count_daemons(const std::vector<Place>& places,
                                         const DaemonRules& rules);

}  // namespace sluice::controllers
