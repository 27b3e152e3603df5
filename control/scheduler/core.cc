// See core.h.
#include "control/scheduler/core.h"

#include <utility>

#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/scheduler/decide.h"

namespace sluice::scheduler {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

bool same_resources(const NodeResources& a, const NodeResources& b) {
    return a.pods == b.pods && a.allocatable == b.allocatable;
}

std::string key_of(const corev1::Pod& pod) {
    return pod.metadata().namespace_() + "/" + pod.metadata().name();
}

}  // namespace

void Core::unplace(const std::string& key) {
    if (cluster_.remove_pod(key) != nullptr) changes_ |= kPodRemoved;
}

void Core::assigned(const PodPointer& pod) {
    const Cluster::Placed* placed = cluster_.find_pod(pod->key);
    const bool is_confirmed = placed != nullptr && placed->pod->uid == pod->uid &&
                              placed->node->facts.name == pod->node_name;
    if (!is_confirmed) {
        changes_ |= kPodPlaced | (placed != nullptr ? kPodRemoved : 0U);
    } else {
        if (placed->pod->labels != pod->labels) changes_ |= kPodLabels;
        // Pods on their way out no longer count for spreading; with fewer requests there is more room.
        if (placed->pod->terminating != pod->terminating ||
            !(placed->pod->resources.requests == pod->resources.requests)) {
            changes_ |= kPodRemoved;
        }
    }
    cluster_.place(pod, pod->node_name, false);
    queue_.remove(pod->key);
}

std::optional<Unreadable> Core::set_pod(const std::shared_ptr<const corev1::Pod>& pod, Time now) {
    const std::string key = key_of(*pod);
    const bool is_assigned = !pod->spec().nodename().empty() && !is_finished(*pod);
    const Cluster::Placed* placed = cluster_.find_pod(key);
    if (placed != nullptr && placed->pod->uid == pod->metadata().uid()) {
        // Status changes are most of what is heard about placed pods.
        if (is_assigned && !placed->assumed && same_for_scheduling(*placed->pod->object, *pod)) {
            return std::nullopt;
        }
        // The binding is under way, or this is an echo from before it.
        if (placed->assumed && is_waiting(*pod)) return std::nullopt;
    }
    if (!is_assigned) unplace(key);
    if (!is_assigned && !is_waiting(*pod)) {
        queue_.remove(key);
        return std::nullopt;
    }
    auto facts = read_pod(pod);
    if (!facts) {
        unplace(key);
        queue_.remove(key);
        if (is_assigned) return std::nullopt;
        return Unreadable{pod, facts.error().message};
    }
    if (is_assigned) {
        assigned(*facts);
        return std::nullopt;
    }
    const PodPointer* queued = queue_.find(key);
    if (queued != nullptr && same_for_scheduling(*(*queued)->object, *pod)) {
        queue_.refresh(*facts);
    } else {
        queue_.put(*facts, now);
    }
    return std::nullopt;
}

void Core::remove_pod(const std::string& key, Time) {
    unplace(key);
    queue_.remove(key);
}

Result<void> Core::set_node(const corev1::Node& node) {
    auto facts = read_node(node);
    if (!facts) {
        remove_node(node.metadata().name());
        return std::move(facts).error();
    }
    if (const NodeState* known = cluster_.find_node(facts->name)) {
        const NodeFacts& before = known->facts;
        if (before.labels != facts->labels) changes_ |= kNodeLabels;
        if (before.taints != facts->taints || before.unschedulable != facts->unschedulable) {
            changes_ |= kNodeTaints;
        }
        if (!same_resources(before.resources, facts->resources)) changes_ |= kNodeResources;
    } else {
        changes_ |= kNodeAdded;
    }
    cluster_.set_node(std::move(*facts));
    return {};
}

void Core::remove_node(const std::string& name) {
    if (cluster_.find_node(name) == nullptr) return;
    cluster_.remove_node(name);
    changes_ |= kNodeRemoved;
}

void Core::set_namespace(const corev1::Namespace& object) {
    const auto& metadata = object.metadata();
    cluster_.set_namespace(metadata.name(),
                           Labels(metadata.labels().begin(), metadata.labels().end()));
    changes_ |= kNamespaceLabels;
}

void Core::remove_namespace(const std::string& name) { cluster_.remove_namespace(name); }

void Core::flush(Time now) {
    if (changes_ != 0) queue_.happened(std::exchange(changes_, 0U), now);
}

bool Core::has_work(Time now) {
    flush(now);
    return queue_.has_active(now);
}

std::optional<Outcome> Core::schedule_next(Time now) {
    flush(now);
    const auto pod = queue_.pop(now);
    if (!pod) return std::nullopt;
    Decision decision = decide(cluster_, **pod, random_);
    if (decision.node == nullptr) {
        queue_.unschedulable(*pod, decision.helpful, now);
        return Outcome{*pod, "", std::move(decision.message)};
    }
    const std::string node = decision.node->facts.name;
    cluster_.place(*pod, node, true);
    changes_ |= kPodPlaced;
    return Outcome{*pod, node, ""};
}

void Core::bind_failed(const PodPointer& pod, bool retry, Time now) {
    const Cluster::Placed* placed = cluster_.find_pod(pod->key);
    // Meanwhile confirmed after all, or another pod of that name.
    if (placed == nullptr || !placed->assumed || placed->pod->uid != pod->uid) return;
    unplace(pod->key);
    if (retry) queue_.retry(pod, now);
}

}  // namespace sluice::scheduler
