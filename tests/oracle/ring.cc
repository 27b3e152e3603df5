#include "tests/oracle/ring.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace sluice::oracle {
namespace {

// The primes that rings have.
constexpr std::uint32_t kSizes[] = {113,     251,     509,     1021,    2039,     4093,    8191,
                                    16381,   32749,   65537,   131071,  262147,   524287,  655373,
                                    1048573, 2097143, 4194301, 8388593, 12582917, 16777213};
constexpr std::uint64_t kPlacesEach = 100;
constexpr std::uint64_t kMostForWeights = 655373;

// splitmix64's finish (Steele, Lea, Flood 2014).
std::uint64_t mix(std::uint64_t state, std::uint64_t value) {
    std::uint64_t z = (state ^ value) + 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
}

std::uint64_t eight(const IpAddress& address, std::size_t from) {
    return static_cast<std::uint64_t>(get32(address.bytes, from)) << 32U | get32(address.bytes, from + 4);
}

std::uint32_t size_of(const std::vector<image::Backend>& set) {
    std::uint64_t sum = 0;
    std::uint64_t least = set.front().weight;
    for (const auto& member : set) {
        sum += member.weight;
        least = std::min<std::uint64_t>(least, member.weight);
    }
    const std::uint64_t wanted =
        std::max(set.size() * kPlacesEach, std::min(sum / least * kPlacesEach, kMostForWeights));
    for (const std::uint32_t size : kSizes) {
        if (size >= wanted) {
            return size;
        }
    }
    return kSizes[std::size(kSizes) - 1];
}

}  // namespace

std::vector<std::uint32_t> ring_of(const std::vector<image::Backend>& set) {
    const std::uint64_t size = size_of(set);
    constexpr std::uint32_t kFree = 0xffffffff;
    std::vector<std::uint32_t> ring(size, kFree);
    std::vector<std::uint64_t> next;
    std::vector<std::uint64_t> skip;
    std::uint64_t common = 0;
    std::uint64_t sum = 0;
    for (const auto& member : set) {
        std::uint64_t h = mix(0x6d61676c6576ULL, eight(member.address, 0));
        h = mix(mix(h, eight(member.address, 8)), member.port);
        next.push_back((h >> 32U) * size >> 32U);
        skip.push_back(1 + ((mix(h, 1) >> 32U) * (size - 1) >> 32U));
        common = std::gcd(common, std::uint64_t{member.weight});
        sum += member.weight;
    }
    // Rounds: after round t a member of weight w has had ceil(t * w / 2^k) turns, 2^k at or below the mean weight.
    const std::uint64_t unit = std::bit_floor(sum / common / set.size());
    std::vector<std::uint64_t> had(set.size(), 0);
    std::uint64_t left = size;
    for (std::uint64_t round = 1; left > 0; ++round) {
        for (std::size_t member = 0; member < set.size() && left > 0; ++member) {
            const std::uint64_t due = (round * (set[member].weight / common) + unit - 1) / unit;
            for (; had[member] < due && left > 0; ++had[member], --left) {
                while (ring[next[member]] != kFree) {
                    next[member] = (next[member] + skip[member]) % size;
                }
                ring[next[member]] = static_cast<std::uint32_t>(member);
            }
        }
    }
    return ring;
}

std::uint32_t hash_of(const Tuple& tuple, image::Choice choice) {
    const auto with = [](std::uint64_t h, const IpAddress& address) {
        return mix(address.is_v4() ? h : mix(h, eight(address, 0)), eight(address, 8));
    };
    std::uint64_t h = with(0, tuple.src);
    if (choice != image::Choice::kClient) {
        h = with(h, tuple.dst);
        h = mix(h, (std::uint64_t{tuple.sport} << 16U | tuple.dport) << 8U | tuple.protocol);
    }
    return static_cast<std::uint32_t>(h >> 32U);
}

}  // namespace sluice::oracle
