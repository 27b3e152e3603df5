// See decide.h.
#include "control/scheduler/decide.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "control/scheduler/filters.h"
#include "control/scheduler/scores.h"

namespace sluice::scheduler {
namespace {

constexpr Changes kHelpsTaints = kNodeAdded | kNodeTaints;
constexpr Changes kHelpsLabels = kNodeAdded | kNodeLabels;

Changes helpful_for(Filter filter) {
    switch (filter) {
        case Filter::kUnschedulable:
        case Filter::kTaints: return kHelpsTaints;
        case Filter::kNodeName: return kNodeAdded;
        case Filter::kNodeAffinity: return kHelpsLabels;
        case Filter::kPorts: return kNodeAdded | kPodRemoved;
        case Filter::kResources: return kNodeAdded | kNodeResources | kPodRemoved;
        case Filter::kSpread:
            return kHelpsLabels | kNodeTaints | kNodeRemoved | kPodPlaced | kPodRemoved | kPodLabels;
        case Filter::kPodAffinity:
            return kHelpsLabels | kNodeRemoved | kPodPlaced | kPodRemoved | kPodLabels |
                   kNamespaceLabels;
    }
    return kNodeAdded;
}

// The only nodes that the pod's required affinity can match, where it names them: a daemon's pod is tried on its one
// node instead of on all.
std::optional<std::set<std::string>> named_nodes(const PodFacts& pod) {
    if (!pod.has_required_terms || pod.required_terms.empty()) return std::nullopt;
    std::set<std::string> out;
    for (const NodeTerm& term : pod.required_terms) {
        const auto named = std::find_if(
            term.names.begin(), term.names.end(), [](const NodeRequirement& requirement) {
                return requirement.op == NodeRequirement::Operator::kIn;
            });
        if (named == term.names.end()) return std::nullopt;
        out.insert(named->values.begin(), named->values.end());
    }
    return out;
}

std::string describe(std::size_t nodes, const std::map<std::string, std::size_t>& reasons) {
    std::vector<std::string> parts;
    for (const auto& [reason, number] : reasons) parts.push_back(fmt::format("{} {}", number, reason));
    // As text, as Kubernetes does: "10 ..." comes before "2 ...".
    std::sort(parts.begin(), parts.end());
    std::string out = fmt::format("0/{} nodes are available:", nodes);
    for (std::size_t i = 0; i < parts.size(); ++i) out += (i == 0 ? " " : ", ") + parts[i];
    return out + ".";
}

Decision refuse(const Cluster& cluster, const Prepared& prepared, const Nodes& candidates) {
    Decision out;
    if (cluster.nodes().empty()) {
        out.helpful = kNodeAdded;
        out.message = "no nodes available to schedule pods";
        return out;
    }
    std::map<std::string, std::size_t> counts;
    std::vector<std::string> reasons;
    for (const NodeState* node : candidates) {
        reasons.clear();
        const auto failed = check(prepared, *node, &reasons);
        SLUICE_ASSERT(failed.has_value());
        out.helpful |= helpful_for(*failed);
        for (const std::string& reason : reasons) ++counts[reason];
    }
    const std::size_t unnamed = cluster.nodes().size() - candidates.size();
    if (unnamed > 0) {
        counts["node(s) didn't satisfy plugin(s) [NodeAffinity]"] = unnamed;
        out.helpful |= kNodeAdded;
    }
    out.message = describe(cluster.nodes().size(), counts);
    return out;
}

const NodeState* best(const Nodes& nodes, const Scores& scores, std::mt19937_64& random) {
    const NodeState* chosen = nullptr;
    std::int64_t highest = -1;
    std::uint64_t equals = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (scores[i] > highest) {
            highest = scores[i];
            chosen = nodes[i];
            equals = 1;
        } else if (scores[i] == highest && random() % ++equals == 0) {
            chosen = nodes[i];
        }
    }
    return chosen;
}

}  // namespace

Decision decide(Cluster& cluster, const PodFacts& pod, std::mt19937_64& random) {
    Nodes candidates;
    if (const auto names = named_nodes(pod)) {
        for (const std::string& name : *names) {
            if (const NodeState* node = cluster.find_node(name)) candidates.push_back(node);
        }
    } else {
        candidates.assign(cluster.nodes().begin(), cluster.nodes().end());
    }
    const Prepared prepared = prepare(cluster, pod);
    Nodes feasible;
    for (const NodeState* node : candidates) {
        if (!check(prepared, *node, nullptr)) feasible.push_back(node);
    }
    if (feasible.empty()) return refuse(cluster, prepared, candidates);
    Decision out;
    out.node = feasible.size() == 1
                   ? feasible.front()
                   : best(feasible, total_scores(cluster, pod, feasible), random);
    return out;
}

}  // namespace sluice::scheduler
