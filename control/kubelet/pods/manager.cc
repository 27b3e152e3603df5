#include "control/kubelet/pods/manager.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <utility>

#include "api/base/log.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/kubelet/pods/admission.h"
#include "control/kubelet/pods/oom_log.h"
#include "control/kubelet/pods/status.h"

namespace sluice::kubelet {

namespace {

std::int64_t steady_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::int64_t wall_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

constexpr char kByNamespace[] = "namespace";

bool names_changed(const corev1::Pod& before, const corev1::Pod& after) {
    const auto same = [](const auto& left, const auto& right) {
        return left.size() == right.size() &&
               std::all_of(left.begin(), left.end(), [&right](const auto& pair) {
                   const auto found = right.find(pair.first);
                   return found != right.end() && found->second == pair.second;
               });
    };
    return !same(before.metadata().labels(), after.metadata().labels()) ||
           !same(before.metadata().annotations(), after.metadata().annotations());
}

}  // namespace

Manager::Manager(ManagerOptions options, client::Client& client, Cri& cri,
                 client::EventRecorder& events, Cgroups cgroups)
    : options_(std::move(options)), client_(client), cri_(cri), events_(events),
      cgroups_(std::move(cgroups)), runtime_health_(cri, steady_ms),
      queue_(std::chrono::milliseconds(5), std::chrono::milliseconds(kMaxRetryMs)) {}

Manager::~Manager() { stop(); }

Result<std::unique_ptr<Manager>> Manager::create(ManagerOptions options, client::Client& client,
                                                 Cri& cri, client::EventRecorder& events) {
    SLUICE_TRY_ASSIGN(auto cgroups, Cgroups::open(options.cgroup_root));
    SLUICE_TRY(cgroups.set_up());
    const auto profile = options.node.root_dir + "/sandbox-seccomp.json";
    std::ofstream file(profile, std::ios::trunc);
    file << sandbox_seccomp_profile();
    file.close();
    if (!file) return make_error(Code::kUnavailable, "cannot write {}", profile);
    options.node.sandbox_seccomp = profile;
    std::unique_ptr<Manager> manager(
        new Manager(std::move(options), client, cri, events, std::move(cgroups)));
    manager->make_parts();
    return manager;
}

void Manager::make_parts() {
    tasks_ = std::make_unique<Tasks>();
    objects_ = ObjectSource::create(client_);
    volumes_ = Volumes::create(options_.node.root_dir, *objects_,
                               [this](const corev1::Pod&) { return node_facts(); });
    images_ = std::make_unique<Images>(cri_, *objects_, *tasks_, wall_ms);
    prober_ = Prober::create(
        [this](const std::string& id, const std::vector<std::string>& command,
               std::uint32_t timeout_ms) -> Result<ExecResult> {
            SLUICE_TRY_ASSIGN(const auto response, cri_.exec_sync(id, command, timeout_ms));
            return ExecResult{response.exit_code(), response.stdout() + response.stderr()};
        },
        [this](const ProbeOutcome& outcome) {
            const auto entry = find(outcome.pod_uid);
            if (!entry) return;
            machine_->probe_outcome(*entry, outcome);
            writer_->changed(outcome.pod_uid);
            queue_.add(outcome.pod_uid);
        },
        [this](const ProbeFailure& failure) { on_probe_failure(failure); });
    writer_ = std::make_unique<StatusWriter>(
        client_, options_.node, [this](const std::string& uid) { return find(uid); }, wall_ms);
    objects_->on_change([this](const std::string& uid) {
        const auto entry = find(uid);
        if (!entry) return;
        {
            const std::lock_guard lock(entry->mutex);
            entry->refresh_volumes = true;
        }
        queue_.add(uid);
    });

    Parts parts;
    parts.cri = &cri_;
    parts.volumes = volumes_.get();
    parts.objects = objects_.get();
    parts.prober = prober_.get();
    parts.images = images_.get();
    parts.tasks = tasks_.get();
    parts.events = &events_;
    parts.node = options_.node;
    parts.now_ms = wall_ms;
    parts.wake = [this](const std::string& uid) { queue_.add(uid); };
    parts.status_changed = [this](const std::string& uid) { writer_->changed(uid); };
    parts.owns = [this](const std::string& id, const std::string& uid) {
        const std::lock_guard lock(mutex_);
        owners_[id] = uid;
    };
    parts.services = [this](const std::string& namespace_name) {
        std::vector<std::shared_ptr<const corev1::Service>> services;
        for (const auto& service : services_->by_index(kByNamespace, namespace_name)) {
            services.push_back(client::as<corev1::Service>(service));
        }
        if (namespace_name != "default") {
            if (const auto api = services_->get("default/kubernetes")) {
                services.push_back(client::as<corev1::Service>(api));
            }
        }
        return services;
    };
    parts.node_facts = [this] { return node_facts(); };
    parts.admit = [this](const corev1::Pod& pod) { return admit(pod); };
    parts.cgroup_path = [this](const corev1::Pod& pod) { return cgroups_.path_of(pod); };
    parts.make_cgroup = [this](const corev1::Pod& pod) { return cgroups_.create(pod); };
    parts.remove_cgroup = [this](const std::string& uid) { return cgroups_.remove(uid); };
    parts.was_oom = killed_for_memory;
    parts.finish = [this](PodEntry& entry, bool remove) { return writer_->finish(entry, remove); };
    machine_ = std::make_unique<Machine>(std::move(parts));

    const auto* service_kind = codec::find_kind({"", "v1", "Service"});
    const auto* pod_kind = codec::find_kind({"", "v1", "Pod"});
    SLUICE_ASSERT(service_kind != nullptr && pod_kind != nullptr);
    services_ = std::make_unique<client::Informer>(client_, *service_kind);
    services_->add_index(kByNamespace, [](const google::protobuf::Message& object) {
        return std::vector<std::string>{codec::object_meta(object).namespace_()};
    });
    client::Selection own;
    own.field_selector = "spec.nodeName=" + options_.node.node_name;
    pods_ = std::make_unique<client::Informer>(client_, *pod_kind, own);
}

PodFacts Manager::node_facts() const {
    PodFacts facts;
    facts.node_name = options_.node.node_name;
    facts.host_ips = options_.node.host_ips;
    facts.node_cpu_milli = node_keeper_->allocatable_cpu_milli();
    facts.node_memory_bytes = node_keeper_->allocatable_memory_bytes();
    return facts;
}

Result<void> Manager::start(NodeKeeper& node_keeper) {
    node_keeper_ = &node_keeper;
    services_->start();
    // One thread sees to the runtime's events; the first listing is what pods are adopted from.
    threads_.emplace_back([this](const std::stop_token& stop) {
        {
            std::unique_lock lock(mutex_);
            if (!listed_.wait(lock, stop, [this] { return snapshot_ != nullptr; })) return;
        }
        if (!services_->wait_synced(stop)) return;
        pods_->add_handler([this](const client::SharedObject& before,
                                  const client::SharedObject& after) { on_pod(before, after); });
        pods_->start();
        if (!pods_->wait_synced(stop)) return;
        remove_orphans();
        keep_house(stop);
    });
    for (int worker = 0; worker < options_.workers; ++worker) {
        threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
    SLUICE_TRY_ASSIGN(runtime_events_,
                      RuntimeEvents::start(
                          options_.runtime_endpoint, [this] { relist(stopping_.get_token()); },
                          [this](const RuntimeEvent& event) { on_runtime_event(event); }));
    return {};
}

void Manager::stop() {
    stopping_.request_stop();
    runtime_events_.reset();
    for (auto& thread : threads_) thread.request_stop();
    threads_.clear();
    if (pods_) pods_->stop();
    if (services_) services_->stop();
    // Whoever may call back goes first.
    prober_.reset();
    tasks_.reset();
    writer_.reset();
}

void Manager::on_pod(const client::SharedObject& before, const client::SharedObject& after) {
    const auto pod = client::as<corev1::Pod>(after ? after : before);
    const auto& uid = pod->metadata().uid();
    if (before && after) {
        const auto old = client::as<corev1::Pod>(before);
        // Deleted and made again under one name between two looks of the watch.
        if (old->metadata().uid() != uid) on_pod(before, nullptr);
    }
    EntryPointer entry;
    bool fresh = false;
    std::shared_ptr<const Snapshot> snapshot;
    {
        const std::lock_guard lock(mutex_);
        auto& slot = entries_[uid];
        if (!slot) {
            if (!after) {
                entries_.erase(uid);
                return;
            }
            slot = std::make_shared<PodEntry>();
            slot->uid = uid;
            slot->pod = pod;
            slot->start_ms = wall_ms();
            slot->containers = make_containers(*pod);
            snapshot = snapshot_;
            fresh = true;
        }
        entry = slot;
    }
    if (fresh) {
        adopt(*entry, *snapshot, cri_, *prober_, options_.node);
        writer_->changed_later(uid);
    } else {
        const std::lock_guard lock(entry->mutex);
        if (!after) {
            entry->gone = true;
        } else {
            // Labels and annotations may be files of the pod; the echo of a status changes none.
            entry->refresh_volumes = entry->refresh_volumes || names_changed(*entry->pod, *pod);
            entry->pod = pod;
        }
    }
    queue_.add(uid);
}

void Manager::on_runtime_event(const RuntimeEvent& event) {
    const auto entry = owner_of(event.container_id);
    if (!entry) return;
    switch (event.type) {
        case RuntimeEvent::Type::kStart: return;  // the answer to the start said so
        case RuntimeEvent::Type::kOom: machine_->container_oom(*entry, event.container_id); break;
        case RuntimeEvent::Type::kExit:
            machine_->container_exited(*entry, event.container_id,
                                       static_cast<std::int32_t>(event.exit_code),
                                       event.exited_at_ns);
            break;
    }
    queue_.add(entry->uid);
}

void Manager::on_probe_failure(const ProbeFailure& failure) {
    const auto entry = find(failure.pod_uid);
    if (!entry) return;
    PodPointer pod;
    std::string path;
    {
        const std::lock_guard lock(entry->mutex);
        pod = entry->pod;
        const auto* container = entry->find(failure.container_name);
        path = fmt::format("spec.{}{{{}}}",
                           container != nullptr && container->init ? "initContainers" : "containers",
                           failure.container_name);
    }
    events_.record(*pod, client::EventType::kWarning, "Unhealthy", failure.message, path);
}

void Manager::work(const std::stop_token& stop) {
    while (const auto uid = queue_.get(stop)) {
        const auto entry = find(*uid);
        if (entry) {
            const auto again = machine_->sync(*entry);
            if (again) queue_.add_after(*uid, std::chrono::milliseconds(*again));
            bool finished = false;
            {
                const std::lock_guard lock(entry->mutex);
                finished = entry->finished && entry->gone;
            }
            if (finished) {
                const std::lock_guard lock(mutex_);
                entries_.erase(*uid);
                std::erase_if(owners_, [&](const auto& owner) { return owner.second == *uid; });
            }
        }
        queue_.done(*uid);
    }
}

Manager::EntryPointer Manager::find(const std::string& uid) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(uid);
    return found == entries_.end() ? nullptr : found->second;
}

Manager::EntryPointer Manager::find_name(const std::string& namespace_name,
                                         const std::string& name) const {
    EntryPointer ending;
    for (const auto& entry : entries()) {
        const std::lock_guard lock(entry->mutex);
        const auto& metadata = entry->pod->metadata();
        if (metadata.namespace_() != namespace_name || metadata.name() != name) continue;
        if (!entry->gone) return entry;
        ending = entry;
    }
    return ending;
}

Manager::EntryPointer Manager::owner_of(const std::string& container_id) const {
    const std::lock_guard lock(mutex_);
    const auto owner = owners_.find(container_id);
    if (owner == owners_.end()) return nullptr;
    const auto found = entries_.find(owner->second);
    return found == entries_.end() ? nullptr : found->second;
}

std::vector<Manager::EntryPointer> Manager::entries() const {
    const std::lock_guard lock(mutex_);
    std::vector<EntryPointer> all;
    all.reserve(entries_.size());
    for (const auto& [uid, entry] : entries_) all.push_back(entry);
    return all;
}

std::optional<Parts::Refusal> Manager::admit(const corev1::Pod& pod) const {
    std::vector<PodPointer> others;
    for (const auto& entry : entries()) {
        const std::lock_guard lock(entry->mutex);
        if (!entry->admitted || entry->stopped || entry->uid == pod.metadata().uid()) continue;
        others.push_back(entry->pod);
    }
    NodeRoom room;
    room.cpu_milli = node_keeper_->allocatable_cpu_milli();
    room.memory_bytes = node_keeper_->allocatable_memory_bytes();
    room.pods = options_.max_pods;
    const auto node = node_keeper_->node();
    return admit_pod(pod, others, room, node.get());
}

RuntimeState Manager::runtime_state() { return runtime_health_.ask(); }

}  // namespace sluice::kubelet
