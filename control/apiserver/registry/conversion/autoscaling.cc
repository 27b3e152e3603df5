// HorizontalPodAutoscaler: autoscaling/v2 is stored. autoscaling/v1 has one target for the CPU; the other metrics, the
// metrics of the status, the conditions and the behaviour are annotations there, as JSON, under the names and in the
// forms that kube-apiserver gives them.
#include <google/protobuf/message.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/kubernetes/autoscaling/v1/horizontalpodautoscaler.pb.h"
#include "api/kubernetes/autoscaling/v2/horizontalpodautoscaler.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/autoscaling_metrics_private.h"
#include "control/apiserver/registry/conversion/versions.h"

namespace sluice::registry {

namespace {

namespace v1 = ::k8s::io::api::autoscaling::v1;
namespace v2 = ::k8s::io::api::autoscaling::v2;
namespace json = ::boost::json;
using google::protobuf::Message;

constexpr const char* kMetrics = "autoscaling.alpha.kubernetes.io/metrics";
constexpr const char* kCurrentMetrics = "autoscaling.alpha.kubernetes.io/current-metrics";
constexpr const char* kConditions = "autoscaling.alpha.kubernetes.io/conditions";
constexpr const char* kBehavior = "autoscaling.alpha.kubernetes.io/behavior";
// What autoscaling/v1 always aimed at when nothing was said.
constexpr std::int32_t kDefaultCpuUtilization = 80;

template <class Object>
void drop_annotations(Object* object) {
    auto* annotations = object->mutable_metadata()->mutable_annotations();
    for (const char* name : {kMetrics, kCurrentMetrics, kConditions, kBehavior}) {
        annotations->erase(name);
    }
}

bool is_cpu(const v2::MetricSpec& metric) {
    return metric.type() == "Resource" && metric.has_resource() &&
           metric.resource().name() == "cpu";
}

void set_cpu_target(v2::MetricSpec* metric, std::int32_t percent) {
    metric->set_type("Resource");
    metric->mutable_resource()->set_name("cpu");
    metric->mutable_resource()->mutable_target()->set_type("Utilization");
    metric->mutable_resource()->mutable_target()->set_averageutilization(percent);
}

template <class From, class To>
void copy_reference(const From& from, To* to) {
    if (from.has_kind()) to->set_kind(from.kind());
    if (from.has_name()) to->set_name(from.name());
    if (from.has_apiversion()) to->set_apiversion(from.apiversion());
}

// What both versions have alike, in either direction.
template <class From, class To>
void copy_common(const From& from, To* to) {
    if (from.has_metadata()) *to->mutable_metadata() = from.metadata();
    const auto& spec = from.spec();
    if (from.has_spec()) {
        auto* out = to->mutable_spec();
        if (spec.has_scaletargetref()) {
            copy_reference(spec.scaletargetref(), out->mutable_scaletargetref());
        }
        if (spec.has_minreplicas()) out->set_minreplicas(spec.minreplicas());
        if (spec.has_maxreplicas()) out->set_maxreplicas(spec.maxreplicas());
    }
    if (!from.has_status()) return;
    const auto& status = from.status();
    auto* out = to->mutable_status();
    if (status.has_observedgeneration()) out->set_observedgeneration(status.observedgeneration());
    if (status.has_lastscaletime()) *out->mutable_lastscaletime() = status.lastscaletime();
    if (status.has_currentreplicas()) out->set_currentreplicas(status.currentreplicas());
    if (status.has_desiredreplicas()) out->set_desiredreplicas(status.desiredreplicas());
}

// The annotation's JSON if it is a list of objects; Kubernetes passes over what it cannot read.
const std::string* annotation(const codec::metav1::ObjectMeta& meta, const char* name) {
    const auto found = meta.annotations().find(name);
    return found == meta.annotations().end() ? nullptr : &found->second;
}

std::optional<json::array> annotated_list(const codec::metav1::ObjectMeta& meta,
                                          const char* name) {
    const std::string* text = annotation(meta, name);
    if (text == nullptr) return std::nullopt;
    auto value = codec::parse_json(*text);
    if (!value || !value->is_array()) return std::nullopt;
    return std::move(value->as_array());
}

// Reads every element, or nothing.
template <class Item>
bool read_items(const json::array& list, std::optional<json::value> (*convert)(const json::value&),
                google::protobuf::RepeatedPtrField<Item>* out) {
    google::protobuf::RepeatedPtrField<Item> items;
    for (const json::value& element : list) {
        const auto converted = convert(element);
        if (!converted || !codec::from_json_value(*converted, items.Add())) return false;
    }
    out->Swap(&items);
    return true;
}

std::optional<json::value> unchanged(const json::value& value) {
    if (!value.is_object()) return std::nullopt;
    return value;
}

// As the annotation has the behaviour, names begin with capitals: ScaleUp, StabilizationWindowSeconds.
json::value recapitalised(const json::value& value, bool capitals) {
    if (const auto* list = value.if_array()) {
        json::array out;
        for (const json::value& item : *list) out.push_back(recapitalised(item, capitals));
        return out;
    }
    const auto* object = value.if_object();
    if (object == nullptr) return value;
    json::object out;
    for (const auto& [key, member] : *object) {
        std::string name(key);
        const bool small = !name.empty() && name[0] >= 'a' && name[0] <= 'z';
        const bool large = !name.empty() && name[0] >= 'A' && name[0] <= 'Z';
        constexpr char kCaseBit = 'a' - 'A';
        if (capitals && small) name[0] = static_cast<char>(name[0] - kCaseBit);
        if (!capitals && large) name[0] = static_cast<char>(name[0] + kCaseBit);
        out[name] = recapitalised(member, capitals);
    }
    return out;
}

json::value rules_json(bool present, const v2::HPAScalingRules& rules) {
    if (!present) return nullptr;
    json::object out;
    out["StabilizationWindowSeconds"] = nullptr;
    if (rules.has_stabilizationwindowseconds()) {
        out["StabilizationWindowSeconds"] = rules.stabilizationwindowseconds();
    }
    out["SelectPolicy"] = nullptr;
    if (rules.has_selectpolicy()) out["SelectPolicy"] = rules.selectpolicy();
    out["Policies"] = nullptr;
    if (rules.policies_size() > 0) {
        json::array policies;
        for (const auto& policy : rules.policies()) {
            policies.push_back(recapitalised(codec::to_json_value(policy), true));
        }
        out["Policies"] = std::move(policies);
    }
    return out;
}

void read_behavior(const codec::metav1::ObjectMeta& meta, v2::HorizontalPodAutoscalerSpec* spec) {
    const std::string* text = annotation(meta, kBehavior);
    if (text == nullptr) return;
    const auto value = codec::parse_json(*text);
    if (!value || !value->is_object()) return;
    v2::HorizontalPodAutoscalerBehavior behavior;
    if (!codec::from_json_value(recapitalised(*value, false), &behavior)) return;
    if (behavior.has_scaleup() || behavior.has_scaledown()) *spec->mutable_behavior() = behavior;
}

void write_annotations(const v2::HorizontalPodAutoscaler& from, v1::HorizontalPodAutoscaler* to) {
    json::array metrics;
    for (const auto& metric : from.spec().metrics()) {
        const bool shown = is_cpu(metric) && metric.resource().target().has_averageutilization();
        if (!shown) metrics.push_back(metric_spec_v1(metric));
    }
    json::array current;
    for (const auto& metric : from.status().currentmetrics()) {
        current.push_back(metric_status_v1(metric));
    }
    json::array conditions;
    for (const auto& condition : from.status().conditions()) {
        conditions.push_back(codec::to_json_value(condition));
    }
    auto* annotations = to->mutable_metadata()->mutable_annotations();
    if (!metrics.empty()) (*annotations)[kMetrics] = codec::write_json(metrics);
    if (!current.empty()) (*annotations)[kCurrentMetrics] = codec::write_json(current);
    if (!conditions.empty()) (*annotations)[kConditions] = codec::write_json(conditions);
    if (!from.spec().has_behavior()) return;
    const auto& behavior = from.spec().behavior();
    json::object both;
    both["ScaleUp"] = rules_json(behavior.has_scaleup(), behavior.scaleup());
    both["ScaleDown"] = rules_json(behavior.has_scaledown(), behavior.scaledown());
    (*annotations)[kBehavior] = codec::write_json(both);
}

}  // namespace

Result<std::unique_ptr<Message>> autoscaler_v1_to_v2(const Message& object) {
    const auto& from = static_cast<const v1::HorizontalPodAutoscaler&>(object);
    auto out = std::make_unique<v2::HorizontalPodAutoscaler>();
    copy_common(from, out.get());
    auto* spec = out->mutable_spec();
    auto* metrics = spec->mutable_metrics();
    if (const auto others = annotated_list(from.metadata(), kMetrics)) {
        read_items(*others, metric_spec_v2, metrics);
    }
    if (from.spec().has_targetcpuutilizationpercentage()) {
        set_cpu_target(metrics->Add(), from.spec().targetcpuutilizationpercentage());
    }
    read_behavior(from.metadata(), spec);
    // The annotation knows more than the one number of v1's status.
    const auto current = annotated_list(from.metadata(), kCurrentMetrics);
    const bool known = current && read_items(*current, metric_status_v2,
                                             out->mutable_status()->mutable_currentmetrics());
    if (!known && from.status().has_currentcpuutilizationpercentage()) {
        auto* metric = out->mutable_status()->add_currentmetrics();
        metric->set_type("Resource");
        metric->mutable_resource()->set_name("cpu");
        metric->mutable_resource()->mutable_current()->set_averageutilization(
            from.status().currentcpuutilizationpercentage());
    }
    if (const auto conditions = annotated_list(from.metadata(), kConditions)) {
        read_items(*conditions, unchanged, out->mutable_status()->mutable_conditions());
    }
    // Here and not among v2's defaults, which cannot see what the annotations said.
    if (metrics->empty()) set_cpu_target(metrics->Add(), kDefaultCpuUtilization);
    drop_annotations(out.get());
    return std::unique_ptr<Message>(std::move(out));
}

std::unique_ptr<Message> autoscaler_v2_to_v1(const Message& object) {
    const auto& from = static_cast<const v2::HorizontalPodAutoscaler&>(object);
    auto out = std::make_unique<v1::HorizontalPodAutoscaler>();
    copy_common(from, out.get());
    drop_annotations(out.get());
    for (const auto& metric : from.spec().metrics()) {
        if (!is_cpu(metric)) continue;
        if (metric.resource().target().has_averageutilization()) {
            out->mutable_spec()->set_targetcpuutilizationpercentage(
                metric.resource().target().averageutilization());
        }
        break;
    }
    for (const auto& metric : from.status().currentmetrics()) {
        if (metric.type() == "Resource" && metric.resource().name() == "cpu" &&
            metric.resource().current().has_averageutilization()) {
            out->mutable_status()->set_currentcpuutilizationpercentage(
                metric.resource().current().averageutilization());
        }
    }
    write_annotations(from, out.get());
    return out;
}

}  // namespace sluice::registry
