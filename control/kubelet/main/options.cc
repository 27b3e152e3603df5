#include "control/kubelet/main/options.h"

#include <unistd.h>

#include <array>
#include <sstream>

#include "api/base/ip_address.h"
#include "api/codec/quantity.h"
#include "control/kubelet/cri/cri.h"

namespace sluice::kubelet {

namespace {

constexpr std::size_t kMaxHostname = 64;
constexpr std::uint32_t kMaxPodsLimit = 2'000;

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    std::string part;
    while (std::getline(stream, part, ',')) {
        if (!part.empty()) parts.push_back(part);
    }
    return parts;
}

Result<std::vector<std::string>> addresses(const char* flag, const std::string& text) {
    auto parts = split(text);
    for (const auto& part : parts) {
        if (!IpAddress::parse(part)) {
            return make_error(Code::kInvalidArgument, "{}: \"{}\" is not an IP address", flag, part);
        }
    }
    return parts;
}

Result<void> absolute(const char* flag, const std::string& path) {
    if (path.starts_with('/')) return {};
    return make_error(Code::kInvalidArgument, "{}: \"{}\" is not an absolute path", flag, path);
}

Result<void> read_reserved(const std::string& text, KubeletOptions* options) {
    for (const auto& part : split(text)) {
        const auto at = part.find('=');
        const auto name = part.substr(0, at);
        const auto amount = at == std::string::npos
                                ? Result<codec::Quantity>(make_error(Code::kInvalidArgument, ""))
                                : codec::Quantity::parse(part.substr(at + 1));
        if (!amount || amount->is_negative() || (name != "cpu" && name != "memory")) {
            return make_error(Code::kInvalidArgument,
                              "--system-reserved: \"{}\" is not cpu=QUANTITY or memory=QUANTITY",
                              part);
        }
        if (name == "cpu") {
            options->reserved_cpu_milli = amount->milli();
        } else {
            options->reserved_memory_bytes = amount->units();
        }
    }
    return {};
}

}  // namespace

Result<KubeletOptions> read_flags(const KubeletFlags& flags) {
    auto options = flags.options;
    SLUICE_TRY_ASSIGN(options.log_level, log::parse_level(flags.log_level));
    if (options.kubeconfig.empty()) {
        return make_error(Code::kInvalidArgument, "--kubeconfig must not be empty");
    }
    if (flags.cgroup_driver != "cgroupfs") {
        return make_error(Code::kInvalidArgument,
                          "--cgroup-driver: \"{}\" is not supported, only cgroupfs is",
                          flags.cgroup_driver);
    }
    SLUICE_TRY(parse_endpoint(options.runtime_endpoint));
    SLUICE_TRY(absolute("--root-dir", options.root_dir));
    SLUICE_TRY(absolute("--pod-logs-dir", options.pod_logs_dir));
    if (!options.resolv_conf.empty()) SLUICE_TRY(absolute("--resolv-conf", options.resolv_conf));
    for (auto* path : {&options.root_dir, &options.pod_logs_dir}) {
        while (path->size() > 1 && path->ends_with('/')) path->pop_back();
    }
    if (options.cgroup_root.find("..") != std::string::npos) {
        return make_error(Code::kInvalidArgument, "--cgroup-root: \"{}\" must not hold \"..\"",
                          options.cgroup_root);
    }
    SLUICE_TRY_ASSIGN(options.node_ips, addresses("--node-ip", flags.node_ips));
    SLUICE_TRY_ASSIGN(options.cluster_dns, addresses("--cluster-dns", flags.cluster_dns));
    if (!IpAddress::parse(options.address)) {
        return make_error(Code::kInvalidArgument, "--address: \"{}\" is not an IP address",
                          options.address);
    }
    if (!IpAddress::parse(options.healthz_address)) {
        return make_error(Code::kInvalidArgument,
                          "--healthz-bind-address: \"{}\" is not an IP address",
                          options.healthz_address);
    }
    for (const auto& part : split(flags.node_labels)) {
        const auto at = part.find('=');
        if (at == 0 || at == std::string::npos) {
            return make_error(Code::kInvalidArgument, "--node-labels: \"{}\" is not KEY=VALUE", part);
        }
        options.node_labels[part.substr(0, at)] = part.substr(at + 1);
    }
    options.taints = split(flags.taints);
    SLUICE_TRY(read_reserved(flags.reserved, &options));
    if (options.max_pods == 0 || options.max_pods > kMaxPodsLimit) {
        return make_error(Code::kInvalidArgument, "--max-pods: {} is not between 1 and {}",
                          options.max_pods, kMaxPodsLimit);
    }
    if (options.tls_cert_file.empty() != options.tls_private_key_file.empty()) {
        return make_error(Code::kInvalidArgument,
                          "--tls-cert-file and --tls-private-key-file go together");
    }
    if (options.hostname.empty()) {
        std::array<char, kMaxHostname + 1> name{};
        if (::gethostname(name.data(), kMaxHostname) != 0) {
            return errno_error(errno, "cannot read the host name; give --hostname-override");
        }
        options.hostname = name.data();
        for (auto& c : options.hostname) {
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        }
    }
    return options;
}

}  // namespace sluice::kubelet
