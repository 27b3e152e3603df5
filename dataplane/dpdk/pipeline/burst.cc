#include "dataplane/dpdk/pipeline/burst.h"

#include <cstring>

#include "dataplane/dpdk/pipeline/leave.h"
#include "dataplane/dpdk/pipeline/match.h"
#include "dataplane/dpdk/pipeline/translate.h"
#include "dataplane/dpdk/pipeline/work.h"
// Behind the views that work.h defines.
#include "bpf/lib/onward.h"
#include "bpf/lib/tunnel.h"

namespace sluice::dpdk {
namespace {

constexpr std::size_t kFramesAhead = 4;  // whose first bytes are fetched while one is looked at

// Whether the checksum of an IPv4 header without options is right.
[[gnu::always_inline]] inline bool sums_to_all_ones(const std::uint8_t* ip) {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    std::memcpy(&low, ip, 8);
    std::memcpy(&high, ip + 8, 8);
    std::uint64_t sum =
        (low & 0xffffffffU) + (low >> 32U) + (high & 0xffffffffU) + (high >> 32U) + sluice_load32(ip + 16);
    sum = (sum & 0xffffU) + (sum >> 16U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    return sum == 0xffff;
}

// The transport header at `l4`, of which `room` bytes are packet: whether it is sound, as bpf/lib/parse.h has it.
[[gnu::always_inline]] inline bool look_at_transport(const std::uint8_t* l4, std::uint32_t room, Step& step) {
    if (step.protocol == SLUICE_IPPROTO_TCP) {
        if (room < 20) return false;
        const std::uint32_t header = (l4[12] >> 4U) * 4U;
        if (header < 20 || header > room) return false;
        step.tcp_flags = l4[13];
        return true;
    }
    step.tcp_flags = 0;
    return step.protocol == SLUICE_IPPROTO_UDP && room >= 8;
}

[[gnu::always_inline]] inline sluice_tuple tuple4(const std::uint8_t* ip, std::uint8_t protocol) {
    sluice_tuple tuple{};
    tuple.protocol = protocol;
    sluice_set_v4(&tuple.src, sluice_load32(ip + 12));
    sluice_set_v4(&tuple.dst, sluice_load32(ip + 16));
    tuple.ports.both_be = sluice_load32(ip + 20);
    return tuple;
}

[[gnu::always_inline]] inline sluice_tuple tuple6(const std::uint8_t* ip, std::uint8_t protocol) {
    sluice_tuple tuple{};
    tuple.protocol = protocol;
    std::memcpy(tuple.src.word_be, ip + 8, 16);
    std::memcpy(tuple.dst.word_be, ip + 24, 16);
    tuple.ports.both_be = sluice_load32(ip + 40);
    return tuple;
}

template <int V6>
[[gnu::always_inline]] inline sluice_tuple tuple_of(const std::uint8_t* ip, std::uint8_t protocol) {
    if constexpr (V6 != 0) {
        return tuple6(ip, protocol);
    } else {
        return tuple4(ip, protocol);
    }
}

template <int V6>
[[gnu::always_inline]] inline void fetch_bucket(const Work& work, const std::uint8_t* ip, Step& step) {
    const sluice_tuple tuple = tuple_of<V6>(ip, step.protocol);
    step.hash = sluice_flow_hash(&work.flows, &tuple, V6);
    step.set = sluice_flow_head(&work.flows, sluice_flow_bucket_of(&work.flows, step.hash, V6), V6);
    __builtin_prefetch(step.set);
}

// Looks at one frame. What is then not plain is processed as a whole.
[[gnu::always_inline]] inline void look(const Work& work, const Frame& frame, Step& step) {
    const std::uint8_t* const data = frame.data;
    std::uint32_t l3 = SLUICE_ETH_HEADER;

    step.kind = Step::Kind::kDone;
    step.plain = false;
    if (frame.length < SLUICE_ETH_HEADER + 28 || frame.from_kernel || frame.interface >= work.interfaces.size() ||
        work.place[frame.interface] == SLUICE_PLACE_NODE_EGRESS) {
        return;
    }
    std::uint16_t ethertype = sluice_load16(data + 12);
    if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_VLAN)) {
        if ((SLUICE_NTOH16(sluice_load16(data + 14)) & 0xfffU) != work.vlan[frame.interface]) return;
        ethertype = sluice_load16(data + 16);
        l3 += 4;
    }
    const std::uint8_t* const ip = data + l3;
    step.l3 = static_cast<std::uint8_t>(l3);
    if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4)) {
        // No options, and no fragment.
        if (ip[0] != 0x45 || (sluice_load16(ip + 6) & SLUICE_HTON16(0x3fff)) != 0) return;
        step.total = SLUICE_NTOH16(sluice_load16(ip + 2));
        step.protocol = ip[9];
        if (step.total < 20 || l3 + step.total > frame.length || !look_at_transport(ip + 20, step.total - 20, step) ||
            (!frame.ip_checksum_good && !sums_to_all_ones(ip))) {
            return;
        }
        step.kind = Step::Kind::kPlain4;
        fetch_bucket<0>(work, ip, step);
    } else if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6)) {
        if (frame.length < l3 + 48 || (ip[0] & 0xf0U) != 0x60) return;
        const std::uint32_t payload = SLUICE_NTOH16(sluice_load16(ip + 4));
        step.total = 40 + payload;
        step.protocol = ip[6];
        if (l3 + step.total > frame.length || !look_at_transport(ip + 40, payload, step)) return;
        std::uint32_t word[8];
        std::memcpy(word, ip + 8, sizeof word);
        if (sluice_words_are_mapped(word) != 0 || sluice_words_are_mapped(word + 4) != 0) return;
        // Next hops are looked up by their destination alone; what may not be sent on is told apart elsewhere.
        if ((word[0] & SLUICE_HTON32(0xffc00000U)) == SLUICE_HTON32(0xfe800000U)) return;
        step.kind = Step::Kind::kPlain6;
        fetch_bucket<1>(work, ip, step);
    } else {
        return;
    }
    step.plain = step.set != nullptr;
}

// Fetches the record of the first slot that has the tag; an IPv4 record may lie across two lines, one of IPv6 does.
template <int V6>
[[gnu::always_inline]] inline void aim(Step& step) {
    step.slots = static_cast<std::uint8_t>(slots_with_tag(*step.set, sluice_flow_tag_of(step.hash)));
    if (step.slots == 0) return;
    const auto* record =
        static_cast<const char*>(record_at<V6>(step.set, static_cast<std::uint32_t>(__builtin_ctz(step.slots))));
    __builtin_prefetch(record);
    __builtin_prefetch(record + (V6 != 0 ? 95 : 47));
}

template <int V6>
[[gnu::always_inline]] inline void keep(Work& work, Step& step, const sluice_flow_hit& hit) {
    if constexpr (V6 != 0) {
        std::memcpy(step.new_src_be, hit.new_src.word_be, 16);
        std::memcpy(step.new_dst_be, hit.new_dst.word_be, 16);
    } else {
        step.new_src_be[3] = hit.new_src.word_be[3];
        step.new_dst_be[3] = hit.new_dst.word_be[3];
    }
    step.new_ports_be = hit.new_ports.both_be;
    step.backend = hit.meta.backend;
    step.flags = hit.meta.flags;
    work.hops.prefetch<V6>(hit.new_dst);
    if (hit.meta.backend < work.image.header->backend_capacity) {
        __builtin_prefetch(&work.served[hit.meta.backend], 1);
    }
}

// Whether a packet of an established flow that was followed in this tick already changes nothing of it.
[[gnu::always_inline]] inline bool goes_on(const Work& work, const Step& step, const sluice_flow_hit& hit) {
    if (hit.state != SLUICE_FLOW_ESTABLISHED || hit.seen != work.flows.now ||
        (step.tcp_flags & (SLUICE_TCP_SYN | SLUICE_TCP_FIN | SLUICE_TCP_RST)) != 0) {
        return false;
    }
    return step.protocol == SLUICE_IPPROTO_TCP || (hit.meta.flags & SLUICE_FLOW_REVERSE) != 0 ||
           ((hit.meta.flags & SLUICE_FLOW_OPTION) == 0 &&
            sluice_backend_serves(&work.image, hit.meta.backend, hit.meta.incarnation) != 0);
}

template <int V6>
[[gnu::noinline]] bool follow(Work& work, Step& step, sluice_flow_hit& hit) {
    if (sluice_flow_usable_by(&work.flows, step.tcp_flags, &work.image, &hit) == 0 ||
        ((hit.meta.flags & SLUICE_FLOW_OPTION) != 0 && sluice_carries_option(step.protocol, step.tcp_flags) != 0) ||
        sluice_flow_follow(&work.flows, &hit, step.tcp_flags, V6) == 0) {
        return false;
    }
    keep<V6>(work, step, hit);
    return true;
}

// The flow of a plain packet, followed. False: the packet is to be processed as a whole.
template <int V6>
[[gnu::always_inline]] inline bool take(Work& work, const Frame& frame, Step& step) {
    const sluice_tuple tuple = tuple_of<V6>(frame.data + step.l3, step.protocol);
    sluice_flow_hit hit;

    if (!find_in<V6>(work.flows, step.set, step.slots, tuple, step.hash, hit)) return false;
    if (goes_on(work, step, hit)) {
        keep<V6>(work, step, hit);
        return true;
    }
    sluice_flow_hit copy = hit;  // so that the former need not lie in memory
    return follow<V6>(work, step, copy);
}

template <int V6>
[[gnu::always_inline]] inline sluice_address address_of(const std::uint32_t* word_be) {
    sluice_address address;
    if constexpr (V6 != 0) {
        std::memcpy(address.word_be, word_be, 16);
    } else {
        sluice_set_v4(&address, word_be[3]);
    }
    return address;
}

// What the stages do not send themselves, though its flow is known: too big, out of hops, or for this node.
template <int V6>
[[gnu::noinline]] void send_otherwise(Work& work, Frame& frame, const Step& step) {
    sluice_case& now = work.now;

    std::memset(&now.packet, 0, sizeof now.packet);
    sluice_parse_frame(frame.data, frame.data + frame.length, frame.length, &now.packet);
    now.flows = work.flows;
    now.place = work.place[frame.interface];
    now.match.has_service = 0;
    now.hit.new_src = address_of<V6>(step.new_src_be);
    now.hit.new_dst = address_of<V6>(step.new_dst_be);
    now.hit.new_ports.both_be = step.new_ports_be;
    now.hit.meta.backend = step.backend;
    now.hit.meta.flags = step.flags;
    if ((step.flags & SLUICE_FLOW_NAMED) != 0) {
        send_direct(work, frame, V6 != 0);
    } else {
        translate(work, frame, V6 != 0);
    }
}

// IP in IP to the backend's node. False, and nothing changed, if it is not to be had here.
template <int V6>
[[gnu::noinline]] bool send_in_tunnel(Work& work, Frame& frame, const Step& step, const Hop& hop) {
    constexpr std::uint32_t kGrowth = V6 != 0 ? 40 : 20;
    const sluice_address& node = work.image.header->node_address[V6];
    const sluice_address backend = address_of<V6>(step.new_dst_be);
    const std::uint32_t first_be = sluice_load32(frame.data + step.l3);
    union sluice_ports ports;
    std::uint32_t outer[SLUICE_OUTER6_WORDS];

    ports.both_be = step.new_ports_be;
    if (hop.kind != HopKind::kForward || (hop.mtu != 0 && step.total + kGrowth > hop.mtu) ||
        frame.headroom < kGrowth + sizeof hop.l2 || node.word_be[3] == 0) {
        return false;
    }
    count_packet(work, step.backend, SLUICE_ETH_HEADER + step.total);
    if constexpr (V6 != 0) {
        sluice_build_outer6(outer, &node, &backend, step.total, ports.port_be[SLUICE_DESTINATION], first_be);
    } else {
        sluice_build_outer4(outer, node.word_be[3], backend.word_be[3], step.total, ports.port_be[SLUICE_DESTINATION],
                            static_cast<__u8>(SLUICE_NTOH32(first_be) >> 16U));
    }
    move_head(frame, -static_cast<std::int32_t>(kGrowth));
    std::memcpy(frame.data + step.l3, outer, kGrowth);
    return leave_by(frame, hop, step.l3, V6 != 0);
}

// As it came, but for the hop, to the backend's node. False, and nothing changed, if it is not to be had here.
template <int V6>
[[gnu::noinline]] bool send_by_link(Work& work, Frame& frame, const Step& step, const Hop& hop) {
    std::uint8_t* const ip = frame.data + step.l3;
    const std::uint8_t ttl = ip[V6 != 0 ? 7 : 8];

    if (hop.kind != HopKind::kForward || ttl <= 1 || (hop.mtu != 0 && step.total > hop.mtu) ||
        hop.l2_length > step.l3 + frame.headroom) {
        return false;
    }
    count_packet(work, step.backend, SLUICE_ETH_HEADER + step.total);
    const auto older = static_cast<std::uint8_t>(ttl - 1);
    if constexpr (V6 != 0) {
        ip[7] = older;
    } else {
        sluice_rewrite_ipv4_by(ip, sluice_load32(ip + 12), sluice_load32(ip + 16), older, 0);
    }
    return leave_by(frame, hop, step.l3, V6 != 0);
}

// The rest of a plain packet's way. REQUIRES: take() has said so.
template <int V6>
[[gnu::always_inline]] inline void send(Work& work, Frame& frame, const Step& step) {
    const sluice_address destination = address_of<V6>(step.new_dst_be);
    const Hop& hop = work.hops.find<V6>(destination);
    std::uint8_t* const ip = frame.data + step.l3;
    const std::uint8_t ttl = ip[V6 != 0 ? 7 : 8];

    if ((step.flags & (SLUICE_FLOW_TUNNEL | SLUICE_FLOW_LINK)) != 0) {
        const bool sent = (step.flags & SLUICE_FLOW_LINK) != 0 ? send_by_link<V6>(work, frame, step, hop)
                                                               : send_in_tunnel<V6>(work, frame, step, hop);
        if (!sent) send_otherwise<V6>(work, frame, step);
        return;
    }
    if (hop.kind != HopKind::kForward || ttl <= 1 || (hop.mtu != 0 && step.total > hop.mtu) ||
        hop.l2_length > step.l3 + frame.headroom) {
        send_otherwise<V6>(work, frame, step);
        return;
    }
    const sluice_tuple from = tuple_of<V6>(ip, step.protocol);
    const sluice_address source = address_of<V6>(step.new_src_be);
    union sluice_ports ports;
    ports.both_be = step.new_ports_be;
    count_packet(work, step.backend, SLUICE_ETH_HEADER + step.total);
    sluice_rewrite_packet(ip, ip + (V6 != 0 ? 40 : 20), &from, &source, &destination, ports,
                          static_cast<std::uint8_t>(ttl - 1), V6);
    if (hop.l2_length == SLUICE_ETH_HEADER && step.l3 == SLUICE_ETH_HEADER) {
        std::memcpy(frame.data, hop.l2, SLUICE_ETH_HEADER);
        frame.out = hop.out;
        frame.neighbour = hop.neighbour;
        frame.verdict = Verdict::kForward;
        return;
    }
    leave_by(frame, hop, step.l3, V6 != 0);
}

}  // namespace

void process_burst(Work& work, Burst& burst, std::span<Frame> frames) {
    const std::size_t count = frames.size();

    for (std::size_t i = 0; i < count && i < kFramesAhead; ++i) __builtin_prefetch(frames[i].data);
    for (std::size_t i = 0; i < count; ++i) {
        if (i + kFramesAhead < count) __builtin_prefetch(frames[i + kFramesAhead].data);
        look(work, frames[i], burst.step[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
        Step& step = burst.step[i];
        if (!step.plain) continue;
        if (step.kind == Step::Kind::kPlain4) {
            aim<0>(step);
        } else {
            aim<1>(step);
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        Step& step = burst.step[i];
        if (step.plain &&
            (step.kind == Step::Kind::kPlain4 ? take<0>(work, frames[i], step) : take<1>(work, frames[i], step))) {
            continue;
        }
        step.kind = Step::Kind::kDone;
        process_frame(work, frames[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
        const Step& step = burst.step[i];
        if (step.kind == Step::Kind::kPlain4) {
            send<0>(work, frames[i], step);
        } else if (step.kind == Step::Kind::kPlain6) {
            send<1>(work, frames[i], step);
        }
    }
}

}  // namespace sluice::dpdk
