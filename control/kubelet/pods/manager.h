// All pods of the node: hears of changes at the API server, in the runtime, of probes and of time,
// and has each pod looked at by its state machine, many pods at a time and each by one worker.
//
//   pods, services (informers) --+
//   containerd's events ---------+--> WorkQueue of uids --> workers --> Machine::sync --> StatusWriter --> API server
//   probes, tasks, timers -------+
//
// No list is asked for in a rhythm but the resync, every few minutes, against what might have been missed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/client/informer.h"
#include "api/client/work_queue.h"
#include "control/kubelet/cri/cri.h"
#include "control/kubelet/cri/runtime_events.h"
#include "control/kubelet/node/node.h"
#include "control/kubelet/pods/cgroups.h"
#include "control/kubelet/pods/images.h"
#include "control/kubelet/pods/machine.h"
#include "control/kubelet/pods/runtime_health.h"
#include "control/kubelet/pods/recovery.h"
#include "control/kubelet/pods/sandbox_config.h"
#include "control/kubelet/pods/status_writer.h"
#include "control/kubelet/pods/tasks.h"
#include "control/kubelet/server/server.h"

namespace sluice::kubelet {

// Pods that are brought up at a time. A start is mostly the work of the runtime on this node's
// CPUs. On two of them, two at a time leave CPU idle; from four on nothing is gained, measured up
// to eight.
inline constexpr int kPodWorkers = 4;
inline constexpr std::chrono::milliseconds kResync{180'000};
inline constexpr std::chrono::milliseconds kImageGcEvery{300'000};
// How often emptyDirs are measured and the classes' shares of CPU set.
inline constexpr std::chrono::milliseconds kHouseEvery{10'000};

struct ManagerOptions {
    NodeSettings node;
    std::string runtime_endpoint;
    std::string cgroup_root;
    std::uint32_t max_pods = 110;
    int workers = kPodWorkers;
};

class Manager final : public ServerBackend {
public:
    // client, cri and events outlive it.
    static Result<std::unique_ptr<Manager>> create(ManagerOptions options, client::Client& client,
                                                   Cri& cri, client::EventRecorder& events);
    ~Manager() override;

    // Begins to work. node_keeper outlives the manager's work, which stop() ends.
    Result<void> start(NodeKeeper& node_keeper);
    void stop();
    // For the NodeKeeper; asks the runtime.
    [[nodiscard]] RuntimeState runtime_state();

    // ServerBackend, in backend.cc.
    Result<LogFile> log_file(const std::string& namespace_name, const std::string& pod_name,
                             const std::string& container, bool previous) override;
    bool is_running(const std::string& container_id) override;
    Result<std::string> exec_url(const std::string& namespace_name, const std::string& pod_name,
                                 const std::string& container, const ExecRequest& request) override;
    Result<std::string> port_forward_url(const std::string& namespace_name,
                                         const std::string& pod_name,
                                         const std::vector<std::int32_t>& ports) override;
    std::string pods_json() override;
    std::string metrics() override;

private:
    using EntryPointer = std::shared_ptr<PodEntry>;

    Manager(ManagerOptions options, client::Client& client, Cri& cri, client::EventRecorder& events,
            Cgroups cgroups);
    void make_parts();
    void on_pod(const client::SharedObject& before, const client::SharedObject& after);
    void on_runtime_event(const RuntimeEvent& event);
    void on_probe_failure(const ProbeFailure& failure);
    void work(const std::stop_token& stop);
    [[nodiscard]] EntryPointer find(const std::string& uid) const;
    [[nodiscard]] EntryPointer find_name(const std::string& namespace_name,
                                         const std::string& name) const;
    [[nodiscard]] EntryPointer owner_of(const std::string& container_id) const;
    [[nodiscard]] std::vector<EntryPointer> entries() const;
    [[nodiscard]] std::optional<Parts::Refusal> admit(const corev1::Pod& pod) const;
    [[nodiscard]] PodFacts node_facts() const;

    // housekeeping.cc
    void keep_house(const std::stop_token& stop);
    void evict_full();
    void share_cpu();
    void collect_images();

    // recovery.cc
    void relist(const std::stop_token& stop);
    void remove_orphans();
    void remove_orphan(const std::string& uid, const Snapshot& snapshot);

    const ManagerOptions options_;
    client::Client& client_;
    Cri& cri_;
    client::EventRecorder& events_;
    Cgroups cgroups_;
    RuntimeHealth runtime_health_;
    NodeKeeper* node_keeper_ = nullptr;

    mutable std::mutex mutex_;  // guards entries_, owners_, snapshot_, deferred_
    std::unordered_map<std::string, EntryPointer> entries_;  // by uid
    std::unordered_map<std::string, std::string> owners_;    // uid by id of container or sandbox
    std::shared_ptr<const Snapshot> snapshot_;  // of the first listing, for pods as they are seen
    std::condition_variable_any listed_;
    std::stop_source stopping_;
    std::int64_t burstable_milli_ = -1;  // as last written; of the thread that keeps house

    client::WorkQueue queue_;
    std::unique_ptr<ObjectSource> objects_;
    std::unique_ptr<Volumes> volumes_;
    std::unique_ptr<Images> images_;
    std::unique_ptr<Prober> prober_;
    std::unique_ptr<StatusWriter> writer_;
    std::unique_ptr<Machine> machine_;
    std::unique_ptr<client::Informer> pods_;
    std::unique_ptr<client::Informer> services_;
    std::unique_ptr<Tasks> tasks_;
    std::unique_ptr<RuntimeEvents> runtime_events_;
    std::vector<std::jthread> threads_;
};

}  // namespace sluice::kubelet
