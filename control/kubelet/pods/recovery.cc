// What is there already: containers that ran when the kubelet started are taken over, those of pods that are gone are
// removed, and after a break of the event stream what was missed is found out.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <thread>
#include <utility>

#include "api/base/log.h"
#include "control/kubelet/pods/manager.h"
#include "control/kubelet/pods/recovery.h"
#include "control/kubelet/pods/status.h"

namespace sluice::kubelet {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kRelistRetry{200};

std::string label(const criv1::Container& container, const char* name) {
    const auto found = container.labels().find(name);
    return found == container.labels().end() ? std::string() : found->second;
}

Instance instance_of(const criv1::Container& container, const criv1::ContainerStatus* status) {
    Instance life;
    life.id = container.id();
    life.sandbox_id = container.pod_sandbox_id();
    life.attempt = container.metadata().attempt();
    life.created_ns = container.created_at();
    life.image = container.image().image();
    life.image_ref = container.image_ref();
    const auto hash = container.annotations().find(kAnnotationHash);
    if (hash != container.annotations().end()) life.hash = hash->second;
    switch (container.state()) {
        case criv1::CONTAINER_RUNNING: life.state = Instance::State::kRunning; break;
        case criv1::CONTAINER_CREATED: life.state = Instance::State::kCreated; break;
        default: life.state = Instance::State::kExited; break;
    }
    if (status != nullptr) {
        if (status->state() == criv1::CONTAINER_EXITED) life.state = Instance::State::kExited;
        life.started_ns = status->started_at();
        life.finished_ns = status->finished_at();
        life.exit_code = status->exit_code();
        life.reason = status->reason();
        life.message = status->message();
        if (!status->image().image().empty()) life.image = status->image().image();
        if (!status->image_ref().empty()) life.image_ref = status->image_ref();
    }
    if (life.state == Instance::State::kExited && life.reason.empty()) {
        life.reason = life.exit_code == 0 ? "Completed" : "Error";
    }
    return life;
}

}  // namespace

void Manager::relist(const std::stop_token& stop) {
    Snapshot snapshot;
    while (!stop.stop_requested()) {
        auto sandboxes = cri_.list_sandboxes();
        auto containers = cri_.list_containers();
        if (!sandboxes || !containers) {
            // The stream came back before the rest of the runtime did.
            const auto& error = sandboxes ? containers.error() : sandboxes.error();
            if (error.code == Code::kUnavailable) return;
            std::this_thread::sleep_for(kRelistRetry);
            continue;
        }
        snapshot.sandboxes = std::move(*sandboxes);
        snapshot.containers = std::move(*containers);
        break;
    }
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        first = snapshot_ == nullptr;
        if (first) {
            for (const auto& sandbox : snapshot.sandboxes) {
                owners_[sandbox.id()] = sandbox.metadata().uid();
            }
            for (const auto& container : snapshot.containers) {
                owners_[container.id()] = label(container, kLabelPodUid);
            }
            snapshot_ = std::make_shared<const Snapshot>(std::move(snapshot));
        }
    }
    listed_.notify_all();
    log::info("kubelet", "the container runtime's events are followed");
    if (node_keeper_ != nullptr) node_keeper_->check_now();
    if (first) return;
    for (const auto& entry : entries()) {
        verify(*entry, cri_, *machine_);
        queue_.add(entry->uid);
    }
}

void verify(PodEntry& entry, Cri& cri, Machine& machine) {
    std::string sandbox;
    std::vector<std::string> running;
    {
        const std::lock_guard lock(entry.mutex);
        // What failed because the runtime was away need not wait any longer.
        entry.sandbox_retry_at_ms = 0;
        entry.sandbox_failures = 0;
        for (auto& container : entry.containers) container.retry_at_ms = 0;
        if (entry.sandbox && entry.sandbox->ready) sandbox = entry.sandbox->id;
        for (const auto& container : entry.containers) {
            if (container.running()) running.push_back(container.current->id);
        }
    }
    // Each is asked for by itself: a listing may be older than what a worker has just started.
    for (const auto& id : running) {
        const auto status = cri.container_status(id);
        if (status && status->state() == criv1::CONTAINER_EXITED) {
            machine.container_exited(entry, id, status->exit_code(), status->finished_at(),
                                       status->reason());
        } else if (!status && status.error().code == Code::kNotFound) {
            machine.container_exited(entry, id, 137, 0, "ContainerStatusUnknown");
        }
    }
    if (sandbox.empty()) return;
    const auto status = cri.sandbox_status(sandbox);
    if (status ? status->state() != criv1::SANDBOX_READY
               : status.error().code == Code::kNotFound) {
        machine.container_exited(entry, sandbox, 0, 0);
    }
}

void adopt(PodEntry& entry, const Snapshot& snapshot, Cri& cri, Prober& prober,
           const NodeSettings& node) {
    const criv1::PodSandbox* newest = nullptr;
    std::vector<std::string> old;
    for (const auto& sandbox : snapshot.sandboxes) {
        if (sandbox.metadata().uid() != entry.uid) continue;
        if (newest != nullptr) {
            const bool later = sandbox.created_at() > newest->created_at();
            old.push_back(later ? newest->id() : sandbox.id());
            if (!later) continue;
        }
        newest = &sandbox;
    }
    if (newest == nullptr) return;
    Sandbox sandbox;
    sandbox.id = newest->id();
    sandbox.attempt = newest->metadata().attempt();
    sandbox.ready = newest->state() == criv1::SANDBOX_READY;
    if (const auto status = cri.sandbox_status(newest->id())) {
        if (!status->network().ip().empty()) sandbox.ips.push_back(status->network().ip());
        for (const auto& other : status->network().additional_ips()) {
            sandbox.ips.push_back(other.ip());
        }
        sandbox.ready = status->state() == criv1::SANDBOX_READY;
    }
    std::vector<const criv1::Container*> containers;
    for (const auto& container : snapshot.containers) {
        if (label(container, kLabelPodUid) == entry.uid) containers.push_back(&container);
    }
    std::sort(containers.begin(), containers.end(), [](const auto* left, const auto* right) {
        return left->metadata().attempt() < right->metadata().attempt();
    });
    struct Running {
        corev1::Container spec;
        std::string id;
        bool started, ready;
    };
    std::vector<Running> probed;
    std::string ip;
    {
        const std::lock_guard lock(entry.mutex);
        const auto& api = entry.pod->status();
        for (const auto* found : containers) {
            auto* container = entry.find(found->metadata().name());
            if (container == nullptr) {
                entry.old_containers.push_back(found->id());
                continue;
            }
            const auto status = cri.container_status(found->id());
            auto life = instance_of(*found, status ? &*status : nullptr);
            if (container->last) entry.old_containers.push_back(container->last->id);
            if (container->current) container->last = std::move(container->current);
            container->current = std::move(life);
            // A container that was made but not started is made again.
            if (container->current->state == Instance::State::kCreated) {
                container->current->state = Instance::State::kExited;
                container->current->reason = "ContainerCreated";
                container->current->finished_ns = container->current->created_ns;
            }
        }
        bool init_done = true;
        for (auto& container : entry.containers) {
            const auto* spec = spec_of(*entry.pod, container.name);
            if (container.init && !container.sidecar) {
                init_done = init_done && container.exited() && container.current->exit_code == 0;
            } else if (!container.init && container.current &&
                       container.current->sandbox_id == sandbox.id) {
                init_done = true;
                entry.initialized = true;
            }
            if (!container.running() || spec == nullptr) continue;
            const auto& statuses =
                container.init ? api.initcontainerstatuses() : api.containerstatuses();
            const auto known = std::find_if(statuses.begin(), statuses.end(), [&](const auto& each) {
                return each.name() == container.name &&
                       each.containerid() == "containerd://" + container.current->id;
            });
            const bool seen = known != statuses.end();
            container.started = !spec->has_startupprobe() || (seen && known->started());
            container.ready = container.started &&
                              (!spec->has_readinessprobe() || (seen && known->ready()));
            container.post_start = ContainerEntry::Hook::kDone;
            if (spec->has_livenessprobe() || spec->has_readinessprobe() ||
                spec->has_startupprobe()) {
                probed.push_back({*spec, container.current->id, container.started, container.ready});
            }
        }
        entry.recovered = true;
        const auto& ips =
            entry.pod->spec().hostnetwork() ? node.host_ips : sandbox.ips;
        if (!ips.empty()) ip = ips.front();
        entry.sandbox = std::move(sandbox);
        entry.old_sandboxes = std::move(old);
    }
    for (const auto& each : probed) {
        prober.add(*entry.pod, each.spec, each.id, ip, each.started, each.ready);
    }
}

void Manager::remove_orphans() {
    Snapshot now;
    {
        auto sandboxes = cri_.list_sandboxes();
        auto containers = cri_.list_containers();
        if (!sandboxes || !containers) return;
        now.sandboxes = std::move(*sandboxes);
        now.containers = std::move(*containers);
    }
    std::set<std::string> uids;
    for (const auto& sandbox : now.sandboxes) uids.insert(sandbox.metadata().uid());
    for (auto& uid : volumes_->pods_on_disk()) uids.insert(uid);
    for (auto& uid : cgroups_.pods()) uids.insert(uid);
    std::error_code error;
    for (fs::directory_iterator link(fs::path(logs_link("", options_.node)), error), end;
         !error && link != end; link.increment(error)) {
        uids.insert(link->path().filename());
    }
    const auto shared = std::make_shared<const Snapshot>(std::move(now));
    for (const auto& uid : uids) {
        if (uid.empty() || find(uid)) continue;
        // Seen at the server only since the list was made: another look decides.
        tasks_->run([this, uid, shared] {
            if (!find(uid)) remove_orphan(uid, *shared);
        });
    }
}

void Manager::remove_orphan(const std::string& uid, const Snapshot& snapshot) {
    std::string log_folder;
    for (const auto& container : snapshot.containers) {
        if (label(container, kLabelPodUid) != uid || container.state() != criv1::CONTAINER_RUNNING) {
            continue;
        }
        std::int64_t grace = kDefaultGraceSeconds;
        const auto given = container.annotations().find("io.kubernetes.pod.terminationGracePeriod");
        if (given != container.annotations().end()) {
            std::from_chars(given->second.data(), given->second.data() + given->second.size(), grace);
        }
        static_cast<void>(cri_.stop_container(container.id(), std::clamp<std::int64_t>(
                                                                  grace, 0, kDefaultGraceSeconds)));
    }
    for (const auto& sandbox : snapshot.sandboxes) {
        if (sandbox.metadata().uid() != uid) continue;
        log_folder = options_.node.logs_dir + "/" + sandbox.metadata().namespace_() + "_" +
                     sandbox.metadata().name() + "_" + uid;
        if (!cri_.stop_sandbox(sandbox.id()) || !cri_.remove_sandbox(sandbox.id())) {
            log::warn("kubelet", "the sandbox of pod {}, which is gone, could not be removed", uid);
            return;
        }
    }
    std::error_code error;
    if (log_folder.empty()) {
        const auto linked = fs::read_symlink(logs_link(uid, options_.node), error);
        if (!error && linked.parent_path() == fs::path(options_.node.logs_dir)) log_folder = linked;
        error.clear();
    }
    if (const auto done = volumes_->tear_down(uid); !done) {
        log::warn("kubelet", "pod {}, which is gone: {}", uid, done.error().message);
        return;
    }
    static_cast<void>(cgroups_.remove(uid));
    if (!log_folder.empty()) fs::remove_all(log_folder, error);
    if (!error) fs::remove(logs_link(uid, options_.node), error);
    log::info("kubelet", "what was left of pod {} is removed", uid);
}

}  // namespace sluice::kubelet
