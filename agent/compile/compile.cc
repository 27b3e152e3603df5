// See compile.h.
#include "agent/compile/compile.h"

#include <algorithm>
#include <string_view>
#include <tuple>

namespace sluice::compile {
namespace {

// One endpoint under one port number.
struct Candidate {
    const Slice* slice = nullptr;
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
std::vector<Candidate> merge(const Slices& slices, const image::ServiceKey& key) {
    std::vector<Candidate> all;
    for (const auto& [name, slice] : slices) {
        if (slice.family != key.family) continue;
        for (const auto& port : slice.ports) {
            if (port.name != key.port || port.protocol != key.protocol) continue;
            for (const auto& endpoint : slice.endpoints) all.push_back({&slice, &endpoint, port.port});
        }
    }
    const auto place = [](const Candidate& c) { return std::tie(c.endpoint->address, c.port); };
    std::stable_sort(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
        if (place(a) != place(b)) return place(a) < place(b);
        if (rank(*a.endpoint) != rank(*b.endpoint)) return rank(*a.endpoint) < rank(*b.endpoint);
        return a.slice->weight > b.slice->weight;
    });
    const auto end = std::unique(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
        return place(a) == place(b);
    });
    all.erase(end, all.end());
    return all;
}

enum class Topology { kNone, kNode, kZone };

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
        if (endpoint.zones == 0) all_zone = false;
        if (!node.zone.empty() && candidate.slice->hinted_to_zone(endpoint, node.zone)) any_zone = true;
    }
    if (all_node && any_node) return Topology::kNode;
    if (all_zone && any_zone) return Topology::kZone;
    return Topology::kNone;
}

bool allowed(const Candidate& candidate, Topology topology, const NodeFacts& node) {
    switch (topology) {
        case Topology::kNone: return true;
        case Topology::kNode: return candidate.endpoint->hinted_to_this_node;
        case Topology::kZone: return candidate.slice->hinted_to_zone(*candidate.endpoint, node.zone);
    }
    return true;
}

template <class Predicate>
std::vector<image::Backend> select(const std::vector<Candidate>& candidates,
                                   const image::ServiceKey& key, const Predicate& predicate) {
    const std::string_view slice_namespace = std::string_view(key.service).substr(0, key.service.find('/'));
    std::vector<image::Backend> out;
    for (const auto& candidate : candidates) {
        if (!predicate(candidate)) continue;
        const Endpoint& endpoint = *candidate.endpoint;
        const auto index = static_cast<std::size_t>(&endpoint - candidate.slice->endpoints.data());
        out.push_back({endpoint.address, candidate.port, endpoint.local, endpoint.terminating,
                       candidate.slice->target_of(index, slice_namespace), candidate.slice->weight});
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

EndpointSets choose_endpoints(const Slices& slices, const image::ServiceKey& key,
                              const NodeFacts& node, Hints hints) {
    const std::vector<Candidate> candidates = merge(slices, key);
    const Topology topology = hints == Hints::kFollow ? topology_of(candidates, node) : Topology::kNone;
    const auto leaving = [](const Candidate& c) { return usable_when_terminating(*c.endpoint); };
    EndpointSets sets;
    sets.any = std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& c) {
        return c.endpoint->ready || leaving(c);
    });
    sets.cluster = select(candidates, key, [&](const Candidate& c) {
        return c.endpoint->ready && allowed(c, topology, node);
    });
    if (sets.cluster.empty()) sets.cluster = select(candidates, key, leaving);
    sets.local = select(candidates, key, [](const Candidate& c) {
        return c.endpoint->ready && c.endpoint->local;
    });
    if (sets.local.empty()) {
        sets.local = select(candidates, key, [&](const Candidate& c) {
            return c.endpoint->local && leaving(c);
        });
    }
    return sets;
}

namespace {

bool begins_before(const image::AddressRange& a, const image::AddressRange& b) {
    return a.first < b.first;
}

image::AddressRange range_of(const IpPrefix& prefix) {
    image::AddressRange range{prefix.address, prefix.address};
    // An IPv4 address stands in the last four of the sixteen bytes.
    const std::size_t bits = prefix.bits + (prefix.family() == IpFamily::kIpv4 ? 96U : 0U);
    for (std::size_t bit = bits; bit < 128; ++bit) {
        range.last.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
    }
    return range;
}

// Who may reach the load-balancer addresses of the family; empty: everybody. A machine with a load-balancer address of
// its own sends from that very address when it calls the service, so a range with the node in it lets it in too.
std::vector<image::AddressRange> source_ranges(const ServiceFacts& service, IpFamily family,
                                               const NodeFacts& node) {
    std::vector<image::AddressRange> out;
    bool from_node = false;
    for (const auto& prefix : service.sources) {
        if (prefix.family() != family) continue;
        out.push_back(range_of(prefix));
        from_node = from_node || std::any_of(node.addresses.begin(), node.addresses.end(),
                                             [&](const IpAddress& own) { return prefix.contains(own); });
    }
    if (from_node) {
        for (const auto& address : service.load_balancer_ips) {
            if (address.family() == family) out.push_back({address, address});
        }
    }
    std::sort(out.begin(), out.end(), begins_before);
    std::size_t kept = 0;
    for (std::size_t i = 1; i < out.size(); ++i) {
        // Prefixes either lie apart or one inside the other; the longer one of equal beginnings may come second.
        if (out[i].first <= out[kept].last) {
            out[kept].last = std::max(out[kept].last, out[i].last);
        } else {
            out[++kept] = out[i];
        }
    }
    if (!out.empty()) out.resize(kept + 1);
    return out;
}

// What one port claims in one family: sorted, one for each place.
std::vector<image::Frontend> frontends_of(const ServiceFacts& service, const ServicePort& port,
                                          const IpAddress& cluster_ip, bool restricted,
                                          const NodeFacts& node) {
    const image::Forwarding forwarding = service.forwarding.value_or(node.forwarding);
    std::vector<image::Frontend> out;
    out.push_back({cluster_ip, port.port, image::Scope::kAddress, false, false, false,
                   image::Forwarding::kNat});
    const auto add = [&](const IpAddress& address, bool only_sources) {
        // The first wins: a cluster IP that is listed again stays internal, and a load-balancer address that is an
        // external IP as well keeps its source ranges.
        const bool taken = std::any_of(out.begin(), out.end(), [&](const image::Frontend& other) {
            return other.address == address;
        });
        if (taken || address.family() != cluster_ip.family()) return;
        out.push_back({address, port.port, image::Scope::kAddress, true, !service.external_local,
                       only_sources, forwarding});
    };
    for (const auto& address : service.load_balancer_ips) add(address, restricted);
    for (const auto& address : service.external_ips) add(address, false);
    if (port.node_port != 0) {
        // By link a packet keeps its destination, and this node's address is no other node's frontend.
        const bool by_link = forwarding == image::Forwarding::kLink;
        out.push_back({IpAddress{}, port.node_port, image::Scope::kNodePort, true,
                       !service.external_local, false, by_link ? image::Forwarding::kNat : forwarding});
    }
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace

std::vector<Wish> read_wishes(const ServiceFacts& service, const NodeFacts& node) {
    std::vector<Wish> out;
    out.reserve(service.cluster_ips.size() * service.ports.size());
    for (const auto& cluster_ip : service.cluster_ips) {
        const bool restricted =
            std::any_of(service.sources.begin(), service.sources.end(), [&](const IpPrefix& range) {
                return range.family() == cluster_ip.family();
            });
        for (const auto& port : service.ports) {
            out.push_back({{service.key, port.name, port.protocol, cluster_ip.family()}, port.port,
                           frontends_of(service, port, cluster_ip, restricted, node)});
        }
    }
    std::sort(out.begin(), out.end(), [](const Wish& a, const Wish& b) { return a.key < b.key; });
    return out;
}

std::vector<image::Service> compile_service(const ServiceFacts& service, const Slices& slices,
                                            const NodeFacts& node) {
    std::vector<image::Service> out;
    std::vector<Wish> wishes = read_wishes(service, node);
    out.reserve(wishes.size());
    for (auto& wish : wishes) {
        EndpointSets sets = choose_endpoints(slices, wish.key, node, Hints::kFollow);
        image::Service& entry = out.emplace_back();
        entry.key = std::move(wish.key);
        entry.port = wish.port;
        entry.affinity_timeout_s = service.affinity_timeout_s;
        entry.choice = service.choice;
        entry.frontends = std::move(wish.frontends);
        const bool restricted =
            std::any_of(entry.frontends.begin(), entry.frontends.end(),
                        [](const image::Frontend& frontend) { return frontend.restricted; });
        if (restricted) entry.sources = source_ranges(service, entry.key.family, node);
        entry.internal = backend_set(sets, service.internal_local);
        // Without an external frontend nothing follows the external sets.
        if (entry.frontends.size() > 1) {
            // By link all nodes choose from one ring, wherever they are: hints would give each zone its own.
            if (service.forwarding == image::Forwarding::kLink) {
                sets = choose_endpoints(slices, entry.key, node, Hints::kIgnore);
            }
            entry.external = backend_set(sets, service.external_local);
            entry.inside = backend_set(sets, false);
        }
    }
    return out;
}

std::size_t count_local_ready(const Slices& slices) {
    std::vector<IpAddress> addresses;
    for (const auto& [name, slice] : slices) {
        if (slice.ports.empty()) continue;
        for (const auto& endpoint : slice.endpoints) {
            if (endpoint.local && endpoint.ready) addresses.push_back(endpoint.address);
        }
    }
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
    const auto v4 = static_cast<std::size_t>(
        std::count_if(addresses.begin(), addresses.end(),
                      [](const IpAddress& address) { return address.is_v4(); }));
    return std::max(v4, addresses.size() - v4);
}

}  // namespace sluice::compile
