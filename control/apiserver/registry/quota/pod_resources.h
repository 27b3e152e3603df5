// What a whole Pod asks for: its containers together, or its largest init container, as the scheduler counts.
#pragma once

#include <map>
#include <string>

#include "api/codec/quantity.h"

namespace k8s::io::api::core::v1 {
class Pod;
}

namespace sluice::registry {

using Amounts = std::map<std::string, codec::Quantity>;

// Init containers that go on running count with the containers, and with the init containers after them.
// overhead: what the Pod's class costs is added, to limits where there is one.
[[nodiscard]] Amounts pod_requests(const ::k8s::io::api::core::v1::Pod& pod, bool overhead);
[[nodiscard]] Amounts pod_limits(const ::k8s::io::api::core::v1::Pod& pod, bool overhead);

}  // namespace sluice::registry
