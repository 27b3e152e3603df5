// Names, labels and Services against the rules written in the Kubernetes API reference.
#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/service.pb.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/service.h"

namespace sluice::registry {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

TEST(Names, Dns1123Label) {
    for (const char* good : {"a", "a-b", "0", "x1"}) EXPECT_TRUE(check_dns1123_label(good).empty());
    for (const char* bad : {"", "A", "-a", "a-", "a.b", "a_b", "a/b"}) {
        EXPECT_FALSE(check_dns1123_label(bad).empty()) << bad;
    }
    EXPECT_TRUE(check_dns1123_label(std::string(63, 'a')).empty());
    EXPECT_FALSE(check_dns1123_label(std::string(64, 'a')).empty());
}

TEST(Names, Dns1035LabelStartsWithALetter) {
    EXPECT_TRUE(check_dns1035_label("web-1").empty());
    EXPECT_FALSE(check_dns1035_label("1web").empty());
    EXPECT_FALSE(check_dns1035_label("").empty());
}

TEST(Names, QualifiedNames) {
    for (const char* good : {"a", "A.b_c-d", "example.com/Name"}) {
        EXPECT_TRUE(check_qualified_name(good).empty()) << good;
    }
    for (const char* bad : {"", "/a", "a/", "a/b/c", "Ex.com/a", "-a"}) {
        EXPECT_FALSE(check_qualified_name(bad).empty()) << bad;
    }
}

TEST(Names, PortNames) {
    EXPECT_TRUE(check_port_name("http-1").empty());
    for (const char* bad : {"", "80", "HTTP", "a--b", "-a", "a-", "abcdefghijklmnop"}) {
        EXPECT_FALSE(check_port_name(bad).empty()) << bad;
    }
}

TEST(Names, ConfigKeys) {
    for (const char* good : {"a", ".a", "A_b-c.d"}) {
        EXPECT_TRUE(check_config_key(good).empty()) << good;
    }
    for (const char* bad : {"", ".", "..", "...", "..a", "a/b", "a b"}) {
        EXPECT_FALSE(check_config_key(bad).empty()) << bad;
    }
}

TEST(FieldErrors, SeveralAreListedAndEqualOnesOnce) {
    FieldErrors errors;
    errors.required("a");
    EXPECT_EQ(errors.to_string(), "a: Required value");
    errors.required("a");
    errors.invalid("b", "x\"y", "why");
    EXPECT_EQ(errors.all().size(), 3U);
    EXPECT_EQ(errors.to_string(), "[a: Required value, b: Invalid value: \"x\\\"y\": why]");
}

// A Service as defaulting leaves it.
corev1::Service valid() {
    corev1::Service service;
    auto* spec = service.mutable_spec();
    spec->set_type("ClusterIP");
    spec->set_sessionaffinity("None");
    spec->set_internaltrafficpolicy("Cluster");
    auto* port = spec->add_ports();
    port->set_port(80);
    port->set_protocol("TCP");
    port->mutable_targetport()->set_intval(80);
    return service;
}

struct Case {
    const char* field;
    void (*spoil)(corev1::ServiceSpec* spec);
};

class ServiceRule : public ::testing::TestWithParam<Case> {};

TEST_P(ServiceRule, NamesTheField) {
    corev1::Service service = valid();
    FieldErrors before;
    validate_service(service, &before);
    ASSERT_TRUE(before.empty()) << before.to_string();
    GetParam().spoil(service.mutable_spec());
    FieldErrors errors;
    validate_service(service, &errors);
    ASSERT_FALSE(errors.empty());
    EXPECT_EQ(errors.all().front().field, GetParam().field) << errors.to_string();
}

INSTANTIATE_TEST_SUITE_P(
    All, ServiceRule,
    ::testing::Values(
        Case{"spec.ports", [](auto* s) { s->clear_ports(); }},
        Case{"spec.ports[0].port", [](auto* s) { s->mutable_ports(0)->set_port(0); }},
        Case{"spec.ports[0].port", [](auto* s) { s->mutable_ports(0)->set_port(65536); }},
        Case{"spec.ports[0].port", [](auto* s) { s->mutable_ports(0)->set_port(-1); }},
        Case{"spec.ports[0].protocol", [](auto* s) { s->mutable_ports(0)->set_protocol("tcp"); }},
        Case{"spec.ports[0].targetPort",
             [](auto* s) { s->mutable_ports(0)->mutable_targetport()->set_intval(70000); }},
        Case{"spec.ports[0].nodePort", [](auto* s) { s->mutable_ports(0)->set_nodeport(30000); }},
        Case{"spec.ports[0].name", [](auto* s) { s->mutable_ports(0)->set_name("A"); }},
        Case{"spec.ports[0].name", [](auto* s) { *s->add_ports() = s->ports(0); }},
        Case{"spec.ports[0].appProtocol",
             [](auto* s) { s->mutable_ports(0)->set_appprotocol("a b"); }},
        Case{"spec.type", [](auto* s) { s->set_type("External"); }},
        Case{"spec.sessionAffinity", [](auto* s) { s->set_sessionaffinity("Cookie"); }},
        Case{"spec.sessionAffinityConfig.clientIP.timeoutSeconds",
             [](auto* s) {
                 s->set_sessionaffinity("ClientIP");
                 s->mutable_sessionaffinityconfig()->mutable_clientip()->set_timeoutseconds(86401);
             }},
        Case{"spec.clusterIPs[0]",
             [](auto* s) {
                 s->set_clusterip("10.0.0.300");
                 s->add_clusterips("10.0.0.300");
             }},
        Case{"spec.clusterIPs", [](auto* s) { s->add_clusterips("10.0.0.1"); }},
        Case{"spec.clusterIPs",
             [](auto* s) {
                 s->set_clusterip("10.0.0.1");
                 s->add_clusterips("10.0.0.1");
                 s->add_clusterips("10.0.0.2");
             }},
        Case{"spec.ipFamilies[0]", [](auto* s) { s->add_ipfamilies("IPv5"); }},
        Case{"spec.ipFamilyPolicy", [](auto* s) { s->set_ipfamilypolicy("Both"); }},
        Case{"spec.externalIPs[0]",
             [](auto* s) {
                 s->add_externalips("127.0.0.1");
                 s->set_externaltrafficpolicy("Cluster");
             }},
        Case{"spec.externalTrafficPolicy", [](auto* s) { s->set_externaltrafficpolicy("Local"); }},
        Case{"spec.internalTrafficPolicy", [](auto* s) { s->set_internaltrafficpolicy("Near"); }},
        Case{"spec.healthCheckNodePort", [](auto* s) { s->set_healthchecknodeport(30000); }},
        Case{"spec.LoadBalancerSourceRanges",
             [](auto* s) { s->add_loadbalancersourceranges("10.0.0.0/8"); }},
        Case{"spec.allocateLoadBalancerNodePorts",
             [](auto* s) { s->set_allocateloadbalancernodeports(true); }},
        Case{"spec.loadBalancerClass", [](auto* s) { s->set_loadbalancerclass("a.io/b"); }},
        Case{"spec.trafficDistribution", [](auto* s) { s->set_trafficdistribution("Far"); }},
        Case{"spec.externalName", [](auto* s) { s->set_type("ExternalName"); }},
        Case{"spec.selector", [](auto* s) { (*s->mutable_selector())["a"] = "-"; }}));

}  // namespace
}  // namespace sluice::registry
