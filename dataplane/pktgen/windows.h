// Which sequence numbers of each stream have come: loss, duplicates and reordering, told exactly within
// a window, by any number of lcores at once.
//
// A stream's window is a ring of words; each holds 32 sequence numbers as bits and the lap of the ring
// that they are of, so that a word that belongs to an earlier lap is replaced whole and nothing is
// ever cleared. A change is one compare-and-swap. All zeros is the state before the first packet.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "api/base/result.h"

namespace sluice::pktgen {

enum class Arrival : std::uint8_t {
    kInOrder,
    kReordered,   // below the highest one before it (RFC 4737, 3.3)
    kDuplicate,
    kLate,        // too far behind to tell whether it came before
};

class Windows {
public:
    static constexpr std::uint32_t kMinWindow = 64;
    static constexpr std::uint32_t kMaxWindow = 65536;
    static constexpr std::uint64_t kMaxStreams = 1ULL << 28U;
    // The windows of all streams together take about this, or more if kMinWindow asks for it.
    static constexpr std::uint64_t kBytes = 32ULL << 20U;

    // kResourceExhausted: too many streams, or no memory. `shared`: more than one lcore calls arrive().
    static Result<Windows> make(std::uint64_t streams, bool shared);

    // `skipped` is how many numbers this one jumped over: not come so far. REQUIRES: stream < streams().
    Arrival arrive(std::uint32_t stream, std::uint32_t sequence, std::uint32_t& skipped) {
        return shared_ ? arrive_in<true>(stream, sequence, skipped)
                       : arrive_in<false>(stream, sequence, skipped);
    }
    [[nodiscard]] std::uint64_t streams() const { return streams_; }
    [[nodiscard]] std::uint32_t window() const { return 32U << lap_shift_; }
    void prefetch(std::uint32_t stream) const { __builtin_prefetch(&next_[stream]); }

private:
    template <bool kShared>
    Arrival arrive_in(std::uint32_t stream, std::uint32_t sequence, std::uint32_t& skipped);
    template <bool kShared>
    static bool swap(std::atomic<std::uint64_t>& word, std::uint64_t& before, std::uint64_t after);

    Windows() = default;
    std::uint64_t streams_ = 0;
    unsigned lap_shift_ = 0;  // words of a stream: 1 << lap_shift_
    bool shared_ = false;
    std::unique_ptr<std::atomic<std::uint32_t>[]> next_;   // [stream], one above the highest that came
    std::unique_ptr<std::atomic<std::uint64_t>[]> words_;  // [stream][word]
};

}  // namespace sluice::pktgen
