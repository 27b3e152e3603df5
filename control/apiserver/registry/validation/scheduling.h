// Validation of what decides where a Pod may run: tolerations, affinity, topology spread, label selectors; in
// Kubernetes' words. Pure and thread-safe.
#pragma once

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class NodeSelector;
class PodSpec;
}
namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class LabelSelector;
}

namespace sluice::registry {

// `field`: the path of the PodSpec.
void validate_scheduling(const ::k8s::io::api::core::v1::PodSpec& spec, const std::string& field,
                         FieldErrors* errors);

// Terms of which a node must meet one.
void validate_node_selector(const ::k8s::io::api::core::v1::NodeSelector& selector,
                            const std::string& field, FieldErrors* errors);

void validate_label_selector(
    const ::k8s::io::apimachinery::pkg::apis::meta::v1::LabelSelector& selector,
    const std::string& field, FieldErrors* errors);

}  // namespace sluice::registry
