// See inspect_views.h. Nothing in the tables is trusted: indices are checked, loops are bounded by capacities.
#include "dataplane/ebpf/inspect_views.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <tuple>

#include "api/abi/drop_reasons.h"
#include "bpf/lib/view_memory.h"
// The view comes first: the look-up is written against it.
#include "bpf/lib/select.h"
#include "dataplane/ebpf/inspect_flows.h"
#include "dataplane/image/drop_reasons.h"
#include "dataplane/image/frontends.h"
#include "dataplane/image/reader.h"

namespace sluice::dataplane {
namespace {

using image::address_of;
using image::Tables;

Traffic to_traffic(const sluice_backend_counters& counters) {
    return Traffic{counters.connections, counters.packets, counters.bytes};
}

bool drops_when_empty(std::uint64_t word) {
    return sluice_word_count(word) == 0 && sluice_word_first(word) == SLUICE_EMPTY_DROP;
}

const char* forwarding_of(std::uint32_t flags) {
    if ((flags & SLUICE_FRONTEND_DSR_TUNNEL) != 0) return "tunnel";
    if ((flags & SLUICE_FRONTEND_DSR_LINK) != 0) return "link";
    return (flags & SLUICE_FRONTEND_DSR_OPTION) != 0 ? "option" : "nat";
}

// The share of each position of a set: of the ring's places, if it has one.
std::vector<double> shares_of(const sluice_view& view, std::uint64_t word) {
    const std::uint32_t count = sluice_word_count(word);
    if ((word & SLUICE_WORD_RING) == 0) return std::vector<double>(count, 1.0 / count);
    std::vector<double> out(count, 0.0);
    const sluice_ring* ring = sluice_ring_of(&view, word);
    if (ring == nullptr) return out;
    const std::uint32_t size = ring->size & SLUICE_RING_SIZE_MASK;
    const std::uint32_t per_line = (ring->size & SLUICE_RING_WIDE) != 0 ? 16 : 32;
    for (std::uint32_t place = 0; place < size; ++place) {
        const sluice_ring_line* line = sluice_view_ring_line(&view, ring->line + place / per_line);
        if (line == nullptr) break;
        const std::uint32_t position =
            per_line == 16 ? reinterpret_cast<const std::uint32_t*>(line)[place % 16]
                           : line->position[place % 32];
        if (position < count) out[position] += 1.0 / size;
    }
    return out;
}

std::string choice_of(const sluice_view& view, std::uint64_t word) {
    if ((word & SLUICE_WORD_RING) == 0 || sluice_word_count(word) == 0) return "random";
    const std::uint32_t kind = sluice_hash_kind(&view, word);
    if ((kind & SLUICE_RING_RANDOM) != 0) return "weighted";
    return (kind & SLUICE_RING_CLIENT) != 0 ? "client" : "tuple";
}

std::vector<std::string> sources_of(const sluice_view& view, std::uint64_t sources) {
    std::vector<std::string> out;
    for (std::uint32_t i = 0; i < sluice_word_count(sources); ++i) {
        const sluice_range* range = sluice_view_range(&view, sluice_word_first(sources) + i);
        if (range == nullptr) break;
        out.push_back(fmt::format("{}-{}", address_of(range->first).to_string(),
                                  address_of(range->last).to_string()));
    }
    return out;
}

// Visits every published frontend record.
template <class Visit>
void for_each_frontend(const Tables& tables, Visit visit) {
    const sluice_view view = view_of(tables);
    for (std::uint32_t i = 0; i < tables.header->bucket_count; ++i) {
        for (const auto& slot : tables.buckets[i].slot) {
            const std::uint64_t value = SLUICE_READ_ONCE(slot);
            const sluice_frontend* frontend =
                value == 0 ? nullptr
                           : sluice_view_frontend(&view, static_cast<std::uint32_t>(value >> 32U));
            if (frontend != nullptr) visit(*frontend);
        }
    }
}

void add(Traffic* sum, const Traffic& more) {
    sum->connections += more.connections;
    sum->packets += more.packets;
    sum->bytes += more.bytes;
}

template <class Named>
void sort_by_name(std::vector<Named>* services) {
    std::sort(services->begin(), services->end(), [](const Named& a, const Named& b) {
        return std::tie(a.name, a.protocol, a.family) < std::tie(b.name, b.protocol, b.family);
    });
}

// Without sets, frontends and counters.
ServiceView outline(const Tables& tables, const sluice_service& service) {
    ServiceView out;
    out.name = image::read_name(tables, service.name);
    out.protocol = static_cast<Protocol>(service.protocol);
    out.family = service.family == 6 ? IpFamily::kIpv6 : IpFamily::kIpv4;
    out.port = ntohs(service.port_be);
    out.affinity_timeout_s = service.affinity_timeout_s;
    return out;
}

ServiceView full_view(const Tables& tables, std::uint32_t index,
                      const sluice_service_counters& counters) {
    const sluice_service& service = tables.services[index];
    const sluice_view view = view_of(tables);
    const std::uint64_t internal = SLUICE_READ_ONCE(service.word[SLUICE_TRAFFIC_INTERNAL]);
    const std::uint64_t external = SLUICE_READ_ONCE(service.word[SLUICE_TRAFFIC_EXTERNAL]);
    const std::uint64_t inside = SLUICE_READ_ONCE(service.word[SLUICE_TRAFFIC_INSIDE]);
    ServiceView out = outline(tables, service);
    out.internal = view_set(tables, internal);
    out.external = view_set(tables, external);
    out.inside = view_set(tables, inside);
    out.internal_drop_when_empty = drops_when_empty(internal);
    out.external_drop_when_empty = drops_when_empty(external);
    out.inside_drop_when_empty = drops_when_empty(inside);
    out.choice = choice_of(view, sluice_word_count(internal) != 0   ? internal
                                 : sluice_word_count(inside) != 0 ? inside
                                                                  : external);
    out.sources = sources_of(view, SLUICE_READ_ONCE(service.sources));
    out.connections = counters.connections;
    out.packets = counters.packets;
    out.bytes = counters.bytes;
    out.refused = counters.refused;
    return out;
}

}  // namespace

std::string range_text(const sluice_cidr& cidr) {
    int bits = 0;
    for (const std::uint32_t word : cidr.mask.word_be) bits += std::popcount(word);
    const IpAddress address = address_of(cidr.address);
    return fmt::format("{}/{}", address.to_string(), address.is_v4() ? bits - 96 : bits);
}

std::string name_of_service(const Tables& tables, std::uint32_t index) {
    if (index >= tables.header->service_capacity) return {};
    return image::read_name(tables, tables.services[index].name);
}

std::string name_of_backend(const Tables& tables, std::uint32_t index) {
    if (index >= tables.header->backend_capacity) return {};
    return image::read_name(tables, tables.backends[index].name);
}

bool backend_serves(const Tables& tables, std::uint32_t index, std::uint32_t incarnation) {
    const sluice_view view = view_of(tables);
    return sluice_backend_serves(&view, index, incarnation) != 0;
}

BackendView view_backend(const Tables& tables, std::uint32_t index) {
    BackendView out;
    if (index >= tables.header->backend_capacity) return out;
    const sluice_backend& backend = tables.backends[index];
    out.address = address_of(backend.address);
    out.port = ntohs(backend.port_be);
    out.local = (backend.flags & SLUICE_BACKEND_LOCAL) != 0;
    out.terminating = (backend.flags & SLUICE_BACKEND_TERMINATING) != 0;
    out.target = image::read_name(tables, backend.name);
    out.traffic = to_traffic(image::sum_served(tables, index));
    out.index = index;
    return out;
}

std::vector<BackendView> view_set(const Tables& tables, std::uint64_t word) {
    const sluice_view view = view_of(tables);
    std::vector<BackendView> out;
    const std::uint32_t first = sluice_word_first(word);
    const std::uint32_t count = sluice_word_count(word);
    // A set that runs out of its table is no set; its count would be believed otherwise.
    if (count == 0 || count > tables.header->set_slot_capacity) return out;
    const std::vector<double> shares = shares_of(view, word);
    for (std::uint32_t i = 0; i < count; ++i) {
        const sluice_set_slot* slot = sluice_view_set_slot(&view, first + i);
        if (slot == nullptr) break;
        if (slot->backend >= tables.header->backend_capacity) continue;
        out.push_back(view_backend(tables, slot->backend));
        out.back().share = shares[i];
    }
    return out;
}

FrontendView view_frontend(const sluice_frontend& frontend) {
    FrontendView out;
    out.port = ntohs(frontend.key.port_be);
    out.nodeport = frontend.key.scope == SLUICE_SCOPE_NODEPORT;
    out.address = out.nodeport ? IpAddress{} : address_of(frontend.key.address);
    out.external = (frontend.flags & SLUICE_FRONTEND_EXTERNAL) != 0;
    out.masquerade = (frontend.flags & SLUICE_FRONTEND_MASQUERADE) != 0;
    out.restricted = (frontend.flags & SLUICE_FRONTEND_SOURCES) != 0;
    out.forwarding = forwarding_of(frontend.flags);
    return out;
}

ServiceView view_service(const Tables& tables, std::uint32_t index) {
    return full_view(tables, index, count_services(tables)[index]);
}

ImageStatus read_status(const Tables& tables) {
    ImageStatus out;
    const sluice_header& header = *tables.header;
    out.generation = header.generation;
    out.layout_version = header.layout_version;
    for (std::uint32_t i = 0; i < header.service_capacity; ++i) {
        out.services += (tables.services[i].flags & SLUICE_SERVICE_IN_USE) != 0 ? 1U : 0U;
    }
    for (std::uint32_t i = 0; i < header.backend_capacity; ++i) {
        out.backends += tables.backends[i].incarnation % 2;
    }
    for_each_frontend(tables, [&](const sluice_frontend& frontend) {
        if (frontend.key.port_be != 0) {
            ++out.frontends;
        } else if (frontend.flags & SLUICE_FRONTEND_NODE) {
            out.node_addresses.push_back(address_of(frontend.key.address));
        }
    });
    std::sort(out.node_addresses.begin(), out.node_addresses.end());
    std::vector<std::string> pods;
    const std::uint32_t cidrs = std::min<std::uint32_t>(header.cidr_count, SLUICE_MAX_CIDRS);
    for (std::uint32_t i = 0; i < cidrs; ++i) {
        if (header.cidr[i].kind == SLUICE_CIDR_SERVICE) {
            out.service_cidrs.push_back(range_text(header.cidr[i]));
        } else if (header.cidr[i].kind == SLUICE_CIDR_CLUSTER) {
            pods.push_back(range_text(header.cidr[i]));
        }
    }
    if ((header.flags & SLUICE_HEADER_DETECT_DEVICE) != 0) {
        out.detect_local = "device";
    } else if ((header.flags & SLUICE_HEADER_DETECT_LOCAL) != 0) {
        out.detect_local = fmt::format("{}", fmt::join(pods, ", "));
    } else {
        out.detect_local = "none";
    }
    return out;
}

std::vector<ServiceView> read_services(const Tables& tables) {
    std::map<std::uint32_t, std::vector<FrontendView>> frontends;
    for_each_frontend(tables, [&](const sluice_frontend& frontend) {
        if (frontend.key.port_be != 0) {
            frontends[frontend.service].push_back(view_frontend(frontend));
        }
    });
    std::vector<ServiceView> out;
    const auto counters = count_services(tables);
    for (std::uint32_t i = 0; i < tables.header->service_capacity; ++i) {
        if ((tables.services[i].flags & SLUICE_SERVICE_IN_USE) == 0) continue;
        ServiceView service = full_view(tables, i, counters[i]);
        if (const auto found = frontends.find(i); found != frontends.end()) {
            service.frontends = std::move(found->second);
            std::sort(service.frontends.begin(), service.frontends.end(),
                      [](const FrontendView& a, const FrontendView& b) {
                          return std::tie(a.external, a.nodeport, a.address, a.port) <
                                 std::tie(b.external, b.nodeport, b.address, b.port);
                      });
        }
        out.push_back(std::move(service));
    }
    sort_by_name(&out);
    return out;
}

std::vector<DropView> read_drops(const Tables& tables) {
    std::vector<DropView> out;
    for (std::uint32_t reason = 1; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
        out.push_back(DropView{image::drop_name(reason), sum_drops(tables, reason), image::drop_text(reason)});
    }
    return out;
}

TrafficReport read_traffic(const Tables& tables, const FlowCounts& flows) {
    const sluice_header& header = *tables.header;
    TrafficReport out;
    std::vector<std::size_t> place(header.service_capacity, SIZE_MAX);
    std::uint64_t backends = 0;
    for (std::uint32_t i = 0; i < header.service_capacity; ++i) {
        if ((tables.services[i].flags & SLUICE_SERVICE_IN_USE) == 0) continue;
        const ServiceView view = outline(tables, tables.services[i]);
        ServiceTraffic service;
        service.name = view.name;
        service.protocol = view.protocol;
        service.family = view.family;
        const sluice_service_counters& own = tables.counters[i];
        service.traffic = Traffic{own.connections, own.packets, own.bytes};
        service.refused = SLUICE_READ_ONCE(own.refused);
        service.flows = flows.of_service(i);
        place[i] = out.services.size();
        out.services.push_back(std::move(service));
    }
    for (std::uint32_t i = 0; i < header.backend_capacity; ++i) {
        const sluice_backend backend = tables.backends[i];
        if (backend.incarnation % 2 == 0) continue;
        ++backends;
        if (backend.service >= header.service_capacity || place[backend.service] == SIZE_MAX) {
            continue;
        }
        ServiceTraffic& service = out.services[place[backend.service]];
        BackendTraffic row;
        row.address = address_of(backend.address);
        row.port = ntohs(backend.port_be);
        row.target = image::read_name(tables, backend.name);
        row.traffic = to_traffic(image::sum_served(tables, i));
        row.flows = flows.of_backend(i, backend.incarnation);
        add(&service.traffic, row.traffic);
        service.backends.push_back(std::move(row));
    }
    for (ServiceTraffic& service : out.services) {
        std::sort(service.backends.begin(), service.backends.end(),
                  [](const BackendTraffic& a, const BackendTraffic& b) {
                      return std::tie(a.address, a.port) < std::tie(b.address, b.port);
                  });
    }
    std::uint64_t frontends = 0;
    for_each_frontend(tables, [&](const sluice_frontend&) { ++frontends; });
    out.tables = {{"services", out.services.size(), header.service_capacity},
                  {"frontends", frontends, header.frontend_capacity},
                  {"backends", backends, header.backend_capacity}};
    out.flow_tables = flows.tables;
    sort_by_name(&out.services);
    return out;
}

}  // namespace sluice::dataplane
