// Next hops by destination: a set-associative cache in front of Forwarding::lookup, of one lcore.
//
// As bpf/lib/next_hop.h, with more sets and one array a family, so that a set of IPv4 is one cache line. An entry
// points into the snapshot that it came from and counts only while that snapshot is in use. The youngest of a set comes
// first: where a set has one destination, as most have, the processor guesses right which way it is.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "bpf/lib/tuple.h"
#include "dataplane/dpdk/routing/forwarding.h"

namespace sluice::dpdk {

inline constexpr std::uint32_t kHopWays = 4;
inline constexpr std::uint32_t kHopSets4 = 1024;  // powers of two; 64 KiB a family
inline constexpr std::uint32_t kHopSets6 = 512;

class HopCache {
public:
    // Forgets what it knows.
    void use(const Forwarding* forwarding) {
        forwarding_ = forwarding;
        if (++epoch_ == 0) {
            sets4_.fill({});
            sets6_.fill({});
            epoch_ = 1;
        }
    }
    [[nodiscard]] const Forwarding* forwarding() const { return forwarding_; }

    [[nodiscard]] static std::uint32_t set_of4(std::uint32_t address_be) {
        return (address_be * 0x9e3779b1U) >> 22U & (kHopSets4 - 1);
    }
    [[nodiscard]] static std::uint32_t set_of6(const std::uint32_t* word_be) {
        std::uint32_t h = word_be[3] ^ (word_be[0] ^ word_be[1] * 0x85ebca6bU);
        h += word_be[2] * 0xc2b2ae35U;
        return (h * 0x9e3779b1U) >> 22U & (kHopSets6 - 1);
    }

    template <int V6>
    void prefetch(std::uint32_t set) const {
        if constexpr (V6 != 0) {
            __builtin_prefetch(&sets6_[set]);
        } else {
            __builtin_prefetch(&sets4_[set]);
        }
    }

    // REQUIRES: forwarding() is not null.
    template <int V6>
    const Hop& find(const sluice_address& destination) {
        if constexpr (V6 != 0) {
            return find6(set_of6(destination.word_be), destination.word_be);
        } else {
            return find4(set_of4(destination.word_be[3]), destination.word_be[3]);
        }
    }
    // The same, in the destination's set.
    [[gnu::always_inline]] const Hop& find4(std::uint32_t set, std::uint32_t address_be) {
        const Way4& first = sets4_[set].way[0];
        if (first.address_be == address_be && first.epoch == epoch_) [[likely]] return *first.hop;
        return find_further4(sets4_[set], address_be);
    }
    [[gnu::always_inline]] const Hop& find6(std::uint32_t set, const std::uint32_t* word_be) {
        const Way6& first = sets6_[set].way[0];
        if (same(first.word_be, word_be) && first.epoch == epoch_) [[likely]] return *first.hop;
        return find_further6(sets6_[set], word_be);
    }

private:
    struct Way4 {
        std::uint32_t address_be = 0;
        std::uint32_t epoch = 0;  // 0: nothing here
        const Hop* hop = nullptr;
    };
    struct alignas(64) Set4 {
        std::array<Way4, kHopWays> way;
    };
    static_assert(sizeof(Set4) == 64);
    struct Way6 {
        std::array<std::uint32_t, 4> word_be{};
        std::uint32_t epoch = 0;
        const Hop* hop = nullptr;
    };
    struct alignas(64) Set6 {
        std::array<Way6, kHopWays> way;
    };
    static_assert(sizeof(Set6) == 128);

    static bool same(const std::array<std::uint32_t, 4>& a, const std::uint32_t* b) {
        std::uint64_t left[2];
        std::uint64_t right[2];
        std::memcpy(left, a.data(), sizeof left);
        std::memcpy(right, b, sizeof right);
        return ((left[0] ^ right[0]) | (left[1] ^ right[1])) == 0;
    }

    [[gnu::noinline]] const Hop& find_further4(Set4& set, std::uint32_t address_be) {
        for (const Way4& way : set.way) {
            if (way.address_be == address_be && way.epoch == epoch_) return *way.hop;
        }
        sluice_address destination;
        sluice_set_v4(&destination, address_be);
        const Hop& hop = forwarding_->lookup(destination, false);
        std::copy_backward(set.way.begin(), set.way.end() - 1, set.way.end());
        set.way[0] = {address_be, epoch_, &hop};
        return hop;
    }
    [[gnu::noinline]] const Hop& find_further6(Set6& set, const std::uint32_t* word_be) {
        for (const Way6& way : set.way) {
            if (same(way.word_be, word_be) && way.epoch == epoch_) return *way.hop;
        }
        sluice_address destination;
        std::memcpy(destination.word_be, word_be, sizeof destination.word_be);
        const Hop& hop = forwarding_->lookup(destination, true);
        std::copy_backward(set.way.begin(), set.way.end() - 1, set.way.end());
        std::memcpy(set.way[0].word_be.data(), word_be, 16);
        set.way[0].epoch = epoch_;
        set.way[0].hop = &hop;
        return hop;
    }

    const Forwarding* forwarding_ = nullptr;
    std::uint32_t epoch_ = 0;
    std::array<Set4, kHopSets4> sets4_{};
    std::array<Set6, kHopSets6> sets6_{};
};

}  // namespace sluice::dpdk
