// StorageClass, CSIDriver and CSIStorageCapacity: what storage there is, and how its drivers want to be treated.
#include <fmt/format.h>

#include <set>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/object_meta.h"
#include "control/apiserver/registry/validation/storage.h"

namespace sluice::registry {

namespace {

namespace storagev1 = ::k8s::io::api::storage::v1;

constexpr Column kClassColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Provisioner", "string", "", "Who makes volumes of this class."},
    {"ReclaimPolicy", "string", "", "What becomes of a volume whose claim is gone."},
    {"VolumeBindingMode", "string", "", "When claims are bound to volumes."},
    {"AllowVolumeExpansion", "string", "", "Whether volumes can grow."},
    {"Age", "string", "", "Time since the object was created."},
};

bool is_default(const codec::metav1::ObjectMeta& meta) {
    for (const char* name : {"storageclass.kubernetes.io/is-default-class",
                             "storageclass.beta.kubernetes.io/is-default-class"}) {
        const auto found = meta.annotations().find(name);
        if (found != meta.annotations().end() && found->second == "true") return true;
    }
    return false;
}

class StorageClassStrategy final : public TypedStrategy<storagev1::StorageClass> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kClassColumns; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }

protected:
    void defaults(storagev1::StorageClass* object) const override {
        if (!object->has_reclaimpolicy()) object->set_reclaimpolicy("Delete");
        if (!object->has_volumebindingmode()) object->set_volumebindingmode("Immediate");
    }
    void check(const storagev1::StorageClass& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_storage_class(object, errors);
    }
    void check_update(const storagev1::StorageClass& object, const storagev1::StorageClass& old,
                      FieldErrors* errors) const override {
        validate_storage_class_update(object, old, errors);
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const storagev1::StorageClass& object) const override {
        std::string name = object.metadata().name();
        if (is_default(object.metadata())) name += " (default)";
        return {name,
                object.provisioner(),
                object.has_reclaimpolicy() ? object.reclaimpolicy() : std::string("Delete"),
                object.has_volumebindingmode() ? object.volumebindingmode()
                                               : std::string("Immediate"),
                std::string(object.allowvolumeexpansion() ? "true" : "false"),
                age_cell(object.metadata())};
    }
};

constexpr Column kDriverColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"AttachRequired", "boolean", "", "Whether volumes are attached before they are mounted."},
    {"PodInfoOnMount", "boolean", "", "Whether the driver is told about pods."},
    {"StorageCapacity", "boolean", "", "Whether pods are scheduled by the driver's capacity."},
    {"TokenRequests", "string", "", "Audiences of the tokens that the driver is given."},
    {"RequiresRepublish", "boolean", "", "Whether the driver is called again now and then."},
    {"Modes", "string", "", "Which kinds of volumes the driver has."},
    {"Age", "string", "", "Time since the object was created."},
};

class CsiDriverStrategy final : public TypedStrategy<storagev1::CSIDriver> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kDriverColumns; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void defaults(storagev1::CSIDriver* object) const override {
        auto* spec = object->mutable_spec();
        if (!spec->has_attachrequired()) spec->set_attachrequired(true);
        if (!spec->has_podinfoonmount()) spec->set_podinfoonmount(false);
        if (!spec->has_storagecapacity()) spec->set_storagecapacity(false);
        if (!spec->has_fsgrouppolicy()) spec->set_fsgrouppolicy("ReadWriteOnceWithFSType");
        if (spec->volumelifecyclemodes_size() == 0) spec->add_volumelifecyclemodes("Persistent");
        if (!spec->has_requiresrepublish()) spec->set_requiresrepublish(false);
        if (!spec->has_selinuxmount()) spec->set_selinuxmount(false);
    }
    void prepare_update(storagev1::CSIDriver* object,
                        const storagev1::CSIDriver& old) const override {
        count_generation(object, old);
    }
    void check(const storagev1::CSIDriver& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_csi_driver(object, errors);
    }
    void check_update(const storagev1::CSIDriver& object, const storagev1::CSIDriver& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        validate_csi_driver_update(object, old, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const storagev1::CSIDriver& object) const override {
        const auto& spec = object.spec();
        std::vector<std::string> audiences;
        for (const auto& request : spec.tokenrequests()) audiences.push_back(request.audience());
        return {object.metadata().name(),
                !spec.has_attachrequired() || spec.attachrequired(),
                spec.podinfoonmount(),
                spec.storagecapacity(),
                joined_cell(audiences, "<unset>"),
                spec.requiresrepublish(),
                joined_cell({spec.volumelifecyclemodes().begin(),
                             spec.volumelifecyclemodes().end()},
                            "<none>"),
                age_cell(object.metadata())};
    }
};

constexpr Column kCapacityColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"StorageClassName", "string", "", "The class that can be made."},
    {"Capacity", "string", "", "What can still be made."},
};

class CsiStorageCapacityStrategy final : public TypedStrategy<storagev1::CSIStorageCapacity> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kCapacityColumns; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void check(const storagev1::CSIStorageCapacity& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_csi_storage_capacity(object, errors);
    }
    void check_update(const storagev1::CSIStorageCapacity& object,
                      const storagev1::CSIStorageCapacity& old,
                      FieldErrors* errors) const override {
        validate_csi_storage_capacity_update(object, old, errors);
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(
        const storagev1::CSIStorageCapacity& object) const override {
        return {object.metadata().name(), object.storageclassname(),
                object.has_capacity() ? object.capacity().string() : std::string("<unset>")};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_storageclass_strategy(const codec::KindInfo& kind) {
    return std::make_unique<StorageClassStrategy>(kind);
}

std::unique_ptr<Strategy> make_csidriver_strategy(const codec::KindInfo& kind) {
    return std::make_unique<CsiDriverStrategy>(kind);
}

std::unique_ptr<Strategy> make_csistoragecapacity_strategy(const codec::KindInfo& kind) {
    return std::make_unique<CsiStorageCapacityStrategy>(kind);
}

}  // namespace sluice::registry
