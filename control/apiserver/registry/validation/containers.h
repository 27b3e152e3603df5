// Validation of containers, init containers included, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class PodSpec;
}

namespace sluice::registry {

// Containers, init containers and what they share: names, host ports. `volumes`: the names that mounts may refer to;
// `field`: the path of the PodSpec.
void validate_containers(const ::k8s::io::api::core::v1::PodSpec& spec,
                         const std::set<std::string>& volumes, const std::string& field,
                         FieldErrors* errors);

// A user or group id of Linux.
void validate_linux_id(std::int64_t id, const std::string& field, FieldErrors* errors);

}  // namespace sluice::registry
