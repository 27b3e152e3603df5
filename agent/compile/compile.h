// The pure part: one Service and its EndpointSlices become service ports of the image. No I/O, clock,
// threads or globals; equal arguments give equal results.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/compile/model.h"
#include "dataplane/image/desired.h"

namespace sluice::compile {

// The slices of one service by their names; the order decides which of two equal endpoints is kept.
using Slices = std::map<std::string, Slice>;

// Which endpoints one service port may use on this node, after merging, topology and fallbacks.
struct EndpointSets {
    std::vector<image::Backend> cluster;  // ready and topology-allowed, else serving and terminating
    std::vector<image::Backend> local;    // ready here, else serving and terminating here
    bool any = false;  // a usable endpoint exists somewhere, topology aside
};
// Cost: O(n log n) in the endpoints of the port.
[[nodiscard]] EndpointSets choose_endpoints(const Slices& slices, const std::string& port_name,
                                            Protocol protocol, IpFamily family,
                                            const NodeFacts& node);

// One entry for each port in each family that has a cluster IP, sorted by key. Frontends are what the service
// claims; whether another service has the better claim is settled by State.
[[nodiscard]] std::vector<image::Service> compile_service(const ServiceFacts& service,
                                                          const Slices& slices,
                                                          const NodeFacts& node);

// The distinct addresses of ready endpoints on this node, whatever their port; terminating ones do not count unless the
// API calls them ready. With endpoints of both families the larger number, for a pod of two addresses is one endpoint.
[[nodiscard]] std::size_t count_local_ready(const Slices& slices);

}  // namespace sluice::compile
