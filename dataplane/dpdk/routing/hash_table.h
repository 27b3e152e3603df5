// A flat hash table from a fixed-size key to a 32-bit number: linear probing over one array, at
// most six of ten places taken, so that a look-up is one cache line, rarely two. Copying a table is
// copying its array.
//
// Hashing is multiply-shift with secret factors drawn once per process (Dietzfelbinger et al. 1997;
// pairs as Thorup, "High Speed Hashing for Integers and Strings", section 3.5): neighbours'
// addresses are chosen by strangers, who shall not be able to aim at one place.
//
// Written by one thread before it is published; any number of threads read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice::dpdk {

// 128 bits of an IPv6 address in host order.
struct Wide {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    bool operator==(const Wide&) const = default;
};

// An address on a link.
struct LinkKey4 {
    std::uint32_t address = 0;  // host order
    std::uint32_t interface = 0;
    bool operator==(const LinkKey4&) const = default;
};
struct LinkKey6 {
    Wide address;
    std::uint64_t interface = 0;
    bool operator==(const LinkKey6&) const = default;
};

// Secret and odd; the same as long as the process lives.
struct HashFactors {
    std::uint64_t factor[6];
};
const HashFactors& hash_factors();

inline std::uint64_t hash_of(std::uint32_t key, const HashFactors& f) {
    return key * f.factor[0] + f.factor[1];
}
inline std::uint64_t hash_of(const Wide& key, const HashFactors& f) {
    const std::uint64_t first =
        ((key.high >> 32U) + f.factor[0]) * ((key.high & 0xffffffffU) + f.factor[1]);
    return first + ((key.low >> 32U) + f.factor[2]) * ((key.low & 0xffffffffU) + f.factor[3]);
}
inline std::uint64_t hash_of(const LinkKey4& key, const HashFactors& f) {
    return (key.address + f.factor[0]) * (key.interface + f.factor[1]);
}
inline std::uint64_t hash_of(const LinkKey6& key, const HashFactors& f) {
    return hash_of(key.address, f) + (key.interface + f.factor[4]) * f.factor[5];
}

template <class Key>
class HashTable {
public:
    // No value is this one.
    static constexpr std::uint32_t kNothing = 0xffffffff;

    [[nodiscard]] std::uint32_t find(const Key& key) const {
        for (std::size_t i = place(key);; i = (i + 1) & mask_) {
            const Slot& slot = slots_[i];
            if (slot.value == kNothing || slot.key == key) return slot.value;
        }
    }
    void prefetch(const Key& key) const { __builtin_prefetch(&slots_[place(key)]); }
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::size_t bytes() const { return slots_.size() * sizeof(Slot); }

    void reserve(std::size_t entries) {
        std::size_t wanted = kLeast;
        while (entries * 10 > wanted * 6) wanted *= 2;
        if (wanted > slots_.size()) resize(wanted);
    }
    // Puts the value in the place of what the key had.
    void put(const Key& key, std::uint32_t value) {
        reserve(size_ + 1);
        std::size_t i = place(key);
        while (slots_[i].value != kNothing && !(slots_[i].key == key)) i = (i + 1) & mask_;
        size_ += slots_[i].value == kNothing ? 1U : 0U;
        slots_[i] = Slot{key, value};
    }
    // What follows is moved up, so that no marks of the dead are left (Knuth, volume 3,
    // section 6.4, algorithm R).
    void remove(const Key& key) {
        std::size_t hole = place(key);
        while (!(slots_[hole].key == key) || slots_[hole].value == kNothing) {
            if (slots_[hole].value == kNothing) return;
            hole = (hole + 1) & mask_;
        }
        for (std::size_t i = (hole + 1) & mask_; slots_[i].value != kNothing; i = (i + 1) & mask_) {
            const std::size_t home = place(slots_[i].key);
            if (((i - home) & mask_) >= ((i - hole) & mask_)) {
                slots_[hole] = slots_[i];
                hole = i;
            }
        }
        slots_[hole].value = kNothing;
        --size_;
    }

private:
    static constexpr std::size_t kLeast = 4;
    struct Slot {
        Key key{};
        std::uint32_t value = kNothing;
    };

    [[nodiscard]] std::size_t place(const Key& key) const {
        return hash_of(key, factors_) >> shift_;
    }
    void resize(std::size_t places) {
        std::vector<Slot> former(places);
        former.swap(slots_);
        mask_ = places - 1;
        shift_ = 64U - static_cast<unsigned>(std::countr_zero(places));
        for (const Slot& slot : former) {
            if (slot.value == kNothing) continue;
            std::size_t i = place(slot.key);
            while (slots_[i].value != kNothing) i = (i + 1) & mask_;
            slots_[i] = slot;
        }
    }

    std::vector<Slot> slots_ = std::vector<Slot>(kLeast);
    std::size_t mask_ = kLeast - 1;
    unsigned shift_ = 62;
    std::size_t size_ = 0;
    HashFactors factors_ = hash_factors();
};

}  // namespace sluice::dpdk
