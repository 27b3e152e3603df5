// Level driven: the pods there are, the pods there should be, and one step from the one to the
// other.
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "api/codec/time.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/core/v1/replicationcontroller.pb.h"
#include "control/controllers/pod_control.h"
#include "control/controllers/replicaset/replicaset.h"
#include "control/controllers/replicaset/status.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace appsv1 = ::k8s::io::api::apps::v1;
namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;
using google::protobuf::util::MessageDifferencer;

constexpr const char* kReplicaFailure = "ReplicaFailure";

// What differs between the two kinds.
struct ReplicaSetKind {
    using Object = appsv1::ReplicaSet;
    using Condition = appsv1::ReplicaSetCondition;
    static constexpr const char* kName = "replicaset-controller";
    static const codec::KindInfo& info() {
        return *codec::find_kind({"apps", "v1", "ReplicaSet"});
    }
    static Result<codec::LabelSelector> selector(const Object& object) {
        return codec::LabelSelector::from_proto(object.spec().selector());
    }
    static void set_terminating(Object* object, int count) {
        object->mutable_status()->set_terminatingreplicas(count);
    }
};
struct ReplicationControllerKind {
    using Object = corev1::ReplicationController;
    using Condition = corev1::ReplicationControllerCondition;
    static constexpr const char* kName = "replication-controller";
    static const codec::KindInfo& info() {
        return *codec::find_kind({"", "v1", "ReplicationController"});
    }
    static Result<codec::LabelSelector> selector(const Object& object) {
        metav1::LabelSelector selector;
        *selector.mutable_matchlabels() = object.spec().selector();
        return codec::LabelSelector::from_proto(selector);
    }
    static void set_terminating(Object*, int) {}
};

template <class Kind>
class ReplicaController final : public Controller {
public:
    explicit ReplicaController(Context& context)
        : context_(context),
          objects_(context.informers.get(Kind::info())),
          pods_(context, Kind::info()) {
        objects_.add_handler([this](const auto& before, const auto& after) {
            const auto key = client::object_key(after == nullptr ? *before : *after);
            // Another object of the same name starts afresh.
            if (after == nullptr || (before != nullptr && codec::object_meta(*before).uid() !=
                                                              codec::object_meta(*after).uid())) {
                expectations_.forget(key);
            }
            queue_.add(key);
        });
        follow_pods(pods_.pods(), queue_, expectations_, Kind::info(), [this](const Pod& orphan) {
            return owners_of(orphan);
        });
    }

    [[nodiscard]] const char* name() const override { return Kind::kName; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    [[nodiscard]] int workers() const override { return 4; }
    Reconciled reconcile(const std::string& key) override;

private:
    using Object = typename Kind::Object;

    // Those whose selectors match a pod that nobody owns.
    std::vector<std::string> owners_of(const Pod& orphan) const {
        std::vector<std::string> keys;
        for (const auto& object : objects_.list()) {
            const auto set = client::as<Object>(object);
            if (set->metadata().namespace_() != orphan.metadata().namespace_()) continue;
            const auto selector = Kind::selector(*set);
            if (selector && !selector->selects_everything() && selects(*selector, orphan)) {
                keys.push_back(client::object_key(*set));
            }
        }
        return keys;
    }
    // How many pods stand on each node that belong to sets of the same owner: a set loses first
    // what stands doubled.
    std::map<std::string, int> pods_by_node(const Object& object, const Pods& active) const;
    std::optional<Error> scale(const std::string& key, const Object& object, const Pods& active);
    Reconciled write_status(const Object& object, const ReplicaCounts& counts,
                            const std::optional<Error>& failure, int missing);

    Context& context_;
    client::Informer& objects_;
    PodControl pods_;
    Expectations expectations_;
    client::WorkQueue queue_;
};

template <class Kind>
std::map<std::string, int> ReplicaController<Kind>::pods_by_node(const Object& object,
                                                                 const Pods& active) const {
    std::map<std::string, int> counts;
    const auto add = [&](const Pods& pods) {
        for (const auto& pod : pods) {
            if (is_active(*pod) && !pod->spec().nodename().empty()) {
                ++counts[pod->spec().nodename()];
            }
        }
    };
    const auto owner = controller_of(object);
    if (!owner) {
        add(active);
        return counts;
    }
    for (const auto& other : objects_.list()) {
        const auto set = client::as<Object>(other);
        const auto other_owner = controller_of(*set);
        if (!other_owner || other_owner->uid != owner->uid) continue;
        Pods pods = pods_.candidates(*set);
        std::erase_if(pods, [](const PodPtr& pod) { return !controller_of(*pod); });
        add(pods);
    }
    return counts;
}

template <class Kind>
std::optional<Error> ReplicaController<Kind>::scale(const std::string& key, const Object& object,
                                                    const Pods& active) {
    const int difference = object.spec().replicas() - static_cast<int>(active.size());
    if (difference == 0) return std::nullopt;
    PodControl::Done done;
    if (difference > 0) {
        const int wanted = std::min(difference, kMaxBurst);
        expectations_.expect(key, wanted, {});
        int made = 0;
        for (int batch = kSlowStartBatch; made < wanted && !done.error; batch *= 2) {
            done = pods_.create(object, object.spec().template_(), std::min(batch, wanted - made));
            made += done.count;
        }
        // What was not made will not be observed.
        if (made < wanted) expectations_.creation_observed(key, wanted - made);
        // A burst leaves more to do, which the pods that were made bring up again.
        return done.error;
    }
    Pods victims = active;
    sort_for_deletion(&victims, pods_by_node(object, active), context_.now_ns());
    victims.resize(static_cast<std::size_t>(std::min(-difference, kMaxBurst)));
    std::vector<std::string> keys;
    for (const auto& pod : victims) keys.push_back(client::object_key(*pod));
    expectations_.expect(key, 0, keys);
    done = pods_.remove(object, victims);
    for (const auto& unseen : done.unseen) expectations_.deletion_observed(key, unseen);
    return done.error;
}

template <class Kind>
Reconciled ReplicaController<Kind>::write_status(const Object& object, const ReplicaCounts& counts,
                                                 const std::optional<Error>& failure,
                                                 int missing) {
    Object next = object;
    auto* status = next.mutable_status();
    const auto set = [](int value, auto&& setter, auto&& clear) {
        if (value == 0) {
            clear();
        } else {
            setter(value);
        }
    };
    status->set_replicas(counts.replicas);
    set(counts.fully_labeled, [&](int n) { status->set_fullylabeledreplicas(n); },
        [&] { status->clear_fullylabeledreplicas(); });
    set(counts.ready, [&](int n) { status->set_readyreplicas(n); },
        [&] { status->clear_readyreplicas(); });
    set(counts.available, [&](int n) { status->set_availablereplicas(n); },
        [&] { status->clear_availablereplicas(); });
    Kind::set_terminating(&next, counts.terminating);
    status->set_observedgeneration(object.metadata().generation());
    auto* conditions = status->mutable_conditions();
    const auto found = std::ranges::find_if(
        *conditions, [](const auto& condition) { return condition.type() == kReplicaFailure; });
    if (failure) {
        const std::string reason = missing > 0 ? "FailedCreate" : "FailedDelete";
        // A condition stays as it was first told. The message names a pod that never was, another
        // one each time: writing it would bring this set up again at once, without end.
        if (found == conditions->end() || found->reason() != reason) {
            auto* condition = found == conditions->end() ? status->add_conditions() : &*found;
            condition->mutable_lasttransitiontime()->set_seconds(context_.now_ns() / kSecondNs);
            condition->set_type(kReplicaFailure);
            condition->set_status("True");
            condition->set_reason(reason);
            condition->set_message(failure->message);
        }
    } else if (found != conditions->end()) {
        conditions->erase(found);
    }
    if (MessageDifferencer::Equals(next.status(), object.status())) return {};
    const auto written = context_.client.update(Kind::info(), next, "status");
    if (!written && !written.error().not_found()) return Error(written.error());
    return {};
}

template <class Kind>
Reconciled ReplicaController<Kind>::reconcile(const std::string& key) {
    const auto object = client::as<Object>(objects_.get(key));
    if (object == nullptr) {
        expectations_.forget(key);
        return {};
    }
    SLUICE_TRY_ASSIGN(const auto selector, Kind::selector(*object));
    const bool satisfied = expectations_.satisfied(key);
    Pods candidates = pods_.candidates(*object);
    int terminating = 0;
    std::erase_if(candidates, [&](const PodPtr& pod) {
        if (is_active(*pod)) return false;
        if (is_terminating(*pod) && controller_of(*pod)) ++terminating;
        return true;
    });
    SLUICE_TRY_ASSIGN(const Pods active, pods_.claim(*object, selector, candidates));
    std::optional<Error> failure;
    const int missing = object->spec().replicas() - static_cast<int>(active.size());
    if (satisfied && !object->metadata().has_deletiontimestamp()) {
        failure = scale(key, *object, active);
    }
    // Nothing else would bring up a set whose pods are never heard of.
    if (!satisfied) queue_.add_after(key, kExpectationTimeout);
    const auto& labels = object->spec().template_().metadata().labels();
    const std::int64_t now = context_.now_ns();
    const int min_ready = object->spec().minreadyseconds();
    const auto counts = count_replicas(active, terminating, {labels.begin(), labels.end()},
                                       min_ready, now);
    SLUICE_TRY(write_status(*object, counts, failure, missing));
    if (failure) return *failure;
    if (const auto wait = next_available_ns(active, min_ready, now)) {
        queue_.add_after(key, std::chrono::milliseconds(*wait / 1'000'000 + 1));
    }
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_replica_set_controller(Context& context) {
    return std::make_unique<ReplicaController<ReplicaSetKind>>(context);
}

std::unique_ptr<Controller> make_replication_controller(Context& context) {
    return std::make_unique<ReplicaController<ReplicationControllerKind>>(context);
}

}  // namespace sluice::controllers
