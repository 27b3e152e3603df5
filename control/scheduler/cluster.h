// What is placed where: nodes with the pods on them, those included whose binding is only under way ("assumed"), and
// the sums and counts that decisions need, kept up to date with every change instead of computed for every pod.
//
// One thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/scheduler/model.h"

namespace sluice::scheduler {

// Sets of pods whose places are counted; the least recently asked for is forgotten first, and counted anew when it is
// asked for again.
inline constexpr std::size_t kMaxCountedSets = 256;

struct NodeState {
    NodeFacts facts;
    bool known = false;  // false: pods name the node, but there is no Node object
    std::unordered_map<std::string, PodPointer> pods;  // by key
    ResourceTotals requested;
    Wide scored_milli_cpu = 0;
    Wide scored_memory = 0;
    std::vector<HostPort> ports;
};

using NodeCounts = std::unordered_map<const NodeState*, std::int64_t>;

// Which of the terms of pods that are placed already speak about others.
enum class StandingKind : std::uint8_t { kRequiredAnti, kRequiredAffinity, kPreferred };

// One term that pods on these nodes have in common.
struct StandingTerm {
    StandingKind kind = StandingKind::kRequiredAnti;
    AffinityTerm term;  // weight is negative for preferred anti-affinity
    NodeCounts nodes;
};

class Cluster {
public:
    void set_node(NodeFacts facts);
    void remove_node(const std::string& name);
    void set_namespace(const std::string& name, Labels labels);
    void remove_namespace(const std::string& name);

    // Puts the pod on the node, off any other that it was on. assumed: the API server does not say so yet.
    void place(const PodPointer& pod, const std::string& node_name, bool assumed);
    // Null if it was not placed.
    PodPointer remove_pod(const std::string& key);

    struct Placed {
        PodPointer pod;
        NodeState* node = nullptr;
        bool assumed = false;
    };
    [[nodiscard]] const Placed* find_pod(const std::string& key) const;
    [[nodiscard]] const NodeState* find_node(const std::string& name) const;
    // Nodes that have an object, in no order.
    [[nodiscard]] const std::vector<NodeState*>& nodes() const { return nodes_; }
    [[nodiscard]] std::size_t pod_count() const { return pods_.size(); }

    // How many pods of the term there are on each node; nodes with none are left out. Valid until the next call of
    // anything.
    const NodeCounts& count(const PodTerm& term, bool with_terminating);
    // The same for pods that match all terms.
    const NodeCounts& count_all(const std::vector<AffinityTerm>& terms);
    // Of the controller; null if it has none placed.
    [[nodiscard]] const NodeCounts* count_owned(const std::string& owner_uid) const;
    [[nodiscard]] const std::unordered_map<std::string, StandingTerm>& standing() const {
        return standing_;
    }
    [[nodiscard]] bool matches(const PodTerm& term, const PodFacts& pod) const;

private:
    struct CountedSet {
        std::string id;
        std::vector<PodTerm> terms;  // all must match
        bool with_terminating = true;
        NodeCounts counts;
    };
    const NodeCounts& count_set(const std::string& id, const std::vector<const PodTerm*>& terms,
                                bool with_terminating);
    [[nodiscard]] bool in_set(const CountedSet& set, const PodFacts& pod) const;
    NodeState& node_of(const std::string& name);
    void drop_if_unused(const std::string& name);
    // Adds (1) or takes away (-1) the pod in everything that counts it.
    void tally(const PodPointer& pod, NodeState& node, int sign);
    void tally_terms(const PodFacts& pod, const NodeState& node, int sign);

    std::unordered_map<std::string, std::unique_ptr<NodeState>> by_name_;
    std::vector<NodeState*> nodes_;
    std::unordered_map<std::string, Placed> pods_;
    std::unordered_map<std::string, Labels> namespaces_;
    std::unordered_map<std::string, NodeCounts> owned_;
    std::unordered_map<std::string, StandingTerm> standing_;
    std::list<CountedSet> sets_;  // most recently used first
    std::unordered_map<std::string, std::list<CountedSet>::iterator> sets_by_id_;
};

}  // namespace sluice::scheduler
