#include "control/kubelet/pods/status.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "control/kubelet/pods/resources.h"

namespace sluice::kubelet {

namespace {

constexpr std::array<std::string_view, 5> kOwnConditions{
    "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"};

constexpr char kDisruption[] = "DisruptionTarget";

void set_time(std::int64_t nanoseconds,
              ::k8s::io::apimachinery::pkg::apis::meta::v1::Time* time) {
    time->set_seconds(nanoseconds / 1'000'000'000);
    time->set_nanos(0);
}

void fill_terminated(const Instance& instance, corev1::ContainerStateTerminated* out) {
    out->set_exitcode(instance.exit_code);
    if (instance.exit_code > 128 && instance.exit_code < 192 && instance.reason != "StartError") {
        // The runtime tells of signals by the exit code only; kubelet leaves `signal` unset with containerd.
        out->clear_signal();
    }
    out->set_reason(instance.reason);
    if (!instance.message.empty()) out->set_message(instance.message);
    if (instance.started_ns > 0) set_time(instance.started_ns, out->mutable_startedat());
    if (instance.finished_ns > 0) set_time(instance.finished_ns, out->mutable_finishedat());
    out->set_containerid("containerd://" + instance.id);
}

corev1::ContainerStatus container_status(const PodEntry& entry, const ContainerEntry& container,
                                         const corev1::Container& spec) {
    corev1::ContainerStatus status;
    status.set_name(container.name);
    status.set_restartcount(container.restart_count());
    status.set_image(spec.image());
    status.set_imageid("");
    status.set_ready(false);
    status.set_started(false);
    status.mutable_state();
    status.mutable_laststate();
    const auto waiting = [&](const std::string& fallback) {
        auto* out = status.mutable_state()->mutable_waiting();
        out->set_reason(container.waiting_reason.empty() ? fallback : container.waiting_reason);
        if (!container.waiting_message.empty()) out->set_message(container.waiting_message);
    };
    const bool ending = is_ending(entry);
    const Instance* known = container.current ? &*container.current
                            : container.last  ? &*container.last
                                              : nullptr;
    if (known != nullptr) {
        status.set_imageid(known->image_ref);
        status.set_image(known->image);
        status.set_containerid("containerd://" + known->id);
    }
    if (container.running()) {
        set_time(container.current->started_ns,
                 status.mutable_state()->mutable_running()->mutable_startedat());
        status.set_started(container.started);
        status.set_ready(container.init && !container.sidecar ? false : container.ready);
        if (container.last) {
            fill_terminated(*container.last, status.mutable_laststate()->mutable_terminated());
        }
    } else if (container.exited()) {
        const bool done = container.init && !container.sidecar && container.current->exit_code == 0;
        if (!ending && !done && !container.waiting_reason.empty() &&
            (container.sidecar || should_restart(*entry.pod, container))) {
            waiting("");
            fill_terminated(*container.current, status.mutable_laststate()->mutable_terminated());
        } else {
            fill_terminated(*container.current, status.mutable_state()->mutable_terminated());
            if (container.last) {
                fill_terminated(*container.last, status.mutable_laststate()->mutable_terminated());
            }
            status.set_ready(done);
        }
    } else {
        const bool init_pending = !container.init && entry.pod->spec().initcontainers_size() > 0 &&
                                  !entry.initialized;
        waiting(init_pending || (container.init && !entry.sandbox &&
                                 entry.pod->spec().initcontainers(0).name() != container.name)
                    ? "PodInitializing"
                    : "ContainerCreating");
        if (container.last) {
            fill_terminated(*container.last, status.mutable_laststate()->mutable_terminated());
        }
    }
    return status;
}

// Kubelet's getPhase.
std::string phase_of(const PodEntry& entry, const corev1::PodStatus& status) {
    const auto& policy = entry.pod->spec().restartpolicy();
    int pending_init = 0;
    int failed_init = 0;
    for (const auto& init : status.initcontainerstatuses()) {
        const auto* container = const_cast<PodEntry&>(entry).find(init.name());
        if (container != nullptr && container->sidecar) {
            if (!entry.initialized && !init.started()) ++pending_init;
            continue;
        }
        if (init.state().has_terminated()) {
            if (init.state().terminated().exitcode() != 0) ++failed_init;
        } else if (!entry.initialized) {
            ++pending_init;
        }
    }
    int running = 0, waiting = 0, stopped = 0, succeeded = 0;
    for (const auto& container : status.containerstatuses()) {
        if (container.state().has_running()) {
            ++running;
        } else if (container.state().has_terminated()) {
            ++stopped;
            if (container.state().terminated().exitcode() == 0) ++succeeded;
        } else if (container.laststate().has_terminated()) {
            ++stopped;
        } else {
            ++waiting;
        }
    }
    if (failed_init > 0 && policy == "Never") return "Failed";
    if (is_ending(entry) && entry.stopped && waiting == 0 && stopped > 0) {
        return stopped == succeeded ? "Succeeded" : "Failed";
    }
    if (pending_init > 0 || failed_init > 0 || waiting > 0) return "Pending";
    if (running > 0) return "Running";
    if (stopped > 0) {
        if (policy == "Always" || policy.empty()) return "Running";
        if (stopped == succeeded) return "Succeeded";
        return policy == "Never" ? "Failed" : "Running";
    }
    return "Pending";
}

std::string bracketed(const std::vector<std::string>& names) {
    std::string text = "[";
    for (const auto& name : names) text += (text.size() > 1 ? " " : "") + name;
    return text + "]";
}

struct Truth {
    bool is = false;
    std::string reason, message;
};

Truth containers_ready(const PodEntry& entry, const corev1::PodStatus& status) {
    if (status.phase() == "Succeeded") return {false, "PodCompleted", ""};
    if (status.phase() == "Failed") return {false, "PodFailed", ""};
    std::vector<std::string> unready;
    for (const auto& init : status.initcontainerstatuses()) {
        const auto* container = const_cast<PodEntry&>(entry).find(init.name());
        if (container != nullptr && container->sidecar && !init.ready()) {
            unready.push_back(init.name());
        }
    }
    for (const auto& container : status.containerstatuses()) {
        if (!container.ready()) unready.push_back(container.name());
    }
    if (unready.empty() && status.containerstatuses_size() > 0) return {true, "", ""};
    return {false, "ContainersNotReady", "containers with unready status: " + bracketed(unready)};
}

Truth pod_ready(const PodEntry& entry, const Truth& containers, const corev1::PodStatus& base) {
    if (!containers.is) return containers;
    std::string missing;
    for (const auto& gate : entry.pod->spec().readinessgates()) {
        const auto& conditions = base.conditions();
        const auto found =
            std::find_if(conditions.begin(), conditions.end(), [&](const auto& condition) {
                return condition.type() == gate.conditiontype();
            });
        if (found != conditions.end() && found->status() == "True") continue;
        if (!missing.empty()) missing += ", ";
        missing += fmt::format("corresponding condition of pod readiness gate \"{}\" {}.",
                               gate.conditiontype(),
                               found == conditions.end() ? "does not exist"
                                                         : "is not \"True\"");
    }
    if (missing.empty()) return {true, "", ""};
    return {false, "ReadinessGatesNotReady", missing};
}

Truth initialized(const PodEntry& entry, const corev1::PodStatus& status) {
    if (status.phase() == "Succeeded") return {true, "PodCompleted", ""};
    if (entry.initialized || entry.pod->spec().initcontainers_size() == 0) return {true, "", ""};
    std::vector<std::string> incomplete;
    for (const auto& init : status.initcontainerstatuses()) {
        if (!init.ready()) incomplete.push_back(init.name());
    }
    if (incomplete.empty()) return {true, "", ""};
    return {false, "ContainersNotInitialized",
            "containers with incomplete status: " + bracketed(incomplete)};
}

void add_condition(const std::string& type, const Truth& truth, const PodEntry& entry,
                   const corev1::PodStatus& base, std::int64_t now_ms, corev1::PodStatus* status) {
    auto* condition = status->add_conditions();
    condition->set_type(type);
    condition->set_status(truth.is ? "True" : "False");
    if (!truth.reason.empty()) condition->set_reason(truth.reason);
    if (!truth.message.empty()) condition->set_message(truth.message);
    if (entry.pod->metadata().generation() > 0) {
        condition->set_observedgeneration(entry.pod->metadata().generation());
    }
    for (const auto& before : base.conditions()) {
        if (before.type() == type && before.status() == condition->status()) {
            *condition->mutable_lasttransitiontime() = before.lasttransitiontime();
            return;
        }
    }
    set_time(now_ms * 1'000'000, condition->mutable_lasttransitiontime());
}

}  // namespace

bool should_restart(const corev1::Pod& pod, const ContainerEntry& container) {
    if (!container.exited()) return false;
    if (container.restart_whatever || container.sidecar) return true;
    const auto& policy = pod.spec().restartpolicy();
    if (container.init) return container.current->exit_code != 0 && policy != "Never";
    if (policy == "Never") return false;
    return policy != "OnFailure" || container.current->exit_code != 0;
}

bool is_ending(const PodEntry& entry) {
    return entry.gone || entry.pod->metadata().has_deletiontimestamp() ||
           !entry.failed_reason.empty();
}

bool is_complete(const PodEntry& entry) {
    bool all_ended = true;
    for (const auto& container : entry.containers) {
        if (container.sidecar) continue;
        if (container.init) {
            // A failed init container ends the pod where it is not repeated.
            if (!entry.initialized && container.exited() && container.current->exit_code != 0 &&
                !should_restart(*entry.pod, container)) {
                return true;
            }
            continue;
        }
        all_ended = all_ended && container.exited() && !should_restart(*entry.pod, container);
    }
    return all_ended;
}

corev1::PodStatus make_status(const PodEntry& entry, const NodeSettings& node,
                              const corev1::PodStatus& base, std::int64_t now_ms) {
    corev1::PodStatus status;
    const auto& pod = *entry.pod;
    // A pod that had ended before this kubelet saw it keeps what was said of it.
    if (!entry.admitted && (base.phase() == "Failed" || base.phase() == "Succeeded")) return base;
    status.set_qosclass(base.qosclass().empty() ? qos_class(pod) : base.qosclass());
    if (base.has_nominatednodename()) status.set_nominatednodename(base.nominatednodename());
    if (pod.metadata().generation() > 0) status.set_observedgeneration(pod.metadata().generation());
    if (base.has_starttime()) {
        *status.mutable_starttime() = base.starttime();
    } else {
        set_time(entry.start_ms * 1'000'000, status.mutable_starttime());
    }
    if (entry.admitted) {
        for (const auto& ip : node.host_ips) {
            if (status.hostip().empty()) status.set_hostip(ip);
            status.add_hostips()->set_ip(ip);
        }
        auto ips = entry.sandbox ? entry.sandbox->ips : std::vector<std::string>{};
        if (pod.spec().hostnetwork()) ips = node.host_ips;
        for (const auto& ip : ips) {
            if (status.podip().empty()) status.set_podip(ip);
            status.add_podips()->set_ip(ip);
        }
        for (const auto& container : entry.containers) {
            const auto* spec = spec_of(pod, container.name);
            if (spec == nullptr) continue;
            *(container.init ? status.add_initcontainerstatuses()
                             : status.add_containerstatuses()) =
                container_status(entry, container, *spec);
        }
    }
    status.set_phase(phase_of(entry, status));
    if (!entry.failed_reason.empty()) {
        status.set_phase("Failed");
        status.set_reason(entry.failed_reason);
        status.set_message(entry.failed_message);
    }
    // The phase of a pod that ended is final.
    if (base.phase() == "Failed" || base.phase() == "Succeeded") {
        status.set_phase(base.phase());
        if (status.reason().empty() && !base.reason().empty()) {
            status.set_reason(base.reason());
            status.set_message(base.message());
        }
    }
    const bool sandbox_ready = entry.sandbox && entry.sandbox->ready && !entry.stopped;
    const auto containers = containers_ready(entry, status);
    add_condition("PodReadyToStartContainers", {sandbox_ready, "", ""}, entry, base, now_ms, &status);
    add_condition("Initialized", initialized(entry, status), entry, base, now_ms, &status);
    add_condition("Ready", pod_ready(entry, containers, base), entry, base, now_ms, &status);
    add_condition("ContainersReady", containers, entry, base, now_ms, &status);
    add_condition("PodScheduled", {true, "", ""}, entry, base, now_ms, &status);
    const bool evicted = entry.failed_reason == "Evicted";
    if (evicted) {
        add_condition(kDisruption, {true, "TerminationByKubelet", entry.failed_message}, entry, base,
                      now_ms, &status);
    }
    for (const auto& condition : base.conditions()) {
        if (evicted && condition.type() == kDisruption) continue;
        if (std::find(kOwnConditions.begin(), kOwnConditions.end(), condition.type()) ==
            kOwnConditions.end()) {
            *status.add_conditions() = condition;
        }
    }
    return status;
}

}  // namespace sluice::kubelet
