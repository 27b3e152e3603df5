#include "control/controllers/job/tracking.h"

#include <algorithm>
#include <charconv>

#include "api/kubernetes/batch/v1/job.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers {
namespace {

bool ended(const Pod& pod) {
    return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

// A pod that is being deleted has failed, unless its successor must wait for its end. One that was
// never bound has no kubelet to end it.
bool has_failed(const Job& job, const Pod& pod) {
    if (pod.status().phase() == "Failed") return true;
    if (!is_deleting(pod) || pod.status().phase() == "Succeeded") return false;
    return job.spec().podreplacementpolicy() != "Failed" || pod.spec().nodename().empty();
}

// When the last of its containers ended; now when nobody says.
std::int64_t end_of(const Pod& pod, std::int64_t now_s) {
    std::int64_t latest = 0;
    for (const auto& status : pod.status().containerstatuses()) {
        latest = std::max(latest, status.state().terminated().finishedat().seconds());
    }
    if (latest > 0) return std::min(latest, now_s);
    if (is_deleting(pod)) return std::min(pod.metadata().deletiontimestamp().seconds(), now_s);
    return now_s;
}

// Restarts of containers in pods that go on: with OnFailure they are what fails.
int restarts(const Pods& active) {
    std::int64_t count = 0;
    for (const auto& pod : active) {
        for (const auto& status : pod->status().initcontainerstatuses()) {
            count += status.restartcount();
        }
        for (const auto& status : pod->status().containerstatuses()) {
            count += status.restartcount();
        }
    }
    return static_cast<int>(std::min<std::int64_t>(count, INT32_MAX));
}

bool lists(const google::protobuf::RepeatedPtrField<std::string>& list, const std::string& uid) {
    return std::ranges::find(list, uid) != list.end();
}

}  // namespace

bool is_indexed(const Job& job) { return job.spec().completionmode() == "Indexed"; }

bool is_tracked(const Pod& pod) { return lists(pod.metadata().finalizers(), kTrackingFinalizer); }

std::optional<int> index_of(const Pod& pod) {
    const auto found = pod.metadata().annotations().find(kIndexKey);
    if (found == pod.metadata().annotations().end()) return std::nullopt;
    int index = -1;
    const char* end = found->second.data() + found->second.size();
    const auto read = std::from_chars(found->second.data(), end, index);
    if (read.ec != std::errc() || read.ptr != end || index < 0) return std::nullopt;
    return index;
}

const JobCondition* condition_of(const JobStatus& status, const std::string& type) {
    for (const auto& condition : status.conditions()) {
        if (condition.type() == type && condition.status() == "True") return &condition;
    }
    return nullptr;
}

const JobCondition* finish_of(const JobStatus& status) {
    const auto* complete = condition_of(status, "Complete");
    return complete != nullptr ? complete : condition_of(status, "Failed");
}

bool set_condition(JobStatus* status, const std::string& type, bool value,
                   const std::string& reason, const std::string& message, std::int64_t now_s) {
    JobCondition* condition = nullptr;
    for (auto& entry : *status->mutable_conditions()) {
        if (entry.type() == type) condition = &entry;
    }
    // What was never so need not be denied.
    if (condition == nullptr && !value) return false;
    const std::string text = value ? "True" : "False";
    if (condition == nullptr) {
        condition = status->add_conditions();
        condition->set_type(type);
    } else if (condition->status() == text && condition->reason() == reason) {
        return false;
    }
    if (condition->status() != text) condition->mutable_lasttransitiontime()->set_seconds(now_s);
    condition->mutable_lastprobetime()->set_seconds(now_s);
    condition->set_status(text);
    condition->set_reason(reason);
    condition->set_message(message);
    return true;
}

Tally tally(const Job& job, const Pods& pods, const std::set<std::string>& released,
            std::int64_t now_s) {
    Tally out;
    const auto& status = job.status();
    const auto& uncounted = status.uncountedterminatedpods();
    const bool indexed = is_indexed(job);
    if (indexed) {
        out.completed = IndexSet::parse(status.completedindexes(), job.spec().completions());
    }
    int room = kMaxUncounted - uncounted.succeeded_size() - uncounted.failed_size();
    std::vector<int> done;
    for (const auto& pod : pods) {
        const std::string& uid = pod->metadata().uid();
        if (is_active(*pod)) {
            out.active.push_back(pod);
            out.ready += is_ready(*pod) ? 1 : 0;
        } else if (is_deleting(*pod) && !ended(*pod)) {
            ++out.terminating;
        }
        if (!is_tracked(*pod) || released.contains(uid)) continue;
        if (lists(uncounted.succeeded(), uid) || lists(uncounted.failed(), uid)) {
            out.release.push_back(pod);
            continue;
        }
        const auto index = index_of(*pod);
        const bool in_range = !indexed || (index && *index < job.spec().completions());
        const bool success = pod->status().phase() == "Succeeded";
        if (!success && !has_failed(job, *pod)) continue;
        if (!in_range) {
            // An index that is not asked for counts for nothing.
            out.release.push_back(pod);
        } else if (success && indexed) {
            done.push_back(*index);
            out.release.push_back(pod);
        } else if (room <= 0) {
            out.more = true;
        } else {
            --room;
            out.release.push_back(pod);
            (success ? out.new_succeeded : out.new_failed).push_back(uid);
            if (!success) out.failure_times_s.push_back(end_of(*pod, now_s));
        }
    }
    std::ranges::sort(done);
    out.completed.add(done);
    out.failed = status.failed() + uncounted.failed_size() +
                 static_cast<int>(out.new_failed.size());
    out.succeeded = indexed ? out.completed.size()
                            : status.succeeded() + uncounted.succeeded_size() +
                                  static_cast<int>(out.new_succeeded.size());
    return out;
}

void settle(const std::set<std::string>& held, JobStatus* status) {
    if (!status->has_uncountedterminatedpods()) return;
    auto* uncounted = status->mutable_uncountedterminatedpods();
    const auto take = [&](google::protobuf::RepeatedPtrField<std::string>* list) {
        const int before = list->size();
        list->erase(std::remove_if(list->begin(), list->end(),
                                   [&](const std::string& uid) { return !held.contains(uid); }),
                    list->end());
        return before - list->size();
    };
    const int succeeded = take(uncounted->mutable_succeeded());
    const int failed = take(uncounted->mutable_failed());
    if (succeeded > 0) status->set_succeeded(status->succeeded() + succeeded);
    if (failed > 0) status->set_failed(status->failed() + failed);
}

void note(const Job& job, const Tally& counts, JobStatus* status) {
    auto* uncounted = status->mutable_uncountedterminatedpods();
    for (const auto& uid : counts.new_succeeded) uncounted->add_succeeded(uid);
    for (const auto& uid : counts.new_failed) uncounted->add_failed(uid);
    if (!is_indexed(job)) return;
    if (counts.completed.size() == 0) {
        status->clear_completedindexes();
        status->clear_succeeded();
        return;
    }
    status->set_completedindexes(counts.completed.to_string());
    status->set_succeeded(counts.completed.size());
}

Verdict judge(const Job& job, const Tally& counts, std::int64_t now_s) {
    Verdict out;
    const auto& spec = job.spec();
    const bool restarted_too_often =
        spec.template_().spec().restartpolicy() == "OnFailure" &&
        restarts(counts.active) >= std::max(1, spec.backofflimit());
    if (counts.failed > spec.backofflimit() || restarted_too_often) {
        out.reason = "BackoffLimitExceeded";
        out.message = "Job has reached the specified backoff limit";
    } else if (spec.has_activedeadlineseconds() && job.status().has_starttime() &&
               !spec.suspend() &&
               now_s - job.status().starttime().seconds() >= spec.activedeadlineseconds()) {
        out.reason = "DeadlineExceeded";
        out.message = "Job was active longer than specified deadline";
    } else if (counts.active.empty()) {
        out.complete = spec.has_completions() ? counts.succeeded >= spec.completions()
                                              : counts.succeeded > 0;
    }
    return out;
}

int wanted_active(const Job& job, int succeeded, int active) {
    const auto& spec = job.spec();
    if (spec.suspend()) return 0;
    // A queue that one worker found empty gets no more workers.
    if (!spec.has_completions()) {
        return succeeded > 0 ? std::min(active, spec.parallelism()) : spec.parallelism();
    }
    return std::max(0, std::min(spec.completions() - succeeded, spec.parallelism()));
}

Pods excess(const Job& job, const Tally& counts, int wanted, std::int64_t now_ns) {
    Pods out;
    Pods rest;
    std::set<int> seen;
    Pods sorted = counts.active;
    sort_for_deletion(&sorted, {}, now_ns);
    // From the end, where those are that are missed most: of two with one index the better stays.
    for (auto pod = sorted.rbegin(); pod != sorted.rend(); ++pod) {
        const auto index = index_of(**pod);
        const bool useful = !is_indexed(job) ||
                            (index && *index < job.spec().completions() &&
                             !counts.completed.contains(*index) && seen.insert(*index).second);
        (useful ? rest : out).push_back(*pod);
    }
    while (static_cast<int>(rest.size()) > std::max(0, wanted)) {
        out.push_back(rest.back());
        rest.pop_back();
    }
    return out;
}

std::int64_t retry_wait_ns(int failures, std::int64_t last_s, std::int64_t now_ns) {
    if (failures <= 0) return 0;
    std::int64_t wait = kFirstRetryNs;
    for (int i = 1; i < failures && wait < kLongestRetryNs; ++i) wait *= 2;
    return std::max<std::int64_t>(0, last_s * kSecondNs + std::min(wait, kLongestRetryNs) - now_ns);
}

}  // namespace sluice::controllers
