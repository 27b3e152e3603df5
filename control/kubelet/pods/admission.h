// Whether the node can take a pod that is bound to it: what the scheduler should have seen, seen again. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "control/kubelet/pods/machine.h"

namespace k8s::io::api::core::v1 {
class Node;
}

namespace sluice::kubelet {

struct NodeRoom {
    std::int64_t cpu_milli = 0;
    std::int64_t memory_bytes = 0;
    std::int64_t pods = 0;
};

// others: the pods that hold room already. node: null before registration; then labels and taints are not looked at.
[[nodiscard]] std::optional<Parts::Refusal> admit_pod(const corev1::Pod& pod,
                                                      const std::vector<PodPointer>& others,
                                                      const NodeRoom& room,
                                                      const corev1::Node* node);

}  // namespace sluice::kubelet
