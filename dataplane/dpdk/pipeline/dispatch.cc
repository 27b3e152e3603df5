// Which lcore a frame belongs to. Everything goes by the end of a client, since that is what both directions of a flow
// have in common; so the question is which end that is.
//
//   addressed to a frontend                              the source
//   of two others, in the table of the source's lcore    the source (its frontend is gone, or it is a direct
//                                                        connection that was given another port, or is to be given one)
//   of two others                                        the destination: an answer, or no flow's at all
#include "dataplane/dpdk/pipeline/dispatch.h"

#include <cstring>

#include "dataplane/dpdk/pipeline/datagrams.h"
#include "dataplane/dpdk/pipeline/flow_view.h"
#include "dataplane/dpdk/pipeline/match.h"
// Behind the views that the former define.
#include "bpf/lib/case.h"
#include "bpf/lib/glance.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/onward.h"
#include "bpf/lib/tunnel.h"

namespace sluice::dpdk {
namespace {

struct Dispatch {
    sluice_view image;
    const SharedMemory& shared;
    const DispatchFlows& flows;
    std::uint32_t lcores;
    FrontendMemo* memo;  // nullptr: there is none
    std::uint32_t share;  // SNAT ports of each lcore but the last
    std::uint64_t seed;  // outlives images, or a new one would part flows from their lcores
};

std::uint32_t lcore_of_end(const Dispatch& how, const sluice_address& address, std::uint16_t port_be) {
    const std::uint32_t first = how.image.header->snat_port_min;
    const std::uint32_t last = how.image.header->snat_port_max;
    const std::uint32_t port = SLUICE_NTOH16(port_be);

    if (port >= first && port <= last && how.share != 0) {
        const std::uint32_t lcore = (port - first) / how.share;
        return lcore < how.lcores ? lcore : how.lcores - 1;
    }
    std::uint64_t h = sluice_hash_address(how.seed, &address) ^ port;
    h *= 0xa0761d6478bd642fULL;
    h ^= h >> 32U;
    h *= 0xe7037ed1a0b428dbULL;
    return static_cast<std::uint32_t>((h >> 32U) * how.lcores >> 32U);
}

// Whether the table has a half with this key; or with that of its answer, if asked for.
template <int V6>
bool table_knows(const FlowTable& table, const sluice_tuple& tuple, bool answer_too) {
    if (table.config == nullptr || table.buckets4 == nullptr || table.buckets6 == nullptr) return false;
    const sluice_flow_view view = view_of({table, {}, SLUICE_FLOW_ALONE}, {});
    const std::uint64_t hash = sluice_flow_hash(&view, &tuple, V6);  // that of its answer as well
    sluice_flow_set* set = sluice_flow_head(&view, sluice_flow_bucket_of(&view, hash, V6), V6);
    const std::uint32_t slots = set != nullptr ? slots_with_tag(*set, sluice_flow_tag_of(hash)) : 0;
    const bool spilled = set != nullptr && sluice_flow_spilled(set) != 0;
    if (slots == 0 && !spilled) return false;
    sluice_flow_hit hit;
    const auto is_there = [&](const sluice_tuple& key) {
        return find_in<V6>(view, set, slots, key, hash, hit) ||
               (spilled && sluice_flow_find(&view, &key, hash, &hit, V6) != 0);
    };
    if (is_there(tuple)) return true;
    if (!answer_too) return false;
    sluice_tuple answer = tuple;
    answer.src = tuple.dst;
    answer.dst = tuple.src;
    answer.ports.port_be[SLUICE_SOURCE] = tuple.ports.port_be[SLUICE_DESTINATION];
    answer.ports.port_be[SLUICE_DESTINATION] = tuple.ports.port_be[SLUICE_SOURCE];
    return is_there(answer);
}

// The same of the lcore's tables. A flow is put into the one before it leaves the other, so it is missed in neither.
template <int V6>
bool knows(const Dispatch& how, std::uint32_t lcore, const sluice_tuple& tuple, bool answer_too) {
    if (lcore >= how.flows.tables.size()) return false;
    const FlowMemory& memory = how.flows.tables[lcore];
    const bool moves = memory.mode == SLUICE_FLOW_MOVE;
    return table_knows<V6>(moves ? memory.other : memory, tuple, answer_too) ||
           (memory.mode != SLUICE_FLOW_ALONE && table_knows<V6>(moves ? memory : memory.other, tuple, answer_too));
}

struct Answer {
    std::uint32_t lcore;
    bool ours;  // perhaps of a flow, or of one to come
};

bool look_for_frontend(const Dispatch& how, const sluice_tuple& tuple) {
    if (sluice_may_be_ours(&how.image, &tuple.dst) == 0) return false;
    sluice_frontend_key key{tuple.dst, tuple.ports.port_be[SLUICE_DESTINATION], tuple.protocol, SLUICE_SCOPE_ADDRESS};
    sluice_match match{};
    sluice_classify(&how.image, &key, 0, &match);
    return match.has_service != 0 || match.verdict != SLUICE_VERDICT_PASS;
}

// The generation is odd while a publish is under way, and another one after it.
bool is_frontend(const Dispatch& how, const sluice_tuple& tuple) {
    if (how.memo == nullptr) return look_for_frontend(how, tuple);
    const std::uint16_t port_be = tuple.ports.port_be[SLUICE_DESTINATION];
    const std::uint64_t& generation = how.image.header->generation;
    const std::uint64_t now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
    FrontendMemo::Place& place = how.memo->place_of(tuple.dst, port_be);
    if (place.generation == now && place.port_be == port_be && place.protocol == tuple.protocol &&
        sluice_address_equal(&place.address, &tuple.dst) != 0) {
        return place.frontend;
    }
    const bool frontend = look_for_frontend(how, tuple);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((now & 1U) == 0 && __atomic_load_n(&generation, __ATOMIC_RELAXED) == now) {
        place = {tuple.dst, now, port_be, tuple.protocol, frontend};
    }
    return frontend;
}

// `ours` is asked for of first fragments only.
template <int V6>
Answer lcore_of_tuple(const Dispatch& how, const sluice_tuple& tuple, bool ask_ours) {
    const std::uint32_t source = lcore_of_end(how, tuple.src, tuple.ports.port_be[SLUICE_SOURCE]);
    const bool frontend = is_frontend(how, tuple);

    // An external address may be the node's own, and its port one that a flow was given.
    if (frontend && sluice_address_equal(&tuple.dst, &how.image.header->node_address[V6]) == 0) return {source, true};
    const std::uint32_t destination = lcore_of_end(how, tuple.dst, tuple.ports.port_be[SLUICE_DESTINATION]);
    if (frontend) {
        const bool answer = source != destination && knows<V6>(how, destination, tuple, false);
        return {answer ? destination : source, true};
    }
    if (source != destination && knows<V6>(how, source, tuple, true)) return {source, true};
    return {destination,
            ask_ours && (how.flows.tables.empty() || knows<V6>(how, destination, tuple, false))};
}

Answer lcore_of_tuple(const Dispatch& how, const sluice_tuple& tuple, bool ask_ours, bool v6) {
    return v6 ? lcore_of_tuple<1>(how, tuple, ask_ours) : lcore_of_tuple<0>(how, tuple, ask_ours);
}

sluice_flow_view datagram_view(const Dispatch& how) {
    datagrams_in_use = how.shared.datagrams;
    sluice_flow_view view{};
    view.seed = how.shared.affinity_config != nullptr ? how.shared.affinity_config->seed : 0;
    view.now = how.flows.now.tick;
    return view;
}

bool recall(const Dispatch& how, sluice_packet& packet, bool v6) {
    const sluice_flow_view view = datagram_view(how);
    return (v6 ? sluice_datagram_find(&view, &packet, SLUICE_DATAGRAM_SEEN, 1)
               : sluice_datagram_find(&view, &packet, SLUICE_DATAGRAM_SEEN, 0)) != 0;
}

std::uint32_t lcore_of_ported(const Dispatch& how, const sluice_packet& packet, bool v6) {
    const Answer answer = lcore_of_tuple(how, packet.tuple, packet.fragment == SLUICE_FIRST_FRAGMENT, v6);
    if (packet.fragment != SLUICE_FIRST_FRAGMENT || !answer.ours) return answer.lcore;
    // What a pipeline has noted of it already stays.
    sluice_packet known = packet;
    if (recall(how, known, v6) && known.tuple.ports.both_be == packet.tuple.ports.both_be) return answer.lcore;
    const sluice_flow_view view = datagram_view(how);
    if (v6) {
        sluice_datagram_note(&view, &packet, SLUICE_DATAGRAM_SEEN, 1);
    } else {
        sluice_datagram_note(&view, &packet, SLUICE_DATAGRAM_SEEN, 0);
    }
    return answer.lcore;
}

// The packet that an ICMP error quotes, as what would come back for it. False if it quotes none that has ports.
bool read_quote(const Frame& frame, const sluice_packet& packet, bool v6, sluice_tuple& turned) {
    sluice_quote quote{};
    std::uint32_t length = packet.end - packet.l4;

    if (sluice_is_icmp(&packet, 0, v6 ? 1 : 0) == 0 ||
        sluice_icmp_is_error(packet.icmp_type, v6 ? 1 : 0) == 0 || length < SLUICE_ICMP_LEAST) {
        return false;
    }
    if (length > SLUICE_ICMP_BYTES) length = SLUICE_ICMP_BYTES;
    std::memcpy(quote.word, frame.data + packet.l4, length);
    quote.length = length;
    if ((v6 ? sluice_quote_parse(&quote, 1) : sluice_quote_parse(&quote, 0)) == 0) return false;
    turned = quote.turned;
    return true;
}

// The client's packet inside of a tunnel.
bool read_tunnel(const Frame& frame, const sluice_packet& packet, bool v6, sluice_packet& inside) {
    if (packet.fragment != SLUICE_WHOLE || packet.l4 != packet.l3 + (v6 ? 40U : 20U) ||
        packet.tuple.protocol != (v6 ? SLUICE_IPPROTO_IPV6 : SLUICE_IPPROTO_IPIP)) {
        return false;
    }
    inside = {};
    inside.l3 = packet.l4;
    return sluice_parse_ip(frame.data, frame.data + frame.length, frame.length,
                           v6 ? SLUICE_ETHERTYPE_IPV6 : SLUICE_ETHERTYPE_IPV4,
                           &inside) == SLUICE_PARSE_OK;
}

bool has_option(const Frame& frame, const sluice_packet& packet, bool v6) {
    const std::uint32_t header = v6 ? 40 : 20;
    const std::uint8_t* const ip = frame.data + packet.l3;
    sluice_address frontend;
    std::uint16_t port_be = 0;

    return packet.l4 == packet.l3 + header + (v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES) &&
           (!v6 || ip[6] == SLUICE_IPPROTO_DSTOPTS) &&
           sluice_read_option(ip + header, &frontend, &port_be, v6 ? 1 : 0) != 0;
}

std::uint32_t lcore_of_odd(const Dispatch& how, const Frame& frame) {
    sluice_packet packet{};
    int parsed = sluice_parse_frame(frame.data, frame.data + frame.length, frame.length, &packet);
    const bool v6 = packet.family == 6;

    if (parsed == SLUICE_PARSE_NOT_IP || parsed == SLUICE_PARSE_BAD_IP) return 0;
    if (parsed == SLUICE_PARSE_NO_PORTS) {
        sluice_packet inside;
        sluice_tuple turned;
        if (packet.fragment == SLUICE_LATER_FRAGMENT && recall(how, packet, v6)) {
            parsed = SLUICE_PARSE_OK;
        } else if (read_quote(frame, packet, v6, turned)) {
            return lcore_of_tuple(how, turned, false, v6).lcore;
        } else if (read_tunnel(frame, packet, v6, inside)) {
            return lcore_of_end(how, inside.tuple.src, inside.tuple.ports.port_be[SLUICE_SOURCE]);
        }
    }
    if (parsed != SLUICE_PARSE_OK || has_option(frame, packet, v6)) {
        return lcore_of_end(how, packet.tuple.src, packet.tuple.ports.port_be[SLUICE_SOURCE]);
    }
    return lcore_of_ported(how, packet, v6);
}

}  // namespace

PortShare share_of_ports(std::uint16_t first, std::uint16_t last, std::uint32_t lcore, std::uint32_t lcores) {
    const std::uint32_t ports = std::uint32_t{last} - first + 1;
    const std::uint32_t share = ports / lcores;
    PortShare out;
    out.first = static_cast<std::uint16_t>(first + lcore * share);
    out.last = lcore + 1 == lcores ? last : static_cast<std::uint16_t>(out.first + share - 1);
    return out;
}

std::uint32_t lcore_of(const Frame& frame, const image::Tables& tables, const SharedMemory& shared,
                       std::uint32_t lcores, const DispatchFlows& flows, FrontendMemo* memo) {
    if (lcores <= 1 || tables.header == nullptr) return 0;
    const std::uint32_t ports = std::uint32_t{tables.header->snat_port_max} - tables.header->snat_port_min + 1;
    const Dispatch how{image::view_of(tables), shared, flows, lcores, memo, ports / lcores,
                       shared.affinity_config != nullptr ? shared.affinity_config->seed : 0};
    sluice_tuple tuple{};
    switch (sluice_glance_frame(frame.data, frame.data + frame.length, &tuple)) {
        case SLUICE_GLANCE_PLAIN4: return lcore_of_tuple<0>(how, tuple, false).lcore;
        case SLUICE_GLANCE_PLAIN6: return lcore_of_tuple<1>(how, tuple, false).lcore;
        case SLUICE_GLANCE_FOREIGN: return 0;
        default: return lcore_of_odd(how, frame);
    }
}

}  // namespace sluice::dpdk
