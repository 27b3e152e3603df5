// What the agent is told to do: a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) from a file or from
// kube-proxy's own flags, and beside it what only this agent knows. One list of fields (fields.h) serves decoding,
// flags, /configz, --write-config-to and the table in docs/kube-proxy-config.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/log.h"
#include "api/base/result.h"

namespace sluice::config {

using Duration = std::chrono::nanoseconds;

inline constexpr char kApiVersion[] = "kubeproxy.config.k8s.io/v1alpha1";
inline constexpr char kKind[] = "KubeProxyConfiguration";
inline constexpr std::uint16_t kHealthPort = 10'256;
inline constexpr std::uint16_t kMetricsPort = 10'249;
// Of a file; what is larger is refused.
inline constexpr std::size_t kMaxConfigBytes = 1U << 20U;
// Entries of any list or map in it.
inline constexpr std::size_t kMaxEntries = 1024;

// A Quantity as it was written; only its sign and syntax matter here.
struct QuantityText {
    std::string text;
    bool operator==(const QuantityText&) const = default;
};
// Text or a number of nanoseconds, as logging.flushFrequency has been written over time.
struct FlushFrequency {
    Duration value{};
    bool operator==(const FlushFrequency&) const = default;
};
struct VerbosityRule {
    std::string file_pattern;
    std::uint32_t verbosity = 0;
    bool operator==(const VerbosityRule&) const = default;
};
using VerbosityRules = std::vector<VerbosityRule>;
using FeatureGates = std::map<std::string, bool>;

// The fields of the upstream type. What is nullable there and means something else when it is zero is optional here.
struct KubeProxyConfig {
    FeatureGates feature_gates;
    struct {
        std::string kubeconfig, accept_content_types, content_type;
        double qps = 0;
        std::int32_t burst = 0;
    } client;
    struct {
        std::string format;
        FlushFrequency flush_frequency;
        std::uint32_t verbosity = 0;
        VerbosityRules vmodule;
        bool text_split_stream = false, json_split_stream = false;
        QuantityText text_buffer, json_buffer;
    } logging;
    std::string hostname_override, bind_address, healthz_bind_address, metrics_bind_address;
    bool bind_address_hard_fail = false;
    bool enable_profiling = false;
    std::string show_hidden_metrics;
    std::string mode;
    struct {
        std::optional<std::int32_t> masquerade_bit;
        bool masquerade_all = false;
        std::optional<bool> localhost_node_ports, snat_node_internal_ip;
        Duration sync_period{}, min_sync_period{};
    } iptables;
    struct {
        Duration sync_period{}, min_sync_period{};
        std::string scheduler;
        std::vector<std::string> exclude_cidrs;
        bool strict_arp = false;
        Duration tcp_timeout{}, tcp_fin_timeout{}, udp_timeout{};
    } ipvs;
    struct {
        std::optional<std::int32_t> masquerade_bit;
        bool masquerade_all = false;
        Duration sync_period{}, min_sync_period{};
    } nftables;
    struct {
        std::string network_name, source_vip;
        bool enable_dsr = false;
        std::string root_hns_endpoint_name;
        bool forward_health_check_vip = false;
    } winkernel;
    std::string detect_local_mode;
    struct {
        std::string bridge_interface, interface_name_prefix;
        std::vector<std::string> cluster_cidrs;
    } detect_local;
    std::string cluster_cidr;
    std::vector<std::string> node_port_addresses;
    std::optional<std::int32_t> oom_score_adj;
    struct {
        std::optional<std::int32_t> max_per_core, min;
        std::optional<Duration> tcp_established_timeout, tcp_close_wait_timeout;
        bool tcp_be_liberal = false;
        Duration udp_timeout{}, udp_stream_timeout{};
    } conntrack;
    Duration config_sync_period{};
    std::string port_range;
    bool windows_run_as_service = false;
};

// As dataplane/dpdk/shared/segment.h has them.
inline constexpr char kDefaultDpdkSocket[] = "/run/sluice/dpdk.sock";
inline constexpr char kDefaultDpdkStateDir[] = "/dev/shm/sluice";

// What kube-proxy has no word for.
struct OwnConfig {
    std::string engine = "ebpf";
    std::string dpdk_socket = kDefaultDpdkSocket;
    std::string dpdk_state_dir = kDefaultDpdkStateDir;
    std::string cgroup_root;
    std::string bpffs = "/sys/fs/bpf";
    std::string object_dir;
    std::vector<std::string> devices;
    std::string forwarding = "nat";
    std::string xdp = "auto";
    std::uint32_t flow_entries = 1U << 19U;
    std::uint32_t affinity_entries = 1U << 16U;
    std::string snat_port_range = "1024-29999";
    std::vector<std::string> service_cidrs;
    std::string cni_conf_dir;
    std::string cni_data_dir;
    std::uint32_t cni_mtu = 0;
    bool route_pods = false;
    std::vector<std::string> masquerade_pods;
    std::string log_level;  // empty: by logging.verbosity
};

enum class DetectLocal : std::uint8_t {
    kNone,       // nothing is known to be a pod's
    kRanges,     // Effective::cluster_cidrs
    kNodeRange,  // the own Node's podCIDRs
    kBridge,     // what comes in by Effective::pod_bridge
    kPrefix,     // what comes in by links whose name begins with Effective::pod_prefix
};

// The two together, checked and understood: what the rest of the agent is made from.
struct Effective {
    std::string kubeconfig;
    std::string master;
    std::string node_name;      // empty: the host's
    std::optional<IpAddress> bind_address;  // nothing: the node's own idea of its primary address
    std::string healthz_address;  // empty: none
    std::string metrics_address;
    bool bind_hard_fail = false;
    DetectLocal detect = DetectLocal::kNone;
    std::vector<IpPrefix> cluster_cidrs;
    std::string pod_bridge;
    std::string pod_prefix;
    std::vector<IpPrefix> service_cidrs;
    std::vector<IpPrefix> masquerade_pods;
    std::vector<std::string> node_port_addresses;  // CIDRs; empty: the node's primary addresses
    bool masquerade_all = false;
    std::chrono::milliseconds sync_period{30'000};
    int oom_score_adj = 0;
    std::uint16_t snat_port_min = 0;
    std::uint16_t snat_port_max = 0;
    log::Level log_level = log::Level::kInfo;
    log::Format log_format = log::Format::kText;
};

struct Config {
    KubeProxyConfig kube_proxy;
    OwnConfig own;
    Effective effective;
    std::string master;
    std::string file;  // of --config; empty: by flags
    // Sentences for the log: flags that --config overrules, settings that have nothing to act on here.
    std::vector<std::string> notes;
};

// Decodes YAML or JSON. Unknown and duplicate fields, wrong types, another apiVersion or kind are errors that name
// the field. Defaults are not applied. Pure.
Result<KubeProxyConfig> parse_config(std::string_view text);

// Fills in what kube-proxy would (empty strings, zero periods and the like).
void apply_defaults(KubeProxyConfig* config);

// "ADDRESS:PORT" for an address without a port; anything else as it is.
[[nodiscard]] std::string append_port(const std::string& text, std::uint16_t port);

// REQUIRES: apply_defaults was called. Checks all fields, decides what they mean here and appends to config->notes. The
// error has a sentence for each field that is wrong or refused: kInvalidArgument if flags are, kFailedPrecondition
// if only what the file says is. Pure.
Result<void> resolve(Config* config);

// The configuration as YAML, for --write-config-to.
[[nodiscard]] std::string to_yaml(const KubeProxyConfig& config);
// What /configz says: both parts, as JSON. Passwords are in neither.
[[nodiscard]] std::string configz(const Config& config);

}  // namespace sluice::config
