#include "dataplane/pktgen/windows.h"

#include <algorithm>
#include <bit>
#include <new>

namespace sluice::pktgen {
namespace {

constexpr unsigned kBitsShift = 5;  // 32 numbers in a word

template <class T>
std::unique_ptr<std::atomic<T>[]> zeros(std::uint64_t count) {
    return std::unique_ptr<std::atomic<T>[]>(new (std::nothrow) std::atomic<T>[count]());
}

}  // namespace

Result<Windows> Windows::make(std::uint64_t streams, bool shared) {
    if (streams == 0 || streams > kMaxStreams) {
        return make_error(Code::kResourceExhausted,
                          "sequence windows: {} streams (flows times senders) are not 1 to {}", streams,
                          kMaxStreams);
    }
    const std::uint64_t words =
        std::clamp<std::uint64_t>(std::bit_floor(kBytes / sizeof(std::uint64_t) / streams),
                                  kMinWindow / 32, kMaxWindow / 32);
    Windows out;
    out.streams_ = streams;
    out.lap_shift_ = static_cast<unsigned>(std::bit_width(words)) - 1;
    out.shared_ = shared;
    out.next_ = zeros<std::uint32_t>(streams);
    out.words_ = zeros<std::uint64_t>(streams * words);
    if (out.next_ == nullptr || out.words_ == nullptr) {
        return make_error(Code::kResourceExhausted,
                          "sequence windows: no memory for {} streams of {} bytes", streams,
                          words * sizeof(std::uint64_t) + sizeof(std::uint32_t));
    }
    return out;
}

template <bool kShared>
bool Windows::swap(std::atomic<std::uint64_t>& word, std::uint64_t& before, std::uint64_t after) {
    if constexpr (kShared) {
        return word.compare_exchange_weak(before, after, std::memory_order_relaxed);
    } else {
        word.store(after, std::memory_order_relaxed);
        return true;
    }
}

template <bool kShared>
Arrival Windows::arrive_in(std::uint32_t stream, std::uint32_t sequence, std::uint32_t& skipped) {
    skipped = 0;
    const unsigned lap_bits = 32 - kBitsShift - lap_shift_;
    const std::uint32_t lap = sequence >> (kBitsShift + lap_shift_);
    const std::uint32_t slot = sequence >> kBitsShift & ((1U << lap_shift_) - 1);
    const std::uint64_t bit = 1ULL << (sequence & 31U);
    std::atomic<std::uint64_t>& word = words_[(std::uint64_t{stream} << lap_shift_) + slot];

    std::uint64_t before = word.load(std::memory_order_relaxed);
    while (true) {
        // Serial arithmetic (RFC 1982) over the bits that a lap has.
        const std::uint32_t ahead = (lap - static_cast<std::uint32_t>(before >> 32U)) << (32 - lap_bits);
        std::uint64_t after = std::uint64_t{lap} << 32U | bit;
        if (ahead == 0) {
            if ((before & bit) != 0) {
                return Arrival::kDuplicate;
            }
            after = before | bit;
        } else if (ahead >> 31U != 0) {
            return Arrival::kLate;
        }
        if (swap<kShared>(word, before, after)) {
            break;
        }
    }
    std::uint32_t next = next_[stream].load(std::memory_order_relaxed);
    while (true) {
        const std::uint32_t ahead = sequence - next;
        if (ahead >> 31U != 0) {
            return Arrival::kReordered;
        }
        if constexpr (!kShared) {
            next_[stream].store(sequence + 1, std::memory_order_relaxed);
            skipped = ahead;
            return Arrival::kInOrder;
        } else if (next_[stream].compare_exchange_weak(next, sequence + 1,
                                                       std::memory_order_relaxed)) {
            skipped = ahead;
            return Arrival::kInOrder;
        }
    }
}

template Arrival Windows::arrive_in<true>(std::uint32_t, std::uint32_t, std::uint32_t&);
template Arrival Windows::arrive_in<false>(std::uint32_t, std::uint32_t, std::uint32_t&);

}  // namespace sluice::pktgen
