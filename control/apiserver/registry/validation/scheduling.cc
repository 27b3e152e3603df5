#include "control/apiserver/registry/validation/scheduling.h"

#include <fmt/format.h>

#include <set>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/object_meta.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::int32_t kMinWeight = 1;
constexpr std::int32_t kMaxWeight = 100;

void check_toleration(const corev1::Toleration& toleration, const std::string& field,
                      FieldErrors* errors) {
    if (!toleration.key().empty()) {
        errors->invalid_all(field + ".key", toleration.key(),
                            check_qualified_name(toleration.key()));
    }
    if (toleration.key().empty() && toleration.operator_() != "Exists") {
        errors->invalid(field + ".operator", toleration.operator_(),
                        "operator must be Exists when `key` is empty, which means \"match all "
                        "values and all keys\"");
    }
    if (toleration.has_tolerationseconds() && toleration.effect() != "NoExecute") {
        errors->invalid(field + ".effect", toleration.effect(),
                        "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    const std::string& op = toleration.operator_();
    if (op.empty() || op == "Equal") {
        const auto why = check_label_value(toleration.value());
        if (!why.empty()) {
            errors->invalid(field + ".operator", toleration.value(),
                            fmt::format("{}", fmt::join(why, ";")));
        }
    } else if (op == "Exists") {
        if (!toleration.value().empty()) {
            errors->invalid(field + ".operator", toleration.value(),
                            "value must be empty when `operator` is 'Exists'");
        }
    } else {
        errors->not_supported(field + ".operator", op, {"Equal", "Exists"});
    }
    const std::string& effect = toleration.effect();
    if (!effect.empty() && effect != "NoSchedule" && effect != "PreferNoSchedule" &&
        effect != "NoExecute") {
        errors->not_supported(field + ".effect", effect,
                              {"NoExecute", "NoSchedule", "PreferNoSchedule"});
    }
}

void check_expression(const corev1::NodeSelectorRequirement& term, const std::string& field,
                      FieldErrors* errors) {
    const std::string& op = term.operator_();
    if (op == "In" || op == "NotIn") {
        if (term.values_size() == 0) {
            errors->required(field + ".values",
                             "must be specified when `operator` is 'In' or 'NotIn'");
        }
    } else if (op == "Exists" || op == "DoesNotExist") {
        if (term.values_size() > 0) {
            errors->forbidden(field + ".values",
                              "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
    } else if (op == "Gt" || op == "Lt") {
        if (term.values_size() != 1) {
            errors->required(field + ".values",
                             "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
    } else {
        errors->invalid(field + ".operator", op, "not a valid selector operator");
    }
    errors->invalid_all(field + ".key", term.key(), check_qualified_name(term.key()));
}

void check_field_expression(const corev1::NodeSelectorRequirement& term, const std::string& field,
                            FieldErrors* errors) {
    const std::string& op = term.operator_();
    if (op != "In" && op != "NotIn") {
        errors->invalid(field + ".operator", op, "not a valid selector operator");
    } else if (term.values_size() != 1) {
        errors->required(field + ".values",
                         "must be only one value when `operator` is 'In' or 'NotIn' for node "
                         "field selector");
    }
    if (term.key() != "metadata.name") {
        errors->invalid(field + ".key", term.key(), "not a valid field selector key");
        return;
    }
    for (int i = 0; i < term.values_size(); ++i) {
        errors->invalid_all(field_index(field + ".values", i), term.values(i),
                            check_dns1123_subdomain(term.values(i)));
    }
}

void check_term(const corev1::NodeSelectorTerm& term, const std::string& field,
                FieldErrors* errors) {
    for (int i = 0; i < term.matchexpressions_size(); ++i) {
        check_expression(term.matchexpressions(i), field_index(field + ".matchExpressions", i),
                         errors);
    }
    for (int i = 0; i < term.matchfields_size(); ++i) {
        check_field_expression(term.matchfields(i), field_index(field + ".matchFields", i),
                               errors);
    }
}

void check_weight(std::int32_t weight, const std::string& field, FieldErrors* errors) {
    if (weight < kMinWeight || weight > kMaxWeight) {
        errors->invalid(field + ".weight", weight, "must be in the range 1-100");
    }
}

void check_node_affinity(const corev1::NodeAffinity& affinity, const std::string& field,
                         FieldErrors* errors) {
    if (affinity.has_requiredduringschedulingignoredduringexecution()) {
        validate_node_selector(affinity.requiredduringschedulingignoredduringexecution(),
                               field + ".requiredDuringSchedulingIgnoredDuringExecution", errors);
    }
    const auto& preferred = affinity.preferredduringschedulingignoredduringexecution();
    for (int i = 0; i < preferred.size(); ++i) {
        const std::string at =
            field_index(field + ".preferredDuringSchedulingIgnoredDuringExecution", i);
        check_weight(preferred[i].weight(), at, errors);
        check_term(preferred[i].preference(), at + ".preference", errors);
    }
}

void check_pod_term(const corev1::PodAffinityTerm& term, const std::string& field,
                    FieldErrors* errors) {
    validate_label_selector(term.labelselector(), field + ".labelSelector", errors);
    validate_label_selector(term.namespaceselector(), field + ".namespaceSelector", errors);
    for (int i = 0; i < term.namespaces_size(); ++i) {
        errors->invalid_all(field_index(field + ".namespace", i), term.namespaces(i),
                            check_dns1123_label(term.namespaces(i)));
    }
    if (term.topologykey().empty()) {
        errors->required(field + ".topologyKey", "can not be empty");
    } else {
        errors->invalid_all(field + ".topologyKey", term.topologykey(),
                            check_qualified_name(term.topologykey()));
    }
}

// PodAffinity and PodAntiAffinity.
template <class A>
void check_pod_affinity(const A& affinity, const std::string& field, FieldErrors* errors) {
    const auto& required = affinity.requiredduringschedulingignoredduringexecution();
    for (int i = 0; i < required.size(); ++i) {
        check_pod_term(
            required[i],
            field_index(field + ".requiredDuringSchedulingIgnoredDuringExecution", i), errors);
    }
    const auto& preferred = affinity.preferredduringschedulingignoredduringexecution();
    for (int i = 0; i < preferred.size(); ++i) {
        const std::string at =
            field_index(field + ".preferredDuringSchedulingIgnoredDuringExecution", i);
        check_weight(preferred[i].weight(), at, errors);
        check_pod_term(preferred[i].podaffinityterm(), at + ".podAffinityTerm", errors);
    }
}

void check_spread(const corev1::PodSpec& spec, const std::string& field, FieldErrors* errors) {
    std::set<std::pair<std::string, std::string>> seen;
    for (int i = 0; i < spec.topologyspreadconstraints_size(); ++i) {
        const auto& constraint = spec.topologyspreadconstraints(i);
        const std::string at = field_index(field, i);
        if (constraint.maxskew() <= 0) {
            errors->invalid(at + ".maxSkew", constraint.maxskew(), "must be greater than zero");
        }
        if (constraint.topologykey().empty()) {
            errors->required(at + ".topologyKey", "can not be empty");
        } else {
            errors->invalid_all(at + ".topologyKey", constraint.topologykey(),
                                check_qualified_name(constraint.topologykey()));
        }
        const std::string& action = constraint.whenunsatisfiable();
        if (action != "DoNotSchedule" && action != "ScheduleAnyway") {
            errors->not_supported(at + ".whenUnsatisfiable", action,
                                  {"DoNotSchedule", "ScheduleAnyway"});
        }
        if (!seen.emplace(constraint.topologykey(), action).second) {
            errors->duplicate(at + ".{topologyKey, whenUnsatisfiable}",
                              fmt::format("{{{}, {}}}", constraint.topologykey(), action));
        }
        if (constraint.has_mindomains() && constraint.mindomains() <= 0) {
            errors->invalid(at + ".minDomains", constraint.mindomains(),
                            "must be greater than zero");
        }
        validate_label_selector(constraint.labelselector(), at + ".labelSelector", errors);
    }
}

}  // namespace

void validate_label_selector(const metav1::LabelSelector& selector, const std::string& field,
                             FieldErrors* errors) {
    validate_labels(selector.matchlabels(), field + ".matchLabels", errors);
    for (int i = 0; i < selector.matchexpressions_size(); ++i) {
        const auto& term = selector.matchexpressions(i);
        const std::string at = field_index(field + ".matchExpressions", i);
        const std::string& op = term.operator_();
        if (op == "In" || op == "NotIn") {
            if (term.values_size() == 0) {
                errors->required(at + ".values",
                                 "must be specified when `operator` is 'In' or 'NotIn'");
            }
        } else if (op == "Exists" || op == "DoesNotExist") {
            if (term.values_size() > 0) {
                errors->forbidden(
                    at + ".values",
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
        } else {
            errors->invalid(at + ".operator", op, "not a valid selector operator");
        }
        errors->invalid_all(at + ".key", term.key(), check_qualified_name(term.key()));
        for (int j = 0; j < term.values_size(); ++j) {
            errors->invalid_all(field_index(at + ".values", j), term.values(j),
                                check_label_value(term.values(j)));
        }
    }
}

void validate_scheduling(const corev1::PodSpec& spec, const std::string& field,
                         FieldErrors* errors) {
    validate_labels(spec.nodeselector(), field + ".nodeSelector", errors);
    if (spec.has_affinity()) {
        const auto& affinity = spec.affinity();
        const std::string at = field + ".affinity";
        if (affinity.has_nodeaffinity()) {
            check_node_affinity(affinity.nodeaffinity(), at + ".nodeAffinity", errors);
        }
        if (affinity.has_podaffinity()) {
            check_pod_affinity(affinity.podaffinity(), at + ".podAffinity", errors);
        }
        if (affinity.has_podantiaffinity()) {
            check_pod_affinity(affinity.podantiaffinity(), at + ".podAntiAffinity", errors);
        }
    }
    for (int i = 0; i < spec.tolerations_size(); ++i) {
        check_toleration(spec.tolerations(i), field_index(field + ".tolerations", i), errors);
    }
    check_spread(spec, field + ".topologySpreadConstraints", errors);
    std::set<std::string> gates;
    for (int i = 0; i < spec.schedulinggates_size(); ++i) {
        const std::string& gate = spec.schedulinggates(i).name();
        const std::string at = field_index(field + ".schedulingGates", i);
        errors->invalid_all(at, gate, check_qualified_name(gate));
        if (!gates.insert(gate).second) errors->duplicate(at, gate);
    }
}

void validate_node_selector(const corev1::NodeSelector& selector, const std::string& field,
                            FieldErrors* errors) {
    const std::string at = field + ".nodeSelectorTerms";
    if (selector.nodeselectorterms_size() == 0) {
        errors->required(at, "must have at least one node selector term");
    }
    for (int i = 0; i < selector.nodeselectorterms_size(); ++i) {
        check_term(selector.nodeselectorterms(i), field_index(at, i), errors);
    }
}

}  // namespace sluice::registry
