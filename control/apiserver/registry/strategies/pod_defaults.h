// What Kubernetes fills into a Pod, and the quality of service that follows from its resources.
#pragma once

#include <string>

namespace k8s::io::api::core::v1 {
class Pod;
}

namespace sluice::registry {

void default_pod(::k8s::io::api::core::v1::Pod* pod);
// What kube-apiserver's admission adds at creation and update: tolerations, priority, the account's name.
void admit_pod(::k8s::io::api::core::v1::Pod* pod);
// "Guaranteed", "Burstable" or "BestEffort".
[[nodiscard]] std::string qos_class(const ::k8s::io::api::core::v1::Pod& pod);

}  // namespace sluice::registry
