// The command line of sluice-kubelet: kubelet's flag names.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "api/base/log.h"
#include "api/base/result.h"

namespace sluice::kubelet {

struct KubeletOptions {
    std::string kubeconfig;
    std::string hostname;
    std::vector<std::string> node_ips;
    std::string runtime_endpoint = "unix:///run/containerd/containerd.sock";
    std::string root_dir = "/var/lib/sluice/kubelet";
    std::string pod_logs_dir = "/var/log/pods";
    std::string cgroup_root = "/";
    std::vector<std::string> cluster_dns;
    std::string cluster_domain = "cluster.local";
    std::string resolv_conf = "/etc/resolv.conf";
    std::map<std::string, std::string> node_labels;
    std::vector<std::string> taints;
    std::uint32_t max_pods = 110;
    std::string address = "0.0.0.0";
    std::uint16_t port = 10250;
    std::string tls_cert_file, tls_private_key_file, client_ca_file;
    std::string healthz_address = "127.0.0.1";
    std::uint16_t healthz_port = 10248;  // 0: none
    std::int64_t reserved_cpu_milli = 0;
    std::int64_t reserved_memory_bytes = 0;
    log::Level log_level = log::Level::kInfo;
};

// What the flags come to; kInvalidArgument names the flag. `text` flags as given.
struct KubeletFlags {
    KubeletOptions options;
    std::string node_ips, cluster_dns, node_labels, taints, reserved;
    std::string cgroup_driver = "cgroupfs";
    std::string log_level = "info";
};
Result<KubeletOptions> read_flags(const KubeletFlags& flags);

}  // namespace sluice::kubelet
