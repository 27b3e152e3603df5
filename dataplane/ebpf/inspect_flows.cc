// See inspect_flows.h.
#include "dataplane/ebpf/inspect_flows.h"

#include <arpa/inet.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "dataplane/ebpf/flow_tick.h"
#include "dataplane/ebpf/inspect_views.h"
#include "dataplane/ebpf/pins.h"

#include "bpf/lib/view_memory.h"
// The views come first: what follows is written against them.
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/flow.h"
#include "dataplane/image/frontends.h"

namespace sluice::dataplane {
namespace {

using image::address_of;

// What the pin of a table beside the one in use ends with.
constexpr const char* kSecondTable = "_old";

const char* state_name(std::uint32_t state) {
    switch (state) {
        case SLUICE_FLOW_CLOSED: return "closed";
        case SLUICE_FLOW_NEW: return "new";
        case SLUICE_FLOW_ANSWERED: return "answered";
        case SLUICE_FLOW_CLOSING: return "closing";
        case SLUICE_FLOW_ESTABLISHED: return "established";
        default: return "unknown";
    }
}

// One half as it was at one moment.
struct Half {
    sluice_tuple key{};
    sluice_flow_hit hit{};
};

void copy_key(const sluice_flow4& record, sluice_tuple* key) {
    sluice_set_v4(&key->src, record.src_be);
    sluice_set_v4(&key->dst, record.dst_be);
    key->ports.both_be = record.ports_be;
    key->protocol = record.meta.protocol;
}

void copy_key(const sluice_flow6& record, sluice_tuple* key) {
    std::memcpy(key->src.word_be, record.src_be, sizeof(record.src_be));
    std::memcpy(key->dst.word_be, record.dst_be, sizeof(record.dst_be));
    key->ports.both_be = record.ports_be;
    key->protocol = record.meta.protocol;
}

// False if the slot is free, or was changed while it was read: then it is another flow's by now.
bool read_half(sluice_flow_set* set, std::uint32_t index, bool v6, Half* half) {
    const std::uint32_t slot = index % SLUICE_FLOW_WAYS;
    const std::uint32_t word = SLUICE_READ_ONCE(set->word[slot]);
    if ((word & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY) return false;
    sluice_read_barrier();
    sluice_flow_copy(set, slot, &half->hit, v6 ? 1 : 0);
    if (v6) {
        copy_key(*sluice_flow_record6(set, slot), &half->key);
    } else {
        copy_key(*sluice_flow_record4(set, slot), &half->key);
    }
    half->hit.seen = SLUICE_READ_ONCE(set->seen[slot]);
    sluice_read_barrier();
    const std::uint32_t again = SLUICE_READ_ONCE(set->word[slot]);
    half->hit.slot = index;
    half->hit.id = word & SLUICE_FLOW_ID_MASK;
    half->hit.state = static_cast<__u8>(again & SLUICE_FLOW_STATE_MASK);
    return (again & SLUICE_FLOW_ID_MASK) == half->hit.id && half->hit.state > SLUICE_FLOW_BUSY;
}

// Of the family's tables, the one that flows leave first: one that moves meanwhile may be visited twice, but is not
// missed.
template <class Visit>
void for_each_set(const sluice_flow_view& view, bool v6, Visit visit) {
    const int family = v6 ? 1 : 0;
    if (view.mode != SLUICE_FLOW_ALONE) {
        const std::uint32_t others = v6 ? view.other_count6 : view.other_count4;
        for (std::uint32_t bucket = 0; bucket < others; ++bucket) {
            visit(sluice_flow_head(&view, bucket, family | SLUICE_FLOW_OTHER), bucket);
        }
    }
    const std::uint32_t buckets = v6 ? view.bucket_count6 : view.bucket_count4;
    for (std::uint32_t bucket = 0; bucket < buckets; ++bucket) {
        visit(sluice_flow_head(&view, bucket, family), bucket);
    }
}

template <class Visit>
void for_each_half(const sluice_flow_view& view, bool v6, Visit visit) {
    Half half;
    for_each_set(view, v6, [&](sluice_flow_set* set, std::uint32_t bucket) {
        for (std::uint32_t slot = 0; slot < SLUICE_FLOW_WAYS; ++slot) {
            if (read_half(set, bucket * SLUICE_FLOW_WAYS + slot, v6, &half)) visit(half);
        }
    });
}

bool is_active(const sluice_flow_view& view, const sluice_flow_hit& hit) {
    return hit.state != SLUICE_FLOW_CLOSED && sluice_flow_expired(&view, &hit) == 0;
}

const char* forwarding_of(std::uint8_t flags) {
    if ((flags & SLUICE_FLOW_TUNNEL) != 0) return "tunnel";
    if ((flags & SLUICE_FLOW_LINK) != 0) return "link";
    return (flags & SLUICE_FLOW_OPTION) != 0 ? "option" : "nat";
}

// `client`: what the client sends; `backend`: what the backend answers.
FlowView to_view(const sluice_flow_view& view, const sluice_tuple& client,
                 const sluice_tuple& backend, const sluice_flow_hit& hit) {
    FlowView out;
    out.protocol = static_cast<Protocol>(client.protocol);
    out.client = address_of(client.src);
    out.destination = address_of(client.dst);
    out.backend = address_of(backend.src);
    out.source = address_of(backend.dst);
    out.client_port = ntohs(client.ports.port_be[SLUICE_SOURCE]);
    out.destination_port = ntohs(client.ports.port_be[SLUICE_DESTINATION]);
    out.backend_port = ntohs(backend.ports.port_be[SLUICE_SOURCE]);
    out.source_port = ntohs(backend.ports.port_be[SLUICE_DESTINATION]);
    out.state = state_name(hit.state);
    out.idle_s = sluice_flow_age(&view, hit.seen);
    out.timeout_s = sluice_flow_timeout(hit.state, hit.meta.protocol);
    out.source_nat = (hit.meta.flags & SLUICE_FLOW_SNAT) != 0;
    out.plain = (hit.meta.flags & SLUICE_FLOW_DIRECT) != 0;
    out.forwarding = forwarding_of(hit.meta.flags);
    out.service_index = hit.meta.service;
    out.backend_index = hit.meta.backend;
    out.incarnation = hit.meta.incarnation;
    return out;
}

// What the packet of a half becomes, turned round: what answers it.
sluice_tuple turned(const sluice_flow_hit& hit, std::uint8_t protocol) {
    sluice_tuple out{};
    out.src = hit.new_dst;
    out.dst = hit.new_src;
    out.ports.port_be[SLUICE_SOURCE] = hit.new_ports.port_be[SLUICE_DESTINATION];
    out.ports.port_be[SLUICE_DESTINATION] = hit.new_ports.port_be[SLUICE_SOURCE];
    out.protocol = protocol;
    return out;
}

// "default/web" names all of its ports, "default/web:http" one.
bool names(const std::string& wanted, const std::string& service) {
    return wanted.empty() || service == wanted || service.starts_with(wanted + ":");
}

constexpr std::uint64_t backend_key(std::uint32_t index, std::uint32_t incarnation) {
    return static_cast<std::uint64_t>(incarnation) << 32U | index;
}

}  // namespace

std::uint64_t FlowCounts::of_backend(std::uint32_t index, std::uint32_t incarnation) const {
    const auto found = by_backend.find(backend_key(index, incarnation));
    return found == by_backend.end() ? 0 : found->second;
}

std::uint64_t FlowCounts::of_service(std::uint32_t index) const {
    const auto found = by_service.find(index);
    return found == by_service.end() ? 0 : found->second;
}

void scan_flows(const sluice_flow_view& view, const std::function<void(const FlowView&)>& visit) {
    for (const bool v6 : {false, true}) {
        for_each_half(view, v6, [&](const Half& half) {
            if ((half.hit.meta.flags & SLUICE_FLOW_REVERSE) != 0) return;
            visit(to_view(view, half.key, turned(half.hit, half.key.protocol), half.hit));
        });
    }
}

void list_flows_of(const image::Tables& tables, const sluice_flow_view& view, const FlowFilter& filter,
                   FlowList* out) {
    scan_flows(view, [&](const FlowView& found) {
        if ((filter.backend && *filter.backend != found.backend) ||
            (filter.client && *filter.client != found.client) ||
            (!filter.state.empty() && filter.state != found.state)) {
            return;
        }
        const std::string service =
            found.plain ? std::string() : name_of_service(tables, found.service_index);
        if (!names(filter.service, service)) return;
        ++out->matched;
        if (out->flows.size() >= filter.limit) return;
        out->flows.push_back(found);
        FlowView& flow = out->flows.back();
        flow.service = service;
        flow.serving = backend_serves(tables, flow.backend_index, flow.incarnation);
        if (flow.serving) flow.target = name_of_backend(tables, flow.backend_index);
    });
}

FlowCounts count_flows(const sluice_flow_view& view) {
    FlowCounts out;
    for (const bool v6 : {false, true}) {
        FlowTableUse use;
        use.family = v6 ? IpFamily::kIpv6 : IpFamily::kIpv4;
        const std::uint32_t buckets = v6 ? view.bucket_count6 : view.bucket_count4;
        use.capacity = std::uint64_t{buckets} * SLUICE_FLOW_WAYS / 2;
        for_each_set(view, v6, [&](const sluice_flow_set* set, std::uint32_t) {
            use.displaced += SLUICE_READ_ONCE(set->evicted) & ~SLUICE_FLOW_SPILLED;
        });
        for_each_half(view, v6, [&](const Half& half) {
            if ((half.hit.meta.flags & SLUICE_FLOW_REVERSE) != 0) return;
            if (!is_active(view, half.hit)) {
                ++use.lingering;
                return;
            }
            ++use.flows;
            if ((half.hit.meta.flags & SLUICE_FLOW_DIRECT) != 0) return;
            ++out.by_backend[backend_key(half.hit.meta.backend, half.hit.meta.incarnation)];
            ++out.by_service[half.hit.meta.service];
        });
        out.tables.push_back(use);
    }
    return out;
}

std::optional<FoundFlow> find_flow(const sluice_flow_view& view, const FlowKey& key) {
    const int v6 = key.destination.is_v4() ? 0 : 1;
    sluice_tuple tuple{};
    tuple.src = image::image_address(key.source);
    tuple.dst = image::image_address(key.destination);
    tuple.ports.port_be[SLUICE_SOURCE] = htons(key.source_port);
    tuple.ports.port_be[SLUICE_DESTINATION] = htons(key.destination_port);
    tuple.protocol = static_cast<__u8>(key.protocol);
    sluice_flow_hit hit{};
    if (sluice_flow_find_any(&view, &tuple, sluice_flow_hash(&view, &tuple, v6), &hit, v6) == 0) {
        return std::nullopt;
    }
    const sluice_tuple other = turned(hit, tuple.protocol);
    if ((hit.meta.flags & SLUICE_FLOW_REVERSE) != 0) {
        return FoundFlow{to_view(view, other, tuple, hit), true};
    }
    return FoundFlow{to_view(view, tuple, other, hit), false};
}

Result<std::unique_ptr<FlowTables>> FlowTables::open(const std::string& state_directory) {
    auto out = std::make_unique<FlowTables>();
    const auto map = [&](const char* name, const char* suffix, std::uint32_t value_size) {
        return PinnedArray::open(state_directory + "/" + state_pin_name(name) + suffix, value_size, "flow table");
    };
    SLUICE_TRY_ASSIGN(out->config_, map("sluice_flow_cfg", "", sizeof(sluice_flow_config)));
    SLUICE_TRY_ASSIGN(out->flows4_, map("sluice_flows4", "", sizeof(sluice_flow_bucket4)));
    SLUICE_TRY_ASSIGN(out->flows6_, map("sluice_flows6", "", sizeof(sluice_flow_bucket6)));
    // There only while flows move (flow_growth.h), and it may go between the question and the look.
    if (auto other = map("sluice_flows4", kSecondTable, sizeof(sluice_flow_bucket4)); other) {
        out->others4_ = std::move(*other);
    }
    if (auto other = map("sluice_flows6", kSecondTable, sizeof(sluice_flow_bucket6)); other) {
        out->others6_ = std::move(*other);
    }
    return out;
}

sluice_flow_view FlowTables::view() const {
    const auto* config = config_.as<const sluice_flow_config>();
    const auto count = [](std::uint32_t said, std::uint32_t entries) {
        return said == 0 ? entries : std::min(said, entries);
    };
    sluice_flow_view out{};
    out.seed = SLUICE_READ_ONCE(config->seed);
    out.bucket_count4 = count(config->bucket_count4, flows4_.entries());
    out.bucket_count6 = count(config->bucket_count6, flows6_.entries());
    const std::uint32_t shift = config->tick_shift;
    out.now = current_tick((shift == 0 ? SLUICE_FLOW_DEFAULT_TICK_SHIFT : shift) & 31U);
    out.buckets4 = flows4_.as<sluice_flow_bucket4>();
    out.buckets6 = flows6_.as<sluice_flow_bucket6>();
    const std::uint32_t other4 = SLUICE_READ_ONCE(config->other_count4);
    out.other_count4 = std::min(other4, others4_.entries());
    const std::uint32_t other6 = SLUICE_READ_ONCE(config->other_count6);
    out.other_count6 = std::min(other6, others6_.entries());
    out.others4 = others4_.as<sluice_flow_bucket4>();
    out.others6 = others6_.as<sluice_flow_bucket6>();
    if (out.other_count4 != 0 || out.other_count6 != 0) {
        out.mode = static_cast<__u16>(SLUICE_READ_ONCE(config->mode));
    }
    return out;
}

}  // namespace sluice::dataplane
