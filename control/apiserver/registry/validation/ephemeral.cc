#include "control/apiserver/registry/validation/ephemeral.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/volume.pb.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr const char* kField = "spec.ephemeralContainers";
constexpr std::string_view kNotHere = "cannot be set for an Ephemeral Container";
// Nothing that a Pod's services could come to rely on.
constexpr std::string_view kAllowed[] = {
    "name",         "image",         "command",   "args",
    "workingDir",   "envFrom",       "env",       "volumeMounts",
    "volumeDevices", "terminationMessagePath",    "terminationMessagePolicy",
    "imagePullPolicy", "securityContext", "stdin", "stdinOnce",
    "tty",
};

bool is_allowed(std::string_view member) {
    for (const std::string_view allowed : kAllowed) {
        if (allowed == member) return true;
    }
    return false;
}

void check_members(const corev1::EphemeralContainerCommon& container, const std::string& field,
                   FieldErrors* errors) {
    std::vector<const google::protobuf::FieldDescriptor*> set;
    container.GetReflection()->ListFields(container, &set);
    for (const auto* member : set) {
        if (is_allowed(member->name())) continue;
        // resources is written by every client, most often with nothing in it.
        if (member->name() == "resources" && container.resources().ByteSizeLong() == 0) continue;
        errors->forbidden(field_child(field, member->name()), kNotHere);
    }
    for (int i = 0; i < container.volumemounts_size(); ++i) {
        const auto& mount = container.volumemounts(i);
        const std::string at = field_index(field + ".volumeMounts", i);
        if (!mount.subpath().empty()) errors->forbidden(at + ".subPath", kNotHere);
        if (!mount.subpathexpr().empty()) errors->forbidden(at + ".subPathExpr", kNotHere);
    }
}

void check_common(const corev1::EphemeralContainerCommon& container,
                  const std::set<std::string>& volumes, const std::string& field,
                  FieldErrors* errors) {
    if (container.name().empty()) {
        errors->required(field + ".name");
    } else {
        errors->invalid_all(field + ".name", container.name(),
                            check_dns1123_label(container.name()));
    }
    if (container.image().empty()) errors->required(field + ".image");
    const std::string& pull = container.imagepullpolicy();
    if (pull.empty()) {
        errors->required(field + ".imagePullPolicy");
    } else if (pull != "Always" && pull != "IfNotPresent" && pull != "Never") {
        errors->not_supported(field + ".imagePullPolicy", pull,
                              {"Always", "IfNotPresent", "Never"});
    }
    const std::string& policy = container.terminationmessagepolicy();
    if (policy.empty()) {
        errors->required(field + ".terminationMessagePolicy");
    } else if (policy != "File" && policy != "FallbackToLogsOnError") {
        errors->not_supported(field + ".terminationMessagePolicy", policy,
                              {"FallbackToLogsOnError", "File"});
    }
    for (int i = 0; i < container.volumemounts_size(); ++i) {
        const auto& mount = container.volumemounts(i);
        const std::string at = field_index(field + ".volumeMounts", i);
        if (mount.name().empty()) {
            errors->required(at + ".name");
        } else if (!volumes.contains(mount.name())) {
            errors->not_found(at + ".name", mount.name());
        }
        if (mount.mountpath().empty()) errors->required(at + ".mountPath");
    }
}

}  // namespace

void validate_ephemeral_containers(const corev1::Pod& pod, FieldErrors* errors) {
    std::set<std::string> names;
    for (const auto& container : pod.spec().containers()) names.insert(container.name());
    for (const auto& container : pod.spec().initcontainers()) names.insert(container.name());
    const std::set<std::string> targets = names;
    std::set<std::string> volumes;
    for (const auto& volume : pod.spec().volumes()) volumes.insert(volume.name());
    for (int i = 0; i < pod.spec().ephemeralcontainers_size(); ++i) {
        const auto& container = pod.spec().ephemeralcontainers(i);
        const auto& common = container.ephemeralcontainercommon();
        const std::string field = field_index(kField, i);
        check_common(common, volumes, field, errors);
        if (!names.insert(common.name()).second) {
            errors->duplicate(field + ".name", common.name());
        }
        const std::string& target = container.targetcontainername();
        if (!target.empty() && !targets.contains(target)) {
            errors->not_found(field + ".targetContainerName", target);
        }
        check_members(common, field, errors);
    }
}

void validate_ephemeral_update(const corev1::Pod& pod, const corev1::Pod& old,
                               FieldErrors* errors) {
    std::map<std::string, const corev1::EphemeralContainer*> now;
    for (const auto& container : pod.spec().ephemeralcontainers()) {
        now[container.ephemeralcontainercommon().name()] = &container;
    }
    for (const auto& container : old.spec().ephemeralcontainers()) {
        const std::string& name = container.ephemeralcontainercommon().name();
        const auto found = now.find(name);
        if (found == now.end()) {
            errors->forbidden(
                kField, fmt::format("existing ephemeral containers {} may not be removed\n",
                                    go_quote(name)));
        } else if (codec::encode_protobuf_raw(*found->second) !=
                   codec::encode_protobuf_raw(container)) {
            errors->forbidden(
                kField, fmt::format("existing ephemeral containers {} may not be changed\n",
                                    go_quote(name)));
        }
    }
}

}  // namespace sluice::registry
