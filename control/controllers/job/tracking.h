// Which pods of a Job ended and are to be counted, how many may run, and what that makes of the
// Job. Pure.
//
// Exactly once: a pod carries a finalizer until it is counted. Its uid is written into
// uncountedTerminatedPods first, then the finalizer goes, then the uid becomes one more in a
// counter. Whoever starts in the middle sees from the finalizer and the uid which of these steps
// are done. An index that succeeded is its own record and needs no uid.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/controllers/job/indexes.h"
#include "control/controllers/pod_status.h"

namespace k8s::io::api::batch::v1 {
class Job;
class JobCondition;
class JobStatus;
}  // namespace k8s::io::api::batch::v1

namespace sluice::controllers {

using Job = ::k8s::io::api::batch::v1::Job;
using JobStatus = ::k8s::io::api::batch::v1::JobStatus;
using JobCondition = ::k8s::io::api::batch::v1::JobCondition;

inline constexpr char kTrackingFinalizer[] = "batch.kubernetes.io/job-tracking";
inline constexpr char kIndexKey[] = "batch.kubernetes.io/job-completion-index";
// Uids in uncountedTerminatedPods; further pods wait for the next look.
inline constexpr int kMaxUncounted = 500;
// Pods that failed make their successors wait: the first 10 s, each one after it twice as long, up
// to 6 min.
inline constexpr std::int64_t kFirstRetryNs = 10'000'000'000;
inline constexpr std::int64_t kLongestRetryNs = 360'000'000'000;

[[nodiscard]] bool is_indexed(const Job& job);
[[nodiscard]] bool is_tracked(const Pod& pod);
// The completion index of a pod; nullopt for what is none.
[[nodiscard]] std::optional<int> index_of(const Pod& pod);
[[nodiscard]] const JobCondition* condition_of(const JobStatus& status, const std::string& type);
// Complete or Failed.
[[nodiscard]] const JobCondition* finish_of(const JobStatus& status);
// Sets the condition; true when that changed its status or its reason.
bool set_condition(JobStatus* status, const std::string& type, bool value,
                   const std::string& reason, const std::string& message, std::int64_t now_s);

// The pods of a Job, sorted by what they are to it.
struct Tally {
    Pods active;
    Pods release;      // counted, or about to be: their finalizers go after the status is written
    int ready = 0;
    int terminating = 0;  // being deleted, and not ended
    int succeeded = 0;    // counted, uncounted and new
    int failed = 0;
    IndexSet completed;   // of an Indexed Job
    std::vector<std::string> new_succeeded;  // uids to be written into uncountedTerminatedPods
    std::vector<std::string> new_failed;
    std::vector<std::int64_t> failure_times_s;  // of new_failed
    bool more = false;    // there was no room for all
};
// released: uids whose finalizer is known to be gone, whatever the cache still shows.
[[nodiscard]] Tally tally(const Job& job, const Pods& pods, const std::set<std::string>& released,
                          std::int64_t now_s);

// Turns uids into numbers whose pods do not carry the finalizer any more: those that are not in
// held.
void settle(const std::set<std::string>& held, JobStatus* status);
// Writes the tally's new uids and indexes.
void note(const Job& job, const Tally& counts, JobStatus* status);

struct Verdict {
    bool complete = false;
    std::string reason;   // of failure; empty without
    std::string message;
};
[[nodiscard]] Verdict judge(const Job& job, const Tally& counts, std::int64_t now_s);

// Pods that should run now, given that many succeeded and that many run.
[[nodiscard]] int wanted_active(const Job& job, int succeeded, int active);
// The active pods to delete, so that at most `wanted` stay: of an Indexed Job all whose index is
// done, doubled or out of range.
[[nodiscard]] Pods excess(const Job& job, const Tally& counts, int wanted, std::int64_t now_ns);
// Nanoseconds to wait after that many failures in a row, of which the last was then; 0 when that is
// over.
[[nodiscard]] std::int64_t retry_wait_ns(int failures, std::int64_t last_s, std::int64_t now_ns);

}  // namespace sluice::controllers
