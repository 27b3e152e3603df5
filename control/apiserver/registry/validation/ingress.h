// Validation of Ingresses and IngressClasses, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::networking::v1 {
class Ingress;
class IngressClass;
}  // namespace k8s::io::api::networking::v1

namespace sluice::registry {

// Everything but metadata. old: null at creation; what an old object had wrong in names of Secrets and behind
// wildcards may stay, as it was let in before it was checked.
void validate_ingress(const ::k8s::io::api::networking::v1::Ingress& ingress,
                      const ::k8s::io::api::networking::v1::Ingress* old, FieldErrors* errors);
void validate_ingress_status(const ::k8s::io::api::networking::v1::Ingress& ingress,
                             FieldErrors* errors);
// Everything but metadata.
void validate_ingress_class(const ::k8s::io::api::networking::v1::IngressClass& ingress_class,
                            FieldErrors* errors);

}  // namespace sluice::registry
