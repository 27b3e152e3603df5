#include "control/apiserver/admission/pod_security/evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission::pod_security {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;

using Found = std::optional<Violation>;
using Names = std::vector<std::string>;

struct Subject {
    const metav1::ObjectMeta& meta;
    const corev1::PodSpec& spec;
    int minor = kNewestMinor;
};

std::string quoted(const auto& names) {
    std::string out;
    for (const std::string& name : names) out += (out.empty() ? "\"" : ", \"") + name + "\"";
    return out;
}

std::string joined(const auto& names, std::string_view between) {
    std::string out;
    for (const std::string& name : names) {
        if (!out.empty()) out += between;
        out += name;
    }
    return out;
}

const char* plural(const char* one, const char* many, std::size_t count) { return count == 1 ? one : many; }

std::string containers(const Names& names) {
    return fmt::format("{} {}", plural("container", "containers", names.size()), quoted(names));
}

// "pod and containers \"a\", \"b\"": who says something that is not allowed.
Names setters(bool pod, const Names& bad_containers) {
    Names out;
    if (pod) out.emplace_back("pod");
    if (!bad_containers.empty()) out.push_back(containers(bad_containers));
    return out;
}

// All containers: of a debug container its common part.
template <class Function>
void for_each(const corev1::PodSpec& spec, const Function& visit) {
    for (const auto& container : spec.initcontainers()) visit(container);
    for (const auto& container : spec.containers()) visit(container);
    for (const auto& container : spec.ephemeralcontainers()) visit(container.ephemeralcontainercommon());
}

// The names of those for which the function is true.
template <class Function>
Names those(const corev1::PodSpec& spec, const Function& is_bad) {
    Names out;
    for_each(spec, [&](const auto& container) {
        if (is_bad(container)) out.push_back(container.name());
    });
    return out;
}

bool is_windows(const Subject& pod) { return pod.minor >= 25 && pod.spec.os().name() == "windows"; }

// Whether a profile is of another type than the runtime's own or one of the node, which is then noted.
bool is_other_type(const std::string& type, std::set<std::string>& others) {
    if (type == "RuntimeDefault" || type == "Localhost") return false;
    others.insert(type);
    return true;
}

// The baseline.

Found app_armor(const Subject& pod) {
    std::set<std::string> values;
    const auto is_bad = [&values](const auto& context) {
        return context.has_apparmorprofile() && is_other_type(context.apparmorprofile().type(), values);
    };
    const bool by_pod = is_bad(pod.spec.securitycontext());
    Names who = setters(by_pod, those(pod.spec, [&](const auto& c) { return is_bad(c.securitycontext()); }));
    Names shown(values.begin(), values.end());
    std::set<std::string> annotations;
    for (const auto& [key, value] : pod.meta.annotations()) {
        if (!key.starts_with("container.apparmor.security.beta.kubernetes.io/")) continue;
        if (value.empty() || value == "runtime/default" || value.starts_with("localhost/")) continue;
        annotations.insert(key + "=" + registry::go_quote(value));
    }
    if (!annotations.empty()) {
        shown.insert(shown.end(), annotations.begin(), annotations.end());
        who.emplace_back(plural("annotation", "annotations", annotations.size()));
    }
    if (who.empty()) return std::nullopt;
    return Violation{plural("forbidden AppArmor profile", "forbidden AppArmor profiles", shown.size()),
                     fmt::format("{} must not set AppArmor profile type to {}", joined(who, " and "), quoted(shown))};
}

Found capabilities_baseline(const Subject& pod) {
    static const std::set<std::string> kAllowed = {
        "AUDIT_WRITE",      "CHOWN",   "DAC_OVERRIDE", "FOWNER",  "FSETID", "KILL",      "MKNOD",
        "NET_BIND_SERVICE", "SETFCAP", "SETGID",       "SETPCAP", "SETUID", "SYS_CHROOT"};
    std::set<std::string> added;
    const Names bad = those(pod.spec, [&added](const auto& container) {
        bool beyond = false;
        for (const auto& capability : container.securitycontext().capabilities().add()) {
            if (kAllowed.contains(capability)) continue;
            added.insert(capability);
            beyond = true;
        }
        return beyond;
    });
    if (bad.empty()) return std::nullopt;
    return Violation{"non-default capabilities",
                     fmt::format("{} must not include {} in securityContext.capabilities.add", containers(bad),
                                 quoted(added))};
}

Found host_namespaces(const Subject& pod) {
    Names used;
    if (pod.spec.hostnetwork()) used.emplace_back("hostNetwork=true");
    if (pod.spec.hostpid()) used.emplace_back("hostPID=true");
    if (pod.spec.hostipc()) used.emplace_back("hostIPC=true");
    if (used.empty()) return std::nullopt;
    return Violation{"host namespaces", joined(used, ", ")};
}

Found host_paths(const Subject& pod) {
    Names bad;
    for (const auto& volume : pod.spec.volumes()) {
        if (volume.volumesource().has_hostpath()) bad.push_back(volume.name());
    }
    if (bad.empty()) return std::nullopt;
    return Violation{"hostPath volumes", fmt::format("{} {}", plural("volume", "volumes", bad.size()), quoted(bad))};
}

Found host_ports(const Subject& pod) {
    std::set<std::string> ports;
    const Names bad = those(pod.spec, [&ports](const auto& container) {
        bool any = false;
        for (const auto& port : container.ports()) {
            if (port.hostport() == 0) continue;
            ports.insert(std::to_string(port.hostport()));
            any = true;
        }
        return any;
    });
    if (bad.empty()) return std::nullopt;
    return Violation{"hostPort", fmt::format("{} {} {} {}", containers(bad), plural("uses", "use", bad.size()),
                                             plural("hostPort", "hostPorts", ports.size()), joined(ports, ", "))};
}

Found privileged(const Subject& pod) {
    const Names bad = those(pod.spec, [](const auto& container) { return container.securitycontext().privileged(); });
    if (bad.empty()) return std::nullopt;
    return Violation{"privileged", containers(bad) + " must not set securityContext.privileged=true"};
}

Found proc_mount(const Subject& pod) {
    std::set<std::string> types;
    const Names bad = those(pod.spec, [&types](const auto& container) {
        const auto& context = container.securitycontext();
        if (!context.has_procmount() || context.procmount() == "Default") return false;
        types.insert(context.procmount());
        return true;
    });
    if (bad.empty()) return std::nullopt;
    return Violation{"procMount", fmt::format("{} must not set securityContext.procMount to {}", containers(bad),
                                              quoted(types))};
}

Found selinux(const Subject& pod) {
    std::set<std::string> types;
    bool user = false;
    bool role = false;
    const auto is_bad = [&](const auto& context) {
        if (!context.has_selinuxoptions()) return false;
        const auto& options = context.selinuxoptions();
        const std::string& type = options.type();
        const bool allowed = type.empty() || type == "container_t" || type == "container_init_t" ||
                             type == "container_kvm_t" || (pod.minor >= 31 && type == "container_engine_t");
        if (!allowed) types.insert(type);
        user = user || !options.user().empty();
        role = role || !options.role().empty();
        return !allowed || !options.user().empty() || !options.role().empty();
    };
    const bool by_pod = is_bad(pod.spec.securitycontext());
    const Names who = setters(by_pod, those(pod.spec, [&](const auto& c) { return is_bad(c.securitycontext()); }));
    if (who.empty()) return std::nullopt;
    Names what;
    if (!types.empty()) what.push_back(fmt::format("{} {}", plural("type", "types", types.size()), quoted(types)));
    if (user) what.emplace_back("user may not be set");
    if (role) what.emplace_back("role may not be set");
    return Violation{"seLinuxOptions", fmt::format("{} set forbidden securityContext.seLinuxOptions: {}",
                                                   joined(who, " and "), joined(what, "; "))};
}

// Before 1.19, annotations said it.
Found seccomp_annotations(const Subject& pod) {
    std::set<std::string> forbidden;
    const auto check = [&](const std::string& key) {
        const auto found = pod.meta.annotations().find(key);
        if (found == pod.meta.annotations().end()) return;
        const std::string& value = found->second;
        if (value == "runtime/default" || value == "docker/default" || value.starts_with("localhost/")) return;
        forbidden.insert(key + "=" + registry::go_quote(value));
    };
    check("seccomp.security.alpha.kubernetes.io/pod");
    for_each(pod.spec, [&](const auto& container) {
        check("container.seccomp.security.alpha.kubernetes.io/" + container.name());
    });
    if (forbidden.empty()) return std::nullopt;
    return Violation{"seccompProfile",
                     fmt::format("forbidden {} {}", plural("annotation", "annotations", forbidden.size()),
                                 joined(forbidden, ", "))};
}

// required: somebody has to set a profile, too.
Found seccomp(const Subject& pod, bool required) {
    std::set<std::string> values;
    const auto is_bad = [&values](const auto& context) {
        return context.has_seccompprofile() && is_other_type(context.seccompprofile().type(), values);
    };
    const auto& of_pod = pod.spec.securitycontext();
    const bool by_pod = is_bad(of_pod);
    const Names who = setters(by_pod, those(pod.spec, [&](const auto& c) { return is_bad(c.securitycontext()); }));
    if (!who.empty()) {
        return Violation{"seccompProfile", fmt::format("{} must not set securityContext.seccompProfile.type to {}",
                                                       joined(who, " and "), quoted(values))};
    }
    if (!required || of_pod.has_seccompprofile()) return std::nullopt;
    const Names silent = those(pod.spec, [](const auto& c) { return !c.securitycontext().has_seccompprofile(); });
    if (silent.empty()) return std::nullopt;
    return Violation{"seccompProfile", fmt::format("pod or {} must set securityContext.seccompProfile.type to "
                                                   "\"RuntimeDefault\" or \"Localhost\"",
                                                   containers(silent))};
}

Found sysctls(const Subject& pod) {
    struct Allowed {
        std::string_view name;
        int since;
    };
    static constexpr Allowed kAllowed[] = {
        {"kernel.shm_rmid_forced", 0},
        {"net.ipv4.ip_local_port_range", 0},
        {"net.ipv4.tcp_syncookies", 0},
        {"net.ipv4.ping_group_range", 0},
        {"net.ipv4.ip_unprivileged_port_start", 0},
        {"net.ipv4.ip_local_reserved_ports", 27},
        {"net.ipv4.tcp_keepalive_time", 29},
        {"net.ipv4.tcp_fin_timeout", 29},
        {"net.ipv4.tcp_keepalive_intvl", 29},
        {"net.ipv4.tcp_keepalive_probes", 29},
        {"net.ipv4.tcp_rmem", 32},
        {"net.ipv4.tcp_wmem", 32},
    };
    Names bad;
    for (const auto& sysctl : pod.spec.securitycontext().sysctls()) {
        const bool allowed = std::any_of(std::begin(kAllowed), std::end(kAllowed), [&](const Allowed& known) {
            return known.name == sysctl.name() && pod.minor >= known.since;
        });
        if (!allowed) bad.push_back(sysctl.name());
    }
    if (bad.empty()) return std::nullopt;
    return Violation{"forbidden sysctls", joined(bad, ", ")};
}

Found windows_host_process(const Subject& pod) {
    const auto is_bad = [](const auto& context) { return context.windowsoptions().hostprocess(); };
    const Names who = setters(is_bad(pod.spec.securitycontext()),
                              those(pod.spec, [&](const auto& c) { return is_bad(c.securitycontext()); }));
    if (who.empty()) return std::nullopt;
    return Violation{"hostProcess",
                     joined(who, " and ") + " must not set securityContext.windowsOptions.hostProcess=true"};
}

// What is restricted.

Found privilege_escalation(const Subject& pod) {
    if (is_windows(pod)) return std::nullopt;
    const Names bad = those(pod.spec, [](const auto& container) {
        const auto& context = container.securitycontext();
        return !context.has_allowprivilegeescalation() || context.allowprivilegeescalation();
    });
    if (bad.empty()) return std::nullopt;
    return Violation{"allowPrivilegeEscalation != false",
                     containers(bad) + " must set securityContext.allowPrivilegeEscalation=false"};
}

Found capabilities_restricted(const Subject& pod) {
    if (is_windows(pod)) return std::nullopt;
    std::set<std::string> added;
    const Names keeping = those(pod.spec, [](const auto& container) {
        const auto& drop = container.securitycontext().capabilities().drop();
        return std::find(drop.begin(), drop.end(), "ALL") == drop.end();
    });
    const Names adding = those(pod.spec, [&added](const auto& container) {
        bool beyond = false;
        for (const auto& capability : container.securitycontext().capabilities().add()) {
            if (capability == "NET_BIND_SERVICE") continue;
            added.insert(capability);
            beyond = true;
        }
        return beyond;
    });
    Names what;
    if (!keeping.empty()) what.push_back(containers(keeping) + " must set securityContext.capabilities.drop=[\"ALL\"]");
    if (!adding.empty()) {
        what.push_back(fmt::format("{} must not include {} in securityContext.capabilities.add", containers(adding),
                                   quoted(added)));
    }
    if (what.empty()) return std::nullopt;
    return Violation{"unrestricted capabilities", joined(what, "; ")};
}

Found volume_types(const Subject& pod) {
    static const std::set<std::string> kAllowed = {"configMap", "csi",   "downwardAPI",           "emptyDir",
                                                   "ephemeral", "image", "persistentVolumeClaim", "projected",
                                                   "secret"};
    Names bad;
    std::set<std::string> types;
    for (const auto& volume : pod.spec.volumes()) {
        std::vector<const google::protobuf::FieldDescriptor*> fields;
        volume.volumesource().GetReflection()->ListFields(volume.volumesource(), &fields);
        if (std::any_of(fields.begin(), fields.end(),
                        [](const auto* field) { return kAllowed.contains(field->name()); })) {
            continue;
        }
        bad.push_back(volume.name());
        types.insert(fields.empty() ? "unknown" : fields.front()->name());
    }
    if (bad.empty()) return std::nullopt;
    return Violation{"restricted volume types",
                     fmt::format("{} {} {} {} {}", plural("volume", "volumes", bad.size()), quoted(bad),
                                 plural("uses", "use", bad.size()),
                                 plural("restricted volume type", "restricted volume types", types.size()),
                                 quoted(types))};
}

Found non_root(const Subject& pod) {
    const auto& of_pod = pod.spec.securitycontext();
    const Names root = those(pod.spec, [](const auto& c) {
        return c.securitycontext().has_runasnonroot() && !c.securitycontext().runasnonroot();
    });
    const Names who = setters(of_pod.has_runasnonroot() && !of_pod.runasnonroot(), root);
    if (!who.empty()) {
        return Violation{"runAsNonRoot != true",
                         joined(who, " and ") + " must not set securityContext.runAsNonRoot=false"};
    }
    if (of_pod.runasnonroot()) return std::nullopt;
    const Names silent = those(pod.spec, [](const auto& c) { return !c.securitycontext().has_runasnonroot(); });
    if (silent.empty()) return std::nullopt;
    return Violation{"runAsNonRoot != true",
                     fmt::format("pod or {} must set securityContext.runAsNonRoot=true", containers(silent))};
}

Found root_user(const Subject& pod) {
    const auto is_root = [](const auto& context) { return context.has_runasuser() && context.runasuser() == 0; };
    const Names who = setters(is_root(pod.spec.securitycontext()),
                              those(pod.spec, [&](const auto& c) { return is_root(c.securitycontext()); }));
    if (who.empty()) return std::nullopt;
    return Violation{"runAsUser=0", joined(who, " and ") + " must not set runAsUser=0"};
}

}  // namespace

std::vector<Violation> evaluate(const Standard& standard, const metav1::ObjectMeta& meta,
                                const corev1::PodSpec& spec) {
    std::vector<Violation> out;
    if (standard.level == Level::kPrivileged) return out;
    const Subject pod{meta, spec, standard.version.effective()};
    const bool restricted = standard.level == Level::kRestricted;
    const auto take = [&out](Found found) {
        if (found) out.push_back(std::move(*found));
    };
    take(app_armor(pod));
    // A stricter check of the same replaces the one of the baseline.
    if (!restricted || pod.minor < 22) take(capabilities_baseline(pod));
    take(host_namespaces(pod));
    if (!restricted) take(host_paths(pod));
    take(host_ports(pod));
    take(privileged(pod));
    take(proc_mount(pod));
    take(selinux(pod));
    if (pod.minor < 19) {
        take(seccomp_annotations(pod));
    } else if (!restricted) {
        take(seccomp(pod, false));
    }
    take(sysctls(pod));
    take(windows_host_process(pod));
    if (!restricted) return out;
    if (pod.minor >= 8) take(privilege_escalation(pod));
    if (pod.minor >= 22) take(capabilities_restricted(pod));
    take(volume_types(pod));
    take(non_root(pod));
    if (pod.minor >= 23) take(root_user(pod));
    if (pod.minor >= 19 && !is_windows(pod)) take(seccomp(pod, true));
    return out;
}

std::string detailed(const std::vector<Violation>& violations) {
    std::string out;
    for (const Violation& violation : violations) {
        if (!out.empty()) out += ", ";
        out += violation.reason;
        if (!violation.detail.empty()) out += " (" + violation.detail + ")";
    }
    return out;
}

std::string reasons(const std::vector<Violation>& violations) {
    std::string out;
    for (const Violation& violation : violations) out += (out.empty() ? "" : ", ") + violation.reason;
    return out;
}

}  // namespace sluice::admission::pod_security
