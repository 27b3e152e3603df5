// See prefixes.h.
#include "dataplane/dpdk/routing/prefixes.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "api/base/result.h"

namespace sluice::dpdk {

const HashFactors& hash_factors() {
    static const HashFactors factors = [] {
        HashFactors out{};
        // Without the kernel's random numbers the table still works; it can then be aimed at by who
        // knows the factors.
        if (::getrandom(&out, sizeof out, 0) != static_cast<ssize_t>(sizeof out)) {
            std::random_device device;
            for (auto& factor : out.factor)
                factor = static_cast<std::uint64_t>(device()) << 32U | device();
        }
        for (auto& factor : out.factor) factor |= 1U;
        return out;
    }();
    return factors;
}

template <class Key>
Prefixes<Key>::Prefixes(std::span<const Item> items) {
    std::array<std::size_t, kBits + 2> first{};  // of each length, in `order`
    for (const Item& item : items) {
        SLUICE_ASSERT(item.bits <= kBits && item.value < kCovered);
        ++first[item.bits + 1U];
    }
    std::array<std::size_t, kBits + 1> count{};
    std::copy(first.begin() + 1, first.end(), count.begin());
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<std::uint32_t> order(items.size());
    for (std::size_t i = 0; i < items.size(); ++i)
        order[first[items[i].bits]++] = static_cast<std::uint32_t>(i);
    for (unsigned bits = 1; bits <= kBits; ++bits) {
        if (count[bits] == 0) continue;
        levels_.push_back({bits, {}});
        levels_.back().table.reserve(count[bits]);
    }
    // By length, so that what a marker inherits is there when it is made.
    for (const std::uint32_t number : order) {
        const Item& item = items[number];
        if (item.bits == 0) {
            all_ = item.value;
        } else {
            insert(item);
        }
    }
}

template <class Key>
void Prefixes<Key>::insert(const Item& item) {
    std::size_t low = 0;
    std::size_t high = levels_.size();
    for (;;) {
        SLUICE_ASSERT(low < high);
        const std::size_t middle = low + (high - low) / 2;
        Level& level = levels_[middle];
        if (level.bits > item.bits) {
            high = middle;
            continue;
        }
        if (level.bits == item.bits) {
            level.table.put(item.key, item.value);
            return;
        }
        // The search for this prefix must go on to longer ones here.
        const Key marked = first_bits(item.key, level.bits);
        if (level.table.find(marked) == kNothing) {
            const std::uint32_t inherited = search(marked, level.bits);
            level.table.put(marked, inherited == kNothing ? kCovered : inherited);
        }
        low = middle + 1;
    }
}

template <class Key>
std::size_t Prefixes<Key>::entries() const {
    std::size_t out = all_ == kNothing ? 0 : 1;
    for (const Level& level : levels_) out += level.table.size();
    return out;
}

template <class Key>
std::size_t Prefixes<Key>::bytes() const {
    std::size_t out = 0;
    for (const Level& level : levels_) out += level.table.bytes();
    return out;
}

template class Prefixes<std::uint32_t>;
template class Prefixes<Wide>;

}  // namespace sluice::dpdk
