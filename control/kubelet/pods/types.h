// What the kubelet knows of one pod: the object, its sandbox, its containers with their last two
// lives, and what is under way for it.
//
// A PodEntry is worked on by one thread at a time (Machine::sync); its mutex guards the fields against the threads that
// tell of events and against those that read (status, server). It is never held across a call to the runtime.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::kubelet {

namespace corev1 = ::k8s::io::api::core::v1;
using PodPointer = std::shared_ptr<const corev1::Pod>;

// Kubelet's constants of restarts: 10 s, doubled to 300 s, forgotten after twice that without a failure.
inline constexpr std::int64_t kMinBackoffMs = 10'000;
inline constexpr std::int64_t kMaxBackoffMs = 300'000;
inline constexpr std::int64_t kBackoffForgottenMs = 600'000;
// A container that is stopped has at least this long, whatever its preStop hook took.
inline constexpr std::int64_t kMinGraceSeconds = 2;
inline constexpr std::int64_t kDefaultGraceSeconds = 30;
inline constexpr std::size_t kMaxTerminationMessageBytes = 4'096;
inline constexpr std::size_t kMaxTerminationLogBytes = 2'048;
inline constexpr std::size_t kMaxTerminationLogLines = 80;

// Kubernetes' delays between attempts of one thing.
class Backoff {
public:
    // Until when the thing must wait that failed at failed_ms; 0: it need not.
    [[nodiscard]] std::int64_t wait_until(std::int64_t now_ms, std::int64_t failed_ms) const {
        if (delay_ms_ == 0 || now_ms - updated_ms_ > kBackoffForgottenMs) return 0;
        return now_ms < failed_ms + delay_ms_ ? failed_ms + delay_ms_ : 0;
    }
    // One more attempt is made now.
    void next(std::int64_t now_ms, std::int64_t failed_ms) {
        if (delay_ms_ == 0 || failed_ms - updated_ms_ > kBackoffForgottenMs) {
            delay_ms_ = kMinBackoffMs;
        } else {
            delay_ms_ = std::min(delay_ms_ * 2, kMaxBackoffMs);
        }
        updated_ms_ = now_ms;
    }
    [[nodiscard]] std::int64_t delay_ms() const { return delay_ms_; }
    void reset() { delay_ms_ = 0; }

private:
    std::int64_t delay_ms_ = 0;
    std::int64_t updated_ms_ = 0;
};

// One life of a container: one container of the runtime.
struct Instance {
    enum class State { kCreated, kRunning, kExited };
    std::string id;
    std::string sandbox_id;
    std::uint32_t attempt = 0;
    State state = State::kCreated;
    std::int64_t created_ns = 0, started_ns = 0, finished_ns = 0;  // wall clock; 0: not
    std::int32_t exit_code = 0;
    std::string reason, message;
    std::string image;      // as the spec names it
    std::string image_ref;  // what the runtime made of it
    std::string hash;       // of the spec that it was made from
};

struct ContainerEntry {
    std::string name;
    bool init = false;
    bool sidecar = false;  // an init container that is restarted for ever
    std::optional<Instance> current;
    std::optional<Instance> last;  // the life before, ended
    std::string waiting_reason, waiting_message;  // while there is no life, or none to come yet
    bool ready = false;
    bool started = false;    // its startup probe succeeded, or it has none
    enum class Hook { kNone, kRunning, kDone, kFailed };
    Hook post_start = Hook::kNone;
    bool killing = false;    // a task is stopping it
    std::int64_t kill_deadline_ms = 0;
    std::string kill_reason;    // set: must be stopped and then follows its restart policy
    std::optional<std::int64_t> kill_grace_s;
    bool restart_whatever = false;  // stopped by us for a change: started again under every policy
    bool oom = false;
    Backoff crash;
    std::int64_t retry_at_ms = 0;  // creating failed

    [[nodiscard]] bool running() const {
        return current && current->state == Instance::State::kRunning;
    }
    [[nodiscard]] bool exited() const {
        return current && current->state == Instance::State::kExited;
    }
    [[nodiscard]] std::int32_t restart_count() const {
        return current ? static_cast<std::int32_t>(current->attempt)
               : last  ? static_cast<std::int32_t>(last->attempt)
                       : 0;
    }
};

struct Sandbox {
    std::string id;
    std::uint32_t attempt = 0;
    bool ready = false;
    std::vector<std::string> ips;
};

struct PodEntry : std::enable_shared_from_this<PodEntry> {
    std::mutex mutex;
    PodPointer pod;
    std::string uid;
    std::vector<ContainerEntry> containers;  // init containers first, in the order of the spec
    std::optional<Sandbox> sandbox;
    std::vector<std::string> old_sandboxes;  // to be stopped and removed
    std::vector<std::string> old_containers;  // dead lives nobody asks for any more

    bool gone = false;       // no longer at the API server
    bool admitted = false;
    bool recovered = false;  // had a sandbox when the kubelet started
    bool refresh_volumes = false;
    bool volumes_ready = false;
    bool initialized = false;  // all init containers have succeeded, of this sandbox
    std::int64_t start_ms = 0;  // when this kubelet saw the pod first; kept in status.startTime
    std::int64_t sandbox_retry_at_ms = 0;
    int sandbox_failures = 0;
    std::int64_t volumes_retry_at_ms = 0;
    int volumes_failures = 0;

    // Set: the pod ended by the kubelet's decision (its deadline, refused at the node).
    std::string failed_reason, failed_message;
    std::optional<std::int64_t> end_grace_s;  // that decision's own grace
    bool terminating = false;         // its containers are being stopped for good
    std::int64_t grace_deadline_ms = 0;
    bool stopped = false;   // no container and no sandbox runs any more
    bool stopping_sandbox = false;
    bool cleaned = false;   // volumes and folders are gone
    bool finished = false;  // removed from the API server, or need not be

    std::shared_ptr<const corev1::PodStatus> written;  // as last stored at the server
    std::string written_version;                       // of the object after that write

    [[nodiscard]] ContainerEntry* find(const std::string& name) {
        for (auto& container : containers) {
            if (container.name == name) return &container;
        }
        return nullptr;
    }
};

// The container's spec. REQUIRES: the entry was made from the pod.
[[nodiscard]] const corev1::Container* spec_of(const corev1::Pod& pod, const std::string& name);

// Makes the entries of the containers from the spec.
[[nodiscard]] std::vector<ContainerEntry> make_containers(const corev1::Pod& pod);

// "web-1_default(uid)".
[[nodiscard]] std::string pod_text(const corev1::Pod& pod);

}  // namespace sluice::kubelet
