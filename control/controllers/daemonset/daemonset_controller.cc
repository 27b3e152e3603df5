// One reconcile: find the record of the present template, clear up node by node, take one step of
// the rolling update, write the status.
#include <fmt/core.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <map>
#include <set>

#include "api/codec/selector.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "control/controllers/daemonset/daemonset.h"
#include "control/controllers/daemonset/failed_pods.h"
#include "control/controllers/daemonset/history.h"
#include "control/controllers/daemonset/rolling.h"
#include "control/controllers/pod_control.h"

namespace sluice::controllers {
namespace {

using google::protobuf::util::MessageDifferencer;
using DaemonSetPtr = std::shared_ptr<const DaemonSet>;

constexpr const char* kOwnerIndex = "daemonset-controller";
constexpr const char* kGenerationAnnotation = "deprecated.daemonset.template.generation";
constexpr const char* kStrategicMerge = "application/strategic-merge-patch+json";
// Creations and deletions of one step, each.
constexpr std::size_t kMaxSteps = 250;

const codec::KindInfo& sets_kind() { return *codec::find_kind({"apps", "v1", "DaemonSet"}); }
const codec::KindInfo& revisions_kind() {
    return *codec::find_kind({"apps", "v1", "ControllerRevision"});
}
std::string orphan_value(const std::string& name_space) { return "orphans/" + name_space; }

// What one reconcile works with.
struct Look {
    DaemonSetPtr set;
    std::string key;
    // Of the pods to be made, but for the node they are pinned to.
    ::k8s::io::api::core::v1::PodTemplateSpec pod_template;
    Revisions old;         // records of other templates
    Pods pods;             // all that are the set's
    std::vector<Place> places;
    Pods lost;             // pinned to nodes that are gone, and bound to none
    DaemonRules rules;
};

class DaemonSetController final : public Controller {
public:
    explicit DaemonSetController(Context& context);

    [[nodiscard]] const char* name() const override { return "daemonset-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    Reconciled reconcile(const std::string& key) override;

private:
    std::vector<std::string> owners_of(const google::protobuf::Message& orphan) const;
    void follow_nodes();
    void follow_revisions();

    Result<Revisions> claim_revisions(const DaemonSet& set, const codec::LabelSelector& selector);
    // The record of the present template, made if there is none; the others go to look->old.
    Reconciled find_revision(Look* look, const codec::LabelSelector& selector);
    Result<RevisionPtr> make_present(const DaemonSet& set, const std::string& patch,
                                     std::int64_t number);
    // Of several records of one template the newest stays; pods of the others are renamed to it.
    Result<RevisionPtr> only_one(const Look& look, const Revisions& same);
    Reconciled drop_revision(const ControllerRevision& revision);
    Reconciled clean_up(const Look& look);

    void place_pods(Look* look) const;
    // Steps that wait for a back-off are left out, and come up again after it.
    void tell_of_ended(const Look& look, DaemonSteps* steps);
    Reconciled take(const Look& look, const DaemonSteps& steps);
    Reconciled write_status(const Look& look, bool observed);

    Context& context_;
    client::Informer& sets_;
    client::Informer& nodes_;
    client::Informer& revisions_;
    PodControl pods_;
    Expectations expectations_;
    FailedPods failed_;
    client::WorkQueue queue_;
};

DaemonSetController::DaemonSetController(Context& context)
    : context_(context),
      sets_(context.informers.get(sets_kind())),
      nodes_(context.informers.get(*codec::find_kind({"", "v1", "Node"}))),
      revisions_(context.informers.get(revisions_kind())),
      pods_(context, sets_kind()) {
    revisions_.add_index(kOwnerIndex, [](const google::protobuf::Message& object) {
        const auto owner = controller_of(object);
        return std::vector<std::string>{
            owner ? owner->uid : orphan_value(codec::object_meta(object).namespace_())};
    });
    sets_.add_handler([this](const auto& before, const auto& after) {
        const auto key = client::object_key(after == nullptr ? *before : *after);
        if (after == nullptr) expectations_.forget(key);
        queue_.add(key);
    });
    follow_pods(pods_.pods(), queue_, expectations_, sets_kind(),
                [this](const Pod& orphan) { return owners_of(orphan); });
    follow_nodes();
    follow_revisions();
}

std::vector<std::string> DaemonSetController::owners_of(
    const google::protobuf::Message& orphan) const {
    std::vector<std::string> keys;
    for (const auto& object : sets_.list()) {
        const auto set = client::as<DaemonSet>(object);
        if (set->metadata().namespace_() != codec::object_meta(orphan).namespace_()) continue;
        const auto selector = codec::LabelSelector::from_proto(set->spec().selector());
        if (selector && !selector->selects_everything() && selects(*selector, orphan)) {
            keys.push_back(client::object_key(*set));
        }
    }
    return keys;
}

void DaemonSetController::follow_nodes() {
    nodes_.add_handler([this](const client::SharedObject& before,
                              const client::SharedObject& after) {
        if (before != nullptr && after != nullptr) {
            const auto was = client::as<Node>(before);
            const auto is = client::as<Node>(after);
            // The signs of life that kubelets write change neither.
            const auto& labels = is->metadata().labels();
            const bool same_labels =
                labels.size() == was->metadata().labels().size() &&
                std::ranges::all_of(was->metadata().labels(), [&](const auto& label) {
                    const auto found = labels.find(label.first);
                    return found != labels.end() && found->second == label.second;
                });
            const bool same_taints = std::ranges::equal(
                was->spec().taints(), is->spec().taints(), [](const auto& a, const auto& b) {
                    return MessageDifferencer::Equals(a, b);
                });
            if (same_labels && same_taints) return;
        }
        for (const auto& set : sets_.list()) queue_.add(client::object_key(*set));
    });
}

void DaemonSetController::follow_revisions() {
    revisions_.add_handler([this](const client::SharedObject& before,
                                  const client::SharedObject& after) {
        const auto& object = after == nullptr ? *before : *after;
        const auto owner = controller_of(object);
        if (!owner) {
            if (after == nullptr) return;
            for (const auto& key : owners_of(object)) queue_.add(key);
        } else if (owner->kind == sets_kind().gvk.kind) {
            queue_.add(codec::object_meta(object).namespace_() + "/" + owner->name);
        }
    });
}

Result<Revisions> DaemonSetController::claim_revisions(const DaemonSet& set,
                                                       const codec::LabelSelector& selector) {
    Revisions out;
    const auto& metadata = set.metadata();
    for (const auto& value : {metadata.uid(), orphan_value(metadata.namespace_())}) {
        for (const auto& object : revisions_.by_index(kOwnerIndex, value)) {
            const auto revision = client::as<ControllerRevision>(object);
            const auto& meta = revision->metadata();
            if (meta.has_deletiontimestamp()) continue;
            if (controller_of(*revision)) {
                out.push_back(revision);
                continue;
            }
            if (!selects(selector, *revision)) continue;
            const auto adopted = context_.client.patch(
                revisions_kind(), meta.namespace_(), meta.name(), kStrategicMerge,
                adoption_patch(set, sets_kind(), meta.uid()));
            if (adopted) {
                out.push_back(revision);
            } else if (adopted.error().http_status != 404 && adopted.error().http_status != 422) {
                return Error(adopted.error());
            }
        }
    }
    return out;
}

Result<RevisionPtr> DaemonSetController::make_present(const DaemonSet& set,
                                                      const std::string& patch,
                                                      std::int64_t number) {
    auto revision = std::make_shared<ControllerRevision>(make_revision(set, patch, number));
    set_controller_reference(set, sets_kind(), revision.get());
    const auto created = context_.client.create_object(revisions_kind(), *revision);
    if (created) return RevisionPtr(std::move(revision));
    if (created.error().reason != "AlreadyExists") return Error(created.error());
    const auto there = context_.client.get(revisions_kind(), revision->metadata().namespace_(),
                                           revision->metadata().name());
    if (!there) return Error(there.error());
    const auto& stored = static_cast<const ControllerRevision&>(**there);
    const auto owner = controller_of(stored);
    if (records(stored, patch) && owner && owner->uid == set.metadata().uid()) {
        return RevisionPtr(std::make_shared<ControllerRevision>(stored));
    }
    // Another template, or another owner's, has taken the name: the next look tries the next one.
    DaemonSet next = set;
    next.mutable_status()->set_collisioncount(set.status().collisioncount() + 1);
    const auto counted = context_.client.update(sets_kind(), next, "status");
    if (!counted) return Error(counted.error());
    return make_error(Code::kAborted, "ControllerRevision {} exists with other data",
                      client::object_key(*revision));
}

Result<RevisionPtr> DaemonSetController::only_one(const Look& look, const Revisions& same) {
    const RevisionPtr kept = *std::ranges::max_element(
        same, {}, [](const RevisionPtr& revision) { return revision->revision(); });
    for (const auto& revision : same) {
        if (revision == kept) continue;
        for (const auto& pod : look.pods) {
            const auto label = pod->metadata().labels().find(kRevisionHashLabel);
            if (label == pod->metadata().labels().end() || label->second != hash_of(*revision)) {
                continue;
            }
            const auto renamed = context_.client.patch(
                pods_.pods().kind(), pod->metadata().namespace_(), pod->metadata().name(),
                kStrategicMerge,
                fmt::format(R"({{"metadata":{{"labels":{{"{}":"{}"}}}}}})", kRevisionHashLabel,
                            hash_of(*kept)));
            if (!renamed && !renamed.error().not_found()) return Error(renamed.error());
        }
        SLUICE_TRY(drop_revision(*revision));
    }
    return kept;
}

Reconciled DaemonSetController::drop_revision(const ControllerRevision& revision) {
    client::DeleteRequest request;
    request.uid = revision.metadata().uid();
    const auto removed =
        context_.client.remove(revisions_kind(), revision.metadata().namespace_(),
                               revision.metadata().name(), request);
    if (!removed && !removed.error().not_found() && removed.error().http_status != 409) {
        return Error(removed.error());
    }
    return {};
}

Reconciled DaemonSetController::find_revision(Look* look, const codec::LabelSelector& selector) {
    SLUICE_TRY_ASSIGN(const Revisions all, claim_revisions(*look->set, selector));
    const std::string patch = template_patch(*look->set);
    Revisions same;
    for (const auto& revision : all) {
        (records(*revision, patch) ? same : look->old).push_back(revision);
    }
    const std::int64_t number = highest_revision(look->old) + 1;
    RevisionPtr present;
    if (same.empty()) {
        SLUICE_TRY_ASSIGN(present, make_present(*look->set, patch, number));
    } else {
        SLUICE_TRY_ASSIGN(present, only_one(*look, same));
        if (present->revision() < number) {
            // An undo makes an old template the newest.
            ControllerRevision next = *present;
            next.set_revision(number);
            const auto raised = context_.client.update(revisions_kind(), next);
            if (!raised) return Error(raised.error());
        }
    }
    look->rules.hash = hash_of(*present);
    return {};
}

void DaemonSetController::place_pods(Look* look) const {
    std::map<std::string, Place> places;
    for (const auto& object : nodes_.list()) {
        const auto node = client::as<Node>(object);
        const std::string& name = node->metadata().name();
        places[name] = {name, eligibility(look->pod_template.spec(), *node), {}};
    }
    for (const auto& pod : look->pods) {
        const std::string& phase = pod->status().phase();
        // Its node is free again, although the object lingers.
        if (is_deleting(*pod) && (phase == "Failed" || phase == "Succeeded")) continue;
        const auto place = places.find(target_node(*pod));
        if (place != places.end()) {
            place->second.pods.push_back(pod);
        } else if (pod->spec().nodename().empty() && !is_deleting(*pod)) {
            look->lost.push_back(pod);
        }
    }
    for (auto& [name, place] : places) look->places.push_back(std::move(place));
}

void DaemonSetController::tell_of_ended(const Look& look, DaemonSteps* steps) {
    for (const auto& pod : steps->failed) {
        const std::string node = target_node(*pod);
        const std::string key = fmt::format("{}/{}/{}", look.set->metadata().uid(),
                                            look.set->status().observedgeneration(), node);
        const std::int64_t wait = failed_.take(key, context_.now_ns());
        if (wait > 0) {
            queue_.add_after(look.key, std::chrono::milliseconds(wait / 1'000'000 + 1));
            continue;
        }
        context_.events.record(
            *look.set, client::EventType::kWarning, "FailedDaemonPod",
            fmt::format("Found failed daemon pod {} on node {}, will try to kill it",
                        client::object_key(*pod), node));
        steps->remove.push_back(pod);
    }
    for (const auto& pod : steps->succeeded) {
        context_.events.record(
            *look.set, client::EventType::kNormal, "SucceededDaemonPod",
            fmt::format("Found succeeded daemon pod {} on node {}, will try to delete it",
                        client::object_key(*pod), target_node(*pod)));
        steps->remove.push_back(pod);
    }
}

Reconciled DaemonSetController::take(const Look& look, const DaemonSteps& steps) {
    const std::size_t creations = std::min(steps.create_on.size(), kMaxSteps);
    const std::size_t deletions = std::min(steps.remove.size(), kMaxSteps);
    if (creations == 0 && deletions == 0) return {};
    std::vector<std::string> going;
    for (std::size_t i = 0; i < deletions; ++i) {
        going.push_back(client::object_key(*steps.remove[i]));
    }
    expectations_.expect(look.key, static_cast<int>(creations), going);
    std::optional<Error> failure;
    std::size_t made = 0;
    for (std::size_t batch = kSlowStartBatch; made < creations && !failure; batch *= 2) {
        const auto count = static_cast<int>(std::min(batch, creations - made));
        const auto done = pods_.create(*look.set, look.pod_template, count, [&](int i, Pod* pod) {
            pin_to_node(steps.create_on[made + static_cast<std::size_t>(i)], pod->mutable_spec());
        });
        made += static_cast<std::size_t>(done.count);
        failure = done.error;
    }
    // What was not made or deleted will not be observed.
    if (made < creations) {
        expectations_.creation_observed(look.key, static_cast<int>(creations - made));
    }
    for (std::size_t i = 0; i < deletions; ++i) {
        const auto done = pods_.remove(*look.set, {steps.remove[i]});
        if (done.unseen.empty()) continue;
        expectations_.deletion_observed(look.key, going[i]);
        if (!failure) failure = done.error;
    }
    if (failure) return *failure;
    return {};
}

Reconciled DaemonSetController::clean_up(const Look& look) {
    std::set<std::string> live;
    for (const auto& pod : look.pods) {
        const auto label = pod->metadata().labels().find(kRevisionHashLabel);
        if (label != pod->metadata().labels().end()) live.insert(label->second);
    }
    for (const auto& revision :
         superfluous(look.old, look.set->spec().revisionhistorylimit(), live)) {
        SLUICE_TRY(drop_revision(*revision));
    }
    return {};
}

Reconciled DaemonSetController::write_status(const Look& look, bool observed) {
    const auto counts = count_daemons(look.places, look.rules);
    DaemonSet next = *look.set;
    auto* status = next.mutable_status();
    status->set_desirednumberscheduled(counts.desired);
    status->set_currentnumberscheduled(counts.current);
    status->set_numbermisscheduled(counts.misscheduled);
    status->set_numberready(counts.ready);
    status->set_updatednumberscheduled(counts.updated);
    status->set_numberavailable(counts.available);
    status->set_numberunavailable(counts.desired - counts.available);
    // Zero is left out, as it is in what the server gives back: else this would write without end.
    if (counts.updated == 0) status->clear_updatednumberscheduled();
    if (counts.available == 0) status->clear_numberavailable();
    if (counts.desired == counts.available) status->clear_numberunavailable();
    if (observed) status->set_observedgeneration(look.set->metadata().generation());
    if (MessageDifferencer::Equivalent(next.status(), look.set->status())) return {};
    const auto written = context_.client.update(sets_kind(), next, "status");
    if (!written && !written.error().not_found()) return Error(written.error());
    return {};
}

Reconciled DaemonSetController::reconcile(const std::string& key) {
    Look look;
    look.key = key;
    look.set = client::as<DaemonSet>(sets_.get(key));
    if (look.set == nullptr) {
        expectations_.forget(key);
        return {};
    }
    const auto& spec = look.set->spec();
    SLUICE_TRY_ASSIGN(const auto selector, codec::LabelSelector::from_proto(spec.selector()));
    if (selector.selects_everything()) {
        context_.events.record(*look.set, client::EventType::kWarning, "SelectingAll",
                               "This daemon set is selecting all pods. A non-empty selector is "
                               "required.");
        return {};
    }
    // The garbage collector has the pods now.
    if (look.set->metadata().has_deletiontimestamp()) return {};
    const bool satisfied = expectations_.satisfied(key);
    SLUICE_TRY_ASSIGN(look.pods, pods_.claim(*look.set, selector, pods_.candidates(*look.set)));
    SLUICE_TRY(find_revision(&look, selector));

    look.pod_template = spec.template_();
    add_daemon_tolerations(look.pod_template.mutable_spec());
    auto& labels = *look.pod_template.mutable_metadata()->mutable_labels();
    labels[kRevisionHashLabel] = look.rules.hash;
    const auto generation = look.set->metadata().annotations().find(kGenerationAnnotation);
    if (generation != look.set->metadata().annotations().end()) {
        look.rules.template_generation = generation->second;
        labels[kTemplateGenerationLabel] = generation->second;
    }
    place_pods(&look);
    const bool rolling = spec.updatestrategy().type() == "RollingUpdate";
    look.rules.min_ready_seconds = spec.minreadyseconds();
    look.rules.now_ns = context_.now_ns();
    if (rolling) {
        const auto desired = static_cast<int>(std::ranges::count_if(
            look.places, [](const Place& place) { return place.eligible.should_run; }));
        const auto& update = spec.updatestrategy().rollingupdate();
        look.rules.max_unavailable = scaled_value(update.maxunavailable(), desired, true);
        look.rules.max_surge = scaled_value(update.maxsurge(), desired, true);
        // Neither would never end; a share of no nodes is none.
        if (look.rules.max_surge == 0) {
            look.rules.max_unavailable = std::max(1, look.rules.max_unavailable);
        }
    }
    std::optional<Error> failure;
    if (satisfied) {
        DaemonSteps steps = steps_per_node(look.places, look.rules);
        steps.remove.insert(steps.remove.end(), look.lost.begin(), look.lost.end());
        tell_of_ended(look, &steps);
        Reconciled done = take(look, steps);
        if (done && rolling && expectations_.satisfied(key)) {
            done = take(look, rolling_steps(look.places, look.rules));
        }
        if (done) done = clean_up(look);
        if (!done) failure = done.error();
    }
    SLUICE_TRY(write_status(look, satisfied));
    if (failure) return *failure;
    if (const auto wait =
            next_available_ns(look.pods, look.rules.min_ready_seconds, look.rules.now_ns)) {
        queue_.add_after(key, std::chrono::milliseconds(*wait / 1'000'000 + 1));
    }
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_daemon_set_controller(Context& context) {
    return std::make_unique<DaemonSetController>(context);
}

}  // namespace sluice::controllers
