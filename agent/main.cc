// sluice-agent: flags to options, and the wiring of client, watches, compile thread and engine.
#include <pthread.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/health/health.h"
#include "agent/health/http_server.h"
#include "agent/health/metrics.h"
#include "agent/machine.h"
#include "agent/network/network.h"
#include "agent/sync/sync.h"
#include "agent/watch/watch.h"
#include "api/base/log.h"
#include "api/client/client.h"
#include "api/client/kubeconfig.h"
#include "dataplane/ebpf/ebpf_engine.h"

namespace {

using sluice::Error;
using sluice::IpPrefix;
using sluice::Result;
namespace log = sluice::log;

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr std::uint16_t kHealthPort = 10'256;
constexpr std::uint16_t kMetricsPort = 10'249;
constexpr char kComponent[] = "agent";

struct Flags {
    std::string kubeconfig;
    std::string master;
    std::string node_name;
    std::string engine = "ebpf";
    std::string cgroup_root;
    std::string bpffs = "/sys/fs/bpf";
    std::string object_dir;
    std::vector<std::string> devices;
    std::vector<std::string> cluster_cidrs;
    std::vector<std::string> service_cidrs;
    std::vector<std::string> nodeport_addresses;
    bool masquerade_all = false;
    std::string cni_conf_dir;
    std::string cni_data_dir;
    std::uint32_t cni_mtu = 0;
    bool route_pods = false;
    std::vector<std::string> masquerade_pods;
    bool cleanup = false;
    std::string healthz_address = "0.0.0.0:10256";
    std::string metrics_address = "127.0.0.1:10249";
    std::string log_level = "info";
};

void declare(CLI::App& app, Flags* flags) {
    app.set_version_flag("--version", "sluice-agent " SLUICE_VERSION);
    app.add_option("--kubeconfig", flags->kubeconfig,
                   "How to reach the API server; without it, as a pod does");
    app.add_option("--master", flags->master, "URL of the API server, instead of the kubeconfig's");
    app.add_option("--node-name", flags->node_name,
                   "This node's name in the API (default: the host's name in lower case)");
    app.add_option("--engine", flags->engine, "Dataplane: ebpf")->capture_default_str();
    app.add_option("--cgroup-root", flags->cgroup_root,
                   "cgroup2 directory whose processes are served (default: the cgroup2 mount)");
    app.add_option("--bpffs", flags->bpffs, "BPF file system; pins go to sluice/ in it")
        ->capture_default_str();
    app.add_option("--object-dir", flags->object_dir,
                   "Directory of the BPF objects (default: ../lib/bpf beside this program, or as installed)");
    app.add_option("--devices", flags->devices,
                   "Devices for tc, as names or shell patterns (default: chosen by role)")->delimiter(',');
    app.add_option("--cluster-cidr", flags->cluster_cidrs,
                   "Ranges of pod addresses; traffic to ClusterIPs from elsewhere gets the node's address")
        ->delimiter(',');
    app.add_option("--service-cluster-ip-range", flags->service_cidrs,
                   "Ranges of ClusterIPs (default: the API's ServiceCIDRs)")->delimiter(',');
    app.add_option("--nodeport-addresses", flags->nodeport_addresses,
                   "Ranges of addresses on which NodePorts answer, or primary (the default)")
        ->delimiter(',');
    app.add_flag("--masquerade-all", flags->masquerade_all,
                 "Give all traffic to ClusterIPs the node's address");
    app.add_option("--cni-conf-dir", flags->cni_conf_dir,
                   "Write the configuration of sluice-cni there once this node has ranges for its pods");
    app.add_option("--cni-data-dir", flags->cni_data_dir,
                   "Where sluice-cni keeps the addresses it gave (default: the plugin's own)");
    app.add_option("--cni-mtu", flags->cni_mtu,
                   "MTU of pods' links; 0: that of the link with this node's address")
        ->capture_default_str();
    app.add_flag("--route-pods", flags->route_pods,
                 "Keep routes to the pods of all nodes that are on one link with this one");
    app.add_option("--masquerade-pods", flags->masquerade_pods,
                   "Ranges of pod addresses; from there, what goes to neither pods nor nodes gets this "
                   "machine's address (default: nothing does)")
        ->delimiter(',');
    app.add_option("--healthz-bind-address", flags->healthz_address,
                   "Address of /healthz and /livez; empty: none")->capture_default_str();
    app.add_option("--metrics-bind-address", flags->metrics_address,
                   "Address of /metrics, /proxyMode and /healthz; empty: none")->capture_default_str();
    app.add_flag("--cleanup", flags->cleanup, "Remove all that agents left in the kernel, and exit");
    app.add_option("--log-level", flags->log_level, "trace, debug, info, warn, error or off")
        ->capture_default_str();
}

Result<std::vector<IpPrefix>> prefixes(const char* flag, const std::vector<std::string>& texts) {
    std::vector<IpPrefix> out;
    for (const auto& text : texts) {
        auto prefix = IpPrefix::parse(text);
        if (!prefix) return prefix.error().with_context(flag);
        out.push_back(*prefix);
    }
    return out;
}

Result<sluice::client::ClientConfig> client_config(const Flags& flags) {
    sluice::client::ClientConfig config;
    if (!flags.kubeconfig.empty()) {
        SLUICE_TRY_ASSIGN(config, sluice::client::load_kubeconfig(flags.kubeconfig));
    } else if (flags.master.empty()) {
        auto found = sluice::client::in_cluster_config();
        if (!found) return found.error().with_context("--kubeconfig is not given");
        config = std::move(*found);
    }
    if (!flags.master.empty()) {
        if (auto parsed = sluice::client::parse_server_url(flags.master, &config); !parsed) {
            return parsed.error().with_context("--master");
        }
    }
    return config;
}

Result<sluice::sync::SyncOptions> sync_options(const Flags& flags) {
    sluice::sync::SyncOptions options;
    options.node_name = flags.node_name;
    options.masquerade_all = flags.masquerade_all;
    SLUICE_TRY_ASSIGN(options.cluster_cidrs, prefixes("--cluster-cidr", flags.cluster_cidrs));
    SLUICE_TRY_ASSIGN(options.service_cidrs,
                      prefixes("--service-cluster-ip-range", flags.service_cidrs));
    SLUICE_TRY_ASSIGN(options.nodeports,
                      sluice::sync::NodePortAddresses::parse(flags.nodeport_addresses));
    return options;
}

Result<sluice::network::NetworkOptions> network_options(const Flags& flags) {
    sluice::network::NetworkOptions options;
    options.node_name = flags.node_name;
    options.cni_conf_dir = flags.cni_conf_dir;
    options.cni_data_dir = flags.cni_data_dir;
    options.mtu = flags.cni_mtu;
    options.route_pods = flags.route_pods;
    SLUICE_TRY_ASSIGN(options.masquerade, prefixes("--masquerade-pods", flags.masquerade_pods));
    const auto absolute = [](const char* flag, const std::string& path) -> Result<void> {
        if (path.empty() || path.front() == '/') return {};
        return sluice::make_error(sluice::Code::kInvalidArgument,
                                  "{}: \"{}\" is not an absolute path", flag, path);
    };
    SLUICE_TRY(absolute("--cni-conf-dir", flags.cni_conf_dir));
    SLUICE_TRY(absolute("--cni-data-dir", flags.cni_data_dir));
    if (flags.cni_conf_dir.empty() && (!flags.cni_data_dir.empty() || flags.cni_mtu != 0)) {
        return sluice::make_error(sluice::Code::kInvalidArgument,
                                  "--cni-data-dir and --cni-mtu need --cni-conf-dir");
    }
    if (flags.cni_mtu != 0 && (flags.cni_mtu < sluice::network::kMinMtu ||
                               flags.cni_mtu > sluice::network::kMaxMtu)) {
        return sluice::make_error(sluice::Code::kInvalidArgument,
                                  "--cni-mtu: {} is not between {} and {}", flags.cni_mtu,
                                  sluice::network::kMinMtu, sluice::network::kMaxMtu);
    }
    return options;
}

Result<sluice::dataplane::EbpfOptions> engine_options(const Flags& flags) {
    sluice::dataplane::EbpfOptions options;
    options.bpffs = flags.bpffs;
    options.devices = flags.devices;
    options.cgroup_root = flags.cgroup_root;
    options.object_dir = flags.object_dir;
    if (options.cgroup_root.empty()) {
        SLUICE_TRY_ASSIGN(options.cgroup_root, sluice::agent::detect_cgroup_root());
    }
    if (options.object_dir.empty()) {
        SLUICE_TRY_ASSIGN(options.object_dir,
                          sluice::agent::find_object_dir(SLUICE_INSTALLED_BPF_DIR));
    }
    return options;
}

Result<void> cleanup(const Flags& flags) {
    sluice::dataplane::EbpfOptions options;
    options.bpffs = flags.bpffs;
    options.devices = flags.devices;
    options.cgroup_root = flags.cgroup_root;
    SLUICE_TRY_ASSIGN(auto removed, sluice::dataplane::cleanup_ebpf(options));
    SLUICE_TRY_ASSIGN(const auto network, sluice::network::clean_up(flags.cni_conf_dir));
    removed.insert(removed.end(), network.begin(), network.end());
    for (const auto& item : removed) std::printf("removed %s\n", item.c_str());
    if (removed.empty()) std::puts("nothing to remove");
    return {};
}

// What can be told from the flags alone, so that wrong usage is never mistaken for a fault of the machine or of a file.
Result<void> check_flags(const Flags& flags) {
    SLUICE_TRY(sync_options(flags));
    SLUICE_TRY(network_options(flags));
    if (!flags.master.empty()) {
        sluice::client::ClientConfig config;
        if (auto parsed = sluice::client::parse_server_url(flags.master, &config); !parsed) {
            return parsed.error().with_context("--master");
        }
    }
    const auto address = [](const char* flag, const std::string& text) -> Result<void> {
        if (text.empty()) return {};
        auto checked = sluice::health::HttpServer::check_address(text);
        if (!checked) return checked.error().with_context(flag);
        return {};
    };
    SLUICE_TRY(address("--healthz-bind-address", flags.healthz_address));
    return address("--metrics-bind-address", flags.metrics_address);
}

// The network of pods with its queue, watches and thread; none of them without a flag that asks for it.
class PodNetworkThread {
public:
    static Result<std::unique_ptr<PodNetworkThread>> start(sluice::network::NetworkOptions options,
                                                           sluice::health::Metrics& metrics,
                                                           sluice::client::Client& client) {
        auto selection = options.all_nodes() ? sluice::client::Selection{}
                                             : sluice::watch::node_selection(options.node_name);
        std::unique_ptr<PodNetworkThread> out(new PodNetworkThread(std::move(options), metrics));
        SLUICE_TRY_ASSIGN(out->links_, sluice::watch::watch_links(out->queue_));
        out->nodes_ = sluice::watch::Watches::follow_nodes(client, out->queue_, std::move(selection));
        out->thread_ = std::jthread([&self = *out](const std::stop_token& stop) {
            sluice::network::run(self.network_, self.queue_, stop);
        });
        return out;
    }

private:
    PodNetworkThread(sluice::network::NetworkOptions options, sluice::health::Metrics& metrics)
        : network_(std::move(options), metrics) {}

    sluice::watch::EventQueue queue_{sluice::watch::kMaxQueuedChanges};
    sluice::network::PodNetwork network_;
    std::unique_ptr<sluice::watch::Watches> links_, nodes_;
    std::jthread thread_;
};

// Runs until SIGTERM or SIGINT, which are blocked in every thread.
Result<void> serve(const Flags& flags, const sigset_t& signals) {
    SLUICE_TRY_ASSIGN(const auto config, client_config(flags));
    SLUICE_TRY_ASSIGN(auto options, sync_options(flags));
    SLUICE_TRY_ASSIGN(auto pods, network_options(flags));
    SLUICE_TRY_ASSIGN(const auto ebpf, engine_options(flags));
    SLUICE_TRY_ASSIGN(auto engine, sluice::dataplane::open_ebpf_engine(ebpf));
    SLUICE_TRY(sluice::agent::enable_forwarding());
    SLUICE_TRY_ASSIGN(auto client,
                      sluice::client::Client::create(config, "sluice-agent/" SLUICE_VERSION));

    sluice::health::State state;
    sluice::health::Metrics metrics;
    std::unique_ptr<sluice::health::HttpServer> health_server;
    std::unique_ptr<sluice::health::HttpServer> metrics_server;
    if (!flags.healthz_address.empty()) {
        auto server = sluice::health::HttpServer::listen(
            flags.healthz_address, kHealthPort, sluice::health::health_handler(state, metrics));
        if (!server) return server.error().with_context("--healthz-bind-address");
        health_server = std::move(*server);
    }
    if (!flags.metrics_address.empty()) {
        auto server = sluice::health::HttpServer::listen(
            flags.metrics_address, kMetricsPort,
            sluice::health::metrics_handler(state, metrics, flags.engine));
        if (!server) return server.error().with_context("--metrics-bind-address");
        metrics_server = std::move(*server);
    }

    sluice::watch::EventQueue queue(sluice::watch::kMaxQueuedChanges);
    const bool cidrs_by_flag = !options.service_cidrs.empty();
    sluice::sync::Sync sync(*engine, state, metrics, std::move(options));
    SLUICE_TRY_ASSIGN(const auto links, sluice::watch::watch_links(queue));
    const auto watches =
        sluice::watch::Watches::start(*client, queue, {flags.node_name, !cidrs_by_flag});
    log::info(kComponent, "sluice-agent {} on node {} follows {}", SLUICE_VERSION, flags.node_name,
              client->server());
    std::unique_ptr<PodNetworkThread> pod_network;
    if (pods.any()) {
        SLUICE_TRY_ASSIGN(pod_network, PodNetworkThread::start(std::move(pods), metrics, *client));
    }
    std::jthread worker(
        [&](const std::stop_token& stop) { sluice::sync::run(sync, queue, stop); });
    int received = 0;
    sigwait(&signals, &received);
    log::info(kComponent, "stopping on signal {}; the dataplane goes on forwarding", received);
    return {};
}

int fail(const Error& error) {
    log::error(kComponent, "{}", error.to_string());
    return kExitFailure;
}

int run(int argc, char** argv) {
    CLI::App app("sluice-agent: makes Services of a Kubernetes cluster work on this node.");
    Flags flags;
    declare(app, &flags);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kExitUsage;
    }
    const auto level = log::parse_level(flags.log_level);
    if (!level) {
        std::fprintf(stderr, "--log-level: %s\n", level.error().message.c_str());
        return kExitUsage;
    }
    log::set_level(*level);
    if (flags.engine != "ebpf") {
        std::fprintf(stderr, "--engine: %s\n",
                     flags.engine == "dpdk" ? "dpdk is not in this build; use ebpf"
                                            : ("\"" + flags.engine + "\" is no engine; use ebpf").c_str());
        return kExitUsage;
    }
    if (const auto checked = check_flags(flags); !checked) {
        std::fprintf(stderr, "%s\n", checked.error().message.c_str());
        return kExitUsage;
    }
    if (flags.cleanup) {
        const auto cleaned = cleanup(flags);
        return cleaned ? 0 : fail(cleaned.error());
    }
    if (flags.node_name.empty()) {
        auto name = sluice::agent::default_node_name();
        if (!name) return fail(name.error());
        flags.node_name = *name;
    }
    // Blocked before any thread starts, so that only sigwait() takes them.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    const auto served = serve(flags, signals);
    return served ? 0 : fail(served.error());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sluice-agent: %s\n", error.what());
        return kExitFailure;
    }
}
