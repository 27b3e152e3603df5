#include "dataplane/image/maglev.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "dataplane/image/maglev_private.h"

namespace sluice::image {

Turns::Turns(std::span<const RingMember> members, std::vector<std::uint32_t> order)
    : order_(std::move(order)), at_(order_.size() - 1) {
    std::uint32_t common = 0;
    std::uint64_t sum = 0;
    for (const RingMember& member : members) {
        common = std::gcd(common, std::uint32_t{member.weight});
        sum += member.weight;
        equal_ = equal_ && member.weight == members[0].weight;
    }
    shift_ = static_cast<unsigned>(std::bit_width(sum / common / members.size())) - 1;
    round_up_ = (std::uint64_t{1} << shift_) - 1;
    weights_.reserve(order_.size());
    for (const std::uint32_t member : order_) {
        weights_.push_back(members[member].weight / common);
    }
}

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

// skip * inverse = 1 modulo the prime.
std::uint32_t inverse_of(std::uint64_t skip, std::uint32_t prime) {
    std::int64_t a = prime;
    auto b = static_cast<std::int64_t>(skip);
    std::int64_t x = 0;
    std::int64_t y = 1;
    while (b != 0) {
        const std::int64_t quotient = a / b;
        a = std::exchange(b, a - quotient * b);
        x = std::exchange(y, x - quotient * y);
    }
    return static_cast<std::uint32_t>(x < 0 ? x + prime : x);
}

template <class Position>
Filling<Position> empty_ring(std::span<const RingMember> members, std::span<Position> ring) {
    Filling<Position> out{ring, static_cast<std::uint32_t>(ring.size()), {}, {}, {}};
    out.free.assign((out.size + 31) / 32, ~0U);
    if (out.size % 32 != 0) {
        out.free.back() = (1U << out.size % 32) - 1;
    }
    out.next.reserve(members.size());
    out.skip.reserve(members.size());
    for (const RingMember& member : members) {
        // Any constant that no other hash here starts from.
        std::uint64_t h = mix(0x6d61676c6576ULL, big_endian(member.address.bytes.data()));
        h = mix(h, big_endian(member.address.bytes.data() + 8));
        h = mix(h, member.port);
        out.next.push_back(scale(h, out.size));
        out.skip.push_back(1 + scale(mix(h, 1), out.size - 1));
    }
    return out;
}

template <class Position>
class OneByOne {
public:
    OneByOne(Filling<Position>& filling, Turns& turns) : filling_(filling), turns_(turns) {}

    void fill() {
        // With r places left a turn costs r multiplications when they are listed, and size / r tries otherwise.
        const std::size_t listed = root_of(2 * filling_.ring.size());
        const std::size_t crowded = filling_.ring.size() * 2 / 5;
        std::size_t left = filling_.ring.size();
        for (; left > crowded; --left) {
            try_one_by_one(turns_.next());
        }
        for (; left > listed; --left) {
            try_by_eights(turns_.next());
        }
        take_listed();
    }

private:
    // Tries places in the member's order. Few tries are expected while the ring is rather empty.
    void try_one_by_one(std::uint32_t member) {
        std::uint32_t place = filling_.next[member];
        while (!filling_.is_free(place)) {
            place = filling_.after(place, filling_.skip[member]);
        }
        filling_.take(place, member);
    }

    // The same with eight tries at a time: they do not wait for each other, and one branch is
    // guessed for all.
    void try_by_eights(std::uint32_t member) {
        const std::uint32_t skip = filling_.skip[member];
        const std::uint32_t skip2 = filling_.after(skip, skip);
        const std::uint32_t skip4 = filling_.after(skip2, skip2);
        std::array<std::uint32_t, 8> place;
        place[0] = filling_.next[member];
        for (;;) {
            place[1] = filling_.after(place[0], skip);
            place[2] = filling_.after(place[0], skip2);
            place[3] = filling_.after(place[1], skip2);
            std::uint32_t found = 0;
            for (std::size_t i = 0; i < 4; ++i) {
                place[i + 4] = filling_.after(place[i], skip4);
                found |= filling_.bit(place[i]) << i | filling_.bit(place[i + 4]) << (i + 4);
            }
            if (found != 0) {
                filling_.take(place[static_cast<std::size_t>(std::countr_zero(found))], member);
                return;
            }
            place[0] = filling_.after(place[4], skip4);
        }
    }

    // The next one is that with the least fraction: see factors_of().
    void take_listed() {
        const std::vector<std::uint64_t> factors = factors_of(filling_.skip, filling_.size);
        std::vector<std::uint32_t> places = filling_.list_free();
        while (!places.empty()) {
            const std::uint32_t member = turns_.next();
            std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
            std::size_t best = 0;
            for (std::size_t i = 0; i < places.size(); ++i) {
                const std::uint64_t fraction =
                    (std::uint64_t{places[i]} - std::uint64_t{filling_.next[member]}) * factors[member];
                best = fraction <= least ? i : best;
                least = std::min(fraction, least);
            }
            const std::uint32_t place = places[best];
            places[best] = places.back();
            places.pop_back();
            filling_.take(place, member);
        }
    }

    Filling<Position>& filling_;
    Turns& turns_;
};

template <class Position>
void build(std::span<const RingMember> members, std::span<Position> ring, RingWay way) {
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
    Turns turns(members, std::move(order));
    Filling<Position> filling = empty_ring(members, ring);
    // Few members would have several turns among those that are looked at as one.
    constexpr std::size_t kFewMembers = 64;
    if (way == RingWay::kFastest && members.size() >= kFewMembers && has_lanes()) {
        fill_by_lanes(filling, turns);
    } else {
        OneByOne(filling, turns).fill();
    }
}

}  // namespace

std::size_t root_of(std::size_t square) {
    std::size_t out = 1;
    while (out * out < square) {
        ++out;
    }
    return out;
}

std::vector<std::uint64_t> factors_of(std::span<const std::uint32_t> skips, std::uint32_t size) {
    // 2^64 = whole * size + rest. No prime divides 2^64 but 2, so the most that fits has the same quotient.
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
    const std::uint64_t whole = kMost / size;
    const std::uint64_t rest = kMost % size + 1;
    // All inverses by one (Montgomery 1987): that of the product of all, times the products of all others.
    std::vector<std::uint64_t> out(skips.size());
    std::uint64_t product = 1;
    for (std::size_t i = 0; i < skips.size(); ++i) {
        out[i] = product;
        product = product * skips[i] % size;
    }
    std::uint64_t inverse = inverse_of(product, size);
    for (std::size_t i = skips.size(); i-- > 0;) {
        const std::uint64_t one = inverse * out[i] % size;
        inverse = inverse * skips[i] % size;
        out[i] = one * whole + one * rest / size + 1;
    }
    return out;
}

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

void build_ring(std::span<const RingMember> members, std::span<std::uint16_t> ring, RingWay way) {
    build(members, ring, way);
}

void build_ring(std::span<const RingMember> members, std::span<std::uint32_t> ring, RingWay way) {
    build(members, ring, way);
}

}  // namespace sluice::image
