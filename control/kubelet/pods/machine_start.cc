// The way up: sandbox, init containers, containers.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <utility>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/kubelet/pods/machine.h"
#include "control/kubelet/pods/status.h"

namespace sluice::kubelet {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxNodeFileBytes = 1U << 20U;

std::string read_node_file(const std::string& path) {
    std::ifstream file(path);
    std::string text(kMaxNodeFileBytes, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    return text;
}

Result<void> make_folders(const fs::path& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return errno_error(error.value(), "cannot make {}", path.string());
    return {};
}

Result<void> write_text(const std::string& path, const std::string& text, mode_t mode) {
    {
        std::ofstream file(path, std::ios::trunc);
        file << text;
        file.flush();
        if (!file) return errno_error(errno, "cannot write {}", path);
    }
    if (::chmod(path.c_str(), mode) != 0) return errno_error(errno, "cannot set the mode of {}", path);
    return {};
}

std::int64_t retry_delay(int failures) {
    return std::min(kMinRetryMs << std::min(failures, 10), kMaxRetryMs);
}

}  // namespace

bool Machine::set_up_volumes(PodEntry& entry, Step& step) {
    {
        const std::lock_guard lock(entry.mutex);
        if (entry.volumes_ready) return true;
        if (step.now_ms < entry.volumes_retry_at_ms) {
            step.again_at(entry.volumes_retry_at_ms);
            return false;
        }
    }
    Result<void> done = make_folders(pod_dir(entry.uid, parts_.node));
    if (done) done = parts_.volumes->set_up(*step.pod);
    const std::lock_guard lock(entry.mutex);
    if (done) {
        entry.volumes_ready = true;
        return true;
    }
    event(*step.pod, true, "FailedMount", done.error().message);
    entry.volumes_retry_at_ms = step.now_ms + retry_delay(++entry.volumes_failures);
    step.again_at(entry.volumes_retry_at_ms);
    return false;
}

bool Machine::start(PodEntry& entry, Step& step) {
    bool sandbox = false;
    bool anything_runs = false;
    {
        const std::lock_guard lock(entry.mutex);
        sandbox = entry.sandbox && entry.sandbox->ready;
        for (auto& container : entry.containers) anything_runs |= container.running();
        if (!sandbox && entry.sandbox) {
            // Its containers go with the sandbox, whose network they were in.
            if (anything_runs) {
                for (auto& container : entry.containers) {
                    if (container.running() && container.kill_reason.empty()) {
                        container.kill_reason = fmt::format("Stopping container {}", container.name);
                    }
                }
            } else {
                entry.old_sandboxes.push_back(entry.sandbox->id);
            }
        }
    }
    if (!sandbox && anything_runs) {
        kill_requested(entry);
        return false;
    }
    if (!sandbox) {
        // What the containers need is made ready while the runtime makes the sandbox.
        auto volumes = std::async(std::launch::async, [&] {
            Step own = step;
            own.again_at_ms.reset();
            const bool done = set_up_volumes(entry, own);
            return std::pair(done, own.again_at_ms);
        });
        const bool made = make_sandbox(entry, step);
        const auto [ready, again] = volumes.get();
        if (again) step.again_at(*again);
        if (!made || !ready) return false;
    } else if (!set_up_volumes(entry, step)) {
        return false;
    }
    if (!start_init(entry, step)) return false;
    bool all = true;
    std::vector<std::string> names;
    {
        const std::lock_guard lock(entry.mutex);
        for (const auto& container : entry.containers) {
            if (!container.init) names.push_back(container.name);
        }
    }
    for (const auto& name : names) {
        const bool running = ensure_running(entry, name, step);
        all = all && running;
        const std::lock_guard lock(entry.mutex);
        // The next container waits for the hook of the one before.
        if (entry.find(name)->post_start == ContainerEntry::Hook::kRunning) return false;
    }
    return all;
}

bool Machine::make_sandbox(PodEntry& entry, Step& step) {
    std::uint32_t attempt = 0;
    {
        const std::lock_guard lock(entry.mutex);
        if (step.now_ms < entry.sandbox_retry_at_ms) {
            step.again_at(entry.sandbox_retry_at_ms);
            return false;
        }
        if (entry.sandbox) {
            attempt = entry.sandbox->attempt + 1;
            entry.sandbox.reset();
            entry.initialized = false;
        }
    }
    const auto& pod = *step.pod;
    const auto make = [&]() -> Result<Sandbox> {
        if (!pod.spec().runtimeclassname().empty()) {
            return make_error(Code::kUnimplemented, "RuntimeClass \"{}\" not found",
                              pod.spec().runtimeclassname());
        }
        SLUICE_TRY(parts_.make_cgroup(pod));
        SLUICE_TRY(make_folders(pod_dir(entry.uid, parts_.node)));
        // First the link: logs without it would stay for ever if this process ended between.
        const auto link = logs_link(entry.uid, parts_.node);
        SLUICE_TRY(make_folders(fs::path(link).parent_path()));
        if (::symlink(pod_log_dir(pod, parts_.node).c_str(), link.c_str()) != 0 && errno != EEXIST) {
            return errno_error(errno, "cannot link {}", link);
        }
        SLUICE_TRY(make_folders(pod_log_dir(pod, parts_.node)));
        if (wants_cluster_dns(pod) && parts_.node.cluster_dns.empty()) {
            event(pod, true, "MissingClusterDNS",
                  fmt::format("pod: \"{}\". kubelet does not have ClusterDNS IP configured and cannot "
                              "create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" "
                              "policy.",
                              pod_text(pod)));
        }
        const auto dns_path = parts_.node.resolv_conf;
        SLUICE_TRY_ASSIGN(const auto config,
                          sandbox_config(pod, parts_.node, parts_.cgroup_path(pod),
                                         dns_path.empty() ? "" : read_node_file(dns_path), attempt));
        SLUICE_TRY_ASSIGN(const auto id, parts_.cri->run_sandbox(config));
        parts_.owns(id, entry.uid);
        Sandbox sandbox;
        sandbox.id = id;
        sandbox.attempt = attempt;
        sandbox.ready = true;
        const auto status = parts_.cri->sandbox_status(id);
        if (status) {
            if (!status->network().ip().empty()) sandbox.ips.push_back(status->network().ip());
            for (const auto& other : status->network().additional_ips()) {
                sandbox.ips.push_back(other.ip());
            }
            sandbox.ready = status->state() == criv1::SANDBOX_READY;
        }
        return sandbox;
    };
    auto sandbox = make();
    if (sandbox) {
        auto ips = pod.spec().hostnetwork() ? parts_.node.host_ips : sandbox->ips;
        const auto written = write_hosts(entry, ips);
        const std::lock_guard lock(entry.mutex);
        entry.sandbox = std::move(*sandbox);
        entry.sandbox_failures = 0;
        if (written) return true;
        entry.sandbox->ready = false;
        sandbox = written.error();
    }
    const bool refused = sandbox.error().code == Code::kUnimplemented;
    event(pod, true, "FailedCreatePodSandBox",
          "Failed to create pod sandbox: " +
              (refused ? sandbox.error().message : rpc_text(sandbox.error())));
    // The runtime may have made what it could not tell of.
    forget_unknown(entry);
    const std::lock_guard lock(entry.mutex);
    entry.sandbox_retry_at_ms = step.now_ms + retry_delay(++entry.sandbox_failures);
    step.again_at(entry.sandbox_retry_at_ms);
    return false;
}

Result<void> Machine::write_hosts(const PodEntry& entry, const std::vector<std::string>& ips) const {
    const auto node_hosts =
        entry.pod->spec().hostnetwork() ? read_node_file("/etc/hosts") : std::string();
    return write_text(pod_dir(entry.uid, parts_.node) + "/etc-hosts",
                      hosts_file(*entry.pod, parts_.node, ips, node_hosts), 0644);
}

void Machine::forget_unknown(PodEntry& entry) {
    const auto containers = parts_.cri->list_containers();
    const auto sandboxes = parts_.cri->list_sandboxes();
    if (!containers || !sandboxes) return;
    std::vector<std::string> known;
    {
        const std::lock_guard lock(entry.mutex);
        if (entry.sandbox) known.push_back(entry.sandbox->id);
        for (const auto& container : entry.containers) {
            if (container.current) known.push_back(container.current->id);
            if (container.last) known.push_back(container.last->id);
        }
    }
    const auto is_known = [&](const std::string& id) {
        return std::find(known.begin(), known.end(), id) != known.end();
    };
    for (const auto& container : *containers) {
        const auto owner = container.labels().find(kLabelPodUid);
        if (owner == container.labels().end() || owner->second != entry.uid ||
            is_known(container.id())) {
            continue;
        }
        static_cast<void>(parts_.cri->stop_container(container.id(), 0));
        static_cast<void>(parts_.cri->remove_container(container.id()));
    }
    for (const auto& sandbox : *sandboxes) {
        if (sandbox.metadata().uid() != entry.uid || is_known(sandbox.id())) continue;
        static_cast<void>(parts_.cri->stop_sandbox(sandbox.id()));
        static_cast<void>(parts_.cri->remove_sandbox(sandbox.id()));
    }
}

bool Machine::start_init(PodEntry& entry, Step& step) {
    std::vector<std::string> names;
    bool done = false;
    {
        const std::lock_guard lock(entry.mutex);
        for (const auto& container : entry.containers) {
            if (container.init) names.push_back(container.name);
        }
        done = entry.initialized;
    }
    for (const auto& name : names) {
        {
            const std::lock_guard lock(entry.mutex);
            auto& container = *entry.find(name);
            const bool here = container.current && container.current->sandbox_id == entry.sandbox->id;
            if (!container.sidecar) {
                if (done || (here && container.exited() && container.current->exit_code == 0)) {
                    continue;
                }
            }
        }
        const bool running = ensure_running(entry, name, step);
        const std::lock_guard lock(entry.mutex);
        const auto& container = *entry.find(name);
        if (done) continue;
        if (!container.sidecar || !running || !container.started) return false;
        if (container.post_start == ContainerEntry::Hook::kRunning) return false;
    }
    const std::lock_guard lock(entry.mutex);
    entry.initialized = true;
    return true;
}

bool Machine::wait_for_crash(PodEntry& entry, ContainerEntry& container, Step& step) const {
    const auto failed_ms = container.current->finished_ns / 1'000'000;
    const auto until = container.crash.wait_until(step.now_ms, failed_ms);
    if (until > 0) {
        step.again_at(until);
        if (container.waiting_reason != "CrashLoopBackOff") {
            container.waiting_reason = "CrashLoopBackOff";
            container.waiting_message =
                fmt::format("back-off {} restarting failed container={} pod={}",
                            container.crash.delay_ms() < 60'000
                                ? fmt::format("{}s", container.crash.delay_ms() / 1'000)
                                : fmt::format("{}m{}s", container.crash.delay_ms() / 60'000,
                                              container.crash.delay_ms() / 1'000 % 60),
                            container.name, pod_text(*entry.pod));
            event(*entry.pod, true, "BackOff",
                  fmt::format("Back-off restarting failed container {} in pod {}", container.name,
                              pod_text(*entry.pod)),
                  &container);
        }
        return true;
    }
    container.crash.next(step.now_ms, failed_ms);
    return false;
}

bool Machine::ensure_running(PodEntry& entry, const std::string& name, Step& step) {
    std::uint32_t attempt = 0;
    ContainerEntry view;
    const auto& pod = *step.pod;
    {
        const std::lock_guard lock(entry.mutex);
        auto& container = *entry.find(name);
        if (container.running()) return container.kill_reason.empty();
        if (container.killing) return false;
        if (container.exited()) {
            // The init containers of a new sandbox run again, whatever they came to in the old one.
            const bool again = container.init && !container.sidecar && !entry.initialized &&
                               container.current->sandbox_id != entry.sandbox->id;
            if (!again && !should_restart(pod, container)) return false;
            if (step.now_ms < container.retry_at_ms) {
                step.again_at(container.retry_at_ms);
                return false;
            }
            if (!again && !container.restart_whatever && container.retry_at_ms == 0 &&
                wait_for_crash(entry, container, step)) {
                return false;
            }
        } else if (step.now_ms < container.retry_at_ms) {
            step.again_at(container.retry_at_ms);
            return false;
        }
        if (container.current) attempt = container.current->attempt + 1;
        view.name = container.name;
        view.init = container.init;
    }
    const auto* spec = spec_of(pod, name);
    if (spec == nullptr) return false;
    const auto pointer = step.pod;
    auto verdict = parts_.images->ensure(
        pod, *spec,
        [this, pointer, view](bool warning, const std::string& reason, const std::string& message) {
            event(*pointer, warning, reason, message, &view);
        },
        [this, uid = entry.uid] { parts_.wake(uid); });
    if (verdict.kind == ImageVerdict::Kind::kPulling) {
        const std::lock_guard lock(entry.mutex);
        auto& container = *entry.find(name);
        if (container.waiting_reason == "ImagePullBackOff") {
            container.waiting_reason.clear();
            container.waiting_message.clear();
        }
        return false;
    }
    if (verdict.kind == ImageVerdict::Kind::kFailed) {
        if (verdict.tell) {
            if (verdict.reason == "ImagePullBackOff") {
                event(pod, false, "BackOff", verdict.message, &view);
            } else if (verdict.reason == "InvalidImageName") {
                event(pod, true, "InspectFailed", verdict.message, &view);
            } else if (verdict.reason == "ErrImageNeverPull") {
                event(pod, true, "ErrImageNeverPull", verdict.message, &view);
            }
            event(pod, true, "Failed", "Error: " + verdict.reason, &view);
        }
        fail_container(entry, name, verdict.reason, verdict.message, 0, step);
        step.again_at(verdict.again_at_ms > 0 ? verdict.again_at_ms : step.now_ms + kMaxRetryMs);
        return false;
    }
    if (!verdict.pulled) {
        event(pod, false, "Pulled",
              fmt::format("Container image \"{}\" already present on machine", spec->image()), &view);
    }
    std::string reason = "CreateContainerError";
    auto id = create_container(entry, name, verdict, attempt, &reason);
    if (!id) {
        const auto text = reason == "CreateContainerConfigError" ? id.error().message
                                                                 : rpc_text(id.error());
        event(pod, true, "Failed", "Error: " + text, &view);
        fail_container(entry, name, reason, text, kMaxRetryMs, step);
        if (reason == "CreateContainerError") forget_unknown(entry);
        return false;
    }
    event(pod, false, "Created", "Created container: " + name, &view);
    if (const auto done = parts_.cri->start_container(*id); !done) {
        const auto text = rpc_text(done.error());
        event(pod, true, "Failed", "Error: " + text, &view);
        // The runtime knows what became of it; a command that is not there is its end.
        container_exited(entry, *id, 128, 0, "StartError");
        {
            const std::lock_guard lock(entry.mutex);
            auto& life = *entry.find(name)->current;
            if (life.message.empty()) life.message = done.error().message;
        }
        if (should_restart(pod, *entry.find(name))) {
            fail_container(entry, name, "RunContainerError", done.error().message, 0, step);
        }
        step.again_at(step.now_ms + kMinRetryMs);
        return false;
    }
    event(pod, false, "Started", "Started container " + name, &view);
    started(entry, name, *id);
    return true;
}

void Machine::fail_container(PodEntry& entry, const std::string& name, const std::string& reason,
                             const std::string& message, std::int64_t retry_ms, Step& step) const {
    const std::lock_guard lock(entry.mutex);
    auto& container = *entry.find(name);
    container.waiting_reason = reason;
    container.waiting_message = message;
    container.retry_at_ms = retry_ms > 0 ? step.now_ms + retry_ms : 0;
    if (retry_ms > 0) step.again_at(container.retry_at_ms);
}

Result<std::string> Machine::create_container(PodEntry& entry, const std::string& name,
                                              const ImageVerdict& verdict, std::uint32_t attempt,
                                              std::string* reason) {
    PodPointer pod;
    Sandbox sandbox;
    {
        const std::lock_guard lock(entry.mutex);
        pod = entry.pod;
        sandbox = *entry.sandbox;
    }
    const auto& spec = *spec_of(*pod, name);
    const auto fail_config = [&](const Error& error) -> Error {
        *reason = "CreateContainerConfigError";
        return error;
    };
    auto facts = parts_.node_facts();
    facts.pod_ips = pod->spec().hostnetwork() ? parts_.node.host_ips : sandbox.ips;
    auto environment = make_environment(*pod, spec, facts,
                                        parts_.services(pod->metadata().namespace_()),
                                        *parts_.objects);
    if (!environment) return fail_config(environment.error());
    const std::map<std::string, std::string> variables(environment->begin(), environment->end());
    auto mounts = parts_.volumes->mounts(*pod, name, variables);
    if (!mounts) return fail_config(mounts.error());
    ContainerInputs inputs;
    inputs.image_ref = verdict.image.id();
    inputs.image = verdict.image;
    inputs.environment = std::move(*environment);
    inputs.mounts = std::move(*mounts);
    inputs.attempt = attempt;
    const auto config = container_config(*pod, spec, parts_.node, inputs);
    if (!config) return fail_config(config.error());

    const auto words = termination_log(entry.uid, name, attempt, parts_.node);
    SLUICE_TRY(make_folders(fs::path(words).parent_path()));
    // Written by the container's user, whoever that is.
    SLUICE_TRY(write_text(words, "", 0666));
    SLUICE_TRY(make_folders(pod_log_dir(*pod, parts_.node) + "/" + name));
    SLUICE_TRY_ASSIGN(const auto sandbox_settings,
                      sandbox_config(*pod, parts_.node, parts_.cgroup_path(*pod),
                                     read_node_file(parts_.node.resolv_conf), sandbox.attempt));
    SLUICE_TRY_ASSIGN(auto id, parts_.cri->create_container(sandbox.id, *config, sandbox_settings));
    parts_.owns(id, entry.uid);
    const std::lock_guard lock(entry.mutex);
    auto& container = *entry.find(name);
    if (container.last) entry.old_containers.push_back(container.last->id);
    if (container.current) container.last = std::move(container.current);
    auto& life = container.current.emplace();
    life.id = id;
    life.sandbox_id = sandbox.id;
    life.attempt = attempt;
    life.created_ns = parts_.now_ms() * 1'000'000;
    life.image = verdict.image.repo_tags_size() > 0 ? verdict.image.repo_tags(0) : spec.image();
    life.image_ref = verdict.image.repo_digests_size() > 0 ? verdict.image.repo_digests(0)
                                                           : verdict.image.id();
    life.hash = container_hash(spec);
    container.oom = false;
    container.killing = false;
    container.kill_reason.clear();
    container.kill_grace_s.reset();
    container.restart_whatever = false;
    container.post_start = ContainerEntry::Hook::kNone;
    container.waiting_reason.clear();
    container.waiting_message.clear();
    container.retry_at_ms = 0;
    return id;
}

void Machine::started(PodEntry& entry, const std::string& name, const std::string& id) {
    std::string ip;
    PodPointer pod;
    {
        const std::lock_guard lock(entry.mutex);
        pod = entry.pod;
        auto& container = *entry.find(name);
        const auto& spec = *spec_of(*pod, name);
        if (!container.current || container.current->id != id) return;
        container.current->started_ns = parts_.now_ms() * 1'000'000;
        // It may have ended already, which the runtime told before it answered.
        if (container.current->state != Instance::State::kCreated) return;
        container.current->state = Instance::State::kRunning;
        container.started = !spec.has_startupprobe();
        container.ready = container.started && !spec.has_readinessprobe();
        const auto& ips = pod->spec().hostnetwork() ? parts_.node.host_ips : entry.sandbox->ips;
        if (!ips.empty()) ip = ips.front();
        if (spec.lifecycle().has_poststart()) {
            container.post_start = ContainerEntry::Hook::kRunning;
        }
    }
    const auto& spec = *spec_of(*pod, name);
    if (spec.has_livenessprobe() || spec.has_readinessprobe() || spec.has_startupprobe()) {
        parts_.prober->add(*pod, spec, id, ip, false, false);
    }
    if (spec.lifecycle().has_poststart()) run_post_start(entry, name, id);
}

void Machine::run_post_start(PodEntry& entry, const std::string& name, const std::string& id) {
    parts_.tasks->run([this, self = entry.shared_from_this(), &entry, name, id] {
        PodPointer pod;
        {
            const std::lock_guard lock(entry.mutex);
            pod = entry.pod;
        }
        const auto& spec = *spec_of(*pod, name);
        const auto done = run_hook(*pod, spec, spec.lifecycle().poststart(), id, ip_of(entry), kCriCallMs);
        {
            const std::lock_guard lock(entry.mutex);
            auto* container = entry.find(name);
            if (container->current && container->current->id == id) {
                container->post_start =
                    done ? ContainerEntry::Hook::kDone : ContainerEntry::Hook::kFailed;
                if (!done && container->running()) {
                    event(*pod, true, "FailedPostStartHook",
                          "PostStartHook failed: " + done.error().message, container);
                    container->kill_reason = "FailedPostStartHook";
                }
            }
        }
        parts_.wake(entry.uid);
    });
}

}  // namespace sluice::kubelet
