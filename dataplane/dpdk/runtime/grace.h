// When no lcore can still be using what it was given before: rte_rcu_qsbr behind a plain interface.
//
// A lcore is online while it works on packets and passes a quiescent state between two bursts; asleep or stopped it is
// offline and never waited for.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "api/base/result.h"

struct rte_rcu_qsbr;

namespace sluice::dpdk {

class Grace {
public:
    static Result<std::unique_ptr<Grace>> make(std::size_t lcores);
    virtual ~Grace() = default;

    // The token of a moment: what was unpublished before it is free when passed(token). Any thread.
    virtual std::uint64_t begin() = 0;
    virtual bool passed(std::uint64_t token) = 0;
    // Sleeps until then. kDeadlineExceeded: a lcore is stuck, what was unpublished must be kept. Not on a lcore.
    Result<void> wait(std::chrono::milliseconds limit = std::chrono::seconds(5));
    // For lcores, which use it directly.
    [[nodiscard]] virtual rte_rcu_qsbr* variable() = 0;
};

}  // namespace sluice::dpdk
