// What senders of flows and of captures have in common: a phase, a pacer, a burst of frames that the
// port has not taken yet, and what is counted of them.
#pragma once

#include <limits>

#include "dataplane/pktgen/task_private.h"

namespace sluice::pktgen {

// Frames that were built and that the port did not take are offered again, so that the numbers of
// what was sent have no gaps; not at once, though: a ring that is full is not to be asked all the time.
class Sender : public Task {
public:
    [[nodiscard]] bool done() const override { return done_.load(std::memory_order_relaxed); }
    [[nodiscard]] const SendCounts& counts() const { return counts_; }
    void step(const Control& control) override;
    void finish() override;

protected:
    // The pause after a burst of which the port took nothing, doubled each time.
    static constexpr double kMinPause_s = 1e-6;
    static constexpr double kMaxPause_s = 64e-6;

    Sender(const SendPlan& plan, const Profile& profile);

    // Counting, or the warm-up, began at `start`, which is not later than `now`.
    virtual void begin(Phase phase, std::uint64_t start) = 0;
    // Builds up to `most` frames that are due by the pacer into mbufs_[pending_...], by add().
    virtual void fill(std::uint64_t now, std::uint16_t most) = 0;
    virtual void stamp() {}
    // The frame at `from` moves to `to`, in front of it.
    virtual void move(std::uint16_t from, std::uint16_t to) = 0;
    // The first so many frames are the port's; those before `counted_from` are of the warm-up.
    virtual void sent(std::uint16_t taken, std::uint16_t counted_from) = 0;

    // Paces by `profile`, whose frames have so many bytes on average, and at most.
    void pace(const Profile& profile, double mean_bytes, double most_bytes, std::uint64_t start);
    [[nodiscard]] bool paces_bits() const { return bits_; }
    [[nodiscard]] bool counting() const { return phase_ == Phase::kCounted; }
    // `count` empty buffers at mbufs_[pending_...]; false: all are under way. What was taken from the
    // pacer for them, `units`, is then given back to it.
    bool allocate(std::uint16_t count, double units);
    void add(rte_mbuf* mbuf, std::uint32_t bytes);

    SendPlan plan_;
    SendCounts counts_;
    Pacer pacer_{0, 1, 1, 0};
    std::uint16_t pending_ = 0;
    rte_mbuf* mbufs_[kBurst];

private:
    void offer();
    void change(Phase phase, std::uint64_t at);
    // `units` of the pacer, and frames that were built and not taken.
    void count_behind(double units, std::uint64_t unsent);

    static constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();
    const Control* control_ = nullptr;
    Phase phase_ = Phase::kReady;
    bool limited_ = false;        // there is a rate
    bool bits_ = false;
    double units_a_packet_ = 1;
    std::uint64_t quota_ = kUnlimited;  // counted frames still to be built
    std::uint16_t uncounted_ = 0;       // leading frames that are of the warm-up
    std::uint16_t told_ = 0;            // leading frames that were counted as refused
    std::uint64_t pause_ = 0, offer_at_ = 0;  // ticks
    std::atomic<bool> done_{false};
    std::uint32_t bytes_[kBurst];       // with the link's checksum
};

}  // namespace sluice::pktgen
