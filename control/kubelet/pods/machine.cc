#include "control/kubelet/pods/machine.h"

#include <algorithm>
#include <utility>

#include "api/base/log.h"
#include "control/kubelet/pods/status.h"

namespace sluice::kubelet {

namespace {

// Of a process that ended by SIGKILL.
constexpr std::int32_t kKilledCode = 137;

}  // namespace

const corev1::Container* spec_of(const corev1::Pod& pod, const std::string& name) {
    for (const auto& container : pod.spec().containers()) {
        if (container.name() == name) return &container;
    }
    for (const auto& container : pod.spec().initcontainers()) {
        if (container.name() == name) return &container;
    }
    return nullptr;
}

std::vector<ContainerEntry> make_containers(const corev1::Pod& pod) {
    std::vector<ContainerEntry> containers;
    for (const auto& spec : pod.spec().initcontainers()) {
        auto& container = containers.emplace_back();
        container.name = spec.name();
        container.init = true;
        container.sidecar = spec.restartpolicy() == "Always";
    }
    for (const auto& spec : pod.spec().containers()) containers.emplace_back().name = spec.name();
    return containers;
}

std::string pod_text(const corev1::Pod& pod) {
    return pod.metadata().name() + "_" + pod.metadata().namespace_() + "(" + pod.metadata().uid() +
           ")";
}

void Machine::event(const corev1::Pod& pod, bool warning, const std::string& reason,
                    const std::string& message, const ContainerEntry* container) const {
    std::string path;
    if (container != nullptr) {
        path = fmt::format("spec.{}{{{}}}", container->init ? "initContainers" : "containers",
                           container->name);
    }
    parts_.events->record(pod, warning ? client::EventType::kWarning : client::EventType::kNormal,
                          reason, message, path);
}

std::optional<std::int64_t> Machine::sync(PodEntry& entry) {
    Step step;
    step.now_ms = parts_.now_ms();
    bool admit = false;
    bool refresh = false;
    {
        const std::lock_guard lock(entry.mutex);
        step.pod = entry.pod;
        if (entry.finished) return std::nullopt;
        admit = !entry.admitted && entry.failed_reason.empty() && !is_ending(entry);
        refresh = std::exchange(entry.refresh_volumes, false) && entry.volumes_ready;
    }
    const auto& phase = step.pod->status().phase();
    const bool over = phase == "Failed" || phase == "Succeeded";
    if (admit && !over) {
        const auto refusal = entry.recovered ? std::nullopt : parts_.admit(*step.pod);
        const std::lock_guard lock(entry.mutex);
        if (refusal) {
            entry.failed_reason = refusal->reason;
            entry.failed_message = "Pod was rejected: " + refusal->message;
            event(*step.pod, true, refusal->reason, refusal->message);
        } else {
            entry.admitted = true;
            parts_.objects->follow_pod(*step.pod);
        }
    }
    if (refresh && !over) {
        if (const auto done = parts_.volumes->refresh(*step.pod); !done) {
            log::warn("kubelet", "pod {}: {}", pod_text(*step.pod), done.error().message);
            const std::lock_guard lock(entry.mutex);
            entry.refresh_volumes = true;
            step.again_at(step.now_ms + kMaxRetryMs);
        }
    }
    bool ending = false;
    bool complete = false;
    {
        const std::lock_guard lock(entry.mutex);
        const auto& spec = step.pod->spec();
        if (spec.has_activedeadlineseconds() && !is_ending(entry) && !over) {
            const auto begun = step.pod->status().has_starttime()
                                   ? step.pod->status().starttime().seconds() * 1'000
                                   : entry.start_ms;
            const auto deadline = begun + spec.activedeadlineseconds() * 1'000;
            if (step.now_ms >= deadline && !is_complete(entry)) {
                entry.failed_reason = "DeadlineExceeded";
                entry.failed_message =
                    "Pod was active on the node longer than the specified deadline";
                event(*step.pod, false, entry.failed_reason, entry.failed_message);
            } else if (step.now_ms < deadline) {
                step.again_at(deadline);
            }
        }
        ending = is_ending(entry) || over;
        complete = !ending && is_complete(entry);
    }
    if (ending) {
        end(entry, step);
    } else {
        kill_requested(entry);
        if (complete) {
            // Sidecars end after the containers they serve; then nothing needs the sandbox.
            if (stop_containers(entry, false, step)) stop_sandbox(entry);
        } else if (start(entry, step)) {
            log::debug("kubelet", "pod {}: all containers have been started", pod_text(*step.pod));
        }
        remove_old(entry);
        parts_.status_changed(entry.uid);
    }
    if (!step.again_at_ms) return std::nullopt;
    return std::max<std::int64_t>(*step.again_at_ms - parts_.now_ms(), 1);
}

void Machine::container_exited(PodEntry& entry, const std::string& id, std::int32_t exit_code,
                               std::int64_t at_ns, const std::string& reason) {
    bool killed = false;
    {
        const std::lock_guard lock(entry.mutex);
        for (const auto& container : entry.containers) {
            killed = killed || (container.current && container.current->id == id &&
                                exit_code == kKilledCode && !container.killing);
        }
    }
    if (killed && parts_.was_oom(id)) container_oom(entry, id);
    std::unique_lock lock(entry.mutex);
    if (entry.sandbox && entry.sandbox->id == id) {
        if (std::exchange(entry.sandbox->ready, false) && !is_ending(entry) && !is_complete(entry)) {
            event(*entry.pod, false, "SandboxChanged",
                  "Pod sandbox changed, it will be killed and re-created.");
        }
        return;
    }
    for (auto& container : entry.containers) {
        if (!container.current || container.current->id != id || container.exited()) continue;
        auto& life = *container.current;
        life.state = Instance::State::kExited;
        life.exit_code = exit_code;
        life.finished_ns = at_ns > 0 ? at_ns : parts_.now_ms() * 1'000'000;
        if (life.started_ns == 0) life.started_ns = life.finished_ns;
        life.reason = container.oom && exit_code == kKilledCode ? "OOMKilled"
                      : !reason.empty() ? reason
                      : exit_code == 0  ? "Completed"
                                        : "Error";
        life.message = last_words(entry, container);
        container.ready = false;
        container.started = false;
        container.kill_reason.clear();
        container.waiting_reason.clear();
        container.waiting_message.clear();
        const auto name = container.name;
        // The prober may wait for an outcome that is being told, which waits for the mutex.
        lock.unlock();
        parts_.prober->remove(entry.uid, name);
        return;
    }
}

void Machine::container_oom(PodEntry& entry, const std::string& id) {
    const std::lock_guard lock(entry.mutex);
    for (auto& container : entry.containers) {
        if (!container.current || container.current->id != id) continue;
        container.oom = true;
        // The end may be told before its cause.
        if (container.exited() && container.current->exit_code == kKilledCode) {
            container.current->reason = "OOMKilled";
        }
    }
}

void Machine::evict(PodEntry& entry, const std::string& message) {
    const std::lock_guard lock(entry.mutex);
    if (!entry.admitted || is_ending(entry) || is_complete(entry)) return;
    entry.failed_reason = "Evicted";
    entry.failed_message = message;
    entry.end_grace_s = kEvictionGraceSeconds;
    event(*entry.pod, true, entry.failed_reason, message);
}

void Machine::probe_outcome(PodEntry& entry, const ProbeOutcome& outcome) {
    const std::lock_guard lock(entry.mutex);
    auto* container = entry.find(outcome.container_name);
    if (container == nullptr || !container->running() ||
        container->current->id != outcome.container_id) {
        return;
    }
    const auto* spec = spec_of(*entry.pod, container->name);
    if (spec == nullptr) return;
    const auto kill_for = [&](const char* type, const corev1::Probe& probe) {
        if (is_ending(entry)) return;
        container->kill_reason =
            fmt::format("Container {} failed {} probe, will be restarted", container->name, type);
        if (probe.has_terminationgraceperiodseconds()) {
            container->kill_grace_s = probe.terminationgraceperiodseconds();
        }
    };
    switch (outcome.type) {
        case ProbeType::kReadiness: container->ready = outcome.success; break;
        case ProbeType::kStartup:
            if (outcome.success) {
                container->started = true;
                if (!spec->has_readinessprobe()) container->ready = true;
            } else {
                kill_for("startup", spec->startupprobe());
            }
            break;
        case ProbeType::kLiveness:
            if (!outcome.success) kill_for("liveness", spec->livenessprobe());
            break;
    }
}

}  // namespace sluice::kubelet
