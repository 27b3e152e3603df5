// Whether a Pod keeps to the Pod Security Standards, and what of it does not, in Kubernetes' words. Pure.
#pragma once

#include <string>
#include <vector>

#include "control/apiserver/admission/pod_security/policy.h"

namespace k8s::io::api::core::v1 {
class PodSpec;
}
namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class ObjectMeta;
}

namespace sluice::admission::pod_security {

struct Violation {
    std::string reason;  // "hostPath volumes"
    std::string detail;  // "volume \"data\""
};

// In the order of Kubernetes: of the baseline by name, then of what is restricted by name.
[[nodiscard]] std::vector<Violation> evaluate(const Standard& standard,
                                              const ::k8s::io::apimachinery::pkg::apis::meta::v1::ObjectMeta& meta,
                                              const ::k8s::io::api::core::v1::PodSpec& spec);

// "privileged (container \"a\" must not ...), hostPort (...)", and without what is in parentheses.
[[nodiscard]] std::string detailed(const std::vector<Violation>& violations);
[[nodiscard]] std::string reasons(const std::vector<Violation>& violations);

}  // namespace sluice::admission::pod_security
