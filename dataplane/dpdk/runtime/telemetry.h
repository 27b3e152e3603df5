// The engine's figures by rte_telemetry: /sluice/status, /lcores, /ports, /routing, /drops. The same as over gRPC,
// for tools that know DPDK (dpdk-telemetry.py). With --no-telemetry nobody asks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/dpdk/service/state.h"

namespace sluice::dpdk {

class Telemetry {
public:
    using Status = std::function<EngineState()>;
    using Drops = std::function<std::vector<std::pair<std::string, std::uint64_t>>()>;
    // One at a time in a process. Both are called from telemetry's threads until it is destroyed.
    static std::unique_ptr<Telemetry> start(Status status, Drops drops);
    ~Telemetry();
    Telemetry(const Telemetry&) = delete;
    Telemetry& operator=(const Telemetry&) = delete;

private:
    Telemetry() = default;
};

}  // namespace sluice::dpdk
