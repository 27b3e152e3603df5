// The HTTP GET of lifecycle hooks; see probes.h.
#include <poll.h>

#include <charconv>
#include <chrono>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/probes/attempt_private.h"
#include "control/kubelet/probes/probes.h"

namespace sluice::kubelet {

Result<void> http_get_hook(const corev1::Pod& pod, const corev1::Container& container,
                           const std::string& host, const std::string& scheme,
                           const std::string& port_name_or_number, const std::string& path,
                           std::uint32_t timeout_ms) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    corev1::HTTPGetAction action;
    action.set_host(host);
    action.set_scheme(scheme);
    action.set_path(path);
    // Without a port it is that of the scheme.
    const std::string port =
        !port_name_or_number.empty() ? port_name_or_number : (scheme == "HTTPS" ? "443" : "80");
    action.mutable_port()->set_type(1);
    action.mutable_port()->set_strval(port);
    SLUICE_TRY_ASSIGN(const ProbeTarget target,
                      make_http_target(container, action, pod.status().podip()));
    SLUICE_TRY_ASSIGN(const std::string address, resolve_host(target.host));
    const auto attempt = start_attempt(target, address, "kube-lifecycle/1.32");
    while (!attempt->finished()) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0) {
            attempt->expire();
            break;
        }
        pollfd ready{attempt->fd(), attempt->wanted(), 0};
        static_cast<void>(::poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000))));
        if (ready.revents != 0) attempt->advance();
    }
    const AttemptResult& result = attempt->result();
    if (result.status == AttemptResult::Status::kSuccess) return {};
    if (result.http_status >= 400) {
        return make_error(Code::kFailedPrecondition, "HTTP GET {} answered status {}", target.url(),
                          result.http_status);
    }
    return make_error(Code::kUnavailable, "{}", result.message);
}

}  // namespace sluice::kubelet
