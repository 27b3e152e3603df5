#include "control/kubelet/main/serve.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include "api/base/log.h"
#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/client/kubeconfig.h"
#include "control/kubelet/main/healthz.h"
#include "control/kubelet/pods/manager.h"
#include "control/kubelet/pods/resources.h"

namespace sluice::kubelet {

namespace {

constexpr std::chrono::milliseconds kStopPatience{1'000};

// The first global address of an interface that is up; IPv4 before IPv6, as kubelet takes them.
Result<std::string> own_address() {
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) return errno_error(errno, "cannot list the network's interfaces");
    std::string found;
    for (const int family : {AF_INET, AF_INET6}) {
        for (const auto* at = all; at != nullptr && found.empty(); at = at->ifa_next) {
            if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != family ||
                (at->ifa_flags & IFF_UP) == 0 || (at->ifa_flags & IFF_LOOPBACK) != 0) {
                continue;
            }
            std::array<char, NI_MAXHOST> text{};
            const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
            if (::getnameinfo(at->ifa_addr, size, text.data(), text.size(), nullptr, 0,
                              NI_NUMERICHOST) == 0 &&
                std::string_view(text.data()).find('%') == std::string_view::npos) {
                found = text.data();
            }
        }
    }
    ::freeifaddrs(all);
    if (found.empty()) {
        return make_error(Code::kFailedPrecondition,
                          "no interface has a global address; give --node-ip");
    }
    return found;
}

Result<KubeletServerOptions> server_options(const KubeletOptions& options) {
    KubeletServerOptions server;
    server.address = options.address;
    server.port = options.port;
    SLUICE_TRY_ASSIGN(server.certificate_pem, client::read_file(options.tls_cert_file));
    SLUICE_TRY_ASSIGN(server.private_key_pem, client::read_file(options.tls_private_key_file));
    SLUICE_TRY_ASSIGN(server.client_ca_pem, client::read_file(options.client_ca_file));
    return server;
}

}  // namespace

Result<void> serve(const KubeletOptions& options, const sigset_t& signals) {
    std::error_code error;
    for (const auto& folder : {options.root_dir, options.pod_logs_dir}) {
        std::filesystem::create_directories(folder, error);
        if (error) return errno_error(error.value(), "cannot make {}", folder);
    }
    SLUICE_TRY_ASSIGN(const auto config, client::load_kubeconfig(options.kubeconfig));
    SLUICE_TRY_ASSIGN(const auto api, client::Client::create(config, "sluice-kubelet/" SLUICE_VERSION));
    SLUICE_TRY_ASSIGN(const auto cri, make_cri_client(options.runtime_endpoint));
    const auto events = client::EventRecorder::start(*api, "kubelet", options.hostname);

    ManagerOptions manager_options;
    auto& node = manager_options.node;
    node.node_name = node.hostname = options.hostname;
    node.host_ips = options.node_ips;
    if (node.host_ips.empty()) {
        SLUICE_TRY_ASSIGN(auto address, own_address());
        node.host_ips.push_back(std::move(address));
    }
    node.root_dir = options.root_dir;
    node.logs_dir = options.pod_logs_dir;
    node.cluster_dns = options.cluster_dns;
    node.cluster_domain = options.cluster_domain;
    node.resolv_conf = options.resolv_conf;
    node.memory_capacity = memory_capacity();
    node.lowest_oom_score = lowest_oom_score();
    manager_options.runtime_endpoint = options.runtime_endpoint;
    manager_options.cgroup_root = options.cgroup_root;
    manager_options.max_pods = options.max_pods;
    SLUICE_TRY_ASSIGN(const auto manager, Manager::create(manager_options, *api, *cri, *events));

    std::unique_ptr<KubeletServer> server;
    if (!options.tls_cert_file.empty()) {
        SLUICE_TRY_ASSIGN(const auto server_settings, server_options(options));
        SLUICE_TRY_ASSIGN(server, KubeletServer::start(server_settings, *manager));
    } else {
        log::warn("kubelet", "without --tls-cert-file logs, exec, attach and port-forward are not "
                             "served");
    }
    std::unique_ptr<Healthz> healthz;
    if (options.healthz_port != 0) {
        SLUICE_TRY_ASSIGN(healthz, Healthz::start(options.healthz_address, options.healthz_port));
    }
    NodeOptions node_options;
    node_options.name = node_options.hostname = options.hostname;
    node_options.addresses = node.host_ips;
    node_options.kubelet_port = server ? server->port() : options.port;
    node_options.max_pods = options.max_pods;
    node_options.labels = options.node_labels;
    node_options.taints = options.taints;
    node_options.reserved_cpu_milli = options.reserved_cpu_milli;
    node_options.root_directory = options.root_dir;
    node_options.reserved_memory_bytes = options.reserved_memory_bytes;
    SLUICE_TRY_ASSIGN(const auto keeper,
                      NodeKeeper::start(*api, node_options,
                                        [&manager] { return manager->runtime_state(); }, *events));
    SLUICE_TRY(manager->start(*keeper));
    log::info("kubelet", "node {} is served", options.hostname);

    int signal = 0;
    sigwait(&signals, &signal);
    log::info("kubelet", "stopping; containers go on running");
    // A container may take long to stop, and an API server that is away to answer. Neither needs this process: what is
    // under way is found again by the next one, so after a while it just ends.
    std::thread([] {
        std::this_thread::sleep_for(kStopPatience);
        std::_Exit(0);
    }).detach();
    server.reset();
    manager->stop();
    return {};
}

}  // namespace sluice::kubelet
