// Validation of a HorizontalPodAutoscaler's spec, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::autoscaling::v2 {
class HorizontalPodAutoscalerSpec;
}

namespace sluice::registry {

void validate_autoscaler_spec(
    const ::k8s::io::api::autoscaling::v2::HorizontalPodAutoscalerSpec& spec, FieldErrors* errors);

}  // namespace sluice::registry
