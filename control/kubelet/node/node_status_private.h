// The Node's status from what the machine and the runtime say. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/kubelet/node/machine_private.h"
#include "control/kubelet/node/node.h"

namespace k8s::io::api::core::v1 {
class NodeStatus;
}

namespace sluice::kubelet {

// Below these the node is under pressure; kubelet's hard eviction thresholds, which allocatable
// leaves out too.
inline constexpr std::int64_t kMinMemoryBytes = 100LL << 20;
inline constexpr std::int64_t kMinStoragePercent = 10;
inline constexpr std::int64_t kMinInodesPercent = 5;
inline constexpr std::int64_t kMinPidsPercent = 1;
// Pressure is said to be over when it has not been seen for that long (kubelet's
// eviction-pressure-transition-period).
inline constexpr std::uint32_t kPressureOverMs = 300'000;

struct Pressure {
    bool memory = false;
    bool disk = false;
    bool pids = false;
};
[[nodiscard]] Pressure pressure_of(const Machine& machine);

// "v1.32.0+sluice.0.1.0"
[[nodiscard]] std::string kubelet_version();
[[nodiscard]] std::int64_t allocatable_memory(const Machine& machine, const NodeOptions& options);
[[nodiscard]] std::int64_t allocatable_cpu(const Machine& machine, const NodeOptions& options);

struct NewStatus {
    // Labels that the kubelet keeps right, and what the options add.
    std::map<std::string, std::string> labels;
    std::vector<std::string> events;  // reasons, of conditions that changed
};

// Fills status; before: as the server has it. Times of transition are kept where the condition's
// status is the same. Conditions of others stay.
NewStatus make_status(const NodeOptions& options, const Machine& machine, const Pressure& pressure,
                      const RuntimeState& runtime, std::int64_t now_s,
                      const corev1::NodeStatus& before, corev1::NodeStatus* status);
// Whether they differ in more than the times of heartbeats.
[[nodiscard]] bool is_status_changed(const corev1::NodeStatus& before, const corev1::NodeStatus& after);

[[nodiscard]] std::map<std::string, std::string> node_labels(const NodeOptions& options);
// Labels in kubernetes.io and k8s.io belong to Kubernetes but for a few; kInvalidArgument names the
// first other one.
Result<void> check_labels(const std::map<std::string, std::string>& labels);

}  // namespace sluice::kubelet
