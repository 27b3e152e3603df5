#include "control/kubelet/pods/runtime_health.h"

#include <fmt/core.h>

namespace sluice::kubelet {

RuntimeState RuntimeHealth::ask() {
    RuntimeState state;
    if (const auto version = cri_.version()) {
        state.runtime_version = version->runtime_name() + "://" + version->runtime_version();
    }
    const auto status = cri_.status();
    const std::lock_guard lock(mutex_);
    if (!status) {
        if (answered_ && steady_ms_() - answered_ms_ < kRuntimeOutageMs) return last_;
        state.runtime_not_ready = "container runtime is down: " + rpc_text(status.error());
        return state;
    }
    for (const auto& condition : status->conditions()) {
        if (condition.status()) continue;
        const auto text =
            fmt::format("reason:{} message:{}", condition.reason(), condition.message());
        if (condition.type() == "RuntimeReady") {
            state.runtime_not_ready =
                "container runtime status check may not have completed yet: " + text;
        } else if (condition.type() == "NetworkReady") {
            state.network_not_ready =
                "container runtime network not ready: NetworkReady=false " + text;
        }
    }
    last_ = state;
    answered_ = true;
    answered_ms_ = steady_ms_();
    return state;
}

}  // namespace sluice::kubelet
