// PersistentVolume and PersistentVolumeClaim: storage, and who asks for it.
#include <google/protobuf/message.h>

#include <algorithm>
#include <string>

#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/claim_defaults.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/persistent_volume.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

// Before spec.storageClassName there was an annotation.
constexpr const char* kClassAnnotation = "volume.beta.kubernetes.io/storage-class";

constexpr Column kVolumeColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Capacity", "string", "", "How much it holds."},
    {"Access Modes", "string", "", "How it can be mounted."},
    {"Reclaim Policy", "string", "", "What becomes of it when its claim goes."},
    {"Status", "string", "", "Whether it is free, bound or released."},
    {"Claim", "string", "", "The claim it is bound to."},
    {"StorageClass", "string", "", "The class it belongs to."},
    {"VolumeAttributesClass", "string", "", "The class of its attributes."},
    {"Reason", "string", "", "Why it is in that state."},
    {"Age", "string", "", "Time since the object was created."},
    {"VolumeMode", "string", "", "Whether it has a file system.", 1},
};
constexpr Column kClaimColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Status", "string", "", "Whether it has its volume."},
    {"Volume", "string", "", "The volume it is bound to."},
    {"Capacity", "string", "", "How much the volume holds."},
    {"Access Modes", "string", "", "How the volume can be mounted."},
    {"StorageClass", "string", "", "The class that is asked for."},
    {"VolumeAttributesClass", "string", "", "The class of attributes that is asked for."},
    {"Age", "string", "", "Time since the object was created."},
    {"VolumeMode", "string", "", "Whether a file system is asked for.", 1},
};

template <class Modes>
std::string modes_cell(const Modes& modes) {
    struct Short {
        const char* mode;
        const char* shown;
    };
    constexpr Short kShort[] = {{"ReadWriteOnce", "RWO"},
                                {"ReadOnlyMany", "ROX"},
                                {"ReadWriteMany", "RWX"},
                                {"ReadWriteOncePod", "RWOP"}};
    std::string out;
    for (const Short& known : kShort) {
        if (std::find(modes.begin(), modes.end(), known.mode) == modes.end()) continue;
        if (!out.empty()) out += ',';
        out += known.shown;
    }
    return out;
}

template <class T>
std::string phase_cell(const T& object) {
    return object.metadata().has_deletiontimestamp() ? "Terminating" : object.status().phase();
}

template <class T>
std::string class_cell(const T& object) {
    const auto& annotations = object.metadata().annotations();
    const auto found = annotations.find(kClassAnnotation);
    return found == annotations.end() ? object.spec().storageclassname() : found->second;
}

template <class Spec>
std::string attributes_cell(const Spec& spec) {
    return spec.has_volumeattributesclassname() ? spec.volumeattributesclassname() : "<unset>";
}

template <class Spec>
std::string mode_cell(const Spec& spec) {
    return spec.has_volumemode() ? spec.volumemode() : "<unset>";
}

template <class Map>
std::string storage_cell(const Map& map) {
    return map.contains("storage") ? quantity_text(map, "storage") : "0";
}

class VolumeStrategy final : public TypedStrategy<corev1::PersistentVolume> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kVolumeColumns; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }
    // The time of a change of phase is the server's to know unless the client says it.
    void prepare_for_status_update(Message* object, const Message& old) const override {
        Strategy::prepare_for_status_update(object, old);
        auto* now = static_cast<corev1::PersistentVolume*>(object)->mutable_status();
        const auto& was = static_cast<const corev1::PersistentVolume&>(old).status();
        if (now->phase() == was.phase()) return;
        const bool said = now->has_lastphasetransitiontime() &&
                          now->lastphasetransitiontime().seconds() !=
                              was.lastphasetransitiontime().seconds();
        if (!said) now->mutable_lastphasetransitiontime()->set_seconds(unix_now());
    }

protected:
    void defaults(corev1::PersistentVolume* object) const override {
        auto* spec = object->mutable_spec();
        if (object->status().phase().empty()) object->mutable_status()->set_phase("Pending");
        if (spec->persistentvolumereclaimpolicy().empty()) {
            spec->set_persistentvolumereclaimpolicy("Retain");
        }
        if (!spec->has_volumemode()) spec->set_volumemode("Filesystem");
        auto* source = spec->mutable_persistentvolumesource();
        if (source->has_hostpath() && !source->hostpath().has_type()) {
            source->mutable_hostpath()->set_type("");
        }
        if (source->has_iscsi() && source->iscsi().iscsiinterface().empty()) {
            source->mutable_iscsi()->set_iscsiinterface("default");
        }
        if (!source->has_rbd()) return;
        auto* rbd = source->mutable_rbd();
        if (rbd->pool().empty()) rbd->set_pool("rbd");
        if (rbd->user().empty()) rbd->set_user("admin");
        if (rbd->keyring().empty()) rbd->set_keyring("/etc/ceph/keyring");
    }
    void prepare_create(corev1::PersistentVolume* object) const override {
        object->mutable_status()->Clear();
        object->mutable_status()->set_phase("Pending");
        object->mutable_status()->mutable_lastphasetransitiontime()->set_seconds(unix_now());
    }
    void check(const corev1::PersistentVolume& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_volume(object, errors);
    }
    void check_update(const corev1::PersistentVolume& object, const corev1::PersistentVolume& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        const auto& now = object.spec();
        const auto& was = old.spec();
        corev1::PersistentVolumeSource allowed = was.persistentvolumesource();
        // A secret for growing may be added later.
        if (allowed.has_csi() && !allowed.csi().has_controllerexpandsecretref() &&
            now.persistentvolumesource().csi().has_controllerexpandsecretref()) {
            *allowed.mutable_csi()->mutable_controllerexpandsecretref() =
                now.persistentvolumesource().csi().controllerexpandsecretref();
        }
        if (!equal(now.persistentvolumesource(), allowed)) {
            errors->forbidden("spec.persistentvolumesource",
                              "spec.persistentvolumesource is immutable after creation");
        }
        if (now.volumemode() != was.volumemode()) {
            errors->invalid("spec.volumeMode", now.volumemode(), "field is immutable");
        }
        if (was.has_nodeaffinity() && !same_field(now, was, "nodeAffinity")) {
            errors->invalid("spec.nodeAffinity", BadValue::verbatim("core.VolumeNodeAffinity{...}"),
                            "field is immutable");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::PersistentVolume& object) const override {
        const auto& spec = object.spec();
        const std::string claim =
            spec.has_claimref() ? spec.claimref().namespace_() + "/" + spec.claimref().name() : "";
        return {object.metadata().name(),
                storage_cell(spec.capacity()),
                modes_cell(spec.accessmodes()),
                spec.persistentvolumereclaimpolicy(),
                phase_cell(object),
                claim,
                class_cell(object),
                attributes_cell(spec),
                object.status().reason(),
                age_cell(object.metadata()),
                mode_cell(spec)};
    }
};

// dataSource and dataSourceRef say the same where both can.
void align_sources(corev1::PersistentVolumeClaimSpec* spec) {
    if (spec->has_datasource() && !spec->has_datasourceref()) {
        const auto& from = spec->datasource();
        auto* to = spec->mutable_datasourceref();
        if (from.has_apigroup()) to->set_apigroup(from.apigroup());
        to->set_kind(from.kind());
        to->set_name(from.name());
    } else if (spec->has_datasourceref() && !spec->has_datasource() &&
               spec->datasourceref().namespace_().empty()) {
        const auto& from = spec->datasourceref();
        const bool claim = from.apigroup().empty() && from.kind() == "PersistentVolumeClaim";
        const bool snapshot =
            from.apigroup() == "snapshot.storage.k8s.io" && from.kind() == "VolumeSnapshot";
        if (!claim && !snapshot) return;
        auto* to = spec->mutable_datasource();
        if (from.has_apigroup()) to->set_apigroup(from.apigroup());
        to->set_kind(from.kind());
        to->set_name(from.name());
    }
}

class ClaimStrategy final : public TypedStrategy<corev1::PersistentVolumeClaim> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kClaimColumns; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        const auto& status = static_cast<const corev1::PersistentVolumeClaim&>(object).status();
        for (const auto& [name, value] : quantities_of(status.capacity())) {
            check_not_negative_quantity(value, field_key("status.capacity", name), errors);
        }
    }

protected:
    void defaults(corev1::PersistentVolumeClaim* object) const override { default_claim(object); }
    void prepare_create(corev1::PersistentVolumeClaim* object) const override {
        object->mutable_status()->Clear();
        object->mutable_status()->set_phase("Pending");
        align_sources(object->mutable_spec());
    }
    void prepare_update(corev1::PersistentVolumeClaim* object,
                        const corev1::PersistentVolumeClaim& old) const override {
        TypedStrategy::prepare_update(object, old);
        align_sources(object->mutable_spec());
    }
    void check(const corev1::PersistentVolumeClaim& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_claim(object, errors);
    }
    void check_update(const corev1::PersistentVolumeClaim& object,
                      const corev1::PersistentVolumeClaim& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        validate_claim_update(object, old, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(
        const corev1::PersistentVolumeClaim& object) const override {
        const auto& spec = object.spec();
        const bool bound = !spec.volumename().empty();
        return {object.metadata().name(),
                phase_cell(object),
                spec.volumename(),
                bound ? storage_cell(object.status().capacity()) : "",
                bound ? modes_cell(object.status().accessmodes()) : "",
                class_cell(object),
                attributes_cell(spec),
                age_cell(object.metadata()),
                mode_cell(spec)};
    }
};

}  // namespace

void default_claim(corev1::PersistentVolumeClaim* claim) {
    if (claim->status().phase().empty()) claim->mutable_status()->set_phase("Pending");
    if (!claim->spec().has_volumemode()) claim->mutable_spec()->set_volumemode("Filesystem");
}

std::unique_ptr<Strategy> make_volume_strategy(const codec::KindInfo& kind) {
    return std::make_unique<VolumeStrategy>(kind);
}

std::unique_ptr<Strategy> make_claim_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ClaimStrategy>(kind);
}

}  // namespace sluice::registry
