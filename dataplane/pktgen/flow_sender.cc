// Sends the flows of a profile: packets of flows in bursts built at once, or scripted connections.
#include <rte_cycles.h>

#include <algorithm>
#include <cstddef>

#include "dataplane/pktgen/sender_private.h"

namespace sluice::pktgen {
namespace {

class FlowSender final : public Sender {
public:
    FlowSender(const SendPlan& plan, const Profile& profile, const FlowSpace& flows)
        : Sender(plan, profile),
          profile_(profile),
          frames_(profile, flows, options_of(plan, profile, plan.run)),
          warmup_frames_(profile, flows, options_of(plan, profile, plan.warmup_run)),
          chooser_(profile, flows.count(), plan.index, plan.senders),
          sizes_(profile, plan.index),
          first_stream_(static_cast<std::uint32_t>(flows.count() * plan.index)),
          size_(sizes_.next()),
          scripted_(profile.life_cycle != LifeCycle::kNone) {
        if (profile.probe && profile.life_cycle != LifeCycle::kSynOnly) {
            sequences_.resize(flows.count());
        }
        if (profile.life_cycle == LifeCycle::kScripted) {
            scripts_.resize(flows.count());
        }
    }

protected:
    void begin(Phase phase, std::uint64_t start) override {
        double bytes = 0;
        double most = 0;
        double weights = 0;
        for (const SizeShare& share : profile_.sizes) {
            bytes += static_cast<double>(share.frame_bytes) * share.weight;
            weights += share.weight;
            most = std::max(most, static_cast<double>(share.frame_bytes));
        }
        pace(profile_, bytes / weights, most, start);
        now_frames_ = phase == Phase::kWarmup ? &warmup_frames_ : &frames_;
        run_ = phase == Phase::kWarmup ? plan_.warmup_run : plan_.run;
        std::fill(scripts_.begin(), scripts_.end(), Script{});
    }

    void fill(std::uint64_t now, std::uint16_t most) override {
        static_cast<void>(now);
        std::uint32_t sizes[kBurst];
        double units = 0;
        const std::uint16_t count = choose_sizes(sizes, most, units);
        if (count == 0 || !allocate(count, units)) {
            return;
        }
        if (scripted_) {
            for (std::uint16_t i = 0; i < count; ++i) {
                build_segment(mbufs_[pending_], chooser_.next(), sizes[i]);
            }
        } else {
            build_packets(sizes, count);
        }
    }

    void stamp() override {
        const std::uint64_t now = rte_rdtsc();
        for (std::uint16_t i = 0; i < pending_; ++i) {
            if (built_[i].probe_at != 0) {
                probes_[i].time = now;
                Frames::finish(start_of(mbufs_[i]), built_[i], probes_[i]);
            }
        }
    }

    void move(std::uint16_t from, std::uint16_t to) override {
        built_[to] = built_[from];
        probes_[to] = probes_[from];
        segments_[to] = segments_[from];
    }

    void sent(std::uint16_t taken, std::uint16_t counted_from) override {
        for (std::uint16_t i = counted_from; scripted_ && i < taken; ++i) {
            counts_.opened.add(segments_[i] == Segment::kSyn ? 1 : 0);
            counts_.closed.add(segments_[i] == Segment::kFin ? 1 : 0);
        }
    }

private:
    struct Script {
        std::uint32_t step = 0;
        std::uint32_t sequence = 0;
    };

    static FrameOptions options_of(const SendPlan& plan, const Profile& profile, std::uint16_t run) {
        return {profile.source_mac.empty() ? plan.port->mac : *parse_mac(profile.source_mac),
                plan.destination, run, plan.port->reversed};
    }
    // Where a frame begins; the buffer may not say so yet.
    static std::uint8_t* start_of(rte_mbuf* mbuf) {
        return static_cast<std::uint8_t*>(mbuf->buf_addr) + RTE_PKTMBUF_HEADROOM;
    }

    // How many frames are due, of which sizes, and what they cost the pacer.
    std::uint16_t choose_sizes(std::uint32_t* sizes, std::uint16_t most, double& units) {
        if (!paces_bits()) {
            const unsigned count = pacer_.take(1, most);
            units = count;
            for (unsigned i = 0; i < count; ++i) {
                sizes[i] = size_;
                size_ = sizes_.next();
            }
            return static_cast<std::uint16_t>(count);
        }
        std::uint16_t count = 0;
        while (count < most) {
            const double bits = (profile_.sizes[size_].frame_bytes + static_cast<double>(kLayer1Bytes)) * 8;
            if (!pacer_.take(bits)) {
                break;
            }
            units += bits;
            sizes[count++] = size_;
            size_ = sizes_.next();
        }
        return count;
    }

    void build_packets(const std::uint32_t* sizes, std::uint16_t count) {
        std::uint64_t flows[kBurst];
        std::uint8_t* out[kBurst];
        const std::uint16_t first = pending_;
        for (std::uint16_t i = 0; i < count; ++i) {
            flows[i] = chooser_.next();
            out[i] = start_of(mbufs_[first + i]);
        }
        now_frames_->build_burst(out, flows, sizes, count, built_ + first);
        for (std::uint16_t i = 0; i < count; ++i) {
            add(mbufs_[first + i], built_[first + i].bytes);
        }
        if (built_[first].probe_at == 0) {
            return;
        }
        for (std::uint16_t i = 0; i < count; ++i) {
            give_number(static_cast<std::uint16_t>(first + i), flows[i]);
        }
    }

    void give_number(std::uint16_t at, std::uint64_t flow) {
        // Nobody looks at the numbers of the warm-up.
        const std::uint32_t sequence = counting() ? sequences_[flow]++ : 0;
        probes_[at] = {run_, first_stream_ + static_cast<std::uint32_t>(flow), sequence, 0};
    }

    void build_segment(rte_mbuf* mbuf, std::uint64_t flow, std::uint32_t size) {
        std::uint8_t* out = start_of(mbuf);
        const std::uint16_t at = pending_;
        const Segment segment = segment_of(flow);
        BuiltFrame built = now_frames_->build(out, flow, size, segment);
        number_segment(out, flow, segment, built);
        if (built.probe_at != 0) {
            give_number(at, flow);
        } else {
            Frames::finish(out, built);
        }
        built_[at] = built;
        segments_[at] = segment;
        add(mbuf, built.bytes);
    }

    [[nodiscard]] Segment segment_of(std::uint64_t flow) const {
        if (profile_.life_cycle == LifeCycle::kSynOnly || scripts_[flow].step == 0) {
            return Segment::kSyn;
        }
        return scripts_[flow].step <= profile_.data_packets ? Segment::kData : Segment::kFin;
    }

    // The upper half of a SYN's number is the run's: receive.cc knows it by that.
    void number_segment(std::uint8_t* out, std::uint64_t flow, Segment segment, BuiltFrame& built) {
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
    std::uint32_t first_stream_;
    std::uint32_t size_;  // of the next frame
    bool scripted_;
    std::uint16_t run_ = 0;
    std::uint32_t syns_ = 0;
    std::vector<std::uint32_t> sequences_;  // [flow]
    std::vector<Script> scripts_;           // [flow]
    BuiltFrame built_[kBurst];
    Probe probes_[kBurst];
    Segment segments_[kBurst];
};

}  // namespace

std::unique_ptr<Task> make_flow_sender(const SendPlan& plan, const Profile& profile,
                                       const FlowSpace& flows, const SendCounts*& counts) {
    auto out = std::make_unique<FlowSender>(plan, profile, flows);
    counts = &out->counts();
    return out;
}

}  // namespace sluice::pktgen
