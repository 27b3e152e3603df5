// Deleting a pod that must go for no reason of its own: its status says why before it goes.
#pragma once

#include <cstdint>
#include <optional>

#include "api/base/result.h"
#include "api/client/client.h"

namespace k8s::io::api::core::v1 {
class Pod;
}

namespace sluice::controllers::nodes {

enum class DepartureReason { kTaint, kNodeGone, kOutOfService, kUnscheduled };

// Sets the condition DisruptionTarget (but for pods that were never scheduled); with a grace of 0,
// for which no kubelet will report an end, also the phase Failed. Then deletes the pod, if it still
// is that one. A pod that is gone is a success.
Result<void> send_away(client::Client& client, const ::k8s::io::api::core::v1::Pod& pod,
                       DepartureReason reason, std::optional<std::int64_t> grace_s,
                       std::int64_t now_s);

}  // namespace sluice::controllers::nodes
