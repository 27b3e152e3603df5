#include <rte_branch_prediction.h>
#include <rte_cycles.h>
#include <rte_prefetch.h>
#include <rte_rcu_qsbr.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <cstring>

#include "dataplane/dpdk/pipeline/dispatch.h"
#include "dataplane/dpdk/runtime/worker_internal.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint32_t kHeaderBytes = 14;
constexpr std::uint32_t kAhead = 4;  // frames whose headers are fetched while others are looked at
// Turns without a frame before a lcore sleeps: some hundred microseconds, so that it sleeps between no two bursts of
// traffic that is worth its speed.
constexpr std::uint32_t kIdleTurns = 4096;
constexpr std::uint64_t kMacMask = 0x0000ffffffffffffULL;  // the first six bytes of a little-endian load

std::uint64_t load_mac(const std::uint8_t* bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof(word));
    return word & kMacMask;
}

bool is_tag(const std::uint8_t* data) {
    return (data[12] == 0x81 && data[13] == 0x00) || (data[12] == 0x88 && data[13] == 0xa8);
}

}  // namespace

Worker::Worker(Shape& shape, unsigned index, std::unique_ptr<Pipeline> pipeline, rte_ring* inbox, rte_ring* outgoing)
    : shape_(shape),
      index_(index),
      pipeline_(std::move(pipeline)),
      inbox_(inbox),
      outgoing_(outgoing),
      lcores_(static_cast<std::uint32_t>(shape.workers.size())),
      others_(shape.workers.size()) {}

void Worker::run() {
    prctl(PR_SET_TIMERSLACK, 1UL);
    rte_rcu_qsbr_thread_online(shape_.grace, index_);
    last_cycles_ = rte_rdtsc();
    while (!shape_.stop.load(std::memory_order_relaxed)) {
        const std::uint32_t frames = turn();
        const std::uint64_t cycles = rte_rdtsc();
        (frames != 0 ? counters_.busy_cycles : counters_.idle_cycles).add(cycles - last_cycles_);
        last_cycles_ = cycles;
        sleep_if_idle(frames == 0);
    }
    rte_rcu_qsbr_thread_offline(shape_.grace, index_);
}

std::uint32_t Worker::turn() {
    rte_rcu_qsbr_quiescent(shape_.grace, index_);
    take_changes();
    tell_time(rte_rdtsc());
    std::uint32_t total = 0;
    std::array<rte_mbuf*, kMaxBurst> frames;
    for (const Source& source : sources_) {
        const std::uint16_t count = rte_eth_rx_burst(source.port, source.queue, frames.data(), kMaxBurst);
        if (count == 0) continue;
        counters_.bursts.add(1);
        total += count;
        handle(frames.data(), count, false);
    }
    if (lcores_ > 1) {
        const unsigned count =
            rte_ring_sc_dequeue_burst(inbox_, reinterpret_cast<void**>(frames.data()), kMaxBurst, nullptr);
        if (count != 0) {
            total += count;
            handle(frames.data(), count, true);
        }
    }
    const unsigned count =
        rte_ring_sc_dequeue_burst(outgoing_, reinterpret_cast<void**>(frames.data()), kMaxBurst, nullptr);
    for (unsigned i = 0; i < count; ++i) send(frames[i]->port, frames[i]);
    total += count;
    flush_all();
    if (unlikely(carrying_) && carry_flows(total != 0)) ++total;  // it does not sleep before it is done
    return total;
}

void Worker::take_changes() {
    if (tables_.take(shape_.tables)) {
        pipeline_->use(tables_.value != nullptr ? *tables_.value : image::Tables{});
        frontends_.clear();
    }
    if (forwarding_.take(shape_.forwarding)) pipeline_->use(forwarding_.value);
    if (flows_.take(shape_.flows)) {
        const FlowMemory& mine = (*flows_.value)[index_];
        pipeline_->use(mine);
        carrying_ = mine.mode == SLUICE_FLOW_MOVE;
        if (!carrying_) carried_.store(flows_.number, std::memory_order_release);
    }
    if (shared_.take(shape_.shared)) pipeline_->use(*shared_.value);
    capture_ = shape_.capture.load(std::memory_order_acquire);
}

bool Worker::carry_flows(bool busy) {
    const CarriedFlows before = pipeline_->carried_flows();
    const Carrying state = pipeline_->carry_flows(busy ? kCarryBusy : kCarryIdle, now_);
    const CarriedFlows& after = pipeline_->carried_flows();
    counters_.flows_moved.add(after.moved - before.moved);
    counters_.flows_expired.add(after.expired - before.expired);
    counters_.flows_lost.add(after.lost - before.lost);
    carrying_ = state != Carrying::kDone;
    if (!carrying_) carried_.store(flows_.number, std::memory_order_release);
    return state == Carrying::kGoesOn;
}

void Worker::tell_time(std::uint64_t cycles) {
    if (likely(cycles < next_time_)) return;
    now_ = shared_now();
    next_time_ = cycles + shape_.cycles_per_second / 1000;
}

void Worker::sleep_if_idle(bool idle) {
    if (likely(!idle)) {
        idle_turns_ = 0;
        return;
    }
    if (++idle_turns_ < kIdleTurns || shape_.idle_sleep_us == 0) {
        rte_pause();
        return;
    }
    // Asleep it uses nothing, so nobody has to wait for it.
    rte_rcu_qsbr_thread_offline(shape_.grace, index_);
    const timespec pause{0, static_cast<long>(shape_.idle_sleep_us) * 1000};
    nanosleep(&pause, nullptr);
    counters_.sleeps.add(1);
    rte_rcu_qsbr_thread_online(shape_.grace, index_);
}

[[gnu::always_inline]] inline bool Worker::classify(rte_mbuf* mbuf, bool dispatched, Frame* frame) {
    if (unlikely(!rte_pktmbuf_is_contiguous(mbuf)) && rte_pktmbuf_linearize(mbuf) != 0) {
        counters_.malformed.add(1);
        rte_pktmbuf_free(mbuf);
        return false;
    }
    const PortShape& port = shape_.ports[mbuf->port % kMaxPorts];
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    if (unlikely(mbuf->data_len < kHeaderBytes)) {
        counters_.malformed.add(1);
        rte_pktmbuf_free(mbuf);
        return false;
    }
    // The kernel addresses its frames to the next hop; all others must be meant for us or for a group.
    if (unlikely(load_mac(data) != port.mac) && !port.exception && (data[0] & 1) == 0) {
        counters_.foreign.add(1);
        rte_pktmbuf_free(mbuf);
        return false;
    }
    std::size_t interface = port.untagged;
    if (unlikely(is_tag(data))) {
        const auto vlan = mbuf->data_len < kHeaderBytes + 4 ? 0 : (data[14] << 8 | data[15]) & 0xfff;
        interface = forwarding_.value == nullptr
                        ? kMaxInterfaces
                        : forwarding_.value->interface_of(port.exception ? port.twin : mbuf->port,
                                                    static_cast<std::uint16_t>(vlan));
    }
    if (unlikely(interface >= kMaxInterfaces)) {
        // What the kernel sends by VLANs of its own is not ours to judge.
        if (port.exception && port.twin != kNoPort) {
            send(port.twin, mbuf);
        } else {
            counters_.no_interface.add(1);
            rte_pktmbuf_free(mbuf);
        }
        return false;
    }
    *frame = {.data = data,
              .length = mbuf->data_len,
              .headroom = rte_pktmbuf_headroom(mbuf),
              .tailroom = rte_pktmbuf_tailroom(mbuf),
              .interface = static_cast<std::uint16_t>(interface),
              .from_kernel = port.exception,
              .ip_checksum_good = (mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD,
              .owner = mbuf};
    if (lcores_ == 1 || dispatched || unlikely(tables_.value == nullptr)) return true;
    const std::uint32_t lcore =
        lcore_of(*frame, *tables_.value, *shared_.value, lcores_, {*flows_.value, now_}, &frontends_);
    if (lcore == index_) return true;
    Gathered& other = others_[lcore];
    other.frames[other.count++] = mbuf;
    others_mask_ |= 1ULL << lcore;
    return false;
}

void Worker::handle(rte_mbuf** mbufs, std::uint32_t count, bool dispatched) {
    std::uint32_t mine = 0;
    for (std::uint32_t i = 0; i < std::min(count, kAhead); ++i) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
    for (std::uint32_t i = 0; i < count; ++i) {
        if (i + kAhead < count) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i + kAhead], void*));
        if (classify(mbufs[i], dispatched, &frames_[mine])) ++mine;
    }
    for (; others_mask_ != 0; others_mask_ &= others_mask_ - 1) {
        flush_inbox(static_cast<std::uint32_t>(__builtin_ctzll(others_mask_)));
    }
    if (mine != 0) process({frames_.data(), mine});
}

void Worker::flush_inbox(std::uint32_t lcore) {
    Gathered& gathered = others_[lcore];
    const unsigned taken =
        rte_ring_mp_enqueue_burst(shape_.workers[lcore]->inbox(), reinterpret_cast<void**>(gathered.frames.data()),
                                  gathered.count, nullptr);
    counters_.dispatched.add(taken);
    if (unlikely(taken < gathered.count)) {
        counters_.dispatch_failed.add(gathered.count - taken);
        rte_pktmbuf_free_bulk(gathered.frames.data() + taken, gathered.count - taken);
    }
    gathered.count = 0;
}

void Worker::process(std::span<Frame> frames) {
    if (unlikely(capture_ != nullptr)) capture_all(frames);
    counters_.packets.add(frames.size());
    pipeline_->process(frames, now_);
    follow(frames);
}

}  // namespace sluice::dpdk
