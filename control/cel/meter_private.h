// What one evaluation has cost and done. Private to cel/.
//
// Costs are counted as cel-go counts them, which is part of Kubernetes' API: they decide whether an expression is let
// finish. They do not bound work well (comparing two deep objects costs what comparing two small ones costs), so
// work is counted beside them: bytes and elements touched or built. Both limits end an evaluation with the same
// error.
#pragma once

#include <cstdint>

#include "api/base/result.h"

namespace sluice::cel {

// What one evaluation may do, in bytes looked at: about a quarter of a second. Looking at an element of a list
// or a map takes as long as looking at so many bytes. And the bytes that it may build.
inline constexpr std::uint64_t kMaxWork = 200'000'000;
inline constexpr std::uint64_t kElementWork = 40;
inline constexpr std::uint64_t kMaxBuiltBytes = 32U << 20U;

class Meter {
public:
    explicit Meter(std::uint64_t cost_limit) : cost_limit_(cost_limit) {}

    // False: the limit is exceeded, and everything has to end with stopped().
    [[nodiscard]] bool charge(std::uint64_t cost) {
        cost_ = cost_ > UINT64_MAX - cost ? UINT64_MAX : cost_ + cost;
        if (cost_ > cost_limit_) exceeded_ = true;
        return !exceeded_;
    }
    [[nodiscard]] bool elements(std::uint64_t count) {
        return work(count > kMaxWork ? kMaxWork + 1 : count * kElementWork);
    }
    [[nodiscard]] bool work(std::uint64_t amount) {
        work_ = work_ > UINT64_MAX - amount ? UINT64_MAX : work_ + amount;
        if (work_ > kMaxWork) exceeded_ = true;
        return !exceeded_;
    }
    // Asked before the memory is taken.
    [[nodiscard]] bool build(std::uint64_t bytes) {
        built_ = built_ > UINT64_MAX - bytes ? UINT64_MAX : built_ + bytes;
        if (built_ > kMaxBuiltBytes) exceeded_ = true;
        return work(bytes);
    }
    [[nodiscard]] bool exceeded() const { return exceeded_; }
    [[nodiscard]] std::uint64_t cost() const { return cost_; }
    [[nodiscard]] static Error stopped() {
        return Error{Code::kResourceExhausted, "operation cancelled: actual cost limit exceeded",
                     0};
    }

private:
    std::uint64_t cost_limit_;
    std::uint64_t cost_ = 0;
    std::uint64_t work_ = 0;
    std::uint64_t built_ = 0;
    bool exceeded_ = false;
};

}  // namespace sluice::cel
