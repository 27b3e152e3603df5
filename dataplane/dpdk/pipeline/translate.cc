// A packet that a flow takes: routed, changed in place, sent.
#include "dataplane/dpdk/pipeline/translate.h"

#include <cstring>

#include "dataplane/dpdk/pipeline/leave.h"
// Behind the views that work.h defines.
#include "bpf/lib/onward.h"

namespace sluice::dpdk {
namespace {

// Ports and CRC32c.
std::uint32_t rewrite_sctp(const sluice_packet& packet, std::uint8_t* l4, std::uint32_t ports_be) {
    if (ports_be == packet.tuple.ports.both_be) return SLUICE_DROP_NONE;
    // The CRC covers what other fragments hold, and how much that is nobody has said yet.
    if (packet.fragment != SLUICE_WHOLE) return SLUICE_DROP_SCTP_PORT;
    const std::uint32_t crc = sluice_sctp_crc(sluice_load32(l4 + SLUICE_SCTP_CRC), packet.tuple.ports.both_be,
                                              ports_be, packet.end - packet.l4);
    sluice_store32(l4, ports_be);
    sluice_store32(l4 + SLUICE_SCTP_CRC, crc);
    return SLUICE_DROP_NONE;
}

template <int V6>
std::uint32_t rewrite_in_place(Work& work, Frame& frame, const sluice_address& src, const sluice_address& dst,
                               std::uint32_t ports_be, std::uint8_t ttl) {
    const sluice_packet& packet = work.now.packet;
    std::uint8_t* const ip = frame.data + packet.l3;
    std::uint8_t* const l4 = frame.data + packet.l4;
    const std::uint8_t protocol = packet.tuple.protocol;

    if (packet.fragment != SLUICE_LATER_FRAGMENT) {
        if (protocol == SLUICE_IPPROTO_TCP || protocol == SLUICE_IPPROTO_UDP) {
            sluice_rewrite_l4(l4, protocol, packet.tuple.ports.both_be, ports_be,
                              sluice_sum_addresses_change(&packet.tuple, &src, &dst, V6));
        } else if (protocol == SLUICE_IPPROTO_SCTP) {
            const std::uint32_t reason = rewrite_sctp(packet, l4, ports_be);
            if (reason != 0) return reason;
        } else {
            std::memcpy(l4, work.quote.word, work.quote.length);
        }
    }
    if constexpr (V6 != 0) {
        sluice_rewrite_ipv6(ip, &src, &dst, ttl);
    } else {
        sluice_rewrite_ipv4(ip, src.word_be[3], dst.word_be[3], ttl);
    }
    return SLUICE_DROP_NONE;
}

}  // namespace

Way route(Work& work, const sluice_address& destination, std::uint32_t length, bool v6) {
    work.hop = v6 ? &work.hops.find<1>(destination) : &work.hops.find<0>(destination);
    if (work.hop->kind != HopKind::kForward && work.hop->kind != HopKind::kUnresolved) return Way::kLocal;
    if (work.hop->mtu != 0 && length > work.hop->mtu) return Way::kTooBig;
    return Way::kForward;
}

std::uint32_t rewrite(Work& work, Frame& frame, const sluice_address& src, const sluice_address& dst,
                      std::uint32_t ports_be, std::uint8_t ttl, bool v6) {
    return v6 ? rewrite_in_place<1>(work, frame, src, dst, ports_be, ttl)
              : rewrite_in_place<0>(work, frame, src, dst, ports_be, ttl);
}

void translate(Work& work, Frame& frame, bool v6) {
    sluice_case& now = work.now;
    const sluice_flow_hit& hit = now.hit;
    std::uint8_t ttl = now.packet.ttl;
    Way way = Way::kLocal;

    // By option it was counted as the client sent it.
    if (sluice_counted_direct(&now) == 0) count_packet(work, hit.meta.backend, counted_bytes(now.packet));
    if (sluice_may_route(&now) != 0) {
        if (!v6 || sluice_is_link_local(&hit.new_src) == 0) {
            way = route(work, hit.new_dst, now.packet.end - now.packet.l3, v6);
        }
        if (way == Way::kForward && now.place != SLUICE_PLACE_NODE_EGRESS) {
            if (ttl <= 1) {
                sluice_answer_time_exceeded(&work.answer, v6 ? 1 : 0);
                answer(work, frame, SLUICE_DROP_TTL_EXPIRED, v6);
                return;
            }
            ttl--;
        }
        if (way == Way::kTooBig && sluice_too_big_for_us(&now) != 0) {
            sluice_answer_too_big(&work.answer, work.hop->mtu, v6 ? 1 : 0);
            answer(work, frame, SLUICE_DROP_TOO_BIG, v6);
            return;
        }
        if (way != Way::kForward && sluice_must_route(&now) != 0) {
            drop_frame(work, frame, SLUICE_DROP_NO_ROUTE);
            return;
        }
    }
    sluice_keep_frontend(&now);
    const std::uint32_t reason =
        rewrite(work, frame, hit.new_src, hit.new_dst, hit.new_ports.both_be, ttl, v6);
    if (reason != 0) {
        drop_frame(work, frame, reason);
    } else if (way != Way::kForward) {
        pass_frame(frame);
    } else if (!leave_by(frame, *work.hop, now.packet.l3, v6)) {
        drop_frame(work, frame, SLUICE_DROP_REWRITE_FAILED);
    }
}

}  // namespace sluice::dpdk
