// The scheduler without its surroundings: takes the objects as they come, gives back what is to be done. Neither
// I/O nor clock nor threads, so that any sequence of events can be tried in a test.
//
// One thread.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>

#include "control/scheduler/cluster.h"
#include "control/scheduler/queue.h"

namespace k8s::io::api::core::v1 {
class Namespace;
}

namespace sluice::scheduler {

// What was decided about a pod.
struct Outcome {
    PodPointer pod;
    std::string node;     // to be bound there; empty: it fits nowhere
    std::string message;  // why not
};

// A pod that cannot even be read: what to tell about it.
struct Unreadable {
    std::shared_ptr<const ::k8s::io::api::core::v1::Pod> pod;
    std::string message;
};

class Core {
public:
    explicit Core(std::uint64_t seed) : random_(seed) {}

    // The object as it is now. Something to tell if it waits to be placed and is not understood.
    std::optional<Unreadable> set_pod(
        const std::shared_ptr<const ::k8s::io::api::core::v1::Pod>& pod, Time now);
    void remove_pod(const std::string& key, Time now);
    // A node that cannot be read is treated as absent; the error says why.
    Result<void> set_node(const ::k8s::io::api::core::v1::Node& node);
    void remove_node(const std::string& name);
    void set_namespace(const ::k8s::io::api::core::v1::Namespace& object);
    void remove_namespace(const std::string& name);

    // Decides about the next pod. With a node, the pod counts as placed from here on; bind_failed() takes that back.
    std::optional<Outcome> schedule_next(Time now);
    // retry: the pod comes back after its back-off.
    void bind_failed(const PodPointer& pod, bool retry, Time now);

    [[nodiscard]] bool has_work(Time now);
    // When schedule_next() may have work without anything having changed.
    [[nodiscard]] std::optional<Time> next_time() const { return queue_.next_time(); }
    [[nodiscard]] const Cluster& cluster() const { return cluster_; }
    [[nodiscard]] std::size_t queued() const { return queue_.size(); }

private:
    void assigned(const PodPointer& pod);
    void unplace(const std::string& key);
    void flush(Time now);

    Cluster cluster_;
    PodQueue queue_;
    std::mt19937_64 random_;
    Changes changes_ = 0;  // not yet told to the queue: one telling does for many changes
};

}  // namespace sluice::scheduler
