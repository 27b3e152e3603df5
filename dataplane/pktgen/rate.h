// When to send: as many packets, or bits of layer 1, a second as asked, evenly, whatever the calls'
// spacing. Who falls behind (the lcore was taken away, the port took nothing) catches up at most at
// kCatchUp times the rate and only what was missed within kMaxBehind_s; the rest is given up and
// counted, so that a pause is never turned into a burst that the device under test would have to bear.
#pragma once

#include <cstdint>

namespace sluice::pktgen {

class Pacer {
public:
    static constexpr double kCatchUp = 1.25;
    static constexpr double kMaxBehind_s = 0.02;
    static constexpr double kBurst_s = 200e-6;  // what goes at once after a pause, in time at the rate

    // units_per_second 0: no limit. A unit is a packet, or a bit, as the caller counts `cost`.
    // max_cost: of one call of take(). Times are of any clock of `hz`; the first packet goes at `now`.
    Pacer(double units_per_second, double max_cost, std::uint64_t hz, std::uint64_t now);

    // Must be called before a series of take(); `now` never goes back.
    void poll(std::uint64_t now);
    // Whether a packet of this cost may go; it is then counted as gone.
    bool take(double cost) {
        if (unlimited_) {
            return true;
        }
        if (gone_ > due_ || burst_ <= 0) {
            return false;
        }
        gone_ += cost;
        burst_ -= cost;
        return true;
    }
    [[nodiscard]] double given_up() const { return given_up_; }  // units

private:
    bool unlimited_;
    double per_tick_;
    double most_behind_;  // units
    double most_burst_;   // units
    std::uint64_t start_;
    std::uint64_t last_;
    double due_ = 0;      // units since start_
    double gone_ = 0;     // units since start_
    double burst_;        // what the catch-up rate lets through
    double given_up_ = 0;
};

}  // namespace sluice::pktgen
