// Sends a capture again and again, at a rate or at its own times.
#include <rte_cycles.h>

#include <algorithm>

#include "dataplane/pktgen/sender_private.h"

namespace sluice::pktgen {
namespace {

class CaptureSender final : public Sender {
public:
    CaptureSender(const SendPlan& plan, const Profile& profile, const Capture& capture)
        : Sender(plan, profile), profile_(profile), capture_(capture), next_(plan.index) {
        if (!profile.source_mac.empty()) {
            source_ = *parse_mac(profile.source_mac);
        }
        if (!profile.destination_mac.empty()) {
            destination_ = *parse_mac(profile.destination_mac);
        }
    }

protected:
    void begin(Phase phase, std::uint64_t start) override {
        static_cast<void>(phase);
        const double frames = static_cast<double>(capture_.frames.size());
        pace(profile_, static_cast<double>(capture_.bytes.size()) / frames + static_cast<double>(kChecksumBytes),
             static_cast<double>(capture_.longest + kChecksumBytes), start);
        start_ = start;
        next_ = plan_.index;
    }

    void fill(std::uint64_t now, std::uint16_t most) override {
        const double elapsed_ns = static_cast<double>(now - start_) * 1e9 / static_cast<double>(rte_get_tsc_hz());
        for (std::uint16_t i = 0; i < most; ++i) {
            const std::uint64_t lap = next_ / capture_.frames.size();
            const CapturedFrame& frame = capture_.frames[next_ % capture_.frames.size()];
            double units = 0;
            if (profile_.pcap_timing) {
                if (static_cast<double>(lap * capture_.period_ns + frame.at_ns) > elapsed_ns) {
                    return;
                }
            } else {
                const double bytes = frame.bytes + static_cast<double>(kChecksumBytes + kLayer1Bytes);
                units = paces_bits() ? bytes * 8 : 1;
                if (!pacer_.take(units)) {
                    return;
                }
            }
            if (!allocate(1, units)) {
                return;
            }
            build(mbufs_[pending_], frame);
            next_ += plan_.senders;
        }
    }

    void move(std::uint16_t from, std::uint16_t to) override {
        static_cast<void>(from);
        static_cast<void>(to);
    }
    void sent(std::uint16_t taken, std::uint16_t counted_from) override {
        static_cast<void>(taken);
        static_cast<void>(counted_from);
    }

private:
    void build(rte_mbuf* mbuf, const CapturedFrame& frame) {
        add(mbuf, frame.bytes);
        auto* out = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
        std::copy_n(capture_.bytes.data() + frame.offset, frame.bytes, out);
        if (!profile_.destination_mac.empty()) {
            std::copy(destination_.begin(), destination_.end(), out);
        }
        if (!profile_.source_mac.empty()) {
            std::copy(source_.begin(), source_.end(), out + 6);
        }
    }

    Profile profile_;
    const Capture& capture_;
    std::uint64_t start_ = 0;
    std::uint64_t next_;
    Mac source_{}, destination_{};
};

}  // namespace

std::unique_ptr<Task> make_capture_sender(const SendPlan& plan, const Profile& profile,
                                          const Capture& capture, const SendCounts*& counts) {
    auto out = std::make_unique<CaptureSender>(plan, profile, capture);
    counts = &out->counts();
    return out;
}

}  // namespace sluice::pktgen
