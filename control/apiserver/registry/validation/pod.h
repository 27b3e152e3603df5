// Validation of Pods: a core of Kubernetes' rules, in its words.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class Pod;
}

namespace sluice::registry {

// Everything but metadata.
void validate_pod(const ::k8s::io::api::core::v1::Pod& pod, FieldErrors* errors);
// A Pod's spec is fixed but for a few fields.
void validate_pod_update(const ::k8s::io::api::core::v1::Pod& pod,
                         const ::k8s::io::api::core::v1::Pod& old, FieldErrors* errors);

}  // namespace sluice::registry
