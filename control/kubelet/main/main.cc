// sluice-kubelet: runs the pods of this node.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "control/kubelet/main/serve.h"

namespace {

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;

int fail(int code, const sluice::Error& error) {
    fmt::print(stderr, "sluice-kubelet: {}\n", error.message);
    if (code == kWrongUsage) fmt::print(stderr, "Run with --help for more information.\n");
    return code;
}

void add_flags(CLI::App& app, sluice::kubelet::KubeletFlags& flags) {
    auto& options = flags.options;
    app.add_option("--kubeconfig", options.kubeconfig, "How to reach the API server, and as whom")
        ->required();
    app.add_option("--hostname-override", options.hostname,
                   "Name of the node; the host's by default");
    app.add_option("--node-ip", flags.node_ips, "Addresses of the node, separated by commas")
        ->join(',');
    app.add_option("--container-runtime-endpoint", options.runtime_endpoint,
                   "Unix socket of the container runtime")
        ->capture_default_str();
    app.add_option("--root-dir", options.root_dir, "Where volumes and files of pods are kept")
        ->capture_default_str();
    app.add_option("--pod-logs-dir", options.pod_logs_dir, "Where containers' logs are kept")
        ->capture_default_str();
    app.add_option("--cgroup-root", options.cgroup_root,
                   "Path below the root of each cgroup hierarchy under which pods are put")
        ->capture_default_str();
    app.add_option("--cgroup-driver", flags.cgroup_driver, "cgroupfs")->capture_default_str();
    app.add_option("--cluster-dns", flags.cluster_dns,
                   "Addresses of the cluster's DNS, separated by commas")
        ->join(',');
    app.add_option("--cluster-domain", options.cluster_domain, "The domain of the cluster")
        ->capture_default_str();
    app.add_option("--resolv-conf", options.resolv_conf,
                   "The node's resolver configuration, for pods with dnsPolicy Default; empty for none")
        ->capture_default_str();
    app.add_option("--node-labels", flags.node_labels, "Labels of the node: KEY=VALUE,...")
        ->join(',');
    app.add_option("--register-with-taints", flags.taints,
                   "Taints at registration: KEY=VALUE:EFFECT,...")
        ->join(',');
    app.add_option("--max-pods", options.max_pods, "Pods that run at a time")->capture_default_str();
    app.add_option("--address", options.address, "Address to serve HTTPS on")->capture_default_str();
    app.add_option("--port", options.port, "Port to serve HTTPS on")->capture_default_str();
    app.add_option("--tls-cert-file", options.tls_cert_file, "Certificate of the HTTPS server");
    app.add_option("--tls-private-key-file", options.tls_private_key_file, "Its private key");
    app.add_option("--client-ca-file", options.client_ca_file,
                   "Authority of the certificates of clients");
    app.add_option("--healthz-bind-address", options.healthz_address, "Address of /healthz")
        ->capture_default_str();
    app.add_option("--healthz-port", options.healthz_port, "Port of /healthz; 0 for none")
        ->capture_default_str();
    app.add_option("--system-reserved", flags.reserved,
                   "Kept back from pods: cpu=QUANTITY,memory=QUANTITY")
        ->join(',');
    app.add_option("--log-level", flags.log_level, "trace, debug, info, warn, error or off")
        ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
    try {
        sluice::kubelet::KubeletFlags flags;
        CLI::App app("The kubelet of Sluice: runs the pods that are bound to this node.",
                     "sluice-kubelet");
        app.set_version_flag("--version", "sluice-kubelet " SLUICE_VERSION);
        add_flags(app, flags);
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : kWrongUsage;
        }
        const auto options = sluice::kubelet::read_flags(flags);
        if (!options) return fail(kWrongUsage, options.error());
        sluice::log::set_level(options->log_level);
        // Before any thread exists, so that all inherit it and only sigwait takes these signals.
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        pthread_sigmask(SIG_BLOCK, &signals, nullptr);
        std::signal(SIGPIPE, SIG_IGN);
        const auto done = sluice::kubelet::serve(*options, signals);
        return done ? 0 : fail(kFailure, done.error());
    } catch (const std::exception& exception) {
        fmt::print(stderr, "sluice-kubelet: {}\n", exception.what());
        return kFailure;
    }
}
