#include "control/kubelet/probes/worker_private.h"

namespace sluice::kubelet {

const char* probe_type_name(ProbeType type) {
    switch (type) {
        case ProbeType::kStartup: return "Startup";
        case ProbeType::kLiveness: return "Liveness";
        case ProbeType::kReadiness: return "Readiness";
    }
    return "";
}

ProbeWorker::Verdict ProbeWorker::take(AttemptResult::Status status, ProbeClock::time_point now) {
    const bool early = retry_soon_;
    if (early && status == AttemptResult::Status::kSuccess) {
        // From here on at the regular times.
        retry_soon_ = false;
        regular_ = due_ + period();
    }
    if (retry_soon_) {
        due_ = std::max(due_ + retry_, now);
        retry_ *= 2;
        if (due_ >= regular_) {
            retry_soon_ = false;
            due_ = regular_;
            regular_ += period();
        }
        return {};
    }
    if (early) {
        due_ = regular_;
    } else {
        // At multiples of the period; those that passed meanwhile are left out.
        do {
            due_ += period();
        } while (due_ <= now);
    }
    if (status == AttemptResult::Status::kUnknown) return Verdict{std::nullopt, true};
    run_ = last_ == status ? run_ + 1 : 1;
    last_ = status;
    const bool success = status == AttemptResult::Status::kSuccess;
    Verdict verdict{std::nullopt, !success};
    if (run_ < (success ? times_.success_threshold : times_.failure_threshold)) return verdict;
    if (told_ != success) verdict.outcome = success;
    told_ = success;
    if (!success && type_ != ProbeType::kReadiness) {
        on_hold_ = true;
        run_ = 0;
    }
    return verdict;
}

}  // namespace sluice::kubelet
