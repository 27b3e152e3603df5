// What Kubernetes fills into Pods and Pod templates, and what its default admission adds. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "control/apiserver/registry/rest/status_error.h"

namespace k8s::io::api::core::v1 {
class Pod;
class PodTemplateSpec;
}  // namespace k8s::io::api::core::v1

namespace sluice::registry {

// How long Pods that say nothing about it stay on a lost node.
struct DefaultTolerations {
    std::int64_t not_ready_s = 300;
    std::int64_t unreachable_s = 300;
};

// A Pod has some defaults that templates leave open: service links, host ports, requests from limits.
void default_pod(::k8s::io::api::core::v1::Pod* pod);
void default_pod_template(::k8s::io::api::core::v1::PodTemplateSpec* pod_template);

// The service account, the priority of the class, and at creation and update the default tolerations. 403 for a
// priority class that does not exist.
Answer<void> admit_pod(const codec::KindInfo& kind, const DefaultTolerations& tolerations,
                       bool creation, ::k8s::io::api::core::v1::Pod* pod);
// BestEffort, Burstable or Guaranteed.
[[nodiscard]] std::string qos_class(const ::k8s::io::api::core::v1::Pod& pod);

}  // namespace sluice::registry
