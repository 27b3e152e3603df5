// Validation of what a PersistentVolume is made of, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class PersistentVolumeSource;
}

namespace sluice::registry {

// Exactly one source, with what it needs. `field`: the path of the PersistentVolumeSpec.
void validate_volume_source(const ::k8s::io::api::core::v1::PersistentVolumeSource& source,
                            const std::string& field, FieldErrors* errors);

}  // namespace sluice::registry
