// What the fields mean: kube-proxy's defaults and checks, and what is refused here.
#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "agent/config/config.h"
#include "agent/config/fields.h"
#include "agent/config/values.h"
#include "api/base/host_port.h"

namespace sluice::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int32_t kOomScoreAdj = -999;

// A gate that a proxy reads, where one of its values cannot be had here.
struct Gate {
    std::string_view name;
    bool only;  // the value that holds
    std::string_view why;
};
constexpr Gate kGates[] = {
    {"KubeProxyDrainingTerminatingNodes", true, "/healthz always obeys the node's deletion"},
    {"KubeProxyNFTablesLocalhostNodePorts", false, "NodePorts never answer on loopback addresses"},
    {"LoadBalancerIPMode", true, "status.loadBalancer.ingress.ipMode is always obeyed"},
    {"PreferSameTrafficDistribution", true, "hints for nodes are always obeyed"},
    {"ProxyTerminatingEndpoints", true, "terminating endpoints always are the last resort"},
    {"ServiceInternalTrafficPolicy", true, "internalTrafficPolicy is always obeyed"},
    {"ServiceTrafficDistribution", true, "hints of EndpointSlices are always obeyed"},
    {"TopologyAwareHints", true, "hints for zones are always obeyed"},
};

// A host with an optional port; hosts are addresses, those of IPv6 in brackets if a port follows.
struct HostPort {
    IpAddress host;
    std::optional<std::uint16_t> port;
};

std::optional<HostPort> split(const std::string& text) {
    std::string_view host = text;
    std::string_view port;
    bool has_port = false;
    if (text.starts_with('[')) {
        const auto close = text.find(']');
        if (close == std::string::npos) return std::nullopt;
        host = std::string_view(text).substr(1, close - 1);
        const auto rest = std::string_view(text).substr(close + 1);
        if (!rest.empty() && rest.front() != ':') return std::nullopt;
        has_port = !rest.empty();
        if (has_port) port = rest.substr(1);
    } else if (std::count(text.begin(), text.end(), ':') == 1) {
        const auto colon = text.find(':');
        host = std::string_view(text).substr(0, colon);
        port = std::string_view(text).substr(colon + 1);
        has_port = true;
    }
    const auto address = IpAddress::parse_sloppy(host);
    if (!address) return std::nullopt;
    HostPort out{*address, std::nullopt};
    if (has_port) {
        std::uint16_t number = 0;
        const auto parsed = std::from_chars(port.data(), port.data() + port.size(), number);
        if (parsed.ec != std::errc{} || parsed.ptr != port.data() + port.size()) return std::nullopt;
        out.port = number;
    }
    return out;
}

}  // namespace

std::string append_port(const std::string& text, std::uint16_t port) {
    const auto parts = split(text);
    if (!parts || parts->port) return text;
    return host_and_port(parts->host, port);
}

namespace {

template <class T>
void fill(T* value, T fallback) {
    if (*value == T{}) *value = std::move(fallback);
}
template <class T>
void fill(std::optional<T>* value, T fallback) {
    if (!*value) *value = fallback;
}

// Collects a sentence for each field that is wrong; they are told together.
class Checker {
public:
    explicit Checker(Config* config) : config_(*config), kp_(config->kube_proxy) {}

    Result<void> run() {
        mode();
        values();
        refused();
        addresses();
        detect_local();
        node_ports();
        gates();
        logging();
        own();
        if (wrong_.empty()) return {};
        // What a file says is no wrong usage of the program.
        const bool usage = config_.file.empty() || flags_wrong_;
        std::string all = wrong_.front();
        for (std::size_t i = 1; i < wrong_.size(); ++i) all += "; " + wrong_[i];
        return make_error(usage ? Code::kInvalidArgument : Code::kFailedPrecondition, "{}", all);
    }

private:
    // By the name that its writer knows: the flag's, or the field's.
    void wrong(std::string_view path, const std::string& why) {
        for (const Field& field : fields(&kp_)) {
            if (config_.file.empty() && field.path == path && !field.flag.empty()) {
                wrong_.push_back(fmt::format("--{}: {}", field.flag, why));
                return;
            }
        }
        wrong_.push_back(fmt::format("{}.{}: {}", kKind, path, why));
    }
    void wrong_flag(std::string_view flag, const std::string& why) {
        flags_wrong_ = true;
        wrong_.push_back(fmt::format("--{}: {}", flag, why));
    }
    void note(std::string text) { config_.notes.push_back(std::move(text)); }

    void mode() {
        const std::string& mode = kp_.mode;
        if (mode == "kernelspace") {
            wrong("mode", "\"kernelspace\" is for Windows nodes; leave it empty");
        } else if (!mode.empty() && mode != "iptables" && mode != "nftables" && mode != "ipvs") {
            wrong("mode", fmt::format("\"{}\" is none of iptables, nftables and ipvs, nor empty", mode));
        }
        const bool nft = mode == "nftables";
        const auto [path, sync, min] =
            mode == "ipvs" ? std::tuple("ipvs", kp_.ipvs.sync_period, kp_.ipvs.min_sync_period)
            : nft ? std::tuple("nftables", kp_.nftables.sync_period, kp_.nftables.min_sync_period)
                  : std::tuple("iptables", kp_.iptables.sync_period, kp_.iptables.min_sync_period);
        const std::string group = path;
        if (sync <= Duration(0)) wrong(group + ".syncPeriod", "must be greater than 0");
        if (min < Duration(0)) wrong(group + ".minSyncPeriod", "must not be negative");
        if (min > sync) {
            wrong(group + ".syncPeriod",
                  fmt::format("{} is less than minSyncPeriod {}", format_duration(sync), format_duration(min)));
        }
        config_.effective.sync_period = std::chrono::ceil<std::chrono::milliseconds>(sync);
        config_.effective.masquerade_all = nft ? kp_.nftables.masquerade_all : kp_.iptables.masquerade_all;
        if (!mode.empty()) {
            note(fmt::format("mode \"{}\": eBPF programs do its work, with the semantics of nftables mode", mode));
        }
        const std::string& scheduler = kp_.ipvs.scheduler;
        const bool equal_shares = scheduler.empty() || scheduler == "rr" || scheduler == "wrr";
        if (!equal_shares && mode == "ipvs") {
            wrong("ipvs.scheduler",
                  fmt::format("\"{}\" cannot be had; new connections are shared equally (rr); for hashing, annotate "
                              "Services with sluice.dev/consistent-hash",
                              scheduler));
        }
    }

    void values() {
        const auto bit = [&](const char* path, const std::optional<std::int32_t>& value) {
            if (value && (*value < 0 || *value > 31)) wrong(path, fmt::format("{} is not in 0 to 31", *value));
        };
        bit("iptables.masqueradeBit", kp_.iptables.masquerade_bit);
        bit("nftables.masqueradeBit", kp_.nftables.masquerade_bit);
        const auto natural = [&](const char* path, const auto& value, const auto& zero) {
            if (value < zero) wrong(path, "must not be negative");
        };
        const Duration none{};
        natural("conntrack.maxPerCore", kp_.conntrack.max_per_core.value_or(0), 0);
        natural("conntrack.min", kp_.conntrack.min.value_or(0), 0);
        natural("conntrack.tcpEstablishedTimeout", kp_.conntrack.tcp_established_timeout.value_or(none), none);
        natural("conntrack.tcpCloseWaitTimeout", kp_.conntrack.tcp_close_wait_timeout.value_or(none), none);
        natural("conntrack.udpTimeout", kp_.conntrack.udp_timeout, none);
        natural("conntrack.udpStreamTimeout", kp_.conntrack.udp_stream_timeout, none);
        natural("clientConnection.burst", kp_.client.burst, 0);
        if (kp_.mode == "ipvs") {
            natural("ipvs.tcpTimeout", kp_.ipvs.tcp_timeout, none);
            natural("ipvs.tcpFinTimeout", kp_.ipvs.tcp_fin_timeout, none);
            natural("ipvs.udpTimeout", kp_.ipvs.udp_timeout, none);
            ranges("ipvs.excludeCIDRs", kp_.ipvs.exclude_cidrs);
        }
        if (kp_.config_sync_period <= none) wrong("configSyncPeriod", "must be greater than 0");
        const int oom = kp_.oom_score_adj.value_or(0);
        if (oom < -1000 || oom > 1000) wrong("oomScoreAdj", fmt::format("{} is not in -1000 to 1000", oom));
        config_.effective.oom_score_adj = oom;
        if (!port_range(kp_.port_range)) {
            wrong("portRange", fmt::format("\"{}\" is no range of ports such as 300-2000", kp_.port_range));
        }
        const std::string& version = kp_.show_hidden_metrics;
        unsigned major = 0, minor = 0;
        char rest = 0;
        if (!version.empty() && std::sscanf(version.c_str(), "%3u.%3u%c", &major, &minor, &rest) != 2) {
            wrong("showHiddenMetricsForVersion", fmt::format("\"{}\" is no version such as 1.35", version));
        }
        if (kp_.iptables.localhost_node_ports.value_or(false)) {
            note("iptables.localhostNodePorts true (kube-proxy's own default): NodePorts do not answer on loopback "
                 "addresses here, as in nftables mode");
        }
        config_.effective.kubeconfig = kp_.client.kubeconfig;
        config_.effective.master = config_.master;
        config_.effective.bind_hard_fail = kp_.bind_address_hard_fail;
    }

    // Ports as "80", "300-2000", "300+100"; empty and 0-0 say nothing.
    static bool port_range(std::string_view text) {
        const auto number = [](std::string_view digits) {
            std::uint16_t value = 0;
            const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
            return parsed.ec == std::errc{} && parsed.ptr == digits.data() + digits.size();
        };
        if (text.empty()) return true;
        const auto middle = text.find_first_of("-+");
        if (middle == std::string_view::npos) return number(text);
        return number(text.substr(0, middle)) && number(text.substr(middle + 1));
    }

    void refused() {
        for (const Field& field : fields(&kp_)) {
            // The scheduler has acceptable values of its own; see mode().
            if (field.treatment != Treatment::kRefused || field.path == "ipvs.scheduler") continue;
            if (!is_empty(field.slot)) wrong(field.path, fmt::format("refused: {}", field.about));
        }
    }

    std::vector<IpPrefix> ranges(const char* path, const std::vector<std::string>& texts) {
        std::vector<IpPrefix> out;
        for (const auto& text : texts) {
            const auto range = IpPrefix::parse(text, true);
            if (range) {
                out.push_back(*range);
            } else {
                wrong(path, fmt::format("\"{}\" is no CIDR", text));
            }
        }
        return out;
    }

    void addresses() {
        const auto bind = IpAddress::parse_sloppy(kp_.bind_address);
        if (!bind) {
            wrong("bindAddress", fmt::format("\"{}\" is no IP address", kp_.bind_address));
        } else if (!bind->is_unspecified()) {
            config_.effective.bind_address = *bind;
        }
        const auto host_port = [&](const char* path, const std::string& text) {
            const auto parts = split(text);
            if (!text.empty() && (!parts || !parts->port || *parts->port == 0)) {
                wrong(path, fmt::format("\"{}\" is no IP:PORT", text));
            }
            return text;
        };
        config_.effective.healthz_address = host_port("healthzBindAddress", kp_.healthz_bind_address);
        config_.effective.metrics_address = host_port("metricsBindAddress", kp_.metrics_bind_address);
        std::string name = kp_.hostname_override;
        const bool given = !name.empty();
        name.erase(0, name.find_first_not_of(" \t\n"));
        name.resize(name.find_last_not_of(" \t\n") + 1);
        for (char& c : name) {
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        }
        if (given && name.empty()) wrong("hostnameOverride", "is blank");
        config_.effective.node_name = name;
    }

    void detect_local() {
        Effective& out = config_.effective;
        std::vector<std::string> texts = kp_.detect_local.cluster_cidrs;
        if (!kp_.cluster_cidr.empty()) {
            if (!texts.empty()) wrong("detectLocal.clusterCIDRs", "clusterCIDR says it already");
            if (auto read = from_text(kp_.cluster_cidr, &texts); !read) {
                wrong("clusterCIDR", read.error().message);
            }
        }
        const std::string& mode = kp_.detect_local_mode;
        if (mode.empty() || mode == "ClusterCIDR") {
            out.cluster_cidrs = ranges("clusterCIDR", texts);
            out.detect = out.cluster_cidrs.empty() ? DetectLocal::kNone : DetectLocal::kRanges;
            const bool two_of_one_family =
                out.cluster_cidrs.size() == 2 && out.cluster_cidrs[0].family() == out.cluster_cidrs[1].family();
            if (out.cluster_cidrs.size() > 2 || two_of_one_family) {
                wrong("clusterCIDR", "takes one range, or one of each family");
            }
        } else if (mode == "NodeCIDR") {
            out.detect = DetectLocal::kNodeRange;
        } else if (mode == "BridgeInterface") {
            out.detect = DetectLocal::kBridge;
            out.pod_bridge = kp_.detect_local.bridge_interface;
            if (out.pod_bridge.empty()) {
                wrong("detectLocal.bridgeInterface", "is empty, and detectLocalMode BridgeInterface needs it");
            }
        } else if (mode == "InterfaceNamePrefix") {
            out.detect = DetectLocal::kPrefix;
            out.pod_prefix = kp_.detect_local.interface_name_prefix;
            if (out.pod_prefix.empty()) {
                wrong("detectLocal.interfaceNamePrefix",
                      "is empty, and detectLocalMode InterfaceNamePrefix needs it");
            }
        } else {
            wrong("detectLocalMode", fmt::format("\"{}\" is none of ClusterCIDR, NodeCIDR, BridgeInterface and "
                                                 "InterfaceNamePrefix",
                                                 mode));
        }
        if (mode == "NodeCIDR" || mode == "BridgeInterface" || mode == "InterfaceNamePrefix") {
            if (!texts.empty()) note(fmt::format("clusterCIDR is not used with detectLocalMode {}", mode));
        }
    }

    void node_ports() {
        const auto& texts = kp_.node_port_addresses;
        std::vector<std::string> cidrs;
        for (const auto& text : texts) {
            if (text == "primary") {
                if (texts.size() > 1) wrong("nodePortAddresses", "\"primary\" stands alone");
            } else if (text == "localhost") {
                wrong("nodePortAddresses", "\"localhost\" is refused: NodePorts never answer on loopback addresses");
            } else if (text == "all") {
                cidrs.insert(cidrs.end(), {"0.0.0.0/0", "::/0"});
            } else {
                cidrs.push_back(text);
            }
        }
        for (const IpPrefix& range : ranges("nodePortAddresses", cidrs)) {
            config_.effective.node_port_addresses.push_back(range.to_string());
        }
        if (texts.empty() && kp_.mode != "nftables") {
            note("NodePorts answer on the node's primary addresses (nodePortAddresses: [all] for all of them)");
        }
    }

    void gates() {
        std::string others;
        for (const auto& [name, on] : kp_.feature_gates) {
            const auto* gate = std::find_if(std::begin(kGates), std::end(kGates),
                                            [&](const Gate& known) { return known.name == name; });
            const bool word = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
            });
            if (!word) {
                wrong("featureGates", fmt::format("\"{}\" is no name of a gate", name));
            } else if (gate == std::end(kGates)) {
                others += (others.empty() ? "" : ", ") + name;
            } else if (on != gate->only) {
                wrong("featureGates", fmt::format("{}={} is refused: {}", name, on, gate->why));
            }
        }
        if (!others.empty()) note(fmt::format("featureGates of other components: {}", others));
    }

    void logging() {
        Effective& out = config_.effective;
        if (auto format = log::parse_format(kp_.logging.format)) {
            out.log_format = *format;
        } else {
            wrong("logging.format", format.error().message);
        }
        const std::uint32_t v = kp_.logging.verbosity;
        out.log_level = v >= 6 ? log::Level::kTrace : v >= 4 ? log::Level::kDebug : log::Level::kInfo;
        if (config_.own.log_level.empty()) return;
        if (auto level = log::parse_level(config_.own.log_level)) {
            out.log_level = *level;
        } else {
            wrong_flag("log-level", level.error().message);
        }
    }

    std::vector<IpPrefix> own_ranges(const char* flag, const std::vector<std::string>& texts) {
        std::vector<IpPrefix> out;
        for (const auto& text : texts) {
            auto range = IpPrefix::parse(text);
            if (range) {
                out.push_back(*range);
            } else {
                wrong_flag(flag, range.error().message);
            }
        }
        return out;
    }

    void own() {
        const OwnConfig& own = config_.own;
        const auto one_of = [&](const char* flag, const std::string& value,
                                std::initializer_list<const char*> words) {
            std::string all;
            for (const char* word : words) {
                if (value == word) return;
                all += (all.empty() ? "" : ", ") + std::string(word);
            }
            wrong_flag(flag, fmt::format("\"{}\" is none of {}", value, all));
        };
        if (own.engine != "ebpf" && own.engine != "dpdk") {
            wrong_flag("engine", fmt::format("\"{}\" is no engine; use ebpf or dpdk", own.engine));
        }
        flags_of_engine();
        one_of("forwarding", own.forwarding, {"nat", "tunnel", "option"});
        one_of("xdp", own.xdp, {"auto", "native", "generic", "off"});
        config_.effective.service_cidrs = own_ranges("service-cluster-ip-range", own.service_cidrs);
        config_.effective.masquerade_pods = own_ranges("masquerade-pods", own.masquerade_pods);
        snat_ports(own.snat_port_range);
        const auto entries = [&](const char* flag, std::uint32_t value) {
            if (value < kMinEntries || value > kMaxEntries) {
                wrong_flag(flag, fmt::format("{} is not between {} and {}", value, kMinEntries, kMaxEntries));
            }
        };
        entries("flow-entries", own.flow_entries);
        entries("affinity-entries", own.affinity_entries);
    }

    // A flag that the engine would not look at is told, not passed over. --bpffs and --cgroup-root say where an eBPF
    // engine may have been, which --cleanup asks, too.
    void flags_of_engine() {
        const OwnConfig& own = config_.own;
        const OwnConfig unset;
        if (own.engine != "dpdk") {
            if (own.dpdk_socket != unset.dpdk_socket) wrong_flag("dpdk-socket", "of --engine=dpdk");
            if (own.dpdk_state_dir != unset.dpdk_state_dir) wrong_flag("dpdk-state-dir", "of --engine=dpdk");
            return;
        }
        const auto absolute = [&](const char* flag, const std::string& path) {
            if (!path.starts_with('/')) wrong_flag(flag, fmt::format("\"{}\" is no absolute path", path));
        };
        absolute("dpdk-socket", own.dpdk_socket);
        absolute("dpdk-state-dir", own.dpdk_state_dir);
        const std::string none = "the DPDK engine has no use for it";
        if (own.xdp != unset.xdp) wrong_flag("xdp", none);
        if (!own.devices.empty()) wrong_flag("devices", none);
        if (!own.object_dir.empty()) wrong_flag("object-dir", none);
        if (own.flow_entries != unset.flow_entries) {
            wrong_flag("flow-entries", "the DPDK engine has its own, `sluice-dpdk --flows`");
        }
        if (own.affinity_entries != unset.affinity_entries) wrong_flag("affinity-entries", none);
    }

    void snat_ports(std::string_view text) {
        std::uint16_t first = 0, last = 0;
        const auto dash = std::min(text.find('-'), text.size());
        const auto number = [](std::string_view digits, std::uint16_t* out) {
            const auto end = digits.data() + digits.size();
            const auto parsed = std::from_chars(digits.data(), end, *out);
            return parsed.ec == std::errc{} && parsed.ptr == end;
        };
        const bool read = dash < text.size() && number(text.substr(0, dash), &first) &&
                          number(text.substr(dash + 1), &last);
        if (!read || first == 0 || last < first || last - first + 1 < kMinSnatPorts) {
            wrong_flag("snat-port-range",
                       fmt::format("\"{}\" is no FIRST-LAST with at least {} ports", text, kMinSnatPorts));
            return;
        }
        config_.effective.snat_port_min = first;
        config_.effective.snat_port_max = last;
    }

    static constexpr std::uint32_t kMinEntries = 1024;
    static constexpr std::uint32_t kMaxEntries = 1U << 24U;
    static constexpr int kMinSnatPorts = 256;

    Config& config_;
    KubeProxyConfig& kp_;
    std::vector<std::string> wrong_;
    bool flags_wrong_ = false;
};

}  // namespace

void apply_defaults(KubeProxyConfig* c) {
    fill(&c->bind_address, std::string("0.0.0.0"));
    const auto bind = IpAddress::parse_sloppy(c->bind_address);
    const bool v4 = bind && bind->is_v4();
    fill(&c->healthz_bind_address, std::string(v4 ? "0.0.0.0" : "::"));
    fill(&c->metrics_bind_address, std::string(v4 ? "127.0.0.1" : "::1"));
    c->healthz_bind_address = append_port(c->healthz_bind_address, kHealthPort);
    c->metrics_bind_address = append_port(c->metrics_bind_address, kMetricsPort);
    fill(&c->oom_score_adj, kOomScoreAdj);
    fill(&c->iptables.masquerade_bit, 14);
    fill(&c->nftables.masquerade_bit, 14);
    fill<Duration>(&c->iptables.sync_period, seconds(30));
    fill<Duration>(&c->iptables.min_sync_period, seconds(1));
    fill<Duration>(&c->ipvs.sync_period, seconds(30));
    fill<Duration>(&c->nftables.sync_period, seconds(30));
    fill<Duration>(&c->nftables.min_sync_period, seconds(1));
    fill(&c->conntrack.max_per_core, 32 * 1024);
    fill(&c->conntrack.min, 128 * 1024);
    fill<Duration>(&c->conntrack.tcp_established_timeout, hours(24));
    fill<Duration>(&c->conntrack.tcp_close_wait_timeout, hours(1));
    fill<Duration>(&c->config_sync_period, minutes(15));
    fill(&c->client.content_type, std::string("application/vnd.kubernetes.protobuf"));
    fill(&c->client.qps, 5.0);
    fill(&c->client.burst, 10);
    fill(&c->logging.format, std::string("text"));
    fill<Duration>(&c->logging.flush_frequency.value, seconds(5));
}

Result<void> resolve(Config* config) {
    config->effective = {};
    return Checker(config).run();
}

}  // namespace sluice::config
