// Next hops by destination: a set-associative cache in front of Forwarding::lookup, of one lcore.
//
// As bpf/lib/next_hop.h, with more sets and one array a family, so that a set of IPv4 is one cache line. An entry
// points into the snapshot that it came from and counts only while that snapshot is in use.
#pragma once

#include <array>
#include <cstdint>

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

    template <int V6>
    void prefetch(const sluice_address& destination) const {
        if constexpr (V6 != 0) {
            const Set6& set = sets6_[set_of6(destination)];
            __builtin_prefetch(&set.way[0]);
            __builtin_prefetch(&set.way[2]);
        } else {
            __builtin_prefetch(&sets4_[set_of4(destination.word_be[3])]);
        }
    }

    // REQUIRES: forwarding() is not null.
    template <int V6>
    const Hop& find(const sluice_address& destination) {
        if constexpr (V6 != 0) {
            Set6& set = sets6_[set_of6(destination)];
            for (const Way6& way : set.way) {
                if (way.epoch == epoch_ && same(way.address, destination)) return *way.hop;
            }
            const Hop& hop = forwarding_->lookup(destination, true);
            Way6& way = set.way[next_++ % kHopWays];
            way.address = destination;
            way.epoch = epoch_;
            way.hop = &hop;
            return hop;
        } else {
            Set4& set = sets4_[set_of4(destination.word_be[3])];
            for (const Way4& way : set.way) {
                if (way.address_be == destination.word_be[3] && way.epoch == epoch_) return *way.hop;
            }
            const Hop& hop = forwarding_->lookup(destination, false);
            Way4& way = set.way[next_++ % kHopWays];
            way.address_be = destination.word_be[3];
            way.epoch = epoch_;
            way.hop = &hop;
            return hop;
        }
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
        sluice_address address{};
        std::uint32_t epoch = 0;
        const Hop* hop = nullptr;
    };
    struct alignas(64) Set6 {
        std::array<Way6, kHopWays> way;
    };
    static_assert(sizeof(Set6) == 128);

    static bool same(const sluice_address& a, const sluice_address& b) {
        return ((a.word_be[0] ^ b.word_be[0]) | (a.word_be[1] ^ b.word_be[1]) |
                (a.word_be[2] ^ b.word_be[2]) | (a.word_be[3] ^ b.word_be[3])) == 0;
    }
    static std::uint32_t set_of4(std::uint32_t address_be) {
        return (address_be * 0x9e3779b1U) >> 22U & (kHopSets4 - 1);
    }
    static std::uint32_t set_of6(const sluice_address& a) {
        std::uint32_t h = a.word_be[3] ^ (a.word_be[0] ^ a.word_be[1] * 0x85ebca6bU);
        h += a.word_be[2] * 0xc2b2ae35U;
        return (h * 0x9e3779b1U) >> 22U & (kHopSets6 - 1);
    }

    const Forwarding* forwarding_ = nullptr;
    std::uint32_t epoch_ = 0;
    std::uint32_t next_ = 0;  // the ways take turns
    std::array<Set4, kHopSets4> sets4_{};
    std::array<Set6, kHopSets6> sets6_{};
};

}  // namespace sluice::dpdk
