// What an engine says of itself: api/sluice/dpdk.proto as values, for both ends of the socket.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/engine.h"

namespace sluice::dpdk {

struct PortState {
    std::string name;
    std::string interface;
    std::string driver;
    std::string mac;
    std::uint32_t mtu = 0;
    bool link_up = false;
    std::uint64_t received = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t sent = 0;
    std::uint64_t sent_bytes = 0;
    std::uint64_t missed = 0;       // the port had no descriptor free
    std::uint64_t send_failed = 0;  // the port took no more
    std::uint64_t no_buffer = 0;
    std::vector<std::string> offloads;
    std::uint32_t queues = 0;
};

struct LcoreState {
    std::uint32_t index = 0;  // among those that forward
    std::uint32_t lcore = 0;  // EAL's number
    std::uint64_t busy_cycles = 0;
    std::uint64_t idle_cycles = 0;
    std::uint64_t packets = 0;
    std::uint64_t bursts = 0;
    std::uint64_t dispatched = 0;
    std::uint64_t dispatch_failed = 0;
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
};

}  // namespace sluice::dpdk
