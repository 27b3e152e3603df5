// Longest prefix match: binary search over the lengths that there are, each a hash table.
//
// Source: Waldvogel, Varghese, Turner, Plattner, "Scalable High Speed IP Routing Lookups", SIGCOMM
// 1997, section 3. A longer prefix leaves markers at the lengths where the search must decide for
// longer ones; a marker carries the best match of its own bits, so that the search never goes back.
// Deviation: lengths without any prefix are not searched, so that a node's usual few (/32, /24, /0)
// cost one or two probes; 32 lengths cost at most 6, 128 at most 8. One probe is one cache line,
// seldom two.
//
// Chosen over DIR-24-8 (64 MiB for three routes) and over Poptrie (host routes of IPv6 are 19
// levels deep, and a million of them some 20 million nodes): memory here is one place for each
// prefix and each marker.
//
// Written by one thread before it is published; any number of threads read.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/dpdk/routing/hash_table.h"

namespace sluice::dpdk {

// The first `bits` of a key, the rest zero.
inline std::uint32_t first_bits(std::uint32_t key, unsigned bits) {
    return bits == 0 ? 0 : key & (0xffffffffU << (32U - bits));
}
inline Wide first_bits(const Wide& key, unsigned bits) {
    if (bits > 64) return {key.high, bits == 128 ? key.low : key.low & ~(~0ULL >> (bits - 64U))};
    return {bits == 0 ? 0 : bits == 64 ? key.high : key.high & ~(~0ULL >> bits), 0};
}

// Key: std::uint32_t for IPv4, Wide for IPv6; host order.
template <class Key>
class Prefixes {
public:
    static constexpr unsigned kBits = sizeof(Key) * 8;
    // What no prefix covers.
    static constexpr std::uint32_t kNothing = HashTable<Key>::kNothing;

    struct Item {
        Key key{};  // the bits beyond `bits` are zero
        std::uint8_t bits = 0;
        std::uint32_t value = 0;  // not kNothing
    };

    Prefixes() = default;
    // REQUIRES: no two items with equal key and bits; fewer than 2^32 of them.
    explicit Prefixes(std::span<const Item> items);

    // The value of the longest prefix of the key.
    [[nodiscard]] std::uint32_t find(const Key& key) const { return search(key, kBits); }
    [[nodiscard]] std::size_t entries() const;  // prefixes and markers
    [[nodiscard]] std::size_t bytes() const;

private:
    struct Level {
        unsigned bits = 0;
        HashTable<Key> table;
    };

    // Among prefixes of at most `limit` bits.
    [[nodiscard]] std::uint32_t search(const Key& key, unsigned limit) const {
        std::uint32_t best = all_;
        std::size_t low = 0;
        std::size_t high = levels_.size();
        while (low < high) {
            const std::size_t middle = low + (high - low) / 2;
            const Level& level = levels_[middle];
            std::uint32_t found = kNothing;
            if (level.bits <= limit) found = level.table.find(first_bits(key, level.bits));
            if (found == kNothing) {
                high = middle;
            } else {
                // A marker whose bits nothing shorter covers.
                best = found == kCovered ? all_ : found;
                low = middle + 1;
            }
        }
        return best;
    }
    void insert(const Item& item);

    // Stands in a marker for "what covers everything", which may be nothing.
    static constexpr std::uint32_t kCovered = kNothing - 1;
    std::vector<Level> levels_;  // by length, shortest first
    std::uint32_t all_ = kNothing;
};

extern template class Prefixes<std::uint32_t>;
extern template class Prefixes<Wide>;

}  // namespace sluice::dpdk
