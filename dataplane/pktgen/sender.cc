// Sends the flows of a profile, or a capture, at a rate, in bursts.
#include <rte_cycles.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <limits>

#include "dataplane/pktgen/task_private.h"

namespace sluice::pktgen {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

// Frames that were built and that the port did not take yet: they are offered again, so that the
// numbers of what was sent have no gaps.
class Sender : public Task {
public:
    [[nodiscard]] bool done() const override { return done_.load(std::memory_order_relaxed); }
    [[nodiscard]] const SendCounts& counts() const { return counts_; }

    void step(const Control& control) override {
        if (queue_ == 0) {
            deliver_mail();
        }
        const Phase phase = control.phase.load(std::memory_order_relaxed);
        if (phase != Phase::kWarmup && phase != Phase::kCounted) {
            return;
        }
        const std::uint64_t now = rte_rdtsc();
        if (phase != phase_) {
            phase_ = phase;
            begin(phase, now);
        }
        if (pending_ < kBurst) {
            fill(now);
        }
        if (pending_ != 0) {
            stamp();
            offer();
        }
        if (quota_ == 0 && pending_ == 0) {
            done_.store(true, std::memory_order_relaxed);
        }
    }

    void finish() override {
        rte_pktmbuf_free_bulk(mbufs_, pending_);
        rte_pktmbuf_free_bulk(spare_, spares_);
        pending_ = spares_ = 0;
    }

protected:
    Sender(const SendPlan& plan, const Profile& profile)
        : Task(*plan.port, plan.queue, plan.pool), plan_(plan) {
        if (profile.count != 0) {
            quota_ = profile.count / plan.senders + (plan.index < profile.count % plan.senders ? 1 : 0);
        }
    }

    virtual void begin(Phase phase, std::uint64_t now) = 0;
    // Builds frames into mbufs_[pending_...] while any are due.
    virtual void fill(std::uint64_t now) = 0;
    virtual void stamp() {}
    // The frame at `from` moves to `to`, in front of it.
    virtual void move(std::uint16_t from, std::uint16_t to) = 0;
    // The first so many frames are the port's.
    virtual void sent(std::uint16_t taken) = 0;

    [[nodiscard]] bool counting() const { return phase_ == Phase::kCounted; }
    [[nodiscard]] bool quota_left() const { return !counting() || quota_ != 0; }
    void use_quota() {
        quota_ -= counting() && quota_ != kUnlimited ? 1 : 0;
    }
    // An empty buffer; null: all are under way.
    rte_mbuf* buffer() {
        if (spares_ == 0) {
            if (rte_pktmbuf_alloc_bulk(pool_, spare_, kBurst) != 0) {
                tally_.starved.add(1);
                return nullptr;
            }
            spares_ = kBurst;
        }
        return spare_[--spares_];
    }
    void append(rte_mbuf* mbuf, std::uint32_t bytes) {
        mbuf->data_len = static_cast<std::uint16_t>(bytes);
        mbuf->pkt_len = bytes;
        mbufs_[pending_] = mbuf;
        bytes_[pending_] = bytes + static_cast<std::uint32_t>(kChecksumBytes);
        counted_[pending_] = counting();
        ++pending_;
    }

    SendPlan plan_;
    SendCounts counts_;
    Phase phase_ = Phase::kReady;
    std::uint16_t pending_ = 0;
    rte_mbuf* mbufs_[kBurst];
    bool counted_[kBurst];  // not of the warm-up

private:
    void offer() {
        const std::uint16_t taken = rte_eth_tx_burst(port_.id, queue_, mbufs_, pending_);
        std::uint64_t bytes = 0;
        std::uint64_t counted = 0;
        std::uint64_t counted_bytes = 0;
        for (std::uint16_t i = 0; i < taken; ++i) {
            bytes += bytes_[i];
            counted += counted_[i] ? 1 : 0;
            counted_bytes += counted_[i] ? bytes_[i] : 0;
        }
        sent(taken);
        tally_.sent.add(taken);
        tally_.sent_bytes.add(bytes);
        counts_.sent.add(counted);
        counts_.sent_bytes.add(counted_bytes);
        if (taken < pending_) {
            tally_.refused.add(static_cast<std::uint64_t>(pending_ - taken));
            for (std::uint16_t i = taken; i < pending_; ++i) {
                const auto to = static_cast<std::uint16_t>(i - taken);
                mbufs_[to] = mbufs_[i];
                bytes_[to] = bytes_[i];
                counted_[to] = counted_[i];
                move(i, to);
            }
        }
        pending_ = static_cast<std::uint16_t>(pending_ - taken);
    }

    std::uint64_t quota_ = kUnlimited;  // counted frames still to be built
    std::atomic<bool> done_{false};
    std::uint32_t bytes_[kBurst];
    rte_mbuf* spare_[kBurst];
    std::uint16_t spares_ = 0;
};

double packets_per_second(const Profile& profile) {
    return profile.connections_per_second > 0
               ? profile.connections_per_second * (profile.data_packets + 2.0)
               : profile.packets_per_second;
}

// The limit of one sender, in packets or bits.
Pacer pacer_of(const Profile& profile, unsigned senders, double longest, std::uint64_t now) {
    const bool bits = profile.bits_per_second > 0;
    const double rate = bits ? profile.bits_per_second : packets_per_second(profile);
    return {rate / senders, bits ? (longest + kLayer1Bytes) * 8 : 1, rte_get_tsc_hz(), now};
}

class FlowSender final : public Sender {
public:
    FlowSender(const SendPlan& plan, const Profile& profile, const FlowSpace& flows)
        : Sender(plan, profile),
          profile_(profile),
          frames_(profile, flows, {profile.source_mac.empty() ? plan.port->mac : *parse_mac(profile.source_mac),
                                   plan.destination, plan.run, plan.port->reversed}),
          warmup_frames_(profile, flows, {profile.source_mac.empty() ? plan.port->mac : *parse_mac(profile.source_mac),
                                          plan.destination, plan.warmup_run, plan.port->reversed}),
          chooser_(profile, flows.count(), plan.index, plan.senders),
          sizes_(profile, plan.index),
          pacer_(0, 1, 1, 0),
          first_stream_(static_cast<std::uint32_t>(flows.count() * plan.index)),
          size_(sizes_.next()) {
        if (profile.probe && profile.life_cycle != LifeCycle::kSynOnly) {
            sequences_.resize(flows.count());
        }
        if (profile.life_cycle == LifeCycle::kScripted) {
            scripts_.resize(flows.count());
        }
    }

protected:
    void begin(Phase phase, std::uint64_t now) override {
        double longest = 0;
        for (const SizeShare& share : profile_.sizes) {
            longest = std::max(longest, static_cast<double>(share.frame_bytes));
        }
        pacer_ = pacer_of(profile_, plan_.senders, longest, now);
        now_frames_ = phase == Phase::kWarmup ? &warmup_frames_ : &frames_;
        run_ = phase == Phase::kWarmup ? plan_.warmup_run : plan_.run;
        std::fill(scripts_.begin(), scripts_.end(), Script{});
    }

    void fill(std::uint64_t now) override {
        pacer_.poll(now);
        const bool bits = profile_.bits_per_second > 0;
        while (pending_ < kBurst && quota_left()) {
            const double cost = bits ? (profile_.sizes[size_].frame_bytes + static_cast<double>(kLayer1Bytes)) * 8 : 1;
            if (!pacer_.take(cost)) {
                return;
            }
            rte_mbuf* mbuf = buffer();
            if (mbuf == nullptr) {
                return;
            }
            build(mbuf, chooser_.next());
            size_ = sizes_.next();
        }
    }

    void stamp() override {
        const std::uint64_t now = rte_rdtsc();
        for (std::uint16_t i = 0; i < pending_; ++i) {
            if (built_[i].probe_at != 0) {
                probes_[i].time = now;
                Frames::finish(rte_pktmbuf_mtod(mbufs_[i], std::uint8_t*), built_[i], probes_[i]);
            }
        }
    }

    void move(std::uint16_t from, std::uint16_t to) override {
        built_[to] = built_[from];
        probes_[to] = probes_[from];
        segments_[to] = segments_[from];
    }

    void sent(std::uint16_t taken) override {
        for (std::uint16_t i = 0; profile_.life_cycle != LifeCycle::kNone && i < taken; ++i) {
            counts_.opened.add(counted_[i] && segments_[i] == Segment::kSyn ? 1 : 0);
            counts_.closed.add(counted_[i] && segments_[i] == Segment::kFin ? 1 : 0);
        }
    }

private:
    struct Script {
        std::uint32_t step = 0;
        std::uint32_t sequence = 0;
    };

    void build(rte_mbuf* mbuf, std::uint64_t flow) {
        auto* out = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
        const std::uint16_t at = pending_;
        const Segment segment = profile_.life_cycle == LifeCycle::kNone ? Segment::kData : segment_of(flow);
        BuiltFrame built = now_frames_->build(out, flow, size_, segment);
        if (profile_.life_cycle != LifeCycle::kNone) {
            number(out, flow, segment, built);
        }
        if (built.probe_at != 0) {
            // Nobody looks at the numbers of the warm-up.
            const std::uint32_t sequence = counting() ? sequences_[flow]++ : 0;
            probes_[at] = {run_, first_stream_ + static_cast<std::uint32_t>(flow), sequence, 0};
        } else {
            Frames::finish(out, built);
        }
        built_[at] = built;
        segments_[at] = segment;
        append(mbuf, built.bytes);
        use_quota();
    }

    [[nodiscard]] Segment segment_of(std::uint64_t flow) const {
        if (profile_.life_cycle == LifeCycle::kSynOnly || scripts_[flow].step == 0) {
            return Segment::kSyn;
        }
        return scripts_[flow].step <= profile_.data_packets ? Segment::kData : Segment::kFin;
    }

    // The upper half of a SYN's number is the run's: receive.cc knows it by that.
    void number(std::uint8_t* out, std::uint64_t flow, Segment segment, BuiltFrame& built) {
        const std::uint32_t first = std::uint32_t{run_} << 16U | (syns_ & 0xffffU);
        if (segment == Segment::kSyn) {
            ++syns_;
            Frames::set_tcp(out, built, first, 0);
        }
        if (profile_.life_cycle == LifeCycle::kSynOnly) {
            return;
        }
        Script& script = scripts_[flow];
        if (segment == Segment::kSyn) {
            script.sequence = first + 1;
        } else {
            Frames::set_tcp(out, built, script.sequence, 1);
            script.sequence += built.payload_bytes;
        }
        script.step = segment == Segment::kFin ? 0 : script.step + 1;
    }

    Profile profile_;
    Frames frames_, warmup_frames_;
    const Frames* now_frames_ = nullptr;
    FlowChooser chooser_;
    SizeChooser sizes_;
    Pacer pacer_;
    std::uint32_t first_stream_;
    std::uint32_t size_;  // of the next frame
    std::uint16_t run_ = 0;
    std::uint32_t syns_ = 0;
    std::vector<std::uint32_t> sequences_;  // [flow]
    std::vector<Script> scripts_;           // [flow]
    BuiltFrame built_[kBurst];
    Probe probes_[kBurst];
    Segment segments_[kBurst];
};

class CaptureSender final : public Sender {
public:
    CaptureSender(const SendPlan& plan, const Profile& profile, const Capture& capture)
        : Sender(plan, profile), profile_(profile), capture_(capture), pacer_(0, 1, 1, 0), next_(plan.index) {
        if (!profile.source_mac.empty()) {
            source_ = *parse_mac(profile.source_mac);
        }
        if (!profile.destination_mac.empty()) {
            destination_ = *parse_mac(profile.destination_mac);
        }
    }

protected:
    void begin(Phase phase, std::uint64_t now) override {
        static_cast<void>(phase);
        pacer_ = pacer_of(profile_, plan_.senders, static_cast<double>(capture_.longest + kChecksumBytes), now);
        start_ = now;
        next_ = plan_.index;
    }

    void fill(std::uint64_t now) override {
        pacer_.poll(now);
        const double elapsed_ns = static_cast<double>(now - start_) * 1e9 / static_cast<double>(rte_get_tsc_hz());
        while (pending_ < kBurst && quota_left()) {
            const std::uint64_t lap = next_ / capture_.frames.size();
            const CapturedFrame& frame = capture_.frames[next_ % capture_.frames.size()];
            if (profile_.pcap_timing) {
                if (static_cast<double>(lap * capture_.period_ns + frame.at_ns) > elapsed_ns) {
                    return;
                }
            } else {
                const double bytes = frame.bytes + static_cast<double>(kChecksumBytes + kLayer1Bytes);
                if (!pacer_.take(profile_.bits_per_second > 0 ? bytes * 8 : 1)) {
                    return;
                }
            }
            rte_mbuf* mbuf = buffer();
            if (mbuf == nullptr) {
                return;
            }
            auto* out = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
            std::copy_n(capture_.bytes.data() + frame.offset, frame.bytes, out);
            if (!profile_.destination_mac.empty()) {
                std::copy(destination_.begin(), destination_.end(), out);
            }
            if (!profile_.source_mac.empty()) {
                std::copy(source_.begin(), source_.end(), out + 6);
            }
            append(mbuf, frame.bytes);
            use_quota();
            next_ += plan_.senders;
        }
    }

    void move(std::uint16_t from, std::uint16_t to) override {
        static_cast<void>(from);
        static_cast<void>(to);
    }
    void sent(std::uint16_t taken) override { static_cast<void>(taken); }

private:
    Profile profile_;
    const Capture& capture_;
    Pacer pacer_;
    std::uint64_t start_ = 0;
    std::uint64_t next_;
    Mac source_{}, destination_{};
};

}  // namespace

std::unique_ptr<Task> make_flow_sender(const SendPlan& plan, const Profile& profile,
                                       const FlowSpace& flows, const SendCounts*& counts) {
    auto out = std::make_unique<FlowSender>(plan, profile, flows);
    counts = &out->counts();
    return out;
}

std::unique_ptr<Task> make_capture_sender(const SendPlan& plan, const Profile& profile,
                                          const Capture& capture, const SendCounts*& counts) {
    auto out = std::make_unique<CaptureSender>(plan, profile, capture);
    counts = &out->counts();
    return out;
}

}  // namespace sluice::pktgen
