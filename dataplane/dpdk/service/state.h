// What an engine says of itself: api/sluice/dpdk.proto as values, for both ends of the socket.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/dpdk/routing/counters.h"
#include "dataplane/engine.h"

namespace sluice::dpdk {

using PortState = dataplane::PortStatus;
using LcoreState = dataplane::LcoreStatus;

// Tables that doubled while lcores forwarded.
struct GrowthState {
    std::uint64_t tables_grown = 0;
    std::uint64_t flows_moved = 0;    // by lcores between bursts; packets bring over others
    std::uint64_t flows_expired = 0;  // left behind, their time was over
    std::uint64_t flows_lost = 0;     // their place in the larger table was taken, or its bucket full for a minute
};

struct EngineState {
    std::string version;
    std::uint32_t layout_version = 0;
    std::uint32_t pid = 0;
    std::string state_directory;
    std::uint32_t image = 0;  // 0: none
    std::uint64_t generation = 0;
    bool draining = false;
    std::uint64_t cycles_per_second = 0;
    std::vector<PortState> ports;
    std::vector<LcoreState> lcores;
    std::vector<dataplane::TableStatus> tables;
    std::uint32_t counter_rows = 0;  // lcores that count
    std::string memory;
    std::uint64_t uptime_seconds = 0;
    std::uint32_t node_interface = 0;
    std::vector<std::string> missing;  // what the ports or this machine lack, and what follows
    RoutingCounters routing;
    GrowthState growth;
};

}  // namespace sluice::dpdk
