#include "dataplane/image/maglev.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace sluice::image {
namespace {

// Each about twice the one before, so that a ring keeps its size through most changes of its
// members.
constexpr std::array<std::uint32_t, 20> kSizes{
    113,    251,    509,    1021,   2039,    4093,    8191,    16381,   32749,    65537,
    131071, 262147, 524287, 655373, 1048573, 2097143, 4194301, 8388593, 12582917, kMaxRingPlaces};

// splitmix64's finish (Steele, Lea, Flood 2014). Part of what all nodes agree on: never to be
// changed.
std::uint64_t mix(std::uint64_t h, std::uint64_t value) {
    h = (h ^ value) + 0x9e3779b97f4a7c15ULL;
    h = (h ^ h >> 30U) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ h >> 27U) * 0x94d049bb133111ebULL;
    return h ^ h >> 31U;
}

std::uint64_t big_endian(const std::uint8_t* bytes) {
    std::uint64_t out = 0;
    for (int i = 0; i < 8; ++i) {
        out = out << 8U | bytes[i];
    }
    return out;
}

std::uint32_t scale(std::uint64_t hash, std::uint32_t bound) {
    return static_cast<std::uint32_t>((hash >> 32U) * bound >> 32U);
}

// A member on its way through its permutation: next, next + skip, next + 2 * skip ... modulo the
// size.
struct Walk {
    std::uint32_t next;
    std::uint32_t skip;
    std::uint32_t skip2;
    std::uint32_t skip4;
};

Walk walk_of(const RingMember& member, std::uint32_t size) {
    // Any constant that no other hash here starts from.
    std::uint64_t h = mix(0x6d61676c6576ULL, big_endian(member.address.bytes.data()));
    h = mix(h, big_endian(member.address.bytes.data() + 8));
    h = mix(h, member.port);
    const std::uint32_t skip = 1 + scale(mix(h, 1), size - 1);
    const auto doubled = [size](std::uint32_t step) {
        return step >= size - step ? step - (size - step) : 2 * step;
    };
    return Walk{scale(h, size), skip, doubled(skip), doubled(doubled(skip))};
}

// skip * inverse = 1 modulo the prime.
std::uint32_t inverse_of(std::uint32_t skip, std::uint32_t prime) {
    std::int64_t a = prime;
    std::int64_t b = skip;
    std::int64_t x = 0;
    std::int64_t y = 1;
    while (b != 0) {
        const std::int64_t quotient = a / b;
        a = std::exchange(b, a - quotient * b);
        x = std::exchange(y, x - quotient * y);
    }
    return static_cast<std::uint32_t>(x < 0 ? x + prime : x);
}

// Deals the turns: `turn(member)` is called `places` times.
template <class Turn>
void deal(std::span<const RingMember> members, const std::vector<std::uint32_t>& order,
          std::size_t places, Turn turn) {
    std::uint32_t common = 0;
    std::uint64_t sum = 0;
    bool equal = true;
    for (const RingMember& member : members) {
        common = std::gcd(common, std::uint32_t{member.weight});
        sum += member.weight;
        equal = equal && member.weight == members[0].weight;
    }
    if (equal) {
        for (;;) {
            for (const std::uint32_t member : order) {
                if (places-- == 0) {
                    return;
                }
                turn(member);
            }
        }
    }
    const auto shift = static_cast<unsigned>(std::bit_width(sum / common / members.size())) - 1;
    const std::uint64_t round_up = (std::uint64_t{1} << shift) - 1;
    const auto had = [=](std::uint64_t rounds, std::uint64_t weight) {
        return (rounds * weight + round_up) >> shift;
    };
    std::vector<std::uint32_t> weights;
    weights.reserve(members.size());
    for (const RingMember& member : members) {
        weights.push_back(member.weight / common);
    }
    for (std::uint64_t rounds = 1;; ++rounds) {
        for (const std::uint32_t member : order) {
            const std::uint64_t weight = weights[member];
            for (auto turns = had(rounds, weight) - had(rounds - 1, weight); turns > 0; --turns) {
                if (places-- == 0) {
                    return;
                }
                turn(member);
            }
        }
    }
}

template <class Position>
class Builder {
public:
    Builder(std::span<const RingMember> members, std::span<Position> ring)
        : ring_(ring), size_(static_cast<std::uint32_t>(ring.size())), free_((size_ + 63) / 64) {
        std::fill(free_.begin(), free_.end(), ~std::uint64_t{0});
        walks_.reserve(members.size());
        for (const RingMember& member : members) {
            walks_.push_back(walk_of(member, size_));
        }
    }

    // Tries places in the member's order. Few tries are expected while the ring is rather empty.
    void try_one_by_one(std::uint32_t member) {
        Walk& walk = walks_[member];
        std::uint32_t place = walk.next;
        while (!is_free(place)) {
            place = after(place, walk.skip);
        }
        take(place, member);
    }

    // The same with eight tries at a time: they do not wait for each other, and one branch is
    // guessed for all.
    void try_by_eights(std::uint32_t member) {
        const Walk& walk = walks_[member];
        std::array<std::uint32_t, 8> place;
        place[0] = walk.next;
        for (;;) {
            place[1] = after(place[0], walk.skip);
            place[2] = after(place[0], walk.skip2);
            place[3] = after(place[1], walk.skip2);
            std::uint32_t found = 0;
            for (std::size_t i = 0; i < 4; ++i) {
                place[i + 4] = after(place[i], walk.skip4);
                found |= bit(place[i]) << i | bit(place[i + 4]) << (i + 4);
            }
            if (found != 0) {
                take(place[static_cast<std::size_t>(std::countr_zero(found))], member);
                return;
            }
            place[0] = after(place[4], walk.skip4);
        }
    }

    // From here on take_listed() finds places.
    void list_free() {
        for (std::uint32_t place = 0; place < size_; ++place) {
            if (is_free(place)) {
                left_.push_back(place);
            }
        }
        factors_.resize(walks_.size());
    }

    // The steps to a place, (place - next) * inverse modulo the size, are in the order of the
    // fractions (place - next) * inverse / size. With inverse / size to 64 binary digits a fraction
    // is one multiplication, and its error, below size / 2^64, is far below the distance of two
    // fractions, 1 / size.
    void take_listed(std::uint32_t member) {
        const Walk& walk = walks_[member];
        std::uint64_t& factor = factors_[member];
        if (factor == 0) {
            factor = factor_of(walk.skip);
        }
        std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
        std::size_t best = 0;
        for (std::size_t i = 0; i < left_.size(); ++i) {
            const std::uint64_t fraction =
                (std::uint64_t{left_[i]} - std::uint64_t{walk.next}) * factor;
            best = fraction <= least ? i : best;
            least = std::min(fraction, least);
        }
        const std::uint32_t place = left_[best];
        left_[best] = left_.back();
        left_.pop_back();
        take(place, member);
    }

private:
    [[nodiscard]] std::uint32_t bit(std::uint32_t place) const {
        return static_cast<std::uint32_t>(free_[place / 64] >> (place % 64)) & 1U;
    }
    [[nodiscard]] bool is_free(std::uint32_t place) const { return bit(place) != 0; }
    [[nodiscard]] std::uint32_t after(std::uint32_t place, std::uint32_t step) const {
        const std::uint32_t sum = place + step;
        // Below zero it wraps to more than any sum: the lesser is the remainder.
        return std::min(sum, sum - size_);
    }
    void take(std::uint32_t place, std::uint32_t member) {
        free_[place / 64] &= ~(std::uint64_t{1} << (place % 64));
        ring_[place] = static_cast<Position>(member);
        walks_[member].next = after(place, walks_[member].skip);
    }
    [[nodiscard]] std::uint64_t factor_of(std::uint32_t skip) const {
        constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
        const std::uint64_t inverse = inverse_of(skip, size_);
        // 2^64 = whole * size + rest. No prime divides 2^64 but 2, so kMost has the same quotient.
        const std::uint64_t whole = kMost / size_;
        const std::uint64_t rest = kMost % size_ + 1;
        return inverse * whole + inverse * rest / size_ + 1;
    }

    std::span<Position> ring_;
    std::uint32_t size_;
    std::vector<std::uint64_t> free_;  // a bit a place
    std::vector<Walk> walks_;
    std::vector<std::uint32_t> left_;
    std::vector<std::uint64_t> factors_;
};

template <class Position>
void build(std::span<const RingMember> members, std::span<Position> ring) {
    SLUICE_ASSERT(!members.empty() && ring.size() >= members.size() &&
                  ring.size() <= kMaxRingPlaces &&
                  members.size() - 1 <= std::numeric_limits<Position>::max());
    std::vector<std::uint32_t> order(members.size());
    std::iota(order.begin(), order.end(), 0U);
    const auto precedes = [&](std::uint32_t a, std::uint32_t b) { return members[a] < members[b]; };
    if (!std::is_sorted(order.begin(), order.end(), precedes)) {
        std::sort(order.begin(), order.end(), precedes);
    }
    if (members.size() == 1) {
        std::fill(ring.begin(), ring.end(), Position{0});
        return;
    }
    Builder<Position> builder(members, ring);
    // With r places left a try costs r multiplications when listed, and size / r probes otherwise.
    std::size_t listed = 1;
    while (listed * listed < 2 * ring.size()) {
        ++listed;
    }
    const std::size_t crowded = ring.size() * 2 / 5;
    std::size_t left = ring.size();
    deal(members, order, ring.size(), [&](std::uint32_t member) {
        if (left > crowded) {
            builder.try_one_by_one(member);
        } else if (left > listed) {
            builder.try_by_eights(member);
        } else {
            if (left == std::min(listed, crowded)) {
                builder.list_free();
            }
            builder.take_listed(member);
        }
        --left;
    });
}

}  // namespace

std::uint32_t ring_places(std::span<const RingMember> members) {
    SLUICE_ASSERT(!members.empty());
    std::uint64_t sum = 0;
    std::uint64_t least = kMaxWeight;
    for (const RingMember& member : members) {
        sum += member.weight;
        // Who asks may not have been checked yet.
        least = std::clamp<std::uint64_t>(member.weight, 1, least);
    }
    // As many as let the lightest have its share of kPlacesPerMember.
    const std::uint64_t for_weights =
        std::min<std::uint64_t>(sum / least * kPlacesPerMember, kMaxPlacesForWeights);
    const std::uint64_t wanted =
        std::max<std::uint64_t>(members.size() * kPlacesPerMember, for_weights);
    const auto* const found = std::lower_bound(kSizes.begin(), kSizes.end(), wanted);
    return found == kSizes.end() ? kMaxRingPlaces : *found;
}

void build_ring(std::span<const RingMember> members, std::span<std::uint16_t> ring) {
    build(members, ring);
}

void build_ring(std::span<const RingMember> members, std::span<std::uint32_t> ring) {
    build(members, ring);
}

}  // namespace sluice::image
