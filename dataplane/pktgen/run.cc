// A run from its first frame to its last sample.
#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include <algorithm>

#include "dataplane/pktgen/run_private.h"

namespace sluice::pktgen {
namespace {

constexpr std::size_t kMaxSamples = std::size_t{1} << 20U;  // later ones only the observer sees
constexpr double kPublishWait_s = 0.01;
constexpr unsigned kWatchPause_us = 200;
// With a count and no time, a run ends when the ports have refused everything for so long.
constexpr double kStuck_s = 10;

}  // namespace

int Run::work(void* argument) {
    auto* work = static_cast<Work*>(argument);
    while (work->control->phase.load(std::memory_order_acquire) != Phase::kEnd) {
        for (Task* task : work->tasks) {
            task->step(*work->control);
        }
    }
    return 0;
}

void Run::turn_of_main() {
    if (works_[0].tasks.empty()) {
        rte_delay_us_sleep(kWatchPause_us);
        return;
    }
    for (Task* task : works_[0].tasks) {
        task->step(control_);
    }
}

bool Run::all_done() const {
    return std::all_of(tasks_.begin(), tasks_.end(), [](const auto& task) { return task->done(); });
}

Run::Totals Run::totals() const {
    Totals out;
    const bool warmup = phase_ == Phase::kWarmup;
    std::uint64_t duplicated = 0;
    std::uint64_t refilled = 0;
    std::uint64_t skipped = 0;
    for (const SendCounts* counts : senders_) {
        out.sent += counts->sent.get();
        out.sent_bytes += counts->sent_bytes.get();
        out.connections += counts->closed.get();
        out.behind += counts->behind.get();
    }
    for (const Receiver* receiver : receivers_) {
        const ReceiveCounts& counts = receiver->counts();
        out.received += warmup ? counts.warmup.get() : counts.received.get();
        out.received_bytes += counts.received_bytes.get();
        duplicated += counts.duplicated.get();
        refilled += counts.reordered.get() + counts.late.get();
        skipped += counts.skipped.get();
    }
    for (const StatefulView& view : stateful_) {
        out.sent += view.counts->sent.get() - view.base->sent.get();
        out.sent_bytes += view.counts->sent_bytes.get() - view.base->sent_bytes.get();
        out.received += view.counts->received.get() - view.base->received.get();
        out.received_bytes += view.counts->received_bytes.get() - view.base->received_bytes.get();
        out.behind += view.counts->behind.get();
        if (view.client != nullptr) {
            out.connections += view.client->counts().closed.get() - view.base->closed.get();
        }
    }
    if (warmup && stateful_.empty()) {
        out.sent = out.sent_bytes = 0;
        for (const auto& task : tasks_) {
            out.sent += task->tally().sent.get();
            out.sent_bytes += task->tally().sent_bytes.get();
        }
    }
    const std::uint64_t arrived = out.received - std::min(out.received, duplicated);
    out.missing = windows_ ? skipped - std::min(skipped, refilled) : out.sent - std::min(out.sent, arrived);
    return out;
}

std::vector<PortCounts> Run::port_counts() const {
    std::vector<PortCounts> out = ports_.counted();
    for (std::size_t i = 0; i < out.size(); ++i) {
        PortCounts& port = out[i];
        port.port_sent -= base_[i].port_sent;
        port.port_sent_bytes -= base_[i].port_sent_bytes;
        port.port_received -= base_[i].port_received;
        port.port_received_bytes -= base_[i].port_received_bytes;
        port.port_missed -= base_[i].port_missed;
        port.port_errors -= base_[i].port_errors;
        port.sent = neighbours_[i].sent;
        port.sent_bytes = neighbours_[i].sent_bytes;
        port.received = neighbours_[i].received;
        port.received_bytes = neighbours_[i].received_bytes;
        port.refused = neighbours_[i].refused;
        port.starved = neighbours_[i].starved;
    }
    for (const auto& task : tasks_) {
        PortCounts& port = out[static_cast<std::size_t>(&task->port() - ports_.all().data())];
        port.sent += task->tally().sent.get();
        port.sent_bytes += task->tally().sent_bytes.get();
        port.received += task->tally().received.get();
        port.received_bytes += task->tally().received_bytes.get();
        port.refused += task->tally().refused.get();
        port.starved += task->tally().starved.get();
    }
    return out;
}

// The lcores hand over what they recorded since the last sample. One that does not answer in time is
// left out: the sample's percentiles are then of the others.
void Run::gather_samples(Histogram& out) {
    const std::uint32_t wanted = control_.sample.load(std::memory_order_relaxed) + 1;
    control_.sample.store(wanted, std::memory_order_relaxed);
    const std::uint64_t end = rte_rdtsc() + static_cast<std::uint64_t>(kPublishWait_s * hz_);
    for (const auto& task : tasks_) {
        if (!task->publishes()) {
            continue;
        }
        while (task->published_sample() != wanted && rte_rdtsc() < end) {
            turn_of_main();
        }
        if (task->published_sample() == wanted) {
            out.add(task->published());
        }
    }
}

bool Run::take_sample(const Observer& observer, std::uint64_t now) {
    Histogram latency;
    gather_samples(latency);
    const Totals totals_now = totals();
    Sample sample;
    sample.interval_s = static_cast<double>(now - last_sample_) / hz_;
    sample.at_s = (static_cast<double>(now) - static_cast<double>(counted_from_)) / hz_;
    sample.sent = totals_now.sent - last_totals_.sent;
    sample.sent_bytes = totals_now.sent_bytes - last_totals_.sent_bytes;
    sample.received = totals_now.received - last_totals_.received;
    sample.received_bytes = totals_now.received_bytes - last_totals_.received_bytes;
    sample.lost = totals_now.missing - std::min(totals_now.missing, last_totals_.missing);
    sample.behind = totals_now.behind - last_totals_.behind;
    sample.connections = totals_now.connections - last_totals_.connections;
    sample.p50_ns = latency.percentile(50);
    sample.p99_ns = latency.percentile(99);
    last_sample_ = now;
    last_totals_ = totals_now;
    if (phase_ == Phase::kCounted && samples_.size() < kMaxSamples) {
        samples_.push_back(sample);
    }
    if (!observer) {
        return true;
    }
    sample.ports = port_counts();
    return observer(sample);
}

void Run::enter(Phase phase, std::uint64_t now) {
    phase_ = phase;
    if (phase == Phase::kCounted) {
        counted_from_ = now;
        last_totals_ = totals();
    }
    last_sample_ = phase == Phase::kDrain ? last_sample_ : now;
    control_.phase_at.store(now, std::memory_order_relaxed);
    control_.phase.store(phase, std::memory_order_release);
}

RunResult Run::go(const Observer& observer, const std::vector<PortCounts>& neighbours) {
    neighbours_ = neighbours;
    std::size_t next = 1;
    unsigned lcore = 0;
    RTE_LCORE_FOREACH_WORKER(lcore) {
        if (next < works_.size()) {
            rte_eal_remote_launch(work, &works_[next++], lcore);
        }
    }
    const auto ticks = [&](double seconds) { return static_cast<std::uint64_t>(seconds * hz_); };
    std::uint64_t now = rte_rdtsc();
    const std::uint64_t interval = std::max<std::uint64_t>(ticks(options_.display_interval_s), 1);
    const std::uint64_t never = ~std::uint64_t{0};
    std::uint64_t phase_end = now + ticks(profile_.warmup_s);
    counted_from_ = phase_end;
    enter(profile_.warmup_s > 0 ? Phase::kWarmup : Phase::kCounted, now);
    if (phase_ == Phase::kCounted) {
        phase_end = profile_.count != 0 ? never : now + ticks(profile_.duration_s);
    }
    std::uint64_t moved_at = now;
    std::uint64_t moved = 0;
    while (true) {
        turn_of_main();
        now = rte_rdtsc();
        if (phase_ != Phase::kDrain && now - last_sample_ >= interval) {
            const bool go_on = take_sample(observer, now);
            const bool refused = std::any_of(tasks_.begin(), tasks_.end(), [](const auto& task) {
                return task->tally().refused.get() != 0;
            });
            if (last_totals_.sent != moved || !refused) {
                moved = last_totals_.sent;
                moved_at = now;
            }
            if (!go_on || (profile_.count != 0 && now - moved_at > ticks(kStuck_s))) {
                phase_end = now;
                if (phase_ == Phase::kWarmup) {
                    enter(Phase::kCounted, now);
                }
            }
        }
        if (phase_ == Phase::kCounted && profile_.count != 0 && all_done()) {
            phase_end = now;
        }
        if (now < phase_end) {
            continue;
        }
        if (phase_ == Phase::kWarmup) {
            enter(Phase::kCounted, now);
            phase_end = profile_.count != 0 ? never : now + ticks(profile_.duration_s);
        } else if (phase_ == Phase::kCounted) {
            counted_to_ = now;
            // Senders end before the sample is taken, whose gathering goes on with their turns.
            control_.phase_at.store(now, std::memory_order_relaxed);
            control_.phase.store(Phase::kDrain, std::memory_order_release);
            // The rest of an interval is a sample of its own, so that the samples add up.
            if (now > last_sample_ && !samples_.empty()) {
                take_sample(Observer{}, now);
            }
            enter(Phase::kDrain, now);
            phase_end = now + ticks(profile_.drain_s);
        } else {
            break;
        }
    }
    control_.phase.store(Phase::kEnd, std::memory_order_release);
    rte_eal_mp_wait_lcore();
    for (const auto& task : tasks_) {
        task->finish();
    }
    RunResult out;
    out.profile = profile_;
    out.seconds = static_cast<double>(counted_to_ - counted_from_) / hz_;
    out.ports = port_counts();
    fill_counts(out);
    fill_rates(out);
    out.samples = std::move(samples_);
    return out;
}

void Run::fill_counts(RunResult& out) const {
    for (const SendCounts* counts : senders_) {
        out.sent += counts->sent.get();
        out.sent_bytes += counts->sent_bytes.get();
        out.connections.opened += counts->opened.get();
        out.connections.closed += counts->closed.get();
        out.behind += counts->behind.get();
    }
    for (const Receiver* receiver : receivers_) {
        const ReceiveCounts& counts = receiver->counts();
        out.received += counts.received.get();
        out.received_bytes += counts.received_bytes.get();
        out.duplicated += counts.duplicated.get();
        out.reordered += counts.reordered.get();
        out.corrupted += counts.corrupted.get();
        out.foreign += counts.foreign.get();
        out.late += counts.late.get();
        out.connections.established += counts.established.get();
        out.connections.reset += counts.reset.get();
        out.latency.add(receiver->total());
    }
    for (const StatefulView& view : stateful_) {
        const StatefulBase& base = *view.base;
        out.sent += view.counts->sent.get() - base.sent.get();
        out.sent_bytes += view.counts->sent_bytes.get() - base.sent_bytes.get();
        out.received += view.counts->received.get() - base.received.get();
        out.received_bytes += view.counts->received_bytes.get() - base.received_bytes.get();
        out.corrupted += view.counts->corrupted.get() - base.corrupted.get();
        out.foreign += view.counts->foreign.get() - base.foreign.get();
        out.behind += view.counts->behind.get();
        if (view.client == nullptr) {
            continue;
        }
        const TcpClientCounts& client = view.client->counts();
        out.connections.opened += client.opened.get() - base.opened.get();
        out.connections.established += client.established.get() - base.established.get();
        out.connections.closed += client.closed.get() - base.closed.get();
        out.connections.timed_out += client.timed_out.get() - base.timed_out.get();
        out.connections.reset += client.reset.get() - base.reset.get();
        out.connections.retransmitted += client.retransmitted.get() - base.retransmitted.get();
        out.latency.add(*view.connect_ns);
    }
    const std::uint64_t arrived = out.received - std::min(out.received, out.duplicated);
    out.lost = out.sent - std::min(out.sent, arrived);
}

void Run::fill_rates(RunResult& out) const {
    if (out.seconds <= 0) {
        return;
    }
    constexpr double kLayer1 = kLayer1Bytes;
    const auto sent = static_cast<double>(out.sent);
    const auto received = static_cast<double>(out.received);
    out.sent_pps = sent / out.seconds;
    out.received_pps = received / out.seconds;
    out.sent_bps = 8 * (static_cast<double>(out.sent_bytes) + kLayer1 * sent) / out.seconds;
    out.received_bps = 8 * (static_cast<double>(out.received_bytes) + kLayer1 * received) / out.seconds;
    if (profile_.packets_per_second > 0) {
        out.offered_pps = profile_.packets_per_second;
    } else if (profile_.bits_per_second > 0) {
        double bytes = 0;
        double weights = 0;
        for (const SizeShare& share : profile_.sizes) {
            bytes += static_cast<double>(share.frame_bytes) * share.weight;
            weights += share.weight;
        }
        if (capture_) {
            bytes = static_cast<double>(capture_->bytes.size()) +
                    static_cast<double>(kChecksumBytes * capture_->frames.size());
            weights = static_cast<double>(capture_->frames.size());
        }
        out.offered_pps = profile_.bits_per_second / 8 / (bytes / weights + kLayer1);
    } else if (profile_.connections_per_second > 0 && stateful_.empty()) {
        out.offered_pps = profile_.connections_per_second * (profile_.data_packets + 2.0);
    } else {
        // Without a limit, and of connections, which send as they are answered.
        out.offered_pps = out.sent_pps;
    }
}

}  // namespace sluice::pktgen
