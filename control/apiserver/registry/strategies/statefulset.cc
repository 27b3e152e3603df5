// StatefulSet: Pods with names and volumes of their own.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/codec/selector.h"
#include "api/kubernetes/apps/v1/statefulset.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"
#include "control/apiserver/registry/strategies/claim_defaults.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/object_meta.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace appsv1 = ::k8s::io::api::apps::v1;

constexpr std::int32_t kHistoryLimit = 10;
constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Ready", "string", "", "Pods that are ready, of those wanted."},
    {"Age", "string", "", "Time since the object was created."},
    {"Containers", "string", "", "Names of the template's containers.", 1},
    {"Images", "string", "", "Images of the template's containers.", 1},
};

void check_update_strategy(const appsv1::StatefulSetUpdateStrategy& strategy,
                           FieldErrors* errors) {
    const std::string& type = strategy.type();
    if (type.empty()) {
        errors->required("spec.updateStrategy");
    } else if (type == "OnDelete") {
        if (strategy.has_rollingupdate()) {
            errors->invalid("spec.updateStrategy.rollingUpdate",
                            BadValue::verbatim("apps.RollingUpdateStatefulSetStrategy{...}"),
                            "only allowed for updateStrategy 'RollingUpdate'");
        }
    } else if (type == "RollingUpdate") {
        check_not_negative(strategy.rollingupdate().partition(),
                           "spec.updateStrategy.rollingUpdate.partition", errors);
    } else {
        errors->invalid("spec.updateStrategy",
                        BadValue::verbatim(fmt::format(
                            "apps.StatefulSetUpdateStrategy{{Type:{}, RollingUpdate:"
                            "(*apps.RollingUpdateStatefulSetStrategy)(nil)}}",
                            go_quote(type))),
                        "must be 'RollingUpdate' or 'OnDelete'");
    }
}

void check_retention(const std::string& policy, const std::string& field, FieldErrors* errors) {
    if (policy == "Retain" || policy == "Delete") return;
    errors->not_supported(field, policy, {"Delete", "Retain"});
}

// As upstream, the Pods' spec itself is checked when they are made: the claims are volumes that it does not list.
void check_template(const appsv1::StatefulSetSpec& spec, FieldErrors* errors) {
    const auto& labels = spec.template_().metadata().labels();
    const auto selector = codec::LabelSelector::from_proto(spec.selector());
    const auto lookup = [&labels](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(std::string(key));
        if (found == labels.end()) return std::nullopt;
        return found->second;
    };
    if (selector && !selector->selects_everything() && !selector->matches(lookup)) {
        errors->invalid("spec.template.metadata.labels", go_label_map(labels),
                        "`selector` does not match template `labels`");
    }
    validate_labels(labels, "spec.template.labels", errors);
    validate_annotations(spec.template_().metadata(), "spec.template.annotations", errors);
    const std::string& restart = spec.template_().spec().restartpolicy();
    if (restart != "Always") {
        errors->not_supported("spec.template.spec.restartPolicy", restart, {"Always"});
    }
    if (spec.template_().spec().has_activedeadlineseconds()) {
        errors->forbidden("spec.template.spec.activeDeadlineSeconds",
                          "activeDeadlineSeconds in StatefulSet is not Supported");
    }
}

void check_spec(const appsv1::StatefulSetSpec& spec, FieldErrors* errors) {
    const std::string& management = spec.podmanagementpolicy();
    if (management.empty()) {
        errors->required("spec.podManagementPolicy");
    } else if (management != "OrderedReady" && management != "Parallel") {
        errors->invalid("spec.podManagementPolicy", management,
                        "must be 'OrderedReady' or 'Parallel'");
    }
    check_update_strategy(spec.updatestrategy(), errors);
    const auto& retention = spec.persistentvolumeclaimretentionpolicy();
    const std::string field = "spec.persistentVolumeClaimRetentionPolicy";
    check_retention(retention.whendeleted(), field + ".whenDeleted", errors);
    check_retention(retention.whenscaled(), field + ".whenScaled", errors);
    check_not_negative(spec.replicas(), "spec.replicas", errors);
    check_not_negative(spec.minreadyseconds(), "spec.minReadySeconds", errors);
    check_not_negative(spec.ordinals().start(), "spec.ordinals.start", errors);
    if (!spec.has_selector()) {
        errors->required("spec.selector");
    } else {
        validate_label_selector(spec.selector(), "spec.selector", errors);
        if (spec.selector().matchlabels().empty() && spec.selector().matchexpressions_size() == 0) {
            errors->invalid("spec.selector", go_selector(spec.selector()),
                            "empty selector is invalid for statefulset");
        }
    }
    check_template(spec, errors);
}

void check_status(const appsv1::StatefulSetStatus& status, FieldErrors* errors) {
    check_not_negative(status.replicas(), "status.replicas", errors);
    check_not_negative(status.readyreplicas(), "status.readyReplicas", errors);
    check_not_negative(status.currentreplicas(), "status.currentReplicas", errors);
    check_not_negative(status.updatedreplicas(), "status.updatedReplicas", errors);
    check_not_negative(status.availablereplicas(), "status.availableReplicas", errors);
    check_not_negative(status.observedgeneration(), "status.observedGeneration", errors);
    check_not_negative(status.collisioncount(), "status.collisionCount", errors);
    const auto at_most_all = [&](std::int32_t count, const char* field) {
        if (count <= status.replicas()) return;
        errors->invalid(field, count, "cannot be greater than status.replicas");
    };
    at_most_all(status.readyreplicas(), "status.readyReplicas");
    at_most_all(status.currentreplicas(), "status.currentReplicas");
    at_most_all(status.updatedreplicas(), "status.updatedReplicas");
    at_most_all(status.availablereplicas(), "status.availableReplicas");
    if (status.availablereplicas() > status.readyreplicas()) {
        errors->invalid("status.availableReplicas", status.availablereplicas(),
                        "cannot be greater than status.readyReplicas");
    }
}

class StatefulSetStrategy final : public TypedStrategy<appsv1::StatefulSet> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::optional<ScaleView> scale_of(const Message& object) const override {
        const auto& set = static_cast<const appsv1::StatefulSet&>(object);
        return ScaleView{set.spec().replicas(), set.status().replicas(),
                         selector_text(set.spec().selector())};
    }
    void set_replicas(Message* object, std::int32_t replicas) const override {
        static_cast<appsv1::StatefulSet*>(object)->mutable_spec()->set_replicas(replicas);
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        check_status(static_cast<const appsv1::StatefulSet&>(object).status(), errors);
    }

protected:
    void defaults(appsv1::StatefulSet* object) const override {
        auto* spec = object->mutable_spec();
        if (spec->podmanagementpolicy().empty()) spec->set_podmanagementpolicy("OrderedReady");
        auto* update = spec->mutable_updatestrategy();
        if (update->type().empty()) {
            update->set_type("RollingUpdate");
            update->mutable_rollingupdate();
        }
        // Nothing is added for whoever names the type and leaves open how.
        if (update->type() == "RollingUpdate" && update->has_rollingupdate()) {
            auto* rolling = update->mutable_rollingupdate();
            if (!rolling->has_partition()) rolling->set_partition(0);
        }
        auto* retention = spec->mutable_persistentvolumeclaimretentionpolicy();
        if (retention->whendeleted().empty()) retention->set_whendeleted("Retain");
        if (retention->whenscaled().empty()) retention->set_whenscaled("Retain");
        if (!spec->has_replicas()) spec->set_replicas(1);
        if (!spec->has_revisionhistorylimit()) spec->set_revisionhistorylimit(kHistoryLimit);
        for (auto& claim : *spec->mutable_volumeclaimtemplates()) default_claim(&claim);
        default_pod_template(spec->mutable_template_());
    }
    void prepare_create(appsv1::StatefulSet* object) const override {
        TypedStrategy::prepare_create(object);
        drop_disabled(object);
        start_generation(object);
    }
    void prepare_update(appsv1::StatefulSet* object,
                        const appsv1::StatefulSet& old) const override {
        TypedStrategy::prepare_update(object, old);
        drop_disabled(object);
        count_generation(object, old);
    }
    void check(const appsv1::StatefulSet& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        check_spec(object.spec(), errors);
    }
    void check_update(const appsv1::StatefulSet& object, const appsv1::StatefulSet& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        appsv1::StatefulSet now;
        *now.mutable_spec() = object.spec();
        appsv1::StatefulSet was;
        *was.mutable_spec() = old.spec();
        for (auto* spec : {now.mutable_spec(), was.mutable_spec()}) {
            spec->clear_replicas();
            spec->clear_template_();
            spec->clear_updatestrategy();
            spec->clear_minreadyseconds();
            spec->clear_ordinals();
            spec->clear_revisionhistorylimit();
            spec->clear_persistentvolumeclaimretentionpolicy();
        }
        if (same_stored_field(now, was, "spec")) return;
        errors->forbidden("spec",
                          "updates to statefulset spec for fields other than 'replicas', "
                          "'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
                          "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
                          "forbidden");
    }
    [[nodiscard]] std::vector<Cell> cells(const appsv1::StatefulSet& object) const override {
        const auto& spec = object.spec();
        return {object.metadata().name(),
                fmt::format("{}/{}", object.status().readyreplicas(), spec.replicas()),
                age_cell(object.metadata()), container_names(spec.template_()),
                container_images(spec.template_())};
    }

private:
    // The feature MaxUnavailableStatefulSet is off by default, and then the field is dropped as upstream does.
    static void drop_disabled(appsv1::StatefulSet* object) {
        auto* update = object->mutable_spec()->mutable_updatestrategy();
        if (update->has_rollingupdate()) update->mutable_rollingupdate()->clear_maxunavailable();
    }
};

}  // namespace

std::unique_ptr<Strategy> make_statefulset_strategy(const codec::KindInfo& kind) {
    return std::make_unique<StatefulSetStrategy>(kind);
}

}  // namespace sluice::registry
