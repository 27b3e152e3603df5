// gRPC probes: the health service of a server, asked without credentials. One thread waits for all
// of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "control/kubelet/probes/attempt_private.h"

namespace sluice::kubelet {

// Thread-safe. Destruction cancels what is under way; its callbacks are still called.
class GrpcChecks {
public:
    virtual ~GrpcChecks() = default;
    // done runs on the checks' thread and must not block.
    virtual void start(const std::string& authority, const std::string& service,
                       std::uint32_t timeout_ms, const std::string& user_agent,
                       std::function<void(AttemptResult)> done) = 0;
    static std::unique_ptr<GrpcChecks> create();
};

}  // namespace sluice::kubelet
