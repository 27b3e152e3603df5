// The state machine of a pod: brings its sandbox and containers to what the pod asks for, one step
// after the other, and says when to look again. What waits long (stopping, pulling, hooks) runs as
// a task, which wakes the pod when it is over.
//
//   pod object --> [admission] --> volumes, image || sandbox --> init containers --> containers --> status
//                       |                                             ^ exit, probe, timer (wake)
//                       +--> Failed        deletion, deadline --> stop containers --> sandbox --> clean up --> DELETE
//
// Thread-safe for different pods; sync() of one pod is called by one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/client/event_recorder.h"
#include "control/kubelet/cri/cri.h"
#include "control/kubelet/pods/images.h"
#include "control/kubelet/pods/sandbox_config.h"
#include "control/kubelet/pods/tasks.h"
#include "control/kubelet/pods/types.h"
#include "control/kubelet/probes/probes.h"
#include "control/kubelet/volumes/volumes.h"

namespace sluice::kubelet {

// After a failed sandbox, volume or creation: doubled from the first to the second.
inline constexpr std::int64_t kMinRetryMs = 500;
inline constexpr std::int64_t kMaxRetryMs = 10'000;
// What the containers of an evicted pod have to end in.
inline constexpr std::int64_t kEvictionGraceSeconds = 1;
// A stop that failed is tried again after this.
inline constexpr std::int64_t kStopRetryMs = 1'000;

// What the machine works with. All outlive it.
struct Parts {
    Cri* cri = nullptr;
    Volumes* volumes = nullptr;
    ObjectSource* objects = nullptr;
    Prober* prober = nullptr;
    Images* images = nullptr;
    Tasks* tasks = nullptr;
    client::EventRecorder* events = nullptr;
    NodeSettings node;
    std::function<std::int64_t()> now_ms;  // wall clock
    // The pod is to be looked at again, now.
    std::function<void(const std::string& uid)> wake;
    // The pod's status is worth writing.
    std::function<void(const std::string& uid)> status_changed;
    // The container belongs to the pod: events of the runtime name the container only.
    std::function<void(const std::string& container_id, const std::string& uid)> owns;
    std::function<std::vector<std::shared_ptr<const corev1::Service>>(const std::string& ns)> services;
    std::function<PodFacts()> node_facts;
    // Whether the node can take the pod; the error's message is the reason, ": " and the message.
    struct Refusal {
        std::string reason, message;
    };
    std::function<std::optional<Refusal>(const corev1::Pod& pod)> admit;
    std::function<std::string(const corev1::Pod& pod)> cgroup_path;
    std::function<Result<void>(const corev1::Pod& pod)> make_cgroup;
    std::function<bool(const std::string& uid)> remove_cgroup;
    // Whether the kernel killed it for want of memory. Asked for containers that were killed by someone else than us.
    std::function<bool(const std::string& container_id)> was_oom;
    // Writes the pod's status now and, with remove, deletes the object with no grace. Blocks.
    std::function<Result<void>(PodEntry& entry, bool remove)> finish;
};

class Machine {
public:
    explicit Machine(Parts parts) : parts_(std::move(parts)) {}

    // Does what can be done now. In how many milliseconds to come again, if time alone may change something.
    std::optional<std::int64_t> sync(PodEntry& entry);

    // What others saw. Each may come at any time, on any thread; the caller wakes the pod.
    void container_exited(PodEntry& entry, const std::string& id, std::int32_t exit_code,
                          std::int64_t at_ns, const std::string& reason = {});
    void container_oom(PodEntry& entry, const std::string& id);
    void probe_outcome(PodEntry& entry, const ProbeOutcome& outcome);

    // The kubelet ends the pod for want of what the message says. Nothing for a pod that ends anyway.
    void evict(PodEntry& entry, const std::string& message);

    [[nodiscard]] const Parts& parts() const { return parts_; }

private:
    struct Step;  // one sync
    void event(const corev1::Pod& pod, bool warning, const std::string& reason,
               const std::string& message, const ContainerEntry* container = nullptr) const;

    // machine_start.cc
    bool start(PodEntry& entry, Step& step);
    bool make_sandbox(PodEntry& entry, Step& step);
    bool start_init(PodEntry& entry, Step& step);
    // False: it does not run yet.
    bool ensure_running(PodEntry& entry, const std::string& name, Step& step);
    bool wait_for_crash(PodEntry& entry, ContainerEntry& container, Step& step) const;
    Result<std::string> create_container(PodEntry& entry, const std::string& name,
                                         const ImageVerdict& verdict, std::uint32_t attempt,
                                         std::string* reason);
    void started(PodEntry& entry, const std::string& name, const std::string& id);
    void fail_container(PodEntry& entry, const std::string& name, const std::string& reason,
                        const std::string& message, std::int64_t retry_ms, Step& step) const;
    void run_post_start(PodEntry& entry, const std::string& name, const std::string& id);
    Result<void> write_hosts(const PodEntry& entry, const std::vector<std::string>& ips) const;
    void forget_unknown(PodEntry& entry);
    bool set_up_volumes(PodEntry& entry, Step& step);

    // machine_stop.cc
    void kill(PodEntry& entry, const std::string& name, std::int64_t grace_s,
              const std::string& message);
    void stop_task(PodEntry& entry, const std::string& name, const std::string& id,
                   std::int64_t grace_s);
    Result<void> run_hook(const corev1::Pod& pod, const corev1::Container& container,
                          const corev1::LifecycleHandler& handler, const std::string& id,
                          const std::string& pod_ip, std::uint32_t timeout_ms) const;
    [[nodiscard]] std::string ip_of(PodEntry& entry) const;
    void kill_requested(PodEntry& entry);
    // True when no container runs any more.
    bool stop_containers(PodEntry& entry, bool sidecars_only, Step& step);
    void stop_sandbox(PodEntry& entry);
    void end(PodEntry& entry, Step& step);
    void clean(PodEntry& entry, Step& step);
    void remove_old(PodEntry& entry);
    [[nodiscard]] std::int64_t grace_of(const PodEntry& entry) const;
    [[nodiscard]] std::string last_words(const PodEntry& entry, const ContainerEntry& container) const;

    Parts parts_;
};

struct Machine::Step {
    std::int64_t now_ms = 0;
    std::optional<std::int64_t> again_at_ms;
    PodPointer pod;

    void again_at(std::int64_t at_ms) {
        again_at_ms = again_at_ms ? std::min(*again_at_ms, at_ms) : at_ms;
    }
};

}  // namespace sluice::kubelet
