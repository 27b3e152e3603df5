// When to send: as many packets, or bits of layer 1, a second as asked, evenly, whatever the calls'
// spacing. Who falls behind (the lcore was taken away, the port took nothing) catches up: at once by
// at most kPauseBurst packets, which a queue of a device should bear, and then at kCatchUp times the
// rate. What is more than kMaxBehind_s late is given up and counted.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace sluice::pktgen {

class Pacer {
public:
    static constexpr double kCatchUp = 2;
    static constexpr double kMaxBehind_s = 0.25;
    static constexpr double kPauseBurst = 256;  // packets of max_cost
    // At high rates more than kPauseBurst falls due in one turn of an lcore's loop.
    static constexpr double kTurn_s = 200e-6;

    // units_per_second 0: no limit. A unit is a packet, or a bit, as the caller counts `cost`.
    // max_cost: of one packet. Times are of any clock of `hz`; the first packet goes at `start`.
    Pacer(double units_per_second, double max_cost, std::uint64_t hz, std::uint64_t start);

    // Must be called before a series of take(); a `now` that is not later than the last is passed over.
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
    // How many packets of this cost may go, `most` at most: as so many calls of take().
    unsigned take(double cost, unsigned most) {
        if (unlimited_) {
            return most;
        }
        if (gone_ > due_ || burst_ <= 0) {
            return 0;
        }
        const double due = std::floor((due_ - gone_) / cost) + 1;
        const double let = std::min({due, std::ceil(burst_ / cost), static_cast<double>(most)});
        gone_ += let * cost;
        burst_ -= let * cost;
        return static_cast<unsigned>(let);
    }
    // What was taken does not go: it is due as before.
    void put_back(double units) {
        gone_ -= units;
        burst_ += units;
    }
    [[nodiscard]] double given_up() const { return given_up_; }  // units
    // Units that were due by `at` and did not go: given up, or still to be caught up with.
    [[nodiscard]] double missed_by(std::uint64_t at) const {
        const double due = static_cast<double>(at - start_) * per_tick_;
        return unlimited_ ? 0 : std::max(due - (gone_ - given_up_), 0.0);
    }

private:
    bool unlimited_;
    double per_tick_;
    double most_behind_;  // units
    double most_burst_;   // units
    std::uint64_t start_;
    std::uint64_t last_;
    double due_ = 0;      // units since start_
    double gone_ = 0;     // units since start_, those given up among them
    double burst_;        // what the catch-up rate lets through
    double given_up_ = 0;
};

}  // namespace sluice::pktgen
