#include "control/apiserver/registry/validation/containers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/apiserver/registry/validation/env.h"
#include "control/apiserver/registry/validation/handlers.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/volumes.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

bool is_one_of(std::string_view value, std::initializer_list<std::string_view> allowed) {
    return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

void check_ports(const corev1::Container& container, bool host_network, const std::string& field,
                 FieldErrors* errors) {
    std::set<std::string> names;
    for (int i = 0; i < container.ports_size(); ++i) {
        const auto& port = container.ports(i);
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
        if (!port.hostip().empty()) {
            errors->invalid_all(at + ".hostIP", port.hostip(), check_ip(port.hostip()));
        }
        if (host_network && port.hostport() != port.containerport()) {
            errors->invalid(at + ".containerPort", port.containerport(),
                            "must match `hostPort` when `hostNetwork` is true");
        }
    }
}

void check_mounts(const corev1::Container& container, const std::set<std::string>& volumes,
                  const std::string& field, FieldErrors* errors) {
    std::set<std::string> paths;
    const bool privileged = container.securitycontext().privileged();
    for (int i = 0; i < container.volumemounts_size(); ++i) {
        const auto& mount = container.volumemounts(i);
        const std::string at = field_index(field, i);
        if (mount.name().empty()) errors->required(at + ".name");
        if (mount.mountpath().empty()) errors->required(at + ".mountPath");
        if (!mount.name().empty() && !volumes.contains(mount.name())) {
            errors->not_found(at + ".name", mount.name());
        }
        if (!mount.mountpath().empty() && !paths.insert(mount.mountpath()).second) {
            errors->invalid(at + ".mountPath", mount.mountpath(), "must be unique");
        }
        if (mount.mountpath().find(':') != std::string::npos) {
            errors->invalid(at + ".mountPath", mount.mountpath(), "must not contain ':'");
        }
        if (!mount.subpath().empty()) {
            validate_descending_path(mount.subpath(), at + ".subPath", errors);
        }
        if (!mount.subpathexpr().empty()) {
            if (!mount.subpath().empty()) {
                errors->invalid(at + ".subPathExpr", mount.subpathexpr(),
                                "subPathExpr and subPath are mutually exclusive");
            }
            validate_descending_path(mount.subpathexpr(), at + ".subPathExpr", errors);
        }
        if (!mount.has_mountpropagation()) continue;
        const std::string& propagation = mount.mountpropagation();
        if (!is_one_of(propagation, {"None", "HostToContainer", "Bidirectional"})) {
            errors->not_supported(at + ".mountPropagation", propagation,
                                  {"Bidirectional", "HostToContainer", "None"});
        } else if (propagation == "Bidirectional" && !privileged) {
            errors->forbidden(
                at + ".mountPropagation",
                "Bidirectional mount propagation is available only to privileged containers");
        }
    }
}

void check_resource_name(const std::string& name, const std::string& field, FieldErrors* errors) {
    const auto why = check_qualified_name(name);
    errors->invalid_all(field, name, why);
    if (!why.empty() || name.find('/') != std::string::npos) return;
    if (!is_one_of(name, {"cpu", "memory", "ephemeral-storage"}) &&
        !name.starts_with("hugepages-")) {
        errors->invalid(field, name, "must be a standard resource for containers");
    }
}

template <class Map>
void check_quantities(const Map& map, const std::string& field,
                      std::map<std::string, codec::Quantity>* out, FieldErrors* errors) {
    const std::map<std::string, ::k8s::io::apimachinery::pkg::api::resource::Quantity> sorted(
        map.begin(), map.end());
    for (const auto& [name, value] : sorted) {
        const std::string at = field_key(field, name);
        check_resource_name(name, at, errors);
        const auto parsed = codec::Quantity::parse(value.string());
        if (!parsed) {
            errors->invalid(at, value.string(), parsed.error().message);
            continue;
        }
        if (parsed->is_negative()) {
            errors->invalid(at, value.string(), "must be greater than or equal to 0");
        }
        (*out)[name] = *parsed;
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

void check_security(const corev1::SecurityContext& context, const std::string& field,
                    FieldErrors* errors) {
    if (context.has_runasuser()) {
        validate_linux_id(context.runasuser(), field + ".runAsUser", errors);
    }
    if (context.has_runasgroup()) {
        validate_linux_id(context.runasgroup(), field + ".runAsGroup", errors);
    }
    if (context.has_procmount() && !is_one_of(context.procmount(), {"Default", "Unmasked"})) {
        errors->not_supported(field + ".procMount", context.procmount(), {"Default", "Unmasked"});
    }
    if (!context.has_allowprivilegeescalation() || context.allowprivilegeescalation()) return;
    const auto& added = context.capabilities().add();
    if (context.privileged()) {
        errors->invalid(field, BadValue::verbatim("core.SecurityContext{...}"),
                        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    if (std::find(added.begin(), added.end(), "CAP_SYS_ADMIN") != added.end()) {
        errors->invalid(field, BadValue::verbatim("core.SecurityContext{...}"),
                        "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` "
                        "CAP_SYS_ADMIN");
    }
}

struct Context {
    const corev1::PodSpec& spec;
    const std::set<std::string>& volumes;
    std::set<std::string> names;
    std::set<std::string> host_ports;
};

void check_name(const corev1::Container& container, const std::string& field, Context* context,
                FieldErrors* errors) {
    if (container.name().empty()) {
        errors->required(field + ".name");
        return;
    }
    const auto why = check_dns1123_label(container.name());
    errors->invalid_all(field + ".name", container.name(), why);
    if (!context->names.insert(container.name()).second) {
        errors->duplicate(field + ".name", container.name());
    }
}

// What every container must keep, whenever it runs.
void check_common(const corev1::Container& container, const std::string& field, Context* context,
                  FieldErrors* errors) {
    check_name(container, field, context, errors);
    if (container.image().empty()) {
        errors->required(field + ".image");
    } else if (container.image().front() == ' ' || container.image().back() == ' ') {
        errors->invalid(field + ".image", container.image(),
                        "must not have leading or trailing whitespace");
    }
    if (!is_one_of(container.terminationmessagepolicy(), {"File", "FallbackToLogsOnError"})) {
        errors->not_supported(field + ".terminationMessagePolicy",
                              container.terminationmessagepolicy(),
                              {"FallbackToLogsOnError", "File"});
    }
    check_ports(container, context->spec.hostnetwork(), field + ".ports", errors);
    validate_env(container.env(), field + ".env", errors);
    validate_env_from(container.envfrom(), field + ".envFrom", errors);
    check_mounts(container, context->volumes, field + ".volumeMounts", errors);
    if (!is_one_of(container.imagepullpolicy(), {"Always", "IfNotPresent", "Never"})) {
        errors->not_supported(field + ".imagePullPolicy", container.imagepullpolicy(),
                              {"Always", "IfNotPresent", "Never"});
    }
    check_resources(container.resources(), field + ".resources", errors);
    check_security(container.securitycontext(), field + ".securityContext", errors);
}

// Of containers that stay: regular ones, and init containers that restart always.
void check_handlers(const corev1::Container& container, const corev1::PodSpec& spec,
                    const std::string& field, FieldErrors* errors) {
    if (container.has_lifecycle()) {
        validate_lifecycle(container.lifecycle(), spec.terminationgraceperiodseconds(),
                           field + ".lifecycle", errors);
    }
    if (container.has_livenessprobe()) {
        validate_probe(container.livenessprobe(), ProbeKind::kLiveness, field + ".livenessProbe",
                       errors);
    }
    if (container.has_readinessprobe()) {
        validate_probe(container.readinessprobe(), ProbeKind::kReadiness,
                       field + ".readinessProbe", errors);
    }
    if (container.has_startupprobe()) {
        validate_probe(container.startupprobe(), ProbeKind::kStartup, field + ".startupProbe",
                       errors);
    }
}

void check_init_handlers(const corev1::Container& container, const std::string& field,
                         FieldErrors* errors) {
    constexpr std::string_view kWhy = "may not be set for init containers without restartPolicy=Always";
    if (container.has_lifecycle()) errors->forbidden(field + ".lifecycle", kWhy);
    if (container.has_livenessprobe()) errors->forbidden(field + ".livenessProbe", kWhy);
    if (container.has_readinessprobe()) errors->forbidden(field + ".readinessProbe", kWhy);
    if (container.has_startupprobe()) errors->forbidden(field + ".startupProbe", kWhy);
}

// Host ports of containers that run side by side.
void claim_host_ports(const corev1::Container& container, const std::string& field,
                      std::set<std::string>* claimed, FieldErrors* errors) {
    for (int i = 0; i < container.ports_size(); ++i) {
        const auto& port = container.ports(i);
        if (port.hostport() == 0) continue;
        const std::string name =
            fmt::format("{}/{}/{}", port.protocol(), port.hostip(), port.hostport());
        if (!claimed->insert(name).second) {
            errors->duplicate(field_index(field + ".ports", i) + ".hostPort", name);
        }
    }
}

}  // namespace

void validate_linux_id(std::int64_t id, const std::string& field, FieldErrors* errors) {
    constexpr std::int64_t kMaxId = 2147483647;
    if (id < 0 || id > kMaxId) {
        errors->invalid(field, id, "must be between 0 and 2147483647, inclusive");
    }
}

void validate_containers(const corev1::PodSpec& spec, const std::set<std::string>& volumes,
                         const std::string& field, FieldErrors* errors) {
    Context context{spec, volumes, {}, {}};
    if (spec.containers_size() == 0) errors->required(field + ".containers");
    for (int i = 0; i < spec.containers_size(); ++i) {
        const auto& container = spec.containers(i);
        const std::string at = field_index(field + ".containers", i);
        check_common(container, at, &context, errors);
        if (container.has_restartpolicy()) {
            errors->forbidden(at + ".restartPolicy", "may not be set for non-init containers");
        }
        check_handlers(container, spec, at, errors);
        claim_host_ports(container, at, &context.host_ports, errors);
    }
    for (int i = 0; i < spec.initcontainers_size(); ++i) {
        const auto& container = spec.initcontainers(i);
        const std::string at = field_index(field + ".initContainers", i);
        check_common(container, at, &context, errors);
        const bool stays = container.restartpolicy() == "Always";
        if (container.has_restartpolicy() && !stays) {
            errors->not_supported(at + ".restartPolicy", container.restartpolicy(), {"Always"});
        }
        if (stays) {
            check_handlers(container, spec, at, errors);
        } else {
            check_init_handlers(container, at, errors);
        }
        // Init containers run one after another, so that only those that stay share ports with others.
        std::set<std::string> alone;
        claim_host_ports(container, at, stays ? &context.host_ports : &alone, errors);
    }
}

}  // namespace sluice::registry
