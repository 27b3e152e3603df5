// What a probe does, read once from the pod's spec: where to, with what, how often.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace k8s::io::api::core::v1 {
class Container;
class Probe;
class HTTPGetAction;
}  // namespace k8s::io::api::core::v1
namespace k8s::io::apimachinery::pkg::util::intstr {
class IntOrString;
}

namespace sluice::kubelet {

namespace corev1 = ::k8s::io::api::core::v1;

struct ProbeTarget {
    enum class Kind : std::uint8_t { kHttp, kTcp, kGrpc, kExec };
    Kind kind = Kind::kExec;
    std::string host;  // an address, or a name that is resolved at each attempt
    std::uint16_t port = 0;
    bool tls = false;
    std::string path;  // of the request, escaped, with its query
    std::vector<std::pair<std::string, std::string>> headers;
    std::string service;  // of gRPC
    std::vector<std::string> command;

    // "http://10.0.0.1:8080/healthz"
    [[nodiscard]] std::string url() const;
    // "10.0.0.1:8080", "[fd00::1]:8080"
    [[nodiscard]] std::string authority() const;
};

struct ProbeTimes {
    std::uint32_t initial_delay_ms = 0;
    std::uint32_t period_ms = 10'000;
    std::uint32_t timeout_ms = 1'000;
    std::uint32_t success_threshold = 1;
    std::uint32_t failure_threshold = 3;
    std::optional<std::int64_t> termination_grace_seconds;
};

inline constexpr std::uint32_t kMaxProbeSeconds = 30U * 24 * 3600;  // what longer times are cut to

// kInvalidArgument: a port that has no such name, a scheme or an action that is not had.
Result<ProbeTarget> make_target(const corev1::Container& container, const corev1::Probe& probe,
                                const std::string& pod_ip);
Result<ProbeTarget> make_http_target(const corev1::Container& container,
                                     const corev1::HTTPGetAction& action,
                                     const std::string& pod_ip);
[[nodiscard]] ProbeTimes times_of(const corev1::Probe& probe);
// The number of a port given as number or as the name of one of the container's ports.
Result<std::uint16_t> port_number(
    const corev1::Container& container,
    const ::k8s::io::apimachinery::pkg::util::intstr::IntOrString& port);
// "" as "/", "x" as "/x"; bytes that no URL may hold are escaped.
[[nodiscard]] std::string request_path(std::string_view path);

}  // namespace sluice::kubelet
