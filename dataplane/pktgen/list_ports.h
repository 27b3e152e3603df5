// The ports that DPDK's environment has, as values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::pktgen {

struct PortInfo {
    std::uint16_t number = 0;
    std::string name, driver, mac;
    std::uint32_t link_mbps = 0;  // 0: not known
    bool link_up = false;
    std::uint32_t max_frame_bytes = 0;  // that it can be set to receive, with the link's checksum
    std::uint16_t max_send_queues = 0, max_receive_queues = 0;
    bool sends_checksums = false;  // of IPv4, UDP and TCP, computed by the port
    bool spreads_flows = false;    // receive-side scaling
};

// REQUIRES: start_eal(). In the EAL's order, which is that of RunnerOptions::roles.
[[nodiscard]] std::vector<PortInfo> list_ports();
// A table for a person.
[[nodiscard]] std::string ports_text(const std::vector<PortInfo>& ports);

}  // namespace sluice::pktgen
