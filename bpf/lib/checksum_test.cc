// The Internet checksum and its change, against RFC 1071's own words: 16 bits at a time, each carry brought round.
#include "bpf/lib/checksum.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "bpf/lib/rewrite.h"

namespace sluice {
namespace {

using Words = std::array<std::uint32_t, 9>;  // two addresses and a word of ports, as they lie in memory

std::uint16_t plain_sum(const std::uint8_t* bytes, std::size_t size, std::uint32_t sum = 0) {
    for (std::size_t i = 0; i < size; i += 2) {
        std::uint16_t word = 0;
        std::memcpy(&word, bytes + i, 2);
        sum += word;
        if (sum > 0xffff) sum -= 0xffff;
    }
    return static_cast<std::uint16_t>(sum);
}
template <class T>
std::uint16_t plain_check(const T& words, std::uint32_t rest = 0) {
    std::array<std::uint8_t, sizeof(T)> bytes;
    std::memcpy(bytes.data(), &words, sizeof(T));
    return static_cast<std::uint16_t>(~plain_sum(bytes.data(), bytes.size(), rest));
}

class Numbers {
public:
    // Often the ends of the range, where carries are.
    std::uint32_t word() {
        switch (random_() % 6) {
            case 0: return 0;
            case 1: return 0xffffffff;
            case 2: return random_() % 2 != 0 ? 0xffff0000 : 0x0000ffff;
            case 3: return static_cast<std::uint32_t>(random_() % 3);
            default: return static_cast<std::uint32_t>(random_());
        }
    }
    Words words() {
        Words out;
        for (std::uint32_t& word : out) word = this->word();
        return out;
    }

private:
    std::mt19937 random_{7};  // NOLINT: reproducible
};

sluice_address address_at(const Words& words, std::size_t first) {
    sluice_address out;
    std::memcpy(out.word_be, &words[first], sizeof out.word_be);
    return out;
}

TEST(Checksum, OfASumOfWordsIsThatOfTheirBytes) {
    Numbers numbers;
    for (int round = 0; round < 200000; ++round) {
        const Words words = numbers.words();
        std::uint64_t sum = 0;
        for (const std::uint32_t word : words) sum += word;
        ASSERT_EQ(sluice_sum_finish(sum), plain_check(words)) << round;
    }
}

TEST(Checksum, OfNumbersThatUseAll64Bits) {
    Numbers numbers;
    for (int round = 0; round < 200000; ++round) {
        const std::array<std::uint32_t, 2> words = {numbers.word(), numbers.word()};
        const std::uint64_t sum = std::uint64_t{words[1]} << 32U | words[0];
        ASSERT_EQ(sluice_sum_finish(sum), plain_check(words)) << std::hex << sum;
    }
}

// What a checksum becomes when addresses and ports do, and what it is when it is made anew of all there is; `rest` is
// what stays. A sum that is 0 is no packet's: something in it is not.
TEST(Checksum, AfterAChangeIsThatOfTheChangedPacket) {
    Numbers numbers;
    for (int round = 0; round < 200000; ++round) {
        const Words before = numbers.words();
        const Words after = numbers.words();
        const std::uint32_t rest = 1 + (numbers.word() & 0x7fff);
        for (const bool v6 : {false, true}) {
            sluice_tuple from{};
            from.src = address_at(before, 0);
            from.dst = address_at(before, 4);
            Words to = after;
            if (!v6) {  // what is above an IPv4 address counts as little as it changes
                std::memcpy(&to[0], &before[0], 12);
                std::memcpy(&to[4], &before[4], 12);
            }
            const sluice_address src = address_at(to, 0);
            const sluice_address dst = address_at(to, 4);
            const std::uint64_t change = std::uint64_t{sluice_sum_addresses_change(&from, &src, &dst, v6 ? 1 : 0)} +
                                         sluice_sum_change(before[8], to[8]);
            ASSERT_EQ(sluice_check_add(plain_check(before, rest), change), plain_check(to, rest))
                << round << (v6 ? " IPv6" : " IPv4");
        }
    }
}

}  // namespace
}  // namespace sluice
