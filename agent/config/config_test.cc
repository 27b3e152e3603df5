// Files: kubeadm's ConfigMap, every field, each refusal. Expected values are those of kube-proxy's documentation.
#include "agent/config/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "agent/config/fields.h"

namespace sluice::config {
namespace {

std::string read_source(const std::string& path) {
    std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/" + path);
    std::stringstream out;
    out << file.rdbuf();
    return out.str();
}

std::string with_head(const std::string& body) {
    return "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n" + body;
}

// What a file of this content means; ASSERTs are the caller's.
Result<Config> load(const std::string& text) {
    Config config;
    config.file = "/etc/kube-proxy.yaml";
    SLUICE_TRY_ASSIGN(config.kube_proxy, parse_config(text));
    apply_defaults(&config.kube_proxy);
    SLUICE_TRY(resolve(&config));
    return config;
}

std::string error_of(const std::string& body) {
    const auto config = load(with_head(body));
    return config ? "" : config.error().message;
}

TEST(ConfigFile, KubeadmsConfigMapIsAccepted) {
    const auto config = load(read_source("agent/config/testdata/kubeadm.yaml"));
    ASSERT_TRUE(config) << config.error().message;
    const Effective& e = config->effective;
    EXPECT_EQ(e.kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf");
    EXPECT_EQ(e.healthz_address, "0.0.0.0:10256");
    EXPECT_EQ(e.metrics_address, "127.0.0.1:10249");
    EXPECT_EQ(e.detect, DetectLocal::kRanges);
    ASSERT_EQ(e.cluster_cidrs.size(), 1U);
    EXPECT_EQ(e.cluster_cidrs[0].to_string(), "10.244.0.0/16");
    EXPECT_TRUE(e.node_port_addresses.empty());
    EXPECT_EQ(e.oom_score_adj, -999);
    EXPECT_EQ(e.sync_period, std::chrono::seconds(30));
    EXPECT_FALSE(e.masquerade_all);
    EXPECT_FALSE(e.bind_hard_fail);
    EXPECT_FALSE(e.bind_address);
    EXPECT_EQ(e.log_level, log::Level::kInfo);
    EXPECT_EQ(e.log_format, log::Format::kText);
}

TEST(ConfigFile, WhatKubeProxyWritesWithWriteConfigToIsAccepted) {
    const auto config = load(read_source("agent/config/testdata/defaults.yaml"));
    ASSERT_TRUE(config) << config.error().message;
    // It holds localhostNodePorts true, which nobody asked for; the log says what is different.
    bool told = false;
    for (const auto& note : config->notes) told = told || note.find("loopback") != std::string::npos;
    EXPECT_TRUE(told);
}

TEST(ConfigFile, EveryFieldIsUnderstood) {
    const std::string text = read_source("agent/config/testdata/every_field.yaml");
    const auto parsed = parse_config(text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    KubeProxyConfig config = *parsed;
    // Everything in that file differs from nothing, so a field that was not read shows.
    for (const Field& field : fields(&config)) {
        if (field.path == "detectLocal.clusterCIDRs") continue;  // excludes clusterCIDR
        EXPECT_FALSE(is_empty(field.slot)) << field.path;
    }
    EXPECT_EQ(config.client.qps, 7.5);
    EXPECT_EQ(config.client.burst, 15);
    EXPECT_EQ(config.conntrack.max_per_core, 0);
    EXPECT_EQ(config.conntrack.tcp_close_wait_timeout, std::chrono::minutes(90));
    EXPECT_EQ(config.logging.flush_frequency.value, std::chrono::seconds(5));
    EXPECT_EQ(config.logging.vmodule, (VerbosityRules{{"proxier", 4}}));
    EXPECT_EQ(config.feature_gates, (FeatureGates{{"ContextualLogging", true}}));
    EXPECT_EQ(config.node_port_addresses, (std::vector<std::string>{"192.0.2.0/24", "2001:db8::/32"}));
    EXPECT_EQ(config.oom_score_adj, 0);
    EXPECT_EQ(config.iptables.localhost_node_ports, false);
}

TEST(ConfigFile, WrittenAndReadAgainItIsTheSame) {
    const auto first = parse_config(read_source("agent/config/testdata/every_field.yaml"));
    ASSERT_TRUE(first);
    const std::string text = to_yaml(*first);
    const auto second = parse_config(text);
    ASSERT_TRUE(second) << second.error().message << text;
    EXPECT_EQ(to_yaml(*second), text);
    EXPECT_NE(text.find("tcpCloseWaitTimeout: 1h30m0s"), std::string::npos) << text;
}

TEST(ConfigFile, JsonIsRead) {
    const auto config = load(R"({"apiVersion":"kubeproxy.config.k8s.io/v1alpha1",
        "kind":"KubeProxyConfiguration","mode":"nftables","nftables":{"masqueradeAll":true,"syncPeriod":"10s"},
        "logging":{"flushFrequency":"5s","format":"json","verbosity":4}})");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_TRUE(config->effective.masquerade_all);
    EXPECT_EQ(config->effective.sync_period, std::chrono::seconds(10));
    EXPECT_EQ(config->effective.log_format, log::Format::kJson);
    EXPECT_EQ(config->effective.log_level, log::Level::kDebug);
}

TEST(ConfigFile, TheModeDecidesWhichMasqueradeAllCounts) {
    const auto other = load(with_head("mode: nftables\niptables:\n  masqueradeAll: true\n"));
    ASSERT_TRUE(other);
    EXPECT_FALSE(other->effective.masquerade_all);
    const auto ipvs = load(with_head("mode: ipvs\niptables:\n  masqueradeAll: true\nipvs:\n  strictARP: true\n"));
    ASSERT_TRUE(ipvs) << ipvs.error().message;
    EXPECT_TRUE(ipvs->effective.masquerade_all);
}

TEST(ConfigFile, UnknownAndDuplicateFieldsAreErrorsThatNameThem) {
    EXPECT_NE(error_of("iptables:\n  masqueradeBits: 3\n").find("unknown field \"iptables.masqueradeBits\""),
              std::string::npos);
    EXPECT_NE(error_of("clustercidr: 10.0.0.0/8\n").find("unknown field \"clustercidr\""), std::string::npos);
    EXPECT_NE(error_of("mode: ipvs\nmode: ipvs\n").find("mode"), std::string::npos);
    EXPECT_NE(error_of("iptables: 3\n").find("iptables: must be an object"), std::string::npos);
    EXPECT_EQ(error_of("iptables: null\n"), "");
}

TEST(ConfigFile, WrongTypesNameTheField) {
    const std::pair<const char*, const char*> cases[] = {
        {"mode: 3\n", "mode: must be a string"},
        {"iptables:\n  masqueradeBit: \"14\"\n", "iptables.masqueradeBit: must be a whole number"},
        {"iptables:\n  masqueradeBit: 4294967296\n", "iptables.masqueradeBit: 4294967296 is not between"},
        {"iptables:\n  syncPeriod: 30\n", "iptables.syncPeriod: must be a duration"},
        {"iptables:\n  syncPeriod: 30x\n", "iptables.syncPeriod: \"30x\" is not a duration"},
        {"nodePortAddresses: 10.0.0.0/8\n", "nodePortAddresses: must be a list of strings"},
        {"featureGates:\n  A: \"yes\"\n", "featureGates: A must be true or false"},
        {"bindAddressHardFail: \"true\"\n", "bindAddressHardFail: must be true or false"},
        {"logging:\n  vmodule:\n  - file: x\n", "logging.vmodule: must be a list of objects"},
        {"logging:\n  verbosity: -1\n", "logging.verbosity: -1 is not between 0"},
        {"logging:\n  options:\n    json:\n      infoBufferSize: lots\n", "infoBufferSize: \"lots\" is not a quantity"}};
    for (const auto& [body, expected] : cases) {
        EXPECT_NE(error_of(body).find(expected), std::string::npos) << body << error_of(body);
    }
}

TEST(ConfigFile, AnotherVersionOrKindIsAnError) {
    const auto error = [](const char* text) {
        const auto parsed = parse_config(text);
        return parsed ? std::string() : parsed.error().message;
    };
    EXPECT_NE(error("apiVersion: kubeproxy.config.k8s.io/v1alpha2\nkind: KubeProxyConfiguration\n")
                  .find("apiVersion \"kubeproxy.config.k8s.io/v1alpha2\" is not"),
              std::string::npos);
    EXPECT_NE(error("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n")
                  .find("kind \"KubeletConfiguration\" is not"),
              std::string::npos);
    EXPECT_NE(error("mode: iptables\n").find("apiVersion and kind"), std::string::npos);
    EXPECT_NE(error("").find("is no object"), std::string::npos);
    EXPECT_NE(error("[1]").find("is no object"), std::string::npos);
    EXPECT_FALSE(parse_config(std::string(kMaxConfigBytes + 1, ' ')));
}

// Each value that is refused or wrong, with what the error must say.
TEST(ConfigFile, EachRefusalNamesTheFieldAndTheReason) {
    const std::pair<const char*, const char*> cases[] = {
        {"mode: userspace\n", "mode: \"userspace\" is none of"},
        {"mode: kernelspace\n", "mode: \"kernelspace\" is for Windows"},
        {"mode: ipvs\nipvs:\n  scheduler: lc\n", "ipvs.scheduler: \"lc\" cannot be had"},
        {"mode: ipvs\nipvs:\n  tcpTimeout: -1s\n", "ipvs.tcpTimeout: must not be negative"},
        {"mode: ipvs\nipvs:\n  excludeCIDRs: [x]\n", "ipvs.excludeCIDRs: \"x\" is no CIDR"},
        {"enableProfiling: true\n", "enableProfiling: refused: /debug/pprof"},
        {"windowsRunAsService: true\n", "windowsRunAsService: refused"},
        {"winkernel:\n  enableDSR: true\n", "winkernel.enableDSR: refused"},
        {"winkernel:\n  sourceVip: 10.0.0.1\n", "winkernel.sourceVip: refused"},
        {"winkernel:\n  networkName: l2\n", "winkernel.networkName: refused"},
        {"winkernel:\n  rootHnsEndpointName: e\n", "winkernel.rootHnsEndpointName: refused"},
        {"winkernel:\n  forwardHealthCheckVip: true\n", "winkernel.forwardHealthCheckVip: refused"},
        {"logging:\n  vmodule:\n  - filePattern: a\n    verbosity: 2\n", "logging.vmodule: refused"},
        {"logging:\n  options:\n    text:\n      splitStream: true\n", "logging.options.text.splitStream: refused"},
        {"logging:\n  options:\n    json:\n      splitStream: true\n", "logging.options.json.splitStream: refused"},
        {"logging:\n  format: xml\n", "logging.format: log format \"xml\""},
        {"bindAddress: node1\n", "bindAddress: \"node1\" is no IP address"},
        {"healthzBindAddress: 0.0.0.0:0\n", "healthzBindAddress: \"0.0.0.0:0\" is no IP:PORT"},
        {"metricsBindAddress: localhost:10249\n", "metricsBindAddress: \"localhost:10249\" is no IP:PORT"},
        {"metricsBindAddress: \"127.0.0.1:70000\"\n", "metricsBindAddress: \"127.0.0.1:70000\""},
        {"iptables:\n  masqueradeBit: 32\n", "iptables.masqueradeBit: 32 is not in 0 to 31"},
        {"nftables:\n  masqueradeBit: -1\n", "nftables.masqueradeBit: -1 is not in 0 to 31"},
        {"iptables:\n  syncPeriod: -1s\n", "iptables.syncPeriod: must be greater than 0"},
        {"iptables:\n  syncPeriod: 1s\n  minSyncPeriod: 2s\n", "iptables.syncPeriod: 1s is less than minSyncPeriod 2s"},
        {"mode: nftables\nnftables:\n  minSyncPeriod: -1s\n", "nftables.minSyncPeriod: must not be negative"},
        {"configSyncPeriod: -1s\n", "configSyncPeriod: must be greater than 0"},
        {"oomScoreAdj: 1001\n", "oomScoreAdj: 1001 is not in -1000 to 1000"},
        {"conntrack:\n  min: -1\n", "conntrack.min: must not be negative"},
        {"conntrack:\n  tcpEstablishedTimeout: -1s\n", "conntrack.tcpEstablishedTimeout: must not be negative"},
        {"clientConnection:\n  burst: -1\n", "clientConnection.burst: must not be negative"},
        {"portRange: 1-x\n", "portRange: \"1-x\""},
        {"showHiddenMetricsForVersion: latest\n", "showHiddenMetricsForVersion: \"latest\""},
        {"clusterCIDR: 10.0.0.0/8,10.1.0.0/16\n", "clusterCIDR: takes one range, or one of each family"},
        {"clusterCIDR: 10.0.0.0\n", "clusterCIDR: \"10.0.0.0\" is no CIDR"},
        {"clusterCIDR: 10.0.0.0/8\ndetectLocal:\n  clusterCIDRs: [10.0.0.0/8]\n", "detectLocal.clusterCIDRs"},
        {"detectLocalMode: Magic\n", "detectLocalMode: \"Magic\" is none of"},
        {"detectLocalMode: BridgeInterface\n", "detectLocal.bridgeInterface: is empty"},
        {"detectLocalMode: InterfaceNamePrefix\n", "detectLocal.interfaceNamePrefix: is empty"},
        {"nodePortAddresses: [primary, 10.0.0.0/8]\n", "nodePortAddresses: \"primary\" stands alone"},
        {"nodePortAddresses: [localhost]\n", "nodePortAddresses: \"localhost\" is refused"},
        {"nodePortAddresses: [10.0.0.1]\n", "nodePortAddresses: \"10.0.0.1\" is no CIDR"},
        {"featureGates:\n  LoadBalancerIPMode: false\n", "featureGates: LoadBalancerIPMode=false is refused"},
        {"featureGates:\n  \"no gate\": true\n", "featureGates: \"no gate\" is no name"},
        {"hostnameOverride: \"  \"\n", "hostnameOverride: is blank"}};
    for (const auto& [body, expected] : cases) {
        EXPECT_NE(error_of(body).find(expected), std::string::npos) << body << "said: " << error_of(body);
    }
}

TEST(ConfigFile, AllThatIsWrongIsToldAtOnce) {
    const std::string error = error_of("mode: userspace\noomScoreAdj: 5000\nenableProfiling: true\n");
    for (const char* field : {"mode", "oomScoreAdj", "enableProfiling"}) {
        EXPECT_NE(error.find(field), std::string::npos) << error;
    }
}

TEST(ConfigFile, DetectLocalModesAreUnderstood) {
    const auto bridge = load(with_head("detectLocalMode: BridgeInterface\ndetectLocal:\n  bridgeInterface: cbr0\n"));
    ASSERT_TRUE(bridge);
    EXPECT_EQ(bridge->effective.detect, DetectLocal::kBridge);
    EXPECT_EQ(bridge->effective.pod_bridge, "cbr0");
    const auto prefix =
        load(with_head("detectLocalMode: InterfaceNamePrefix\ndetectLocal:\n  interfaceNamePrefix: veth\n"));
    ASSERT_TRUE(prefix);
    EXPECT_EQ(prefix->effective.detect, DetectLocal::kPrefix);
    EXPECT_EQ(prefix->effective.pod_prefix, "veth");
    const auto node = load(with_head("detectLocalMode: NodeCIDR\nclusterCIDR: 10.0.0.0/8\n"));
    ASSERT_TRUE(node);
    EXPECT_EQ(node->effective.detect, DetectLocal::kNodeRange);
    EXPECT_TRUE(node->effective.cluster_cidrs.empty());
    const auto none = load(with_head(""));
    ASSERT_TRUE(none);
    EXPECT_EQ(none->effective.detect, DetectLocal::kNone);
    const auto both = load(with_head("detectLocal:\n  clusterCIDRs: [10.0.0.0/8, \"fd00::/8\"]\n"));
    ASSERT_TRUE(both);
    EXPECT_EQ(both->effective.cluster_cidrs.size(), 2U);
}

TEST(ConfigFile, TheFamilyOfBindAddressChoosesTheDefaults) {
    const auto config = load(with_head("bindAddress: \"2001:db8::7\"\n"));
    ASSERT_TRUE(config);
    EXPECT_EQ(config->effective.healthz_address, "[::]:10256");
    EXPECT_EQ(config->effective.metrics_address, "[::1]:10249");
    ASSERT_TRUE(config->effective.bind_address);
    EXPECT_EQ(config->effective.bind_address->to_string(), "2001:db8::7");
    const auto port = load(with_head("healthzBindAddress: 192.0.2.1\nmetricsBindAddress: \"[::]:1\"\n"));
    ASSERT_TRUE(port) << port.error().message;
    EXPECT_EQ(port->effective.healthz_address, "192.0.2.1:10256");
    EXPECT_EQ(port->effective.metrics_address, "[::]:1");
}

TEST(ConfigFile, AllAddressesForNodePorts) {
    const auto config = load(with_head("nodePortAddresses: [all]\n"));
    ASSERT_TRUE(config);
    EXPECT_EQ(config->effective.node_port_addresses, (std::vector<std::string>{"0.0.0.0/0", "::/0"}));
    const auto primary = load(with_head("nodePortAddresses: [primary]\n"));
    ASSERT_TRUE(primary);
    EXPECT_TRUE(primary->effective.node_port_addresses.empty());
}

TEST(ConfigFile, GatesOfOtherComponentsAreNotedAndThoseThatHoldAreAccepted) {
    const auto config = load(with_head("featureGates:\n  NodeSwap: true\n  LoadBalancerIPMode: true\n"));
    ASSERT_TRUE(config) << config.error().message;
    bool told = false;
    for (const auto& note : config->notes) {
        told = told || note == "featureGates of other components: NodeSwap";
    }
    EXPECT_TRUE(told);
}

TEST(Configz, ShowsWhatIsInForceUnderKubeProxysKey) {
    auto config = load(with_head("clusterCIDR: 10.0.0.0/8\n"));
    ASSERT_TRUE(config);
    config->effective.node_name = "n1";
    const std::string body = configz(*config);
    EXPECT_EQ(body.find("{\"kubeproxy.config.k8s.io\":{\"apiVersion\":"), 0U) << body;
    for (const char* part : {"\"clusterCIDR\":\"10.0.0.0/8\"", "\"maxPerCore\":32768", "\"engine\":\"ebpf\"",
                             "\"node-name\":\"n1\"", "\"configSyncPeriod\":\"15m0s\""}) {
        EXPECT_NE(body.find(part), std::string::npos) << part << " in " << body;
    }
}

TEST(ConfigDocs, TheTablesListExactlyWhatTheCodeKnows) {
    const std::string page = read_source("docs/kube-proxy-config.md");
    EXPECT_NE(page.find(field_table()), std::string::npos) << field_table();
    EXPECT_NE(page.find(flag_table()), std::string::npos) << flag_table();
}

TEST(ConfigFields, PathsAreSortedAndFlagsAreUnique) {
    KubeProxyConfig config;
    OwnConfig own;
    std::string last;
    std::set<std::string_view> flags;
    for (const Field& field : fields(&config)) {
        EXPECT_LT(last, field.path);
        last = std::string(field.path);
        const bool fresh = field.flag.empty() || flags.insert(field.flag).second;
        EXPECT_TRUE(fresh) << field.flag;
    }
    for (const Field& field : own_fields(&own)) EXPECT_TRUE(flags.insert(field.flag).second) << field.flag;
    for (const LooseFlag& flag : loose_flags()) EXPECT_TRUE(flags.insert(flag.name).second) << flag.name;
}

}  // namespace
}  // namespace sluice::config
