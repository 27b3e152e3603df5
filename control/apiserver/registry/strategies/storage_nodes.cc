// CSINode and VolumeAttachment: which drivers a node has, and which volumes shall be attached to it.
#include <fmt/format.h>

#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/storage.h"

namespace sluice::registry {

namespace {

namespace storagev1 = ::k8s::io::api::storage::v1;

constexpr Column kNodeColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Drivers", "integer", "", "Number of drivers on the node."},
    {"Age", "string", "", "Time since the object was created."},
};

class CsiNodeStrategy final : public TypedStrategy<storagev1::CSINode> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kNodeColumns; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void check(const storagev1::CSINode& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_csi_node(object, errors);
    }
    void check_update(const storagev1::CSINode& object, const storagev1::CSINode& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        validate_csi_node_update(object, old, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const storagev1::CSINode& object) const override {
        return {object.metadata().name(), std::int64_t{object.spec().drivers_size()},
                age_cell(object.metadata())};
    }
};

constexpr Column kAttachmentColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Attacher", "string", "", "The driver that attaches."},
    {"PV", "string", "", "The volume."},
    {"Node", "string", "", "The node."},
    {"Attached", "boolean", "", "Whether the volume is attached."},
    {"Age", "string", "", "Time since the object was created."},
};

class VolumeAttachmentStrategy final : public TypedStrategy<storagev1::VolumeAttachment> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kAttachmentColumns; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void check(const storagev1::VolumeAttachment& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_volume_attachment(object, errors);
        check_csi_attacher(object, errors);
    }
    void check_update(const storagev1::VolumeAttachment& object,
                      const storagev1::VolumeAttachment& old,
                      FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_volume_attachment(object, errors);
        if (!same_field(object, old, "spec")) {
            errors->invalid("spec",
                            BadValue::verbatim(fmt::format(
                                "storage.VolumeAttachmentSpec{{Attacher:{}, NodeName:{}}}",
                                go_quote(object.spec().attacher()),
                                go_quote(object.spec().nodename()))),
                            "field is immutable");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(
        const storagev1::VolumeAttachment& object) const override {
        const auto& spec = object.spec();
        return {object.metadata().name(),
                spec.attacher(),
                spec.source().persistentvolumename(),
                spec.nodename(),
                object.status().attached(),
                age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_csinode_strategy(const codec::KindInfo& kind) {
    return std::make_unique<CsiNodeStrategy>(kind);
}

std::unique_ptr<Strategy> make_volumeattachment_strategy(const codec::KindInfo& kind) {
    return std::make_unique<VolumeAttachmentStrategy>(kind);
}

}  // namespace sluice::registry
