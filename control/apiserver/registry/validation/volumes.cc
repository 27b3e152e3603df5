#include "control/apiserver/registry/validation/volumes.h"

#include <google/protobuf/message.h>

#include <algorithm>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/volume.pb.h"
#include "control/apiserver/registry/validation/env.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::int32_t kMaxMode = 0777;

// A file within a volume; a leading ".." is the kubelet's own, even when it is only part of a name.
void check_file_path(const std::string& path, const std::string& field, FieldErrors* errors) {
    if (path.empty()) {
        errors->required(field);
        return;
    }
    validate_descending_path(path, field, errors);
    if (path.starts_with("..") && !path.starts_with("../")) {
        errors->invalid(field, path, "must not start with '..'");
    }
}

template <class T>
void check_default_mode(const T& source, const std::string& field, FieldErrors* errors) {
    if (source.has_defaultmode() &&
        (source.defaultmode() < 0 || source.defaultmode() > kMaxMode)) {
        errors->invalid(field + ".defaultMode", source.defaultmode(),
                        "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

template <class T>
void check_mode(const T& item, const std::string& field, FieldErrors* errors) {
    if (item.has_mode() && (item.mode() < 0 || item.mode() > kMaxMode)) {
        errors->invalid(field + ".mode", item.mode(),
                        "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

template <class Items>
void check_items(const Items& items, const std::string& field, FieldErrors* errors) {
    for (int i = 0; i < items.size(); ++i) {
        const std::string at = field_index(field + ".items", i);
        if (items[i].key().empty()) errors->required(at + ".key");
        check_file_path(items[i].path(), at + ".path", errors);
        check_mode(items[i], at, errors);
    }
}

template <class Items>
void check_downward_items(const Items& items, const std::string& field, FieldErrors* errors) {
    for (int i = 0; i < items.size(); ++i) {
        const auto& item = items[i];
        const std::string at = field_index(field + ".items", i);
        check_file_path(item.path(), at + ".path", errors);
        if (item.has_fieldref()) {
            validate_field_ref(item.fieldref(), FieldUse::kVolume, at + ".fieldRef", errors);
            if (item.has_resourcefieldref()) {
                errors->invalid(
                    at, "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        } else if (item.has_resourcefieldref()) {
            validate_resource_ref(item.resourcefieldref(), FieldUse::kVolume,
                                  at + ".resourceFieldRef", errors);
        } else {
            errors->required(at, "one of fieldRef and resourceFieldRef is required");
        }
        check_mode(item, at, errors);
    }
}

void check_host_path(const corev1::HostPathVolumeSource& source, const std::string& field,
                     FieldErrors* errors) {
    if (source.path().empty()) {
        errors->required(field + ".path");
        return;
    }
    if (has_backsteps(source.path())) {
        errors->invalid(field + ".path", source.path(), "must not contain '..'");
    }
    constexpr std::string_view kTypes[] = {"",          "BlockDevice", "CharDevice",
                                           "Directory", "DirectoryOrCreate", "File",
                                           "FileOrCreate", "Socket"};
    if (std::find(std::begin(kTypes), std::end(kTypes), source.type()) == std::end(kTypes)) {
        errors->not_supported(field + ".type", source.type(),
                              {"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate",
                               "File", "FileOrCreate", "Socket"});
    }
}

void claim_path(const std::string& path, const std::string& field, std::set<std::string>* claimed,
                FieldErrors* errors) {
    if (!path.empty() && !claimed->insert(path).second) {
        errors->invalid(field, path, "conflicting duplicate paths");
    }
}

void check_token(const corev1::ServiceAccountTokenProjection& token, const std::string& field,
                 FieldErrors* errors) {
    constexpr std::int64_t kMinSeconds = 600;
    constexpr std::int64_t kMaxSeconds = std::int64_t{1} << 32;
    if (token.expirationseconds() < kMinSeconds) {
        errors->invalid(field + ".expirationSeconds", std::int64_t{token.expirationseconds()},
                        "may not specify a duration less than 10 minutes");
    }
    if (token.expirationseconds() > kMaxSeconds) {
        errors->invalid(field + ".expirationSeconds", std::int64_t{token.expirationseconds()},
                        "may not specify a duration larger than 2^32 seconds");
    }
    if (token.path().empty()) {
        errors->required(field + ".path");
    } else {
        check_file_path(token.path(), field + ".path", errors);
    }
}

void check_projection(const corev1::VolumeProjection& part, const std::string& field,
                      std::set<std::string>* paths, FieldErrors* errors) {
    std::vector<const google::protobuf::FieldDescriptor*> set;
    part.GetReflection()->ListFields(part, &set);
    if (set.size() > 1) {
        errors->forbidden(field, "may not specify more than 1 volume type per source");
    }
    if (part.has_secret()) {
        const std::string at = field + ".secret";
        if (part.secret().localobjectreference().name().empty()) errors->required(at + ".name");
        check_items(part.secret().items(), at, errors);
        for (const auto& item : part.secret().items()) claim_path(item.path(), at, paths, errors);
    }
    if (part.has_configmap()) {
        const std::string at = field + ".configMap";
        if (part.configmap().localobjectreference().name().empty()) errors->required(at + ".name");
        check_items(part.configmap().items(), at, errors);
        for (const auto& item : part.configmap().items()) {
            claim_path(item.path(), at, paths, errors);
        }
    }
    if (part.has_downwardapi()) {
        const std::string at = field + ".downwardAPI";
        check_downward_items(part.downwardapi().items(), at, errors);
        for (const auto& item : part.downwardapi().items()) {
            claim_path(item.path(), at, paths, errors);
        }
    }
    if (part.has_serviceaccounttoken()) {
        const std::string at = field + ".serviceAccountToken";
        check_token(part.serviceaccounttoken(), at, errors);
        claim_path(part.serviceaccounttoken().path(), at, paths, errors);
    }
}

void check_source(const corev1::VolumeSource& source, const std::string& field,
                  FieldErrors* errors) {
    if (sole_volume_type(source, field, errors) == nullptr) return;
    if (source.has_emptydir() && source.emptydir().has_sizelimit()) {
        const auto limit = codec::Quantity::parse(source.emptydir().sizelimit().string());
        if (!limit || limit->is_negative()) {
            errors->forbidden(field + ".emptyDir.sizeLimit",
                              "SizeLimit field must be a valid resource quantity");
        }
    }
    if (source.has_hostpath()) check_host_path(source.hostpath(), field + ".hostPath", errors);
    if (source.has_secret()) {
        const std::string at = field + ".secret";
        if (source.secret().secretname().empty()) errors->required(at + ".secretName");
        check_default_mode(source.secret(), at, errors);
        check_items(source.secret().items(), at, errors);
    }
    if (source.has_configmap()) {
        const std::string at = field + ".configMap";
        if (source.configmap().localobjectreference().name().empty()) {
            errors->required(at + ".name");
        }
        check_default_mode(source.configmap(), at, errors);
        check_items(source.configmap().items(), at, errors);
    }
    if (source.has_downwardapi()) {
        const std::string at = field + ".downwardAPI";
        check_default_mode(source.downwardapi(), at, errors);
        check_downward_items(source.downwardapi().items(), at, errors);
    }
    if (source.has_projected()) {
        const std::string at = field + ".projected";
        check_default_mode(source.projected(), at, errors);
        std::set<std::string> paths;
        for (int i = 0; i < source.projected().sources_size(); ++i) {
            check_projection(source.projected().sources(i), field_index(at + ".sources", i),
                             &paths, errors);
        }
    }
    if (source.has_persistentvolumeclaim() &&
        source.persistentvolumeclaim().claimname().empty()) {
        errors->required(field + ".persistentVolumeClaim.claimName");
    }
}

}  // namespace

const google::protobuf::FieldDescriptor* sole_volume_type(const google::protobuf::Message& source,
                                                          const std::string& field,
                                                          FieldErrors* errors) {
    std::vector<const google::protobuf::FieldDescriptor*> set;
    source.GetReflection()->ListFields(source, &set);
    if (set.empty()) {
        errors->required(field, "must specify a volume type");
        return nullptr;
    }
    for (std::size_t i = 1; i < set.size(); ++i) {
        errors->forbidden(field_child(field, set[i]->name()),
                          "may not specify more than 1 volume type");
    }
    return set[0];
}

bool has_backsteps(std::string_view path) {
    while (true) {
        const std::size_t slash = path.find('/');
        if (path.substr(0, slash) == "..") return true;
        if (slash == std::string_view::npos) return false;
        path.remove_prefix(slash + 1);
    }
}

void validate_descending_path(const std::string& path, const std::string& field,
                              FieldErrors* errors) {
    if (path.starts_with('/')) errors->invalid(field, path, "must be a relative path");
    if (has_backsteps(path)) errors->invalid(field, path, "must not contain '..'");
}

std::set<std::string> validate_volumes(const corev1::PodSpec& spec, const std::string& field,
                                       FieldErrors* errors) {
    std::set<std::string> names;
    for (int i = 0; i < spec.volumes_size(); ++i) {
        const auto& volume = spec.volumes(i);
        const std::string at = field_index(field + ".volumes", i);
        check_source(volume.volumesource(), at, errors);
        if (volume.name().empty()) {
            errors->required(at + ".name");
            continue;
        }
        errors->invalid_all(at + ".name", volume.name(), check_dns1123_label(volume.name()));
        if (!names.insert(volume.name()).second) errors->duplicate(at + ".name", volume.name());
    }
    return names;
}

}  // namespace sluice::registry
