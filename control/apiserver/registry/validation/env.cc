#include "control/apiserver/registry/validation/env.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

// Paths that exist at all; a use may offer only some of them.
constexpr std::string_view kKnownPaths[] = {
    "metadata.annotations", "metadata.labels",         "metadata.name",       "metadata.namespace",
    "metadata.uid",         "spec.nodeName",           "spec.restartPolicy",  "spec.schedulerName",
    "spec.serviceAccountName", "spec.host",            "status.hostIP",       "status.hostIPs",
    "status.phase",         "status.podIP",            "status.podIPs",
};

bool contains(std::span<const std::string_view> list, std::string_view value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

// "metadata.labels['app']" in its parts; false when there is no subscript.
bool split_subscript(std::string_view path, std::string_view* base, std::string_view* key) {
    if (!path.ends_with("']")) return false;
    const std::size_t open = path.find("['");
    if (open == std::string_view::npos) return false;
    *base = path.substr(0, open);
    *key = path.substr(open + 2, path.size() - open - 4);
    return true;
}

void check_subscript(std::string_view path, std::string_view base, std::string_view key,
                     const std::string& field, FieldErrors* errors) {
    if (base == "metadata.annotations") {
        std::string lower(key);
        std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        errors->invalid_all(field, key, check_qualified_name(lower));
    } else if (base == "metadata.labels") {
        errors->invalid_all(field, key, check_qualified_name(key));
    } else {
        errors->invalid(field, path, "does not support subscript");
    }
}

bool divisor_fits(std::string_view resource, const codec::Quantity& divisor) {
    if (resource.ends_with(".cpu")) {
        return divisor == codec::Quantity::from_milli(1) ||
               divisor == codec::Quantity::from_units(1);
    }
    constexpr std::array<const char*, 13> kBytes = {"1",  "1k",  "1M",  "1G",  "1T", "1P", "1E",
                                                    "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"};
    return std::any_of(kBytes.begin(), kBytes.end(), [&divisor](const char* text) {
        const auto one = codec::Quantity::parse(text);
        return one && *one == divisor;
    });
}

int count_sources(const corev1::EnvVarSource& from) {
    return (from.has_fieldref() ? 1 : 0) + (from.has_resourcefieldref() ? 1 : 0) +
           (from.has_configmapkeyref() ? 1 : 0) + (from.has_secretkeyref() ? 1 : 0);
}

// ConfigMapKeySelector and SecretKeySelector.
template <class S>
void check_key_ref(const S& ref, const std::string& field, FieldErrors* errors) {
    if (ref.localobjectreference().name().empty()) errors->required(field + ".name");
    if (ref.key().empty()) {
        errors->required(field + ".key");
    } else {
        errors->invalid_all(field + ".key", ref.key(), check_config_key(ref.key()));
    }
}

void check_value_from(const corev1::EnvVar& variable, const std::string& field,
                      FieldErrors* errors) {
    const auto& from = variable.valuefrom();
    const int sources = count_sources(from);
    if (sources == 0) {
        errors->invalid(field, "",
                        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` "
                        "or `secretKeyRef`");
        return;
    }
    if (!variable.value().empty()) {
        errors->invalid(field, "", "may not be specified when `value` is not empty");
    } else if (sources > 1) {
        errors->invalid(field, "", "may not have more than one field specified at a time");
    }
    if (from.has_fieldref()) {
        validate_field_ref(from.fieldref(), FieldUse::kEnvironment, field + ".fieldRef", errors);
    }
    if (from.has_resourcefieldref()) {
        validate_resource_ref(from.resourcefieldref(), FieldUse::kEnvironment,
                              field + ".resourceFieldRef", errors);
    }
    if (from.has_configmapkeyref()) {
        check_key_ref(from.configmapkeyref(), field + ".configMapKeyRef", errors);
    }
    if (from.has_secretkeyref()) {
        check_key_ref(from.secretkeyref(), field + ".secretKeyRef", errors);
    }
}

}  // namespace

void validate_field_ref(const corev1::ObjectFieldSelector& ref, FieldUse use,
                        const std::string& field, FieldErrors* errors) {
    if (ref.apiversion().empty()) {
        errors->required(field + ".apiVersion");
        return;
    }
    const std::string& path = ref.fieldpath();
    const std::string at = field + ".fieldPath";
    if (path.empty()) {
        errors->required(at);
        return;
    }
    std::string_view base;
    std::string_view key;
    if (split_subscript(path, &base, &key)) {
        check_subscript(path, base, key, at, errors);
        return;
    }
    if (ref.apiversion() != "v1" || !contains(kKnownPaths, path)) {
        errors->invalid(at, path,
                        ref.apiversion() != "v1"
                            ? fmt::format("error converting fieldPath: unsupported pod version: {}",
                                          ref.apiversion())
                            : fmt::format("error converting fieldPath: field label not supported: "
                                          "{}",
                                          path));
        return;
    }
    if (use == FieldUse::kVolume) {
        constexpr std::string_view kOffered[] = {"metadata.annotations", "metadata.labels",
                                                 "metadata.name", "metadata.namespace",
                                                 "metadata.uid"};
        if (!contains(kOffered, path)) {
            errors->not_supported(at, path,
                                  {"metadata.annotations", "metadata.labels", "metadata.name",
                                   "metadata.namespace", "metadata.uid"});
        }
        return;
    }
    constexpr std::string_view kOffered[] = {
        "metadata.name",           "metadata.namespace", "metadata.uid",   "spec.nodeName",
        "spec.serviceAccountName", "status.hostIP",      "status.hostIPs", "status.podIP",
        "status.podIPs"};
    if (!contains(kOffered, path)) {
        errors->not_supported(at, path,
                              {"metadata.name", "metadata.namespace", "metadata.uid",
                               "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
                               "status.hostIPs", "status.podIP", "status.podIPs"});
    }
}

void validate_resource_ref(const corev1::ResourceFieldSelector& ref, FieldUse use,
                           const std::string& field, FieldErrors* errors) {
    if (use == FieldUse::kVolume && ref.containername().empty()) {
        errors->required(field + ".containerName");
    } else if (ref.resource().empty()) {
        errors->required(field + ".resource");
    } else {
        constexpr std::string_view kOffered[] = {
            "limits.cpu",   "limits.ephemeral-storage",   "limits.memory",
            "requests.cpu", "requests.ephemeral-storage", "requests.memory"};
        const bool huge = ref.resource().starts_with("limits.hugepages-") ||
                          ref.resource().starts_with("requests.hugepages-");
        if (!contains(kOffered, ref.resource()) && !huge) {
            errors->not_supported(field + ".resource", ref.resource(),
                                  {"limits.cpu", "limits.ephemeral-storage", "limits.memory",
                                   "requests.cpu", "requests.ephemeral-storage",
                                   "requests.memory"});
        }
        const std::string& text = ref.divisor().string();
        const auto divisor = codec::Quantity::parse(text.empty() ? "0" : text);
        if (divisor && !divisor->is_zero() && !divisor_fits(ref.resource(), *divisor)) {
            errors->invalid(field + ".divisor", text,
                            ref.resource().ends_with(".cpu")
                                ? "only divisor's values 1m and 1 are supported with the cpu "
                                  "resource"
                                : "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, "
                                  "1Ti, 1Pi, 1Ei are supported with the resource");
        }
    }
}

void validate_env(const google::protobuf::RepeatedPtrField<corev1::EnvVar>& env,
                  const std::string& field, FieldErrors* errors) {
    for (int i = 0; i < env.size(); ++i) {
        const std::string at = field_index(field, i);
        if (env[i].name().empty()) {
            errors->required(at + ".name");
        } else {
            errors->invalid_all(at + ".name", env[i].name(), check_env_var_name(env[i].name()));
        }
        if (env[i].has_valuefrom()) check_value_from(env[i], at + ".valueFrom", errors);
    }
}

void validate_env_from(const google::protobuf::RepeatedPtrField<corev1::EnvFromSource>& sources,
                       const std::string& field, FieldErrors* errors) {
    for (int i = 0; i < sources.size(); ++i) {
        const auto& source = sources[i];
        const std::string at = field_index(field, i);
        if (!source.prefix().empty()) {
            errors->invalid_all(at + ".prefix", source.prefix(),
                                check_env_var_name(source.prefix()));
        }
        if (source.has_configmapref() &&
            source.configmapref().localobjectreference().name().empty()) {
            errors->required(at + ".configMapRef.name");
        }
        if (source.has_secretref() && source.secretref().localobjectreference().name().empty()) {
            errors->required(at + ".secretRef.name");
        }
        if (!source.has_configmapref() && !source.has_secretref()) {
            errors->invalid(field, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if (source.has_configmapref() && source.has_secretref()) {
            errors->invalid(field, "", "may not have more than one field specified at a time");
        }
    }
}

}  // namespace sluice::registry
