// One reconcile: find the Deployment's ReplicaSets, take one step towards the present template,
// write the status.
#include <fmt/core.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "api/codec/selector.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "control/controllers/deployment/deployment.h"
#include "control/controllers/deployment/history.h"
#include "control/controllers/deployment/status.h"
#include "control/controllers/pod_control.h"

namespace sluice::controllers {
namespace {

using google::protobuf::util::MessageDifferencer;
using DeploymentPtr = std::shared_ptr<const Deployment>;

constexpr const char* kProgressing = "Progressing";
constexpr const char* kOwnerIndex = "replicaset-controller";
constexpr const char* kStrategicMerge = "application/strategic-merge-patch+json";

const codec::KindInfo& deployments_kind() {
    return *codec::find_kind({"apps", "v1", "Deployment"});
}
const codec::KindInfo& sets_kind() { return *codec::find_kind({"apps", "v1", "ReplicaSet"}); }

// What one reconcile works with. The caches may be behind; a write that conflicts ends the look,
// and the next one starts from what has arrived by then.
struct Look {
    Deployment deployment;
    ReplicaSets sets;     // all
    ReplicaSetPtr fresh;  // of the present template, if there is one
    ReplicaSets old;      // all but fresh
    std::int64_t now_s = 0;

    void place(const ReplicaSetPtr& set) {
        for (auto* list : {&sets, &old}) {
            for (auto& entry : *list) {
                if (entry->metadata().uid() == set->metadata().uid()) entry = set;
            }
        }
        if (fresh != nullptr && fresh->metadata().uid() == set->metadata().uid()) fresh = set;
    }
};

class DeploymentController final : public Controller {
public:
    explicit DeploymentController(Context& context);

    [[nodiscard]] const char* name() const override { return "deployment-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    [[nodiscard]] int workers() const override { return 4; }
    Reconciled reconcile(const std::string& key) override;

private:
    void set_changed(const ReplicaSet& set);
    Result<ReplicaSets> claim(const Deployment& deployment);
    Reconciled step(Look* look);
    Reconciled roll(Look* look);
    Reconciled recreate(Look* look);
    Reconciled change_size(Look* look);
    Reconciled note_pause(Look* look);
    Reconciled find_or_make_new(Look* look, bool make);
    Reconciled make_new(Look* look, std::int64_t revision);
    // The set with another size; an event tells of it. True if it was written.
    Result<bool> resize(Look* look, const ReplicaSetPtr& set, int size);
    Reconciled clean_up(const Look& look);
    Reconciled write_status(const Look& look);
    [[nodiscard]] bool has_old_pods(const Look& look) const;

    Context& context_;
    client::Informer& deployments_;
    client::Informer& sets_;
    PodControl pods_;
    client::WorkQueue queue_;
};

DeploymentController::DeploymentController(Context& context)
    : context_(context),
      deployments_(context.informers.get(deployments_kind())),
      sets_(context.informers.get(sets_kind())),
      pods_(context, sets_kind()) {
    sets_.add_index(kOwnerIndex, [](const google::protobuf::Message& object) {
        const auto owner = controller_of(object);
        return std::vector<std::string>{
            owner ? owner->uid : "orphans/" + codec::object_meta(object).namespace_()};
    });
    deployments_.add_handler([this](const auto& before, const auto& after) {
        queue_.add(client::object_key(after == nullptr ? *before : *after));
    });
    sets_.add_handler([this](const auto& before, const auto& after) {
        if (before != nullptr) set_changed(static_cast<const ReplicaSet&>(*before));
        if (after != nullptr) set_changed(static_cast<const ReplicaSet&>(*after));
    });
    // A Recreate waits for the last old pod.
    pods_.pods().add_handler([this](const auto& before, const auto& after) {
        if (after != nullptr || before == nullptr) return;
        const auto owner = controller_of(*before);
        if (!owner || owner->kind != "ReplicaSet") return;
        const auto set = client::as<ReplicaSet>(
            sets_.get(codec::object_meta(*before).namespace_() + "/" + owner->name));
        if (set != nullptr) set_changed(*set);
    });
}

void DeploymentController::set_changed(const ReplicaSet& set) {
    const auto owner = controller_of(set);
    if (owner) {
        if (owner->kind == "Deployment") {
            queue_.add(set.metadata().namespace_() + "/" + owner->name);
        }
        return;
    }
    for (const auto& object : deployments_.list()) {
        const auto deployment = client::as<Deployment>(object);
        if (deployment->metadata().namespace_() != set.metadata().namespace_()) continue;
        const auto selector = codec::LabelSelector::from_proto(deployment->spec().selector());
        if (selector && !selector->selects_everything() && selects(*selector, set)) {
            queue_.add(client::object_key(*deployment));
        }
    }
}

Result<ReplicaSets> DeploymentController::claim(const Deployment& deployment) {
    const auto& metadata = deployment.metadata();
    SLUICE_TRY_ASSIGN(const auto selector,
                      codec::LabelSelector::from_proto(deployment.spec().selector()));
    ReplicaSets out;
    bool asked = false;
    for (const auto& value : {metadata.uid(), "orphans/" + metadata.namespace_()}) {
        for (const auto& object : sets_.by_index(kOwnerIndex, value)) {
            const auto set = client::as<ReplicaSet>(object);
            const bool owned = controller_of(*set).has_value();
            const bool matches = selects(selector, *set);
            if (owned && matches) {
                out.push_back(set);
                continue;
            }
            if (owned == matches || metadata.has_deletiontimestamp() ||
                set->metadata().has_deletiontimestamp()) {
                continue;
            }
            if (!owned && !asked) {
                SLUICE_TRY(may_adopt(context_.client, deployments_kind(), deployment));
                asked = true;
            }
            const std::string patch =
                owned ? release_patch(metadata.uid(), set->metadata().uid())
                      : adoption_patch(deployment, deployments_kind(), set->metadata().uid());
            const auto patched =
                context_.client.patch(sets_kind(), metadata.namespace_(), set->metadata().name(),
                                      kStrategicMerge, patch);
            if (!patched) {
                // Gone, or another set of that name: neither is ours.
                const int status = patched.error().http_status;
                if (status == 404 || status == 422) continue;
                return Error(patched.error());
            }
            if (!owned) {
                out.push_back(
                    std::make_shared<ReplicaSet>(static_cast<const ReplicaSet&>(**patched)));
            }
        }
    }
    return out;
}

Reconciled DeploymentController::reconcile(const std::string& key) {
    const auto cached = client::as<Deployment>(deployments_.get(key));
    if (cached == nullptr) return {};
    Look look;
    look.deployment = *cached;
    look.now_s = context_.now_ns() / kSecondNs;
    SLUICE_TRY_ASSIGN(look.sets, claim(*cached));
    look.fresh = find_new_set(look.deployment, look.sets);
    for (const auto& set : look.sets) {
        if (set != look.fresh) look.old.push_back(set);
    }
    if (!cached->metadata().has_deletiontimestamp()) {
        SLUICE_TRY(note_pause(&look));
        SLUICE_TRY(step(&look));
    }
    return write_status(look);
}

Reconciled DeploymentController::step(Look* look) {
    const int wanted = look->deployment.spec().replicas();
    const bool recreates = look->deployment.spec().strategy().type() == "Recreate";
    const auto active = std::ranges::count_if(
        look->sets, [](const ReplicaSetPtr& set) { return set->spec().replicas() > 0; });
    // Recreate has no proportions to keep between several sets: all but one of them go anyway.
    const bool resized = (!recreates || active == 1) &&
                         std::ranges::any_of(look->sets, [&](const ReplicaSetPtr& set) {
                             return set->spec().replicas() > 0 &&
                                    remembers_other_size(*set, wanted);
                         });
    if (look->deployment.spec().paused() || resized) {
        SLUICE_TRY(find_or_make_new(look, false));
        SLUICE_TRY(change_size(look));
        return look->deployment.spec().paused() ? clean_up(*look) : Reconciled{};
    }
    return recreates ? recreate(look) : roll(look);
}

Reconciled DeploymentController::note_pause(Look* look) {
    if (!look->deployment.spec().has_progressdeadlineseconds()) return {};
    const auto* condition = find_condition(look->deployment.status(), kProgressing);
    if (condition != nullptr && condition->reason() == "ProgressDeadlineExceeded") return {};
    const bool noted = condition != nullptr && condition->reason() == "DeploymentPaused";
    const bool paused = look->deployment.spec().paused();
    if (paused == noted) return {};
    auto* status = look->deployment.mutable_status();
    if (paused) {
        set_condition(status, kProgressing, "Unknown", "DeploymentPaused", "Deployment is paused",
                      look->now_s);
    } else {
        set_condition(status, kProgressing, "Unknown", "DeploymentResumed", "Deployment is resumed",
                      look->now_s);
    }
    return {};
}

Reconciled DeploymentController::find_or_make_new(Look* look, bool make) {
    const std::int64_t revision = highest_revision(look->old) + 1;
    if (look->fresh == nullptr) return make ? make_new(look, revision) : Reconciled{};
    ReplicaSet next = *look->fresh;
    bool changed = annotate(look->deployment, revision, true, &next);
    if (next.spec().minreadyseconds() != look->deployment.spec().minreadyseconds()) {
        next.mutable_spec()->set_minreadyseconds(look->deployment.spec().minreadyseconds());
        changed = true;
    }
    if (changed) {
        const auto written = context_.client.update(sets_kind(), next);
        if (!written) return Error(written.error());
        look->place(std::make_shared<ReplicaSet>(static_cast<const ReplicaSet&>(**written)));
    }
    auto& annotations = *look->deployment.mutable_metadata()->mutable_annotations();
    annotations[kRevisionAnnotation] = std::to_string(revision_of(*look->fresh));
    if (look->deployment.spec().has_progressdeadlineseconds() &&
        find_condition(look->deployment.status(), kProgressing) == nullptr) {
        set_condition(look->deployment.mutable_status(), kProgressing, "True",
                      "FoundNewReplicaSet",
                      fmt::format("Found new replica set \"{}\"", look->fresh->metadata().name()),
                      look->now_s);
    }
    return {};
}

Reconciled DeploymentController::make_new(Look* look, std::int64_t revision) {
    const Deployment& deployment = look->deployment;
    const std::optional<int> collisions =
        deployment.status().has_collisioncount()
            ? std::optional<int>(deployment.status().collisioncount())
            : std::nullopt;
    const std::string hash = template_hash(deployment.spec().template_(), collisions);
    ReplicaSet set;
    auto* metadata = set.mutable_metadata();
    metadata->set_name(deployment.metadata().name() + "-" + hash);
    metadata->set_namespace_(deployment.metadata().namespace_());
    set_controller_reference(deployment, deployments_kind(), &set);
    auto* spec = set.mutable_spec();
    *spec->mutable_template_() = deployment.spec().template_();
    (*spec->mutable_template_()->mutable_metadata()->mutable_labels())[kTemplateHashLabel] = hash;
    *metadata->mutable_labels() = spec->template_().metadata().labels();
    *spec->mutable_selector() = deployment.spec().selector();
    (*spec->mutable_selector()->mutable_matchlabels())[kTemplateHashLabel] = hash;
    if (deployment.spec().minreadyseconds() > 0) {
        spec->set_minreadyseconds(deployment.spec().minreadyseconds());
    }
    const int wanted = deployment.spec().replicas();
    const Bounds bounds = bounds_of(deployment);
    std::vector<SetSize> old;
    for (const auto& other : look->old) old.push_back(size_of(*other));
    const int size = deployment.spec().strategy().type() == "Recreate"
                         ? wanted
                         : next_new_size(wanted, bounds, SetSize{}, old);
    spec->set_replicas(size);
    annotate(deployment, revision, false, &set);
    annotate_size(wanted, bounds, &set);
    const auto created = context_.client.create_object(sets_kind(), set);
    if (!created && created.error().reason == "AlreadyExists") {
        // Our own set that the cache does not show yet, or another template with the same hash.
        const auto existing = context_.client.get(sets_kind(), metadata->namespace_(),
                                                  metadata->name());
        if (!existing) return Error(existing.error());
        const auto& other = static_cast<const ReplicaSet&>(**existing);
        const auto owner = controller_of(other);
        if (owner && owner->uid == deployment.metadata().uid() &&
            same_template(other.spec().template_(), deployment.spec().template_())) {
            look->fresh = std::make_shared<ReplicaSet>(other);
            look->sets.push_back(look->fresh);
            return find_or_make_new(look, false);
        }
        look->deployment.mutable_status()->set_collisioncount(collisions.value_or(0) + 1);
        SLUICE_TRY(write_status(*look));
        return make_error(Code::kAborted, "the name {} is another ReplicaSet's", metadata->name());
    }
    if (!created) {
        const std::string why = fmt::format("Failed to create new replica set \"{}\": {}",
                                            metadata->name(), words_of(created.error()));
        context_.events.record(deployment, client::EventType::kWarning, "ReplicaSetCreateError",
                               why);
        if (has_deadline(deployment)) {
            set_condition(look->deployment.mutable_status(), kProgressing, "False",
                          "ReplicaSetCreateError", why, look->now_s);
            SLUICE_TRY(write_status(*look));
        }
        return Error(created.error());
    }
    look->fresh = std::make_shared<ReplicaSet>(static_cast<const ReplicaSet&>(**created));
    look->sets.push_back(look->fresh);
    if (size > 0) {
        context_.events.record(deployment, client::EventType::kNormal, "ScalingReplicaSet",
                               fmt::format("Scaled up replica set {} from 0 to {}",
                                           look->fresh->metadata().name(), size));
    }
    (*look->deployment.mutable_metadata()->mutable_annotations())[kRevisionAnnotation] =
        std::to_string(revision);
    if (deployment.spec().has_progressdeadlineseconds()) {
        set_condition(look->deployment.mutable_status(), kProgressing, "True",
                      "NewReplicaSetCreated",
                      fmt::format("Created new replica set \"{}\"",
                                  look->fresh->metadata().name()),
                      look->now_s);
    }
    return {};
}

Result<bool> DeploymentController::resize(Look* look, const ReplicaSetPtr& set, int size) {
    const int wanted = look->deployment.spec().replicas();
    ReplicaSet next = *set;
    const bool noted = annotate_size(wanted, bounds_of(look->deployment), &next);
    const int before = set->spec().replicas();
    if (before == size && !noted) return false;
    next.mutable_spec()->set_replicas(size);
    const auto written = context_.client.update(sets_kind(), next);
    if (!written) return Error(written.error());
    look->place(std::make_shared<ReplicaSet>(static_cast<const ReplicaSet&>(**written)));
    if (before != size) {
        context_.events.record(look->deployment, client::EventType::kNormal, "ScalingReplicaSet",
                               fmt::format("Scaled {} replica set {} from {} to {}",
                                           size > before ? "up" : "down", set->metadata().name(),
                                           before, size));
    }
    return before != size;
}

Reconciled DeploymentController::roll(Look* look) {
    SLUICE_TRY(find_or_make_new(look, true));
    const int wanted = look->deployment.spec().replicas();
    const Bounds bounds = bounds_of(look->deployment);
    std::vector<SetSize> old;
    for (const auto& set : look->old) old.push_back(size_of(*set));
    const int size = next_new_size(wanted, bounds, size_of(*look->fresh), old);
    SLUICE_TRY_ASSIGN(const bool grown, resize(look, look->fresh, size));
    // What the new pods come to is for the next look to see.
    if (grown) return {};
    const auto sizes = next_old_sizes(wanted, bounds, size_of(*look->fresh), old);
    const ReplicaSets before = look->old;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        if (sizes[i] != old[i].replicas) {
            SLUICE_TRY(resize(look, before[i], sizes[i]));
        }
    }
    const auto status = next_status(look->deployment, look->sets, look->fresh, look->now_s);
    return is_complete(look->deployment, status) ? clean_up(*look) : Reconciled{};
}

bool DeploymentController::has_old_pods(const Look& look) const {
    return std::ranges::any_of(look.old, [&](const ReplicaSetPtr& set) {
        // Told by the set, in case the cache of pods is behind it.
        if (set->status().replicas() > 0) return true;
        return std::ranges::any_of(pods_.candidates(*set), [](const PodPtr& pod) {
            const std::string& phase = pod->status().phase();
            return controller_of(*pod) && phase != "Failed" && phase != "Succeeded";
        });
    });
}

Reconciled DeploymentController::recreate(Look* look) {
    SLUICE_TRY(find_or_make_new(look, false));
    bool shrunk = false;
    const ReplicaSets before = look->old;
    for (const auto& set : before) {
        if (set->spec().replicas() == 0) continue;
        SLUICE_TRY_ASSIGN(const bool changed, resize(look, set, 0));
        shrunk |= changed;
    }
    if (shrunk || has_old_pods(*look)) return {};
    SLUICE_TRY(find_or_make_new(look, true));
    SLUICE_TRY(resize(look, look->fresh, look->deployment.spec().replicas()));
    const auto status = next_status(look->deployment, look->sets, look->fresh, look->now_s);
    return is_complete(look->deployment, status) ? clean_up(*look) : Reconciled{};
}

Reconciled DeploymentController::change_size(Look* look) {
    const int wanted = look->deployment.spec().replicas();
    ReplicaSets active;
    for (const auto& set : look->sets) {
        if (set->spec().replicas() > 0) active.push_back(set);
    }
    if (active.size() <= 1) {
        ReplicaSetPtr only = active.empty() ? look->fresh : active.front();
        if (only == nullptr && !look->old.empty()) {
            only = *std::ranges::max_element(look->old, {}, [](const ReplicaSetPtr& set) {
                return revision_of(*set);
            });
        }
        if (only == nullptr) return {};
        SLUICE_TRY(resize(look, only, wanted));
        return {};
    }
    if (look->fresh != nullptr && look->fresh->spec().replicas() == wanted &&
        !remembers_other_size(*look->fresh, wanted) &&
        look->fresh->status().availablereplicas() == wanted) {
        for (const auto& set : active) {
            if (set != look->fresh) SLUICE_TRY(resize(look, set, 0));
        }
        return {};
    }
    if (look->deployment.spec().strategy().type() == "Recreate") return {};
    std::vector<SetSize> sizes;
    for (const auto& set : active) sizes.push_back(size_of(*set));
    const auto next = proportional_sizes(wanted, bounds_of(look->deployment),
                                         look->deployment.status().replicas(), sizes);
    for (std::size_t i = 0; i < active.size(); ++i) {
        SLUICE_TRY(resize(look, active[i], next[i]));
    }
    return {};
}

Reconciled DeploymentController::clean_up(const Look& look) {
    for (const auto& set : superfluous(look.deployment, look.old)) {
        client::DeleteRequest request;
        request.uid = set->metadata().uid();
        const auto removed = context_.client.remove(sets_kind(), set->metadata().namespace_(),
                                                    set->metadata().name(), request);
        if (!removed && !removed.error().not_found()) return Error(removed.error());
    }
    return {};
}

Reconciled DeploymentController::write_status(const Look& look) {
    const auto key = client::object_key(look.deployment);
    const auto cached = client::as<Deployment>(deployments_.get(key));
    if (cached == nullptr) return {};
    Deployment next = look.deployment;
    *next.mutable_status() = next_status(look.deployment, look.sets, look.fresh, look.now_s);
    if (const auto wait = deadline_in(next, next.status(), look.now_s)) {
        queue_.add_after(key, std::chrono::seconds(*wait));
    }
    if (MessageDifferencer::Equals(next.status(), cached->status()) &&
        MessageDifferencer::Equals(next.metadata(), cached->metadata())) {
        return {};
    }
    // The revision is an annotation, which an update of the status may change too.
    const auto written = context_.client.update(deployments_kind(), next, "status");
    if (!written && !written.error().not_found()) return Error(written.error());
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_deployment_controller(Context& context) {
    return std::make_unique<DeploymentController>(context);
}

}  // namespace sluice::controllers
