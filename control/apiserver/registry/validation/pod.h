// Validation of Pods and of the templates they are made from, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class Pod;
class PodSpec;
class PodTemplateSpec;
}  // namespace k8s::io::api::core::v1

namespace sluice::registry {

void validate_pod_spec(const ::k8s::io::api::core::v1::PodSpec& spec, const std::string& field,
                       FieldErrors* errors);
// Labels, annotations and spec.
void validate_pod_template(const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template,
                           const std::string& field, FieldErrors* errors);
// Everything but metadata.
void validate_pod(const ::k8s::io::api::core::v1::Pod& pod, FieldErrors* errors);
// A Pod's spec is fixed but for a few fields.
void validate_pod_update(const ::k8s::io::api::core::v1::Pod& pod,
                         const ::k8s::io::api::core::v1::Pod& old, FieldErrors* errors);

}  // namespace sluice::registry
