#include "dataplane/ebpf/bucket_sample.h"

#include <bpf/bpf.h>

namespace sluice::dataplane {

void BucketSample::open(Fd table, std::uint32_t buckets, std::uint32_t bucket_bytes) {
    table_ = std::move(table);
    buckets_ = buckets;
    bucket_.resize(bucket_bytes);
    forget();
}

void BucketSample::forget() {
    rounds_ = 0;
    seen_buckets_ = seen_slots_ = seen_used_ = seen_evicted_ = 0;
    judged_ = false;
}

// xorshift64 (Marsaglia): which bucket is looked at has to be even, not secret.
std::uint32_t BucketSample::any_bucket() {
    random_ ^= random_ << 13U;
    random_ ^= random_ >> 7U;
    random_ ^= random_ << 17U;
    return static_cast<std::uint32_t>((random_ >> 32U) * buckets_ >> 32U);
}

void BucketSample::take(const std::function<Seen(const char*)>& look) {
    if (!table_ || buckets_ == 0) return;
    for (std::uint32_t i = 0; i < kBuckets; ++i) {
        const std::uint32_t bucket = any_bucket();
        if (bpf_map_lookup_elem(table_.get(), &bucket, bucket_.data()) != 0) continue;
        const Seen seen = look(bucket_.data());
        ++seen_buckets_;
        seen_slots_ += seen.slots;
        seen_used_ += seen.used;
        seen_evicted_ += seen.evicted;
    }
    if (++rounds_ < kRounds || seen_slots_ == 0) return;
    fullness_ = static_cast<double>(seen_used_) / static_cast<double>(seen_slots_);
    evicted_ = seen_evicted_ * buckets_ / seen_buckets_;
    forget();
    judged_ = true;
}

}  // namespace sluice::dataplane
