// Pods and nodes as the scheduler thinks of them: read once from the API's objects, checked, and immutable from then
// on. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/codec/selector.h"
#include "control/scheduler/resources.h"

namespace k8s::io::api::core::v1 {
class Pod;
class Node;
}  // namespace k8s::io::api::core::v1

namespace sluice::scheduler {

inline constexpr char kHostnameLabel[] = "kubernetes.io/hostname";
inline constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";
inline constexpr char kUnschedulableTaint[] = "node.kubernetes.io/unschedulable";

using Labels = std::map<std::string, std::string, std::less<>>;

struct Taint {
    enum class Effect : std::uint8_t { kNoSchedule, kPreferNoSchedule, kNoExecute };
    std::string key;
    std::string value;
    Effect effect = Effect::kNoSchedule;
    bool operator==(const Taint&) const = default;
};

struct Toleration {
    std::string key;  // empty: any
    std::string value;
    bool exists = false;                   // operator Exists: whatever the value
    std::optional<Taint::Effect> effect;   // none: any
    bool tolerates(const Taint& taint) const {
        return (!effect || *effect == taint.effect) && (key.empty() || key == taint.key) &&
               (exists || value == taint.value);
    }
};

// One requirement of a node selector.
struct NodeRequirement {
    enum class Operator : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist, kGt, kLt };
    std::string key;
    Operator op = Operator::kIn;
    std::vector<std::string> values;
    [[nodiscard]] bool matches(const std::string* label) const;  // null: the node has no such label
};

struct NodeTerm {
    std::vector<NodeRequirement> labels;
    std::vector<NodeRequirement> names;  // matchFields metadata.name
    // A term without requirements matches nothing.
    [[nodiscard]] bool matches(const std::string& node_name, const Labels& node_labels) const;
};

struct PreferredNodeTerm {
    int weight = 0;
    NodeTerm term;
};

// Which pods are meant: of these namespaces or of namespaces with such labels, and with such labels themselves.
struct PodTerm {
    std::set<std::string> namespaces;
    std::optional<codec::LabelSelector> namespace_selector;
    codec::LabelSelector selector = codec::LabelSelector::nothing();
    std::string id;  // equal for terms that mean the same pods
};

struct AffinityTerm {
    PodTerm pods;
    std::string topology_key;
    int weight = 0;  // of a preferred term, 1 to 100
};

struct SpreadConstraint {
    int max_skew = 1;
    std::string topology_key;
    bool hard = true;  // whenUnsatisfiable: DoNotSchedule
    PodTerm pods;
    int min_domains = 1;
    bool honor_affinity = true;
    bool honor_taints = false;
};

struct HostPort {
    std::string ip;  // empty: every address
    std::string protocol;
    int port = 0;
    bool operator==(const HostPort&) const = default;
    [[nodiscard]] bool conflicts_with(const HostPort& other) const {
        return port == other.port && protocol == other.protocol &&
               (ip.empty() || other.ip.empty() || ip == other.ip);
    }
};

struct PodFacts {
    std::shared_ptr<const ::k8s::io::api::core::v1::Pod> object;
    std::string key;  // namespace/name
    std::string namespace_name;
    std::string name;
    std::string uid;
    std::string owner_uid;  // of the controller
    std::string node_name;  // empty: not assigned
    Labels labels;
    std::int32_t priority = 0;
    bool terminating = false;
    PodResources resources;
    std::vector<HostPort> ports;
    Labels node_selector;
    // Any of them, where there are some: has_required_terms with no term matches no node.
    bool has_required_terms = false;
    std::vector<NodeTerm> required_terms;
    std::vector<PreferredNodeTerm> preferred_terms;
    std::vector<Toleration> tolerations;
    std::vector<AffinityTerm> affinity, anti_affinity;                      // required
    std::vector<AffinityTerm> preferred_affinity, preferred_anti_affinity;
    std::vector<SpreadConstraint> spread;
};
using PodPointer = std::shared_ptr<const PodFacts>;

// Errors name the pod and the field: what the API server should have refused.
Result<PodPointer> read_pod(std::shared_ptr<const ::k8s::io::api::core::v1::Pod> pod);

// The pod takes part in nothing any more (Succeeded or Failed).
[[nodiscard]] bool is_finished(const ::k8s::io::api::core::v1::Pod& pod);
// This scheduler is to place the pod, now: not assigned, not finished, not being deleted, no gate closed.
[[nodiscard]] bool is_waiting(const ::k8s::io::api::core::v1::Pod& pod);
// The two differ in nothing that is decided by.
[[nodiscard]] bool same_for_scheduling(const ::k8s::io::api::core::v1::Pod& before,
                                       const ::k8s::io::api::core::v1::Pod& after);

struct NodeFacts {
    std::string name;
    Labels labels;
    std::vector<Taint> taints;
    bool unschedulable = false;
    NodeResources resources;
};
Result<NodeFacts> read_node(const ::k8s::io::api::core::v1::Node& node);

// nodeSelector and required node affinity together.
[[nodiscard]] bool matches_node(const PodFacts& pod, const NodeFacts& node);
// The first taint that keeps the pod off the node, or null.
[[nodiscard]] const Taint* untolerated(const PodFacts& pod, const NodeFacts& node);
[[nodiscard]] bool selects(const codec::LabelSelector& selector, const Labels& labels);

}  // namespace sluice::scheduler
