// The addresses of one service CIDR: which are taken, and which comes next.
// Dynamic picks stay above a static band at the start of the range (KEP-3070), so that hand-chosen addresses rarely
// collide; they enter it only when everything above is taken. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <unordered_set>
#include <utility>

#include "api/base/ip_address.h"

namespace sluice::registry {

enum class TakeResult { kTaken, kAlreadyTaken, kOutOfRange };

class IpRange {
public:
    // seed: picks are random, repeatable with the same seed.
    IpRange(const IpPrefix& prefix, std::uint64_t seed);

    [[nodiscard]] const IpPrefix& prefix() const { return prefix_; }
    // Addresses for which it holds are taken too, for somebody else.
    void set_elsewhere(std::function<bool(const IpAddress&)> taken) { elsewhere_ = std::move(taken); }
    TakeResult take(const IpAddress& address);
    // nullopt when every address is taken.
    std::optional<IpAddress> take_any();
    void release(const IpAddress& address);

    [[nodiscard]] std::uint64_t capacity() const { return count_; }
    [[nodiscard]] std::uint64_t used() const { return used_.size(); }
    // Addresses of the static band, at the start of the range.
    [[nodiscard]] std::uint64_t static_band() const { return band_; }

private:
    [[nodiscard]] std::optional<std::uint64_t> offset_of(const IpAddress& address) const;
    [[nodiscard]] IpAddress address_at(std::uint64_t offset) const;
    std::optional<std::uint64_t> first_free(std::uint64_t begin, std::uint64_t end);
    [[nodiscard]] bool is_free(std::uint64_t offset) const;

    IpPrefix prefix_;
    std::uint64_t count_ = 0;  // usable addresses; their offsets are 1..count_
    std::uint64_t band_ = 0;
    std::unordered_set<std::uint64_t> used_;
    std::function<bool(const IpAddress&)> elsewhere_;
    std::mt19937_64 random_;
};

}  // namespace sluice::registry
