// What the node says of its container runtime. A runtime that is restarted is away for a moment and its containers
// run on: only an outage that lasts makes the node not ready, for a node that is not ready loses its traffic.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "control/kubelet/cri/cri.h"
#include "control/kubelet/node/node.h"

namespace sluice::kubelet {

// As long as kubelet's own.
inline constexpr std::int64_t kRuntimeOutageMs = 30'000;

// Thread-safe. cri outlives it.
class RuntimeHealth {
public:
    // steady_ms: a clock that never goes back.
    RuntimeHealth(Cri& cri, std::function<std::int64_t()> steady_ms)
        : cri_(cri), steady_ms_(std::move(steady_ms)) {}

    // Asks the runtime. While it does not answer, what it said last, for at most kRuntimeOutageMs.
    RuntimeState ask();

private:
    Cri& cri_;
    const std::function<std::int64_t()> steady_ms_;
    std::mutex mutex_;
    RuntimeState last_;
    std::int64_t answered_ms_ = 0;
    bool answered_ = false;
};

}  // namespace sluice::kubelet
