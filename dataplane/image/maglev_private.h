// A ring on its way to be filled, and who takes a place next: what the ways of looking for places (maglev.cc, one by
// one; maglev_avx512.cc, many at a time) have in common. They give the same ring, place for place. Private here.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/image/maglev.h"

namespace sluice::image {

// Members on their way through their permutations: next, next + skip, next + 2 * skip ... modulo the size.
template <class Position>
struct Filling {
    std::span<Position> ring;
    std::uint32_t size;
    std::vector<std::uint32_t> free;  // a bit a place, 0 behind the last
    std::vector<std::uint32_t> next;  // by member
    std::vector<std::uint32_t> skip;

    [[nodiscard]] std::uint32_t after(std::uint32_t place, std::uint32_t step) const {
        const std::uint32_t sum = place + step;
        // Below zero it wraps to more than any sum: the lesser is the remainder.
        return std::min(sum, sum - size);
    }
    [[nodiscard]] std::uint32_t bit(std::uint32_t place) const { return free[place / 32] >> (place % 32) & 1U; }
    [[nodiscard]] bool is_free(std::uint32_t place) const { return bit(place) != 0; }
    void take(std::uint32_t place, std::uint32_t member) {
        free[place / 32] &= ~(1U << (place % 32));
        ring[place] = static_cast<Position>(member);
        next[member] = after(place, skip[member]);
    }
    [[nodiscard]] std::vector<std::uint32_t> list_free() const {
        std::vector<std::uint32_t> out;
        for (std::uint32_t word = 0; word < free.size(); ++word) {
            for (std::uint32_t bits = free[word]; bits != 0; bits &= bits - 1) {
                out.push_back(word * 32 + static_cast<std::uint32_t>(std::countr_zero(bits)));
            }
        }
        return out;
    }
};

// Deals turns without end, in rounds: see maglev.h.
class Turns {
public:
    // order: the members' numbers in the order of (address, port).
    Turns(std::span<const RingMember> members, std::vector<std::uint32_t> order);

    // Whether so many turns on end are of as many members.
    [[nodiscard]] bool are_distinct(std::size_t turns) const { return equal_ && turns <= order_.size(); }
    [[nodiscard]] std::uint32_t next() {
        if (equal_) {
            at_ = at_ + 1 == order_.size() ? 0 : at_ + 1;
            return order_[at_];
        }
        while (more_ == 0) {
            turn_to_next();
        }
        --more_;
        return order_[at_];
    }

private:
    void turn_to_next() {
        if (++at_ == order_.size()) {
            at_ = 0;
            ++round_;
        }
        const std::uint64_t weight = weights_[at_];
        more_ = had(round_, weight) - had(round_ - 1, weight);
    }
    [[nodiscard]] std::uint64_t had(std::uint64_t rounds, std::uint64_t weight) const {
        return (rounds * weight + round_up_) >> shift_;
    }

    std::vector<std::uint32_t> order_;
    std::vector<std::uint32_t> weights_;  // in that order, without their common factor
    bool equal_ = true;
    unsigned shift_ = 0;
    std::uint64_t round_up_ = 0;
    std::uint64_t round_ = 0;
    std::size_t at_;
    std::uint64_t more_ = 0;
};

// The steps from a member's next place to another one, (place - next) / skip modulo the size, are in the order of the
// fractions (place - next) * factor / 2^64, for factor = 1 / (skip * size) modulo 1, to 64 binary digits: the error,
// below size / 2^64, is far below the distance of two fractions, 1 / size. All members' factors. size is a prime.
std::vector<std::uint64_t> factors_of(std::span<const std::uint32_t> skips, std::uint32_t size);

// The least number whose square is not below `square`: how many places are listed rather than tried.
[[nodiscard]] std::size_t root_of(std::size_t square);

// Whether this processor has what fill_by_lanes() uses.
[[nodiscard]] bool has_lanes();
// Fills what is free. REQUIRES: has_lanes().
void fill_by_lanes(Filling<std::uint16_t>& filling, Turns& turns);
void fill_by_lanes(Filling<std::uint32_t>& filling, Turns& turns);

}  // namespace sluice::image
