// Watches over nodes. A node lives as long as its Lease or its status keeps changing; how long ago
// that was is measured by this process's own clock from when it saw the change, so that clocks that
// differ do no harm. (After a start, every node therefore has one grace period.)
#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "api/base/log.h"
#include "api/codec/json.h"
#include "api/kubernetes/coordination/v1/lease.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/node/health.h"
#include "control/controllers/node/node.h"

namespace sluice::controllers {
namespace {

namespace corev1 = nodes::corev1;
namespace coordinationv1 = ::k8s::io::api::coordination::v1;
using client::EventType;

constexpr std::string_view kComponent = "node-lifecycle";
constexpr char kLeaseNamespace[] = "kube-node-lease";
constexpr char kByNode[] = "lifecycle/node";
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMillisecond = 1'000'000;

// What is remembered of a node between two looks.
struct Seen {
    std::string uid;
    std::string lease_version;
    std::string status;  // the conditions' heartbeats
    std::int64_t last_sign_ns = 0;
    std::string ready;
};

class NodeLifecycleController final : public Controller {
public:
    NodeLifecycleController(Context& context, const NodeLifecycleOptions& options)
        : context_(context),
          options_(options),
          node_kind_(*codec::find_resource("", "v1", "nodes")),
          pod_kind_(*codec::find_resource("", "v1", "pods")),
          nodes_(context.informers.get(node_kind_)),
          pods_(context.informers.get(pod_kind_)),
          leases_(context.informers.get(*codec::find_resource("coordination.k8s.io", "v1", "leases"))) {
        pods_.add_index(kByNode, [](const google::protobuf::Message& object) {
            return std::vector<std::string>{
                static_cast<const corev1::Pod&>(object).spec().nodename()};
        });
        nodes_.add_handler([this](const auto& before, const auto& after) {
            queue_.add(client::object_key(after != nullptr ? *after : *before));
        });
        leases_.add_handler([this](const auto& before, const auto& after) {
            const auto& meta = codec::object_meta(after != nullptr ? *after : *before);
            if (meta.namespace_() == kLeaseNamespace) queue_.add(meta.name());
        });
        // A pod that is bound to a lost node, or that a slow kubelet still calls ready, is seen to
        // here.
        pods_.add_handler([this](const auto& before, const auto& after) {
            if (after == nullptr) return;
            const auto& pod = static_cast<const corev1::Pod&>(*after);
            if (pod.spec().nodename().empty()) return;
            const auto node = client::as<corev1::Node>(nodes_.get(pod.spec().nodename()));
            if (node != nullptr && !nodes::is_ready(*node)) queue_.add(pod.spec().nodename());
            (void)before;
        });
    }

    [[nodiscard]] const char* name() const override { return "node-lifecycle-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    // One: the state of zones is a matter of all nodes.
    [[nodiscard]] int workers() const override { return 1; }
    Reconciled reconcile(const std::string& key) override;

private:
    [[nodiscard]] std::int64_t now_s() const { return context_.now_ns() / kSecond; }
    void forget(const std::string& name);
    Seen& observe(const corev1::Node& node);
    // Writes what is lost to the node's status; the node as it is then.
    Result<std::shared_ptr<const corev1::Node>> judge(std::shared_ptr<const corev1::Node> node,
                                                      const Seen& seen);
    Result<void> set_taints(const corev1::Node& node);
    bool may_evict(const corev1::Node& node);
    Result<void> mark_pods_unready(const corev1::Node& node);

    Context& context_;
    const NodeLifecycleOptions options_;
    const codec::KindInfo& node_kind_;
    const codec::KindInfo& pod_kind_;
    client::Informer& nodes_;
    client::Informer& pods_;
    client::Informer& leases_;
    client::WorkQueue queue_;
    std::map<std::string, Seen> seen_;                      // by node
    std::map<std::string, std::int64_t> next_eviction_s_;   // by zone
};

void NodeLifecycleController::forget(const std::string& name) {
    const auto found = seen_.find(name);
    if (found == seen_.end()) return;
    corev1::Node gone;
    gone.mutable_metadata()->set_name(name);
    gone.mutable_metadata()->set_uid(found->second.uid);
    context_.events.record(gone, EventType::kNormal, "RemovingNode",
                           fmt::format("Node {} event: Removing Node {} from Controller", name, name));
    seen_.erase(found);
}

Seen& NodeLifecycleController::observe(const corev1::Node& node) {
    const std::string& name = node.metadata().name();
    auto [entry, fresh] = seen_.try_emplace(name);
    Seen& seen = entry->second;
    if (fresh || seen.uid != node.metadata().uid()) {
        seen = Seen{};
        seen.uid = node.metadata().uid();
        seen.ready = nodes::condition_status(node, "Ready");
        seen.last_sign_ns = context_.now_ns();
        context_.events.record(
            node, EventType::kNormal, "RegisteredNode",
            fmt::format("Node {} event: Registered Node {} in Controller", name, name));
    }
    const auto lease =
        client::as<coordinationv1::Lease>(leases_.get(std::string(kLeaseNamespace) + "/" + name));
    const std::string version =
        lease == nullptr ? std::string()
                         : fmt::format("{}.{}", lease->spec().renewtime().seconds(),
                                       lease->spec().renewtime().nanos());
    std::string status;
    for (const auto& condition : node.status().conditions()) {
        // What this controller writes itself is no sign of life.
        if (condition.status() == "Unknown") continue;
        status += fmt::format("{}={}@{};", condition.type(), condition.status(),
                              condition.lastheartbeattime().seconds());
    }
    if ((!version.empty() && version != seen.lease_version) ||
        (!status.empty() && status != seen.status)) {
        seen.last_sign_ns = context_.now_ns();
    }
    seen.lease_version = version;
    seen.status = status;
    return seen;
}

Result<std::shared_ptr<const corev1::Node>> NodeLifecycleController::judge(
    std::shared_ptr<const corev1::Node> node, const Seen& seen) {
    const std::string& name = node->metadata().name();
    const bool posted = !nodes::condition_status(*node, "Ready").empty();
    const std::int64_t grace =
        (posted ? options_.grace_period_ms : options_.startup_grace_period_ms) * kMillisecond;
    const std::int64_t left = seen.last_sign_ns + grace - context_.now_ns();
    if (left > 0) {
        const auto wait = std::chrono::milliseconds(left / kMillisecond + 1);
        queue_.add_after(name, std::min(wait, std::chrono::milliseconds(options_.monitor_period_ms)));
        return node;
    }
    queue_.add_after(name, std::chrono::milliseconds(options_.monitor_period_ms));
    corev1::Node next = *node;
    if (!nodes::mark_unknown(&next, now_s())) return node;
    log::warn(kComponent, "node={} has been silent for {} ms: it is Unknown now", name,
              (context_.now_ns() - seen.last_sign_ns) / kMillisecond);
    auto stored = context_.client.update(node_kind_, next, "status");
    if (!stored) {
        return stored.error().with_context(fmt::format("cannot mark node {} as lost", name));
    }
    return std::shared_ptr<const corev1::Node>(static_cast<corev1::Node*>(stored->release()));
}

bool NodeLifecycleController::may_evict(const corev1::Node& node) {
    const char* key = nodes::eviction_taint(node);
    if (key == nullptr) return false;
    struct Count {
        int ready = 0;
        int not_ready = 0;
    };
    std::map<std::string, Count> zones;
    for (const auto& object : nodes_.list()) {
        const auto& other = static_cast<const corev1::Node&>(*object);
        Count& count = zones[nodes::zone_of(other)];
        // The cache may be behind what was just written about this very node.
        const bool ready = other.metadata().name() != node.metadata().name() && nodes::is_ready(other);
        ++(ready ? count.ready : count.not_ready);
    }
    // When every node seems lost, it is more likely that this side of the network is.
    if (std::all_of(zones.begin(), zones.end(), [](const auto& item) {
            return nodes::zone_state(item.second.ready, item.second.not_ready) ==
                   nodes::ZoneState::kFullDisruption;
        })) {
        return false;
    }
    const auto& taints = node.spec().taints();
    if (std::any_of(taints.begin(), taints.end(), [&](const corev1::Taint& taint) {
            return taint.effect() == nodes::kNoExecute &&
                   (taint.key() == nodes::kNotReadyTaint || taint.key() == nodes::kUnreachableTaint);
        })) {
        return true;  // its turn has come already
    }
    const std::string zone = nodes::zone_of(node);
    const Count& count = zones[zone];
    const auto interval = nodes::eviction_interval_s(
        nodes::zone_state(count.ready, count.not_ready), count.ready + count.not_ready);
    if (!interval) return false;
    const std::int64_t now = now_s();
    std::int64_t& next = next_eviction_s_[zone];
    if (now < next) {
        queue_.add_after(node.metadata().name(), std::chrono::seconds(next - now));
        return false;
    }
    next = now + *interval;
    return true;
}

Result<void> NodeLifecycleController::set_taints(const corev1::Node& node) {
    auto taints = nodes::wanted_taints(node, may_evict(node), now_s());
    if (!taints) return {};
    corev1::Node next = node;
    next.mutable_spec()->clear_taints();
    for (auto& taint : *taints) *next.mutable_spec()->add_taints() = std::move(taint);
    const auto stored = context_.client.update(node_kind_, next);
    if (!stored) {
        return stored.error().with_context(
            fmt::format("cannot set the taints of node {}", node.metadata().name()));
    }
    return {};
}

Result<void> NodeLifecycleController::mark_pods_unready(const corev1::Node& node) {
    Result<void> done;
    for (const auto& object : pods_.by_index(kByNode, node.metadata().name())) {
        const auto& pod = static_cast<const corev1::Pod&>(*object);
        corev1::Pod next = pod;
        bool changed = false;
        for (auto& condition : *next.mutable_status()->mutable_conditions()) {
            if (condition.type() != "Ready" || condition.status() != "True") continue;
            condition.set_status("False");
            condition.mutable_lasttransitiontime()->set_seconds(now_s());
            changed = true;
        }
        if (!changed) continue;
        const auto stored = context_.client.update(pod_kind_, next, "status");
        if (stored) {
            context_.events.record(pod, EventType::kWarning, "NodeNotReady", "Node is not ready");
        } else if (!stored.error().not_found()) {
            // The others must not wait for the one that failed.
            done = stored.error().with_context(
                fmt::format("cannot mark pod {} as not ready", client::object_key(pod)));
        }
    }
    return done;
}

Reconciled NodeLifecycleController::reconcile(const std::string& key) {
    auto node = client::as<corev1::Node>(nodes_.get(key));
    if (node == nullptr) {
        forget(key);
        return {};
    }
    Seen& seen = observe(*node);
    SLUICE_TRY_ASSIGN(node, judge(std::move(node), seen));
    const std::string ready = nodes::condition_status(*node, "Ready");
    if (ready != seen.ready) {
        if (seen.ready == "True") {
            context_.events.record(*node, EventType::kNormal, "NodeNotReady",
                                   fmt::format("Node {} status is now: NodeNotReady", key));
        }
        seen.ready = ready;
        // One node more or less may end or begin a disruption, which concerns the others.
        for (const auto& other : nodes_.list()) queue_.add(client::object_key(*other));
    }
    Result<void> pods;
    // Before the taints: what a Service forgets at once costs nobody a failed connection.
    if (ready == "False" || ready == "Unknown") pods = mark_pods_unready(*node);
    SLUICE_TRY(set_taints(*node));
    return pods;
}

}  // namespace

std::unique_ptr<Controller> make_node_lifecycle_controller(Context& context,
                                                           const NodeLifecycleOptions& options) {
    return std::make_unique<NodeLifecycleController>(context, options);
}

}  // namespace sluice::controllers
