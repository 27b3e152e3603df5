// Namespace: its own finalizer holds it until it is empty (namespace_deletion/ sees to that).
#include <algorithm>

#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Status", "string", "", "Active, or Terminating while it is being emptied."},
    {"Age", "string", "", "Time since the object was created."},
};
constexpr std::string_view kFields[] = {"status.phase", "name"};
constexpr std::string_view kImmortal[] = {"default", "kube-system", "kube-public"};
constexpr std::string_view kNameLabel = "kubernetes.io/metadata.name";

class NamespaceStrategy final : public TypedStrategy<corev1::Namespace> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] NameCheck name_check() const override { return check_dns1123_label; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }

    Answer<void> check_deletion(const Message& message) const override {
        const auto& object = static_cast<const corev1::Namespace&>(message);
        const std::string& name = object.metadata().name();
        if (std::find(std::begin(kImmortal), std::end(kImmortal), name) != std::end(kImmortal)) {
            return refuse(forbidden(kind(), name, "this namespace may not be deleted"));
        }
        return {};
    }
    [[nodiscard]] DeletionTerms deletion_terms(const Message& message,
                                               std::optional<std::int64_t> grace) const override {
        (void)grace;
        const auto& object = static_cast<const corev1::Namespace&>(message);
        return {0, object.spec().finalizers_size() > 0};
    }
    void mark_deleted(Message* message) const override {
        static_cast<corev1::Namespace*>(message)->mutable_status()->set_phase("Terminating");
    }

protected:
    void defaults(corev1::Namespace* object) const override {
        // With generateName the name, and so the label, comes when the object is made.
        if (object->metadata().name().empty()) return;
        (*object->mutable_metadata()->mutable_labels())[std::string(kNameLabel)] =
            object->metadata().name();
    }
    void prepare_create(corev1::Namespace* object) const override {
        object->mutable_status()->Clear();
        object->mutable_status()->set_phase("Active");
        auto* finalizers = object->mutable_spec()->mutable_finalizers();
        if (std::find(finalizers->begin(), finalizers->end(), "kubernetes") == finalizers->end()) {
            object->mutable_spec()->add_finalizers("kubernetes");
        }
    }
    void prepare_update(corev1::Namespace* object, const corev1::Namespace& old) const override {
        // spec.finalizers change through the subresource finalize only.
        *object->mutable_spec()->mutable_finalizers() = old.spec().finalizers();
        copy_field(old, object, "status");
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::Namespace& object) const override {
        return {object.metadata().name(), object.status().phase(), age_cell(object.metadata())};
    }
    [[nodiscard]] std::string field_of(const corev1::Namespace& object,
                                       std::string_view field) const override {
        if (field == "status.phase") return object.status().phase();
        if (field == "name") return object.metadata().name();
        return {};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_namespace_strategy(const codec::KindInfo& kind) {
    return std::make_unique<NamespaceStrategy>(kind);
}

}  // namespace sluice::registry
