// What pods come to at the runtime, in the kernel and on the node; expectations are Kubernetes' documented ones.
#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "control/kubelet/pods/admission.h"
#include "control/kubelet/pods/images.h"
#include "control/kubelet/pods/oom_log.h"
#include "control/kubelet/pods/resources.h"
#include "control/kubelet/pods/sandbox_config.h"

namespace sluice::kubelet {
namespace {

corev1::Pod pod_with(const std::string& cpu_request, const std::string& cpu_limit,
                     const std::string& memory_request, const std::string& memory_limit) {
    corev1::Pod pod;
    pod.mutable_metadata()->set_name("web-1");
    pod.mutable_metadata()->set_namespace_("shop");
    pod.mutable_metadata()->set_uid("u1");
    auto* container = pod.mutable_spec()->add_containers();
    container->set_name("web");
    auto* resources = container->mutable_resources();
    const auto set = [](auto* map, const char* name, const std::string& value) {
        if (!value.empty()) (*map)[name].set_string(value);
    };
    set(resources->mutable_requests(), "cpu", cpu_request);
    set(resources->mutable_limits(), "cpu", cpu_limit);
    set(resources->mutable_requests(), "memory", memory_request);
    set(resources->mutable_limits(), "memory", memory_limit);
    return pod;
}

TEST(Resources, ClassesSharesQuotasAndScores) {
    EXPECT_EQ(qos_class(pod_with("", "", "", "")), "BestEffort");
    EXPECT_EQ(qos_class(pod_with("100m", "", "", "")), "Burstable");
    EXPECT_EQ(qos_class(pod_with("", "1", "", "64Mi")), "Guaranteed");
    EXPECT_EQ(shares_of(0), 2);
    EXPECT_EQ(shares_of(100), 102);
    EXPECT_EQ(quota_of(500), 50'000);
    EXPECT_EQ(quota_of(1), 1'000);
    EXPECT_EQ(weight_of(1'024), 39);
    const std::int64_t gib = 1LL << 30U;
    const auto score = [&](const corev1::Pod& pod) {
        return oom_score_adj(pod, pod.spec().containers(0), 4 * gib, -1'000);
    };
    EXPECT_EQ(score(pod_with("1", "1", "1Gi", "1Gi")), -997);
    EXPECT_EQ(score(pod_with("", "", "", "")), 1'000);
    EXPECT_EQ(score(pod_with("", "", "1Gi", "")), 750);
    // Without the privilege to go below, the process' own score is the least.
    EXPECT_EQ(oom_score_adj(pod_with("1", "1", "1Gi", "1Gi"),
                            pod_with("1", "1", "1Gi", "1Gi").spec().containers(0), gib, 0),
              0);
}

TEST(Sandbox, DnsByPolicy) {
    NodeSettings node;
    node.cluster_dns = {"10.96.0.10"};
    constexpr char kHost[] = "# comment\nnameserver 192.0.2.53\nsearch example.org\noptions edns0\n";
    auto pod = pod_with("", "", "", "");
    pod.mutable_spec()->set_dnspolicy("ClusterFirst");
    auto dns = dns_config(pod, node, kHost);
    EXPECT_EQ(std::vector<std::string>(dns.servers().begin(), dns.servers().end()),
              std::vector<std::string>{"10.96.0.10"});
    EXPECT_EQ(std::vector<std::string>(dns.searches().begin(), dns.searches().end()),
              (std::vector<std::string>{"shop.svc.cluster.local", "svc.cluster.local",
                                        "cluster.local", "example.org"}));
    EXPECT_EQ(dns.options(0), "ndots:5");
    pod.mutable_spec()->set_hostnetwork(true);
    dns = dns_config(pod, node, kHost);
    EXPECT_EQ(dns.servers(0), "192.0.2.53");
    EXPECT_EQ(dns.options(0), "edns0");
    pod.mutable_spec()->set_dnspolicy("None");
    pod.mutable_spec()->mutable_dnsconfig()->add_nameservers("198.51.100.1");
    dns = dns_config(pod, node, kHost);
    EXPECT_EQ(dns.servers_size(), 1);
    EXPECT_EQ(dns.servers(0), "198.51.100.1");
}

TEST(Sandbox, HostsNamesTheSubdomainFirst) {
    auto pod = pod_with("", "", "", "");
    pod.mutable_spec()->set_subdomain("db");
    auto* alias = pod.mutable_spec()->add_hostaliases();
    alias->set_ip("192.0.2.9");
    alias->add_hostnames("old");
    const auto text = hosts_file(pod, {}, {"10.0.0.7"}, "");
    EXPECT_NE(text.find("\n10.0.0.7\tweb-1.db.shop.svc.cluster.local\tweb-1\n"), std::string::npos);
    EXPECT_NE(text.find("# Entries added by HostAliases.\n192.0.2.9\told\n"), std::string::npos);
}

TEST(Sandbox, HostPortsAndTheSeccompProfileAreAskedOfTheRuntime) {
    auto pod = pod_with("", "", "", "");
    auto* port = pod.mutable_spec()->mutable_containers(0)->add_ports();
    port->set_containerport(80);
    port->set_hostport(8080);
    port->set_hostip("192.0.2.1");
    port->set_protocol("UDP");
    pod.mutable_spec()->mutable_containers(0)->add_ports()->set_containerport(443);
    NodeSettings node;
    auto config = sandbox_config(pod, node, "/x", "", 0);
    ASSERT_TRUE(config);
    ASSERT_EQ(config->port_mappings_size(), 1);
    EXPECT_EQ(config->port_mappings(0).host_port(), 8080);
    EXPECT_EQ(config->port_mappings(0).container_port(), 80);
    EXPECT_EQ(config->port_mappings(0).host_ip(), "192.0.2.1");
    EXPECT_EQ(config->port_mappings(0).protocol(), criv1::UDP);
    EXPECT_EQ(config->linux().security_context().seccomp().profile_type(),
              criv1::SecurityProfile::RuntimeDefault);
    node.sandbox_seccomp = "/var/lib/x/sandbox-seccomp.json";
    config = sandbox_config(pod, node, "/x", "", 0);
    EXPECT_EQ(config->linux().security_context().seccomp().profile_type(),
              criv1::SecurityProfile::Localhost);
    EXPECT_EQ(config->linux().security_context().seccomp().localhost_ref(),
              "/var/lib/x/sandbox-seccomp.json");
    // On the node's own network a port needs no mapping.
    pod.mutable_spec()->set_hostnetwork(true);
    EXPECT_EQ(sandbox_config(pod, node, "/x", "", 0)->port_mappings_size(), 0);
}

TEST(Containers, NonRootIsCheckedAgainstTheImage) {
    auto pod = pod_with("", "", "", "");
    pod.mutable_spec()->mutable_securitycontext()->set_runasnonroot(true);
    ContainerInputs inputs;
    const auto refused = container_config(pod, pod.spec().containers(0), {}, inputs);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message,
              "container has runAsNonRoot and image will run as root (pod: \"web-1_shop(u1)\", "
              "container: web)");
    inputs.image.mutable_uid()->set_value(101);
    const auto config = container_config(pod, pod.spec().containers(0), {}, inputs);
    ASSERT_TRUE(config);
    EXPECT_EQ(config->linux().security_context().run_as_user().value(), 101);
}

TEST(ImageNames, AreMadeWhole) {
    EXPECT_EQ(*normal_image_name("web"), "docker.io/library/web:latest");
    EXPECT_EQ(*normal_image_name("team/web:2"), "docker.io/team/web:2");
    EXPECT_EQ(*normal_image_name("localhost:5000/web"), "localhost:5000/web:latest");
    for (const char* bad : {"", "Web", "web:", "a//b", "web:t g", "-web", "web@sha256:12"}) {
        EXPECT_FALSE(normal_image_name(bad)) << bad;
    }
}

TEST(ImageNames, CredentialsAreOfTheRegistryOnly) {
    corev1::Secret secret;
    (*secret.mutable_data())[".dockerconfigjson"] =
        R"({"auths":{"https://reg.example/v1/":{"username":"u","password":"p"},
            "reg.example.evil":{"username":"x"},"reg.example/team":{"username":"t"}}})";
    const auto found = credentials_of(secret, "reg.example/team/web:1");
    ASSERT_TRUE(found);
    ASSERT_EQ(found->size(), 2U);
    EXPECT_EQ((*found)[0].username(), "t");
    EXPECT_EQ((*found)[1].username(), "u");
    (*secret.mutable_data())[".dockerconfigjson"] = "[]";
    EXPECT_FALSE(credentials_of(secret, "reg.example/web:1"));
}

TEST(Admission, SaysWhatIsMissing) {
    const auto other = std::make_shared<const corev1::Pod>([] {
        auto pod = pod_with("1500m", "", "", "");
        pod.mutable_metadata()->set_uid("u2");
        pod.mutable_spec()->mutable_containers(0)->add_ports()->set_hostport(80);
        return pod;
    }());
    const NodeRoom room{2'000, 1LL << 30U, 110};
    const auto refused = admit_pod(pod_with("600m", "", "", ""), {other}, room, nullptr);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->reason, "OutOfcpu");
    EXPECT_EQ(refused->message,
              "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000");
    EXPECT_FALSE(admit_pod(pod_with("500m", "", "", ""), {other}, room, nullptr));
    auto port = pod_with("", "", "", "");
    port.mutable_spec()->mutable_containers(0)->add_ports()->set_hostport(80);
    EXPECT_EQ(admit_pod(port, {other}, room, nullptr)->reason, "NodePorts");
    corev1::Node node;
    auto picky = pod_with("", "", "", "");
    (*picky.mutable_spec()->mutable_nodeselector())["disk"] = "ssd";
    EXPECT_EQ(admit_pod(picky, {}, room, &node)->reason, "NodeAffinity");
    (*node.mutable_metadata()->mutable_labels())["disk"] = "ssd";
    EXPECT_FALSE(admit_pod(picky, {}, room, &node));
}

TEST(OomLog, KnowsTheContainer) {
    constexpr char kRecord[] =
        "6,1,1,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/k/podu,"
        "task_memcg=/k/podu/abc,task=sh,pid=7,uid=0";
    EXPECT_TRUE(is_oom_record(kRecord, "abc"));
    EXPECT_FALSE(is_oom_record(kRecord, "podu"));
    EXPECT_FALSE(is_oom_record(kRecord, "bc"));
}

}  // namespace
}  // namespace sluice::kubelet
