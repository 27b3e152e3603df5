// The way out of a lcore: what verdicts ask for, send buffers, queues that other lcores have.
#include <rte_branch_prediction.h>
#include <unistd.h>

#include <cstring>

#include "dataplane/dpdk/runtime/capture_internal.h"
#include "dataplane/dpdk/runtime/worker_internal.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint16_t kEtherArp = 0x0806;
constexpr std::uint16_t kEtherV6 = 0x86dd;
constexpr std::size_t kV6Bytes = 40;
constexpr std::uint8_t kIcmp6 = 58;
// Router solicitation, router advertisement, neighbour solicitation, neighbour advertisement, redirect (RFC 4861, 4).
constexpr std::uint8_t kFirstDiscovery = 133;
constexpr std::uint8_t kLastDiscovery = 137;

std::uint16_t word_at(const std::uint8_t* data) {
    return static_cast<std::uint16_t>(data[0] << 8 | data[1]);
}

// ARP, or neighbour discovery right behind the IPv6 header, as RFC 4861 has it sent.
bool is_discovery(const std::uint8_t* data, std::size_t length) {
    std::size_t at = 12;
    for (int tags = 0; tags < 2 && length >= at + 6; ++tags) {
        const std::uint16_t type = word_at(data + at);
        if (type != 0x8100 && type != 0x88a8) break;
        at += 4;
    }
    if (length < at + 2) return false;
    const std::uint16_t type = word_at(data + at);
    if (type == kEtherArp) return true;
    const std::size_t ip = at + 2;
    if (type != kEtherV6 || length < ip + kV6Bytes + 1 || data[ip + 6] != kIcmp6) return false;
    const std::uint8_t message = data[ip + kV6Bytes];
    return message >= kFirstDiscovery && message <= kLastDiscovery;
}

// The pipeline may have moved either end of the frame.
void take_back(rte_mbuf* mbuf, const Frame& frame) {
    mbuf->data_off = static_cast<std::uint16_t>(frame.data - static_cast<std::uint8_t*>(mbuf->buf_addr));
    mbuf->data_len = static_cast<std::uint16_t>(frame.length);
    mbuf->pkt_len = frame.length;
}

}  // namespace

void Worker::send(std::uint16_t port, rte_mbuf* mbuf) {
    Gathered& gathered = sending_[port % kMaxPorts];
    gathered.frames[gathered.count++] = mbuf;
    sending_mask_ |= 1ULL << (port % kMaxPorts);
    if (gathered.count == kMaxBurst) flush(static_cast<std::uint16_t>(port % kMaxPorts));
}

void Worker::follow(std::span<const Frame> frames) {
    for (const Frame& frame : frames) {
        if (likely(frame.verdict == Verdict::kForward)) {
            auto* mbuf = static_cast<rte_mbuf*>(frame.owner);
            take_back(mbuf, frame);
            send(shape_.port_of[frame.out % kMaxInterfaces], mbuf);
        } else {
            follow_otherwise(frame);
        }
    }
}

void Worker::follow_otherwise(const Frame& frame) {
    auto* mbuf = static_cast<rte_mbuf*>(frame.owner);
    switch (frame.verdict) {
        case Verdict::kReply:
            take_back(mbuf, frame);
            send(mbuf->port, mbuf);
            break;
        case Verdict::kKernel:
            take_back(mbuf, frame);
            to_kernel(mbuf, frame);
            break;
        case Verdict::kUnresolved:
            take_back(mbuf, frame);
            to_control(mbuf, frame, true);
            break;
        default: rte_pktmbuf_free(mbuf); break;
    }
}

void Worker::to_kernel(rte_mbuf* mbuf, const Frame& answer) {
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    if (is_discovery(data, mbuf->data_len)) {
        to_control(mbuf, answer, false);
        return;
    }
    std::uint16_t port = shape_.ports[mbuf->port % kMaxPorts].twin;
    if (port == kNoPort) {
        port = shape_.kernel_port;
        // Another port's way is taken: the kernel wants to see that one's address.
        if (port != kNoPort && (data[0] & 1) == 0) std::memcpy(data, &shape_.ports[port].mac, 6);
    }
    if (port == kNoPort) {
        counters_.no_exception.add(1);
        rte_pktmbuf_free(mbuf);
        return;
    }
    send(port, mbuf);
}

void Worker::to_control(rte_mbuf* mbuf, const Frame& answer, bool unresolved) {
    *note_of(mbuf) = {answer.neighbour, answer.interface, answer.out, unresolved};
    if (rte_ring_mp_enqueue(shape_.control, mbuf) != 0) {
        counters_.control_failed.add(1);
        rte_pktmbuf_free(mbuf);
        return;
    }
    // One call for as many frames as come before the control thread looks.
    if (!shape_.control_woken.exchange(true, std::memory_order_acq_rel) && shape_.control_event >= 0) {
        const std::uint64_t one = 1;
        static_cast<void>(!write(shape_.control_event, &one, sizeof(one)));
    }
}

void Worker::flush_all() {
    while (sending_mask_ != 0) flush(static_cast<std::uint16_t>(__builtin_ctzll(sending_mask_)));
}

void Worker::flush(std::uint16_t port) {
    Gathered& gathered = sending_[port];
    sending_mask_ &= ~(1ULL << port);
    const std::uint16_t count = gathered.count;
    rte_mbuf** frames = gathered.frames.data();
    gathered.count = 0;
    const PortShape& shape = shape_.ports[port];
    if (unlikely(shape.tx_queues == 0)) {  // of an interface that has no port
        send_failed(port, frames, count);
        return;
    }
    if (index_ >= shape.tx_queues) {
        for (std::uint16_t i = 0; i < count; ++i) frames[i]->port = port;
        rte_ring* ring = shape_.workers[index_ % shape.tx_queues]->outgoing();
        const unsigned taken = rte_ring_mp_enqueue_burst(ring, reinterpret_cast<void**>(frames), count, nullptr);
        if (unlikely(taken < count)) {
            counters_.outgoing_failed.add(count - taken);
            rte_pktmbuf_free_bulk(frames + taken, count - taken);
        }
        return;
    }
    if (unlikely(capture_ != nullptr)) {
        for (std::uint16_t i = 0; i < count; ++i) capture_->offer(frames[i], port, true);
    }
    std::uint16_t sent = 0;
    for (unsigned tries = 0; tries < kSendTries && sent < count; ++tries) {
        sent = static_cast<std::uint16_t>(
            sent + rte_eth_tx_burst(port, static_cast<std::uint16_t>(index_), frames + sent,
                                    static_cast<std::uint16_t>(count - sent)));
    }
    if (unlikely(sent < count)) send_failed(port, frames + sent, static_cast<std::uint32_t>(count - sent));
}

void Worker::send_failed(std::uint16_t port, rte_mbuf** frames, std::uint32_t count) {
    (shape_.ports[port].exception ? counters_.exception_failed : counters_.send_failed).add(count);
    counters_.port_send_failed[port].add(count);
    rte_pktmbuf_free_bulk(frames, count);
}

void Worker::capture_all(std::span<const Frame> frames) {
    for (const Frame& frame : frames) {
        const auto* mbuf = static_cast<const rte_mbuf*>(frame.owner);
        capture_->offer(mbuf, mbuf->port, false);
    }
}

}  // namespace sluice::dpdk
