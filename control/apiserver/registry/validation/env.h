// Validation of containers' environments and of references to fields, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class EnvFromSource;
class EnvVar;
class ObjectFieldSelector;
class ResourceFieldSelector;
}  // namespace k8s::io::api::core::v1

namespace sluice::registry {

void validate_env(
    const google::protobuf::RepeatedPtrField<::k8s::io::api::core::v1::EnvVar>& env,
    const std::string& field, FieldErrors* errors);
void validate_env_from(
    const google::protobuf::RepeatedPtrField<::k8s::io::api::core::v1::EnvFromSource>& sources,
    const std::string& field, FieldErrors* errors);

// A volume shows fewer fields of its Pod than an environment does, but whole maps of labels and annotations too.
enum class FieldUse { kEnvironment, kVolume };
void validate_field_ref(const ::k8s::io::api::core::v1::ObjectFieldSelector& ref, FieldUse use,
                        const std::string& field, FieldErrors* errors);
void validate_resource_ref(const ::k8s::io::api::core::v1::ResourceFieldSelector& ref,
                           FieldUse use, const std::string& field, FieldErrors* errors);

}  // namespace sluice::registry
