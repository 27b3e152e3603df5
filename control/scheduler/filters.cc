// See filters.h.
#include "control/scheduler/filters.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

namespace sluice::scheduler {
namespace {

constexpr char kSpreadReason[] = "node(s) didn't match pod topology spread constraints";

void say(std::vector<std::string>* reasons, const char* reason) {
    if (reasons != nullptr) reasons->emplace_back(reason);
}

bool tolerates_unschedulable(const PodFacts& pod) {
    const Taint taint{kUnschedulableTaint, "", Taint::Effect::kNoSchedule};
    return std::any_of(pod.tolerations.begin(), pod.tolerations.end(),
                       [&](const Toleration& toleration) { return toleration.tolerates(taint); });
}

bool ports_free(const PodFacts& pod, const NodeState& node) {
    for (const HostPort& wanted : pod.ports) {
        for (const HostPort& used : node.ports) {
            if (wanted.conflicts_with(used)) return false;
        }
    }
    return true;
}

bool fits(const PodFacts& pod, const NodeState& node, std::vector<std::string>* reasons) {
    bool ok = true;
    const auto lacking = [&](const std::string& what) {
        ok = false;
        if (reasons != nullptr) reasons->push_back(what);
    };
    const NodeResources& has = node.facts.resources;
    if (static_cast<std::int64_t>(node.pods.size()) >= has.pods) lacking("Too many pods");
    const Resources& asks = pod.resources.requests;
    const auto short_of = [](std::int64_t asked, Wide used, std::int64_t there) {
        return asked > 0 && used + asked > there;
    };
    if (short_of(asks.milli_cpu, node.requested.milli_cpu, has.allocatable.milli_cpu)) {
        lacking("Insufficient cpu");
    }
    if (short_of(asks.memory, node.requested.memory, has.allocatable.memory)) {
        lacking("Insufficient memory");
    }
    if (short_of(asks.ephemeral_storage, node.requested.ephemeral_storage,
                 has.allocatable.ephemeral_storage)) {
        lacking("Insufficient ephemeral-storage");
    }
    for (const auto& [name, amount] : asks.other) {
        const auto used = node.requested.other.find(name);
        if (short_of(amount, used == node.requested.other.end() ? 0 : used->second,
                     has.allocatable.other_amount(name))) {
            lacking("Insufficient " + name);
        }
    }
    return ok;
}

bool spread_allows(const Prepared& prepared, const NodeState& node,
                   std::vector<std::string>* reasons) {
    for (const auto& spread : prepared.spread) {
        const std::string* value = label_of(node, spread.constraint->topology_key);
        if (value == nullptr) {
            if (reasons != nullptr) {
                reasons->push_back(std::string(kSpreadReason) + " (missing required label)");
            }
            return false;
        }
        const auto found = spread.counts.find(*value);
        const std::int64_t there = found == spread.counts.end() ? 0 : found->second;
        if (there + (spread.counts_itself ? 1 : 0) - spread.minimum > spread.constraint->max_skew) {
            say(reasons, kSpreadReason);
            return false;
        }
    }
    return true;
}

bool affinity_holds(const Prepared& prepared, const NodeState& node) {
    bool all_near = true;
    for (const auto& near : prepared.affinity) {
        const std::string* value = label_of(node, near.topology_key);
        if (value == nullptr) return false;
        all_near = all_near && near.counts.contains(*value);
    }
    return all_near || prepared.first_of_its_kind;
}

bool anti_affinity_holds(const Prepared& prepared, const NodeState& node) {
    return std::none_of(prepared.anti_affinity.begin(), prepared.anti_affinity.end(),
                        [&](const Prepared::Near& near) {
                            const std::string* value = label_of(node, near.topology_key);
                            return value != nullptr && near.counts.contains(*value);
                        });
}

bool is_forbidden(const Prepared& prepared, const NodeState& node) {
    return std::any_of(prepared.forbidden.begin(), prepared.forbidden.end(),
                       [&](const auto& entry) {
                           const std::string* value = label_of(node, entry.first);
                           return value != nullptr && entry.second.contains(*value);
                       });
}

bool pods_allow(const Prepared& prepared, const NodeState& node,
                std::vector<std::string>* reasons) {
    if (!affinity_holds(prepared, node)) {
        say(reasons, "node(s) didn't match pod affinity rules");
        return false;
    }
    if (!anti_affinity_holds(prepared, node)) {
        say(reasons, "node(s) didn't match pod anti-affinity rules");
        return false;
    }
    if (is_forbidden(prepared, node)) {
        say(reasons, "node(s) didn't satisfy existing pods anti-affinity rules");
        return false;
    }
    return true;
}

void prepare_spread(Cluster& cluster, const PodFacts& pod, Prepared* out) {
    for (const SpreadConstraint& constraint : pod.spread) {
        if (constraint.hard) out->spread.push_back({&constraint, {}, 0, false});
    }
    if (out->spread.empty()) return;
    std::vector<const NodeState*> nodes;
    for (const NodeState* node : cluster.nodes()) {
        const bool has_all = std::all_of(
            out->spread.begin(), out->spread.end(), [&](const Prepared::Spread& spread) {
                return label_of(*node, spread.constraint->topology_key) != nullptr;
            });
        if (has_all) nodes.push_back(node);
    }
    for (auto& spread : out->spread) {
        const SpreadConstraint& constraint = *spread.constraint;
        spread.counts_itself = selects(constraint.pods.selector, pod.labels);
        const NodeCounts& counts = cluster.count(constraint.pods, false);
        for (const NodeState* node : nodes) {
            if (!is_eligible(constraint, pod, *node)) continue;
            const auto found = counts.find(node);
            spread.counts[*label_of(*node, constraint.topology_key)] +=
                found == counts.end() ? 0 : found->second;
        }
        // With too few domains, an empty one is imagined.
        if (std::ssize(spread.counts) >= constraint.min_domains) {
            spread.minimum = std::numeric_limits<std::int32_t>::max();
            for (const auto& [value, number] : spread.counts) {
                spread.minimum = std::min(spread.minimum, number);
            }
        }
    }
}

ValueCounts by_value(const NodeCounts& counts, const std::string& topology_key) {
    ValueCounts out;
    for (const auto& [node, number] : counts) {
        if (const std::string* value = label_of(*node, topology_key)) out[*value] += number;
    }
    return out;
}

void prepare_affinity(Cluster& cluster, const PodFacts& pod, Prepared* out) {
    if (!pod.affinity.empty()) {
        // A pod counts as near only if it matches all terms.
        const NodeCounts& counts = cluster.count_all(pod.affinity);
        bool anywhere = false;
        for (const AffinityTerm& term : pod.affinity) {
            out->affinity.push_back({term.topology_key, by_value(counts, term.topology_key)});
            anywhere = anywhere || !out->affinity.back().counts.empty();
        }
        out->first_of_its_kind =
            !anywhere && std::all_of(pod.affinity.begin(), pod.affinity.end(),
                                     [&](const AffinityTerm& term) {
                                         return cluster.matches(term.pods, pod);
                                     });
    }
    for (const AffinityTerm& term : pod.anti_affinity) {
        out->anti_affinity.push_back(
            {term.topology_key, by_value(cluster.count(term.pods, true), term.topology_key)});
    }
    for (const auto& [id, standing] : cluster.standing()) {
        if (standing.kind != StandingKind::kRequiredAnti) continue;
        if (!cluster.matches(standing.term.pods, pod)) continue;
        auto& values = out->forbidden[standing.term.topology_key];
        for (const auto& [node, number] : standing.nodes) {
            if (const std::string* value = label_of(*node, standing.term.topology_key)) {
                values.insert(*value);
            }
        }
    }
}

}  // namespace

const std::string* label_of(const NodeState& node, const std::string& key) {
    const auto found = node.facts.labels.find(key);
    return found == node.facts.labels.end() ? nullptr : &found->second;
}

bool is_eligible(const SpreadConstraint& constraint, const PodFacts& pod, const NodeState& node) {
    return (!constraint.honor_affinity || matches_node(pod, node.facts)) &&
           (!constraint.honor_taints || untolerated(pod, node.facts) == nullptr);
}

Prepared prepare(Cluster& cluster, const PodFacts& pod) {
    Prepared out;
    out.pod = &pod;
    prepare_spread(cluster, pod, &out);
    prepare_affinity(cluster, pod, &out);
    return out;
}

std::optional<Filter> check(const Prepared& prepared, const NodeState& node,
                            std::vector<std::string>* reasons) {
    const PodFacts& pod = *prepared.pod;
    if (node.facts.unschedulable && !tolerates_unschedulable(pod)) {
        say(reasons, "node(s) were unschedulable");
        return Filter::kUnschedulable;
    }
    if (!pod.node_name.empty() && pod.node_name != node.facts.name) {
        say(reasons, "node(s) didn't match the requested node name");
        return Filter::kNodeName;
    }
    if (const Taint* taint = untolerated(pod, node.facts)) {
        if (reasons != nullptr) {
            reasons->push_back(fmt::format("node(s) had untolerated taint {{{}: {}}}", taint->key,
                                           taint->value));
        }
        return Filter::kTaints;
    }
    if (!matches_node(pod, node.facts)) {
        say(reasons, "node(s) didn't match Pod's node affinity/selector");
        return Filter::kNodeAffinity;
    }
    if (!ports_free(pod, node)) {
        say(reasons, "node(s) didn't have free ports for the requested pod ports");
        return Filter::kPorts;
    }
    if (!fits(pod, node, reasons)) return Filter::kResources;
    if (!spread_allows(prepared, node, reasons)) return Filter::kSpread;
    if (!pods_allow(prepared, node, reasons)) return Filter::kPodAffinity;
    return std::nullopt;
}

}  // namespace sluice::scheduler
