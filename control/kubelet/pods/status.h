// The pod's status from what is known of it: phase, conditions, container statuses. Pure.
#pragma once

#include <cstdint>

#include "control/kubelet/pods/sandbox_config.h"
#include "control/kubelet/pods/types.h"

namespace sluice::kubelet {

// Whether an ended container gets another life under the pod's restart policy.
[[nodiscard]] bool should_restart(const corev1::Pod& pod, const ContainerEntry& container);
// Whether the pod is being ended for good: deleted, or failed by decision.
[[nodiscard]] bool is_ending(const PodEntry& entry);
// All containers have ended and none will run again.
[[nodiscard]] bool is_complete(const PodEntry& entry);

// REQUIRES: the entry's mutex is held. Transition times are kept from base, the status as last known at the server, and
// conditions of others are passed on.
[[nodiscard]] corev1::PodStatus make_status(const PodEntry& entry, const NodeSettings& node,
                                            const corev1::PodStatus& base, std::int64_t now_ms);

}  // namespace sluice::kubelet
