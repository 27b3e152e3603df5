// Validation of probes and lifecycle hooks, in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::core::v1 {
class Lifecycle;
class Probe;
}  // namespace k8s::io::api::core::v1

namespace sluice::registry {

enum class ProbeKind { kLiveness, kReadiness, kStartup };

void validate_probe(const ::k8s::io::api::core::v1::Probe& probe, ProbeKind kind,
                    const std::string& field, FieldErrors* errors);
// grace_seconds: the Pod's, which a sleep hook must fit into.
void validate_lifecycle(const ::k8s::io::api::core::v1::Lifecycle& lifecycle,
                        std::int64_t grace_seconds, const std::string& field, FieldErrors* errors);

}  // namespace sluice::registry
