// Validation of ephemeral containers, which are added to a Pod that runs and never changed, in
// Kubernetes' words. Pure and thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class Pod;
}

namespace sluice::registry {

void validate_ephemeral_containers(const ::k8s::io::api::core::v1::Pod& pod, FieldErrors* errors);
// Those that exist stay as they are.
void validate_ephemeral_update(const ::k8s::io::api::core::v1::Pod& pod,
                               const ::k8s::io::api::core::v1::Pod& old, FieldErrors* errors);

}  // namespace sluice::registry
