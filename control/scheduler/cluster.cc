// See cluster.h.
#include "control/scheduler/cluster.h"

#include <algorithm>

namespace sluice::scheduler {
namespace {

void add_count(NodeCounts* counts, const NodeState* node, int sign) {
    const auto found = counts->try_emplace(node, 0).first;
    found->second += sign;
    SLUICE_ASSERT(found->second >= 0);
    if (found->second == 0) counts->erase(found);
}

}  // namespace

NodeState& Cluster::node_of(const std::string& name) {
    auto& slot = by_name_[name];
    if (slot == nullptr) {
        slot = std::make_unique<NodeState>();
        slot->facts.name = name;
    }
    return *slot;
}

void Cluster::drop_if_unused(const std::string& name) {
    const auto found = by_name_.find(name);
    if (found != by_name_.end() && !found->second->known && found->second->pods.empty()) {
        by_name_.erase(found);
    }
}

void Cluster::set_node(NodeFacts facts) {
    NodeState& node = node_of(facts.name);
    node.facts = std::move(facts);
    if (!node.known) {
        node.known = true;
        nodes_.push_back(&node);
    }
}

void Cluster::remove_node(const std::string& name) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end() || !found->second->known) return;
    NodeState& node = *found->second;
    node.known = false;
    node.facts = {};
    node.facts.name = name;
    nodes_.erase(std::find(nodes_.begin(), nodes_.end(), &node));
    drop_if_unused(name);
}

void Cluster::set_namespace(const std::string& name, Labels labels) {
    const auto known = namespaces_.find(name);
    if (known != namespaces_.end() && known->second == labels) return;
    namespaces_[name] = std::move(labels);
    sets_by_id_.clear();
    sets_.clear();
}

void Cluster::remove_namespace(const std::string& name) {
    if (namespaces_.erase(name) == 0) return;
    sets_by_id_.clear();
    sets_.clear();
}

bool Cluster::matches(const PodTerm& term, const PodFacts& pod) const {
    bool of_namespace = term.namespaces.contains(pod.namespace_name);
    if (!of_namespace && term.namespace_selector) {
        static const Labels kNone;
        const auto labels = namespaces_.find(pod.namespace_name);
        of_namespace = selects(*term.namespace_selector,
                               labels == namespaces_.end() ? kNone : labels->second);
    }
    return of_namespace && selects(term.selector, pod.labels);
}

bool Cluster::in_set(const CountedSet& set, const PodFacts& pod) const {
    if (pod.terminating && !set.with_terminating) return false;
    return std::all_of(set.terms.begin(), set.terms.end(),
                       [&](const PodTerm& term) { return matches(term, pod); });
}

void Cluster::tally_terms(const PodFacts& pod, const NodeState& node, int sign) {
    const auto stand = [&](StandingKind kind, const AffinityTerm& term, int weight) {
        const std::string id = std::to_string(static_cast<int>(kind)) + "/" +
                               std::to_string(weight) + "/" + term.topology_key + "/" +
                               term.pods.id;
        const auto [found, is_new] = standing_.try_emplace(id);
        if (is_new) {
            found->second = {kind, term, {}};
            found->second.term.weight = weight;
        }
        add_count(&found->second.nodes, &node, sign);
        if (found->second.nodes.empty()) standing_.erase(found);
    };
    for (const auto& term : pod.anti_affinity) stand(StandingKind::kRequiredAnti, term, 0);
    for (const auto& term : pod.affinity) stand(StandingKind::kRequiredAffinity, term, 0);
    for (const auto& term : pod.preferred_affinity) {
        stand(StandingKind::kPreferred, term, term.weight);
    }
    for (const auto& term : pod.preferred_anti_affinity) {
        stand(StandingKind::kPreferred, term, -term.weight);
    }
}

void Cluster::tally(const PodPointer& pod, NodeState& node, int sign) {
    if (sign > 0) {
        node.pods.emplace(pod->key, pod);
        node.requested.add(pod->resources.requests);
        node.ports.insert(node.ports.end(), pod->ports.begin(), pod->ports.end());
    } else {
        node.pods.erase(pod->key);
        node.requested.subtract(pod->resources.requests);
        for (const HostPort& port : pod->ports) {
            node.ports.erase(std::find(node.ports.begin(), node.ports.end(), port));
        }
    }
    node.scored_milli_cpu += sign * static_cast<Wide>(pod->resources.scored_milli_cpu);
    node.scored_memory += sign * static_cast<Wide>(pod->resources.scored_memory);
    if (!pod->owner_uid.empty()) {
        NodeCounts& counts = owned_[pod->owner_uid];
        add_count(&counts, &node, sign);
        if (counts.empty()) owned_.erase(pod->owner_uid);
    }
    tally_terms(*pod, node, sign);
    for (CountedSet& set : sets_) {
        if (in_set(set, *pod)) add_count(&set.counts, &node, sign);
    }
}

void Cluster::place(const PodPointer& pod, const std::string& node_name, bool assumed) {
    remove_pod(pod->key);
    NodeState& node = node_of(node_name);
    tally(pod, node, 1);
    pods_[pod->key] = {pod, &node, assumed};
}

PodPointer Cluster::remove_pod(const std::string& key) {
    const auto found = pods_.find(key);
    if (found == pods_.end()) return nullptr;
    const Placed placed = std::move(found->second);
    pods_.erase(found);
    tally(placed.pod, *placed.node, -1);
    // The name is copied: the node may go.
    drop_if_unused(std::string(placed.node->facts.name));
    return placed.pod;
}

const Cluster::Placed* Cluster::find_pod(const std::string& key) const {
    const auto found = pods_.find(key);
    return found == pods_.end() ? nullptr : &found->second;
}

const NodeState* Cluster::find_node(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() || !found->second->known ? nullptr : found->second.get();
}

const NodeCounts* Cluster::count_owned(const std::string& owner_uid) const {
    const auto found = owned_.find(owner_uid);
    return found == owned_.end() ? nullptr : &found->second;
}

const NodeCounts& Cluster::count(const PodTerm& term, bool with_terminating) {
    return count_set((with_terminating ? "t/" : "r/") + term.id, {&term}, with_terminating);
}

const NodeCounts& Cluster::count_all(const std::vector<AffinityTerm>& terms) {
    std::string id = "t/";
    std::vector<const PodTerm*> pods;
    for (const AffinityTerm& term : terms) {
        id += (pods.empty() ? "" : "&") + term.pods.id;
        pods.push_back(&term.pods);
    }
    return count_set(id, pods, true);
}

const NodeCounts& Cluster::count_set(const std::string& id,
                                     const std::vector<const PodTerm*>& terms,
                                     bool with_terminating) {
    if (const auto found = sets_by_id_.find(id); found != sets_by_id_.end()) {
        sets_.splice(sets_.begin(), sets_, found->second);
        return sets_.front().counts;
    }
    CountedSet& set = sets_.emplace_front();
    set.id = id;
    for (const PodTerm* term : terms) set.terms.push_back(*term);
    set.with_terminating = with_terminating;
    sets_by_id_.emplace(id, sets_.begin());
    for (const auto& [key, placed] : pods_) {
        if (in_set(set, *placed.pod)) add_count(&set.counts, placed.node, 1);
    }
    if (sets_.size() > kMaxCountedSets) {
        sets_by_id_.erase(sets_.back().id);
        sets_.pop_back();
    }
    return set.counts;
}

}  // namespace sluice::scheduler
