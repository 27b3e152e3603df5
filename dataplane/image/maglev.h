// Rings for consistent hashing: the look-up table of Maglev (Eisenbud et al., NSDI'16,
// section 3.4), with weights.
//
// Equal members give an equal ring on every node and in every version: a member's permutation of
// the ring follows from its address and port alone, and members take their turns in the order of
// (address, port), whatever order they are given in.
//
// Deviations from the paper, all deliberate:
// - Weights. Turns are dealt in rounds; after round t a member of weight w has had ceil(t * w /
// 2^k) of them, where 2^k
//   is the power of two at or below the mean weight (after division by the weights' common factor).
//   So everybody has a turn in the first round, a round is about as long as there are members, and
//   equal weights are the paper's round robin. Rounds do not depend on the exact mean, which would
//   move many places when one member leaves.
// - The last places, which the paper finds by trying almost all others, are found by arithmetic:
// the places still free
//   are listed, and a member's next one is that with the least (place - next) / skip modulo the
//   ring's size. The ring is the same, place for place; about half of the tries are saved.
// - Sizes come from a fixed list of primes, at least kPlacesPerMember times the members. A ring
// never exceeds
//   kMaxRingPlaces: with more than 167,771 members, shares are rounded more coarsely than 1%.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

#include "api/abi/image.h"
#include "api/base/ip_address.h"

namespace sluice::image {

inline constexpr std::uint32_t kMaxWeight = 1000;
inline constexpr std::uint32_t kPlacesPerMember = 100;
inline constexpr std::uint32_t kMaxRingPlaces = 16'777'213;
// Weights alone never ask for more than this; a share below one place of so many is rounded up to
// one.
inline constexpr std::uint32_t kMaxPlacesForWeights = 655'373;
// Rings of more members have positions of four bytes.
inline constexpr std::size_t kMaxNarrowMembers = 65'535;

struct RingMember {
    IpAddress address;
    std::uint16_t port = 0;
    std::uint16_t weight = 1;  // 1 to kMaxWeight
    auto operator<=>(const RingMember&) const = default;
};

// Places for a ring of these members: a prime from the list. REQUIRES: members is not empty.
[[nodiscard]] std::uint32_t ring_places(std::span<const RingMember> members);

// How places are looked for. All give the same ring.
enum class RingWay : std::uint8_t {
    kFastest,  // many at a time, where the processor has AVX-512
    kPlain,
};

// Fills the ring; each place gets an index into members. REQUIRES: ring.size() is a prime of at
// most kMaxRingPlaces and at least members.size(), members are unique by (address, port) and not
// empty, and their indices fit the position. Cost: about 5 tries a place, more for larger rings
// (maglev_bench).
void build_ring(std::span<const RingMember> members, std::span<std::uint16_t> ring, RingWay way = RingWay::kFastest);
void build_ring(std::span<const RingMember> members, std::span<std::uint32_t> ring, RingWay way = RingWay::kFastest);

}  // namespace sluice::image
