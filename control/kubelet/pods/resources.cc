// Requests and limits as numbers.
#include "control/kubelet/pods/resources.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <string>

#include "api/codec/quantity.h"

namespace sluice::kubelet {

namespace {

using Resources =
    google::protobuf::Map<std::string, ::k8s::io::apimachinery::pkg::api::resource::Quantity>;

constexpr std::int64_t kGuaranteedOom = -997;
constexpr std::int64_t kBestEffortOom = 1'000;
constexpr int kCapSysResource = 24;

codec::Quantity quantity(const Resources& resources, const std::string& name) {
    const auto found = resources.find(name);
    if (found == resources.end()) return {};
    // Validated by the API server; what it let through all the same counts as nothing.
    return codec::Quantity::parse(found->second.string()).value_or(codec::Quantity{});
}

Amounts amounts(const Resources& resources) {
    return {quantity(resources, "cpu").milli(), quantity(resources, "memory").units()};
}

bool is_sidecar(const corev1::Container& container) {
    return container.restartpolicy() == "Always";
}

Amounts& operator+=(Amounts& left, const Amounts& right) {
    left.cpu_milli += right.cpu_milli;
    left.memory_bytes += right.memory_bytes;
    return left;
}

Amounts largest(const Amounts& left, const Amounts& right) {
    return {std::max(left.cpu_milli, right.cpu_milli),
            std::max(left.memory_bytes, right.memory_bytes)};
}

template <class Read>
Amounts sum(const corev1::Pod& pod, Read read) {
    Amounts total;
    for (const auto& container : pod.spec().containers()) total += read(container);
    Amounts sidecars;
    Amounts init;
    for (const auto& container : pod.spec().initcontainers()) {
        auto with = sidecars;
        with += read(container);
        if (is_sidecar(container)) sidecars = with;
        init = largest(init, with);
    }
    total += sidecars;
    return largest(total, init);
}

}  // namespace

Amounts limits_of(const corev1::Container& container) {
    return amounts(container.resources().limits());
}

Amounts requests_of(const corev1::Container& container) {
    auto requests = amounts(container.resources().requests());
    const auto limits = limits_of(container);
    if (!container.resources().requests().contains("cpu")) requests.cpu_milli = limits.cpu_milli;
    if (!container.resources().requests().contains("memory")) {
        requests.memory_bytes = limits.memory_bytes;
    }
    return requests;
}

PodAmounts amounts_of(const corev1::Pod& pod) {
    PodAmounts out;
    out.requests = sum(pod, requests_of);
    out.limits = sum(pod, limits_of);
    out.cpu_limited = out.memory_limited = true;
    const auto look = [&out](const corev1::Container& container) {
        const auto limits = limits_of(container);
        out.cpu_limited = out.cpu_limited && limits.cpu_milli > 0;
        out.memory_limited = out.memory_limited && limits.memory_bytes > 0;
    };
    for (const auto& container : pod.spec().containers()) look(container);
    for (const auto& container : pod.spec().initcontainers()) look(container);
    return out;
}

std::string qos_class(const corev1::Pod& pod) {
    bool any = false;
    bool guaranteed = true;
    const auto look = [&](const corev1::Container& container) {
        const auto requests = requests_of(container);
        const auto limits = limits_of(container);
        any = any || requests.cpu_milli > 0 || requests.memory_bytes > 0 || limits.cpu_milli > 0 ||
              limits.memory_bytes > 0;
        guaranteed = guaranteed && limits.cpu_milli > 0 && limits.memory_bytes > 0 &&
                     limits.cpu_milli == requests.cpu_milli &&
                     limits.memory_bytes == requests.memory_bytes;
    };
    for (const auto& container : pod.spec().containers()) look(container);
    for (const auto& container : pod.spec().initcontainers()) look(container);
    if (!any) return "BestEffort";
    return guaranteed ? "Guaranteed" : "Burstable";
}

std::int64_t shares_of(std::int64_t cpu_milli) {
    if (cpu_milli <= 0) return kMinShares;
    return std::clamp(cpu_milli * 1'024 / 1'000, kMinShares, kMaxShares);
}

std::int64_t quota_of(std::int64_t cpu_milli) {
    if (cpu_milli <= 0) return 0;
    return std::max(cpu_milli * kCpuPeriodUs / 1'000, kMinQuotaUs);
}

std::int64_t weight_of(std::int64_t shares) {
    return 1 + (std::clamp(shares, kMinShares, kMaxShares) - 2) * 9'999 / 262'142;
}

std::int64_t oom_score_adj(const corev1::Pod& pod, const corev1::Container& container,
                           std::int64_t memory_capacity, std::int64_t lowest) {
    const auto qos = qos_class(pod);
    if (qos == "Guaranteed") return std::max(kGuaranteedOom, lowest);
    if (qos == "BestEffort" || memory_capacity <= 0) return std::max(kBestEffortOom, lowest);
    // In floating point: 1000 times a request may not fit.
    const auto share = static_cast<double>(requests_of(container).memory_bytes) /
                       static_cast<double>(memory_capacity);
    const auto adjusted = 1'000 - static_cast<std::int64_t>(1'000.0 * std::clamp(share, 0.0, 1.0));
    // Between Guaranteed and BestEffort, excluding both.
    return std::max(std::clamp<std::int64_t>(adjusted, 1'000 + kGuaranteedOom, 999), lowest);
}

std::int64_t lowest_oom_score() {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line)) {
        if (!line.starts_with("CapEff:")) continue;
        const auto capabilities = std::strtoull(line.c_str() + 7, nullptr, 16);
        if (((capabilities >> kCapSysResource) & 1U) != 0) return -1'000;
    }
    std::ifstream score("/proc/self/oom_score_adj");
    std::int64_t own = 0;
    score >> own;
    return own;
}

std::int64_t memory_capacity() {
    std::ifstream info("/proc/meminfo");
    std::string name;
    std::int64_t kilobytes = 0;
    info >> name >> kilobytes;
    return kilobytes * 1'024;
}

void fill_resources(const corev1::Pod& pod, const corev1::Container& container,
                    std::int64_t memory_capacity, std::int64_t lowest_oom,
                    ::runtime::v1::LinuxContainerResources* resources) {
    const auto limits = limits_of(container);
    resources->set_cpu_shares(shares_of(requests_of(container).cpu_milli));
    resources->set_cpu_period(kCpuPeriodUs);
    resources->set_cpu_quota(quota_of(limits.cpu_milli));
    resources->set_memory_limit_in_bytes(limits.memory_bytes);
    resources->set_oom_score_adj(oom_score_adj(pod, container, memory_capacity, lowest_oom));
}

}  // namespace sluice::kubelet
