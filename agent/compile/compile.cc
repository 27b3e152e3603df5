// See compile.h.
#include "agent/compile/compile.h"

#include <algorithm>
#include <tuple>

namespace sluice::compile {
namespace {

// One endpoint under one port number.
struct Candidate {
    const Endpoint* endpoint = nullptr;
    std::uint16_t port = 0;
};

bool usable_when_terminating(const Endpoint& endpoint) {
    return endpoint.serving && endpoint.terminating;
}

// Lower is better: of two entries for one address and port the one that is not terminating wins; after that the
// ready one and the local one, so that the outcome does not depend on the order of the slices.
auto rank(const Endpoint& endpoint) {
    return std::make_tuple(endpoint.terminating, !endpoint.ready, !endpoint.serving,
                           !endpoint.local);
}

// Sorted by (address, port), unique.
std::vector<Candidate> merge(const Slices& slices, const std::string& port_name, Protocol protocol,
                             IpFamily family) {
    std::vector<Candidate> all;
    for (const auto& [name, slice] : slices) {
        if (slice.family != family) continue;
        for (const auto& port : slice.ports) {
            if (port.name != port_name || port.protocol != protocol) continue;
            for (const auto& endpoint : slice.endpoints) all.push_back({&endpoint, port.port});
        }
    }
    const auto place = [](const Candidate& c) { return std::tie(c.endpoint->address, c.port); };
    std::stable_sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
        if (place(a) != place(b)) return place(a) < place(b);
        return rank(*a.endpoint) < rank(*b.endpoint);
    });
    const auto end = std::unique(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
        return place(a) == place(b);
    });
    all.erase(end, all.end());
    return all;
}

enum class Topology { kNone, kNode, kZone };

bool hinted_to_zone(const Endpoint& endpoint, const std::string& zone) {
    return std::find(endpoint.zone_hints.begin(), endpoint.zone_hints.end(), zone) !=
           endpoint.zone_hints.end();
}

// Hints count only when every ready endpoint carries them and one of them names this node or zone: a partial
// set of hints means that the controller is still at work, and would overload the few it reached.
Topology topology_of(const std::vector<Candidate>& candidates, const NodeFacts& node) {
    bool all_node = true;
    bool all_zone = true;
    bool any_node = false;
    bool any_zone = false;
    for (const auto& candidate : candidates) {
        const Endpoint& endpoint = *candidate.endpoint;
        if (!endpoint.ready) continue;
        if (!endpoint.has_node_hints) all_node = false;
        if (endpoint.hinted_to_this_node) any_node = true;
        if (endpoint.zone_hints.empty()) all_zone = false;
        if (!node.zone.empty() && hinted_to_zone(endpoint, node.zone)) any_zone = true;
    }
    if (all_node && any_node) return Topology::kNode;
    if (all_zone && any_zone) return Topology::kZone;
    return Topology::kNone;
}

bool allowed(const Endpoint& endpoint, Topology topology, const NodeFacts& node) {
    switch (topology) {
        case Topology::kNone: return true;
        case Topology::kNode: return endpoint.hinted_to_this_node;
        case Topology::kZone: return hinted_to_zone(endpoint, node.zone);
    }
    return true;
}

image::Backend to_backend(const Candidate& candidate) {
    return {candidate.endpoint->address, candidate.port, candidate.endpoint->local,
            candidate.endpoint->terminating, candidate.endpoint->target, 1};
}

template <class Predicate>
std::vector<image::Backend> select(const std::vector<Candidate>& candidates,
                                   const Predicate& predicate) {
    std::vector<image::Backend> out;
    for (const auto& candidate : candidates) {
        if (predicate(*candidate.endpoint)) out.push_back(to_backend(candidate));
    }
    return out;
}

image::BackendSet backend_set(const EndpointSets& sets, bool policy_local) {
    image::BackendSet out;
    out.backends = policy_local ? sets.local : sets.cluster;
    out.when_empty_drop = policy_local && out.backends.empty() && sets.any;
    return out;
}

}  // namespace

EndpointSets choose_endpoints(const Slices& slices, const std::string& port_name,
                              Protocol protocol, IpFamily family, const NodeFacts& node) {
    const std::vector<Candidate> candidates = merge(slices, port_name, protocol, family);
    const Topology topology = topology_of(candidates, node);
    EndpointSets sets;
    sets.any = std::any_of(candidates.begin(), candidates.end(), [](const Candidate& c) {
        return c.endpoint->ready || usable_when_terminating(*c.endpoint);
    });
    sets.cluster = select(candidates, [&](const Endpoint& endpoint) {
        return endpoint.ready && allowed(endpoint, topology, node);
    });
    if (sets.cluster.empty()) sets.cluster = select(candidates, usable_when_terminating);
    sets.local = select(candidates, [](const Endpoint& endpoint) {
        return endpoint.ready && endpoint.local;
    });
    if (sets.local.empty()) {
        sets.local = select(candidates, [](const Endpoint& endpoint) {
            return endpoint.local && usable_when_terminating(endpoint);
        });
    }
    return sets;
}

std::vector<image::Service> compile_service(const ServiceFacts& service, const Slices& slices,
                                            const NodeFacts& node) {
    std::vector<image::Service> out;
    for (const auto& cluster_ip : service.cluster_ips) {
        const IpFamily family = cluster_ip.family();
        for (const auto& port : service.ports) {
            image::Service entry;
            entry.key = {service.key, port.name, port.protocol, family};
            entry.port = port.port;
            entry.affinity_timeout_s = service.affinity_timeout_s;
            entry.frontends.push_back(
                {cluster_ip, port.port, image::Scope::kAddress, false, false, false, image::Forwarding::kNat});
            const bool masquerade = !service.external_local;
            for (const auto* addresses : {&service.external_ips, &service.load_balancer_ips}) {
                for (const auto& address : *addresses) {
                    // A cluster IP that is listed again as an external one stays internal.
                    if (address.family() != family || address == cluster_ip) continue;
                    entry.frontends.push_back(
                        {address, port.port, image::Scope::kAddress, true, masquerade, false, image::Forwarding::kNat});
                }
            }
            if (port.node_port != 0) {
                entry.frontends.push_back(
                    {IpAddress{}, port.node_port, image::Scope::kNodePort, true, masquerade, false, image::Forwarding::kNat});
            }
            std::sort(entry.frontends.begin(), entry.frontends.end());
            entry.frontends.erase(std::unique(entry.frontends.begin(), entry.frontends.end()),
                                  entry.frontends.end());
            const EndpointSets sets =
                choose_endpoints(slices, port.name, port.protocol, family, node);
            entry.internal = backend_set(sets, service.internal_local);
            // Without an external frontend nothing follows the external set.
            if (entry.frontends.size() > 1) {
                entry.external = backend_set(sets, service.external_local);
                entry.inside = backend_set(sets, false);
            }
            out.push_back(std::move(entry));
        }
    }
    std::sort(out.begin(), out.end(),
              [](const image::Service& a, const image::Service& b) { return a.key < b.key; });
    return out;
}

}  // namespace sluice::compile
