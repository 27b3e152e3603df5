// See scores.h.
#include "control/scheduler/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "control/scheduler/filters.h"

namespace sluice::scheduler {
namespace {

constexpr std::int64_t kTaintWeight = 3;
constexpr std::int64_t kNodeAffinityWeight = 2;
constexpr std::int64_t kSpreadWeight = 2;
constexpr std::int64_t kPodsWeight = 2;
// How much a required affinity of a pod that is placed already draws others that match it.
constexpr std::int64_t kRequiredAffinityPull = 1;
// The constraints that pods of one controller have unless they name their own.
constexpr int kDefaultNodeSkew = 3;
constexpr int kDefaultZoneSkew = 5;

std::int64_t free_share(Wide used, std::int64_t there) {
    if (there <= 0 || used > there) return 0;
    return static_cast<std::int64_t>((there - used) * kMaxScore / there);
}

double used_share(Wide used, std::int64_t there) {
    if (there <= 0) return 1;
    return std::min(1.0, static_cast<double>(used) / static_cast<double>(there));
}

// Stretches so that the largest is 100, or with `reverse` the smallest of the counts.
void normalize(Scores* scores, bool reverse) {
    const std::int64_t most = scores->empty() ? 0 : *std::max_element(scores->begin(), scores->end());
    for (std::int64_t& score : *scores) {
        if (most > 0) score = score * kMaxScore / most;
        if (reverse) score = kMaxScore - score;
    }
}

// One constraint that is not binding, as it is counted.
struct SoftSpread {
    std::string topology_key;
    int max_skew = 1;
    ValueCounts counts;      // of other labels than the host's name
    NodeCounts node_counts;  // of the host's name
    double weight = 0;
};

void count_domain(const Nodes& nodes, SoftSpread* spread) {
    std::size_t domains = 0;
    for (const NodeState* node : nodes) {
        const std::string* value = label_of(*node, spread->topology_key);
        if (value == nullptr) continue;
        if (spread->topology_key == kHostnameLabel) {
            ++domains;
        } else if (spread->counts.try_emplace(*value, 0).second) {
            ++domains;
        }
    }
    // Few large domains would otherwise outweigh many small ones.
    spread->weight = std::log(static_cast<double>(domains + 2));
}

SoftSpread own_constraint(Cluster& cluster, const PodFacts& pod, const SpreadConstraint& constraint,
                          const Nodes& nodes) {
    SoftSpread out{constraint.topology_key, constraint.max_skew, {}, {}, 0};
    count_domain(nodes, &out);
    const NodeCounts& counts = cluster.count(constraint.pods, false);
    if (out.topology_key == kHostnameLabel) {
        out.node_counts = counts;
        return out;
    }
    for (const auto& [node, number] : counts) {
        const std::string* value = label_of(*node, out.topology_key);
        if (value == nullptr || !is_eligible(constraint, pod, *node)) continue;
        // Domains without a node that is in question do not matter.
        const auto found = out.counts.find(*value);
        if (found != out.counts.end()) found->second += number;
    }
    return out;
}

SoftSpread default_constraint(const NodeCounts& owned, const char* key, int max_skew,
                              const Nodes& nodes) {
    SoftSpread out{key, max_skew, {}, {}, 0};
    count_domain(nodes, &out);
    if (out.topology_key == kHostnameLabel) {
        out.node_counts = owned;
        return out;
    }
    for (const auto& [node, number] : owned) {
        const std::string* value = label_of(*node, out.topology_key);
        if (value == nullptr) continue;
        const auto found = out.counts.find(*value);
        if (found != out.counts.end()) found->second += number;
    }
    return out;
}

Scores spread_scores(const std::vector<SoftSpread>& constraints, bool all_labels, const Nodes& nodes) {
    constexpr double kLeftOut = -1;
    std::vector<double> raw(nodes.size(), 0);
    double least = std::numeric_limits<double>::max();
    double most = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        for (const SoftSpread& spread : constraints) {
            const std::string* value = label_of(*nodes[i], spread.topology_key);
            if (value == nullptr) {
                if (!all_labels) continue;
                raw[i] = kLeftOut;
                break;
            }
            std::int64_t there = 0;
            if (spread.topology_key == kHostnameLabel) {
                const auto found = spread.node_counts.find(nodes[i]);
                if (found != spread.node_counts.end()) there = found->second;
            } else {
                there = spread.counts.at(*value);
            }
            raw[i] += static_cast<double>(there) * spread.weight + spread.max_skew - 1;
        }
        if (raw[i] == kLeftOut) continue;
        raw[i] = std::round(raw[i]);
        least = std::min(least, raw[i]);
        most = std::max(most, raw[i]);
    }
    Scores out(nodes.size(), 0);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (raw[i] == kLeftOut) continue;
        out[i] = most <= 0 ? kMaxScore
                           : static_cast<std::int64_t>(kMaxScore * (most + least - raw[i]) / most);
    }
    return out;
}

// Points by label and value: [topology key][value].
using Points = std::unordered_map<std::string, ValueCounts>;

void add_points(Points* points, const std::string& key, const NodeCounts& counts,
                std::int64_t weight) {
    ValueCounts& values = (*points)[key];
    for (const auto& [node, number] : counts) {
        if (const std::string* value = label_of(*node, key)) values[*value] += number * weight;
    }
}

Points points_of(Cluster& cluster, const PodFacts& pod) {
    Points out;
    for (const AffinityTerm& term : pod.preferred_affinity) {
        add_points(&out, term.topology_key, cluster.count(term.pods, true), term.weight);
    }
    for (const AffinityTerm& term : pod.preferred_anti_affinity) {
        add_points(&out, term.topology_key, cluster.count(term.pods, true), -term.weight);
    }
    for (const auto& [id, standing] : cluster.standing()) {
        if (standing.kind == StandingKind::kRequiredAnti) continue;
        if (!cluster.matches(standing.term.pods, pod)) continue;
        add_points(&out, standing.term.topology_key, standing.nodes,
                   standing.kind == StandingKind::kPreferred ? standing.term.weight
                                                             : kRequiredAffinityPull);
    }
    return out;
}

}  // namespace

Scores least_allocated(const PodFacts& pod, const Nodes& nodes) {
    Scores out;
    out.reserve(nodes.size());
    for (const NodeState* node : nodes) {
        const Resources& there = node->facts.resources.allocatable;
        out.push_back((free_share(node->scored_milli_cpu + pod.resources.scored_milli_cpu,
                                  there.milli_cpu) +
                       free_share(node->scored_memory + pod.resources.scored_memory, there.memory)) /
                      2);
    }
    return out;
}

Scores balanced_allocation(const PodFacts& pod, const Nodes& nodes) {
    Scores out;
    out.reserve(nodes.size());
    for (const NodeState* node : nodes) {
        const Resources& there = node->facts.resources.allocatable;
        const Resources& asks = pod.resources.requests;
        const double cpu = used_share(node->requested.milli_cpu + asks.milli_cpu, there.milli_cpu);
        const double memory = used_share(node->requested.memory + asks.memory, there.memory);
        // The standard deviation of two values is half their distance.
        out.push_back(static_cast<std::int64_t>((1 - std::abs(cpu - memory) / 2) * kMaxScore));
    }
    return out;
}

Scores preferred_node_affinity(const PodFacts& pod, const Nodes& nodes) {
    Scores out(nodes.size(), 0);
    for (const auto& preferred : pod.preferred_terms) {
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            if (preferred.term.matches(nodes[i]->facts.name, nodes[i]->facts.labels)) {
                out[i] += preferred.weight;
            }
        }
    }
    normalize(&out, false);
    return out;
}

Scores tolerated_taints(const PodFacts& pod, const Nodes& nodes) {
    Scores out(nodes.size(), 0);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        for (const Taint& taint : nodes[i]->facts.taints) {
            if (taint.effect != Taint::Effect::kPreferNoSchedule) continue;
            out[i] += std::none_of(pod.tolerations.begin(), pod.tolerations.end(),
                                   [&](const Toleration& toleration) {
                                       return toleration.tolerates(taint);
                                   });
        }
    }
    normalize(&out, true);
    return out;
}

Scores topology_spread(Cluster& cluster, const PodFacts& pod, const Nodes& nodes) {
    std::vector<SoftSpread> constraints;
    bool all_labels = true;
    for (const SpreadConstraint& constraint : pod.spread) {
        if (!constraint.hard) {
            constraints.push_back(own_constraint(cluster, pod, constraint, nodes));
        }
    }
    if (pod.spread.empty()) {
        const NodeCounts* owned = cluster.count_owned(pod.owner_uid);
        if (owned != nullptr) {
            all_labels = false;
            constraints.push_back(
                default_constraint(*owned, kHostnameLabel, kDefaultNodeSkew, nodes));
            constraints.push_back(default_constraint(*owned, kZoneLabel, kDefaultZoneSkew, nodes));
        }
    }
    if (constraints.empty()) return Scores(nodes.size(), 0);
    return spread_scores(constraints, all_labels, nodes);
}

Scores preferred_pods(Cluster& cluster, const PodFacts& pod, const Nodes& nodes) {
    Scores out(nodes.size(), 0);
    const Points points = points_of(cluster, pod);
    if (points.empty() || nodes.empty()) return out;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        for (const auto& [key, values] : points) {
            const std::string* value = label_of(*nodes[i], key);
            if (value == nullptr) continue;
            const auto found = values.find(*value);
            if (found != values.end()) out[i] += found->second;
        }
    }
    const auto [least, most] = std::minmax_element(out.begin(), out.end());
    const std::int64_t low = *least;
    const std::int64_t range = *most - low;
    for (std::int64_t& score : out) score = range == 0 ? 0 : (score - low) * kMaxScore / range;
    return out;
}

Scores total_scores(Cluster& cluster, const PodFacts& pod, const Nodes& nodes) {
    Scores out = least_allocated(pod, nodes);
    const auto add = [&](const Scores& scores, std::int64_t weight) {
        for (std::size_t i = 0; i < out.size(); ++i) out[i] += weight * scores[i];
    };
    add(balanced_allocation(pod, nodes), 1);
    add(tolerated_taints(pod, nodes), kTaintWeight);
    if (!pod.preferred_terms.empty()) {
        add(preferred_node_affinity(pod, nodes), kNodeAffinityWeight);
    }
    add(topology_spread(cluster, pod, nodes), kSpreadWeight);
    add(preferred_pods(cluster, pod, nodes), kPodsWeight);
    return out;
}

}  // namespace sluice::scheduler
