#include "control/apiserver/registry/validation/pod.h"

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/object_meta.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using google::protobuf::util::MessageDifferencer;

constexpr std::int64_t kMaxDeadline = 2147483647;

bool is_one_of(std::string_view value, std::initializer_list<std::string_view> allowed) {
    return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

void check_ports(const google::protobuf::RepeatedPtrField<corev1::ContainerPort>& ports,
                 const std::string& field, FieldErrors* errors) {
    std::set<std::string> names;
    for (int i = 0; i < ports.size(); ++i) {
        const auto& port = ports[i];
        const std::string at = field_index(field, i);
        if (!port.name().empty()) {
            const auto why = check_port_name(port.name());
            errors->invalid_all(at + ".name", port.name(), why);
            if (why.empty() && !names.insert(port.name()).second) {
                errors->duplicate(at + ".name", port.name());
            }
        }
        if (port.containerport() == 0) {
            errors->required(at + ".containerPort");
        } else {
            for (const std::string& why : check_port_number(port.containerport())) {
                errors->invalid(at + ".containerPort", port.containerport(), why);
            }
        }
        if (port.hostport() != 0) {
            for (const std::string& why : check_port_number(port.hostport())) {
                errors->invalid(at + ".hostPort", port.hostport(), why);
            }
        }
        if (!is_one_of(port.protocol(), {"TCP", "UDP", "SCTP"})) {
            errors->not_supported(at + ".protocol", port.protocol(), {"SCTP", "TCP", "UDP"});
        }
    }
}

void check_env(const google::protobuf::RepeatedPtrField<corev1::EnvVar>& env,
               const std::string& field, FieldErrors* errors) {
    for (int i = 0; i < env.size(); ++i) {
        const std::string at = field_index(field, i);
        if (env[i].name().empty()) {
            errors->required(at + ".name");
        } else {
            errors->invalid_all(at + ".name", env[i].name(), check_env_var_name(env[i].name()));
        }
        if (!env[i].value().empty() && env[i].has_valuefrom()) {
            errors->invalid(at + ".valueFrom", "",
                            "may not be specified when `value` is not empty");
        }
    }
}

void check_mounts(const google::protobuf::RepeatedPtrField<corev1::VolumeMount>& mounts,
                  const std::set<std::string>& volumes, const std::string& field,
                  FieldErrors* errors) {
    std::set<std::string> paths;
    for (int i = 0; i < mounts.size(); ++i) {
        const std::string at = field_index(field, i);
        if (mounts[i].name().empty()) {
            errors->required(at + ".name");
        } else if (!volumes.contains(mounts[i].name())) {
            errors->not_found(at + ".name", mounts[i].name());
        }
        if (mounts[i].mountpath().empty()) {
            errors->required(at + ".mountPath");
        } else if (!paths.insert(mounts[i].mountpath()).second) {
            errors->invalid(at + ".mountPath", mounts[i].mountpath(), "must be unique");
        }
    }
}

void check_quantities(
    const google::protobuf::Map<std::string,
                                ::k8s::io::apimachinery::pkg::api::resource::Quantity>& map,
    const std::string& field, std::map<std::string, codec::Quantity>* out, FieldErrors* errors) {
    const std::map<std::string, std::string> sorted = [&map] {
        std::map<std::string, std::string> texts;
        for (const auto& [name, quantity] : map) texts[name] = quantity.string();
        return texts;
    }();
    for (const auto& [name, text] : sorted) {
        const std::string at = field_key(field, name);
        errors->invalid_all(at, name, check_qualified_name(name));
        const auto quantity = codec::Quantity::parse(text);
        if (!quantity) {
            errors->invalid(at, text, quantity.error().message);
        } else if (quantity->is_negative()) {
            errors->invalid(at, text, "must be greater than or equal to 0");
        } else {
            out->emplace(name, *quantity);
        }
    }
}

void check_resources(const corev1::ResourceRequirements& resources, const std::string& field,
                     FieldErrors* errors) {
    std::map<std::string, codec::Quantity> limits;
    std::map<std::string, codec::Quantity> requests;
    check_quantities(resources.limits(), field + ".limits", &limits, errors);
    check_quantities(resources.requests(), field + ".requests", &requests, errors);
    for (const auto& [name, request] : requests) {
        const auto limit = limits.find(name);
        if (limit != limits.end() && request > limit->second) {
            errors->invalid(field + ".requests", request.to_string(),
                            fmt::format("must be less than or equal to {} limit of {}", name,
                                        limit->second.to_string()));
        }
    }
}

void check_container(const corev1::Container& container, const std::set<std::string>& volumes,
                     const std::string& field, std::set<std::string>* names, FieldErrors* errors) {
    if (container.name().empty()) {
        errors->required(field + ".name");
    } else {
        errors->invalid_all(field + ".name", container.name(),
                            check_dns1123_label(container.name()));
        if (!names->insert(container.name()).second) {
            errors->duplicate(field + ".name", container.name());
        }
    }
    if (container.image().empty()) {
        errors->required(field + ".image");
    } else if (container.image().front() == ' ' || container.image().back() == ' ') {
        errors->invalid(field + ".image", container.image(),
                        "must not have leading or trailing whitespace");
    }
    check_ports(container.ports(), field + ".ports", errors);
    check_env(container.env(), field + ".env", errors);
    check_mounts(container.volumemounts(), volumes, field + ".volumeMounts", errors);
    if (!is_one_of(container.imagepullpolicy(), {"Always", "IfNotPresent", "Never"})) {
        errors->not_supported(field + ".imagePullPolicy", container.imagepullpolicy(),
                              {"Always", "IfNotPresent", "Never"});
    }
    if (!is_one_of(container.terminationmessagepolicy(), {"File", "FallbackToLogsOnError"})) {
        errors->not_supported(field + ".terminationMessagePolicy",
                              container.terminationmessagepolicy(),
                              {"FallbackToLogsOnError", "File"});
    }
    check_resources(container.resources(), field + ".resources", errors);
}

std::set<std::string> check_volumes(const corev1::PodSpec& spec, FieldErrors* errors) {
    std::set<std::string> names;
    for (int i = 0; i < spec.volumes_size(); ++i) {
        const std::string& name = spec.volumes(i).name();
        const std::string at = field_index("spec.volumes", i) + ".name";
        if (name.empty()) {
            errors->required(at);
            continue;
        }
        errors->invalid_all(at, name, check_dns1123_label(name));
        if (!names.insert(name).second) errors->duplicate(at, name);
    }
    return names;
}

bool only_adds(const corev1::PodSpec& now, const corev1::PodSpec& was) {
    return std::all_of(was.tolerations().begin(), was.tolerations().end(),
                       [&now](const corev1::Toleration& old) {
                           return std::any_of(now.tolerations().begin(), now.tolerations().end(),
                                              [&old](const corev1::Toleration& toleration) {
                                                  return MessageDifferencer::Equivalent(toleration,
                                                                                        old);
                                              });
                       });
}

}  // namespace

void validate_pod(const corev1::Pod& pod, FieldErrors* errors) {
    const auto& spec = pod.spec();
    const std::set<std::string> volumes = check_volumes(spec, errors);
    if (spec.containers_size() == 0) errors->required("spec.containers");
    std::set<std::string> names;
    for (int i = 0; i < spec.containers_size(); ++i) {
        check_container(spec.containers(i), volumes, field_index("spec.containers", i), &names,
                        errors);
    }
    for (int i = 0; i < spec.initcontainers_size(); ++i) {
        check_container(spec.initcontainers(i), volumes, field_index("spec.initContainers", i),
                        &names, errors);
    }
    if (!is_one_of(spec.restartpolicy(), {"Always", "OnFailure", "Never"})) {
        errors->not_supported("spec.restartPolicy", spec.restartpolicy(),
                              {"Always", "OnFailure", "Never"});
    }
    if (!is_one_of(spec.dnspolicy(), {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"})) {
        errors->not_supported("spec.dnsPolicy", spec.dnspolicy(),
                              {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"});
    }
    validate_labels(spec.nodeselector(), "spec.nodeSelector", errors);
    if (!spec.serviceaccountname().empty()) {
        errors->invalid_all("spec.serviceAccountName", spec.serviceaccountname(),
                            check_dns1123_subdomain(spec.serviceaccountname()));
    }
    if (!spec.nodename().empty()) {
        errors->invalid_all("spec.nodeName", spec.nodename(),
                            check_dns1123_subdomain(spec.nodename()));
    }
    if (spec.has_activedeadlineseconds() &&
        (spec.activedeadlineseconds() < 1 || spec.activedeadlineseconds() > kMaxDeadline)) {
        errors->invalid("spec.activeDeadlineSeconds", std::int64_t{spec.activedeadlineseconds()},
                        "must be between 1 and 2147483647, inclusive");
    }
    if (spec.terminationgraceperiodseconds() < 0) {
        errors->invalid("spec.terminationGracePeriodSeconds",
                        std::int64_t{spec.terminationgraceperiodseconds()},
                        "must be greater than or equal to 0");
    }
    if (!spec.hostname().empty()) {
        errors->invalid_all("spec.hostname", spec.hostname(), check_dns1123_label(spec.hostname()));
    }
    if (!spec.subdomain().empty()) {
        errors->invalid_all("spec.subdomain", spec.subdomain(),
                            check_dns1123_label(spec.subdomain()));
    }
}

void validate_pod_update(const corev1::Pod& pod, const corev1::Pod& old, FieldErrors* errors) {
    corev1::PodSpec munged = pod.spec();
    const corev1::PodSpec& was = old.spec();
    const auto restore_images = [](auto* now, const auto& before) {
        for (int i = 0; i < now->size() && i < before.size(); ++i) {
            now->Mutable(i)->set_image(before[i].image());
        }
    };
    restore_images(munged.mutable_containers(), was.containers());
    restore_images(munged.mutable_initcontainers(), was.initcontainers());
    if (only_adds(pod.spec(), was)) *munged.mutable_tolerations() = was.tolerations();
    // A deadline may be set or shortened, never lengthened or taken away.
    const bool deadline_ok =
        !was.has_activedeadlineseconds() ||
        (munged.has_activedeadlineseconds() &&
         munged.activedeadlineseconds() <= was.activedeadlineseconds());
    if (deadline_ok) {
        if (was.has_activedeadlineseconds()) {
            munged.set_activedeadlineseconds(was.activedeadlineseconds());
        } else {
            munged.clear_activedeadlineseconds();
        }
    } else {
        errors->invalid("spec.activeDeadlineSeconds", std::int64_t{munged.activedeadlineseconds()},
                        "must be less than or equal to previous value");
    }
    if (!MessageDifferencer::Equivalent(munged, was)) {
        errors->forbidden(
            "spec",
            "pod updates may not change fields other than "
            "`spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
            "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
            "previously negative)\n");
    }
}

}  // namespace sluice::registry
