// Cases from Kubernetes' documentation of EndpointSlices and Endpoints.
#include "control/controllers/endpointslice/desired.h"

#include <gtest/gtest.h>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::endpoints {
namespace {

template <class T>
T from_json(const std::string& text) {
    T out;
    const auto done = codec::decode_json(text, &out);
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return out;
}

PodPtr pod(const std::string& name, const std::string& ip, bool ready, const std::string& extra_spec = "",
           const std::string& extra_meta = "") {
    return std::make_shared<corev1::Pod>(from_json<corev1::Pod>(
        R"({"metadata":{"namespace":"ns","name":")" + name + R"(","uid":"u-)" + name + R"(")" + extra_meta +
        R"(},"spec":{"nodeName":"n1")" + extra_spec + R"(},"status":{"phase":"Running","podIP":")" + ip +
        R"(","podIPs":[{"ip":")" + ip + R"("},{"ip":"fd00::)" + ip.substr(ip.rfind('.') + 1) +
        R"("}],"conditions":[{"type":"Ready","status":")" + (ready ? "True" : "False") + R"("}]}})"));
}

corev1::Service service(const std::string& extra = "") {
    return from_json<corev1::Service>(
        R"({"metadata":{"namespace":"ns","name":"web","uid":"u-web","labels":{"team":"a"}},"spec":{)"
        R"("clusterIP":"10.96.0.1","ipFamilies":["IPv4","IPv6"],"selector":{"app":"web"},)"
        R"("ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":8080}])" + extra + "}}");
}

NodePtr lookup(const std::string& name) {
    if (name != "n1") return nullptr;
    auto node = std::make_shared<corev1::Node>();
    node->mutable_metadata()->set_name(name);
    (*node->mutable_metadata()->mutable_labels())[kZoneLabel] = "z1";
    return node;
}

Groups groups(const corev1::Service& of, const std::vector<PodPtr>& pods, const char* type = "IPv4") {
    bool unknown = false;
    return desired_groups(of, type, pods, lookup, &unknown);
}

TEST(Desired, ConditionsOfAPod) {
    struct Case {
        bool ready, terminating, publish;
        bool want_ready, want_serving, want_terminating;
    };
    for (const Case& c : std::vector<Case>{{true, false, false, true, true, false},
                                           {false, false, false, false, false, false},
                                           {true, true, false, false, true, true},
                                           {false, true, false, false, false, true},
                                           {false, false, true, true, false, false},
                                           {true, true, true, true, true, true}}) {
        const auto found = groups(
            service(c.publish ? R"(,"publishNotReadyAddresses":true)" : ""),
            {pod("a", "10.0.0.1", c.ready, "",
                 c.terminating ? R"(,"deletionTimestamp":"2026-01-01T00:00:00Z")" : "")});
        ASSERT_EQ(found.size(), 1U);
        const auto& conditions = found.begin()->second.endpoints.at(0).conditions();
        EXPECT_EQ(conditions.ready(), c.want_ready);
        EXPECT_EQ(conditions.serving(), c.want_serving);
        EXPECT_EQ(conditions.terminating(), c.want_terminating);
    }
}

TEST(Desired, WhatAnEndpointTells) {
    const auto found = groups(service(), {pod("a", "10.0.0.1", true, R"(,"hostname":"h","subdomain":"web")")});
    const auto& group = found.begin()->second;
    const auto& endpoint = group.endpoints.at(0);
    EXPECT_EQ(endpoint.addresses(0), "10.0.0.1");
    EXPECT_EQ(endpoint.nodename(), "n1");
    EXPECT_EQ(endpoint.zone(), "z1");
    EXPECT_EQ(endpoint.hostname(), "h");
    EXPECT_EQ(endpoint.targetref().kind(), "Pod");
    EXPECT_EQ(endpoint.targetref().name(), "a");
    EXPECT_EQ(endpoint.targetref().uid(), "u-a");
    EXPECT_EQ(group.ports.at(0).port(), 8080);
    EXPECT_EQ(group.ports.at(0).name(), "http");
    EXPECT_EQ(groups(service(), {pod("a", "10.0.0.1", true)}, "IPv6").begin()->second.endpoints[0].addresses(0),
              "fd00::1");
}

TEST(Desired, NamedPortsThatDifferMakeGroups) {
    const auto named = from_json<corev1::Service>(
        R"({"metadata":{"namespace":"ns","name":"web"},"spec":{"clusterIP":"10.96.0.1","selector":{"a":"b"},)"
        R"("ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":"main"}]}})");
    const auto ports = [](int number) {
        return R"(,"containers":[{"name":"c","ports":[{"name":"main","containerPort":)" + std::to_string(number) +
               R"(,"protocol":"TCP"}]}])";
    };
    const auto found = groups(named, {pod("a", "10.0.0.1", true, ports(8080)), pod("b", "10.0.0.2", true, ports(8081)),
                                      pod("c", "10.0.0.3", true, ports(8080))});
    ASSERT_EQ(found.size(), 2U);
    std::map<int, std::size_t> sizes;
    for (const auto& [key, group] : found) sizes[group.ports.at(0).port()] = group.endpoints.size();
    EXPECT_EQ(sizes, (std::map<int, std::size_t>{{8080, 2}, {8081, 1}}));
}

TEST(Desired, PodsThatAreNoEndpoints) {
    auto ended = std::make_shared<corev1::Pod>(*pod("a", "10.0.0.1", true));
    ended->mutable_status()->set_phase("Succeeded");
    auto without = std::make_shared<corev1::Pod>(*pod("b", "10.0.0.2", true));
    without->mutable_status()->clear_podip();
    without->mutable_status()->clear_podips();
    EXPECT_TRUE(groups(service(), {ended, without}).empty());
    auto lost = std::make_shared<corev1::Pod>(*pod("c", "10.0.0.3", true));
    lost->mutable_spec()->set_nodename("n2");
    bool unknown = false;
    EXPECT_TRUE(desired_groups(service(), "IPv4", {lost}, lookup, &unknown).empty());
    EXPECT_TRUE(unknown);
}

TEST(Desired, EndpointsForOldClients) {
    const auto found = desired_endpoints(service(), {pod("b", "10.0.0.2", true), pod("a", "10.0.0.1", true),
                                                     pod("c", "10.0.0.3", false)});
    ASSERT_EQ(found.subsets_size(), 1);
    const auto& subset = found.subsets(0);
    ASSERT_EQ(subset.addresses_size(), 2);
    EXPECT_EQ(subset.addresses(0).ip(), "10.0.0.1");
    EXPECT_EQ(subset.notreadyaddresses(0).ip(), "10.0.0.3");
    EXPECT_EQ(subset.ports(0).port(), 8080);
    EXPECT_EQ(found.metadata().labels().at("team"), "a");
    EXPECT_FALSE(found.metadata().annotations().contains(kOverCapacity));
}

TEST(Desired, EndpointsEndAtAThousand) {
    std::vector<PodPtr> pods;
    for (int i = 0; i < 1'005; ++i) {
        pods.push_back(pod("p" + std::to_string(i),
                           "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1), i >= 10));
    }
    const auto found = desired_endpoints(service(), pods);
    EXPECT_EQ(found.subsets(0).addresses_size(), 995);
    EXPECT_EQ(found.subsets(0).notreadyaddresses_size(), 5);
    EXPECT_EQ(found.metadata().annotations().at(kOverCapacity), "truncated");
}

TEST(Desired, HandMadeEndpointsAreMirrored) {
    const auto source = from_json<corev1::Endpoints>(
        R"({"metadata":{"namespace":"ns","name":"db"},"subsets":[{"addresses":[{"ip":"10.9.0.1"},{"ip":"fd00::9"}],)"
        R"("notReadyAddresses":[{"ip":"10.9.0.2"}],"ports":[{"port":5432,"protocol":"TCP"}]}]})");
    const auto v4 = mirrored_groups(source, "IPv4");
    ASSERT_EQ(v4.size(), 1U);
    ASSERT_EQ(v4.begin()->second.endpoints.size(), 2U);
    EXPECT_TRUE(v4.begin()->second.endpoints[0].conditions().ready());
    EXPECT_FALSE(v4.begin()->second.endpoints[1].conditions().ready());
    EXPECT_EQ(mirrored_groups(source, "IPv6").begin()->second.endpoints.size(), 1U);
}

}  // namespace
}  // namespace sluice::controllers::endpoints
