// Refusals and errors, made of the packet that they answer.
#include <cstring>
#include <utility>

#include "dataplane/dpdk/pipeline/translate.h"

namespace sluice::dpdk {
namespace {

// Builds the answer in work.reply. False if there is none to give.
bool build(Work& work, const Frame& frame, bool tcp, bool v6) {
    const sluice_packet& packet = work.now.packet;
    sluice_reply& reply = work.reply;

    if (tcp) {
        std::uint32_t head[4];
        if (packet.l4 + sizeof head > frame.length) return false;
        std::memcpy(head, frame.data + packet.l4, sizeof head);
        const std::uint32_t seq = SLUICE_NTOH32(head[1]);
        const std::uint32_t ack = SLUICE_NTOH32(head[2]);
        const std::uint32_t header = (SLUICE_NTOH32(head[3]) >> 28U) * 4;
        if (v6) {
            sluice_build_reset(&reply, &packet, seq, ack, header, 1);
        } else {
            sluice_build_reset(&reply, &packet, seq, ack, header, 0);
        }
        return true;
    }
    const std::uint32_t length = sluice_quote_length(&packet);
    if (length < 20 || packet.l3 + length > frame.length) return false;
    std::uint32_t* quote = reply.word + sluice_quote_word(v6 ? 1 : 0);
    std::memset(quote, 0, SLUICE_MAX_QUOTE);
    std::memcpy(quote, frame.data + packet.l3, length);
    if (v6) {
        if (work.answer.type == 0) sluice_answer_unreachable(&work.answer, packet.tuple.protocol, 1);
        sluice_build_error(&reply, &packet, length, &work.answer, 1);
    } else {
        if (work.answer.type == 0) sluice_answer_unreachable(&work.answer, packet.tuple.protocol, 0);
        sluice_build_error(&reply, &packet, length, &work.answer, 0);
    }
    return true;
}

void turn_macs(std::uint8_t* ethernet) {
    std::uint8_t mac[6];
    std::memcpy(mac, ethernet, 6);
    std::memmove(ethernet, ethernet + 6, 6);
    std::memcpy(ethernet + 6, mac, 6);
}

}  // namespace

void reply_to(Work& work, Frame& frame, bool v6) {
    const sluice_packet& packet = work.now.packet;
    const bool tcp = packet.tuple.protocol == SLUICE_IPPROTO_TCP && work.answer.type == 0;

    frame.verdict = Verdict::kDrop;
    if (sluice_may_answer(&packet) == 0 || (tcp && (packet.tcp_flags & SLUICE_TCP_RST) != 0)) return;
    if (sluice_reply_allowed(&work.budget, work.flows.now,
                             tcp ? SLUICE_RESETS_PER_TICK : SLUICE_UNREACHABLES_PER_TICK) == 0) {
        count_drop(work, SLUICE_DROP_REPLY_RATE_LIMITED);
        return;
    }
    if (!build(work, frame, tcp, v6)) return;
    const std::uint32_t length = packet.l3 + work.reply.length;
    if (length > frame.length + frame.tailroom) {
        discard_frame(work, frame, SLUICE_DROP_REWRITE_FAILED);
        return;
    }
    turn_macs(frame.data);
    std::memcpy(frame.data + packet.l3, work.reply.word, work.reply.length);
    frame.tailroom = static_cast<std::uint16_t>(frame.tailroom + frame.length - length);
    frame.length = length;
    frame.verdict = Verdict::kReply;
}

void turn_away(Work& work, Frame& frame, bool refuse, bool v6) {
    if (work.now.match.has_service != 0) count_refused(work, work.now.match.service);
    log_event(work, refuse ? SLUICE_EVENT_REFUSED : SLUICE_EVENT_DROPPED);
    discard_frame(work, frame, work.now.reason);
    if (!refuse) return;
    work.answer.type = 0;
    reply_to(work, frame, v6);
}

void answer(Work& work, Frame& frame, std::uint32_t reason, bool v6) {
    drop_frame(work, frame, reason);
    reply_to(work, frame, v6);
}

}  // namespace sluice::dpdk
