// Direct server return: the load balancer's side, and the backend's (bpf/lib/direct.h, bpf/lib/tunnel.h).
//
// Datagrams in fragments do not go this way: no later fragment would find its pod.
#include <cstring>

#include "dataplane/dpdk/pipeline/leave.h"
#include "dataplane/dpdk/pipeline/translate.h"
// Behind the views that work.h defines.
#include "bpf/lib/onward.h"
#include "bpf/lib/tunnel.h"

namespace sluice::dpdk {
namespace {

bool is_zero(const sluice_address& address, bool v6) {
    const std::uint32_t rest = address.word_be[0] | address.word_be[1] | address.word_be[2];
    return ((v6 ? rest : 0U) | address.word_be[3]) == 0;
}

void answer_too_big(Work& work, Frame& frame, std::uint32_t growth, bool v6) {
    sluice_answer_too_big(&work.answer, work.hop->mtu - growth, v6 ? 1 : 0);
    answer(work, frame, SLUICE_DROP_TOO_BIG, v6);
}

// IP in IP to the backend's node.
void send_in_tunnel(Work& work, Frame& frame, bool v6) {
    sluice_case& now = work.now;
    const sluice_flow_hit& hit = now.hit;
    const sluice_address& node = work.image.header->node_address[v6 ? 1 : 0];
    const std::uint16_t port_be = hit.new_ports.port_be[SLUICE_DESTINATION];
    const std::uint32_t growth = v6 ? 40 : 20;
    const std::uint32_t length = now.packet.end - now.packet.l3;
    std::uint32_t outer[SLUICE_OUTER6_WORDS];

    if (is_zero(node, v6)) {
        drop_frame(work, frame, SLUICE_DROP_NO_NODE_ADDRESS);
        return;
    }
    const Way way = route(work, hit.new_dst, length + growth, v6);
    if (way == Way::kTooBig) {
        answer_too_big(work, frame, growth, v6);
        return;
    }
    if (way != Way::kForward) {
        drop_frame(work, frame, SLUICE_DROP_NO_ROUTE);
        return;
    }
    if (frame.headroom < growth) {
        drop_frame(work, frame, SLUICE_DROP_REWRITE_FAILED);
        return;
    }
    const std::uint32_t first_be = sluice_load32(frame.data + now.packet.l3);
    if (v6) {
        sluice_build_outer6(outer, &node, &hit.new_dst, length, port_be, first_be);
    } else {
        sluice_build_outer4(outer, node.word_be[3], hit.new_dst.word_be[3], length, port_be,
                            static_cast<__u8>(SLUICE_NTOH32(first_be) >> 16U));
    }
    std::memmove(frame.data - growth, frame.data, now.packet.l3);
    move_head(frame, -static_cast<std::int32_t>(growth));
    std::memcpy(frame.data + now.packet.l3, outer, growth);
    if (!leave_by(frame, *work.hop, now.packet.l3, v6)) {
        drop_frame(work, frame, SLUICE_DROP_REWRITE_FAILED);
    }
}

// Puts the option that names the frontend behind the IP header, and brings the packet record up to date. Returns 0 or a
// reason.
std::uint32_t insert_option(Work& work, Frame& frame, bool v6) {
    sluice_packet& packet = work.now.packet;
    const std::uint16_t port_be = packet.tuple.ports.port_be[SLUICE_DESTINATION];
    const std::uint32_t size = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
    const std::uint32_t header = v6 ? 40 : 20;
    const std::uint32_t length = packet.end - packet.l3;
    std::uint32_t option[6] = {};
    std::uint32_t word[3];

    if (frame.headroom < size) return SLUICE_DROP_REWRITE_FAILED;
    std::memcpy(word, frame.data + packet.l3, sizeof word);
    if (v6) {
        std::uint8_t next = 0;
        if (sluice_put_option6(word, length, &next) == 0) return SLUICE_DROP_BAD_HEADER;
        sluice_build_option6(option, &packet.tuple.dst, port_be, next);
    } else {
        sluice_build_option4(option, packet.tuple.dst.word_be[3], port_be);
        if (sluice_put_option4(word, option, length) == 0) return SLUICE_DROP_BAD_HEADER;
    }
    std::memmove(frame.data - size, frame.data, packet.l3 + header);
    move_head(frame, -static_cast<std::int32_t>(size));
    std::memcpy(frame.data + packet.l3, word, sizeof word);
    std::memcpy(frame.data + packet.l3 + header, option, size);
    packet.l4 += size;
    packet.end += size;
    return SLUICE_DROP_NONE;
}

// Reads what is inside of a tunnel into the record.
bool read_tunnel(Work& work, const Frame& frame, bool v6) {
    sluice_case& now = work.now;
    const std::uint32_t l3 = now.packet.l3;
    const std::uint32_t outer = v6 ? 40 : 20;

    if (now.packet.l4 != l3 + outer) return false;
    now.selection.port_be = sluice_outer_port(frame.data + l3, v6 ? 1 : 0);
    now.pair.reverse.src = now.packet.tuple.dst;
    std::memset(&now.packet, 0, sizeof now.packet);
    now.packet.l3 = l3 + outer;
    return sluice_parse_ip(frame.data, frame.data + frame.length, frame.length,
                           v6 ? SLUICE_ETHERTYPE_IPV6 : SLUICE_ETHERTYPE_IPV4,
                           &now.packet) == SLUICE_PARSE_OK &&
           now.packet.fragment == SLUICE_WHOLE;
}

bool find_option(Work& work, const Frame& frame, bool v6) {
    sluice_case& now = work.now;
    sluice_packet& packet = now.packet;
    const std::uint32_t size = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
    const std::uint32_t header = v6 ? 40 : 20;
    const std::uint8_t* const ip = frame.data + packet.l3;
    std::uint16_t port_be = 0;

    if (packet.l4 != packet.l3 + header + size || (v6 && ip[6] != SLUICE_IPPROTO_DSTOPTS)) return false;
    now.pair.reverse.src = packet.tuple.dst;
    now.selection.port_be = packet.tuple.ports.port_be[SLUICE_DESTINATION];
    if (sluice_read_option(ip + header, &packet.tuple.dst, &port_be, v6 ? 1 : 0) == 0) return false;
    packet.tuple.ports.port_be[SLUICE_DESTINATION] = port_be;
    return true;
}

// Takes off the outer header, which lies before packet.l3.
void strip_tunnel(Work& work, Frame& frame, bool v6) {
    const std::uint32_t outer = v6 ? 40 : 20;
    std::memmove(frame.data + outer, frame.data, work.now.packet.l3 - outer);
    move_head(frame, static_cast<std::int32_t>(outer));
}

// Takes the option off, and gives the packet the frontend's address and port again. Returns 0 or a reason.
std::uint32_t strip_option(Work& work, Frame& frame, bool v6) {
    sluice_case& now = work.now;
    sluice_packet& packet = now.packet;
    const std::uint32_t size = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
    const std::uint32_t header = v6 ? 40 : 20;
    std::uint32_t word[10];

    std::memcpy(word, frame.data + packet.l3, header);
    const std::uint8_t next = frame.data[packet.l3 + header];
    packet.l4 -= size;
    packet.end -= size;
    if (v6) {
        sluice_take_option6(word, packet.end - packet.l3, next);
    } else {
        sluice_take_option4(word, packet.end - packet.l3);
    }
    std::memmove(frame.data + size, frame.data, packet.l3);
    move_head(frame, static_cast<std::int32_t>(size));
    std::memcpy(frame.data + packet.l3, word, header);
    // From what the frame holds to the frontend.
    const sluice_address frontend = packet.tuple.dst;
    const std::uint32_t ports_be = packet.tuple.ports.both_be;
    packet.tuple.dst = now.pair.reverse.src;
    packet.tuple.ports.port_be[SLUICE_DESTINATION] = now.selection.port_be;
    return rewrite(work, frame, packet.tuple.src, frontend, ports_be, packet.ttl, v6);
}

}  // namespace

void send_direct(Work& work, Frame& frame, bool v6) {
    sluice_case& now = work.now;
    const std::uint32_t growth = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;

    if (now.packet.fragment != SLUICE_WHOLE) {
        drop_frame(work, frame, SLUICE_DROP_FRAGMENT);
        return;
    }
    count_packet(work, now.hit.meta.backend, counted_bytes(now.packet));
    if ((now.hit.meta.flags & SLUICE_FLOW_TUNNEL) != 0) {
        send_in_tunnel(work, frame, v6);
        return;
    }
    if (sluice_carries_option(now.packet.tuple.protocol, now.packet.tcp_flags) != 0) {
        // Asked before the packet changes, so that the answer quotes what the client sent.
        const std::uint32_t length = now.packet.end - now.packet.l3;
        const Way way = route(work, now.hit.new_dst, length + growth, v6);
        if (way == Way::kTooBig) {
            answer_too_big(work, frame, growth, v6);
            return;
        }
        if (way == Way::kForward && now.packet.ttl <= 1) {
            sluice_answer_time_exceeded(&work.answer, v6 ? 1 : 0);
            answer(work, frame, SLUICE_DROP_TTL_EXPIRED, v6);
            return;
        }
        const std::uint32_t reason = insert_option(work, frame, v6);
        if (reason != 0) {
            drop_frame(work, frame, reason);
            return;
        }
    }
    translate(work, frame, v6);
}

Received receive_direct(Work& work, Frame& frame, int parsed) {
    sluice_case& now = work.now;
    const bool v6 = now.packet.family == 6;

    if (now.place != SLUICE_PLACE_NODE_INGRESS || now.packet.fragment != SLUICE_WHOLE) return Received::kAsIs;
    const bool tunnel = parsed == SLUICE_PARSE_NO_PORTS &&
                        now.packet.tuple.protocol == (v6 ? SLUICE_IPPROTO_IPV6 : SLUICE_IPPROTO_IPIP);
    if (!tunnel &&
        (parsed != SLUICE_PARSE_OK || now.packet.l4 - now.packet.l3 != (v6 ? 64U : 28U))) {
        return Received::kAsIs;
    }
    if (!(tunnel ? read_tunnel(work, frame, v6) : find_option(work, frame, v6))) return Received::kAgain;
    const sluice_address pod = now.pair.reverse.src;
    const int what = judge::accept(work, pod, now.selection.port_be, !tunnel, v6);
    if (what == SLUICE_DIRECT_PASS) return Received::kAgain;
    if (what == SLUICE_DIRECT_ACCEPT) {
        // Accepting may have used the pair for the flow; what strip_option needs of it is the pod.
        now.pair.reverse.src = pod;
        if (tunnel) {
            strip_tunnel(work, frame, v6);
            return Received::kAgain;
        }
        now.reason = strip_option(work, frame, v6);
        if (now.reason == 0) return Received::kAgain;
    }
    drop_frame(work, frame, now.reason);
    return Received::kDropped;
}

}  // namespace sluice::dpdk
