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
    SLUICE_TRY_ASSIGN(const auto removed, sluice::dataplane::cleanup_ebpf(options));
    for (const auto& item : removed) std::printf("removed %s\n", item.c_str());
    if (removed.empty()) std::puts("nothing to remove");
    return {};
}

// What can be told from the flags alone, so that wrong usage is never mistaken for a fault of the machine or of a file.
Result<void> check_flags(const Flags& flags) {
    SLUICE_TRY(sync_options(flags));
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

// Runs until SIGTERM or SIGINT, which are blocked in every thread.
Result<void> serve(const Flags& flags, const sigset_t& signals) {
    SLUICE_TRY_ASSIGN(const auto config, client_config(flags));
    SLUICE_TRY_ASSIGN(auto options, sync_options(flags));
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
