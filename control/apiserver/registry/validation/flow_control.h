// Validation of FlowSchemas and PriorityLevelConfigurations, in Kubernetes' words: everything but metadata, and but
// what the mandatory ones must be. Pure and thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::flowcontrol::v1 {
class FlowSchema;
class PriorityLevelConfiguration;
}  // namespace k8s::io::api::flowcontrol::v1

namespace sluice::registry {

namespace flowv1 = ::k8s::io::api::flowcontrol::v1;

void validate_flow_schema(const flowv1::FlowSchema& object, FieldErrors* errors);
void validate_flow_schema_status(const flowv1::FlowSchema& object, FieldErrors* errors);
void validate_priority_level(const flowv1::PriorityLevelConfiguration& object,
                             FieldErrors* errors);
void validate_priority_level_status(const flowv1::PriorityLevelConfiguration& object,
                                    FieldErrors* errors);

}  // namespace sluice::registry
