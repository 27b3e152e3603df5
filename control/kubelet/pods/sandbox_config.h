// What the runtime is asked for: the configuration of a sandbox and of a container, from the pod
// and what the node knows. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/external/cri/runtime.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/environment/environment.h"
#include "control/kubelet/volumes/volumes.h"

namespace sluice::kubelet {

namespace criv1 = ::runtime::v1;

// Kubernetes' limits of resolv.conf.
inline constexpr std::size_t kMaxNameservers = 3;
inline constexpr std::size_t kMaxSearches = 32;
inline constexpr std::size_t kMaxSearchCharacters = 2'048;
inline constexpr std::size_t kMaxHostnameCharacters = 63;

inline constexpr char kLabelPodName[] = "io.kubernetes.pod.name";
inline constexpr char kLabelPodNamespace[] = "io.kubernetes.pod.namespace";
inline constexpr char kLabelPodUid[] = "io.kubernetes.pod.uid";
inline constexpr char kLabelContainer[] = "io.kubernetes.container.name";
inline constexpr char kAnnotationHash[] = "io.kubernetes.container.hash";
inline constexpr char kAnnotationRestarts[] = "io.kubernetes.container.restartCount";

// The node's side of every pod.
struct NodeSettings {
    std::string node_name;
    std::string hostname;
    std::vector<std::string> host_ips;
    std::string root_dir;  // "/var/lib/sluice/kubelet"
    std::string logs_dir;  // "/var/log/pods"
    std::vector<std::string> cluster_dns;
    std::string cluster_domain = "cluster.local";
    std::string resolv_conf = "/etc/resolv.conf";
    std::int64_t memory_capacity = 0;
    std::int64_t lowest_oom_score = 0;
    std::string sandbox_seccomp;  // file of the sandboxes' profile; empty: the runtime's default
};

// The seccomp profile of sandboxes, as the runtime reads it. A sandbox runs nothing but the process that holds its
// namespaces, so what no such process needs is named, instead of the hundreds of calls that a container may need:
// the runtime compiles the list for each sandbox, and the default one costs 15 ms of CPU each time.
[[nodiscard]] std::string sandbox_seccomp_profile();

// Lines of a resolv.conf.
[[nodiscard]] criv1::DNSConfig parse_resolv_conf(std::string_view text);
// Whether its dnsPolicy asks for the cluster's DNS.
[[nodiscard]] bool wants_cluster_dns(const corev1::Pod& pod);
// By dnsPolicy and dnsConfig; resolv_conf is the node's text.
[[nodiscard]] criv1::DNSConfig dns_config(const corev1::Pod& pod, const NodeSettings& node,
                                          std::string_view resolv_conf);

// The pod's host name, and its full name or "" without a subdomain.
struct HostNames {
    std::string hostname;
    std::string full_name;
};
[[nodiscard]] HostNames host_names(const corev1::Pod& pod, const NodeSettings& node);
// The content of the pod's /etc/hosts; node_hosts is the node's own, for host networks.
[[nodiscard]] std::string hosts_file(const corev1::Pod& pod, const NodeSettings& node,
                                     const std::vector<std::string>& ips,
                                     std::string_view node_hosts);

[[nodiscard]] std::string pod_log_dir(const corev1::Pod& pod, const NodeSettings& node);
[[nodiscard]] std::string pod_dir(const std::string& uid, const NodeSettings& node);
// A link to the folder of the pod's logs, which lies among those of other kubelets: what tells that it is ours. The
// last thing that is removed of a pod.
[[nodiscard]] std::string logs_link(const std::string& uid, const NodeSettings& node);
// Where a life of a container leaves its last words.
[[nodiscard]] std::string termination_log(const std::string& uid, const std::string& container,
                                          std::uint32_t attempt, const NodeSettings& node);

// kInvalidArgument for what cannot be asked of the runtime, naming the field.
Result<criv1::PodSandboxConfig> sandbox_config(const corev1::Pod& pod, const NodeSettings& node,
                                               const std::string& cgroup_parent,
                                               std::string_view resolv_conf, std::uint32_t attempt);

// What of a container a change of which means a new life: its name and image.
[[nodiscard]] std::string container_hash(const corev1::Container& container);

struct ContainerInputs {
    std::string image_ref;        // as the runtime names it
    criv1::Image image;           // for its user
    Environment environment;
    std::vector<Mount> mounts;    // of volumes
    std::uint32_t attempt = 0;
};
// kInvalidArgument is a CreateContainerConfigError with kubelet's words.
Result<criv1::ContainerConfig> container_config(const corev1::Pod& pod,
                                                const corev1::Container& container,
                                                const NodeSettings& node,
                                                const ContainerInputs& inputs);

}  // namespace sluice::kubelet
