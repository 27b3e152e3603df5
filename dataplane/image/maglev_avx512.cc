// Places are looked for many at a time with AVX-512. What is found is only what was free when it was looked for: turns
// are taken in their order, and whoever finds his place taken by one before him looks on.
#include <bit>
#include <utility>

#include "api/base/result.h"
#include "dataplane/image/maglev_private.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes what its own header leaves undefined on purpose for a mistake (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace sluice::image {

#if defined(__x86_64__)

namespace {

#define SLUICE_LANES __attribute__((target("avx512f,avx512dq")))

constexpr std::size_t kLanes = 16;
constexpr std::size_t kTogether = 64;  // turns that are looked at as one
constexpr std::size_t kByRows = 8;

SLUICE_LANES __m512i sum_of(__m512i place, __m512i step, __m512i size) {
    const __m512i sum = _mm512_add_epi32(place, step);
    return _mm512_min_epu32(sum, _mm512_sub_epi32(sum, size));
}

template <class Position>
class Lanes {
public:
    Lanes(Filling<Position>& filling, Turns& turns)
        : filling_(filling), turns_(turns), distinct_(turns.are_distinct(kTogether)), stamps_(filling.next.size()) {}

    void fill() {
        // With r places left a turn costs size / r tries one by one, and r multiplications when they are listed.
        const std::size_t listed = root_of(4 * filling_.ring.size());
        const std::size_t crowded = filling_.ring.size() / 5;
        std::size_t left = filling_.ring.size();
        for (; left > std::max(crowded, listed) + kTogether; left -= kTogether) {
            take_together(3 * filling_.ring.size() / left - 1);
        }
        for (; left > listed + kByRows; left -= kByRows) {
            take_by_rows();
        }
        take_listed();
    }

private:
    // A lane has one member, whose next places it tries one after another: so often that one in fifty finds none.
    SLUICE_LANES void take_together(std::size_t tries) {
        deal<kTogether>();
        constexpr std::size_t kVectors = kTogether / kLanes;
        __m512i place[kVectors];
        __m512i skip[kVectors];
        for (std::size_t i = 0; i < kVectors; ++i) {
            const __m512i who = _mm512_loadu_si512(who_ + kLanes * i);
            place[i] = _mm512_i32gather_epi32(who, filling_.next.data(), 4);
            skip[i] = _mm512_i32gather_epi32(who, filling_.skip.data(), 4);
        }
        const __m512i size = _mm512_set1_epi32(static_cast<int>(filling_.size));
        for (; tries > 0; --tries) {
            for (std::size_t i = 0; i < kVectors; ++i) {
                const auto taken = static_cast<__mmask16>(~free_among(place[i]));
                place[i] = _mm512_mask_mov_epi32(place[i], taken, sum_of(place[i], skip[i], size));
            }
        }
        alignas(64) std::uint32_t found[kTogether];
        for (std::size_t i = 0; i < kVectors; ++i) {
            _mm512_store_si512(found + kLanes * i, place[i]);
        }
        for (std::size_t i = 0; i < kTogether; ++i) {
            const std::uint32_t who = who_[i];
            if (!is_first_turn(who)) {
                take_by_lanes(who);
            } else if (filling_.is_free(found[i])) {
                filling_.take(found[i], who);
            } else {
                filling_.next[who] = found[i];
                take_by_lanes(who);
            }
        }
    }

    // A row of lanes has one member's next places. The rows of several members do not wait for each other.
    SLUICE_LANES void take_by_rows() {
        deal<kByRows>();
        alignas(64) std::uint32_t places[kByRows][kLanes];
        std::uint32_t free[kByRows];
        for (std::size_t i = 0; i < kByRows; ++i) {
            const __m512i row = row_of(who_[i]);
            free[i] = free_among(row);
            _mm512_store_si512(places[i], row);
        }
        for (std::size_t i = 0; i < kByRows; ++i) {
            const std::uint32_t who = who_[i];
            if (!is_first_turn(who)) {
                take_by_lanes(who);
                continue;
            }
            std::uint32_t left = free[i];
            while (left != 0 && !filling_.is_free(places[i][std::countr_zero(left)])) {
                left &= left - 1;
            }
            if (left != 0) {
                filling_.take(places[i][std::countr_zero(left)], who);
            } else {
                filling_.next[who] = filling_.after(places[i][kLanes - 1], filling_.skip[who]);
                take_by_lanes(who);
            }
        }
    }

    SLUICE_LANES void take_by_lanes(std::uint32_t who) {
        const __m512i size = _mm512_set1_epi32(static_cast<int>(filling_.size));
        std::uint32_t step = filling_.skip[who];
        for (std::size_t steps = 1; steps < kLanes; steps *= 2) {
            step = filling_.after(step, step);
        }
        const __m512i row_step = _mm512_set1_epi32(static_cast<int>(step));
        for (__m512i row = row_of(who);; row = sum_of(row, row_step, size)) {
            const std::uint32_t free = free_among(row);
            if (free != 0) {
                alignas(64) std::uint32_t places[kLanes];
                _mm512_store_si512(places, row);
                return filling_.take(places[std::countr_zero(free)], who);
            }
        }
    }

    // The places still free are listed, and the next one of a member is that with the least fraction: see factors_of().
    SLUICE_LANES void take_listed() {
        const std::vector<std::uint64_t> factors = factors_of(filling_.skip, filling_.size);
        const std::vector<std::uint32_t> narrow = filling_.list_free();
        std::vector<std::uint64_t> places(narrow.begin(), narrow.end());
        while (!places.empty()) {
            const std::uint32_t who = turns_.next();
            const std::size_t best = nearest_of(places, filling_.next[who], factors[who]);
            const auto place = static_cast<std::uint32_t>(places[best]);
            places[best] = places.back();
            places.pop_back();
            filling_.take(place, who);
        }
    }

    SLUICE_LANES static std::size_t nearest_of(const std::vector<std::uint64_t>& places, std::uint32_t next,
                                               std::uint64_t factor) {
        constexpr std::size_t kWide = kLanes / 2;
        const __m512i from = _mm512_set1_epi64(next);
        const __m512i by = _mm512_set1_epi64(static_cast<long long>(factor));
        __m512i least = _mm512_set1_epi64(-1);
        __m512i best = _mm512_setzero_si512();
        __m512i index = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
        std::size_t i = 0;
        for (; i + kWide <= places.size(); i += kWide) {
            const __m512i steps = _mm512_sub_epi64(_mm512_loadu_si512(&places[i]), from);
            const __m512i fraction = _mm512_mullo_epi64(steps, by);
            best = _mm512_mask_mov_epi64(best, _mm512_cmple_epu64_mask(fraction, least), index);
            least = _mm512_min_epu64(least, fraction);
            index = _mm512_add_epi64(index, _mm512_set1_epi64(kWide));
        }
        alignas(64) std::uint64_t fractions[kWide];
        alignas(64) std::uint64_t indices[kWide];
        _mm512_store_si512(fractions, least);
        _mm512_store_si512(indices, best);
        std::uint64_t nearest = ~std::uint64_t{0};
        std::size_t out = 0;
        const auto look_at = [&](std::uint64_t fraction, std::size_t at) {
            if (fraction <= nearest) {
                nearest = fraction;
                out = at;
            }
        };
        for (std::size_t lane = 0; i > 0 && lane < kWide; ++lane) {
            look_at(fractions[lane], indices[lane]);
        }
        for (; i < places.size(); ++i) {
            look_at((places[i] - next) * factor, i);
        }
        return out;
    }

    template <std::size_t kTurns>
    void deal() {
        ++batch_;
        for (std::size_t i = 0; i < kTurns; ++i) {
            who_[i] = turns_.next();
        }
    }
    // A member with several turns among those that are looked at as one: of the later ones nothing is known.
    bool is_first_turn(std::uint32_t who) { return distinct_ || std::exchange(stamps_[who], batch_) != batch_; }

    SLUICE_LANES std::uint32_t free_among(__m512i places) const {
        const __m512i words = _mm512_i32gather_epi32(_mm512_srli_epi32(places, 5), filling_.free.data(), 4);
        const __m512i in_word = _mm512_and_si512(places, _mm512_set1_epi32(31));
        return _mm512_test_epi32_mask(words, _mm512_sllv_epi32(_mm512_set1_epi32(1), in_word));
    }
    // next, next + skip, ... next + 15 * skip.
    SLUICE_LANES __m512i row_of(std::uint32_t who) const {
        static_assert(std::uint64_t{kMaxRingPlaces} * kLanes < std::uint64_t{1} << 31U);
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m512i step = _mm512_set1_epi32(static_cast<int>(filling_.skip[who]));
        const __m512i next = _mm512_set1_epi32(static_cast<int>(filling_.next[who]));
        __m512i row = _mm512_add_epi32(next, _mm512_mullo_epi32(lane, step));
        // What is less than the subtrahend wraps to more.
        for (std::uint32_t sizes = kLanes / 2; sizes > 0; sizes /= 2) {
            const __m512i whole = _mm512_set1_epi32(static_cast<int>(filling_.size * sizes));
            row = _mm512_min_epu32(row, _mm512_sub_epi32(row, whole));
        }
        return row;
    }

    Filling<Position>& filling_;
    Turns& turns_;
    const bool distinct_;
    std::vector<std::uint32_t> stamps_;  // the last batch that a member had a turn in
    std::uint32_t batch_ = 0;
    alignas(64) std::uint32_t who_[kTogether];
};

}  // namespace

bool has_lanes() { return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0; }
void fill_by_lanes(Filling<std::uint16_t>& filling, Turns& turns) { Lanes(filling, turns).fill(); }
void fill_by_lanes(Filling<std::uint32_t>& filling, Turns& turns) { Lanes(filling, turns).fill(); }

#else

bool has_lanes() { return false; }
void fill_by_lanes(Filling<std::uint16_t>&, Turns&) { SLUICE_ASSERT(false); }
void fill_by_lanes(Filling<std::uint32_t>&, Turns&) { SLUICE_ASSERT(false); }

#endif

}  // namespace sluice::image
