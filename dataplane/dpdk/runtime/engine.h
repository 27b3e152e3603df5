// The engine: EAL, ports, lcores, the control thread, and what an agent asks of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/dpdk/runtime/options.h"
#include "dataplane/dpdk/service/control.h"

namespace sluice::dpdk {

class Engine : public EngineControl {
public:
    // Everything up to the moment that lcores can run. With options.take_over the running engine is asked for its ports
    // and flows as late as the devices allow. Locks the state directory until destroyed.
    // kInvalidArgument: an option that does not fit this machine's ports; else what the environment lacks.
    static Result<std::unique_ptr<Engine>> make(const Options& options);

    // Forwards until a signal (SIGTERM, SIGINT, which the caller has blocked in all threads), or until handed over.
    // On the thread that called make(). Ports are closed when it returns; flows stay.
    virtual Result<void> run() = 0;

    // Called at each change of what status() says, from any thread; set before run().
    virtual void on_change(std::function<void()> changed) = 0;
    // Engine's drop counts by reason, for telemetry.
    [[nodiscard]] virtual std::vector<std::pair<std::string, std::uint64_t>> drops() const = 0;
};

}  // namespace sluice::dpdk
