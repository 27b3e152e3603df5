#include "control/controllers/deployment/status.h"

#include <fmt/core.h>

#include <algorithm>

#include "api/kubernetes/apps/v1/apps.pb.h"

namespace sluice::controllers {
namespace {

constexpr const char* kAvailable = "Available";
constexpr const char* kProgressing = "Progressing";
constexpr const char* kReplicaFailure = "ReplicaFailure";
constexpr const char* kDeadlineExceeded = "ProgressDeadlineExceeded";
constexpr const char* kNewSetAvailable = "NewReplicaSetAvailable";
// "No deadline": what Kubernetes takes for infinity.
constexpr int kNoDeadline = INT32_MAX;

void remove_condition(DeploymentStatus* status, const std::string& type) {
    auto* conditions = status->mutable_conditions();
    conditions->erase(std::remove_if(conditions->begin(), conditions->end(),
                                     [&](const auto& entry) { return entry.type() == type; }),
                      conditions->end());
}

bool has_progressed(const DeploymentStatus& before, const DeploymentStatus& now) {
    const int old_before = before.replicas() - before.updatedreplicas();
    const int old_now = now.replicas() - now.updatedreplicas();
    return now.updatedreplicas() > before.updatedreplicas() || old_now < old_before ||
           now.readyreplicas() > before.readyreplicas() ||
           now.availablereplicas() > before.availablereplicas();
}

bool timed_out(const Deployment& deployment, const DeploymentStatus& status, std::int64_t now_s) {
    const auto* condition = find_condition(status, kProgressing);
    if (condition == nullptr || condition->reason() == kNewSetAvailable) return false;
    if (condition->reason() == kDeadlineExceeded) return true;
    return condition->lastupdatetime().seconds() + deployment.spec().progressdeadlineseconds() <
           now_s;
}

void judge_progress(const Deployment& deployment, const ReplicaSetPtr& fresh, std::int64_t now_s,
                    DeploymentStatus* status) {
    const std::string what =
        fresh == nullptr ? fmt::format("Deployment \"{}\"", deployment.metadata().name())
                         : fmt::format("ReplicaSet \"{}\"", fresh->metadata().name());
    const auto* current = find_condition(*status, kProgressing);
    const bool was_complete = status->replicas() == status->updatedreplicas() &&
                              current != nullptr && current->reason() == kNewSetAvailable;
    if (deployment.spec().paused() || deployment.metadata().has_deletiontimestamp()) return;
    if (!has_deadline(deployment)) return remove_condition(status, kProgressing);
    if (was_complete) return;
    if (is_complete(deployment, *status)) {
        set_condition(status, kProgressing, "True", kNewSetAvailable,
                      what + " has successfully progressed.", now_s, true);
    } else if (has_progressed(deployment.status(), *status)) {
        set_condition(status, kProgressing, "True", "ReplicaSetUpdated", what + " is progressing.",
                      now_s, true);
    } else if (timed_out(deployment, *status, now_s)) {
        set_condition(status, kProgressing, "False", kDeadlineExceeded,
                      what + " has timed out progressing.", now_s);
    }
}

}  // namespace

bool has_deadline(const Deployment& deployment) {
    return deployment.spec().has_progressdeadlineseconds() &&
           deployment.spec().progressdeadlineseconds() != kNoDeadline;
}

const DeploymentCondition* find_condition(const DeploymentStatus& status, const std::string& type) {
    for (const auto& condition : status.conditions()) {
        if (condition.type() == type) return &condition;
    }
    return nullptr;
}

void set_condition(DeploymentStatus* status, const std::string& type, const std::string& value,
                   const std::string& reason, const std::string& message, std::int64_t now_s,
                   bool refresh) {
    DeploymentCondition next;
    next.set_type(type);
    next.set_status(value);
    next.set_reason(reason);
    next.set_message(message);
    next.mutable_lastupdatetime()->set_seconds(now_s);
    next.mutable_lasttransitiontime()->set_seconds(now_s);
    if (const auto* current = find_condition(*status, type)) {
        if (!refresh && current->status() == value && current->reason() == reason) return;
        if (current->status() == value) {
            *next.mutable_lasttransitiontime() = current->lasttransitiontime();
        }
    }
    remove_condition(status, type);
    *status->add_conditions() = std::move(next);
}

bool is_complete(const Deployment& deployment, const DeploymentStatus& status) {
    const int wanted = deployment.spec().replicas();
    return status.updatedreplicas() == wanted && status.replicas() == wanted &&
           status.availablereplicas() == wanted &&
           status.observedgeneration() >= deployment.metadata().generation();
}

DeploymentStatus next_status(const Deployment& deployment, const ReplicaSets& sets,
                             const ReplicaSetPtr& fresh, std::int64_t now_s) {
    DeploymentStatus next = deployment.status();
    std::int64_t replicas = 0;
    std::int64_t asked = 0;
    std::int64_t ready = 0;
    std::int64_t available = 0;
    std::int64_t terminating = 0;
    const ReplicaSet* failing = nullptr;
    for (const auto& set : sets) {
        asked += set->spec().replicas();
        replicas += set->status().replicas();
        ready += set->status().readyreplicas();
        available += set->status().availablereplicas();
        terminating += set->status().terminatingreplicas();
        for (const auto& condition : set->status().conditions()) {
            const bool shown = condition.type() == kReplicaFailure && condition.status() == "True";
            if (shown && (failing == nullptr || set == fresh)) failing = set.get();
        }
    }
    next.set_observedgeneration(deployment.metadata().generation());
    // Sums of what users ask for may be more than the fields hold.
    const auto count = [](std::int64_t value) {
        return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, 0, INT32_MAX));
    };
    // Zero is left out, as Kubernetes does.
    const auto put = [&](std::int64_t value, auto set, auto clear) {
        if (value == 0) {
            (next.*clear)();
        } else {
            (next.*set)(count(value));
        }
    };
    using S = DeploymentStatus;
    put(replicas, &S::set_replicas, &S::clear_replicas);
    put(fresh == nullptr ? 0 : fresh->status().replicas(), &S::set_updatedreplicas,
        &S::clear_updatedreplicas);
    put(ready, &S::set_readyreplicas, &S::clear_readyreplicas);
    put(available, &S::set_availablereplicas, &S::clear_availablereplicas);
    put(std::max(asked - available, std::int64_t{0}), &S::set_unavailablereplicas,
        &S::clear_unavailablereplicas);
    next.set_terminatingreplicas(count(terminating));
    const Bounds bounds = bounds_of(deployment);
    if (available >= deployment.spec().replicas() - bounds.unavailable) {
        set_condition(&next, kAvailable, "True", "MinimumReplicasAvailable",
                      "Deployment has minimum availability.", now_s);
    } else {
        set_condition(&next, kAvailable, "False", "MinimumReplicasUnavailable",
                      "Deployment does not have minimum availability.", now_s);
    }
    judge_progress(deployment, fresh, now_s, &next);
    if (failing != nullptr) {
        for (const auto& condition : failing->status().conditions()) {
            if (condition.type() != kReplicaFailure) continue;
            set_condition(&next, kReplicaFailure, condition.status(), condition.reason(),
                          condition.message(), now_s);
        }
    } else {
        remove_condition(&next, kReplicaFailure);
    }
    return next;
}

std::optional<std::int64_t> deadline_in(const Deployment& deployment,
                                        const DeploymentStatus& status, std::int64_t now_s) {
    if (!has_deadline(deployment) || deployment.spec().paused() ||
        is_complete(deployment, status)) {
        return std::nullopt;
    }
    const auto* condition = find_condition(status, kProgressing);
    if (condition == nullptr || condition->reason() == kNewSetAvailable ||
        condition->reason() == kDeadlineExceeded) {
        return std::nullopt;
    }
    const std::int64_t due =
        condition->lastupdatetime().seconds() + deployment.spec().progressdeadlineseconds();
    return std::max<std::int64_t>(1, due - now_s + 1);
}

}  // namespace sluice::controllers
