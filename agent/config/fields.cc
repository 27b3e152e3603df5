// See fields.h.
#include "agent/config/fields.h"

#include <algorithm>

namespace sluice::config {
namespace {

constexpr auto kHonoured = Treatment::kHonoured;
constexpr auto kHolds = Treatment::kHolds;
constexpr auto kRefused = Treatment::kRefused;

constexpr char kNoConntrack[] = "Service traffic is not tracked by conntrack: there is nothing to set";
constexpr char kNoIpvs[] = "there is no IPVS session whose time it could be";
constexpr char kAtOnce[] = "each change is in force within milliseconds; nothing is collected first";
constexpr char kWindows[] = "a setting of Windows nodes";

}  // namespace

const char* treatment_name(Treatment treatment) {
    switch (treatment) {
        case Treatment::kHonoured: return "honoured";
        case Treatment::kHolds: return "holds";
        case Treatment::kRefused: return "refused";
    }
    return "";
}

std::vector<Field> fields(KubeProxyConfig* c) {
    return {
        {"bindAddress", &c->bind_address, kHonoured, "bind-address",
         "this node's primary address, unless 0.0.0.0 or ::; its family chooses the defaults of the two below"},
        {"bindAddressHardFail", &c->bind_address_hard_fail, kHonoured, "bind-address-hard-fail",
         "true: an address for health or metrics that is taken ends the agent; else it is tried again every 5 s"},
        {"clientConnection.acceptContentTypes", &c->client.accept_content_types, kHolds, "",
         "protobuf is asked for, JSON is understood"},
        {"clientConnection.burst", &c->client.burst, kHolds, "kube-api-burst",
         "the agent makes one list and one watch a kind, and nothing else"},
        {"clientConnection.contentType", &c->client.content_type, kHolds, "kube-api-content-type",
         "the agent sends no objects"},
        {"clientConnection.kubeconfig", &c->client.kubeconfig, kHonoured, "kubeconfig",
         "how to reach the API server; empty: as a pod does"},
        {"clientConnection.qps", &c->client.qps, kHolds, "kube-api-qps",
         "the agent makes one list and one watch a kind, and nothing else"},
        {"clusterCIDR", &c->cluster_cidr, kHonoured, "cluster-cidr",
         "ranges of pod addresses, one a family, for detectLocalMode ClusterCIDR"},
        {"configSyncPeriod", &c->config_sync_period, kHolds, "config-sync-period",
         "the watches bring every change; nothing has to be read again"},
        {"conntrack.maxPerCore", &c->conntrack.max_per_core, kHolds, "conntrack-max-per-core",
         kNoConntrack},
        {"conntrack.min", &c->conntrack.min, kHolds, "conntrack-min", kNoConntrack},
        {"conntrack.tcpBeLiberal", &c->conntrack.tcp_be_liberal, kHolds, "conntrack-tcp-be-liberal",
         "TCP windows are never looked at"},
        {"conntrack.tcpCloseWaitTimeout", &c->conntrack.tcp_close_wait_timeout, kHolds,
         "conntrack-tcp-timeout-close-wait", kNoConntrack},
        {"conntrack.tcpEstablishedTimeout", &c->conntrack.tcp_established_timeout, kHolds,
         "conntrack-tcp-timeout-established", kNoConntrack},
        {"conntrack.udpStreamTimeout", &c->conntrack.udp_stream_timeout, kHolds,
         "conntrack-udp-timeout-stream", kNoConntrack},
        {"conntrack.udpTimeout", &c->conntrack.udp_timeout, kHolds, "conntrack-udp-timeout",
         kNoConntrack},
        {"detectLocal.bridgeInterface", &c->detect_local.bridge_interface, kHonoured,
         "pod-bridge-interface", "the pods' bridge, for detectLocalMode BridgeInterface"},
        {"detectLocal.clusterCIDRs", &c->detect_local.cluster_cidrs, kHonoured, "",
         "the same as clusterCIDR, as a list; not together with it"},
        {"detectLocal.interfaceNamePrefix", &c->detect_local.interface_name_prefix, kHonoured,
         "pod-interface-name-prefix",
         "how names of pods' devices begin, for detectLocalMode InterfaceNamePrefix"},
        {"detectLocalMode", &c->detect_local_mode, kHonoured, "detect-local-mode",
         "how pods' traffic is told: ClusterCIDR (default), NodeCIDR, BridgeInterface, InterfaceNamePrefix"},
        {"enableProfiling", &c->enable_profiling, kRefused, "profiling",
         "/debug/pprof belongs to Go's runtime; use perf"},
        {"featureGates", &c->feature_gates, kHolds, "feature-gates",
         "gates of other components are noted; one that would change what a Service means here is refused"},
        {"healthzBindAddress", &c->healthz_bind_address, kHonoured, "healthz-bind-address",
         "of /healthz and /livez; default 0.0.0.0:10256"},
        {"hostnameOverride", &c->hostname_override, kHonoured, "hostname-override",
         "this node's name in the API, in lower case"},
        {"iptables.localhostNodePorts", &c->iptables.localhost_node_ports, kHolds,
         "iptables-localhost-nodeports",
         "NodePorts never answer on loopback addresses, as in nftables mode; true is warned of"},
        {"iptables.masqueradeAll", &c->iptables.masquerade_all, kHonoured, "masquerade-all",
         "all traffic to ClusterIPs gets the node's address (mode iptables, ipvs)"},
        {"iptables.masqueradeBit", &c->iptables.masquerade_bit, kHolds, "iptables-masquerade-bit",
         "packets carry no mark"},
        {"iptables.minSyncPeriod", &c->iptables.min_sync_period, kHolds, "iptables-min-sync-period",
         kAtOnce},
        {"iptables.snatNodeInternalIP", &c->iptables.snat_node_internal_ip, kHolds, "",
         "source NAT always uses the Node's InternalIP if this machine has it"},
        {"iptables.syncPeriod", &c->iptables.sync_period, kHonoured, "iptables-sync-period",
         "unhealthy when a change waits for twice as long (mode iptables)"},
        {"ipvs.excludeCIDRs", &c->ipvs.exclude_cidrs, kHolds, "ipvs-exclude-cidrs",
         "no IPVS service is touched"},
        {"ipvs.minSyncPeriod", &c->ipvs.min_sync_period, kHolds, "ipvs-min-sync-period", kAtOnce},
        {"ipvs.scheduler", &c->ipvs.scheduler, kRefused, "ipvs-scheduler",
         "rr and wrr (equal shares) hold; for hashing annotate the Service with sluice.dev/consistent-hash"},
        {"ipvs.strictARP", &c->ipvs.strict_arp, kHolds, "ipvs-strict-arp",
         "no service address is on any link, so none answers ARP"},
        {"ipvs.syncPeriod", &c->ipvs.sync_period, kHonoured, "ipvs-sync-period",
         "as iptables.syncPeriod (mode ipvs)"},
        {"ipvs.tcpFinTimeout", &c->ipvs.tcp_fin_timeout, kHolds, "ipvs-tcpfin-timeout", kNoIpvs},
        {"ipvs.tcpTimeout", &c->ipvs.tcp_timeout, kHolds, "ipvs-tcp-timeout", kNoIpvs},
        {"ipvs.udpTimeout", &c->ipvs.udp_timeout, kHolds, "ipvs-udp-timeout", kNoIpvs},
        {"logging.flushFrequency", &c->logging.flush_frequency, kHolds, "log-flush-frequency",
         "every record is written at once"},
        {"logging.format", &c->logging.format, kHonoured, "logging-format", "text (default) or json"},
        {"logging.options.json.infoBufferSize", &c->logging.json_buffer, kHolds,
         "log-json-info-buffer-size", "it belongs to splitStream"},
        {"logging.options.json.splitStream", &c->logging.json_split_stream, kRefused,
         "log-json-split-stream", "all records go to standard error"},
        {"logging.options.text.infoBufferSize", &c->logging.text_buffer, kHolds,
         "log-text-info-buffer-size", "it belongs to splitStream"},
        {"logging.options.text.splitStream", &c->logging.text_split_stream, kRefused,
         "log-text-split-stream", "all records go to standard error"},
        {"logging.verbosity", &c->logging.verbosity, kHonoured, "v",
         "0 to 3: info; 4, 5: debug; 6 and more: trace"},
        {"logging.vmodule", &c->logging.vmodule, kRefused, "vmodule",
         "it names Go source files; there are none here"},
        {"metricsBindAddress", &c->metrics_bind_address, kHonoured, "metrics-bind-address",
         "of /metrics, /proxyMode, /configz and /healthz; default 127.0.0.1:10249"},
        {"mode", &c->mode, kHonoured, "proxy-mode",
         "iptables, nftables, ipvs or empty: eBPF takes their place; it decides which of their settings count"},
        {"nftables.masqueradeAll", &c->nftables.masquerade_all, kHonoured, "",
         "all traffic to ClusterIPs gets the node's address (mode nftables)"},
        {"nftables.masqueradeBit", &c->nftables.masquerade_bit, kHolds, "", "packets carry no mark"},
        {"nftables.minSyncPeriod", &c->nftables.min_sync_period, kHolds, "", kAtOnce},
        {"nftables.syncPeriod", &c->nftables.sync_period, kHonoured, "",
         "as iptables.syncPeriod (mode nftables)"},
        {"nodePortAddresses", &c->node_port_addresses, kHonoured, "nodeport-addresses",
         "CIDRs, primary or all; empty: primary in every mode, as nftables mode has it"},
        {"oomScoreAdj", &c->oom_score_adj, kHonoured, "oom-score-adj",
         "of the agent's process; default -999"},
        {"portRange", &c->port_range, kHolds, "", "kube-proxy itself has no use for it since 1.26"},
        {"showHiddenMetricsForVersion", &c->show_hidden_metrics, kHolds,
         "show-hidden-metrics-for-version", "no metric is hidden"},
        {"windowsRunAsService", &c->windows_run_as_service, kRefused, "", kWindows},
        {"winkernel.enableDSR", &c->winkernel.enable_dsr, kRefused, "", kWindows},
        {"winkernel.forwardHealthCheckVip", &c->winkernel.forward_health_check_vip, kRefused, "",
         kWindows},
        {"winkernel.networkName", &c->winkernel.network_name, kRefused, "", kWindows},
        {"winkernel.rootHnsEndpointName", &c->winkernel.root_hns_endpoint_name, kRefused, "", kWindows},
        {"winkernel.sourceVip", &c->winkernel.source_vip, kRefused, "", kWindows},
    };
}

std::vector<Field> own_fields(OwnConfig* c) {
    return {
        {"engine", &c->engine, kHonoured, "engine", "dataplane: ebpf or dpdk"},
        {"dpdk-socket", &c->dpdk_socket, kHonoured, "dpdk-socket", "socket of sluice-dpdk, with --engine=dpdk"},
        {"dpdk-state-dir", &c->dpdk_state_dir, kHonoured, "dpdk-state-dir",
         "directory shared with sluice-dpdk, on a tmpfs or hugetlbfs, with --engine=dpdk"},
        {"cgroup-root", &c->cgroup_root, kHonoured, "cgroup-root",
         "cgroup2 directory whose processes are served (default: the cgroup2 mount)"},
        {"bpffs", &c->bpffs, kHonoured, "bpffs", "BPF file system; pins go to sluice/ in it"},
        {"object-dir", &c->object_dir, kHonoured, "object-dir",
         "directory of the BPF objects (default: ../lib/bpf beside the program, or as installed)"},
        {"devices", &c->devices, kHonoured, "devices",
         "devices for tc, as names or shell patterns (default: chosen by role)"},
        {"xdp", &c->xdp, kHonoured, "xdp",
         "programs in the drivers of node devices: auto, native, generic or off"},
        {"forwarding", &c->forwarding, kHonoured, "forwarding",
         "how traffic from outside reaches backends on other nodes, where a Service does not say: nat, tunnel or "
         "option"},
        {"flow-entries", &c->flow_entries, kHonoured, "flow-entries",
         "live flows to have room for, per family; the tables double when half of it is in use"},
        {"affinity-entries", &c->affinity_entries, kHonoured, "affinity-entries",
         "clients with ClientIP affinity to have room for; the table doubles when half of it is in use"},
        {"snat-port-range", &c->snat_port_range, kHonoured, "snat-port-range",
         "source ports of source NAT, FIRST-LAST; outside of the NodePorts and of the node's ephemeral ports"},
        {"service-cluster-ip-range", &c->service_cidrs, kHonoured, "service-cluster-ip-range",
         "ranges of ClusterIPs (default: the API's ServiceCIDRs)"},
        {"cni-conf-dir", &c->cni_conf_dir, kHonoured, "cni-conf-dir",
         "write the configuration of sluice-cni there once this node has ranges for its pods"},
        {"cni-data-dir", &c->cni_data_dir, kHonoured, "cni-data-dir",
         "where sluice-cni keeps the addresses it gave (default: the plugin's own)"},
        {"cni-mtu", &c->cni_mtu, kHonoured, "cni-mtu",
         "MTU of pods' links; 0: that of the link with this node's address"},
        {"route-pods", &c->route_pods, kHonoured, "route-pods",
         "keep routes to the pods of all nodes that are on one link with this one"},
        {"masquerade-pods", &c->masquerade_pods, kHonoured, "masquerade-pods",
         "ranges of pod addresses; from there, what goes to neither pods nor nodes gets this machine's address"},
        {"log-level", &c->log_level, kHonoured, "log-level",
         "trace, debug, info, warn, error or off (default: by --v)"},
    };
}

const std::vector<LooseFlag>& loose_flags() {
    static const std::vector<LooseFlag> kFlags = {
        {"cleanup", kHonoured,
         "remove all that agents left in the kernel, and exit; kube-proxy's own is --cleanup-kube-proxy"},
        {"config", kHonoured, "file with a KubeProxyConfiguration, YAML or JSON; it overrules flags of kube-proxy"},
        {"enable-dsr", kRefused, kWindows},
        {"forward-healthcheck-vip", kRefused, kWindows},
        {"healthz-port", kHonoured, "port of --healthz-bind-address where that has none; 0: no server"},
        {"init-only", kRefused,
         "maps and programs are loaded by the process that uses them, so its rights are needed all along"},
        {"master", kHonoured, "URL of the API server, instead of the kubeconfig's"},
        {"metrics-port", kHonoured, "port of --metrics-bind-address where that has none; 0: no server"},
        {"network-name", kRefused, kWindows},
        {"root-hnsendpoint-name", kRefused, kWindows},
        {"source-vip", kRefused, kWindows},
        {"windows-service", kRefused, kWindows},
        {"write-config-to", kHonoured, "write the configuration in force to this file, and exit"},
    };
    return kFlags;
}

std::string field_table() {
    KubeProxyConfig config;
    std::string out = "| field | flag | here | what that means |\n|---|---|---|---|\n";
    for (const Field& field : fields(&config)) {
        const std::string flag = field.flag.empty() ? "" : fmt::format("`--{}`", field.flag);
        out += fmt::format("| `{}` | {} | {} | {} |\n", field.path, flag,
                           treatment_name(field.treatment), field.about);
    }
    return out;
}

std::string flag_table() {
    std::string out = "| flag | here | what that means |\n|---|---|---|\n";
    for (const LooseFlag& flag : loose_flags()) {
        out += fmt::format("| `--{}` | {} | {} |\n", flag.name, treatment_name(flag.treatment),
                           flag.about);
    }
    OwnConfig config;
    for (const Field& field : own_fields(&config)) {
        out += fmt::format("| `--{}` | ours | {} |\n", field.flag, field.about);
    }
    return out;
}

}  // namespace sluice::config
