// Containers: command, environment, mounts, resources, security.
#include <array>
#include <charconv>
#include <map>

#include "control/kubelet/pods/resources.h"
#include "control/kubelet/pods/sandbox_config.h"

namespace sluice::kubelet {

namespace {

// What a container does not see of /proc and /sys, and what it may only read, unless procMount says otherwise.
constexpr std::array kMaskedPaths{
    "/proc/asound",      "/proc/acpi",        "/proc/kcore",      "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi",        "/sys/firmware",     "/sys/devices/virtual/powercap"};
constexpr std::array kReadonlyPaths{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                    "/proc/sysrq-trigger"};

Result<criv1::SecurityProfile> seccomp_of(const corev1::Pod& pod,
                                          const corev1::Container& container,
                                          const NodeSettings& node) {
    criv1::SecurityProfile profile;
    profile.set_profile_type(criv1::SecurityProfile::Unconfined);
    const auto& own = container.securitycontext();
    if (own.privileged()) return profile;
    const auto& source = own.has_seccompprofile() ? own.seccompprofile()
                                                  : pod.spec().securitycontext().seccompprofile();
    if (source.type() == "RuntimeDefault") {
        profile.set_profile_type(criv1::SecurityProfile::RuntimeDefault);
    } else if (source.type() == "Localhost") {
        const auto& name = source.localhostprofile();
        if (name.empty() || name.starts_with('/') || name.find("..") != std::string::npos) {
            return make_error(Code::kInvalidArgument,
                              "container \"{}\": securityContext.seccompProfile.localhostProfile "
                              "\"{}\" is not a relative path",
                              container.name(), name);
        }
        profile.set_profile_type(criv1::SecurityProfile::Localhost);
        profile.set_localhost_ref(node.root_dir + "/seccomp/" + name);
    }
    return profile;
}

Result<void> check_non_root(const corev1::Pod& pod, const corev1::Container& container,
                            const criv1::Image& image) {
    const auto& own = container.securitycontext();
    const auto& shared = pod.spec().securitycontext();
    const bool wanted = own.has_runasnonroot() ? own.runasnonroot() : shared.runasnonroot();
    if (!wanted) return {};
    const bool given = own.has_runasuser() || shared.has_runasuser();
    const auto user = own.has_runasuser() ? own.runasuser() : shared.runasuser();
    if (given) {
        if (user != 0) return {};
        return make_error(Code::kInvalidArgument,
                          "container's runAsUser breaks non-root policy (pod: \"{}_{}({})\", "
                          "container: {})",
                          pod.metadata().name(), pod.metadata().namespace_(), pod.metadata().uid(),
                          container.name());
    }
    if (image.has_uid() && image.uid().value() != 0) return {};
    if (!image.username().empty() && !image.has_uid()) {
        return make_error(Code::kInvalidArgument,
                          "container has runAsNonRoot and image has non-numeric user ({}), cannot "
                          "verify user is non-root (pod: \"{}_{}({})\", container: {})",
                          image.username(), pod.metadata().name(), pod.metadata().namespace_(),
                          pod.metadata().uid(), container.name());
    }
    return make_error(Code::kInvalidArgument,
                      "container has runAsNonRoot and image will run as root (pod: \"{}_{}({})\", "
                      "container: {})",
                      pod.metadata().name(), pod.metadata().namespace_(), pod.metadata().uid(),
                      container.name());
}

Result<void> fill_security(const corev1::Pod& pod, const corev1::Container& container,
                           const NodeSettings& node, const criv1::Image& image,
                           criv1::LinuxContainerSecurityContext* out) {
    const auto& spec = pod.spec();
    const auto& own = container.securitycontext();
    const auto& shared = spec.securitycontext();
    auto* namespaces = out->mutable_namespace_options();
    namespaces->set_network(spec.hostnetwork() ? criv1::NODE : criv1::POD);
    namespaces->set_ipc(spec.hostipc() ? criv1::NODE : criv1::POD);
    namespaces->set_pid(spec.hostpid()                 ? criv1::NODE
                        : spec.shareprocessnamespace() ? criv1::POD
                                                       : criv1::CONTAINER);
    if (own.has_runasuser() || shared.has_runasuser()) {
        out->mutable_run_as_user()->set_value(own.has_runasuser() ? own.runasuser()
                                                                  : shared.runasuser());
    } else if (image.has_uid()) {
        out->mutable_run_as_user()->set_value(image.uid().value());
    } else if (!image.username().empty()) {
        out->set_run_as_username(image.username());
    } else {
        out->mutable_run_as_user()->set_value(0);
    }
    if (own.has_runasgroup() || shared.has_runasgroup()) {
        out->mutable_run_as_group()->set_value(own.has_runasgroup() ? own.runasgroup()
                                                                    : shared.runasgroup());
    }
    for (const auto group : shared.supplementalgroups()) out->add_supplemental_groups(group);
    if (shared.has_fsgroup()) out->add_supplemental_groups(shared.fsgroup());
    out->set_privileged(own.privileged());
    out->set_readonly_rootfs(own.readonlyrootfilesystem());
    out->set_no_new_privs(own.has_allowprivilegeescalation() && !own.allowprivilegeescalation());
    for (const auto& name : own.capabilities().add()) {
        out->mutable_capabilities()->add_add_capabilities(name);
    }
    for (const auto& name : own.capabilities().drop()) {
        out->mutable_capabilities()->add_drop_capabilities(name);
    }
    if (!own.privileged() && own.procmount() != "Unmasked") {
        for (const char* path : kMaskedPaths) out->add_masked_paths(path);
        for (const char* path : kReadonlyPaths) out->add_readonly_paths(path);
    }
    SLUICE_TRY_ASSIGN(*out->mutable_seccomp(), seccomp_of(pod, container, node));
    return {};
}

std::uint64_t fnv1a(std::string_view text) {
    std::uint64_t hash = 14'695'981'039'346'656'037ULL;
    for (const char character : text) {
        hash = (hash ^ static_cast<unsigned char>(character)) * 1'099'511'628'211ULL;
    }
    return hash;
}

}  // namespace

std::string container_hash(const corev1::Container& container) {
    return fmt::format("{:x}", fnv1a(container.name() + '\0' + container.image()));
}

Result<criv1::ContainerConfig> container_config(const corev1::Pod& pod,
                                                const corev1::Container& container,
                                                const NodeSettings& node,
                                                const ContainerInputs& inputs) {
    SLUICE_TRY(check_non_root(pod, container, inputs.image));
    criv1::ContainerConfig config;
    config.mutable_metadata()->set_name(container.name());
    config.mutable_metadata()->set_attempt(inputs.attempt);
    config.mutable_image()->set_image(inputs.image_ref);
    std::map<std::string, std::string> variables;
    for (const auto& [name, value] : inputs.environment) {
        variables[name] = value;
        auto* variable = config.add_envs();
        variable->set_key(name);
        variable->set_value(value);
    }
    for (const auto& word : container.command()) config.add_command(expand(word, variables));
    for (const auto& word : container.args()) config.add_args(expand(word, variables));
    config.set_working_dir(container.workingdir());

    bool own_hosts = false;
    for (const auto& mount : inputs.mounts) {
        auto* added = config.add_mounts();
        added->set_host_path(mount.host_path);
        added->set_container_path(mount.container_path);
        added->set_readonly(mount.read_only);
        added->set_propagation(mount.propagation == "Bidirectional"
                                   ? criv1::PROPAGATION_BIDIRECTIONAL
                               : mount.propagation == "HostToContainer"
                                   ? criv1::PROPAGATION_HOST_TO_CONTAINER
                                   : criv1::PROPAGATION_PRIVATE);
        own_hosts = own_hosts || mount.container_path == "/etc/hosts";
    }
    if (!own_hosts) {
        auto* hosts = config.add_mounts();
        hosts->set_host_path(pod_dir(pod.metadata().uid(), node) + "/etc-hosts");
        hosts->set_container_path("/etc/hosts");
        hosts->set_readonly(container.securitycontext().readonlyrootfilesystem());
    }
    auto* last_words = config.add_mounts();
    last_words->set_host_path(
        termination_log(pod.metadata().uid(), container.name(), inputs.attempt, node));
    last_words->set_container_path(container.terminationmessagepath().empty()
                                       ? "/dev/termination-log"
                                       : container.terminationmessagepath());

    auto& labels = *config.mutable_labels();
    labels[kLabelPodName] = pod.metadata().name();
    labels[kLabelPodNamespace] = pod.metadata().namespace_();
    labels[kLabelPodUid] = pod.metadata().uid();
    labels[kLabelContainer] = container.name();
    auto& annotations = *config.mutable_annotations();
    annotations[kAnnotationHash] = container_hash(container);
    annotations[kAnnotationRestarts] = std::to_string(inputs.attempt);
    annotations["io.kubernetes.container.terminationMessagePath"] =
        container.terminationmessagepath();
    annotations["io.kubernetes.container.terminationMessagePolicy"] =
        container.terminationmessagepolicy();
    annotations["io.kubernetes.pod.terminationGracePeriod"] =
        std::to_string(pod.spec().terminationgraceperiodseconds());
    config.set_log_path(container.name() + "/" + std::to_string(inputs.attempt) + ".log");
    config.set_stdin(container.stdin());
    config.set_stdin_once(container.stdinonce());
    config.set_tty(container.tty());
    fill_resources(pod, container, node.memory_capacity, node.lowest_oom_score,
                   config.mutable_linux()->mutable_resources());
    SLUICE_TRY(fill_security(pod, container, node, inputs.image,
                             config.mutable_linux()->mutable_security_context()));
    return config;
}

}  // namespace sluice::kubelet
