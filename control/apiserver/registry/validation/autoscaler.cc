#include "control/apiserver/registry/validation/autoscaler.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "api/kubernetes/autoscaling/v2/horizontalpodautoscaler.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::registry {

namespace {

namespace v2 = ::k8s::io::api::autoscaling::v2;

constexpr std::int32_t kMaxStabilizationSeconds = 3600;
constexpr std::int32_t kMaxPeriodSeconds = 1800;

void check_segment(const std::string& value, const std::string& field, std::string_view missing,
                   FieldErrors* errors) {
    if (value.empty()) {
        errors->required(field, missing);
        return;
    }
    errors->invalid_all(field, value, check_path_segment(value));
}

void check_reference(const v2::CrossVersionObjectReference& reference, const std::string& field,
                     FieldErrors* errors) {
    check_segment(reference.kind(), field + ".kind", "", errors);
    check_segment(reference.name(), field + ".name", "", errors);
}

template <class T>
void check_positive(const T& value, const std::string& field, FieldErrors* errors) {
    const auto parsed = codec::Quantity::parse(value.string());
    if (!parsed || parsed->is_negative() || parsed->is_zero()) {
        errors->invalid(field, go_quantity(parsed ? *parsed : codec::Quantity()),
                        "must be positive");
    }
}

void check_target(const v2::MetricTarget& target, const std::string& field, FieldErrors* errors) {
    const std::string& type = target.type();
    if (type.empty()) errors->required(field + ".type", "must specify a metric target type");
    if (type != "Utilization" && type != "Value" && type != "AverageValue") {
        errors->invalid(field + ".type", type, "must be either Utilization, Value, or AverageValue");
    }
    if (target.has_value()) check_positive(target.value(), field + ".value", errors);
    if (target.has_averagevalue()) {
        check_positive(target.averagevalue(), field + ".averageValue", errors);
    }
    if (target.has_averageutilization() && target.averageutilization() < 1) {
        errors->invalid(field + ".averageUtilization", target.averageutilization(),
                        "must be greater than 0");
    }
}

void check_identifier(const v2::MetricIdentifier& metric, const std::string& field,
                      FieldErrors* errors) {
    check_segment(metric.name(), field + ".name", "must specify a metric name", errors);
}

void check_value_or_average(const v2::MetricTarget& target, const std::string& field,
                            FieldErrors* errors) {
    if (target.has_value() || target.has_averagevalue()) return;
    errors->required(field + ".averageValue",
                     "must set either a target value for metric or a per-pod target");
}

void check_source(const v2::ObjectMetricSource& source, const std::string& field,
                  FieldErrors* errors) {
    check_reference(source.describedobject(), field + ".describedObject", errors);
    check_identifier(source.metric(), field + ".metric", errors);
    check_target(source.target(), field + ".target", errors);
    check_value_or_average(source.target(), field + ".target", errors);
}

void check_source(const v2::ExternalMetricSource& source, const std::string& field,
                  FieldErrors* errors) {
    check_identifier(source.metric(), field + ".metric", errors);
    check_target(source.target(), field + ".target", errors);
    check_value_or_average(source.target(), field + ".target", errors);
    if (source.target().has_value() && source.target().has_averagevalue()) {
        errors->forbidden(field + ".target.value",
                          "may not set both a target value for metric and a per-pod target");
    }
}

void check_source(const v2::PodsMetricSource& source, const std::string& field,
                  FieldErrors* errors) {
    check_identifier(source.metric(), field + ".metric", errors);
    check_target(source.target(), field + ".target", errors);
    const auto value = codec::Quantity::parse(source.target().averagevalue().string());
    if (!source.target().has_averagevalue() || !value || value->is_negative() || value->is_zero()) {
        errors->required(field + ".target.averageValue",
                         "must specify a positive target averageValue");
    }
}

void check_resource_target(const v2::MetricTarget& target, const std::string& field,
                           FieldErrors* errors) {
    check_target(target, field + ".target", errors);
    if (!target.has_averageutilization() && !target.has_averagevalue()) {
        errors->required(field + ".target.averageUtilization",
                         "must set either a target raw value or a target utilization");
    }
    if (target.has_averageutilization() && target.has_averagevalue()) {
        errors->forbidden(field + ".target.averageValue",
                          "may not set both a target raw value and a target utilization");
    }
}

void check_source(const v2::ResourceMetricSource& source, const std::string& field,
                  FieldErrors* errors) {
    if (source.name().empty()) errors->required(field + ".name", "must specify a resource name");
    check_resource_target(source.target(), field, errors);
}

void check_source(const v2::ContainerResourceMetricSource& source, const std::string& field,
                  FieldErrors* errors) {
    if (source.name().empty()) errors->required(field + ".name", "must specify a resource name");
    if (source.container().empty()) {
        errors->required(field + ".container", "must specify a container");
    }
    check_resource_target(source.target(), field, errors);
}

void check_metric(const v2::MetricSpec& metric, const std::string& field, FieldErrors* errors) {
    const std::string& type = metric.type();
    if (type.empty()) errors->required(field + ".type", "must specify a metric source type");
    std::string wanted;
    for (const auto& [name, member] : {std::pair{"Object", "object"},
                                       {"External", "external"},
                                       {"Pods", "pods"},
                                       {"Resource", "resource"},
                                       {"ContainerResource", "containerResource"}}) {
        if (type == name) wanted = member;
    }
    if (wanted.empty()) {
        errors->not_supported(field + ".type", type,
                              {"ContainerResource", "External", "Object", "Pods", "Resource"});
    }
    std::vector<std::string> present;
    // Only the first that is there is looked into; the others are too many.
    const auto look = [&](bool there, const char* member, const auto& source) {
        if (!there) return;
        present.emplace_back(member);
        if (present.size() == 1) check_source(source, field_child(field, member), errors);
    };
    look(metric.has_object(), "object", metric.object());
    look(metric.has_external(), "external", metric.external());
    look(metric.has_pods(), "pods", metric.pods());
    look(metric.has_resource(), "resource", metric.resource());
    look(metric.has_containerresource(), "containerResource", metric.containerresource());
    bool found = false;
    for (const std::string& member : present) found = found || member == wanted;
    if (!wanted.empty() && !found) {
        errors->required(field_child(field, wanted),
                         "must populate information for the given metric source");
    }
    if (present.size() == 1) return;
    for (const std::string& member : present) {
        if (member == wanted) continue;
        errors->forbidden(field_child(field, member), "must populate the given metric source only");
    }
}

void check_policy(const v2::HPAScalingPolicy& policy, const std::string& field,
                  FieldErrors* errors) {
    if (policy.type() != "Pods" && policy.type() != "Percent") {
        errors->not_supported(field + ".type", policy.type(), {"Percent", "Pods"});
    }
    if (policy.value() <= 0) {
        errors->invalid(field + ".value", policy.value(), "must be greater than zero");
    }
    if (policy.periodseconds() <= 0) {
        errors->invalid(field + ".periodSeconds", policy.periodseconds(),
                        "must be greater than zero");
    }
    if (policy.periodseconds() > kMaxPeriodSeconds) {
        errors->invalid(field + ".periodSeconds", policy.periodseconds(),
                        fmt::format("must be less than or equal to {}", kMaxPeriodSeconds));
    }
}

void check_rules(const v2::HPAScalingRules& rules, const std::string& field, FieldErrors* errors) {
    const std::int32_t window = rules.stabilizationwindowseconds();
    if (window < 0) {
        errors->invalid(field + ".stabilizationWindowSeconds", window,
                        "must be greater than or equal to zero");
    }
    if (window > kMaxStabilizationSeconds) {
        errors->invalid(field + ".stabilizationWindowSeconds", window,
                        fmt::format("must be less than or equal to {}", kMaxStabilizationSeconds));
    }
    const std::string& select = rules.selectpolicy();
    if (rules.has_selectpolicy() && select != "Max" && select != "Min" && select != "Disabled") {
        errors->not_supported(field + ".selectPolicy", select, {"Disabled", "Max", "Min"});
    }
    if (rules.policies_size() == 0) {
        errors->required(field + ".policies", "must specify at least one Policy");
    }
    for (int i = 0; i < rules.policies_size(); ++i) {
        check_policy(rules.policies(i), field_index(field + ".policies", i), errors);
    }
}

}  // namespace

void validate_autoscaler_spec(const v2::HorizontalPodAutoscalerSpec& spec, FieldErrors* errors) {
    if (spec.has_minreplicas() && spec.minreplicas() < 1) {
        errors->invalid("spec.minReplicas", spec.minreplicas(),
                        "must be greater than or equal to 1");
    }
    if (spec.maxreplicas() < 1) {
        errors->invalid("spec.maxReplicas", spec.maxreplicas(), "must be greater than 0");
    }
    if (spec.has_minreplicas() && spec.maxreplicas() < spec.minreplicas()) {
        errors->invalid("spec.maxReplicas", spec.maxreplicas(),
                        "must be greater than or equal to `minReplicas`");
    }
    check_reference(spec.scaletargetref(), "spec.scaleTargetRef", errors);
    bool scales_without_pods = false;
    for (int i = 0; i < spec.metrics_size(); ++i) {
        const auto& metric = spec.metrics(i);
        check_metric(metric, field_index("spec.metrics", i), errors);
        scales_without_pods = scales_without_pods || metric.has_object() || metric.has_external();
    }
    if (spec.has_minreplicas() && spec.minreplicas() == 0 && !scales_without_pods) {
        errors->forbidden("spec.metrics",
                          "must specify at least one Object or External metric to support scaling "
                          "to zero replicas");
    }
    if (spec.behavior().has_scaleup()) {
        check_rules(spec.behavior().scaleup(), "spec.behavior.scaleUp", errors);
    }
    if (spec.behavior().has_scaledown()) {
        check_rules(spec.behavior().scaledown(), "spec.behavior.scaleDown", errors);
    }
}

}  // namespace sluice::registry
