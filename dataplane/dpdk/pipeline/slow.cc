// Any frame, whole: what the stages of a burst (burst.cc) leave. The steps are those of bpf/progs/tc.bpf.c.
#include "dataplane/dpdk/pipeline/datagrams.h"
#include "dataplane/dpdk/pipeline/translate.h"
// Behind the views that work.h defines.
#include "bpf/lib/onward.h"

#include <cstring>

namespace sluice::dpdk {
namespace {

std::uint32_t place_of(const Work& work, const Frame& frame) {
    const std::uint32_t place = work.place[frame.interface];
    if (!frame.from_kernel) return place;
    return place == SLUICE_PLACE_POD_INGRESS ? SLUICE_PLACE_POD_EGRESS : SLUICE_PLACE_NODE_EGRESS;
}

int parse(Work& work, const Frame& frame) {
    std::memset(&work.now.packet, 0, sizeof work.now.packet);
    return sluice_parse_frame(frame.data, frame.data + frame.length, frame.length, &work.now.packet);
}

// Whether the frame's tag, if it has one, is its interface's. Two are another's network inside of this one.
bool tag_fits(const Work& work, const Frame& frame) {
    const std::uint32_t tags = work.now.packet.vlan_tags;
    if (tags == 0) return true;
    const std::uint16_t id = SLUICE_NTOH16(sluice_load16(frame.data + SLUICE_ETH_HEADER)) & 0xfff;
    return tags == 1 && id == work.vlan[frame.interface];
}

// A packet with ports: its own, or those that its datagram's first fragment had.
void process_ported(Work& work, Frame& frame, bool v6) {
    sluice_case& now = work.now;
    const int decision = judge::decide(work, v6);

    if (decision == SLUICE_DECIDE_PASS) {
        pass_frame(frame);
    } else if (decision != SLUICE_DECIDE_TRANSLATE) {
        turn_away(work, frame, decision == SLUICE_DECIDE_REFUSE, v6);
    } else if ((now.hit.meta.flags & SLUICE_FLOW_NAMED) != 0) {
        send_direct(work, frame, v6);
    } else {
        if (now.packet.fragment == SLUICE_FIRST_FRAGMENT) {
            if (v6) {
                sluice_datagram_remember(&work.datagram_view, &now.packet, 1);
            } else {
                sluice_datagram_remember(&work.datagram_view, &now.packet, 0);
            }
        }
        translate(work, frame, v6);
    }
}

// Reads the beginning of an ICMP error into work.quote and turns it. False if it is about none of our flows.
bool turn_error(Work& work, const Frame& frame, bool v6) {
    const sluice_packet& packet = work.now.packet;
    std::uint32_t length = packet.end - packet.l4;

    if (length > SLUICE_ICMP_BYTES) length = SLUICE_ICMP_BYTES;
    if (length < SLUICE_ICMP_LEAST) return false;
    std::memset(work.quote.word, 0, sizeof work.quote.word);
    std::memcpy(work.quote.word, frame.data + packet.l4, length);
    work.quote.length = length;
    return judge::turn_quote(work, v6);
}

void process_portless(Work& work, Frame& frame, std::uint32_t error, bool v6) {
    const sluice_packet& packet = work.now.packet;

    if (sluice_is_icmp(&packet, error, v6 ? 1 : 0) != 0) {
        if (sluice_icmp_is_of_the_link(packet.icmp_type, v6 ? 1 : 0) != 0) {
            pass_frame(frame);
            return;
        }
        if (sluice_icmp_is_error(packet.icmp_type, v6 ? 1 : 0) != 0 && turn_error(work, frame, v6)) {
            translate(work, frame, v6);
            return;
        }
    }
    const int decision = judge::decide_portless(work, error, v6);
    if (decision == SLUICE_DECIDE_PASS) {
        pass_frame(frame);
    } else {
        turn_away(work, frame, decision == SLUICE_DECIDE_REFUSE, v6);
    }
}

bool recall(Work& work) {
    return (work.now.packet.family == 4
                ? sluice_datagram_recall(&work.datagram_view, &work.now.packet, 0)
                : sluice_datagram_recall(&work.datagram_view, &work.now.packet, 1)) != 0;
}

}  // namespace

void discard_frame(Work& work, Frame& frame, std::uint32_t reason) {
    count_drop(work, reason);
    frame.verdict = Verdict::kDrop;
    frame.reason = static_cast<std::uint8_t>(reason);
}

void drop_frame(Work& work, Frame& frame, std::uint32_t reason) {
    work.now.reason = reason;
    log_event(work, SLUICE_EVENT_DROPPED);
    discard_frame(work, frame, reason);
}

void pass_frame(Frame& frame) {
    frame.verdict = frame.from_kernel ? Verdict::kForward : Verdict::kKernel;
    frame.out = frame.interface;
}

void process_frame(Work& work, Frame& frame) {
    sluice_case& now = work.now;

    if (frame.interface >= work.interfaces.size()) {
        pass_frame(frame);
        return;
    }
    int parsed = parse(work, frame);
    // What is not IP, or broken beyond telling where it goes, is the stack's to judge.
    if (parsed == SLUICE_PARSE_NOT_IP || parsed == SLUICE_PARSE_BAD_IP || !tag_fits(work, frame)) {
        pass_frame(frame);
        return;
    }
    now.place = place_of(work, frame);
    now.flows = work.flows;
    datagrams_in_use = work.shared.datagrams;
    const Received received = receive_direct(work, frame, parsed);
    if (received == Received::kDropped) return;
    if (received == Received::kAgain) parsed = parse(work, frame);
    const bool v6 = now.packet.family == 6;
    if (parsed == SLUICE_PARSE_NO_PORTS && now.packet.fragment == SLUICE_LATER_FRAGMENT && recall(work)) {
        parsed = SLUICE_PARSE_OK;
    }
    if (parsed == SLUICE_PARSE_OK) {
        process_ported(work, frame, v6);
    } else {
        process_portless(work, frame, parsed == SLUICE_PARSE_BAD_L4 ? now.packet.error : 0U, v6);
    }
}

}  // namespace sluice::dpdk
