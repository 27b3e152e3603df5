// The rules of nodes' life cycle as functions of objects: conditions, taints, tolerations, zones.
// Pure and thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::controllers::nodes {

namespace corev1 = ::k8s::io::api::core::v1;

inline constexpr char kNotReadyTaint[] = "node.kubernetes.io/not-ready";
inline constexpr char kUnreachableTaint[] = "node.kubernetes.io/unreachable";
inline constexpr char kOutOfServiceTaint[] = "node.kubernetes.io/out-of-service";
inline constexpr char kNoSchedule[] = "NoSchedule";
inline constexpr char kNoExecute[] = "NoExecute";

// "True", "False", "Unknown"; empty without the condition.
[[nodiscard]] std::string condition_status(const corev1::Node& node, const std::string& type);
[[nodiscard]] inline bool is_ready(const corev1::Node& node) {
    return condition_status(node, "Ready") == "True";
}

// What a kubelet reports becomes Unknown, in status.conditions. False when it is all so already.
bool mark_unknown(corev1::Node* node, std::int64_t now_s);

// spec.taints as they ought to be: those of conditions and of spec.unschedulable by the node's
// state, all others as they are. evict: whether a node that is not ready gets its NoExecute taint;
// without, it loses it. nullopt: they are so already.
[[nodiscard]] std::optional<std::vector<corev1::Taint>> wanted_taints(const corev1::Node& node,
                                                                      bool evict,
                                                                      std::int64_t now_s);
// The NoExecute taint that the node's state calls for; null when it is ready.
[[nodiscard]] const char* eviction_taint(const corev1::Node& node);

[[nodiscard]] bool tolerates(const corev1::Toleration& toleration, const corev1::Taint& taint);

// When a pod must leave a node with these taints, in seconds since 1970: now_s or earlier for at
// once; nullopt for never. The time runs from the taint's timeAdded, so that a restart of the
// controller does not lengthen it; for a taint without one, as kubectl taint makes it, from since_s.
[[nodiscard]] std::optional<std::int64_t> eviction_time(const corev1::Pod& pod,
                                                        const std::vector<corev1::Taint>& taints,
                                                        std::int64_t now_s, std::int64_t since_s);

// How much of a zone is lost, and what that does to evictions (kube-controller-manager's rules and
// defaults).
enum class ZoneState { kNormal, kPartialDisruption, kFullDisruption };
inline constexpr double kUnhealthyZoneThreshold = 0.55;
inline constexpr int kLargeZone = 50;
inline constexpr std::int64_t kEvictionIntervalS = 10;            // 0.1 nodes a second
inline constexpr std::int64_t kSecondaryEvictionIntervalS = 100;  // 0.01 in a large zone that is partly lost
[[nodiscard]] ZoneState zone_state(int ready, int not_ready);
// Seconds between two nodes whose pods are evicted; nullopt: none are.
[[nodiscard]] std::optional<std::int64_t> eviction_interval_s(ZoneState state, int nodes);
// "region:zone" as far as labels tell.
[[nodiscard]] std::string zone_of(const corev1::Node& node);

}  // namespace sluice::controllers::nodes
