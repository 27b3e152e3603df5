// PodTemplate: a template for Pods that stands by itself.
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/pod.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Containers", "string", "", "Names of the template's containers."},
    {"Images", "string", "", "Images of the template's containers."},
    {"Pod Labels", "string", "", "Labels of the Pods that are made from it."},
};

class PodTemplateStrategy final : public TypedStrategy<corev1::PodTemplate> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }

protected:
    void defaults(corev1::PodTemplate* object) const override {
        default_pod_template(object->mutable_template_());
    }
    void prepare_create(corev1::PodTemplate* object) const override { start_generation(object); }
    void prepare_update(corev1::PodTemplate* object, const corev1::PodTemplate& old) const override {
        if (same_stored_field(*object, old, "template")) return;
        object->mutable_metadata()->set_generation(old.metadata().generation() + 1);
    }
    void check(const corev1::PodTemplate& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_pod_template(object.template_(), "template", errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::PodTemplate& object) const override {
        const auto& labels = object.template_().metadata().labels();
        return {object.metadata().name(), container_names(object.template_()),
                container_images(object.template_()),
                format_labels({labels.begin(), labels.end()})};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_podtemplate_strategy(const codec::KindInfo& kind) {
    return std::make_unique<PodTemplateStrategy>(kind);
}

}  // namespace sluice::registry
