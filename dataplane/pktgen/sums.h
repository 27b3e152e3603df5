// Ones' complement sums (RFC 1071) over the bytes as they lie: the sum is the same in either byte
// order (section 2 (B)), so nothing is swapped. Partial sums are 64 bits wide and are folded once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::pktgen {

// Eight bytes as a partial sum.
inline std::uint64_t sum_word(std::uint64_t word) {
    return (word & 0xffffffffU) + (word >> 32U);
}

inline std::uint16_t fold(std::uint64_t sum) {
    sum = (sum & 0xffffffffU) + (sum >> 32U);
    sum = (sum & 0xffffU) + (sum >> 16U & 0xffffU) + (sum >> 32U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    sum = (sum & 0xffffU) + (sum >> 16U);
    return static_cast<std::uint16_t>(sum);
}

// Of any number of bytes; an odd one is padded with a zero.
inline std::uint64_t sum_bytes(const std::uint8_t* bytes, std::size_t length) {
    std::uint64_t sum = 0;
    std::size_t at = 0;
    for (; at + 8 <= length; at += 8) {
        std::uint32_t low = 0;
        std::uint32_t high = 0;
        std::memcpy(&low, bytes + at, 4);
        std::memcpy(&high, bytes + at + 4, 4);
        sum += std::uint64_t{low} + high;
    }
    if (at < length) {
        std::uint64_t rest = 0;
        std::memcpy(&rest, bytes + at, length - at);
        sum += sum_word(rest);
    }
    return sum;
}

// A number as it lies in a packet, for the sum of a pseudo header.
inline std::uint16_t be16(std::uint16_t value) { return __builtin_bswap16(value); }
inline std::uint32_t be32(std::uint32_t value) { return __builtin_bswap32(value); }

}  // namespace sluice::pktgen
