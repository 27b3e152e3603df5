#include <boost/json/object.hpp>

#include <string>
#include <string_view>

#include "api/codec/json.h"
#include "api/kubernetes/autoscaling/v2/horizontalpodautoscaler.pb.h"
#include "control/apiserver/registry/conversion/autoscaling_metrics_private.h"

namespace sluice::registry {

namespace {

namespace v2 = ::k8s::io::api::autoscaling::v2;
namespace json = ::boost::json;

// One object under construction: members in the order of calls, absent values left out.
class Members {
public:
    explicit Members(const json::object& from) : from_(from) {}

    // Moves `from` (a path of up to two names) to `to`; `fallback`: what stands there when it is absent.
    Members& move(std::string_view to, std::string_view outer, std::string_view inner = {},
                  const json::value* fallback = nullptr) {
        const json::value* found = from_.if_contains(outer);
        if (found != nullptr && !inner.empty()) {
            const auto* object = found->if_object();
            found = object == nullptr ? nullptr : object->if_contains(inner);
        }
        if (found == nullptr || found->is_null()) found = fallback;
        if (found != nullptr) out_[to] = *found;
        return *this;
    }
    [[nodiscard]] json::object take() { return std::move(out_); }

private:
    const json::object& from_;
    json::object out_;
};

// A quantity that is no pointer in Go's struct.
const json::value& zero() {
    static const json::value value = "0";
    return value;
}

const json::value& none() {
    static const json::value value = "";
    return value;
}

// `now`: "target" in a spec, "current" in a status; the v1 names begin with it.
struct Words {
    std::string_view now;
    std::string_view value;                // targetValue
    std::string_view average_value;        // targetAverageValue
    std::string_view average_utilization;  // targetAverageUtilization
    bool status;
};
constexpr Words kSpec{"target", "targetValue", "targetAverageValue", "targetAverageUtilization",
                      false};
constexpr Words kStatus{"current", "currentValue", "currentAverageValue",
                        "currentAverageUtilization", true};

json::object source_to_v1(std::string_view source, const json::object& from, const Words& words) {
    const json::value* always = words.status ? &zero() : nullptr;
    Members out(from);
    if (source == "object") {
        out.move("target", "describedObject")
            .move("metricName", "metric", "name", &none())
            .move(words.value, words.now, "value", &zero())
            .move("selector", "metric", "selector")
            .move("averageValue", words.now, "averageValue");
    } else if (source == "pods") {
        out.move("metricName", "metric", "name", &none())
            .move(words.average_value, words.now, "averageValue", &zero())
            .move("selector", "metric", "selector");
    } else if (source == "external") {
        out.move("metricName", "metric", "name", &none())
            .move("metricSelector", "metric", "selector")
            .move(words.value, words.now, "value", always)
            .move(words.average_value, words.now, "averageValue");
    } else {
        out.move("name", "name", {}, &none())
            .move(words.average_utilization, words.now, "averageUtilization")
            .move(words.average_value, words.now, "averageValue", always)
            .move("container", "container");
    }
    return out.take();
}

json::value to_v1(const json::value& metric, const Words& words) {
    json::object out;
    for (const auto& [key, member] : metric.as_object()) {
        if (const auto* source = member.if_object()) {
            out[key] = source_to_v1(key, *source, words);
        } else {
            out[key] = member;
        }
    }
    return out;
}

// What autoscaling/v2 says outright, and v1 by which of its members are there.
std::string_view target_type(std::string_view source, const json::object& from) {
    const auto has = [&from](std::string_view name) {
        const auto* found = from.if_contains(name);
        return found != nullptr && !found->is_null();
    };
    if (source == "object") return has("averageValue") ? "AverageValue" : "Value";
    if (source == "pods") return "AverageValue";
    if (source == "external") return has("targetValue") ? "Value" : "AverageValue";
    return has("targetAverageUtilization") ? "Utilization" : "AverageValue";
}

json::object source_to_v2(std::string_view source, const json::object& from, const Words& words) {
    Members metric(from);
    Members now(from);
    Members out(from);
    const json::value* always = words.status ? &zero() : nullptr;
    if (source == "object") {
        metric.move("name", "metricName").move("selector", "selector");
        now.move("value", words.value, {}, &zero()).move("averageValue", "averageValue");
        out.move("describedObject", "target");
    } else if (source == "pods") {
        metric.move("name", "metricName").move("selector", "selector");
        now.move("averageValue", words.average_value, {}, &zero());
    } else if (source == "external") {
        metric.move("name", "metricName").move("selector", "metricSelector");
        now.move("value", words.value, {}, always).move("averageValue", words.average_value);
    } else {
        out.move("name", "name").move("container", "container");
        now.move("averageValue", words.average_value, {}, always)
            .move("averageUtilization", words.average_utilization);
    }
    json::object object = out.take();
    json::object values = now.take();
    if (!words.status) values["type"] = target_type(source, from);
    object[words.now] = std::move(values);
    if (json::object names = metric.take(); !names.empty()) object["metric"] = std::move(names);
    return object;
}

std::optional<json::value> to_v2(const json::value& metric, const Words& words) {
    const auto* object = metric.if_object();
    if (object == nullptr) return std::nullopt;
    json::object out;
    for (const auto& [key, member] : *object) {
        if (const auto* source = member.if_object()) {
            out[key] = source_to_v2(key, *source, words);
        } else {
            out[key] = member;
        }
    }
    return out;
}

}  // namespace

json::value metric_spec_v1(const v2::MetricSpec& metric) {
    return to_v1(codec::to_json_value(metric), kSpec);
}

json::value metric_status_v1(const v2::MetricStatus& metric) {
    return to_v1(codec::to_json_value(metric), kStatus);
}

std::optional<json::value> metric_spec_v2(const json::value& metric) {
    return to_v2(metric, kSpec);
}

std::optional<json::value> metric_status_v2(const json::value& metric) {
    return to_v2(metric, kStatus);
}

}  // namespace sluice::registry
