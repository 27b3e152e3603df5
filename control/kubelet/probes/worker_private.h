// One probe of one container: when it is due, and what its results come to.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "control/kubelet/probes/attempt_private.h"
#include "control/kubelet/probes/probes.h"
#include "control/kubelet/probes/target_private.h"

namespace sluice::kubelet {

using ProbeClock = std::chrono::steady_clock;

// "Readiness"
[[nodiscard]] const char* probe_type_name(ProbeType type);

// Pure: time comes in as a parameter.
class ProbeWorker {
public:
    // begin: when the first attempt may be. told: what the consumer takes the state to be, if
    // anything.
    ProbeWorker(ProbeType type, ProbeTimes times, ProbeClock::time_point begin, bool retry_soon,
                std::optional<bool> told)
        : type_(type), times_(times), due_(begin), retry_soon_(retry_soon), told_(told),
          regular_(begin + period()) {}

    // It had to wait for the startup probe until now.
    void release(ProbeClock::time_point now) {
        due_ = std::max(due_, now);
        regular_ = due_ + period();
    }

    struct Verdict {
        std::optional<bool> outcome;  // to be told
        bool report = false;          // the failure is one for an event
    };
    // Takes a result and sets the next time.
    Verdict take(AttemptResult::Status status, ProbeClock::time_point now);

    [[nodiscard]] ProbeClock::time_point due() const { return due_; }
    // A liveness or startup probe that failed waits for another container.
    [[nodiscard]] bool on_hold() const { return on_hold_; }
    [[nodiscard]] ProbeType type() const { return type_; }
    [[nodiscard]] const ProbeTimes& times() const { return times_; }

private:
    [[nodiscard]] std::chrono::milliseconds period() const {
        return std::chrono::milliseconds(times_.period_ms);
    }

    ProbeType type_;
    ProbeTimes times_;
    ProbeClock::time_point due_;
    bool retry_soon_;  // before the first regular attempt, and without a success so far
    std::optional<bool> told_;
    ProbeClock::time_point regular_;  // of the next attempt that counts
    std::chrono::milliseconds retry_{kFirstRetryMs};
    std::optional<AttemptResult::Status> last_;
    std::uint32_t run_ = 0;  // results like last_ in a row
    bool on_hold_ = false;
};

}  // namespace sluice::kubelet
