#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_pause.h>

#include <algorithm>

#include "dataplane/pktgen/sender_private.h"

namespace sluice::pktgen {
namespace {

double packets_per_second(const Profile& profile) {
    return profile.connections_per_second > 0
               ? profile.connections_per_second * (profile.data_packets + 2.0)
               : profile.packets_per_second;
}

bool sends_in(Phase phase) { return phase == Phase::kWarmup || phase == Phase::kCounted; }

}  // namespace

Sender::Sender(const SendPlan& plan, const Profile& profile)
    : Task(*plan.port, plan.queue, plan.pool), plan_(plan) {
    if (profile.count != 0) {
        quota_ = profile.count / plan.senders + (plan.index < profile.count % plan.senders ? 1 : 0);
    }
}

void Sender::pace(const Profile& profile, double mean_bytes, double most_bytes, std::uint64_t start) {
    const auto layer1_bits = [](double bytes) { return (bytes + static_cast<double>(kLayer1Bytes)) * 8; };
    bits_ = profile.bits_per_second > 0;
    const double rate = bits_ ? profile.bits_per_second : packets_per_second(profile);
    limited_ = rate > 0;
    units_a_packet_ = bits_ ? layer1_bits(mean_bytes) : 1;
    pacer_ = Pacer(rate / plan_.senders, bits_ ? layer1_bits(most_bytes) : 1, rte_get_tsc_hz(), start);
}

void Sender::step(const Control& control) {
    control_ = &control;
    if (queue_ == 0) {
        deliver_mail();
    }
    const Phase phase = control.phase.load(std::memory_order_acquire);
    if (phase != phase_) {
        change(phase, control.phase_at.load(std::memory_order_relaxed));
    }
    if (!sends_in(phase)) {
        return;
    }
    const std::uint64_t now = rte_rdtsc();
    if (now < offer_at_) {
        rte_pause();
        return;
    }
    const std::uint64_t quota = counting() ? quota_ : kUnlimited;
    const auto most = static_cast<std::uint16_t>(
        std::min<std::uint64_t>(quota, static_cast<std::uint64_t>(kBurst - pending_)));
    if (most != 0) {
        pacer_.poll(now);
        const std::uint16_t before = pending_;
        fill(now, most);
        if (counting()) {
            quota_ -= quota_ != kUnlimited ? static_cast<std::uint64_t>(pending_ - before) : 0;
            count_behind(pacer_.given_up(), 0);
        } else {
            uncounted_ = pending_;
        }
    }
    if (pending_ != 0) {
        stamp();
        offer();
    }
    if (quota_ == 0 && pending_ == 0) {
        done_.store(true, std::memory_order_relaxed);
    }
}

void Sender::change(Phase phase, std::uint64_t at) {
    if (counting() && limited_) {
        count_behind(quota_ != 0 ? pacer_.missed_by(at) : pacer_.given_up(),
                     static_cast<std::uint64_t>(pending_ - std::min(uncounted_, pending_)));
    }
    phase_ = phase;
    if (sends_in(phase)) {
        begin(phase, at);
    }
}

// Parts of a packet are due too: only whole ones count.
void Sender::count_behind(double units, std::uint64_t unsent) {
    const std::uint64_t behind = static_cast<std::uint64_t>(units / units_a_packet_) + unsent;
    const std::uint64_t told = counts_.behind.get();
    counts_.behind.add(behind - std::min(behind, told));
}

void Sender::finish() {
    // With no time to drain, an lcore may end without having seen that counting did.
    if (counting() && control_ != nullptr) {
        change(Phase::kDrain, control_->phase_at.load(std::memory_order_relaxed));
    }
    rte_pktmbuf_free_bulk(mbufs_, pending_);
    pending_ = 0;
}

bool Sender::allocate(std::uint16_t count, double units) {
    if (rte_mempool_get_bulk(pool_, reinterpret_cast<void**>(mbufs_ + pending_), count) == 0) {
        return true;
    }
    tally_.starved.add(1);
    pacer_.put_back(units);
    return false;
}

// What rte_pktmbuf_reset() sets and a sender needs; buffers come back with one owner and one segment.
void Sender::add(rte_mbuf* mbuf, std::uint32_t bytes) {
    mbuf->data_off = RTE_PKTMBUF_HEADROOM;
    mbuf->ol_flags = 0;
    mbuf->packet_type = 0;
    mbuf->pkt_len = bytes;
    mbuf->data_len = static_cast<std::uint16_t>(bytes);
    bytes_[pending_++] = bytes + static_cast<std::uint32_t>(kChecksumBytes);
}

void Sender::offer() {
    const std::uint16_t taken = rte_eth_tx_burst(port_.id, queue_, mbufs_, pending_);
    const std::uint16_t counted_from = std::min(uncounted_, taken);
    std::uint64_t bytes = 0;
    for (std::uint16_t i = 0; i < counted_from; ++i) {
        bytes += bytes_[i];
    }
    std::uint64_t counted_bytes = 0;
    for (std::uint16_t i = counted_from; i < taken; ++i) {
        counted_bytes += bytes_[i];
    }
    sent(taken, counted_from);
    tally_.sent.add(taken);
    tally_.sent_bytes.add(bytes + counted_bytes);
    counts_.sent.add(static_cast<std::uint64_t>(taken - counted_from));
    counts_.sent_bytes.add(counted_bytes);
    uncounted_ = static_cast<std::uint16_t>(uncounted_ - counted_from);
    told_ = static_cast<std::uint16_t>(told_ - std::min(told_, taken));
    const auto left = static_cast<std::uint16_t>(pending_ - taken);
    if (left > told_) {
        tally_.refused.add(static_cast<std::uint64_t>(left - told_));
        told_ = left;
    }
    for (std::uint16_t to = 0; taken != 0 && to < left; ++to) {
        const auto from = static_cast<std::uint16_t>(taken + to);
        mbufs_[to] = mbufs_[from];
        bytes_[to] = bytes_[from];
        move(from, to);
    }
    pending_ = left;
    if (taken != 0) {
        pause_ = 0;
        return;
    }
    const auto hz = static_cast<double>(rte_get_tsc_hz());
    pause_ = std::clamp(2 * pause_, static_cast<std::uint64_t>(kMinPause_s * hz),
                        static_cast<std::uint64_t>(kMaxPause_s * hz));
    offer_at_ = rte_rdtsc() + pause_;
}

}  // namespace sluice::pktgen
