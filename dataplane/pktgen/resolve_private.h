// Finds the link address of a neighbour before a run begins.
#pragma once

#include "api/base/result.h"
#include "dataplane/pktgen/neighbours.h"
#include "dataplane/pktgen/runner_ports_private.h"

namespace sluice::pktgen {

struct NeighbourQuestion {
    Port* port = nullptr;
    Mac mac{};         // whom the answer is to go to
    IpAddress sender;  // an address of ours on that link
    IpAddress target;
    std::uint16_t vlan = 0;
};

// Asks again and again; what all ports receive meanwhile is answered if it asks for an address in
// `owned` ([port]) and else thrown away. `counts` ([port]) grows by all that was sent and received.
// kUnavailable: nobody answered. REQUIRES: no other lcore uses the ports.
Result<Mac> ask_neighbour(Ports& ports, const NeighbourQuestion& question,
                          const std::vector<OwnedAddresses>& owned, double wait_s,
                          std::vector<PortCounts>& counts);

}  // namespace sluice::pktgen
