// Validation of NetworkPolicies, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::networking::v1 {
class NetworkPolicy;
}

namespace sluice::registry {

// Everything but metadata.
void validate_network_policy(const ::k8s::io::api::networking::v1::NetworkPolicy& policy,
                             FieldErrors* errors);

}  // namespace sluice::registry
