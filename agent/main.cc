// sluice-agent: the wiring of configuration, client, watches, compile thread and engine.
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "agent/config/flags.h"
#include "agent/health/health.h"
#include "agent/health/metrics.h"
#include "agent/listener.h"
#include "agent/machine.h"
#include "agent/metrics/engine_metrics.h"
#include "agent/metrics/traffic_metrics.h"
#include "agent/migrate/migrate.h"
#include "agent/network/network.h"
#include "agent/sync/sync.h"
#include "agent/watch/watch.h"
#include "api/base/log.h"
#include "api/client/client.h"
#include "api/client/kubeconfig.h"
#include "dataplane/dpdk/client/dpdk_client.h"
#include "dataplane/dpdk/client/inspect.h"
#include "dataplane/ebpf/ebpf_engine.h"

namespace {

using sluice::Error;
using sluice::Result;
using sluice::config::Command;
using sluice::config::Config;
namespace log = sluice::log;

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr char kComponent[] = "agent";

Result<sluice::client::ClientConfig> client_config(const Config& config) {
    const auto& [kubeconfig, master] = std::tie(config.effective.kubeconfig, config.effective.master);
    sluice::client::ClientConfig out;
    if (!kubeconfig.empty()) {
        SLUICE_TRY_ASSIGN(out, sluice::client::load_kubeconfig(kubeconfig));
    } else if (master.empty()) {
        auto found = sluice::client::in_cluster_config();
        if (!found) return found.error().with_context("--kubeconfig is not given");
        out = std::move(*found);
    }
    if (!master.empty()) {
        if (auto parsed = sluice::client::parse_server_url(master, &out); !parsed) {
            return parsed.error().with_context("--master");
        }
    }
    return out;
}

sluice::sync::DetectLocal detect_local(const sluice::config::Effective& effective) {
    using Mode = sluice::sync::DetectLocal::Mode;
    sluice::sync::DetectLocal out;
    switch (effective.detect) {
        case sluice::config::DetectLocal::kNone: out.mode = Mode::kNone; break;
        case sluice::config::DetectLocal::kRanges: out.mode = Mode::kClusterCidr; break;
        case sluice::config::DetectLocal::kNodeRange: out.mode = Mode::kNodeCidr; break;
        case sluice::config::DetectLocal::kBridge: out.mode = Mode::kBridgeInterface; break;
        case sluice::config::DetectLocal::kPrefix: out.mode = Mode::kInterfaceNamePrefix; break;
    }
    out.cidrs = effective.cluster_cidrs;
    out.bridge = effective.pod_bridge;
    out.prefix = effective.pod_prefix;
    return out;
}

Result<sluice::sync::SyncOptions> sync_options(const Config& config) {
    const auto& effective = config.effective;
    sluice::sync::SyncOptions options;
    options.node_name = effective.node_name;
    options.masquerade_all = effective.masquerade_all;
    options.service_cidrs = effective.service_cidrs;
    options.bind_address = effective.bind_address;
    options.detect = detect_local(effective);
    using sluice::image::Forwarding;
    options.forwarding = config.own.forwarding == "tunnel"   ? Forwarding::kTunnel
                         : config.own.forwarding == "option" ? Forwarding::kOption
                                                             : Forwarding::kNat;
    SLUICE_TRY_ASSIGN(options.nodeports,
                      sluice::sync::NodePortAddresses::parse(effective.node_port_addresses));
    return options;
}

Result<sluice::network::NetworkOptions> network_options(const Config& config) {
    const auto& own = config.own;
    sluice::network::NetworkOptions options;
    options.node_name = config.effective.node_name;
    options.cni_conf_dir = own.cni_conf_dir;
    options.cni_data_dir = own.cni_data_dir;
    options.mtu = own.cni_mtu;
    options.route_pods = own.route_pods;
    options.masquerade = config.effective.masquerade_pods;
    const auto absolute = [](const char* flag, const std::string& path) -> Result<void> {
        if (path.empty() || path.front() == '/') return {};
        return sluice::make_error(sluice::Code::kInvalidArgument,
                                  "{}: \"{}\" is not an absolute path", flag, path);
    };
    SLUICE_TRY(absolute("--cni-conf-dir", own.cni_conf_dir));
    SLUICE_TRY(absolute("--cni-data-dir", own.cni_data_dir));
    if (own.cni_conf_dir.empty() && (!own.cni_data_dir.empty() || own.cni_mtu != 0)) {
        return sluice::make_error(sluice::Code::kInvalidArgument,
                                  "--cni-data-dir and --cni-mtu need --cni-conf-dir");
    }
    if (own.cni_mtu != 0 &&
        (own.cni_mtu < sluice::network::kMinMtu || own.cni_mtu > sluice::network::kMaxMtu)) {
        return sluice::make_error(sluice::Code::kInvalidArgument,
                                  "--cni-mtu: {} is not between {} and {}", own.cni_mtu,
                                  sluice::network::kMinMtu, sluice::network::kMaxMtu);
    }
    return options;
}

sluice::dataplane::EbpfOptions known_engine_options(const Config& config) {
    sluice::dataplane::EbpfOptions options;
    options.bpffs = config.own.bpffs;
    options.devices = config.own.devices;
    options.cgroup_root = config.own.cgroup_root;
    options.object_dir = config.own.object_dir;
    options.flow_entries = config.own.flow_entries;
    options.flow_entries_max = std::max(options.flow_entries, options.flow_entries_max);
    options.affinity_entries = config.own.affinity_entries;
    options.affinity_entries_max = std::max(options.affinity_entries, options.affinity_entries_max);
    options.snat_port_min = config.effective.snat_port_min;
    options.snat_port_max = config.effective.snat_port_max;
    using sluice::dataplane::XdpMode;
    const std::string& xdp = config.own.xdp;
    options.xdp = xdp == "native"    ? XdpMode::kNative
                  : xdp == "generic" ? XdpMode::kGeneric
                  : xdp == "off"     ? XdpMode::kOff
                                     : XdpMode::kAuto;
    return options;
}

Result<sluice::dataplane::EbpfOptions> engine_options(const Config& config) {
    auto options = known_engine_options(config);
    if (options.cgroup_root.empty()) {
        SLUICE_TRY_ASSIGN(options.cgroup_root, sluice::agent::detect_cgroup_root());
    }
    if (options.object_dir.empty()) {
        SLUICE_TRY_ASSIGN(options.object_dir,
                          sluice::agent::find_object_dir(SLUICE_INSTALLED_BPF_DIR));
    }
    return options;
}

sluice::dpdk::DpdkOptions dpdk_options(const Config& config) {
    sluice::dpdk::DpdkOptions options;
    options.socket = config.own.dpdk_socket;
    options.state_directory = config.own.dpdk_state_dir;
    options.snat_port_min = config.effective.snat_port_min;
    options.snat_port_max = config.effective.snat_port_max;
    return options;
}

// An engine, and how others read its tables.
struct Dataplane {
    std::unique_ptr<sluice::dataplane::Engine> engine;
    sluice::metrics::OpenTables tables;
};

Result<Dataplane> open_dataplane(const Config& config) {
    Dataplane out;
    if (config.own.engine == "dpdk") {
        const auto options = dpdk_options(config);
        SLUICE_TRY_ASSIGN(out.engine, sluice::dpdk::open_dpdk_engine(options));
        out.tables = [directory = options.state_directory] { return sluice::dpdk::open_shared_inspector(directory); };
    } else {
        SLUICE_TRY_ASSIGN(const auto options, engine_options(config));
        SLUICE_TRY_ASSIGN(out.engine, sluice::dataplane::open_ebpf_engine(options));
        out.tables = [bpffs = options.bpffs] { return sluice::dataplane::Inspector::open(bpffs); };
    }
    return out;
}

int fail(const Error& error) {
    log::error(kComponent, "{}", error.to_string());
    return kExitFailure;
}

int cleanup(const Config& config) {
    const auto remove = [&]() -> Result<std::vector<std::string>> {
        SLUICE_TRY_ASSIGN(auto removed, sluice::dataplane::cleanup_ebpf(known_engine_options(config)));
        if (const auto shared = sluice::dpdk::cleanup_dpdk(dpdk_options(config)); shared) {
            removed.insert(removed.end(), shared->begin(), shared->end());
        } else if (config.own.engine == "dpdk") {
            return shared.error();
        } else {
            // Of an engine that is none of this agent's.
            log::info(kComponent, "left alone: {}", shared.error().message);
        }
        SLUICE_TRY_ASSIGN(const auto network, sluice::network::clean_up(config.own.cni_conf_dir));
        removed.insert(removed.end(), network.begin(), network.end());
        return removed;
    };
    const auto removed = remove();
    if (!removed) return fail(removed.error());
    for (const auto& item : *removed) std::printf("removed %s\n", item.c_str());
    if (removed->empty()) std::puts("nothing to remove");
    return 0;
}

int cleanup_kube_proxy() {
    const auto cleaned = sluice::migrate::clean_up_kube_proxy();
    for (const auto& item : cleaned.removed) std::printf("removed %s\n", item.c_str());
    for (const auto& item : cleaned.failed) log::error(kComponent, "still there: {}", item);
    if (cleaned.removed.empty() && cleaned.failed.empty()) std::puts("nothing of kube-proxy to remove");
    return cleaned.failed.empty() ? 0 : kExitFailure;
}

// Says what a kube-proxy left here, in the log and in a metric. Whether there is anything: connections that began
// through its rules must then be left to them. Where nothing is, this takes a millisecond or two.
bool look_for_kube_proxy(sluice::health::Metrics& metrics) {
    const auto found = sluice::migrate::find_kube_proxy();
    for (const auto& trace : found.traces) {
        log::warn(kComponent,
                  "kube-proxy's rules are here ({} {}: {}); new connections do not use them, and "
                  "--cleanup-kube-proxy removes them once no kube-proxy runs",
                  trace.mechanism, trace.family == sluice::IpFamily::kIpv4 ? "IPv4" : "IPv6",
                  trace.description);
    }
    for (const auto& unclear : found.unclear) {
        log::warn(kComponent, "whether kube-proxy left rules here is not clear: {}", unclear);
    }
    metrics.add_collector([text = sluice::migrate::render_metrics(found)](std::string* out) {
        out->append(text);
    });
    return !found.traces.empty();
}

// What can be told from the configuration alone and is the business of other modules, so that wrong usage is never
// mistaken for a fault of the machine or of a file.
Result<void> check_usage(const Config& config) {
    SLUICE_TRY(sync_options(config));
    SLUICE_TRY(network_options(config));
    if (config.effective.master.empty()) return {};
    sluice::client::ClientConfig unused;
    if (auto parsed = sluice::client::parse_server_url(config.effective.master, &unused); !parsed) {
        return parsed.error().with_context("--master");
    }
    return {};
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
Result<void> serve(const Config& config, const sigset_t& signals) {
    const auto& effective = config.effective;
    SLUICE_TRY_ASSIGN(const auto server, client_config(config));
    SLUICE_TRY_ASSIGN(auto options, sync_options(config));
    SLUICE_TRY_ASSIGN(auto pods, network_options(config));
    SLUICE_TRY_ASSIGN(const auto dataplane, open_dataplane(config));
    SLUICE_TRY(sluice::agent::enable_forwarding());
    SLUICE_TRY_ASSIGN(auto client,
                      sluice::client::Client::create(server, "sluice-agent/" SLUICE_VERSION));

    sluice::health::State state(effective.sync_period);
    sluice::health::Metrics metrics;
    options.beside_kube_proxy = look_for_kube_proxy(metrics);
    metrics.add_collector([tables = dataplane.tables,
                           traffic = std::make_shared<sluice::metrics::TrafficMetrics>()](std::string* out) {
        traffic->collect(tables, out);
    });
    if (config.own.engine == "dpdk") {
        metrics.add_collector([socket = config.own.dpdk_socket](std::string* out) {
            sluice::metrics::collect_engine(socket, out);
        });
    }
    sluice::agent::Listener health_server, metrics_server;
    SLUICE_TRY(health_server.start({"healthzBindAddress", effective.healthz_address,
                                    sluice::config::kHealthPort, effective.bind_hard_fail},
                                   sluice::health::health_handler(state, metrics)));
    SLUICE_TRY(metrics_server.start(
        {"metricsBindAddress", effective.metrics_address, sluice::config::kMetricsPort,
         effective.bind_hard_fail},
        sluice::health::metrics_handler(state, metrics, config.own.engine,
                                        sluice::config::configz(config))));

    sluice::watch::EventQueue queue(sluice::watch::kMaxQueuedChanges);
    const bool cidrs_by_flag = !options.service_cidrs.empty();
    sluice::sync::Sync sync(*dataplane.engine, state, metrics, std::move(options));
    SLUICE_TRY_ASSIGN(const auto links, sluice::watch::watch_links(queue));
    const auto watches =
        sluice::watch::Watches::start(*client, queue, {effective.node_name, !cidrs_by_flag});
    log::info(kComponent, "sluice-agent {} on node {} follows {}", SLUICE_VERSION,
              effective.node_name, client->server());
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

Result<void> write_config(const Command& command) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        std::fopen(command.write_to.c_str(), "we"), std::fclose);
    if (!file) return sluice::errno_error(errno, "--write-config-to: {}", command.write_to);
    const std::string text = sluice::config::to_yaml(command.config.kube_proxy);
    if (std::fwrite(text.data(), 1, text.size(), file.get()) != text.size() ||
        std::fflush(file.get()) != 0) {
        return sluice::errno_error(errno, "--write-config-to: writing {}", command.write_to);
    }
    return {};
}

int serve_until_told(Config config) {
    for (const auto& note : config.notes) log::info(kComponent, "{}", note);
    if (config.effective.node_name.empty()) {
        auto name = sluice::agent::default_node_name();
        if (!name) return fail(name.error());
        config.effective.node_name = *name;
    }
    sluice::agent::set_oom_score(config.effective.oom_score_adj);
    sluice::agent::raise_open_files_limit();
    // Blocked before any thread starts, so that only sigwait() takes them.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    const auto served = serve(config, signals);
    return served ? 0 : fail(served.error());
}

int wrong_usage(const Error& error) {
    std::fprintf(stderr, "%s\n", error.message.c_str());
    return kExitUsage;
}

int run(const std::vector<std::string>& arguments) {
    auto command = sluice::config::parse_command_line(
        arguments, [](const std::string& path) {
            return sluice::client::read_file(path, sluice::config::kMaxConfigBytes);
        });
    if (!command) {
        const bool usage = command.error().code == sluice::Code::kInvalidArgument;
        return usage ? wrong_usage(command.error()) : fail(command.error());
    }
    if (command->kind == Command::Kind::kShow) {
        std::fputs(command->text.c_str(), stdout);
        return 0;
    }
    log::set_level(command->config.effective.log_level);
    log::set_format(command->config.effective.log_format);
    if (const auto checked = check_usage(command->config); !checked) {
        return wrong_usage(checked.error());
    }
    switch (command->kind) {
        case Command::Kind::kCleanup: return cleanup(command->config);
        case Command::Kind::kCleanupKubeProxy: return cleanup_kube_proxy();
        case Command::Kind::kWriteConfig: {
            const auto written = write_config(*command);
            return written ? 0 : fail(written.error());
        }
        default: return serve_until_told(std::move(command->config));
    }
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sluice-agent: %s\n", error.what());
        return kExitFailure;
    }
}
