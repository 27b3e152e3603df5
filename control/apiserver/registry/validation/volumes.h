// Validation of volumes, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class PodSpec;
}

namespace sluice::registry {

// Returns the volumes' names. `field`: the path of the PodSpec.
std::set<std::string> validate_volumes(const ::k8s::io::api::core::v1::PodSpec& spec,
                                       const std::string& field, FieldErrors* errors);

// Whether one of the path's segments is "..".
[[nodiscard]] bool has_backsteps(std::string_view path);

// A relative path that does not climb out of where it begins.
void validate_descending_path(const std::string& path, const std::string& field,
                              FieldErrors* errors);

}  // namespace sluice::registry
