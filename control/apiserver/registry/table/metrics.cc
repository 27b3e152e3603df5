#include "control/apiserver/registry/table/metrics.h"

#include <fmt/format.h>

#include "api/kubernetes/autoscaling/v2/horizontalpodautoscaler.pb.h"
#include "api/codec/quantity.h"

namespace sluice::registry {

namespace {

namespace v2 = ::k8s::io::api::autoscaling::v2;

constexpr int kShown = 2;
constexpr const char* kUnknown = "<unknown>";

template <class T>
std::string text(bool present, const T& quantity) {
    if (!present) return kUnknown;
    const auto parsed = codec::Quantity::parse(quantity.string());
    return parsed ? parsed->to_string() : quantity.string();
}

std::string average(const v2::MetricValueStatus& current) {
    return text(current.has_averagevalue(), current.averagevalue());
}

std::string value(const v2::MetricValueStatus& current) {
    return text(current.has_value(), current.value());
}

std::string average(const v2::MetricTarget& target) {
    return text(target.has_averagevalue(), target.averagevalue());
}

// Of a metric that has a value for everything, or one for each Pod.
std::string value_or_average(const v2::MetricTarget& target, const v2::MetricValueStatus& current) {
    if (target.has_averagevalue()) {
        return fmt::format("{}/{} (avg)", average(current), average(target));
    }
    return fmt::format("{}/{}", value(current), text(target.has_value(), target.value()));
}

std::string resource(const std::string& name, const v2::MetricTarget& target,
                     const v2::MetricValueStatus& current) {
    if (target.has_averagevalue()) {
        return fmt::format("{}: {}/{}", name, average(current), average(target));
    }
    const std::string now = current.has_averageutilization()
                                ? fmt::format("{}%", current.averageutilization())
                                : kUnknown;
    const std::string wanted = target.has_averageutilization()
                                   ? fmt::format("{}%", target.averageutilization())
                                   : "<auto>";
    return fmt::format("{}: {}/{}", name, now, wanted);
}

std::string metric_text(const v2::MetricSpec& spec, const v2::MetricStatus& status) {
    const std::string& type = spec.type();
    if (type == "External") {
        return value_or_average(spec.external().target(), status.external().current());
    }
    if (type == "Object") {
        return value_or_average(spec.object().target(), status.object().current());
    }
    if (type == "Pods") {
        return fmt::format("{}/{}", average(status.pods().current()),
                           average(spec.pods().target()));
    }
    if (type == "Resource") {
        return resource(spec.resource().name(), spec.resource().target(),
                        status.resource().current());
    }
    if (type == "ContainerResource") {
        return resource(spec.containerresource().name(), spec.containerresource().target(),
                        status.containerresource().current());
    }
    return "<unknown type>";
}

}  // namespace

std::string metrics_cell(const v2::HorizontalPodAutoscaler& object) {
    const auto& specs = object.spec().metrics();
    const auto& statuses = object.status().currentmetrics();
    if (specs.empty()) return "<none>";
    std::string out;
    for (int i = 0; i < specs.size() && i < kShown; ++i) {
        if (i != 0) out += ", ";
        out += metric_text(specs[i], i < statuses.size() ? statuses[i]
                                                         : v2::MetricStatus::default_instance());
    }
    if (specs.size() > kShown) out += fmt::format(" + {} more...", specs.size() - kShown);
    return out;
}

}  // namespace sluice::registry
