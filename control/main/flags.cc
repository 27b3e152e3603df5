#include "control/main/flags.h"

#include <CLI/CLI.hpp>
#include <array>

#include "api/base/log.h"
#include "api/codec/time.h"

namespace sluice::control {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
// A node is not judged on less than this: Leases are renewed every ten seconds, and clocks differ.
constexpr std::int64_t kMinPeriodMs = 100;
constexpr std::int64_t kMaxPeriodMs = 24LL * 3'600'000;

constexpr std::array kDnsFlags = {"--dns-listen", "--cluster-domain", "--dns-upstream"};
constexpr std::array kControllerFlags = {"--cluster-cidr", "--node-cidr-mask-size-ipv4",
                                         "--node-cidr-mask-size-ipv6",
                                         "--node-monitor-grace-period", "--node-monitor-period"};

template <std::size_t N>
Result<void> refuse_given(const CLI::App& app, const std::array<const char*, N>& names,
                          const char* component) {
    for (const char* name : names) {
        if (app.get_option(name)->count() > 0) {
            return make_error(Code::kInvalidArgument, "{} needs the component {} in --components",
                              name, component);
        }
    }
    return {};
}

// "40s", "1m30s".
Result<std::uint32_t> parse_period_ms(const char* flag, const std::string& text) {
    const auto duration = codec::parse_duration_ns(text);
    if (!duration) {
        return make_error(Code::kInvalidArgument, "{} \"{}\": {}", flag, text,
                          duration.error().message);
    }
    const std::int64_t ms = *duration / kMillisecond;
    if (ms < kMinPeriodMs || ms > kMaxPeriodMs) {
        return make_error(Code::kInvalidArgument, "{} \"{}\": it must be between 100ms and 24h", flag,
                          text);
    }
    return static_cast<std::uint32_t>(ms);
}

Result<void> check_mask(const char* flag, int bits, int low, int high) {
    if (bits >= low && bits <= high) return {};
    return make_error(Code::kInvalidArgument, "{} {}: it must be between {} and {}", flag, bits, low,
                      high);
}

Result<controllers::Options> read_controllers(const Flags& flags, const ServeOptions& serve) {
    controllers::Options options;
    SLUICE_TRY_ASSIGN(options.cluster_cidrs, parse_cluster_cidrs(flags.cluster_cidrs));
    SLUICE_TRY(check_mask("--node-cidr-mask-size-ipv4", flags.node_cidr_mask_size_ipv4, 8, 30));
    SLUICE_TRY(check_mask("--node-cidr-mask-size-ipv6", flags.node_cidr_mask_size_ipv6, 16, 126));
    for (const auto& range : options.cluster_cidrs) {
        const bool v4 = range.address.is_v4();
        const int bits = v4 ? flags.node_cidr_mask_size_ipv4 : flags.node_cidr_mask_size_ipv6;
        if (bits < range.bits) {
            return make_error(Code::kInvalidArgument,
                              "--cluster-cidr \"{}\": it is smaller than one node's range of /{}",
                              flags.cluster_cidrs, bits);
        }
    }
    options.node_cidr_mask_size_ipv4 = flags.node_cidr_mask_size_ipv4;
    options.node_cidr_mask_size_ipv6 = flags.node_cidr_mask_size_ipv6;
    options.service_cidrs = serve.service_cidrs;
    SLUICE_TRY_ASSIGN(options.node_monitor_grace_period_ms,
                      parse_period_ms("--node-monitor-grace-period",
                                      flags.node_monitor_grace_period));
    SLUICE_TRY_ASSIGN(options.node_monitor_period_ms,
                      parse_period_ms("--node-monitor-period", flags.node_monitor_period));
    if (options.node_monitor_period_ms > options.node_monitor_grace_period_ms) {
        return make_error(Code::kInvalidArgument,
                          "--node-monitor-period {} is above --node-monitor-grace-period {}",
                          flags.node_monitor_period, flags.node_monitor_grace_period);
    }
    return options;
}

}  // namespace

void add_flags(CLI::App* app, Flags* flags) {
    app->add_option("--data-dir", flags->data_dir,
                    "Where the store, the certificates and the kubeconfig files are kept")
        ->required();
    app->add_option("--listen", flags->listen, "Address and port to serve HTTPS on")
        ->capture_default_str();
    app->add_option("--service-cluster-ip-range", flags->service_cidrs,
                    "ClusterIPs are taken from here; two ranges, separated by a comma, for dual stack")
        ->capture_default_str();
    app->add_option("--service-node-port-range", flags->node_ports,
                    "NodePorts are taken from here, both ends included")
        ->capture_default_str();
    app->add_option("--components", flags->components,
                    "Parts to run, separated by commas: apiserver, controllers, scheduler, dns")
        ->capture_default_str();
    app->add_option("--tls-san", flags->tls_sans,
                    "Further name or address of the server certificate; may be repeated")
        ->delimiter(',');
    app->add_option("--default-not-ready-toleration-seconds", flags->not_ready_toleration_s,
                    "How long pods that say nothing else stay on a node that is not ready")
        ->capture_default_str();
    app->add_option("--default-unreachable-toleration-seconds", flags->unreachable_toleration_s,
                    "How long pods that say nothing else stay on a node that is lost")
        ->capture_default_str();
    app->add_option("--event-ttl", flags->event_ttl, "How long Events are kept")
        ->capture_default_str();
    app->add_option("--cluster-cidr", flags->cluster_cidrs,
                    "Nodes' ranges of pod addresses are cut from here, one range a family; none to "
                    "leave that to others")
        ->capture_default_str();
    app->add_option("--node-cidr-mask-size-ipv4", flags->node_cidr_mask_size_ipv4,
                    "Prefix length of a node's range")
        ->capture_default_str();
    app->add_option("--node-cidr-mask-size-ipv6", flags->node_cidr_mask_size_ipv6,
                    "Prefix length of a node's range")
        ->capture_default_str();
    app->add_option("--node-monitor-grace-period", flags->node_monitor_grace_period,
                    "A node that has been silent for so long is lost")
        ->capture_default_str();
    app->add_option("--node-monitor-period", flags->node_monitor_period,
                    "How often nodes are looked at")
        ->capture_default_str();
    app->add_option("--dns-listen", flags->dns_listen,
                    "Addresses and ports of the cluster DNS, UDP and TCP, separated by commas")
        ->capture_default_str();
    app->add_option("--cluster-domain", flags->cluster_domain,
                    "The domain that names of Services end in")
        ->capture_default_str();
    app->add_option("--dns-upstream", flags->dns_upstream,
                    "DNS servers that know all other names, separated by commas; none to refuse them; "
                    "those of /etc/resolv.conf by default");
    app->add_option("--token-auth-file", flags->token_auth_file,
                    "CSV file of bearer tokens: token,user,uid,\"group1,group2\"");
    app->add_option("--enable-admission-plugins", flags->enable_admission_plugins,
                    "Admission plugins in force besides the default ones, by names separated by commas");
    app->add_option("--disable-admission-plugins", flags->disable_admission_plugins,
                    "Admission plugins that are not in force, by names separated by commas");
    app->add_option("--authorization-mode", flags->authorization_mode,
                    "Who decides what is permitted, in this order: Node, RBAC, AlwaysAllow, AlwaysDeny")
        ->capture_default_str();
    app->add_option("--anonymous-auth", flags->anonymous_auth,
                    "Requests without credentials are those of system:anonymous, for roles to decide; "
                    "without, only health, version and cluster-info are")
        ->capture_default_str();
    add_storage_flags(app, &flags->storage);
    add_request_flags(app, &flags->requests);
    add_token_flags(app, &flags->tokens);
    app->add_option("--log-level", flags->log_level, "trace, debug, info, warn, error or off")
        ->capture_default_str();
}

Result<ServeOptions> read_flags(const CLI::App& app, const Flags& flags) {
    SLUICE_TRY_ASSIGN(const auto level, log::parse_level(flags.log_level));
    log::set_level(level);
    ServeOptions options;
    options.data_dir = flags.data_dir;
    while (options.data_dir.size() > 1 && options.data_dir.ends_with('/')) {
        options.data_dir.pop_back();
    }
    if (options.data_dir.empty()) {
        return make_error(Code::kInvalidArgument, "--data-dir must not be empty");
    }
    SLUICE_TRY_ASSIGN(options.listen, parse_listen(flags.listen));
    SLUICE_TRY_ASSIGN(options.service_cidrs, parse_service_cidrs(flags.service_cidrs));
    SLUICE_TRY_ASSIGN(const auto ports, parse_node_ports(flags.node_ports));
    options.node_port_min = ports.first;
    options.node_port_max = ports.second;
    SLUICE_TRY_ASSIGN(options.tls_sans, parse_tls_sans(flags.tls_sans));
    for (const auto& [flag, seconds] :
         {std::pair("--default-not-ready-toleration-seconds", flags.not_ready_toleration_s),
          std::pair("--default-unreachable-toleration-seconds", flags.unreachable_toleration_s)}) {
        if (seconds < 0) {
            return make_error(Code::kInvalidArgument, "{} {}: it must not be negative", flag,
                              seconds);
        }
    }
    options.not_ready_toleration_s = flags.not_ready_toleration_s;
    options.unreachable_toleration_s = flags.unreachable_toleration_s;
    SLUICE_TRY_ASSIGN(const auto ttl_ms, parse_period_ms("--event-ttl", flags.event_ttl));
    options.event_ttl_s = std::max<std::uint32_t>(1, ttl_ms / 1'000);
    options.token_auth_file = flags.token_auth_file;
    SLUICE_TRY_ASSIGN(options.admission_plugins, admission::parse_plugins(flags.enable_admission_plugins,
                                                                          flags.disable_admission_plugins));
    auto modes = authorization::parse_modes(flags.authorization_mode);
    if (!modes) return modes.error().with_context("--authorization-mode");
    options.authorization_modes = std::move(*modes);
    options.anonymous_auth = flags.anonymous_auth;
    SLUICE_TRY(check_storage_flags(app, flags.storage));
    options.storage = flags.storage;
    SLUICE_TRY_ASSIGN(options.requests, read_request_flags(flags.requests));
    SLUICE_TRY_ASSIGN(options.tokens, read_token_flags(flags.tokens));
    SLUICE_TRY_ASSIGN(const Components components, parse_components(flags.components));
    if (components.dns) {
        SLUICE_TRY_ASSIGN(options.dns, dns::parse_options(flags.dns_listen, flags.cluster_domain,
                                                          flags.dns_upstream, dns::kResolvConf));
        options.dns->service_cidrs = options.service_cidrs;
    } else {
        SLUICE_TRY(refuse_given(app, kDnsFlags, "dns"));
    }
    if (components.controllers) {
        SLUICE_TRY_ASSIGN(options.controllers, read_controllers(flags, options));
    } else {
        SLUICE_TRY(refuse_given(app, kControllerFlags, "controllers"));
    }
    options.scheduler = components.scheduler;
    return options;
}

}  // namespace sluice::control
