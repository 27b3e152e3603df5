#include "control/apiserver/registry/strategies/workload.h"

#include <fmt/format.h>

#include <map>

#include "api/codec/selector.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"
#include "control/apiserver/registry/validation/pod.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace metav1 = ::sluice::codec::metav1;
using IntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;

constexpr std::int64_t kStringType = 1;
constexpr const char* kTemplate = "spec.template";

// The number in "25%"; -1 when the text is no percentage.
std::int64_t percent_of(const std::string& text) {
    constexpr std::size_t kMaxDigits = 9;
    if (text.size() < 2 || text.size() > kMaxDigits + 1 || text.back() != '%') return -1;
    std::int64_t out = 0;
    for (std::size_t i = 0; i + 1 < text.size(); ++i) {
        if (text[i] < '0' || text[i] > '9') return -1;
        out = out * 10 + (text[i] - '0');
    }
    return out;
}

std::string go_map_text(const google::protobuf::Map<std::string, std::string>& labels) {
    if (labels.empty()) return "map[string]string(nil)";
    const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
    std::string out = "map[string]string{";
    bool first = true;
    for (const auto& [key, value] : sorted) {
        if (!first) out += ", ";
        first = false;
        out += go_quote(key) + ":" + go_quote(value);
    }
    return out + "}";
}

bool is_empty(const metav1::LabelSelector& selector) {
    return selector.matchlabels().empty() && selector.matchexpressions_size() == 0;
}

template <class Get>
std::string join_containers(const corev1::PodTemplateSpec& pod_template, Get get) {
    std::string out;
    for (const auto& container : pod_template.spec().containers()) {
        if (!out.empty()) out += ',';
        out += get(container);
    }
    return out;
}

}  // namespace

void check_not_negative(std::int64_t value, const std::string& field, FieldErrors* errors) {
    if (value < 0) errors->invalid(field, value, "must be greater than or equal to 0");
}

void check_selector(const metav1::LabelSelector& selector, FieldErrors* errors) {
    validate_label_selector(selector, "spec.selector", errors);
    // An empty selector and none at all are the same in the normal form of an object.
    if (is_empty(selector)) errors->required("spec.selector");
}

void check_always_restarts(const corev1::PodTemplateSpec& pod_template, FieldErrors* errors) {
    if (pod_template.spec().restartpolicy() != "Always") {
        errors->not_supported("spec.template.spec.restartPolicy",
                              pod_template.spec().restartpolicy(), {"Always"});
    }
    if (pod_template.spec().has_activedeadlineseconds()) {
        errors->forbidden("spec.template.spec.activeDeadlineSeconds",
                          "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
}

void check_replica_template(const corev1::PodTemplateSpec& pod_template,
                            const metav1::LabelSelector& selector, FieldErrors* errors) {
    const auto parsed = codec::LabelSelector::from_proto(selector);
    const auto& labels = pod_template.metadata().labels();
    const auto lookup = [&labels](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(std::string(key));
        if (found == labels.end()) return std::nullopt;
        return found->second;
    };
    if (parsed && !is_empty(selector) && !parsed->matches(lookup)) {
        errors->invalid("spec.template.metadata.labels", go_label_map(labels),
                        "`selector` does not match template `labels`");
    }
    validate_pod_template(pod_template, kTemplate, errors);
    check_always_restarts(pod_template, errors);
}

void check_selector_unchanged(const metav1::LabelSelector& selector,
                              const metav1::LabelSelector& old, FieldErrors* errors) {
    const auto now = codec::LabelSelector::from_proto(selector);
    const auto was = codec::LabelSelector::from_proto(old);
    if (now && was && now->to_string() == was->to_string()) return;
    errors->invalid("spec.selector", go_selector(selector), "field is immutable");
}

void check_count_or_percent(const IntOrString& value, const std::string& field,
                            FieldErrors* errors) {
    if (value.type() != kStringType) {
        check_not_negative(value.intval(), field, errors);
    } else if (percent_of(value.strval()) < 0) {
        errors->invalid(field, value.strval(),
                        "a valid percent string must be a numeric string followed by an ending "
                        "'%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')");
    }
}

void check_at_most_all(const IntOrString& value, const std::string& field, FieldErrors* errors) {
    constexpr std::int64_t kAll = 100;
    if (value.type() == kStringType && percent_of(value.strval()) > kAll) {
        errors->invalid(field, value.strval(), "must not be greater than 100%");
    }
}

bool is_none(const IntOrString& value) {
    return value.type() == kStringType ? percent_of(value.strval()) == 0 : value.intval() == 0;
}

BadValue go_label_map(const google::protobuf::Map<std::string, std::string>& labels) {
    return BadValue::verbatim(go_map_text(labels));
}

BadValue go_selector(const metav1::LabelSelector& selector) {
    std::string expressions = "[]v1.LabelSelectorRequirement(nil)";
    if (selector.matchexpressions_size() > 0) {
        expressions = "[]v1.LabelSelectorRequirement{";
        for (int i = 0; i < selector.matchexpressions_size(); ++i) {
            const auto& term = selector.matchexpressions(i);
            if (i != 0) expressions += ", ";
            const std::vector<std::string> values(term.values().begin(), term.values().end());
            expressions += fmt::format(
                "v1.LabelSelectorRequirement{{Key:{}, Operator:{}, Values:{}}}",
                go_quote(term.key()), go_quote(term.operator_()),
                values.empty() ? std::string("[]string(nil)") : go_string_list(values));
        }
        expressions += "}";
    }
    return BadValue::verbatim(fmt::format("v1.LabelSelector{{MatchLabels:{}, MatchExpressions:{}}}",
                                          go_map_text(selector.matchlabels()), expressions));
}

void set_count(IntOrString* value, std::int32_t count) {
    value->set_type(0);
    value->set_intval(count);
    value->clear_strval();
}

void set_percent(IntOrString* value, const std::string& percent) {
    value->set_type(kStringType);
    value->clear_intval();
    value->set_strval(percent);
}

std::string selector_text(const metav1::LabelSelector& selector) {
    const auto parsed = codec::LabelSelector::from_proto(selector);
    return parsed ? parsed->to_string() : std::string();
}

std::string selector_cell(const metav1::LabelSelector& selector) {
    std::string text = selector_text(selector);
    return text.empty() ? "<none>" : text;
}

std::string container_names(const corev1::PodTemplateSpec& pod_template) {
    return join_containers(pod_template, [](const auto& container) { return container.name(); });
}

std::string container_images(const corev1::PodTemplateSpec& pod_template) {
    return join_containers(pod_template, [](const auto& container) { return container.image(); });
}

}  // namespace sluice::registry
