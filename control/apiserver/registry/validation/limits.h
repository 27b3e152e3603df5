// Validation of LimitRanges and ResourceQuotas, in Kubernetes' words. Metadata is checked elsewhere. Pure and
// thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class LimitRange;
class ResourceQuota;
}  // namespace k8s::io::api::core::v1

namespace sluice::registry {

void validate_limit_range(const ::k8s::io::api::core::v1::LimitRange& range, FieldErrors* errors);
void validate_quota(const ::k8s::io::api::core::v1::ResourceQuota& quota, FieldErrors* errors);
void validate_quota_status(const ::k8s::io::api::core::v1::ResourceQuota& quota,
                           FieldErrors* errors);
// spec.scopes as Go's %#v writes them.
[[nodiscard]] BadValue go_scopes(const ::k8s::io::api::core::v1::ResourceQuota& quota);

}  // namespace sluice::registry
