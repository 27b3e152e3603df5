// Single metrics of a HorizontalPodAutoscaler between autoscaling/v2 and the JSON that autoscaling/v1 keeps in
// annotations. Pure and thread-safe.
#pragma once

#include <boost/json/value.hpp>

#include <optional>

namespace k8s::io::api::autoscaling::v2 {
class MetricSpec;
class MetricStatus;
}  // namespace k8s::io::api::autoscaling::v2

namespace sluice::registry {

[[nodiscard]] boost::json::value metric_spec_v1(
    const ::k8s::io::api::autoscaling::v2::MetricSpec& metric);
[[nodiscard]] boost::json::value metric_status_v1(
    const ::k8s::io::api::autoscaling::v2::MetricStatus& metric);

// v1's JSON as that of v2; nullopt when it is no object. Values are checked by whoever decodes the result.
[[nodiscard]] std::optional<boost::json::value> metric_spec_v2(const boost::json::value& metric);
[[nodiscard]] std::optional<boost::json::value> metric_status_v2(const boost::json::value& metric);

}  // namespace sluice::registry
