#include "dataplane/pktgen/rate.h"

namespace sluice::pktgen {

Pacer::Pacer(double units_per_second, double max_cost, std::uint64_t hz, std::uint64_t start)
    : unlimited_(units_per_second <= 0),
      per_tick_(units_per_second / static_cast<double>(hz)),
      most_behind_(std::max(units_per_second * kMaxBehind_s, max_cost)),
      most_burst_(std::max(units_per_second * kTurn_s, kPauseBurst * max_cost)),
      start_(start),
      last_(start),
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
