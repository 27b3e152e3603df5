// The pure part: one Service and its EndpointSlices become service ports of the image. No I/O, clock,
// threads or globals; equal arguments give equal results.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/compile/model.h"
#include "dataplane/image/desired.h"

namespace sluice::compile {

// The slices of one service, sorted by their names; the order decides which of two equal endpoints is kept.
struct NamedSlice {
    std::string_view name;  // "namespace/name", kept elsewhere
    Slice slice;
};
using Slices = std::vector<NamedSlice>;

// Which endpoints one service port may use on this node, after merging, topology and fallbacks.
struct EndpointSets {
    std::vector<image::Backend> cluster;  // ready and topology-allowed, else serving and terminating
    std::vector<image::Backend> local;    // ready here, else serving and terminating here
    bool any = false;  // a usable endpoint exists somewhere, topology aside
};
enum class Hints { kFollow, kIgnore };  // the topology's
// Cost: O(n log n) in the endpoints of the port.
[[nodiscard]] EndpointSets choose_endpoints(const Slices& slices, const image::ServiceKey& key,
                                            const NodeFacts& node, Hints hints);

// What a service port wants to be reached at, whoever gets it; sorted and unique.
struct Wish {
    image::ServiceKey key;
    std::uint16_t port = 0;
    std::vector<image::Frontend> frontends;
};
// One for each port in each family that has a cluster IP, sorted by key.
[[nodiscard]] std::vector<Wish> read_wishes(const ServiceFacts& service, const NodeFacts& node);

// One entry for each wish, in that order, with its frontends; whether another service has the better claim to one is
// settled by State.
[[nodiscard]] std::vector<image::Service> compile_service(const ServiceFacts& service,
                                                          const Slices& slices,
                                                          const NodeFacts& node);

// The distinct addresses of ready endpoints on this node, whatever their port; terminating ones do not count unless the
// API calls them ready. With endpoints of both families the larger number, for a pod of two addresses is one endpoint.
[[nodiscard]] std::size_t count_local_ready(const Slices& slices);

}  // namespace sluice::compile
