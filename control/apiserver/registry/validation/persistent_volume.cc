#include "control/apiserver/registry/validation/persistent_volume.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <string>

#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/core/v1/volume.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/quantities.h"
#include "control/apiserver/registry/validation/scheduling.h"
#include "control/apiserver/registry/validation/volume_sources.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

template <class Modes>
void check_access_modes(const Modes& modes, std::string_view missing, FieldErrors* errors) {
    constexpr const char* kField = "spec.accessModes";
    if (modes.empty()) errors->required(kField, missing);
    bool single_pod = false;
    bool others = false;
    for (const std::string& mode : modes) {
        if (mode == "ReadWriteOncePod") {
            single_pod = true;
        } else if (mode == "ReadWriteOnce" || mode == "ReadOnlyMany" || mode == "ReadWriteMany") {
            others = true;
        } else {
            errors->not_supported(
                kField, mode,
                {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"});
        }
    }
    if (single_pod && others) {
        errors->forbidden(kField, "may not use ReadWriteOncePod with other access modes");
    }
}

template <class Spec>
void check_mode_and_class(const Spec& spec, FieldErrors* errors) {
    if (!spec.storageclassname().empty()) {
        errors->invalid_all("spec.storageClassName", spec.storageclassname(),
                            check_dns1123_subdomain(spec.storageclassname()));
    }
    if (spec.has_volumemode() && spec.volumemode() != "Block" &&
        spec.volumemode() != "Filesystem") {
        errors->not_supported("spec.volumeMode", spec.volumemode(), {"Block", "Filesystem"});
    }
}

void check_capacity(const corev1::PersistentVolumeSpec& spec, FieldErrors* errors) {
    const auto capacity = quantities_of(spec.capacity());
    if (capacity.empty()) errors->required("spec.capacity");
    if (!capacity.contains("storage") || capacity.size() > 1) {
        std::string shown = "map[";
        for (const auto& [name, value] : capacity) {
            shown += (shown.size() > 4 ? " " : "") + name + ":" + value.to_string();
        }
        errors->not_supported("spec.capacity", shown + "]", {"storage"});
    }
    for (const auto& [name, value] : capacity) {
        const std::string field = field_key("spec.capacity", name);
        check_not_negative_quantity(value, field, errors);
        check_positive_quantity(value, field, errors);
    }
}

void check_affinity(const corev1::PersistentVolumeSpec& spec, FieldErrors* errors) {
    if (spec.has_nodeaffinity()) {
        if (spec.nodeaffinity().has_required()) {
            validate_node_selector(spec.nodeaffinity().required(), "spec.nodeAffinity.required",
                                   errors);
        } else {
            errors->required("spec.nodeAffinity.required",
                             "must specify required node constraints");
        }
    } else if (spec.persistentvolumesource().has_local()) {
        errors->required("metadata.annotations", "Local volume requires node affinity");
    }
}

// A source of data in this namespace: one reference or the other says the same.
bool same_source(const corev1::PersistentVolumeClaimSpec& spec) {
    const auto& plain = spec.datasource();
    const auto& reference = spec.datasourceref();
    return plain.apigroup() == reference.apigroup() && plain.kind() == reference.kind() &&
           plain.name() == reference.name();
}

template <class T>
void check_data_source(const T& source, const std::string& field, FieldErrors* errors) {
    if (source.name().empty()) errors->required(field + ".name");
    if (source.kind().empty()) errors->required(field + ".kind");
    if (source.apigroup().empty() && source.kind() != "PersistentVolumeClaim") {
        errors->invalid(field, source.kind(),
                        "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if (!source.apigroup().empty()) {
        errors->invalid_all(field + ".apiGroup", source.apigroup(),
                            check_dns1123_subdomain(source.apigroup()));
    }
}

codec::Quantity storage_of(const QuantityMap& map) {
    const auto all = quantities_of(map);
    const auto found = all.find("storage");
    return found == all.end() ? codec::Quantity() : found->second;
}

}  // namespace

void validate_volume(const corev1::PersistentVolume& volume, FieldErrors* errors) {
    const auto& spec = volume.spec();
    check_access_modes(spec.accessmodes(), "", errors);
    check_capacity(spec, errors);
    const std::string& policy = spec.persistentvolumereclaimpolicy();
    if (!policy.empty() && policy != "Delete" && policy != "Recycle" && policy != "Retain") {
        errors->not_supported("spec.persistentVolumeReclaimPolicy", policy,
                              {"Delete", "Recycle", "Retain"});
    }
    validate_volume_source(spec.persistentvolumesource(), "spec", errors);
    if (spec.persistentvolumesource().hostpath().path() == "/" && policy == "Recycle") {
        errors->forbidden("spec.persistentVolumeReclaimPolicy",
                          "may not be 'recycle' for a hostPath mount of '/'");
    }
    check_affinity(spec, errors);
    check_mode_and_class(spec, errors);
}

void validate_claim(const corev1::PersistentVolumeClaim& claim, FieldErrors* errors) {
    const auto& spec = claim.spec();
    check_access_modes(spec.accessmodes(), "at least 1 access mode is required", errors);
    if (spec.has_selector()) validate_label_selector(spec.selector(), "spec.selector", errors);
    const auto requests = quantities_of(spec.resources().requests());
    constexpr const char* kStorage = "spec.resources[storage]";
    if (const auto found = requests.find("storage"); found == requests.end()) {
        errors->required(kStorage);
    } else {
        check_not_negative_quantity(found->second, kStorage, errors);
        check_positive_quantity(found->second, kStorage, errors);
    }
    check_mode_and_class(spec, errors);
    if (spec.has_datasource()) check_data_source(spec.datasource(), "spec.dataSource", errors);
    if (spec.has_datasourceref()) {
        check_data_source(spec.datasourceref(), "spec.dataSourceRef", errors);
        if (!spec.datasourceref().namespace_().empty() && spec.has_datasource()) {
            errors->invalid("spec", "spec.dataSource",
                            "may not be specified when dataSourceRef.namespace is specified");
        }
    }
    if (spec.has_datasource() && spec.has_datasourceref() && !same_source(spec)) {
        errors->invalid("spec", "spec.dataSource", "must match dataSourceRef");
    }
}

void validate_claim_update(const corev1::PersistentVolumeClaim& claim,
                           const corev1::PersistentVolumeClaim& old, FieldErrors* errors) {
    corev1::PersistentVolumeClaimSpec now = claim.spec();
    corev1::PersistentVolumeClaimSpec was = old.spec();
    // Binding is a change of the spec, made once.
    if (was.volumename().empty()) was.set_volumename(now.volumename());
    if (was.volumename().empty()) was.clear_volumename();
    // A class may be given later to a claim that had none.
    if (!was.has_storageclassname() && now.has_storageclassname()) now.clear_storageclassname();
    if (claim.status().phase() == "Bound") {
        auto& to = *now.mutable_resources()->mutable_requests();
        const auto& from = was.resources().requests();
        if (const auto found = from.find("storage"); found != from.end()) to["storage"] = found->second;
    }
    if (codec::encode_protobuf_raw(now) != codec::encode_protobuf_raw(was)) {
        errors->forbidden("spec",
                          "spec is immutable after creation except resources.requests and "
                          "volumeAttributesClassName for bound claims");
    }
    const auto size = storage_of(claim.spec().resources().requests());
    if (size < storage_of(old.spec().resources().requests()) &&
        size <= storage_of(old.status().capacity())) {
        errors->forbidden("spec.resources.requests.storage",
                          "field can not be less than status.capacity");
    }
    if (claim.spec().volumemode() != old.spec().volumemode()) {
        errors->invalid("spec.volumeMode", claim.spec().volumemode(), "field is immutable");
    }
}

}  // namespace sluice::registry
