// Validation of PersistentVolumes and PersistentVolumeClaims, in Kubernetes' words. Metadata is
// checked elsewhere. Pure and thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class PersistentVolume;
class PersistentVolumeClaim;
}  // namespace k8s::io::api::core::v1

namespace sluice::registry {

void validate_volume(const ::k8s::io::api::core::v1::PersistentVolume& volume, FieldErrors* errors);
void validate_claim(const ::k8s::io::api::core::v1::PersistentVolumeClaim& claim,
                    FieldErrors* errors);
// What a claim was made with is fixed; once bound, more room may be asked for.
void validate_claim_update(const ::k8s::io::api::core::v1::PersistentVolumeClaim& claim,
                           const ::k8s::io::api::core::v1::PersistentVolumeClaim& old,
                           FieldErrors* errors);

}  // namespace sluice::registry
