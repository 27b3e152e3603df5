#include "dataplane/pktgen/receive.h"

namespace sluice::pktgen {

Receiver::Receiver(const ReceiveOptions& options, Windows* windows)
    : options_(options), windows_(windows) {}

Receiver::Owner Receiver::owner(std::uint16_t run) const {
    if (run == options_.run) {
        return Owner::kOurs;
    }
    return run == options_.warmup ? Owner::kWarmup : Owner::kForeign;
}

void Receiver::count(std::size_t frame_bytes) {
    counts_.received.add(1);
    counts_.received_bytes.add(frame_bytes + kChecksumBytes);
}

void Receiver::take(const FrameView& view, std::size_t frame_bytes, std::uint64_t now) {
    if (options_.everything) {
        if (view.kind == FrameKind::kArp || view.kind == FrameKind::kIcmpv6) {
            counts_.foreign.add(1);
        } else {
            count(frame_bytes);
        }
        return;
    }
    const FrameKind expected = options_.l4 == L4::kUdp ? FrameKind::kUdp : FrameKind::kTcp;
    if (view.kind != expected) {
        counts_.foreign.add(1);
        return;
    }
    if (view.payload_bytes < kMarkBytes) {
        if (view.kind == FrameKind::kTcp && options_.life_cycle != LifeCycle::kNone) {
            take_segment(view, frame_bytes);
        } else {
            counts_.foreign.add(1);
        }
        return;
    }
    take_payload(view, frame_bytes, now);
}

// Segments without payload: SYNs of ours, and what a device says to them. The upper half of their
// sequence number is the run's; an answer acknowledges the number and one.
void Receiver::take_segment(const FrameView& view, std::size_t frame_bytes) {
    const std::uint8_t flags = view.tcp_flags() & (kTcpSyn | kTcpAck | kTcpRst | kTcpFin);
    const bool answer = (flags & kTcpAck) != 0;
    const std::uint32_t number = answer ? view.tcp_acknowledged() - 1 : view.tcp_sequence();
    const Owner whose = owner(static_cast<std::uint16_t>(number >> 16U));
    const bool known = flags == kTcpSyn || flags == (kTcpSyn | kTcpAck) || flags == (kTcpRst | kTcpAck);
    if (whose == Owner::kForeign || !known) {
        counts_.foreign.add(1);
        return;
    }
    if (whose == Owner::kWarmup) {
        counts_.warmup.add(1);
        return;
    }
    if (!view.checksum_good()) {
        counts_.corrupted.add(1);
        return;
    }
    if (!answer) {
        count(frame_bytes);
    } else if ((flags & kTcpSyn) != 0) {
        counts_.established.add(1);
    } else {
        counts_.reset.add(1);
    }
}

void Receiver::take_payload(const FrameView& view, std::size_t frame_bytes, std::uint64_t now) {
    std::uint16_t words[2];
    __builtin_memcpy(words, view.payload, sizeof words);
    const bool probe = words[0] == kProbeMagic && view.payload_bytes >= kProbeBytes;
    if (!probe && words[0] != kMarkMagic) {
        counts_.foreign.add(1);
        return;
    }
    const Owner whose = owner(words[1]);
    if (whose == Owner::kForeign) {
        counts_.foreign.add(1);
    } else if (!view.checksum_good()) {
        counts_.corrupted.add(1);
    } else if (whose == Owner::kWarmup) {
        counts_.warmup.add(1);
    } else if (probe) {
        take_probe(view, frame_bytes, now);
    } else {
        count(frame_bytes);
    }
}

void Receiver::take_probe(const FrameView& view, std::size_t frame_bytes, std::uint64_t now) {
    const Probe probe = read_probe(view.payload);
    // Its checksum is right, so this is somebody who speaks our language: a run of other flows.
    if (windows_ == nullptr || probe.stream >= windows_->streams()) {
        counts_.foreign.add(1);
        return;
    }
    count(frame_bytes);
    std::uint32_t skipped = 0;
    switch (windows_->arrive(probe.stream, probe.sequence, skipped)) {
        case Arrival::kInOrder: break;
        case Arrival::kReordered: counts_.reordered.add(1); break;
        case Arrival::kDuplicate: counts_.duplicated.add(1); return;
        case Arrival::kLate: counts_.late.add(1); break;
    }
    if (skipped != 0) {
        counts_.skipped.add(skipped);
    }
    const double ns = static_cast<double>(probe_age(now, probe.time)) * options_.ns_per_tick;
    recent_.record(static_cast<std::uint64_t>(ns + 0.5));
}

void Receiver::turn() {
    total_.add(recent_);
    recent_.clear();
}

}  // namespace sluice::pktgen
