#include "dataplane/pktgen/rate.h"

#include <algorithm>

namespace sluice::pktgen {

// The burst bucket must hold what falls due in one turn of an lcore's loop, or it would lower the rate.
Pacer::Pacer(double units_per_second, double max_cost, std::uint64_t hz, std::uint64_t now)
    : unlimited_(units_per_second <= 0),
      per_tick_(units_per_second / static_cast<double>(hz)),
      most_behind_(std::max(units_per_second * kMaxBehind_s, max_cost)),
      most_burst_(std::max(units_per_second * kBurst_s, 2 * max_cost)),
      start_(now),
      last_(now),
      burst_(max_cost) {}

void Pacer::poll(std::uint64_t now) {
    if (unlimited_ || now <= last_) {
        return;
    }
    burst_ = std::min(burst_ + static_cast<double>(now - last_) * per_tick_ * kCatchUp, most_burst_);
    last_ = now;
    // Computed from the start, not added up: no rounding gathers.
    due_ = static_cast<double>(now - start_) * per_tick_;
    if (due_ - gone_ > most_behind_) {
        const double missed = due_ - gone_ - most_behind_;
        gone_ += missed;
        given_up_ += missed;
    }
}

}  // namespace sluice::pktgen
