// Grace periods: when one has passed, no BPF program that was running at its start still runs.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "api/base/result.h"

namespace sluice::dataplane {

// Blocks for one RCU grace period (tens of milliseconds). Programs of the hooks and of tc run under
// rcu_read_lock, which membarrier's global command waits for; where that is refused (nohz_full),
// the update of an outer map, after which the kernel itself waits.
Result<void> wait_for_grace_period();

// Waits in its own thread, so that the apply path need not. One period at a time.
class GraceWaiter {
public:
    GraceWaiter();
    GraceWaiter(const GraceWaiter&) = delete;
    GraceWaiter& operator=(const GraceWaiter&) = delete;
    ~GraceWaiter();

    // REQUIRES: idle().
    void start();
    // A started period has passed, or none was started.
    [[nodiscard]] bool idle();
    // Blocks until idle; false if the kernel refused to wait (then nothing may be reused).
    bool wait();

private:
    enum class State { kIdle, kAsked, kFailed, kStopping };
    void run();

    std::mutex mutex_;
    std::condition_variable changed_;
    State state_ = State::kIdle;
    std::thread thread_;
};

}  // namespace sluice::dataplane
