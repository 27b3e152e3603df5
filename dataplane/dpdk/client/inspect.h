// The tables of a DPDK engine for who only looks: read-only maps of its shared memory, without the agent and without
// the engine.
#pragma once

#include <memory>
#include <string>

#include "api/base/result.h"
#include "dataplane/ebpf/inspect.h"

namespace sluice::dpdk {

// kNotFound, naming the directory and what to start, when there is no image.
Result<std::unique_ptr<dataplane::Inspector>> open_shared_inspector(const std::string& state_directory);

}  // namespace sluice::dpdk
