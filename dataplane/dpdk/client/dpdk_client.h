// The agent's side of the DPDK engine: publishes into shared memory that the engine maps, and tells it over its socket
// which image is in force. gRPC stays behind the .cc files.
//
// Neither needs the other to go on: without the agent the engine forwards by what was published last; without the
// engine the agent goes on publishing, and the next engine begins with that.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/engine.h"

namespace sluice::dpdk {

struct DpdkOptions {
    std::string socket = kDefaultSocket;
    std::string state_directory = kDefaultStateDirectory;
    std::uint16_t snat_port_min = 1024;  // source ports for NAT, both ends included
    std::uint16_t snat_port_max = 29999;
};

// Waits for the engine for a moment (1 s); its absence is told by status() and is no error.
Result<std::unique_ptr<dataplane::Engine>> open_dpdk_engine(const DpdkOptions& options);

// Removes the state directory with images, flows and all. kFailedPrecondition while an engine runs on it. Returns what
// was removed, for people.
Result<std::vector<std::string>> cleanup_dpdk(const DpdkOptions& options);

}  // namespace sluice::dpdk
