// See model.h.
#include "control/scheduler/model.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <charconv>

#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/scheduler/scheduler.h"

namespace sluice::scheduler {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;

template <class Map>
Labels labels_of(const Map& map) {
    return Labels(map.begin(), map.end());
}

std::optional<Taint::Effect> effect_of(const std::string& text) {
    if (text == "NoSchedule") return Taint::Effect::kNoSchedule;
    if (text == "PreferNoSchedule") return Taint::Effect::kPreferNoSchedule;
    if (text == "NoExecute") return Taint::Effect::kNoExecute;
    return std::nullopt;
}

Error invalid(const std::string& field, const std::string& value) {
    return make_error(Code::kInvalidArgument, "{}: \"{}\" is not a value it can have", field, value);
}

Result<NodeRequirement> read_requirement(const corev1::NodeSelectorRequirement& from) {
    using Operator = NodeRequirement::Operator;
    NodeRequirement out;
    out.key = from.key();
    const std::string& op = from.operator_();
    if (op == "In") out.op = Operator::kIn;
    else if (op == "NotIn") out.op = Operator::kNotIn;
    else if (op == "Exists") out.op = Operator::kExists;
    else if (op == "DoesNotExist") out.op = Operator::kDoesNotExist;
    else if (op == "Gt") out.op = Operator::kGt;
    else if (op == "Lt") out.op = Operator::kLt;
    else return invalid("operator of node selector requirement " + from.key(), op);
    out.values.assign(from.values().begin(), from.values().end());
    return out;
}

Result<NodeTerm> read_node_term(const corev1::NodeSelectorTerm& from) {
    NodeTerm out;
    for (const auto& expression : from.matchexpressions()) {
        SLUICE_TRY_ASSIGN(auto requirement, read_requirement(expression));
        out.labels.push_back(std::move(requirement));
    }
    for (const auto& field : from.matchfields()) {
        if (field.key() != "metadata.name") return invalid("matchFields key", field.key());
        SLUICE_TRY_ASSIGN(auto requirement, read_requirement(field));
        out.names.push_back(std::move(requirement));
    }
    return out;
}

// The selector with what matchLabelKeys and mismatchLabelKeys add to it: the pod's own values of these labels.
template <class Keys>
metav1::LabelSelector with_own_labels(metav1::LabelSelector selector, const Labels& labels,
                                      const Keys& keys, const char* op) {
    for (const auto& key : keys) {
        const auto label = labels.find(key);
        if (label == labels.end()) continue;
        auto* added = selector.add_matchexpressions();
        added->set_key(key);
        added->set_operator_(op);
        added->add_values(label->second);
    }
    return selector;
}

Result<codec::LabelSelector> read_selector(const metav1::LabelSelector& selector,
                                           const char* field) {
    auto out = codec::LabelSelector::from_proto(selector);
    if (!out) return out.error().with_context(field);
    return out;
}

void name_term(PodTerm* term) {
    for (const auto& name : term->namespaces) term->id += name + ",";
    term->id += "|";
    if (term->namespace_selector) term->id += "(" + term->namespace_selector->to_string() + ")";
    // A selector that selects nothing and one that selects all can read alike.
    term->id += term->selector.selects_everything() ? "|*" : "|" + term->selector.to_string();
}

Result<AffinityTerm> read_affinity_term(const corev1::PodAffinityTerm& from, const PodFacts& pod,
                                        int weight) {
    AffinityTerm out;
    out.topology_key = from.topologykey();
    out.weight = weight;
    out.pods.namespaces.insert(from.namespaces().begin(), from.namespaces().end());
    if (from.has_namespaceselector()) {
        SLUICE_TRY_ASSIGN(out.pods.namespace_selector,
                          read_selector(from.namespaceselector(), "namespaceSelector"));
    } else if (out.pods.namespaces.empty()) {
        out.pods.namespaces.insert(pod.namespace_name);
    }
    if (from.has_labelselector()) {
        const auto merged = with_own_labels(
            with_own_labels(from.labelselector(), pod.labels, from.matchlabelkeys(), "In"),
            pod.labels, from.mismatchlabelkeys(), "NotIn");
        SLUICE_TRY_ASSIGN(out.pods.selector, read_selector(merged, "labelSelector"));
    }
    name_term(&out.pods);
    return out;
}

template <class List>
Result<std::vector<AffinityTerm>> read_required(const List& from, const PodFacts& pod) {
    std::vector<AffinityTerm> out;
    for (const auto& term : from) {
        SLUICE_TRY_ASSIGN(auto read, read_affinity_term(term, pod, 0));
        out.push_back(std::move(read));
    }
    return out;
}

template <class List>
Result<std::vector<AffinityTerm>> read_preferred(const List& from, const PodFacts& pod) {
    std::vector<AffinityTerm> out;
    for (const auto& term : from) {
        SLUICE_TRY_ASSIGN(auto read,
                          read_affinity_term(term.podaffinityterm(), pod, term.weight()));
        out.push_back(std::move(read));
    }
    return out;
}

Result<void> read_affinity(const corev1::Affinity& from, PodFacts* pod) {
    const auto& node = from.nodeaffinity();
    if (node.has_requiredduringschedulingignoredduringexecution()) {
        pod->has_required_terms = true;
        for (const auto& term :
             node.requiredduringschedulingignoredduringexecution().nodeselectorterms()) {
            SLUICE_TRY_ASSIGN(auto read, read_node_term(term));
            pod->required_terms.push_back(std::move(read));
        }
    }
    for (const auto& term : node.preferredduringschedulingignoredduringexecution()) {
        SLUICE_TRY_ASSIGN(auto read, read_node_term(term.preference()));
        pod->preferred_terms.push_back({term.weight(), std::move(read)});
    }
    const auto& near = from.podaffinity();
    const auto& far = from.podantiaffinity();
    SLUICE_TRY_ASSIGN(pod->affinity,
                      read_required(near.requiredduringschedulingignoredduringexecution(), *pod));
    SLUICE_TRY_ASSIGN(pod->anti_affinity,
                      read_required(far.requiredduringschedulingignoredduringexecution(), *pod));
    SLUICE_TRY_ASSIGN(pod->preferred_affinity,
                      read_preferred(near.preferredduringschedulingignoredduringexecution(), *pod));
    SLUICE_TRY_ASSIGN(pod->preferred_anti_affinity,
                      read_preferred(far.preferredduringschedulingignoredduringexecution(), *pod));
    return {};
}

Result<SpreadConstraint> read_spread(const corev1::TopologySpreadConstraint& from,
                                     const PodFacts& pod) {
    SpreadConstraint out;
    out.max_skew = std::max(1, from.maxskew());
    out.topology_key = from.topologykey();
    if (from.whenunsatisfiable() == "ScheduleAnyway") {
        out.hard = false;
    } else if (from.whenunsatisfiable() != "DoNotSchedule") {
        return invalid("whenUnsatisfiable", from.whenunsatisfiable());
    }
    out.min_domains = from.has_mindomains() ? from.mindomains() : 1;
    out.honor_affinity = from.nodeaffinitypolicy() != "Ignore";
    out.honor_taints = from.nodetaintspolicy() == "Honor";
    out.pods.namespaces.insert(pod.namespace_name);
    if (from.has_labelselector()) {
        SLUICE_TRY_ASSIGN(out.pods.selector,
                          read_selector(with_own_labels(from.labelselector(), pod.labels,
                                                        from.matchlabelkeys(), "In"),
                                        "labelSelector"));
    }
    name_term(&out.pods);
    return out;
}

Result<Toleration> read_toleration(const corev1::Toleration& from) {
    Toleration out;
    out.key = from.key();
    out.value = from.value();
    out.exists = from.operator_() == "Exists";
    if (!out.exists && !from.operator_().empty() && from.operator_() != "Equal") {
        return invalid("operator of toleration " + from.key(), from.operator_());
    }
    if (!from.effect().empty()) {
        out.effect = effect_of(from.effect());
        if (!out.effect) return invalid("effect of toleration " + from.key(), from.effect());
    }
    return out;
}

template <class List>
void read_ports(const List& containers, bool sidecars_only, std::vector<HostPort>* out) {
    for (const auto& container : containers) {
        if (sidecars_only && container.restartpolicy() != "Always") continue;
        for (const auto& port : container.ports()) {
            if (port.hostport() <= 0) continue;
            const bool any = port.hostip() == "0.0.0.0" || port.hostip() == "::";
            out->push_back({any ? "" : port.hostip(),
                            port.protocol().empty() ? "TCP" : port.protocol(), port.hostport()});
        }
    }
}

Result<void> read_spec(const corev1::PodSpec& spec, PodFacts* out) {
    out->node_name = spec.nodename();
    out->priority = spec.priority();
    out->node_selector = labels_of(spec.nodeselector());
    SLUICE_TRY_ASSIGN(out->resources, pod_resources(spec));
    read_ports(spec.containers(), false, &out->ports);
    read_ports(spec.initcontainers(), true, &out->ports);
    for (const auto& toleration : spec.tolerations()) {
        SLUICE_TRY_ASSIGN(auto read, read_toleration(toleration));
        out->tolerations.push_back(std::move(read));
    }
    SLUICE_TRY(read_affinity(spec.affinity(), out));
    for (const auto& constraint : spec.topologyspreadconstraints()) {
        SLUICE_TRY_ASSIGN(auto read, read_spread(constraint, *out));
        out->spread.push_back(std::move(read));
    }
    return {};
}

std::optional<std::int64_t> integer(const std::string& text) {
    std::int64_t out = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, out);
    if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
    return out;
}

}  // namespace

bool NodeRequirement::matches(const std::string* label) const {
    const auto listed = [&] {
        return std::find(values.begin(), values.end(), *label) != values.end();
    };
    switch (op) {
        case Operator::kIn: return label != nullptr && listed();
        case Operator::kNotIn: return label == nullptr || !listed();
        case Operator::kExists: return label != nullptr;
        case Operator::kDoesNotExist: return label == nullptr;
        case Operator::kGt:
        case Operator::kLt: {
            if (label == nullptr || values.size() != 1) return false;
            const auto have = integer(*label);
            const auto bound = integer(values[0]);
            if (!have || !bound) return false;
            return op == Operator::kGt ? *have > *bound : *have < *bound;
        }
    }
    return false;
}

bool NodeTerm::matches(const std::string& node_name, const Labels& node_labels) const {
    if (labels.empty() && names.empty()) return false;
    return std::all_of(labels.begin(), labels.end(),
                       [&](const NodeRequirement& requirement) {
                           const auto label = node_labels.find(requirement.key);
                           return requirement.matches(
                               label == node_labels.end() ? nullptr : &label->second);
                       }) &&
           std::all_of(names.begin(), names.end(), [&](const NodeRequirement& requirement) {
               return requirement.matches(&node_name);
           });
}

Result<PodPointer> read_pod(std::shared_ptr<const corev1::Pod> pod) {
    auto out = std::make_shared<PodFacts>();
    const auto& metadata = pod->metadata();
    out->namespace_name = metadata.namespace_();
    out->name = metadata.name();
    out->key = out->namespace_name + "/" + out->name;
    out->uid = metadata.uid();
    for (const auto& owner : metadata.ownerreferences()) {
        if (owner.controller()) out->owner_uid = owner.uid();
    }
    out->labels = labels_of(metadata.labels());
    out->terminating = metadata.has_deletiontimestamp();
    if (auto read = read_spec(pod->spec(), out.get()); !read) {
        return read.error().with_context("pod " + out->key);
    }
    out->object = std::move(pod);
    return PodPointer(std::move(out));
}

bool is_finished(const corev1::Pod& pod) {
    return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

bool is_waiting(const corev1::Pod& pod) {
    const auto& spec = pod.spec();
    return spec.nodename().empty() && spec.schedulername() == kSchedulerName &&
           spec.schedulinggates().empty() && !pod.metadata().has_deletiontimestamp() &&
           !is_finished(pod);
}

bool same_for_scheduling(const corev1::Pod& before, const corev1::Pod& after) {
    return before.metadata().uid() == after.metadata().uid() &&
           before.metadata().has_deletiontimestamp() == after.metadata().has_deletiontimestamp() &&
           is_finished(before) == is_finished(after) &&
           labels_of(before.metadata().labels()) == labels_of(after.metadata().labels()) &&
           google::protobuf::util::MessageDifferencer::Equals(before.spec(), after.spec());
}

Result<NodeFacts> read_node(const corev1::Node& node) {
    NodeFacts out;
    out.name = node.metadata().name();
    out.labels = labels_of(node.metadata().labels());
    out.unschedulable = node.spec().unschedulable();
    for (const auto& taint : node.spec().taints()) {
        const auto effect = effect_of(taint.effect());
        if (!effect) {
            return invalid("node " + out.name + ": effect of taint " + taint.key(), taint.effect());
        }
        out.taints.push_back({taint.key(), taint.value(), *effect});
    }
    auto resources = node_resources(node.status());
    if (!resources) return resources.error().with_context("node " + out.name);
    out.resources = std::move(*resources);
    return out;
}

bool matches_node(const PodFacts& pod, const NodeFacts& node) {
    for (const auto& [key, value] : pod.node_selector) {
        const auto label = node.labels.find(key);
        if (label == node.labels.end() || label->second != value) return false;
    }
    return !pod.has_required_terms ||
           std::any_of(pod.required_terms.begin(), pod.required_terms.end(),
                       [&](const NodeTerm& term) { return term.matches(node.name, node.labels); });
}

const Taint* untolerated(const PodFacts& pod, const NodeFacts& node) {
    for (const Taint& taint : node.taints) {
        if (taint.effect == Taint::Effect::kPreferNoSchedule) continue;
        const bool tolerated =
            std::any_of(pod.tolerations.begin(), pod.tolerations.end(),
                        [&](const Toleration& toleration) { return toleration.tolerates(taint); });
        if (!tolerated) return &taint;
    }
    return nullptr;
}

bool selects(const codec::LabelSelector& selector, const Labels& labels) {
    return selector.matches([&](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(key);
        if (found == labels.end()) return std::nullopt;
        return std::string_view(found->second);
    });
}

}  // namespace sluice::scheduler
