// One reconcile: count what ended, make or delete pods, write the status, let the counted pods go,
// write what that came to.
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>

#include <fmt/core.h>

#include "api/codec/selector.h"
#include "api/kubernetes/batch/v1/job.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "control/controllers/job/job.h"
#include "control/controllers/job/tracking.h"
#include "control/controllers/pod_control.h"

namespace sluice::controllers {
namespace {

using google::protobuf::util::MessageDifferencer;
using JobPtr = std::shared_ptr<const Job>;

constexpr const char* kNameLabel = "batch.kubernetes.io/job-name";
constexpr const char* kTrackedIndex = "job-tracked";
constexpr const char* kIndexVariable = "JOB_COMPLETION_INDEX";
constexpr const char* kStrategicMerge = "application/strategic-merge-patch+json";
constexpr const char* kReachedReason = "CompletionsReached";
constexpr const char* kReachedMessage = "Reached expected number of succeeded pods";

const codec::KindInfo& jobs_kind() { return *codec::find_kind({"batch", "v1", "Job"}); }

// The key of the Job that a pod with the finalizer is, or was, of.
std::vector<std::string> tracked_by(const Pod& pod) {
    if (!is_tracked(pod)) return {};
    const std::string& name_space = pod.metadata().namespace_();
    if (const auto owner = controller_of(pod)) {
        if (owner->kind != jobs_kind().gvk.kind) return {};
        return {name_space + "/" + owner->name};
    }
    const auto label = pod.metadata().labels().find(kNameLabel);
    if (label == pod.metadata().labels().end()) return {};
    return {name_space + "/" + label->second};
}

std::uint64_t version_of(const std::string& text) {
    std::uint64_t version = 0;
    std::from_chars(text.data(), text.data() + text.size(), version);
    return version;
}

// What one reconcile works with.
struct Look {
    std::string key;
    JobPtr job;    // as the cache has it
    Job next;      // with the status as it will be written
    Pods pods;
    Tally counts;
    Verdict verdict;
    bool stopping = false;  // succeeded or failed: nothing more is made
    bool satisfied = false;  // the cache shows every pod that was made or deleted
    std::int64_t now_ns = 0;
    std::vector<std::pair<std::string, std::string>> events;  // once the status is written
    [[nodiscard]] std::int64_t now_s() const { return now_ns / kSecondNs; }
};

class JobController final : public Controller {
public:
    explicit JobController(Context& context);

    [[nodiscard]] const char* name() const override { return "job-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    [[nodiscard]] int workers() const override { return 4; }
    Reconciled reconcile(const std::string& key) override;

private:
    // What is known of a Job beside its object; lost at a restart, at no greater cost than a retry
    // that comes early.
    struct Memory {
        std::string uid;
        // Of the last status written: an older one in the cache says nothing.
        std::uint64_t version = 0;
        int failures = 0;           // in a row
        std::int64_t last_failure_s = 0;
    };

    std::vector<std::string> owners_of(const Pod& orphan) const;
    void follow_finalizers();
    // Whether the cache is behind what was written.
    bool is_stale(const std::string& key, const Job& job);
    void count_failures(const Look& look);
    void forget(const std::string& key);

    // Takes the finalizer off; the pod counts as without from now on.
    Reconciled release(const Pod& pod);
    // Pods whose Job is gone, or will never look at them again.
    Reconciled release_rest(const std::string& key, const std::string& uid);
    Reconciled expire(const Look& look, const JobCondition& finish);

    void decide(Look* look);
    Reconciled manage(Look* look);
    Reconciled remove(Look* look, const Pods& pods, bool count_them);
    Reconciled create(Look* look, int count);
    void suspend_or_resume(Look* look);
    Reconciled write(Look* look);
    Reconciled finish(Look* look);

    Context& context_;
    client::Informer& jobs_;
    PodControl pods_;
    Expectations expectations_;
    client::WorkQueue queue_;
    std::mutex mutex_;
    // Uids of pods that the cache may still show with the finalizer.
    std::set<std::string> released_;
    std::map<std::string, Memory> memory_;  // by key
};

JobController::JobController(Context& context)
    : context_(context),
      jobs_(context.informers.get(jobs_kind())),
      pods_(context, jobs_kind()) {
    jobs_.add_handler([this](const auto& before, const auto& after) {
        const auto key = client::object_key(after == nullptr ? *before : *after);
        if (after == nullptr) forget(key);
        queue_.add(key);
    });
    pods_.pods().add_index(kTrackedIndex, [](const google::protobuf::Message& object) {
        return tracked_by(static_cast<const Pod&>(object));
    });
    follow_finalizers();
    follow_pods(pods_.pods(), queue_, expectations_, jobs_kind(),
                [this](const Pod& orphan) { return owners_of(orphan); });
}

std::vector<std::string> JobController::owners_of(const Pod& orphan) const {
    // One that was let go keeps its finalizer until somebody takes it off.
    std::vector<std::string> keys = tracked_by(orphan);
    for (const auto& object : jobs_.list()) {
        const auto job = client::as<Job>(object);
        if (job->metadata().namespace_() != orphan.metadata().namespace_()) continue;
        const auto selector = codec::LabelSelector::from_proto(job->spec().selector());
        if (selector && !selector->selects_everything() && selects(*selector, orphan)) {
            keys.push_back(client::object_key(*job));
        }
    }
    return keys;
}

void JobController::follow_finalizers() {
    pods_.pods().add_handler([this](const client::SharedObject& before,
                                    const client::SharedObject& after) {
        const auto pod = client::as<Pod>(after == nullptr ? before : after);
        if (after != nullptr && is_tracked(*pod)) return;
        const std::scoped_lock lock(mutex_);
        released_.erase(pod->metadata().uid());
    });
}

bool JobController::is_stale(const std::string& key, const Job& job) {
    const std::scoped_lock lock(mutex_);
    auto& memory = memory_[key];
    if (memory.uid != job.metadata().uid()) {
        memory = {};
        memory.uid = job.metadata().uid();
    }
    return version_of(job.metadata().resourceversion()) < memory.version;
}

void JobController::forget(const std::string& key) {
    expectations_.forget(key);
    const std::scoped_lock lock(mutex_);
    memory_.erase(key);
}

void JobController::count_failures(const Look& look) {
    const std::scoped_lock lock(mutex_);
    auto& memory = memory_[look.key];
    const bool succeeded = look.counts.succeeded > look.job->status().succeeded() +
                                                       look.job->status()
                                                           .uncountedterminatedpods()
                                                           .succeeded_size();
    if (succeeded) memory.failures = 0;
    memory.failures += static_cast<int>(look.counts.failure_times_s.size());
    for (const std::int64_t time : look.counts.failure_times_s) {
        memory.last_failure_s = std::max(memory.last_failure_s, time);
    }
}

Reconciled JobController::release(const Pod& pod) {
    const std::string& uid = pod.metadata().uid();
    {
        const std::scoped_lock lock(mutex_);
        if (!released_.insert(uid).second) return {};
    }
    const auto patched = context_.client.patch(
        pods_.pods().kind(), pod.metadata().namespace_(), pod.metadata().name(), kStrategicMerge,
        fmt::format(R"({{"metadata":{{"uid":"{}","$deleteFromPrimitiveList/finalizers":["{}"]}}}})",
                    uid, kTrackingFinalizer));
    // Gone, or another pod of that name: it holds nothing any more, and its end may have been told
    // already.
    const bool gone = !patched && (patched.error().not_found() ||
                                   patched.error().http_status == 409 ||
                                   patched.error().http_status == 422);
    const auto cached = client::as<Pod>(pods_.pods().get(client::object_key(pod)));
    const bool seen = cached == nullptr || cached->metadata().uid() != uid || !is_tracked(*cached);
    if (!patched || seen) {
        const std::scoped_lock lock(mutex_);
        released_.erase(uid);
    }
    if (!patched && !gone) return Error(patched.error());
    if (gone && !patched.error().not_found()) {
        return make_error(Code::kAborted, "pod {}: {}", client::object_key(pod),
                          patched.error().message);
    }
    return {};
}

Reconciled JobController::release_rest(const std::string& key, const std::string& uid) {
    for (const auto& object : pods_.pods().by_index(kTrackedIndex, key)) {
        const auto pod = client::as<Pod>(object);
        const auto owner = controller_of(*pod);
        if (!owner || owner->uid != uid) SLUICE_TRY(release(*pod));
    }
    return {};
}

Reconciled JobController::expire(const Look& look, const JobCondition& finish) {
    const auto& spec = look.job->spec();
    if (!spec.has_ttlsecondsafterfinished() || look.job->metadata().has_deletiontimestamp()) {
        return {};
    }
    const std::int64_t left =
        finish.lasttransitiontime().seconds() + spec.ttlsecondsafterfinished() - look.now_s();
    if (left > 0) {
        queue_.add_after(look.key, std::chrono::seconds(left));
        return {};
    }
    client::DeleteRequest request;
    request.uid = look.job->metadata().uid();
    // A time to live that was raised meanwhile is not overlooked.
    request.resource_version = look.job->metadata().resourceversion();
    request.propagation_policy = "Foreground";
    const auto removed = context_.client.remove(jobs_kind(), look.job->metadata().namespace_(),
                                                look.job->metadata().name(), request);
    if (!removed && !removed.error().not_found()) return Error(removed.error());
    return {};
}

void JobController::decide(Look* look) {
    auto* status = look->next.mutable_status();
    const auto& spec = look->job->spec();
    if (condition_of(*status, "FailureTarget") != nullptr ||
        condition_of(*status, "SuccessCriteriaMet") != nullptr) {
        look->stopping = true;
        return;
    }
    look->verdict = judge(*look->job, look->counts, look->now_s());
    if (!look->verdict.reason.empty()) {
        look->stopping = true;
        set_condition(status, "FailureTarget", true, look->verdict.reason, look->verdict.message,
                      look->now_s());
    } else if (look->verdict.complete) {
        look->stopping = true;
        set_condition(status, "SuccessCriteriaMet", true, kReachedReason, kReachedMessage,
                      look->now_s());
    } else if (spec.has_activedeadlineseconds() && status->has_starttime() && !spec.suspend()) {
        const std::int64_t left =
            status->starttime().seconds() + spec.activedeadlineseconds() - look->now_s();
        queue_.add_after(look->key, std::chrono::seconds(std::max<std::int64_t>(1, left)));
    }
}

Reconciled JobController::remove(Look* look, const Pods& pods, bool count_them) {
    if (pods.empty()) return {};
    std::vector<std::string> going;
    for (const auto& pod : pods) going.push_back(client::object_key(*pod));
    expectations_.expect(look->key, 0, going);
    std::optional<Error> failure;
    for (std::size_t i = 0; i < pods.size(); ++i) {
        Reconciled done;
        bool unseen = false;
        // The Job wants it no more: its end is no failure.
        if (!count_them && is_tracked(*pods[i])) done = release(*pods[i]);
        if (done) {
            const auto removed = pods_.remove(*look->job, {pods[i]});
            if (removed.error) done = *removed.error;
            unseen = !removed.unseen.empty();
        }
        if (!done || unseen) expectations_.deletion_observed(look->key, going[i]);
        if (!done && !failure) failure = done.error();
    }
    if (failure) return *failure;
    return {};
}

Reconciled JobController::create(Look* look, int count) {
    std::vector<int> indexes;
    if (is_indexed(*look->job)) {
        std::vector<int> running;
        for (const auto& pod : look->pods) {
            const bool counts = is_active(*pod) ||
                                (is_deleting(*pod) && pod->status().phase() != "Failed" &&
                                 look->job->spec().podreplacementpolicy() == "Failed");
            if (const auto index = index_of(*pod); index && counts) running.push_back(*index);
        }
        IndexSet taken;
        taken.add(running);
        indexes = look->counts.completed.first_missing(taken, count,
                                                       look->job->spec().completions());
        count = static_cast<int>(indexes.size());
    }
    if (count == 0) return {};
    auto pod_template = look->job->spec().template_();
    pod_template.mutable_metadata()->add_finalizers(kTrackingFinalizer);
    const auto customize = [&](int position, Pod* pod) {
        const std::string index = std::to_string(indexes[static_cast<std::size_t>(position)]);
        const std::string& job_name = look->job->metadata().name();
        (*pod->mutable_metadata()->mutable_annotations())[kIndexKey] = index;
        (*pod->mutable_metadata()->mutable_labels())[kIndexKey] = index;
        pod->mutable_metadata()->set_generatename(job_name + "-" + index + "-");
        pod->mutable_spec()->set_hostname(job_name + "-" + index);
        const auto tell = [](auto* containers) {
            for (auto& container : *containers) {
                if (std::ranges::any_of(container.env(), [](const auto& variable) {
                        return variable.name() == kIndexVariable;
                    })) {
                    continue;
                }
                auto* variable = container.add_env();
                variable->set_name(kIndexVariable);
                auto* field = variable->mutable_valuefrom()->mutable_fieldref();
                field->set_apiversion("v1");
                field->set_fieldpath(fmt::format("metadata.labels['{}']", kIndexKey));
            }
        };
        tell(pod->mutable_spec()->mutable_initcontainers());
        tell(pod->mutable_spec()->mutable_containers());
    };
    expectations_.expect(look->key, count, {});
    int made = 0;
    std::optional<Error> failure;
    for (int batch = kSlowStartBatch; made < count && !failure; batch *= 2) {
        const int first = made;
        std::function<void(int, Pod*)> each;
        if (!indexes.empty()) {
            each = [&](int position, Pod* pod) { customize(first + position, pod); };
        }
        const auto done =
            pods_.create(*look->job, pod_template, std::min(batch, count - made), each);
        made += done.count;
        failure = done.error;
    }
    look->next.mutable_status()->set_active(look->next.status().active() + made);
    if (made < count) expectations_.creation_observed(look->key, count - made);
    if (failure) return *failure;
    return {};
}

Reconciled JobController::manage(Look* look) {
    const auto& spec = look->job->spec();
    const int active = static_cast<int>(look->counts.active.size());
    if (look->stopping) {
        look->next.mutable_status()->set_active(0);
        Pods all = look->counts.active;
        if (all.size() > kMaxBurst) all.resize(kMaxBurst);
        return remove(look, all, true);
    }
    const int wanted = wanted_active(*look->job, look->counts.succeeded, active);
    Pods surplus = excess(*look->job, look->counts, wanted, look->now_ns);
    if (!surplus.empty()) {
        if (surplus.size() > kMaxBurst) surplus.resize(kMaxBurst);
        look->next.mutable_status()->set_active(active - static_cast<int>(surplus.size()));
        return remove(look, surplus, false);
    }
    int missing = wanted - active;
    if (spec.podreplacementpolicy() == "Failed") missing -= look->counts.terminating;
    if (missing <= 0) return {};
    std::int64_t wait = 0;
    {
        const std::scoped_lock lock(mutex_);
        const auto& memory = memory_[look->key];
        wait = retry_wait_ns(memory.failures, memory.last_failure_s, look->now_ns);
    }
    if (wait > 0) {
        queue_.add_after(look->key, std::chrono::milliseconds(wait / 1'000'000 + 1));
        return {};
    }
    return create(look, std::min(missing, kMaxBurst));
}

void JobController::suspend_or_resume(Look* look) {
    auto* status = look->next.mutable_status();
    if (look->job->spec().suspend()) {
        if (set_condition(status, "Suspended", true, "JobSuspended", "Job suspended",
                          look->now_s())) {
            look->events.emplace_back("Suspended", "Job suspended");
        }
    } else if (set_condition(status, "Suspended", false, "JobResumed", "Job resumed",
                             look->now_s())) {
        look->events.emplace_back("Resumed", "Job resumed");
        // The deadline counts from here.
        status->mutable_starttime()->set_seconds(look->now_s());
    }
}

Reconciled JobController::write(Look* look) {
    const auto written = context_.client.update(jobs_kind(), look->next, "status");
    if (!written) return Error(written.error());
    look->next = static_cast<const Job&>(**written);
    const std::scoped_lock lock(mutex_);
    memory_[look->key].version = version_of(look->next.metadata().resourceversion());
    return {};
}

Reconciled JobController::finish(Look* look) {
    auto* status = look->next.mutable_status();
    const bool open = status->uncountedterminatedpods().succeeded_size() > 0 ||
                      status->uncountedterminatedpods().failed_size() > 0 || look->counts.more;
    // Pods of a Job that ended may still run; it says so when the last has stopped.
    if (open || !look->satisfied || status->active() > 0 || look->counts.terminating > 0 ||
        !look->counts.active.empty()) {
        return {};
    }
    if (const auto* failed = condition_of(*status, "FailureTarget"); failed != nullptr) {
        const JobCondition target = *failed;
        if (set_condition(status, "Failed", true, target.reason(), target.message(),
                          look->now_s())) {
            look->events.emplace_back(target.reason(), target.message());
        }
    } else if (condition_of(*status, "SuccessCriteriaMet") != nullptr) {
        if (set_condition(status, "Complete", true, kReachedReason, kReachedMessage,
                          look->now_s())) {
            status->mutable_completiontime()->set_seconds(look->now_s());
            look->events.emplace_back("Completed", "Job completed");
        }
    }
    return {};
}

Reconciled JobController::reconcile(const std::string& key) {
    Look look;
    look.key = key;
    look.now_ns = context_.now_ns();
    look.job = client::as<Job>(jobs_.get(key));
    SLUICE_TRY(release_rest(key, look.job == nullptr ? "" : look.job->metadata().uid()));
    if (look.job == nullptr) {
        forget(key);
        return {};
    }
    // The write comes back through the informer, and with it the key.
    if (is_stale(key, *look.job)) return {};
    SLUICE_TRY_ASSIGN(const auto selector,
                      codec::LabelSelector::from_proto(look.job->spec().selector()));
    look.satisfied = expectations_.satisfied(key);
    if (const auto* done = finish_of(look.job->status()); done != nullptr) {
        for (const auto& pod : pods_.candidates(*look.job)) {
            if (controller_of(*pod) && is_tracked(*pod)) SLUICE_TRY(release(*pod));
        }
        return expire(look, *done);
    }
    SLUICE_TRY_ASSIGN(look.pods, pods_.claim(*look.job, selector, pods_.candidates(*look.job)));
    std::set<std::string> released;
    {
        const std::scoped_lock lock(mutex_);
        released = released_;
    }
    look.next = *look.job;
    auto* status = look.next.mutable_status();
    if (!status->has_starttime() && !look.job->spec().suspend()) {
        status->mutable_starttime()->set_seconds(look.now_s());
    }
    std::set<std::string> held;
    for (const auto& pod : look.pods) {
        const std::string& uid = pod->metadata().uid();
        if (is_tracked(*pod) && !released.contains(uid)) held.insert(uid);
    }
    look.counts = tally(*look.job, look.pods, released, look.now_s());
    settle(held, status);
    note(*look.job, look.counts, status);
    status->set_active(static_cast<int>(look.counts.active.size()));
    status->set_ready(look.counts.ready);
    status->set_terminating(look.counts.terminating);
    decide(&look);
    if (!look.stopping) suspend_or_resume(&look);
    // What ended is written down before its successors are made: a conflict here costs nothing.
    if (!MessageDifferencer::Equivalent(look.next.status(), look.job->status())) {
        SLUICE_TRY(write(&look));
    }
    count_failures(look);
    for (const auto& [reason, message] : look.events) {
        context_.events.record(*look.job, client::EventType::kNormal, reason, message);
    }
    look.events.clear();
    Reconciled managed;
    const bool leaving = look.job->metadata().has_deletiontimestamp();
    const Job written = look.next;
    if (look.satisfied && !leaving) managed = manage(&look);
    std::optional<Error> failure;
    for (const auto& pod : look.counts.release) {
        const auto done = release(*pod);
        if (done) {
            held.erase(pod->metadata().uid());
        } else if (!failure) {
            failure = done.error();
        }
    }
    settle(held, look.next.mutable_status());
    SLUICE_TRY(finish(&look));
    if (!MessageDifferencer::Equivalent(look.next.status(), written.status())) {
        SLUICE_TRY(write(&look));
    }
    for (const auto& [reason, message] : look.events) {
        context_.events.record(*look.job,
                               reason == "Completed" ? client::EventType::kNormal
                                                     : client::EventType::kWarning,
                               reason, message);
    }
    if (!managed) return managed;
    if (failure) return *failure;
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_job_controller(Context& context) {
    return std::make_unique<JobController>(context);
}

}  // namespace sluice::controllers
