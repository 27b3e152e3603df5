#include "dataplane/dpdk/pipeline/burst.h"

#include <cstddef>
#include <cstring>
#include <type_traits>

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

[[gnu::always_inline]] inline std::uint64_t load64(const std::uint8_t* at) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
}

// Whether the checksum of an IPv4 header without options is right: the one's complement sum of its words is then all
// ones, which is to say that their sum is a multiple of 2^16 - 1 (and it is not 0).
[[gnu::always_inline]] inline bool sums_to_all_ones(std::uint64_t low, std::uint64_t high, std::uint32_t last) {
    const std::uint64_t sum = (low & 0xffffffffU) + (low >> 32U) + (high & 0xffffffffU) + (high >> 32U) + last;
    return sum % 0xffff == 0;
}

// The transport header at `l4` of a packet of `total` bytes, `l4_at` of them before it, all in the frame: whether it is
// sound, as bpf/lib/parse.h has it.
[[gnu::always_inline]] inline bool look_at_transport(const std::uint8_t* l4, std::uint32_t l4_at, Step& step) {
    if (step.protocol == SLUICE_IPPROTO_TCP) {
        if (step.total < l4_at + 20) return false;
        const std::uint32_t words = l4[12] >> 4U;
        step.tcp_flags = l4[13];
        return words >= 5 && l4_at + words * 4 <= step.total;
    }
    step.tcp_flags = 0;
    return step.protocol == SLUICE_IPPROTO_UDP && step.total >= l4_at + 8;
}

template <int V6>
[[gnu::always_inline]] inline sluice_tuple tuple_of(const std::uint8_t* ip, std::uint8_t protocol) {
    sluice_tuple tuple{};
    tuple.protocol = protocol;
    if constexpr (V6 != 0) {
        std::memcpy(tuple.src.word_be, ip + 8, 16);
        std::memcpy(tuple.dst.word_be, ip + 24, 16);
        tuple.ports.both_be = sluice_load32(ip + 40);
    } else {
        sluice_set_v4(&tuple.src, sluice_load32(ip + 12));
        sluice_set_v4(&tuple.dst, sluice_load32(ip + 16));
        tuple.ports.both_be = sluice_load32(ip + 20);
    }
    return tuple;
}

template <int V6>
[[gnu::always_inline]] inline void fetch_bucket(const Work& work, const std::uint8_t* ip, Step& step) {
    if ((V6 != 0 ? work.flows.bucket_count6 : work.flows.bucket_count4) == 0) [[unlikely]] return;
    const sluice_tuple tuple = tuple_of<V6>(ip, step.protocol);
    const std::uint64_t hash = sluice_flow_hash(&work.flows, &tuple, V6);
    const std::uint32_t bucket = sluice_flow_bucket_of(&work.flows, hash, V6);
    step.hash = static_cast<std::uint32_t>(hash);
    if constexpr (V6 != 0) {
        step.set = &work.flows.buckets6[bucket].set;
        step.kind = Step::Kind::kPlain6;
    } else {
        step.set = &work.flows.buckets4[bucket].set;
        step.kind = Step::Kind::kPlain4;
    }
    __builtin_prefetch(step.set);
}

// What one word of a frame says: where it came in, whether from the kernel, and whether its checksum is known.
[[gnu::always_inline]] inline std::uint32_t origin_of(const Frame& frame) {
    static_assert(offsetof(Frame, from_kernel) == offsetof(Frame, interface) + 2 &&
                  offsetof(Frame, ip_checksum_good) == offsetof(Frame, interface) + 3);
    std::uint32_t origin = 0;
    std::memcpy(&origin, reinterpret_cast<const char*>(&frame) + offsetof(Frame, interface), sizeof origin);
    return origin;
}

// Whether frames that came so may be plain.
[[gnu::noinline]] bool may_be_plain(const Work& work, const Frame& frame) {
    return !frame.from_kernel && frame.interface < work.interfaces.size() &&
           work.place[frame.interface] != SLUICE_PLACE_NODE_EGRESS;
}

// Looks at one frame. What is then not plain is processed as a whole.
[[gnu::always_inline]] inline void look(const Work& work, const Frame& frame, Step& step) {
    const std::uint8_t* const data = frame.data;
    const std::uint32_t length = frame.length;
    std::uint32_t l3 = SLUICE_ETH_HEADER;

    step.kind = Step::Kind::kDone;
    if (length < SLUICE_ETH_HEADER + 28) return;
    std::uint16_t ethertype = sluice_load16(data + 12);
    if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_VLAN)) [[unlikely]] {
        if ((SLUICE_NTOH16(sluice_load16(data + 14)) & 0xfffU) != work.vlan[frame.interface]) return;
        ethertype = sluice_load16(data + 16);
        l3 += 4;
        if (length < l3 + 28) return;
    }
    const std::uint8_t* const ip = data + l3;
    step.l3 = static_cast<std::uint8_t>(l3);
    if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4)) {
        const std::uint64_t low = load64(ip);
        const std::uint64_t high = load64(ip + 8);
        // No options, and no fragment.
        if (ip[0] != 0x45 || (sluice_load16(ip + 6) & SLUICE_HTON16(0x3fff)) != 0) return;
        step.total = SLUICE_NTOH16(sluice_load16(ip + 2));
        step.protocol = ip[9];
        if (l3 + step.total > length || !look_at_transport(ip + 20, 20, step) ||
            (!frame.ip_checksum_good && !sums_to_all_ones(low, high, sluice_load32(ip + 16)))) {
            return;
        }
        fetch_bucket<0>(work, ip, step);
    } else if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6)) {
        if (length < l3 + 48 || (ip[0] & 0xf0U) != 0x60) return;
        step.total = 40U + SLUICE_NTOH16(sluice_load16(ip + 4));
        step.protocol = ip[6];
        if (l3 + step.total > length || !look_at_transport(ip + 40, 40, step)) return;
        // Addresses that could be mapped ones, which are refused, begin with 64 zeros; few others do.
        if (load64(ip + 8) == 0 || load64(ip + 24) == 0) return;
        // Next hops are looked up by their destination alone; what may not be sent on is told apart elsewhere.
        if ((sluice_load32(ip + 8) & SLUICE_HTON32(0xffc00000U)) == SLUICE_HTON32(0xfe800000U)) return;
        fetch_bucket<1>(work, ip, step);
    }
}

// Fetches the record of the first slot that has the tag, or of the one that a new flow is likely to get. It may lie
// across two lines, of IPv6 it does.
[[gnu::always_inline]] inline void aim(Step& step) {
    const std::uint32_t slots = slots_with_tag(*step.set, step.hash << 16U);
    const std::uint32_t slot =
        slots != 0 ? static_cast<std::uint32_t>(__builtin_ctz(slots)) : sluice_flow_home(step.hash);
    step.slot = static_cast<std::uint8_t>(slot);
    const auto* record = reinterpret_cast<const char*>(step.set + 1);
    if (step.kind == Step::Kind::kPlain4) {
        record += slot * sizeof(sluice_flow4);
        __builtin_prefetch(record + sizeof(sluice_flow4) - 1);
    } else {
        record += slot * sizeof(sluice_flow6);
        __builtin_prefetch(record + sizeof(sluice_flow6) - 1);
    }
    step.record = record;
    __builtin_prefetch(record);
}
static_assert(offsetof(sluice_flow_bucket4, entry) == sizeof(sluice_flow_set) &&
              offsetof(sluice_flow_bucket6, entry) == sizeof(sluice_flow_set));

template <int V6>
using Record = std::conditional_t<V6 != 0, sluice_flow6, sluice_flow4>;

template <int V6>
[[gnu::always_inline]] inline const Record<V6>& record_of(const Step& step) {
    return *static_cast<const Record<V6>*>(step.record);
}

[[gnu::always_inline]] inline sluice_address address_of(std::uint32_t v4_be) {
    sluice_address address;
    sluice_set_v4(&address, v4_be);
    return address;
}
[[gnu::always_inline]] inline sluice_address address_of(const std::uint32_t (&word_be)[4]) {
    sluice_address address;
    std::memcpy(address.word_be, word_be, sizeof address.word_be);
    return address;
}

// Fetches what `send` will want.
template <int V6>
[[gnu::always_inline]] inline void fetch_way_out(const Work& work, Step& step) {
    const Record<V6>& record = record_of<V6>(step);
    std::uint32_t set = 0;
    if constexpr (V6 != 0) {
        set = HopCache::set_of6(record.new_dst_be);
    } else {
        set = HopCache::set_of4(record.new_dst_be);
    }
    step.hops = static_cast<std::uint16_t>(set);
    work.hops.prefetch<V6>(set);
    // Whatever a record says, nothing is read by this.
    __builtin_prefetch(reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(work.served) +
                                                     record.meta.backend * sizeof(sluice_backend_counters)),
                       1);
}

// The flow of a plain packet that is not the common case. False: the packet is to be processed as a whole.
template <int V6>
[[gnu::noinline]] bool take_slowly(Work& work, const Frame& frame, Step& step) {
    const std::uint32_t slots = slots_with_tag(*step.set, step.hash << 16U);
    if (slots == 0) return false;
    const sluice_tuple tuple = tuple_of<V6>(frame.data + step.l3, step.protocol);
    const std::uint64_t hash = sluice_flow_hash(&work.flows, &tuple, V6);
    sluice_flow_hit hit;

    if (!find_in<V6>(work.flows, step.set, slots, tuple, hash, hit) ||
        sluice_flow_usable_by(&work.flows, step.tcp_flags, &work.image, &hit) == 0 ||
        ((hit.meta.flags & SLUICE_FLOW_OPTION) != 0 && sluice_carries_option(step.protocol, step.tcp_flags) != 0) ||
        sluice_flow_follow(&work.flows, &hit, step.tcp_flags, V6) == 0) {
        return false;
    }
    step.slot = static_cast<std::uint8_t>(hit.slot % SLUICE_FLOW_WAYS);
    step.record = record_at<V6>(step.set, step.slot);
    fetch_way_out<V6>(work, step);
    return true;
}

// The flow of a plain packet, followed: nothing changes by one of an established flow that was followed in this tick
// already. False: the packet is to be processed as a whole.
template <int V6>
[[gnu::always_inline]] inline bool take(Work& work, const Frame& frame, Step& step) {
    const Record<V6>& record = record_of<V6>(step);
    const std::uint32_t wanted = step.hash << 16U | SLUICE_FLOW_ESTABLISHED;
    const std::uint32_t differs =
        ((SLUICE_READ_ONCE(step.set->word[step.slot]) ^ wanted) & (0xffff0000U | SLUICE_FLOW_STATE_MASK)) |
        static_cast<std::uint32_t>(SLUICE_READ_ONCE(step.set->seen[step.slot]) ^ work.flows.now) |
        (step.tcp_flags & (SLUICE_TCP_SYN | SLUICE_TCP_FIN | SLUICE_TCP_RST)) |
        key_differs(record, frame.data + step.l3, step.protocol);

    if (differs != 0 ||
        (step.protocol != SLUICE_IPPROTO_TCP && (record.meta.flags & SLUICE_FLOW_REVERSE) == 0 &&
         ((record.meta.flags & SLUICE_FLOW_OPTION) != 0 ||
          sluice_backend_serves(&work.image, record.meta.backend, record.meta.incarnation) == 0))) [[unlikely]] {
        return take_slowly<V6>(work, frame, step);
    }
    fetch_way_out<V6>(work, step);
    return true;
}

// The packet at `ip` as its flow's record has it, with one hop less.
template <int V6>
[[gnu::always_inline]] inline void rewrite_by(const Record<V6>& record, std::uint8_t* ip, std::uint8_t protocol,
                                              std::uint8_t ttl) {
    const auto older = static_cast<std::uint8_t>(ttl - 1);
    if constexpr (V6 != 0) {
        const sluice_tuple from = tuple_of<1>(ip, protocol);
        const sluice_address source = address_of(record.new_src_be);
        const sluice_address destination = address_of(record.new_dst_be);
        sluice_rewrite_l4(ip + 40, protocol, from.ports.both_be, record.new_ports_be,
                          sluice_sum_addresses_change(&from, &source, &destination, 1));
        sluice_rewrite_ipv6(ip, &source, &destination, older);
    } else {
        const std::uint64_t change = sluice_sum_change(sluice_load32(ip + 12), record.new_src_be) +
                                     sluice_sum_change(sluice_load32(ip + 16), record.new_dst_be);
        sluice_rewrite_l4(ip + 20, protocol, sluice_load32(ip + 20), record.new_ports_be, change);
        sluice_rewrite_ipv4_by(ip, record.new_src_be, record.new_dst_be, older, change);
    }
}

// What the stages do not send themselves, though its flow is known: too big, out of hops, or for this node.
template <int V6>
[[gnu::noinline]] void send_otherwise(Work& work, Frame& frame, const Step& step) {
    const Record<V6>& record = record_of<V6>(step);
    sluice_case& now = work.now;

    std::memset(&now.packet, 0, sizeof now.packet);
    sluice_parse_frame(frame.data, frame.data + frame.length, frame.length, &now.packet);
    now.flows = work.flows;
    now.place = work.place[frame.interface];
    now.match.has_service = 0;
    now.hit.new_src = address_of(record.new_src_be);
    now.hit.new_dst = address_of(record.new_dst_be);
    now.hit.new_ports.both_be = record.new_ports_be;
    now.hit.meta.backend = record.meta.backend;
    now.hit.meta.flags = record.meta.flags;
    if ((record.meta.flags & SLUICE_FLOW_NAMED) != 0) {
        send_direct(work, frame, V6 != 0);
    } else {
        translate(work, frame, V6 != 0);
    }
}

// The outer header of a packet of `total` bytes at `ip`, in front of it. Word by word: what is put together in memory
// first would be waited for when it is copied.
template <int V6>
[[gnu::always_inline]] inline void put_outer(const Work& work, const Record<V6>& record, std::uint8_t* ip,
                                             std::uint32_t total) {
    const sluice_address& node = work.image.header->node_address[V6];
    const std::uint32_t first_be = sluice_load32(ip);
    union sluice_ports ports;
    ports.both_be = record.new_ports_be;
    const std::uint16_t port_be = ports.port_be[SLUICE_DESTINATION];
    std::uint32_t outer[V6 != 0 ? SLUICE_OUTER6_WORDS : SLUICE_OUTER4_WORDS];
    std::uint8_t* const at = ip - sizeof outer;

    if constexpr (V6 != 0) {
        const sluice_address backend = address_of(record.new_dst_be);
        sluice_build_outer6(outer, &node, &backend, total, port_be, first_be);
        sluice_store32(at, outer[0]);
        sluice_store32(at + 4, outer[1]);
        std::memcpy(at + 8, node.word_be, sizeof node.word_be);
        std::memcpy(at + 24, record.new_dst_be, sizeof record.new_dst_be);
    } else {
        sluice_build_outer4(outer, node.word_be[3], record.new_dst_be, total, port_be,
                            static_cast<__u8>(SLUICE_NTOH32(first_be) >> 16U));
        for (std::size_t i = 0; i < SLUICE_OUTER4_WORDS; ++i) sluice_store32(at + 4 * i, outer[i]);
    }
}

template <int V6>
constexpr std::uint32_t kOuterBytes = 4 * (V6 != 0 ? SLUICE_OUTER6_WORDS : SLUICE_OUTER4_WORDS);

// IP in IP to the backend's node. False, and nothing changed, if it is not to be had here.
template <int V6>
[[gnu::noinline]] bool send_in_tunnel(Work& work, Frame& frame, const Step& step, const Hop& hop) {
    const Record<V6>& record = record_of<V6>(step);

    if (hop.kind != HopKind::kForward || (hop.mtu != 0 && step.total + kOuterBytes<V6> > hop.mtu) ||
        frame.headroom < kOuterBytes<V6> + sizeof hop.l2 || work.image.header->node_address[V6].word_be[3] == 0) {
        return false;
    }
    count_packet(work, record.meta.backend, SLUICE_ETH_HEADER + step.total);
    put_outer<V6>(work, record, frame.data + step.l3, step.total);
    move_head(frame, -static_cast<std::int32_t>(kOuterBytes<V6>));
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
    count_packet(work, record_of<V6>(step).meta.backend, SLUICE_ETH_HEADER + step.total);
    const auto older = static_cast<std::uint8_t>(ttl - 1);
    if constexpr (V6 != 0) {
        ip[7] = older;
    } else {
        sluice_rewrite_ipv4_by(ip, sluice_load32(ip + 12), sluice_load32(ip + 16), older, 0);
    }
    return leave_by(frame, hop, step.l3, V6 != 0);
}

// What is not the common case of send(): tags come or go, by link, or not sent by the stages at all.
template <int V6>
[[gnu::noinline]] void send_less_simply(Work& work, Frame& frame, const Step& step, const Hop& hop) {
    const Record<V6>& record = record_of<V6>(step);
    std::uint8_t* const ip = frame.data + step.l3;
    const std::uint8_t ttl = ip[V6 != 0 ? 7 : 8];

    if ((record.meta.flags & (SLUICE_FLOW_TUNNEL | SLUICE_FLOW_LINK)) != 0) {
        const bool sent = (record.meta.flags & SLUICE_FLOW_LINK) != 0 ? send_by_link<V6>(work, frame, step, hop)
                                                                      : send_in_tunnel<V6>(work, frame, step, hop);
        if (!sent) send_otherwise<V6>(work, frame, step);
        return;
    }
    if (hop.kind != HopKind::kForward || ttl <= 1 || (hop.mtu != 0 && step.total > hop.mtu) ||
        hop.l2_length > step.l3 + frame.headroom) {
        send_otherwise<V6>(work, frame, step);
        return;
    }
    count_packet(work, record.meta.backend, SLUICE_ETH_HEADER + step.total);
    rewrite_by<V6>(record, ip, step.protocol, ttl);
    leave_by(frame, hop, step.l3, V6 != 0);
}

// The rest of a plain packet's way. REQUIRES: take() has said so.
template <int V6>
[[gnu::always_inline]] inline void send_as(Work& work, Frame& frame, const Step& step) {
    const Record<V6>& record = record_of<V6>(step);
    const Hop* found = nullptr;
    if constexpr (V6 != 0) {
        found = &work.hops.find6(step.hops, record.new_dst_be);
    } else {
        found = &work.hops.find4(step.hops, record.new_dst_be);
    }
    const Hop& hop = *found;
    std::uint8_t* const ip = frame.data + SLUICE_ETH_HEADER;
    const std::uint8_t ttl = ip[V6 != 0 ? 7 : 8];

    // An MTU of 0, which is none, becomes the largest one; what is larger still takes the longer way.
    if ((record.meta.flags & SLUICE_FLOW_TUNNEL) != 0) {
        if (hop.kind != HopKind::kForward || hop.l2_length != SLUICE_ETH_HEADER || step.l3 != SLUICE_ETH_HEADER ||
            step.total + kOuterBytes<V6> - 1 > static_cast<std::uint16_t>(hop.mtu - 1) ||
            frame.headroom < kOuterBytes<V6> || work.image.header->node_address[V6].word_be[3] == 0) {
            send_less_simply<V6>(work, frame, step, hop);
            return;
        }
        count_packet(work, record.meta.backend, SLUICE_ETH_HEADER + step.total);
        put_outer<V6>(work, record, ip, step.total);
        move_head(frame, -static_cast<std::int32_t>(kOuterBytes<V6>));
        std::memcpy(frame.data, hop.l2, SLUICE_ETH_HEADER);
        frame.out = hop.out;
        frame.neighbour = hop.neighbour;
        frame.verdict = Verdict::kForward;
        return;
    }
    if ((record.meta.flags & SLUICE_FLOW_LINK) != 0 || hop.kind != HopKind::kForward ||
        hop.l2_length != SLUICE_ETH_HEADER || step.l3 != SLUICE_ETH_HEADER || ttl <= 1 ||
        step.total - 1 > static_cast<std::uint16_t>(hop.mtu - 1)) {
        send_less_simply<V6>(work, frame, step, hop);
        return;
    }
    count_packet(work, record.meta.backend, SLUICE_ETH_HEADER + step.total);
    rewrite_by<V6>(record, ip, step.protocol, ttl);
    std::memcpy(frame.data, hop.l2, SLUICE_ETH_HEADER);
    frame.out = hop.out;
    frame.neighbour = hop.neighbour;
    frame.verdict = Verdict::kForward;
}

// Sends a frame that has been taken.
[[gnu::always_inline]] inline void send(Work& work, Frame& frame, const Step& step) {
    if (step.kind == Step::Kind::kPlain4) {
        send_as<0>(work, frame, step);
    } else {
        send_as<1>(work, frame, step);
    }
}

}  // namespace

void process_burst(Work& work, Burst& burst, std::span<Frame> frames) {
    Step* const steps = burst.step.data();
    Frame* const first = frames.data();
    const std::size_t count = frames.size();
    std::uint32_t origin = count != 0 ? ~origin_of(*first) : 0;
    bool plain_origin = false;

    for (std::size_t i = 0; i < count && i < kFramesAhead; ++i) __builtin_prefetch(first[i].data);
    for (std::size_t i = 0; i < count; ++i) {
        const Frame& frame = first[i];
        __builtin_prefetch(first[i + kFramesAhead < count ? i + kFramesAhead : i].data);
        if (origin_of(frame) != origin) [[unlikely]] {
            origin = origin_of(frame);
            plain_origin = may_be_plain(work, frame);
        }
        if (plain_origin) [[likely]] {
            look(work, frame, steps[i]);
        } else {
            steps[i].kind = Step::Kind::kDone;
        }
    }
    for (Step* step = steps; step != steps + count; ++step) {
        if (step->kind != Step::Kind::kDone) [[likely]] aim(*step);
    }
    std::size_t sent = 0;
    for (std::size_t i = 0; i < count; ++i) {
        Step& step = steps[i];
        if (step.kind == Step::Kind::kPlain4) {
            if (take<0>(work, first[i], step)) continue;
        } else if (step.kind == Step::Kind::kPlain6) {
            if (take<1>(work, first[i], step)) continue;
        }
        for (; sent < i; ++sent) send(work, first[sent], steps[sent]);
        process_frame(work, first[i]);
        sent = i + 1;
    }
    for (; sent < count; ++sent) send(work, first[sent], steps[sent]);
}

}  // namespace sluice::dpdk
