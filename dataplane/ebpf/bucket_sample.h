// How full a BPF array of buckets is, from buckets taken at random: a few microseconds a call, and no memory of the
// table's size.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "api/base/fd.h"

namespace sluice::dataplane {

// A table is too full when more than this part of its slots is in use: were these all connections in use, some new
// flows of a thousand would find no room (bpf/lib/README.md).
inline constexpr double kFullAt = 0.5;

class BucketSample {
public:
    // Buckets looked at in one call of take(), and how many calls make a judgement.
    static constexpr std::uint32_t kBuckets = 64;
    static constexpr std::uint32_t kRounds = 16;

    struct Seen {
        std::uint32_t slots = 0;
        std::uint32_t used = 0;
        std::uint32_t evicted = 0;  // entries in use that this bucket gave up since it was made
    };

    void open(Fd table, std::uint32_t buckets, std::uint32_t bucket_bytes);
    // look: what one bucket holds, from its bytes.
    void take(const std::function<Seen(const char* bucket)>& look);
    void forget();

    [[nodiscard]] bool judged() const { return judged_; }
    // Of the last whole judgement: the part of the slots in use, and entries given up by the whole table.
    [[nodiscard]] double fullness() const { return fullness_; }
    [[nodiscard]] std::uint64_t evicted() const { return evicted_; }
    [[nodiscard]] bool full() const { return judged_ && fullness_ > kFullAt; }
    [[nodiscard]] std::uint32_t buckets() const { return buckets_; }

private:
    std::uint32_t any_bucket();

    Fd table_;
    std::uint32_t buckets_ = 0;
    std::vector<char> bucket_;
    std::uint64_t random_ = 0x9e3779b97f4a7c15ULL;
    std::uint32_t rounds_ = 0;
    std::uint64_t seen_buckets_ = 0;
    std::uint64_t seen_slots_ = 0;
    std::uint64_t seen_used_ = 0;
    std::uint64_t seen_evicted_ = 0;
    bool judged_ = false;
    double fullness_ = 0;
    std::uint64_t evicted_ = 0;
};

}  // namespace sluice::dataplane
