// The way down: hooks, stops, clean-up.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "api/base/log.h"
#include "control/kubelet/pods/machine.h"
#include "control/kubelet/pods/status.h"

namespace sluice::kubelet {

namespace {

namespace fs = std::filesystem;

// The end of a file, of at most `bytes` bytes and `lines` lines of CRI logs without their stamps.
std::string log_tail(const std::string& path, std::size_t bytes, std::size_t lines) {
    std::ifstream file(path, std::ios::ate);
    if (!file) return {};
    const auto size = static_cast<std::streamoff>(file.tellg());
    // Stamps take some 45 bytes a line.
    const auto from = std::max<std::streamoff>(
        0, size - static_cast<std::streamoff>(bytes + lines * 64));
    file.seekg(from);
    std::vector<std::string> kept;
    std::string line;
    bool whole = from == 0;
    while (std::getline(file, line)) {
        if (!std::exchange(whole, true)) continue;
        std::size_t at = 0;
        for (int field = 0; field < 3 && at != std::string::npos; ++field) {
            at = line.find(' ', at);
            if (at != std::string::npos) ++at;
        }
        if (at != std::string::npos) kept.push_back(line.substr(at));
    }
    if (kept.size() > lines) {
        kept.erase(kept.begin(), kept.end() - static_cast<std::ptrdiff_t>(lines));
    }
    std::string text;
    for (const auto& each : kept) text += each + "\n";
    return text.size() > bytes ? text.substr(text.size() - bytes) : text;
}

}  // namespace

std::string Machine::last_words(const PodEntry& entry, const ContainerEntry& container) const {
    const auto& life = *container.current;
    std::string text;
    std::ifstream file(termination_log(entry.uid, container.name, life.attempt, parts_.node));
    if (file) {
        text.resize(kMaxTerminationMessageBytes);
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    }
    const auto* spec = spec_of(*entry.pod, container.name);
    if (text.empty() && life.exit_code != 0 && spec != nullptr &&
        spec->terminationmessagepolicy() == "FallbackToLogsOnError") {
        text = log_tail(pod_log_dir(*entry.pod, parts_.node) + "/" + container.name + "/" +
                            std::to_string(life.attempt) + ".log",
                        kMaxTerminationLogBytes, kMaxTerminationLogLines);
    }
    return text;
}

std::int64_t Machine::grace_of(const PodEntry& entry) const {
    const auto& pod = *entry.pod;
    std::int64_t grace = kDefaultGraceSeconds;
    if (pod.metadata().has_deletiongraceperiodseconds()) {
        grace = pod.metadata().deletiongraceperiodseconds();
    } else if (pod.spec().has_terminationgraceperiodseconds()) {
        grace = pod.spec().terminationgraceperiodseconds();
    }
    grace = std::max<std::int64_t>(grace, 0);
    return entry.end_grace_s ? std::min(grace, *entry.end_grace_s) : grace;
}

// The address at which others reach the pod: the status at the API server may not have it yet.
std::string Machine::ip_of(PodEntry& entry) const {
    const std::lock_guard lock(entry.mutex);
    const auto& ips = entry.pod->spec().hostnetwork() || !entry.sandbox ? parts_.node.host_ips
                                                                       : entry.sandbox->ips;
    return ips.empty() ? std::string() : ips.front();
}

Result<void> Machine::run_hook(const corev1::Pod& pod, const corev1::Container& container,
                               const corev1::LifecycleHandler& handler, const std::string& id,
                               const std::string& pod_ip, std::uint32_t timeout_ms) const {
    if (handler.has_exec()) {
        const std::vector<std::string> command(handler.exec().command().begin(),
                                               handler.exec().command().end());
        SLUICE_TRY_ASSIGN(const auto result, parts_.cri->exec_sync(id, command, timeout_ms));
        if (result.exit_code() != 0) {
            std::string shown;
            for (const auto& word : command) shown += (shown.empty() ? "" : " ") + word;
            return make_error(Code::kFailedPrecondition,
                              "Exec lifecycle hook ([{}]) for Container \"{}\" in Pod \"{}\" failed "
                              "- error: command '{}' exited with {}: {}, message: \"{}{}\"",
                              shown, container.name(), pod_text(pod), shown, result.exit_code(),
                              result.stderr(), result.stdout(), result.stderr());
        }
        return {};
    }
    if (handler.has_httpget()) {
        const auto& get = handler.httpget();
        const auto port = get.port().type() == 1 ? get.port().strval()
                                                 : std::to_string(get.port().intval());
        const auto& host = get.host().empty() ? pod_ip : get.host();
        if (host.empty()) {
            return make_error(Code::kFailedPrecondition,
                              "failed to find networking container: pod {} has no address",
                              pod_text(pod));
        }
        return http_get_hook(pod, container, host, get.scheme(), port, get.path(), timeout_ms);
    }
    if (handler.has_sleep()) {
        const auto wanted = std::clamp<std::int64_t>(handler.sleep().seconds(), 0, timeout_ms / 1'000);
        // In parts, so that a container that ends meanwhile is not waited for.
        for (std::int64_t slept = 0; slept < wanted * 10; ++slept) {
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            if (slept % 10 != 9) continue;
            const auto status = parts_.cri->container_status(id);
            if (status && status->state() == criv1::CONTAINER_EXITED) break;
        }
        return {};
    }
    // As with kubelet, tcpSocket is none: the field is there for old objects only.
    return make_error(Code::kInvalidArgument,
                      "cannot run handler: invalid handler: container \"{}\" has neither exec nor "
                      "httpGet nor sleep",
                      container.name());
}

void Machine::kill(PodEntry& entry, const std::string& name, std::int64_t grace_s,
                   const std::string& message) {
    std::string id;
    {
        const std::lock_guard lock(entry.mutex);
        auto& container = *entry.find(name);
        if (!container.running()) return;
        const auto deadline = parts_.now_ms() + grace_s * 1'000;
        if (container.killing) {
            // Sooner than before: stopped once more, with less time.
            if (deadline >= container.kill_deadline_ms - 1'000) return;
            container.kill_deadline_ms = deadline;
            id = container.current->id;
            parts_.tasks->run([this, id, grace_s] {
                static_cast<void>(parts_.cri->stop_container(id, grace_s));
            });
            return;
        }
        container.killing = true;
        container.kill_deadline_ms = deadline;
        id = container.current->id;
        event(*entry.pod, false, "Killing",
              message.empty() ? "Stopping container " + name : message, &container);
    }
    parts_.tasks->run([this, self = entry.shared_from_this(), name, id, grace_s] {
        stop_task(*self, name, id, grace_s);
    });
}

void Machine::stop_task(PodEntry& entry, const std::string& name, const std::string& id,
                        std::int64_t grace_s) {
    PodPointer pod;
    {
        const std::lock_guard lock(entry.mutex);
        pod = entry.pod;
    }
    const auto begun = parts_.now_ms();
    const auto* spec = spec_of(*pod, name);
    if (spec != nullptr && spec->lifecycle().has_prestop() && grace_s > 0) {
        const auto done = run_hook(*pod, *spec, spec->lifecycle().prestop(), id, ip_of(entry),
                                   static_cast<std::uint32_t>(std::min<std::int64_t>(
                                       grace_s * 1'000, 86'400'000)));
        if (!done) {
            ContainerEntry view;
            view.name = name;
            event(*pod, true, "FailedPreStopHook", "PreStopHook failed: " + done.error().message,
                  &view);
        }
        grace_s -= (parts_.now_ms() - begun) / 1'000;
        grace_s = std::max(grace_s, kMinGraceSeconds);
    }
    {
        const std::lock_guard lock(entry.mutex);
        // Shortened while the hook ran.
        const auto left = (entry.find(name)->kill_deadline_ms - parts_.now_ms() + 999) / 1'000;
        if (spec != nullptr && spec->lifecycle().has_prestop()) {
            grace_s = std::min(grace_s, std::max(left, kMinGraceSeconds));
        }
    }
    const auto stopped = parts_.cri->stop_container(id, grace_s);
    bool running = false;
    {
        const std::lock_guard lock(entry.mutex);
        auto* container = entry.find(name);
        running = container->running() && container->current->id == id;
    }
    if (running) {
        // The event is under way or lost; the runtime's answer is as good.
        const auto status = parts_.cri->container_status(id);
        if (status && status->state() == criv1::CONTAINER_EXITED) {
            container_exited(entry, id, status->exit_code(), status->finished_at(),
                             status->reason());
        } else if (!status && status.error().code == Code::kNotFound) {
            container_exited(entry, id, 137, 0, "ContainerStatusUnknown");
        } else if (!stopped) {
            log::warn("kubelet", "pod {}: container {} was not stopped: {}", pod_text(*pod), name,
                      stopped.error().message);
            std::this_thread::sleep_for(std::chrono::milliseconds(kStopRetryMs));
        }
    }
    {
        const std::lock_guard lock(entry.mutex);
        entry.find(name)->killing = false;
    }
    parts_.wake(entry.uid);
}

void Machine::kill_requested(PodEntry& entry) {
    struct Kill {
        std::string name, message;
        std::int64_t grace_s;
    };
    std::vector<Kill> kills;
    {
        const std::lock_guard lock(entry.mutex);
        for (auto& container : entry.containers) {
            const auto* spec = spec_of(*entry.pod, container.name);
            if (!container.running() || spec == nullptr) continue;
            if (container.kill_reason.empty() && !container.current->hash.empty() &&
                container.current->hash != container_hash(*spec)) {
                container.kill_reason = fmt::format(
                    "Container {} definition changed, will be restarted", container.name);
                container.restart_whatever = true;
            }
            if (container.kill_reason.empty() || container.killing) continue;
            kills.push_back({container.name, container.kill_reason,
                             container.kill_grace_s.value_or(grace_of(entry))});
        }
    }
    for (const auto& each : kills) kill(entry, each.name, each.grace_s, each.message);
}

bool Machine::stop_containers(PodEntry& entry, bool sidecars_only, Step& step) {
    std::vector<std::string> names;
    std::string sidecar;
    std::int64_t grace = 0;
    {
        const std::lock_guard lock(entry.mutex);
        grace = grace_of(entry);
        if (entry.grace_deadline_ms == 0) entry.grace_deadline_ms = step.now_ms + grace * 1'000;
        entry.grace_deadline_ms = std::min(entry.grace_deadline_ms, step.now_ms + grace * 1'000);
        for (const auto& container : entry.containers) {
            if (!container.running()) continue;
            if (container.sidecar) {
                sidecar = container.name;  // the last one that runs goes first
            } else if (!sidecars_only) {
                names.push_back(container.name);
            }
        }
        if (names.empty() && !sidecar.empty()) {
            names.push_back(sidecar);
            grace = std::min(grace, std::max((entry.grace_deadline_ms - step.now_ms) / 1'000,
                                             kMinGraceSeconds));
        }
    }
    for (const auto& name : names) kill(entry, name, grace, "");
    return names.empty();
}

void Machine::stop_sandbox(PodEntry& entry) {
    std::string id;
    {
        const std::lock_guard lock(entry.mutex);
        if (entry.stopped || entry.stopping_sandbox) return;
        if (!entry.sandbox) {
            entry.stopped = true;
            return;
        }
        entry.stopping_sandbox = true;
        id = entry.sandbox->id;
    }
    parts_.tasks->run([this, self = entry.shared_from_this(), &entry, id] {
        const auto done = parts_.cri->stop_sandbox(id);
        const bool stopped = done || done.error().code == Code::kNotFound;
        if (!stopped) {
            log::warn("kubelet", "pod {}: {}", entry.uid, done.error().message);
            std::this_thread::sleep_for(std::chrono::milliseconds(kStopRetryMs));
        }
        {
            const std::lock_guard lock(entry.mutex);
            entry.stopping_sandbox = false;
            if (stopped) {
                entry.stopped = true;
                entry.sandbox->ready = false;
            }
        }
        parts_.wake(entry.uid);
    });
}

void Machine::end(PodEntry& entry, Step& step) {
    bool first = false;
    {
        const std::lock_guard lock(entry.mutex);
        first = !std::exchange(entry.terminating, true);
    }
    if (first) {
        parts_.prober->pod_terminating(entry.uid);
        parts_.status_changed(entry.uid);
    }
    if (!stop_containers(entry, false, step)) return;
    stop_sandbox(entry);
    bool stopped = false;
    {
        const std::lock_guard lock(entry.mutex);
        stopped = entry.stopped;
    }
    if (stopped) clean(entry, step);
}

void Machine::clean(PodEntry& entry, Step& step) {
    bool cleaned = false;
    bool remove = false;
    {
        const std::lock_guard lock(entry.mutex);
        cleaned = entry.cleaned;
        remove = entry.gone || entry.pod->metadata().has_deletiontimestamp();
    }
    if (!cleaned) {
        parts_.prober->remove_pod(entry.uid);
        if (const auto done = parts_.volumes->tear_down(entry.uid); !done) {
            log::warn("kubelet", "pod {}: {}", pod_text(*step.pod), done.error().message);
            step.again_at(step.now_ms + kStopRetryMs);
            return;
        }
        parts_.objects->forget_pod(entry.uid);
        parts_.images->forget_pod(entry.uid);
        const std::lock_guard lock(entry.mutex);
        entry.cleaned = true;
        entry.volumes_ready = false;
    }
    if (!remove) {
        parts_.status_changed(entry.uid);
        return;
    }
    if (const auto done = parts_.finish(entry, true); !done) {
        log::warn("kubelet", "pod {}: {}", pod_text(*step.pod), done.error().message);
        step.again_at(step.now_ms + kStopRetryMs);
        return;
    }
    std::vector<std::string> sandboxes;
    {
        const std::lock_guard lock(entry.mutex);
        sandboxes = entry.old_sandboxes;
        if (entry.sandbox) sandboxes.push_back(entry.sandbox->id);
    }
    for (const auto& id : sandboxes) {
        // Containers go with their sandbox. What cannot be removed now is an orphan for later.
        if (const auto done = parts_.cri->remove_sandbox(id);
            !done && done.error().code != Code::kNotFound) {
            log::warn("kubelet", "pod {}: {}", pod_text(*step.pod), done.error().message);
        }
    }
    static_cast<void>(parts_.remove_cgroup(entry.uid));
    std::error_code error;
    fs::remove_all(pod_dir(entry.uid, parts_.node), error);
    fs::remove_all(pod_log_dir(*step.pod, parts_.node), error);
    if (!error) fs::remove(logs_link(entry.uid, parts_.node), error);
    const std::lock_guard lock(entry.mutex);
    entry.finished = true;
}

void Machine::remove_old(PodEntry& entry) {
    std::vector<std::string> containers;
    std::vector<std::string> sandboxes;
    {
        const std::lock_guard lock(entry.mutex);
        containers = std::exchange(entry.old_containers, {});
        // A sandbox is removed with its containers, whose logs and last states may still be asked for.
        const auto used = [&](const std::string& id) {
            return std::any_of(entry.containers.begin(), entry.containers.end(),
                               [&](const ContainerEntry& container) {
                                   return (container.current && container.current->sandbox_id == id) ||
                                          (container.last && container.last->sandbox_id == id);
                               });
        };
        std::vector<std::string> kept;
        for (auto& id : entry.old_sandboxes) (used(id) ? kept : sandboxes).push_back(id);
        entry.old_sandboxes = std::move(kept);
    }
    if (containers.empty() && sandboxes.empty()) return;
    parts_.tasks->run([this, containers, sandboxes, pod = entry.pod] {
        for (const auto& id : containers) static_cast<void>(parts_.cri->remove_container(id));
        for (const auto& id : sandboxes) {
            static_cast<void>(parts_.cri->stop_sandbox(id));
            static_cast<void>(parts_.cri->remove_sandbox(id));
        }
    });
}

}  // namespace sluice::kubelet
