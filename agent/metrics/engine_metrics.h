// What an engine in a process of its own says of its lcores and ports, as samples for Prometheus.
#pragma once

#include <string>

#include "api/base/result.h"
#include "dataplane/dpdk/service/state.h"

namespace sluice::metrics {

void render_engine(const dpdk::EngineState& engine, std::string* out);
// Asks the engine. Where nobody answers only sluice_engine_up 0.
void collect_engine(const std::string& socket, std::string* out);

}  // namespace sluice::metrics
