// See claims.h.
#include "agent/compile/claims.h"

#include <tuple>
#include <utility>

#include "api/base/result.h"

namespace sluice::compile {

bool BetterClaim::operator()(const Claim& a, const Claim& b) const {
    return std::tie(a.external, a.created_s, *a.service, *a.port) <
           std::tie(b.external, b.created_s, *b.service, *b.port);
}

std::size_t Claims::PlaceHash::operator()(const Place& place) const noexcept {
    constexpr std::size_t kSpread = 0x9E3779B97F4A7C15U;  // 2^64 by the golden ratio
    const std::size_t rest = std::size_t{place.port} << 24U |
                             std::size_t{static_cast<std::uint8_t>(place.scope)} << 16U |
                             std::size_t{static_cast<std::uint8_t>(place.family)} << 8U |
                             std::size_t{static_cast<std::uint8_t>(place.protocol)};
    return std::hash<IpAddress>{}(place.address) ^ rest * kSpread;
}

void Claims::add(const Place& place, const Claim& claim) {
    const auto [holder, is_new] = holders_.try_emplace(place);
    if (is_new) {
        holder->second.best = claim;
        return;
    }
    Claim& best = holder->second.best;
    auto& others = holder->second.others;
    if (!others) others = std::make_unique<std::set<Claim, BetterClaim>>();
    others->insert(BetterClaim{}(claim, best) ? std::exchange(best, claim) : claim);
}

void Claims::remove(const Place& place, const Claim& claim) {
    const auto holder = holders_.find(place);
    SLUICE_ASSERT(holder != holders_.end());
    Claim& best = holder->second.best;
    auto& others = holder->second.others;
    const bool is_best = !BetterClaim{}(best, claim) && !BetterClaim{}(claim, best);
    if (!is_best) {
        SLUICE_ASSERT(others && others->erase(claim) == 1);
    } else if (!others) {
        holders_.erase(holder);
        return;
    } else {
        best = others->extract(others->begin()).value();
    }
    if (others->empty()) others.reset();
}

const Claim& Claims::winner(const Place& place) const { return holders_.at(place).best; }

}  // namespace sluice::compile
