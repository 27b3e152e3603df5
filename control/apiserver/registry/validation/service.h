// Validation of Services, in Kubernetes' order and words.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class Service;
}

namespace sluice::registry {

// Everything but metadata.
void validate_service(const ::k8s::io::api::core::v1::Service& service, FieldErrors* errors);
// What may not change, or only together with something else.
void validate_service_update(const ::k8s::io::api::core::v1::Service& service,
                             const ::k8s::io::api::core::v1::Service& old, FieldErrors* errors);
// status.loadBalancer.
void validate_load_balancer_status(const ::k8s::io::api::core::v1::Service& service,
                                   FieldErrors* errors);

}  // namespace sluice::registry
