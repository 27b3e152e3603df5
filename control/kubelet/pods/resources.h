// Requests and limits as the kernel knows them: cpu shares and quota, memory limits, oom scores, QoS classes.
// Pure. The arithmetic is kubelet's.
#pragma once

#include <cstdint>
#include <string>

#include "api/external/cri/runtime.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::kubelet {

namespace corev1 = ::k8s::io::api::core::v1;

inline constexpr std::int64_t kMinShares = 2;
inline constexpr std::int64_t kMaxShares = 262'144;
inline constexpr std::int64_t kCpuPeriodUs = 100'000;
inline constexpr std::int64_t kMinQuotaUs = 1'000;

struct Amounts {
    std::int64_t cpu_milli = 0;
    std::int64_t memory_bytes = 0;
};
struct PodAmounts {
    Amounts requests;
    Amounts limits;
    // Every container has one: only then does the pod have one.
    bool cpu_limited = false;
    bool memory_limited = false;
};

// "Guaranteed", "Burstable", "BestEffort".
[[nodiscard]] std::string qos_class(const corev1::Pod& pod);
[[nodiscard]] Amounts requests_of(const corev1::Container& container);
[[nodiscard]] Amounts limits_of(const corev1::Container& container);
// Of the pod: containers and sidecars together, or the largest init container with the sidecars before it.
[[nodiscard]] PodAmounts amounts_of(const corev1::Pod& pod);

[[nodiscard]] std::int64_t shares_of(std::int64_t cpu_milli);
// 0: no quota.
[[nodiscard]] std::int64_t quota_of(std::int64_t cpu_milli);
// cgroup v2's weight of v1's shares.
[[nodiscard]] std::int64_t weight_of(std::int64_t shares);
// lowest: what this process may set at most downwards (lowest_oom_score).
[[nodiscard]] std::int64_t oom_score_adj(const corev1::Pod& pod, const corev1::Container& container,
                                         std::int64_t memory_capacity, std::int64_t lowest);
// -1000 with CAP_SYS_RESOURCE, and without it this process' own score.
[[nodiscard]] std::int64_t lowest_oom_score();
[[nodiscard]] std::int64_t memory_capacity();

void fill_resources(const corev1::Pod& pod, const corev1::Container& container,
                    std::int64_t memory_capacity, std::int64_t lowest_oom,
                    ::runtime::v1::LinuxContainerResources* resources);

}  // namespace sluice::kubelet
