// sluice-control: the bundled control plane in one process.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "api/base/log.h"
#include "control/main/network.h"
#include "control/main/options.h"
#include "control/main/serve.h"
#include "control/main/token.h"

namespace {

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;

int fail(int code, const sluice::Error& error) {
    fmt::print(stderr, "sluice-control: {}\n", error.message);
    if (code == kWrongUsage) fmt::print(stderr, "Run with --help for more information.\n");
    return code;
}

struct Flags {
    std::string data_dir;
    std::string listen = sluice::control::kDefaultListen;
    std::string service_cidrs = sluice::control::kDefaultServiceCidrs;
    std::string node_ports = sluice::control::kDefaultNodePorts;
    std::string components = sluice::control::kDefaultComponents;
    std::vector<std::string> tls_sans;
    std::string dns_listen = sluice::dns::kDefaultListen;
    std::string cluster_domain = sluice::dns::kDefaultDomain;
    std::string dns_upstream;
    std::string dns_flag;  // one of these three, if it was given
    std::string log_level = "info";
    std::string user;
    std::vector<std::string> groups;
    std::string server;
    std::string token_auth_file;
    std::string ttl = "24h";
};

sluice::Result<sluice::control::ServeOptions> read(const Flags& flags) {
    using namespace sluice::control;
    SLUICE_TRY_ASSIGN(const auto level, sluice::log::parse_level(flags.log_level));
    sluice::log::set_level(level);
    ServeOptions options;
    options.data_dir = flags.data_dir;
    while (options.data_dir.size() > 1 && options.data_dir.ends_with('/')) {
        options.data_dir.pop_back();
    }
    SLUICE_TRY_ASSIGN(options.listen, parse_listen(flags.listen));
    SLUICE_TRY_ASSIGN(options.service_cidrs, parse_service_cidrs(flags.service_cidrs));
    SLUICE_TRY_ASSIGN(const auto ports, parse_node_ports(flags.node_ports));
    options.node_port_min = ports.first;
    options.node_port_max = ports.second;
    SLUICE_TRY_ASSIGN(const auto components, parse_components(flags.components));
    SLUICE_TRY_ASSIGN(options.tls_sans, parse_tls_sans(flags.tls_sans));
    options.token_auth_file = flags.token_auth_file;
    if (components.dns) {
        SLUICE_TRY_ASSIGN(options.dns,
                          sluice::dns::parse_options(flags.dns_listen, flags.cluster_domain,
                                                     flags.dns_upstream, sluice::dns::kResolvConf));
        options.dns->service_cidrs = options.service_cidrs;
    } else if (!flags.dns_flag.empty()) {
        return sluice::make_error(sluice::Code::kInvalidArgument,
                                  "{} needs the component dns in --components", flags.dns_flag);
    }
    return options;
}

int run_kubeconfig(const Flags& flags, const sluice::control::ServeOptions& options) {
    std::string server = flags.server;
    if (server.empty()) server = "https://" + options.listen.to_string();
    const auto text = sluice::control::make_kubeconfig(options.data_dir, server, flags.user,
                                                       flags.groups);
    if (!text) {
        return fail(text.error().code == sluice::Code::kInvalidArgument ? kWrongUsage : kFailure,
                    text.error());
    }
    fmt::print("{}", *text);
    return std::fflush(stdout) == 0 ? 0 : kFailure;
}

int run_token_create(const Flags& flags, const sluice::control::ServeOptions& options) {
    const auto ttl_s = sluice::control::parse_token_ttl(flags.ttl);
    if (!ttl_s) return fail(kWrongUsage, ttl_s.error());
    const auto text = sluice::control::create_token(options.data_dir, *ttl_s, flags.server);
    if (!text) return fail(kFailure, text.error());
    fmt::print("{}", *text);
    return std::fflush(stdout) == 0 ? 0 : kFailure;
}

int run_server(const sluice::control::ServeOptions& options) {
    // Before any thread exists, so that all inherit it and only sigwait takes these signals.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    sluice::control::raise_open_files_limit();
    const auto done = sluice::control::serve(options, signals);
    return done ? 0 : fail(kFailure, done.error());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        Flags flags;
        CLI::App app("The control plane of Sluice: a Kubernetes API server with its own store and "
                     "certificate authority.",
                     "sluice-control");
        app.set_version_flag("--version", "sluice-control " SLUICE_VERSION);
        app.add_option("--data-dir", flags.data_dir,
                       "Where the store, the certificates and the kubeconfig files are kept")
            ->required();
        app.add_option("--listen", flags.listen, "Address and port to serve HTTPS on")
            ->capture_default_str();
        app.add_option("--service-cluster-ip-range", flags.service_cidrs,
                       "ClusterIPs are taken from here; two ranges, separated by a comma, for dual "
                       "stack")
            ->capture_default_str();
        app.add_option("--service-node-port-range", flags.node_ports,
                       "NodePorts are taken from here, both ends included")
            ->capture_default_str();
        app.add_option("--components", flags.components,
                       "Parts to run, separated by commas; this build has: apiserver, dns")
            ->capture_default_str();
        const auto* dns_listen = app.add_option(
            "--dns-listen", flags.dns_listen,
            "Addresses and ports of the cluster DNS, UDP and TCP, separated by commas")
            ->capture_default_str();
        const auto* cluster_domain =
            app.add_option("--cluster-domain", flags.cluster_domain,
                           "The domain that names of Services end in")
                ->capture_default_str();
        const auto* dns_upstream = app.add_option(
            "--dns-upstream", flags.dns_upstream,
            "DNS servers that know all other names, separated by commas; none to refuse them; those "
            "of /etc/resolv.conf by default");
        app.add_option("--tls-san", flags.tls_sans,
                       "Further name or address of the server certificate; may be repeated")
            ->delimiter(',');
        app.add_option("--log-level", flags.log_level, "trace, debug, info, warn, error or off")
            ->capture_default_str();
        app.add_option("--token-auth-file", flags.token_auth_file,
                       "CSV file of bearer tokens: token,user,uid,\"group1,group2\"");
        CLI::App* token = app.add_subcommand("token", "Bootstrap tokens, with which machines join");
        token->require_subcommand(1)->fallthrough();
        CLI::App* token_create = token->add_subcommand(
            "create", "Create one and print the command that joins a machine with it");
        token_create->fallthrough();
        token_create->add_option("--ttl", flags.ttl, "How long it is good; 0 for ever")
            ->capture_default_str();
        token_create->add_option("--server", flags.server,
                                 "HOST:PORT as machines reach the server; what the cluster publishes "
                                 "by default");
        CLI::App* kubeconfig = app.add_subcommand(
            "kubeconfig", "Print a kubeconfig for a user, signed by the cluster's authority");
        kubeconfig->fallthrough();
        kubeconfig->add_option("--user", flags.user, "Name of the user")->required();
        kubeconfig->add_option("--group", flags.groups, "Group of the user; may be repeated");
        kubeconfig->add_option("--server", flags.server,
                               "URL of the server; https:// and --listen by default");
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : kWrongUsage;
        }
        for (const auto* option : {dns_listen, cluster_domain, dns_upstream}) {
            if (option->count() > 0) flags.dns_flag = option->get_name();
        }
        const auto options = read(flags);
        if (!options) return fail(kWrongUsage, options.error());
        if (options->data_dir.empty()) {
            return fail(kWrongUsage, sluice::make_error(sluice::Code::kInvalidArgument,
                                                        "--data-dir must not be empty"));
        }
        if (token_create->parsed()) return run_token_create(flags, *options);
        return kubeconfig->parsed() ? run_kubeconfig(flags, *options) : run_server(*options);
    } catch (const std::exception& exception) {
        fmt::print(stderr, "sluice-control: {}\n", exception.what());
        return kFailure;
    }
}
