// Runs the startup, liveness and readiness probes of running containers: HTTP(S), TCP, gRPC and
// exec. One event loop for the network probes; exec probes by a small pool. Periods are jittered at
// the start only.
//
// Readiness and startup probes begin at once when there is no initial delay, and again after 50 ms,
// doubled up to the period, until the first success or the end of the first period. Only successes
// of these early attempts count: failures before the program listens are what is expected. Liveness
// probes begin within the first period.
//
// Thread-safe. Readiness begins as false where there is a readiness probe (or a startup probe that
// has not succeeded), as true where there is none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/kubelet/objects.h"

namespace k8s::io::api::core::v1 {
class Container;
}

namespace sluice::kubelet {

// Probes under way at once; others wait their turn.
inline constexpr int kMaxConcurrentExecProbes = 8;
inline constexpr std::size_t kMaxConcurrentNetworkProbes = 256;
inline constexpr std::uint32_t kFirstRetryMs = 50;
inline constexpr std::size_t kMaxProbeOutputBytes = 10U << 10U;  // of the message in an event

enum class ProbeType { kStartup, kLiveness, kReadiness };

// What a container's probes came to, told on every change.
struct ProbeOutcome {
    std::string pod_uid;
    std::string container_name;
    std::string container_id;
    ProbeType type = ProbeType::kReadiness;
    bool success = false;   // after the thresholds
    // Of the probe that failed, where it has its own: instead of the pod's.
    std::optional<std::int64_t> termination_grace_seconds;
};
// One failed attempt, for an event: "Readiness probe failed: HTTP probe failed with statuscode:
// 503".
struct ProbeFailure {
    std::string pod_uid;
    std::string container_name;
    ProbeType type = ProbeType::kReadiness;
    std::string message;
};

// Runs a command in a container; output is both streams together. Blocks.
struct ExecResult {
    int exit_code = 0;
    std::string output;
};
using ExecInContainer = std::function<Result<ExecResult>(
    const std::string& container_id, const std::vector<std::string>& command,
    std::uint32_t timeout_ms)>;

class Prober {
public:
    virtual ~Prober() = default;
    // Begins to probe a container that has just started (or that was running when the kubelet
    // started; then `already_started` leaves out the startup probe and keeps `ready` until the
    // first result). pod_ip may be the node's own for hostNetwork. Adding the same container_id
    // again is harmless; a new id replaces the old.
    virtual void add(const corev1::Pod& pod, const corev1::Container& container,
                     const std::string& container_id, const std::string& pod_ip,
                     bool already_started, bool ready) = 0;
    // Ends the container's probes; no outcome of it is told afterwards, but for one that is just
    // being told on another thread (it names the container_id).
    virtual void remove(const std::string& pod_uid, const std::string& container_name) = 0;
    // Ends liveness and startup probes of a pod that is being deleted; readiness goes on.
    virtual void pod_terminating(const std::string& pod_uid) = 0;
    virtual void remove_pod(const std::string& pod_uid) = 0;

    // The callbacks run on the prober's threads and must not block.
    static std::unique_ptr<Prober> create(ExecInContainer exec,
                                          std::function<void(const ProbeOutcome&)> on_outcome,
                                          std::function<void(const ProbeFailure&)> on_failure);
};

// An HTTP GET as httpGet handlers of lifecycle hooks want it: kUnavailable and kFailedPrecondition
// (a status of 400 and more) name the URL. Blocks for at most timeout_ms.
Result<void> http_get_hook(const corev1::Pod& pod, const corev1::Container& container,
                           const std::string& host, const std::string& scheme,
                           const std::string& port_name_or_number, const std::string& path,
                           std::uint32_t timeout_ms);

}  // namespace sluice::kubelet
