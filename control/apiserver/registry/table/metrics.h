// The cell that shows the metrics of a HorizontalPodAutoscaler.
#pragma once

#include <string>

namespace k8s::io::api::autoscaling::v2 {
class HorizontalPodAutoscaler;
}

namespace sluice::registry {

// "cpu: 43%/80%, 12/30 + 1 more...": what is, and what is wanted, of the first two metrics.
[[nodiscard]] std::string metrics_cell(
    const ::k8s::io::api::autoscaling::v2::HorizontalPodAutoscaler& object);

}  // namespace sluice::registry
