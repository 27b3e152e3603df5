// What is made of APIServices and of other servers' documents, and which headers go on with a request. Expectations are
// kube-aggregator's conditions and the API's documents.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "api/codec/json.h"
#include "api/kubernetes/apiregistration/v1/apiservice.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "control/apiserver/aggregator/published.h"
#include "control/apiserver/aggregator/handover.h"
#include "control/apiserver/aggregator/remote.h"

namespace sluice::aggregator {
namespace {

template <class Message>
Message read(const std::string& text) {
    Message out;
    const auto ok = codec::decode_json(text, &out);
    EXPECT_TRUE(ok.has_value()) << (ok ? "" : ok.error().message);
    return out;
}

class Aggregation : public ::testing::Test {
protected:
    RemotePtr remote(const std::string& service, const std::vector<std::string>& slices,
                     const std::string& more = R"("insecureSkipTLSVerify":true)") {
        const auto object = read<ApiService>(
            R"({"metadata":{"name":"v1.g.io","uid":"u"},"spec":{"group":"g.io","version":"v1","groupPriorityMinimum":9,
                "versionPriority":8,"service":{"namespace":"n","name":"s","port":443},)" + more +
            R"(},"status":{"conditions":[{"type":"Available","status":"True"}]}})");
        std::vector<MessagePtr> all;
        for (const std::string& slice : slices) {
            all.push_back(std::make_shared<::k8s::io::api::discovery::v1::EndpointSlice>(
                read<::k8s::io::api::discovery::v1::EndpointSlice>(slice)));
        }
        if (service.empty()) return make_remote(object, {}, nullptr, all);
        const auto found = read<::k8s::io::api::core::v1::Service>(service);
        return make_remote(object, {}, &found, all);
    }
    // Reason and message.
    std::string missing(const std::string& service, const std::vector<std::string>& slices) {
        const auto made = remote(service, slices);
        return made->missing ? made->missing->reason + ": " + made->missing->message : "none";
    }
};

constexpr char kService[] = R"({"spec":{"type":"ClusterIP","ports":[{"name":"https","port":443}]}})";

TEST_F(Aggregation, EndpointsAreTheReadyOnesOfThePortsName) {
    const auto made = remote(kService, {R"({"ports":[{"name":"other","port":1},{"name":"https","port":8443}],"endpoints":[
                                            {"addresses":["10.0.0.1"]},
                                            {"addresses":["10.0.0.2"],"conditions":{"ready":false}},
                                            {"addresses":["10.0.0.3"],"conditions":{"ready":true}}]})",
                                        R"({"ports":[{"name":"other","port":2}],"endpoints":[
                                            {"addresses":["10.0.0.4"]}]})",
                                        R"({"ports":[{"name":"https","port":9443}],"endpoints":[
                                            {"addresses":["fd00::1"]}]})"});
    EXPECT_FALSE(made->missing);
    ASSERT_EQ(made->places.size(), 3U);
    EXPECT_EQ(made->shown_place(0), "10.0.0.1:8443");
    EXPECT_EQ(made->shown_place(1), "10.0.0.3:8443");
    EXPECT_EQ(made->shown_place(2), "[fd00::1]:9443");
    EXPECT_EQ(made->shown_place(3), "10.0.0.1:8443");
    EXPECT_TRUE(made->available);
    EXPECT_EQ(made->path(), "/apis/g.io/v1");
    const auto dial = made->dial(1);
    EXPECT_EQ(dial.address, "10.0.0.3");
    EXPECT_EQ(dial.server_name, "s.n.svc");
    EXPECT_TRUE(dial.skip_verify);
}

TEST_F(Aggregation, WhatIsMissingIsNamedAsUpstream) {
    EXPECT_EQ(missing("", {}), R"(ServiceNotFound: service/s in "n" is not present)");
    EXPECT_EQ(missing(R"({"spec":{"ports":[{"port":444}]}})", {}),
              R"(ServicePortError: service/s in "n" is not listening on port 443)");
    EXPECT_EQ(missing(kService, {}), R"(EndpointsNotFound: cannot find endpointslices for service/s in "n")");
    EXPECT_EQ(missing(kService, {R"({"ports":[{"name":"https","port":1}],"endpoints":[]})"}),
              R"(MissingEndpoints: endpointslices for service/s in "n" have no addresses with port name "https")");
    EXPECT_EQ(missing(R"({"spec":{"type":"ExternalName","externalName":"far.example"}})", {}), "none");
    const auto bad = remote(kService, {}, R"("caBundle":"bm8gY2VydGlmaWNhdGU=")");
    EXPECT_EQ(bad->tls, nullptr);
    EXPECT_EQ(bad->tls_error, "the authority's certificate cannot be used");
}

TEST_F(Aggregation, AChangeOfTheConditionIsNoOtherServer) {
    const auto before = remote(kService, {});
    const auto same = remote(kService, {});
    EXPECT_EQ(before->fingerprint, same->fingerprint);
    EXPECT_NE(before->fingerprint, remote(R"({"spec":{"ports":[{"port":444}]}})", {})->fingerprint);
}

TEST(Published, LegacyDiscoveryBecomesAggregated) {
    const auto made = resources_of_legacy(
        R"({"kind":"APIResourceList","groupVersion":"g.io/v1","resources":[
            {"name":"flunders/status","kind":"Flunder","verbs":["get"]},
            {"name":"flunders","singularName":"flunder","namespaced":true,"kind":"Flunder","verbs":["get","list"],
             "shortNames":["fl"]},
            {"name":"flunders/scale","group":"autoscaling","version":"v1","kind":"Scale","verbs":["get"]},
            {"name":"fischers","singularName":"","namespaced":false,"kind":"Fischer","verbs":[]}]})",
        "g.io", "v1");
    ASSERT_TRUE(made.has_value());
    EXPECT_EQ(boost::json::parse(*made), boost::json::parse(R"([
        {"resource":"flunders","responseKind":{"group":"g.io","version":"v1","kind":"Flunder"},"scope":"Namespaced",
         "singularResource":"flunder","verbs":["get","list"],"shortNames":["fl"],"subresources":[
            {"subresource":"status","responseKind":{"group":"g.io","version":"v1","kind":"Flunder"},"verbs":["get"]},
            {"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},
             "verbs":["get"]}]},
        {"resource":"fischers","responseKind":{"group":"g.io","version":"v1","kind":"Fischer"},"scope":"Cluster",
         "singularResource":"","verbs":[]}])"));
    EXPECT_FALSE(resources_of_legacy("[]", "g.io", "v1"));
    const auto odd = resources_of_legacy(R"({"resources":[1,{"name":3},{"kind":"x"}]})", "g.io", "v1");
    EXPECT_EQ(boost::json::parse(*odd).as_array().size(), 2U);
}

TEST(Published, OneVersionIsTakenOfTheAggregatedDocument) {
    const std::string document = R"({"items":[
        {"metadata":{"name":"other.io"},"versions":[{"version":"v1","resources":[{"resource":"x"}]}]},
        {"metadata":{"name":"g.io"},"versions":[{"version":"v2","resources":[]},
            {"version":"v1","resources":[{"resource":"flunders","subresources":[{"subresource":"status"}]}]}]}]})";
    EXPECT_EQ(boost::json::parse(*resources_of_aggregated(document, "g.io", "v1")), boost::json::parse(R"([
        {"resource":"flunders","subresources":[{"subresource":"status",
            "responseKind":{"group":"g.io","version":"v1","kind":""}}],
         "responseKind":{"group":"g.io","version":"v1","kind":""}}])"));
    EXPECT_EQ(*resources_of_aggregated(document, "g.io", "v3"), "[]");
    EXPECT_EQ(*openapi_hash_of(R"({"paths":{"apis/g.io/v1":{"serverRelativeURL":"/openapi/v3/apis/g.io/v1?hash=AB"}}})",
                               "g.io", "v1"),
              "AB");
    EXPECT_EQ(*openapi_hash_of(R"({"paths":{}})", "g.io", "v1"), "");
}

TEST(RelayedHeaders, SayWhoAsksAndNothingThatTheClientSaysOfIt) {
    http::Request request;
    request.remote = "192.0.2.7:40000";
    request.headers = {{"accept", "application/json"},     {"authorization", "Bearer secret"},
                       {"x-remote-user", "root"},          {"x-remote-extra-a", "b"},
                       {"impersonate-user", "root"},       {"connection", "upgrade, x"},
                       {"content-length", "3"},            {"host", "h"},
                       {"x-forwarded-for", "203.0.113.9"}, {"user-agent", "kubectl"}};
    request.identity.user = "bob";
    request.identity.uid = "u1";
    request.identity.groups = {"a", "b"};
    request.identity.extra = {{"example.com/key", {"v1", "v2"}}};
    const std::vector<std::pair<std::string, std::string>> expected = {
        {"accept", "application/json"},
        {"user-agent", "kubectl"},
        {"X-Forwarded-For", "203.0.113.9, 192.0.2.7"}};
    EXPECT_EQ(relay::forwarded_headers(request), expected);
    const std::vector<std::pair<std::string, std::string>> who = {
        {"X-Remote-User", "bob"},
        {"X-Remote-Uid", "u1"},
        {"X-Remote-Group", "a"},
        {"X-Remote-Group", "b"},
        {"X-Remote-Extra-example.com%2Fkey", "v1"},
        {"X-Remote-Extra-example.com%2Fkey", "v2"}};
    EXPECT_EQ(identity_headers(request.identity), who);
}

}  // namespace
}  // namespace sluice::aggregator
