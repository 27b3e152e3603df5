// Sandboxes: names, DNS, namespaces, ports.
#include "control/kubelet/pods/sandbox_config.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "api/base/ip_address.h"

namespace sluice::kubelet {

namespace {

void add_once(google::protobuf::RepeatedPtrField<std::string>* list, const std::string& value,
              std::size_t limit) {
    if (value.empty() || static_cast<std::size_t>(list->size()) >= limit ||
        std::find(list->begin(), list->end(), value) != list->end()) {
        return;
    }
    list->Add()->assign(value);
}

void limit_searches(criv1::DNSConfig* dns) {
    std::size_t characters = 0;
    int kept = 0;
    for (const auto& search : dns->searches()) {
        characters += search.size() + 1;
        if (characters > kMaxSearchCharacters + 1) break;
        ++kept;
    }
    dns->mutable_searches()->DeleteSubrange(kept, dns->searches_size() - kept);
}

// All of them are refused by the default profiles of runtimes as well.
constexpr const char* kSandboxRefused[] = {
    "acct", "add_key", "adjtimex", "bpf", "clock_adjtime", "clock_settime", "create_module",
    "delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick",
    "get_mempolicy", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm",
    "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind",
    "migrate_pages", "mount", "mount_setattr", "move_mount", "move_pages", "name_to_handle_at",
    "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "pivot_root",
    "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot",
    "request_key", "set_mempolicy", "setdomainname", "sethostname", "setns", "settimeofday", "swapoff",
    "swapon", "sysfs", "syslog", "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vhangup"};

criv1::SecurityProfile seccomp_of(const NodeSettings& node) {
    criv1::SecurityProfile profile;
    if (node.sandbox_seccomp.empty()) {
        profile.set_profile_type(criv1::SecurityProfile::RuntimeDefault);
    } else {
        profile.set_profile_type(criv1::SecurityProfile::Localhost);
        profile.set_localhost_ref(node.sandbox_seccomp);
    }
    return profile;
}

bool privileged(const corev1::Pod& pod) {
    const auto is = [](const corev1::Container& container) {
        return container.securitycontext().privileged();
    };
    const auto& spec = pod.spec();
    return std::any_of(spec.containers().begin(), spec.containers().end(), is) ||
           std::any_of(spec.initcontainers().begin(), spec.initcontainers().end(), is);
}

void fill_ports(const corev1::Pod& pod, criv1::PodSandboxConfig* config) {
    if (pod.spec().hostnetwork()) return;
    const auto add = [config](const corev1::Container& container) {
        for (const auto& port : container.ports()) {
            if (port.hostport() == 0) continue;
            auto* mapping = config->add_port_mappings();
            mapping->set_protocol(port.protocol() == "UDP"    ? criv1::UDP
                                  : port.protocol() == "SCTP" ? criv1::SCTP
                                                              : criv1::TCP);
            mapping->set_container_port(port.containerport());
            mapping->set_host_port(port.hostport());
            mapping->set_host_ip(port.hostip());
        }
    };
    for (const auto& container : pod.spec().containers()) add(container);
    for (const auto& container : pod.spec().initcontainers()) {
        if (container.restartpolicy() == "Always") add(container);
    }
}

}  // namespace

std::string sandbox_seccomp_profile() {
    // Without a list of architectures only the machine's own is left: no 32-bit calls.
    std::string text = R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ERRNO","names":[)";
    const char* separator = "";
    for (const char* name : kSandboxRefused) {
        text += fmt::format("{}\"{}\"", std::exchange(separator, ","), name);
    }
    return text + "]}]}\n";
}

criv1::DNSConfig parse_resolv_conf(std::string_view text) {
    criv1::DNSConfig dns;
    std::stringstream lines{std::string(text)};
    std::string line;
    while (std::getline(lines, line)) {
        line.erase(std::min(line.find_first_of("#;"), line.size()));
        std::stringstream words(line);
        std::string key, word;
        words >> key;
        if (key == "nameserver" && words >> word) {
            add_once(dns.mutable_servers(), word, kMaxNameservers);
        } else if (key == "search" || key == "domain") {
            // The last line counts, as for the resolver.
            dns.clear_searches();
            while (words >> word) {
                if (word != ".") add_once(dns.mutable_searches(), word, kMaxSearches);
            }
        } else if (key == "options") {
            dns.clear_options();
            while (words >> word) add_once(dns.mutable_options(), word, kMaxSearches);
        }
    }
    return dns;
}

bool wants_cluster_dns(const corev1::Pod& pod) {
    const auto& policy = pod.spec().dnspolicy();
    return policy == "ClusterFirstWithHostNet" ||
           (!pod.spec().hostnetwork() && (policy == "ClusterFirst" || policy.empty()));
}

criv1::DNSConfig dns_config(const corev1::Pod& pod, const NodeSettings& node,
                            std::string_view resolv_conf) {
    const auto& spec = pod.spec();
    const auto host = parse_resolv_conf(resolv_conf);
    criv1::DNSConfig dns;
    if (spec.dnspolicy() == "None") {
        // Only what dnsConfig names.
    } else if (wants_cluster_dns(pod) && !node.cluster_dns.empty()) {
        for (const auto& server : node.cluster_dns) {
            add_once(dns.mutable_servers(), server, kMaxNameservers);
        }
        if (!node.cluster_domain.empty()) {
            const auto service = "svc." + node.cluster_domain;
            add_once(dns.mutable_searches(), pod.metadata().namespace_() + "." + service, kMaxSearches);
            add_once(dns.mutable_searches(), service, kMaxSearches);
            add_once(dns.mutable_searches(), node.cluster_domain, kMaxSearches);
        }
        for (const auto& search : host.searches()) {
            add_once(dns.mutable_searches(), search, kMaxSearches);
        }
        dns.add_options("ndots:5");
    } else {
        dns = host;
    }
    for (const auto& server : spec.dnsconfig().nameservers()) {
        add_once(dns.mutable_servers(), server, kMaxNameservers);
    }
    for (const auto& search : spec.dnsconfig().searches()) {
        add_once(dns.mutable_searches(), search, kMaxSearches);
    }
    for (const auto& option : spec.dnsconfig().options()) {
        const auto text = option.value().empty() ? option.name() : option.name() + ":" + option.value();
        // An option of the pod replaces that of the same name.
        auto* options = dns.mutable_options();
        const auto same = std::find_if(options->begin(), options->end(), [&](const auto& other) {
            return other.substr(0, other.find(':')) == option.name();
        });
        if (same != options->end()) {
            *same = text;
        } else {
            options->Add()->assign(text);
        }
    }
    limit_searches(&dns);
    return dns;
}

HostNames host_names(const corev1::Pod& pod, const NodeSettings& node) {
    HostNames names;
    const auto& spec = pod.spec();
    names.hostname = spec.hostname().empty() ? pod.metadata().name() : spec.hostname();
    if (names.hostname.size() > kMaxHostnameCharacters) {
        names.hostname.resize(kMaxHostnameCharacters);
        while (names.hostname.ends_with('-') || names.hostname.ends_with('.')) {
            names.hostname.pop_back();
        }
    }
    if (!spec.subdomain().empty()) {
        names.full_name = names.hostname + "." + spec.subdomain() + "." +
                          pod.metadata().namespace_() + ".svc." + node.cluster_domain;
    }
    return names;
}

std::string hosts_file(const corev1::Pod& pod, const NodeSettings& node,
                       const std::vector<std::string>& ips, std::string_view node_hosts) {
    std::string text;
    if (pod.spec().hostnetwork()) {
        text = "# Kubernetes-managed hosts file (host network).\n";
        text += node_hosts;
    } else {
        text = "# Kubernetes-managed hosts file.\n"
               "127.0.0.1\tlocalhost\n"
               "::1\tlocalhost ip6-localhost ip6-loopback\n"
               "fe00::0\tip6-localnet\n"
               "fe00::0\tip6-mcastprefix\n"
               "fe00::1\tip6-allnodes\n"
               "fe00::2\tip6-allrouters\n";
        const auto names = host_names(pod, node);
        for (const auto& ip : ips) {
            text += ip + "\t";
            if (!names.full_name.empty()) text += names.full_name + "\t";
            text += names.hostname + "\n";
        }
    }
    if (pod.spec().hostaliases_size() > 0) {
        text += "\n# Entries added by HostAliases.\n";
        for (const auto& alias : pod.spec().hostaliases()) {
            text += alias.ip();
            for (const auto& name : alias.hostnames()) text += "\t" + name;
            text += "\n";
        }
    }
    return text;
}

std::string pod_log_dir(const corev1::Pod& pod, const NodeSettings& node) {
    return node.logs_dir + "/" + pod.metadata().namespace_() + "_" + pod.metadata().name() + "_" +
           pod.metadata().uid();
}

std::string pod_dir(const std::string& uid, const NodeSettings& node) {
    return node.root_dir + "/pods/" + uid;
}

std::string logs_link(const std::string& uid, const NodeSettings& node) {
    return node.root_dir + "/logs/" + uid;
}

std::string termination_log(const std::string& uid, const std::string& container,
                            std::uint32_t attempt, const NodeSettings& node) {
    return pod_dir(uid, node) + "/containers/" + container + "/" + std::to_string(attempt);
}

Result<criv1::PodSandboxConfig> sandbox_config(const corev1::Pod& pod, const NodeSettings& node,
                                               const std::string& cgroup_parent,
                                               std::string_view resolv_conf,
                                               std::uint32_t attempt) {
    const auto& spec = pod.spec();
    criv1::PodSandboxConfig config;
    auto* metadata = config.mutable_metadata();
    metadata->set_name(pod.metadata().name());
    metadata->set_uid(pod.metadata().uid());
    metadata->set_namespace_(pod.metadata().namespace_());
    metadata->set_attempt(attempt);
    auto& labels = *config.mutable_labels();
    for (const auto& [key, value] : pod.metadata().labels()) labels[key] = value;
    labels[kLabelPodName] = pod.metadata().name();
    labels[kLabelPodNamespace] = pod.metadata().namespace_();
    labels[kLabelPodUid] = pod.metadata().uid();
    config.set_log_directory(pod_log_dir(pod, node));
    *config.mutable_dns_config() = dns_config(pod, node, resolv_conf);
    if (!spec.hostnetwork()) {
        const auto names = host_names(pod, node);
        const bool full = spec.sethostnameasfqdn() && !names.full_name.empty();
        if (full && names.full_name.size() > kMaxHostnameCharacters + 1) {
            return make_error(Code::kInvalidArgument,
                              "failed to construct FQDN from pod hostname and cluster domain, FQDN "
                              "{} is too long (64 characters is the max, {} characters requested)",
                              names.full_name, names.full_name.size());
        }
        config.set_hostname(full ? names.full_name : names.hostname);
    }
    fill_ports(pod, &config);

    auto* linux = config.mutable_linux();
    linux->set_cgroup_parent(cgroup_parent);
    for (const auto& sysctl : spec.securitycontext().sysctls()) {
        (*linux->mutable_sysctls())[sysctl.name()] = sysctl.value();
    }
    auto* security = linux->mutable_security_context();
    auto* namespaces = security->mutable_namespace_options();
    namespaces->set_network(spec.hostnetwork() ? criv1::NODE : criv1::POD);
    namespaces->set_ipc(spec.hostipc() ? criv1::NODE : criv1::POD);
    namespaces->set_pid(spec.hostpid()                 ? criv1::NODE
                        : spec.shareprocessnamespace() ? criv1::POD
                                                       : criv1::CONTAINER);
    security->set_privileged(privileged(pod));
    *security->mutable_seccomp() = seccomp_of(node);
    const auto& context = spec.securitycontext();
    if (context.has_runasuser()) security->mutable_run_as_user()->set_value(context.runasuser());
    if (context.has_runasgroup() && context.has_runasuser()) {
        security->mutable_run_as_group()->set_value(context.runasgroup());
    }
    for (const auto group : context.supplementalgroups()) security->add_supplemental_groups(group);
    if (context.has_fsgroup()) security->add_supplemental_groups(context.fsgroup());
    return config;
}

}  // namespace sluice::kubelet
