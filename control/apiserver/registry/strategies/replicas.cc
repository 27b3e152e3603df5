// ReplicaSet and ReplicationController: a number of equal Pods. The latter is the older form, whose selector is a plain
// map and comes from the template when it is not given.
#include <google/protobuf/map.h>

#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/replicationcontroller.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/object_meta.h"
#include "control/apiserver/registry/validation/pod.h"

namespace sluice::registry {

namespace {

namespace appsv1 = ::k8s::io::api::apps::v1;
namespace corev1 = ::k8s::io::api::core::v1;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Desired", "integer", "", "Pods that are wanted."},
    {"Current", "integer", "", "Pods that exist."},
    {"Ready", "integer", "", "Pods that are ready."},
    {"Age", "string", "", "Time since the object was created."},
    {"Containers", "string", "", "Names of the template's containers.", 1},
    {"Images", "string", "", "Images of the template's containers.", 1},
    {"Selector", "string", "", "Which Pods belong to it.", 1},
};
constexpr std::string_view kFields[] = {"status.replicas"};

// Both kinds' statuses have the same counts.
template <class S>
void check_counts(const S& status, FieldErrors* errors) {
    check_not_negative(status.replicas(), "status.replicas", errors);
    check_not_negative(status.fullylabeledreplicas(), "status.fullyLabeledReplicas", errors);
    check_not_negative(status.readyreplicas(), "status.readyReplicas", errors);
    check_not_negative(status.availablereplicas(), "status.availableReplicas", errors);
    check_not_negative(status.observedgeneration(), "status.observedGeneration", errors);
    const auto at_most_all = [&](std::int32_t count, const char* field) {
        if (count > status.replicas()) {
            errors->invalid(field, count, "cannot be greater than status.replicas");
        }
    };
    at_most_all(status.fullylabeledreplicas(), "status.fullyLabeledReplicas");
    at_most_all(status.readyreplicas(), "status.readyReplicas");
    at_most_all(status.availablereplicas(), "status.availableReplicas");
    if (status.availablereplicas() > status.readyreplicas()) {
        errors->invalid("status.availableReplicas", status.availablereplicas(),
                        "cannot be greater than readyReplicas");
    }
}

template <class T>
std::vector<Cell> replica_cells(const T& object, std::string selector) {
    const auto& spec = object.spec();
    return {object.metadata().name(),
            std::int64_t{spec.replicas()},
            std::int64_t{object.status().replicas()},
            std::int64_t{object.status().readyreplicas()},
            age_cell(object.metadata()),
            container_names(spec.template_()),
            container_images(spec.template_()),
            std::move(selector)};
}

class ReplicaSetStrategy final : public TypedStrategy<appsv1::ReplicaSet> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }
    [[nodiscard]] std::optional<ScaleView> scale_of(const Message& object) const override {
        const auto& set = static_cast<const appsv1::ReplicaSet&>(object);
        return ScaleView{set.spec().replicas(), set.status().replicas(),
                         selector_text(set.spec().selector())};
    }
    void set_replicas(Message* object, std::int32_t replicas) const override {
        static_cast<appsv1::ReplicaSet*>(object)->mutable_spec()->set_replicas(replicas);
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        check_counts(static_cast<const appsv1::ReplicaSet&>(object).status(), errors);
    }

protected:
    void defaults(appsv1::ReplicaSet* object) const override {
        auto* spec = object->mutable_spec();
        if (!spec->has_replicas()) spec->set_replicas(1);
        default_pod_template(spec->mutable_template_());
    }
    void prepare_create(appsv1::ReplicaSet* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(appsv1::ReplicaSet* object, const appsv1::ReplicaSet& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const appsv1::ReplicaSet& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        check_not_negative(spec.replicas(), "spec.replicas", errors);
        check_not_negative(spec.minreadyseconds(), "spec.minReadySeconds", errors);
        check_selector(spec.selector(), errors);
        check_replica_template(spec.template_(), spec.selector(), errors);
    }
    void check_update(const appsv1::ReplicaSet& object, const appsv1::ReplicaSet& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        check_selector_unchanged(object.spec().selector(), old.spec().selector(), errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const appsv1::ReplicaSet& object) const override {
        return replica_cells(object, selector_cell(object.spec().selector()));
    }
    [[nodiscard]] std::string field_of(const appsv1::ReplicaSet& object,
                                       std::string_view field) const override {
        return field == "status.replicas" ? std::to_string(object.status().replicas()) : "";
    }
};

using LabelMap = google::protobuf::Map<std::string, std::string>;

std::string map_text(const LabelMap& selector) {
    if (selector.empty()) return {};
    return format_labels({selector.begin(), selector.end()});
}

class ReplicationControllerStrategy final : public TypedStrategy<corev1::ReplicationController> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::string storage_prefix() const override { return "/registry/controllers"; }
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }
    // As core/v1 has always had it.
    [[nodiscard]] bool orphans_by_default() const override { return true; }
    [[nodiscard]] std::optional<ScaleView> scale_of(const Message& object) const override {
        const auto& controller = static_cast<const corev1::ReplicationController&>(object);
        return ScaleView{controller.spec().replicas(), controller.status().replicas(),
                         map_text(controller.spec().selector())};
    }
    void set_replicas(Message* object, std::int32_t replicas) const override {
        static_cast<corev1::ReplicationController*>(object)->mutable_spec()->set_replicas(replicas);
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        check_counts(static_cast<const corev1::ReplicationController&>(object).status(), errors);
    }

protected:
    void defaults(corev1::ReplicationController* object) const override {
        auto* spec = object->mutable_spec();
        if (spec->has_template_()) {
            const auto& labels = spec->template_().metadata().labels();
            if (spec->selector().empty()) *spec->mutable_selector() = labels;
            if (object->metadata().labels().empty()) {
                *object->mutable_metadata()->mutable_labels() = labels;
            }
            default_pod_template(spec->mutable_template_());
        }
        if (!spec->has_replicas()) spec->set_replicas(1);
    }
    void prepare_create(corev1::ReplicationController* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(corev1::ReplicationController* object,
                        const corev1::ReplicationController& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const corev1::ReplicationController& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        check_not_negative(spec.minreadyseconds(), "spec.minReadySeconds", errors);
        if (spec.selector().empty()) {
            errors->required("spec.selector");
        } else {
            validate_labels(spec.selector(), "spec.selector", errors);
        }
        check_not_negative(spec.replicas(), "spec.replicas", errors);
        if (!spec.has_template_()) {
            errors->required("spec.template");
            return;
        }
        codec::metav1::LabelSelector selector;
        *selector.mutable_matchlabels() = spec.selector();
        check_replica_template(spec.template_(), selector, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(
        const corev1::ReplicationController& object) const override {
        return replica_cells(object, format_labels({object.spec().selector().begin(),
                                                    object.spec().selector().end()}));
    }
    [[nodiscard]] std::string field_of(const corev1::ReplicationController& object,
                                       std::string_view field) const override {
        return field == "status.replicas" ? std::to_string(object.status().replicas()) : "";
    }
};

}  // namespace

std::unique_ptr<Strategy> make_replicaset_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ReplicaSetStrategy>(kind);
}

std::unique_ptr<Strategy> make_replicationcontroller_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ReplicationControllerStrategy>(kind);
}

}  // namespace sluice::registry
