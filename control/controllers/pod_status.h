// What controllers read off pods: activity, readiness, availability, and which of several pods is
// missed least.
// Pure; times are Unix.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace k8s::io::api::core::v1 {
class Pod;
class PodTemplateSpec;
}  // namespace k8s::io::api::core::v1
namespace k8s::io::apimachinery::pkg::util::intstr {
class IntOrString;
}

namespace sluice::controllers {

using Pod = ::k8s::io::api::core::v1::Pod;
using PodPtr = std::shared_ptr<const Pod>;
using Pods = std::vector<PodPtr>;

inline constexpr std::int64_t kSecondNs = 1'000'000'000;
inline constexpr char kDeletionCostAnnotation[] = "controller.kubernetes.io/pod-deletion-cost";

[[nodiscard]] bool is_deleting(const Pod& pod);
// Neither ended nor being deleted.
[[nodiscard]] bool is_active(const Pod& pod);
// Being deleted while its containers may still run.
[[nodiscard]] bool is_terminating(const Pod& pod);
[[nodiscard]] bool is_ready(const Pod& pod);
// When it became ready, in seconds; nullopt when it is not.
[[nodiscard]] std::optional<std::int64_t> ready_since(const Pod& pod);
// Ready for that long.
[[nodiscard]] bool is_available(const Pod& pod, int min_ready_seconds, std::int64_t now_ns);
// Nanoseconds until the next of the pods that are ready becomes available; nullopt when none will.
[[nodiscard]] std::optional<std::int64_t> next_available_ns(const Pods& pods, int min_ready_seconds,
                                                            std::int64_t now_ns);

// Sorts so that the pods to delete first come first: unassigned, pending, not ready, of lower
// deletion cost, beside more pods of theirs on their node (related: counts by node name), ready for
// a shorter time, restarted more often, newer. Times are compared by the power of two they lie in,
// as Kubernetes does, so that age alone does not always choose the same pod.
void sort_for_deletion(Pods* pods, const std::map<std::string, int>& related, std::int64_t now_ns);

// A number, or that part of total: "25%" of 10 is 3 when rounded up and 2 when rounded down.
// Nonsense and negative numbers are 0: validation refuses them.
[[nodiscard]] int scaled_value(const ::k8s::io::apimachinery::pkg::util::intstr::IntOrString& value,
                               int total, bool round_up);

// A short name for a template and the collisions it had: FNV-1a over its deterministic encoding, in
// letters and digits that make no words. Equal templates have equal hashes for as long as the
// encoding is the same; nobody relies on more.
[[nodiscard]] std::string template_hash(
    const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template,
    std::optional<int> collision_count);

}  // namespace sluice::controllers
