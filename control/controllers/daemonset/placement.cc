#include "control/controllers/daemonset/placement.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kNameField = "metadata.name";
constexpr std::string_view kNoExecute = "NoExecute";
constexpr std::string_view kNoSchedule = "NoSchedule";

struct Tolerated {
    const char* key;
    std::string_view effect;
};
constexpr Tolerated kAlways[] = {
    {"node.kubernetes.io/not-ready", kNoExecute},
    {"node.kubernetes.io/unreachable", kNoExecute},
    {"node.kubernetes.io/disk-pressure", kNoSchedule},
    {"node.kubernetes.io/memory-pressure", kNoSchedule},
    {"node.kubernetes.io/pid-pressure", kNoSchedule},
    {"node.kubernetes.io/unschedulable", kNoSchedule},
};
constexpr Tolerated kOnHostNetwork = {"node.kubernetes.io/network-unavailable", kNoSchedule};

void add_toleration(const Tolerated& wanted, PodSpec* spec) {
    for (auto& toleration : *spec->mutable_tolerations()) {
        if (toleration.key() == wanted.key && toleration.effect() == wanted.effect &&
            toleration.operator_() == "Exists" && toleration.value().empty()) {
            // The template may bound it in time; a daemon is bound by nothing.
            toleration.clear_tolerationseconds();
            return;
        }
    }
    auto* toleration = spec->add_tolerations();
    toleration->set_key(wanted.key);
    toleration->set_operator_("Exists");
    toleration->set_effect(std::string(wanted.effect));
}

bool tolerates(const corev1::Toleration& toleration, const corev1::Taint& taint) {
    if (!toleration.effect().empty() && toleration.effect() != taint.effect()) return false;
    if (!toleration.key().empty() && toleration.key() != taint.key()) return false;
    if (toleration.operator_() == "Exists") return true;
    const bool equal = toleration.operator_().empty() || toleration.operator_() == "Equal";
    return equal && !toleration.key().empty() && toleration.value() == taint.value();
}

bool tolerates_all(const PodSpec& spec, const Node& node, bool no_execute_only) {
    return std::ranges::all_of(node.spec().taints(), [&](const corev1::Taint& taint) {
        const bool counts = taint.effect() == kNoExecute ||
                            (!no_execute_only && taint.effect() == kNoSchedule);
        return !counts || std::ranges::any_of(spec.tolerations(), [&](const auto& toleration) {
            return tolerates(toleration, taint);
        });
    });
}

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
    return value;
}

// value: of the label, or null when the node does not carry it.
bool holds(const corev1::NodeSelectorRequirement& requirement, const std::string* value) {
    const std::string& op = requirement.operator_();
    if (op == "Exists") return value != nullptr;
    if (op == "DoesNotExist") return value == nullptr;
    const auto& values = requirement.values();
    const bool listed = value != nullptr && std::ranges::find(values, *value) != values.end();
    if (op == "In") return listed;
    if (op == "NotIn") return !listed;
    if ((op != "Gt" && op != "Lt") || value == nullptr || values.size() != 1) return false;
    const auto is = number(*value);
    const auto bound = number(values[0]);
    if (!is || !bound) return false;
    return op == "Gt" ? *is > *bound : *is < *bound;
}

bool term_holds(const corev1::NodeSelectorTerm& term, const Node& node) {
    // A term that asks for nothing matches nothing.
    if (term.matchexpressions().empty() && term.matchfields().empty()) return false;
    const auto& labels = node.metadata().labels();
    return std::ranges::all_of(term.matchexpressions(),
                               [&](const auto& requirement) {
                                   const auto found = labels.find(requirement.key());
                                   return holds(requirement,
                                                found == labels.end() ? nullptr : &found->second);
                               }) &&
           std::ranges::all_of(term.matchfields(), [&](const auto& requirement) {
               return requirement.key() == kNameField &&
                      holds(requirement, &node.metadata().name());
           });
}

bool fits_labels(const PodSpec& spec, const Node& node) {
    const auto& labels = node.metadata().labels();
    for (const auto& [key, value] : spec.nodeselector()) {
        const auto found = labels.find(key);
        if (found == labels.end() || found->second != value) return false;
    }
    const auto& affinity = spec.affinity().nodeaffinity();
    return !affinity.has_requiredduringschedulingignoredduringexecution() ||
           node_matches(affinity.requiredduringschedulingignoredduringexecution(), node);
}

}  // namespace

void add_daemon_tolerations(PodSpec* spec) {
    for (const auto& wanted : kAlways) add_toleration(wanted, spec);
    if (spec->hostnetwork()) add_toleration(kOnHostNetwork, spec);
}

bool node_matches(const corev1::NodeSelector& selector, const Node& node) {
    return std::ranges::any_of(selector.nodeselectorterms(),
                               [&](const auto& term) { return term_holds(term, node); });
}

Eligibility eligibility(const PodSpec& spec, const Node& node) {
    if (!spec.nodename().empty() && spec.nodename() != node.metadata().name()) return {};
    if (!fits_labels(spec, node)) return {};
    if (tolerates_all(spec, node, false)) return {true, true};
    // A pod that runs is only driven away by NoExecute.
    return {false, tolerates_all(spec, node, true)};
}

void pin_to_node(const std::string& node, PodSpec* spec) {
    auto* selector = spec->mutable_affinity()
                         ->mutable_nodeaffinity()
                         ->mutable_requiredduringschedulingignoredduringexecution();
    selector->Clear();
    auto* requirement = selector->add_nodeselectorterms()->add_matchfields();
    requirement->set_key(std::string(kNameField));
    requirement->set_operator_("In");
    requirement->add_values(node);
}

std::string target_node(const Pod& pod) {
    if (!pod.spec().nodename().empty()) return pod.spec().nodename();
    const auto& selector =
        pod.spec().affinity().nodeaffinity().requiredduringschedulingignoredduringexecution();
    for (const auto& term : selector.nodeselectorterms()) {
        for (const auto& requirement : term.matchfields()) {
            if (requirement.key() == kNameField && requirement.operator_() == "In" &&
                requirement.values_size() == 1) {
                return requirement.values(0);
            }
        }
    }
    return {};
}

}  // namespace sluice::controllers
