// The command line as kube-proxy's DaemonSets, k3s and our own scripts write it.
#include "agent/config/flags.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "agent/config/fields.h"

namespace sluice::config {
namespace {

constexpr char kFile[] =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    "clusterCIDR: 10.244.0.0/16\nlogging:\n  verbosity: 2\nhostnameOverride: from-file\n";

Result<Command> parse(const std::vector<std::string>& arguments, const std::string& file = kFile) {
    return parse_command_line(arguments, [&](const std::string& path) -> Result<std::string> {
        if (path == "/none") return make_error(Code::kNotFound, "/none: no such file");
        return file;
    });
}

std::string error_of(const std::vector<std::string>& arguments) {
    const auto command = parse(arguments);
    return command ? "" : command.error().message;
}

bool noted(const Config& config, std::string_view part) {
    return std::any_of(config.notes.begin(), config.notes.end(),
                       [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

TEST(Flags, WithoutAnyTheDefaultsAreKubeProxys) {
    const auto command = parse({});
    ASSERT_TRUE(command) << command.error().message;
    const Effective& e = command->config.effective;
    EXPECT_EQ(command->kind, Command::Kind::kServe);
    EXPECT_EQ(e.healthz_address, "0.0.0.0:10256");
    EXPECT_EQ(e.metrics_address, "127.0.0.1:10249");
    EXPECT_EQ(e.node_name, "");
    EXPECT_EQ(e.snat_port_min, 1024);
    EXPECT_EQ(e.snat_port_max, 29999);
    EXPECT_EQ(command->config.own.bpffs, "/sys/fs/bpf");
}

TEST(Flags, ThoseOfK3sAreAccepted) {
    const auto command = parse({"--cluster-cidr=10.42.0.0/16", "--conntrack-max-per-core=0",
                                "--conntrack-tcp-timeout-close-wait=0s",
                                "--conntrack-tcp-timeout-established=0s", "--healthz-bind-address=127.0.0.1",
                                "--hostname-override=Server1",
                                "--kubeconfig=/var/lib/rancher/k3s/agent/kubeproxy.kubeconfig",
                                "--proxy-mode=iptables"});
    ASSERT_TRUE(command) << command.error().message;
    const Effective& e = command->config.effective;
    EXPECT_EQ(e.healthz_address, "127.0.0.1:10256");
    EXPECT_EQ(e.node_name, "server1");
    EXPECT_EQ(e.kubeconfig, "/var/lib/rancher/k3s/agent/kubeproxy.kubeconfig");
    ASSERT_EQ(e.cluster_cidrs.size(), 1U);
    EXPECT_EQ(e.cluster_cidrs[0].to_string(), "10.42.0.0/16");
}

TEST(Flags, ThoseOfKubeadmsDaemonSetAreAccepted) {
    const auto command = parse({"--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node-3"});
    ASSERT_TRUE(command) << command.error().message;
    EXPECT_EQ(command->config.effective.node_name, "node-3");
    EXPECT_EQ(command->config.file, "/var/lib/kube-proxy/config.conf");
}

TEST(Flags, EveryFlagOfKubeProxyIsAcceptedOrRefusedByName) {
    const std::pair<const char*, const char*> accepted[] = {
        {"bind-address", "192.0.2.1"}, {"bind-address-hard-fail", "true"}, {"cluster-cidr", "10.0.0.0/8"},
        {"config-sync-period", "15m"}, {"conntrack-max-per-core", "1"}, {"conntrack-min", "1"},
        {"conntrack-tcp-be-liberal", "true"}, {"conntrack-tcp-timeout-close-wait", "1h"},
        {"conntrack-tcp-timeout-established", "24h"}, {"conntrack-udp-timeout", "1s"},
        {"conntrack-udp-timeout-stream", "1s"}, {"detect-local-mode", "NodeCIDR"},
        {"feature-gates", "ContextualLogging=true"}, {"healthz-bind-address", "0.0.0.0:1"},
        {"healthz-port", "1"}, {"hostname-override", "n"}, {"iptables-localhost-nodeports", "false"},
        {"iptables-masquerade-bit", "14"}, {"iptables-min-sync-period", "1s"}, {"iptables-sync-period", "30s"},
        {"ipvs-exclude-cidrs", "10.0.0.0/8"}, {"ipvs-min-sync-period", "1s"}, {"ipvs-scheduler", "rr"},
        {"ipvs-strict-arp", "true"}, {"ipvs-sync-period", "30s"}, {"ipvs-tcp-timeout", "1s"},
        {"ipvs-tcpfin-timeout", "1s"}, {"ipvs-udp-timeout", "1s"}, {"kube-api-burst", "10"},
        {"kube-api-content-type", "application/json"}, {"kube-api-qps", "5"}, {"kubeconfig", "/k"},
        {"log-flush-frequency", "5s"}, {"log-json-info-buffer-size", "0"}, {"log-json-split-stream", "false"},
        {"log-text-info-buffer-size", "0"}, {"log-text-split-stream", "false"}, {"logging-format", "json"},
        {"masquerade-all", "true"}, {"master", "https://10.0.0.1:6443"}, {"metrics-bind-address", "127.0.0.1:1"},
        {"metrics-port", "1"}, {"nodeport-addresses", "10.0.0.0/8"}, {"oom-score-adj", "-1"},
        {"pod-bridge-interface", "cbr0"}, {"pod-interface-name-prefix", "veth"}, {"profiling", "false"},
        {"proxy-mode", "nftables"}, {"show-hidden-metrics-for-version", "1.35"}, {"v", "2"}, {"vmodule", ""}};
    for (const auto& [flag, value] : accepted) {
        EXPECT_EQ(error_of({fmt::format("--{}={}", flag, value)}), "") << flag;
    }
    const std::pair<const char*, const char*> refused[] = {
        {"init-only", "true"}, {"profiling", "true"}, {"vmodule", "a=2"}, {"log-json-split-stream", "true"},
        {"log-text-split-stream", "true"}, {"network-name", "l2"}, {"source-vip", "10.0.0.1"},
        {"root-hnsendpoint-name", "e"}, {"enable-dsr", "true"}, {"forward-healthcheck-vip", "true"},
        {"windows-service", "true"}};
    for (const auto& [flag, value] : refused) {
        const auto command = parse({fmt::format("--{}={}", flag, value)});
        ASSERT_FALSE(command) << flag;
        EXPECT_EQ(command.error().code, Code::kInvalidArgument) << flag;
        EXPECT_NE(command.error().message.find("refused"), std::string::npos) << command.error().message;
    }
}

TEST(Flags, SpellingsOfPflagAreUnderstood) {
    EXPECT_EQ(parse({"-v=4"})->config.effective.log_level, log::Level::kDebug);
    EXPECT_EQ(parse({"-v6"})->config.effective.log_level, log::Level::kTrace);
    EXPECT_EQ(parse({"-v", "4"})->config.effective.log_level, log::Level::kDebug);
    EXPECT_EQ(parse({"--v=0"})->config.effective.log_level, log::Level::kInfo);
    EXPECT_TRUE(parse({"--masquerade-all"})->config.effective.masquerade_all);
    EXPECT_FALSE(parse({"--masquerade-all=false"})->config.effective.masquerade_all);
    EXPECT_TRUE(parse({"--masquerade-all", "--proxy-mode=nftables"})->config.effective.masquerade_all);
    EXPECT_EQ(parse({"--cluster_cidr=10.0.0.0/8"})->config.effective.cluster_cidrs.size(), 1U);
    EXPECT_EQ(parse({"--cluster-cidr", "10.0.0.0/8"})->config.effective.cluster_cidrs.size(), 1U);
    EXPECT_EQ(parse({"--oom-score-adj=-998"})->config.effective.oom_score_adj, -998);
}

TEST(Flags, NoAddressMeansNoServer) {
    const auto empty = parse({"--healthz-bind-address=", "--metrics-bind-address", ""});
    ASSERT_TRUE(empty) << empty.error().message;
    EXPECT_EQ(empty->config.effective.healthz_address, "");
    EXPECT_EQ(empty->config.effective.metrics_address, "");
    const auto zero = parse({"--healthz-port=0", "--metrics-port=0"});
    ASSERT_TRUE(zero);
    EXPECT_EQ(zero->config.effective.healthz_address, "");
    EXPECT_EQ(zero->config.effective.metrics_address, "");
    EXPECT_EQ(parse({"--metrics-bind-address=0.0.0.0", "--metrics-port=9"})->config.effective.metrics_address,
              "0.0.0.0:9");
    EXPECT_NE(error_of({"--metrics-port=70000"}).find("--metrics-port"), std::string::npos);
}

TEST(Flags, AFileOverrulesFlagsAndTheLogSaysWhich) {
    const auto command = parse({"--config", "/f", "--cluster-cidr=10.9.0.0/16", "--kubeconfig=/k", "--metrics-port=0",
                                "--hostname-override=flag", "-v=6", "--devices=eth0", "--master=https://10.0.0.1"});
    ASSERT_TRUE(command) << command.error().message;
    const Config& config = command->config;
    EXPECT_EQ(config.effective.cluster_cidrs[0].to_string(), "10.244.0.0/16");
    EXPECT_EQ(config.effective.kubeconfig, "");
    EXPECT_EQ(config.effective.metrics_address, "127.0.0.1:10249");
    // These three are kube-proxy's exceptions, and ours is no field of the file.
    EXPECT_EQ(config.effective.node_name, "flag");
    EXPECT_EQ(config.effective.log_level, log::Level::kTrace);
    EXPECT_EQ(config.effective.master, "https://10.0.0.1");
    EXPECT_EQ(config.own.devices, std::vector<std::string>{"eth0"});
    EXPECT_TRUE(noted(config, "overruled by --config /f"));
    for (const char* flag : {"--cluster-cidr", "--kubeconfig", "--metrics-port"}) EXPECT_TRUE(noted(config, flag));
    EXPECT_FALSE(noted(config, "--devices"));
    EXPECT_FALSE(noted(config, "--hostname-override"));
}

TEST(Flags, AFileThatCannotBeUsedIsNoWrongUsage) {
    const auto missing = parse({"--config=/none"});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kNotFound);
    EXPECT_NE(missing.error().message.find("--config"), std::string::npos);
    const auto broken = parse({"--config=/f"}, "mode: [");
    ASSERT_FALSE(broken);
    EXPECT_NE(broken.error().code, Code::kInvalidArgument);
    EXPECT_NE(broken.error().message.find("--config /f"), std::string::npos);
    const auto wrong = parse({"--config=/f"}, std::string(kFile) + "oomScoreAdj: 2000\n");
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, Code::kFailedPrecondition);
    EXPECT_NE(wrong.error().message.find("oomScoreAdj"), std::string::npos);
}

TEST(Flags, WrongUsageNamesTheFlag) {
    const std::pair<std::vector<std::string>, const char*> cases[] = {
        {{"--nonsense"}, "--nonsense"},
        {{"stray"}, "stray"},
        {{"--kubeconfig"}, "--kubeconfig"},
        {{"--conntrack-min=many"}, "--conntrack-min: \"many\""},
        {{"--masquerade-all=maybe"}, "--masquerade-all: \"maybe\""},
        {{"--iptables-sync-period=30"}, "--iptables-sync-period"},
        {{"--engine=dpdk", "--dpdk-socket=run/x"}, "--dpdk-socket: \"run/x\" is no absolute path"},
        {{"--engine=dpdk", "--dpdk-state-dir="}, "--dpdk-state-dir: \"\" is no absolute path"},
        {{"--engine=dpdk", "--xdp=native"}, "--xdp: the DPDK engine has no use for it"},
        {{"--engine=dpdk", "--devices=eth0"}, "--devices: the DPDK engine has no use for it"},
        {{"--engine=dpdk", "--flow-entries=65536"}, "--flow-entries: the DPDK engine has its own, `sluice-dpdk --flows`"},
        {{"--dpdk-socket=/run/x"}, "--dpdk-socket: of --engine=dpdk"},
        {{"--engine=x"}, "--engine: \"x\" is no engine"},
        {{"--forwarding=dsr"}, "--forwarding: \"dsr\" is none of nat, tunnel, option"},
        {{"--xdp=yes"}, "--xdp: \"yes\" is none of auto, native, generic, off"},
        {{"--snat-port-range=9-1"}, "--snat-port-range: \"9-1\""},
        {{"--snat-port-range=0-29999"}, "--snat-port-range"},
        {{"--flow-entries=5"}, "--flow-entries: 5 is not between"},
        {{"--affinity-entries=16777217"}, "--affinity-entries: 16777217 is not between"},
        {{"--engine=dpdk", "--affinity-entries=1024"}, "--affinity-entries: the DPDK engine has no use for it"},
        {{"--service-cluster-ip-range=10.0.0.0"}, "--service-cluster-ip-range"},
        {{"--masquerade-pods=x"}, "--masquerade-pods"},
        {{"--log-level=loud"}, "--log-level"},
        {{"--log-level=info", "--v=2"}, "--log-level and --v"},
        {{"--node-name=a", "--hostname-override=b"}, "--node-name a and --hostname-override b"},
        {{"--cleanup", "--cleanup-kube-proxy"}, "exclude each other"},
        {{"--metrics-bind-address=nowhere"}, "--metrics-bind-address: \"nowhere\" is no IP:PORT"},
        {{"--profiling"}, "--profiling: refused: /debug/pprof"},
        {{"--proxy-mode=kernelspace"}, "--proxy-mode: \"kernelspace\" is for Windows"}};
    for (const auto& [arguments, expected] : cases) {
        const auto command = parse(arguments);
        ASSERT_FALSE(command) << arguments[0];
        EXPECT_EQ(command.error().code, Code::kInvalidArgument) << arguments[0];
        EXPECT_NE(command.error().message.find(expected), std::string::npos) << command.error().message;
    }
}

TEST(Flags, ActionsAreTold) {
    EXPECT_EQ(parse({"--cleanup"})->kind, Command::Kind::kCleanup);
    EXPECT_EQ(parse({"--cleanup=false"})->kind, Command::Kind::kServe);
    EXPECT_EQ(parse({"--cleanup-kube-proxy"})->kind, Command::Kind::kCleanupKubeProxy);
    const auto write = parse({"--write-config-to=/tmp/x", "--oom-score-adj=5"});
    ASSERT_TRUE(write);
    EXPECT_EQ(write->kind, Command::Kind::kWriteConfig);
    EXPECT_EQ(write->write_to, "/tmp/x");
    EXPECT_NE(to_yaml(write->config.kube_proxy).find("oomScoreAdj: 5\n"), std::string::npos);
    EXPECT_EQ(parse({"--node-name=A"})->config.effective.node_name, "a");
}

TEST(Flags, HelpNamesEveryFlagInAGroup) {
    const auto help = parse({"--help"});
    ASSERT_TRUE(help);
    ASSERT_EQ(help->kind, Command::Kind::kShow);
    for (const std::string& name : flag_names()) {
        EXPECT_NE(help->text.find("--" + name), std::string::npos) << name;
    }
    for (const char* group : {"Actions", "API server and this node", "Services", "Engine", "Network of pods",
                              "Health, metrics and log", "meaning holds here", "are refused"}) {
        EXPECT_NE(help->text.find(group), std::string::npos) << group;
    }
    EXPECT_LT(help->text.find("Engine:"), help->text.find("are refused"));
    EXPECT_EQ(parse({"--version"})->text.rfind("sluice-agent ", 0), 0U);
}

}  // namespace
}  // namespace sluice::config
