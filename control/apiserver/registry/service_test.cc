// Services through the API: allocation, defaults, changes of type, and bad input that must leave no trace.
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kServices = "/api/v1/namespaces/default/services";
constexpr const char* kMergePatch = "application/merge-patch+json";

std::string service_path(const std::string& name) { return std::string(kServices) + "/" + name; }

Reply patch(Cluster& cluster, const std::string& name, const std::string& body) {
    return cluster.call("PATCH", service_path(name), body, {{"Content-Type", kMergePatch}});
}

TEST(Service, ApiServerHasTheFirstAddress) {
    Cluster cluster;
    const Reply reply = cluster.call("GET", service_path("kubernetes"));
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.at("/spec/clusterIP"), "10.96.0.1");
    EXPECT_EQ(reply.at("/spec/ports/0/targetPort"), "6443");
    const Reply slice = cluster.call(
        "GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes");
    EXPECT_EQ(slice.at("/endpoints/0/addresses/0"), "192.0.2.1") << slice.body;
}

// Recorded defaults of kube-apiserver 1.32.
TEST(Service, NodePortDefaults) {
    Cluster cluster;
    const Reply reply = cluster.call(
        "POST", kServices,
        R"({"metadata":{"name":"sn"},"spec":{"type":"NodePort","ports":[{"port":80}]}})");
    ASSERT_EQ(reply.status, 201) << reply.body;
    EXPECT_EQ(reply.at("/spec/ports/0/protocol"), "TCP");
    EXPECT_EQ(reply.at("/spec/ports/0/targetPort"), "80");
    EXPECT_GE(std::stoi(reply.at("/spec/ports/0/nodePort")), 30086);
    EXPECT_EQ(reply.at("/spec/sessionAffinity"), "None");
    EXPECT_EQ(reply.at("/spec/externalTrafficPolicy"), "Cluster");
    EXPECT_EQ(reply.at("/spec/internalTrafficPolicy"), "Cluster");
    EXPECT_EQ(reply.at("/spec/ipFamilies"), R"(["IPv4"])");
    EXPECT_EQ(reply.at("/spec/ipFamilyPolicy"), "SingleStack");
    EXPECT_EQ(reply.at("/spec/clusterIPs/0"), reply.at("/spec/clusterIP"));
    EXPECT_EQ(reply.at("/status"), R"({"loadBalancer":{}})");
}

TEST(Service, HeadlessGetsNoAddress) {
    Cluster cluster;
    const Reply reply = cluster.call(
        "POST", kServices,
        R"({"metadata":{"name":"sh"},"spec":{"clusterIP":"None","selector":{"a":"b"}}})");
    ASSERT_EQ(reply.status, 201) << reply.body;
    EXPECT_EQ(reply.at("/spec/clusterIPs"), R"(["None"])");
    EXPECT_EQ(reply.at("/spec/ipFamilyPolicy"), "SingleStack");
}

TEST(Service, DualStackGetsBothFamilies) {
    Cluster cluster(true);
    const Reply reply = cluster.call(
        "POST", kServices,
        R"({"metadata":{"name":"d"},"spec":{"ipFamilyPolicy":"PreferDualStack","ports":[{"port":80}]}})");
    ASSERT_EQ(reply.status, 201) << reply.body;
    EXPECT_EQ(reply.at("/spec/ipFamilies"), R"(["IPv4","IPv6"])");
    EXPECT_EQ(reply.at("/spec/clusterIPs/0").substr(0, 6), "10.96.");
    EXPECT_EQ(reply.at("/spec/clusterIPs/1").substr(0, 11), "fd00:10:96:");
}

TEST(Service, ClearingTheAddressKeepsItAndChangingItIsRefused) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kServices, R"({"metadata":{"name":"s"},"spec":{"ports":[{"port":80}]}})");
    const std::string address = made.at("/spec/clusterIP");
    const Reply put = cluster.call("PUT", service_path("s"),
                                   R"({"metadata":{"name":"s"},"spec":{"ports":[{"port":81}]}})");
    ASSERT_EQ(put.status, 200) << put.body;
    EXPECT_EQ(put.at("/spec/clusterIP"), address);
    EXPECT_EQ(put.at("/spec/ports/0/port"), "81");
    const Reply moved = patch(cluster, "s", R"({"spec":{"clusterIP":"10.96.7.7"}})");
    EXPECT_EQ(moved.status, 422);
    EXPECT_EQ(moved.at("/details/causes/0/field"), "spec.clusterIPs[0]");
}

TEST(Service, TypeChangesWipeAndRelease) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kServices,
        R"({"metadata":{"name":"t"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30005}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    const Reply plain = patch(cluster, "t", R"({"spec":{"type":"ClusterIP"}})");
    ASSERT_EQ(plain.status, 200) << plain.body;
    EXPECT_EQ(plain.at("/spec/ports/0/nodePort"), "");
    EXPECT_EQ(plain.at("/spec/externalTrafficPolicy"), "");
    const std::string other =
        R"({"metadata":{"name":"u"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30005}]}})";
    EXPECT_EQ(cluster.call("POST", kServices, other).status, 201);
    const Reply external =
        patch(cluster, "t", R"({"spec":{"type":"ExternalName","externalName":"example.com"}})");
    ASSERT_EQ(external.status, 200) << external.body;
    EXPECT_EQ(external.at("/spec/clusterIP"), "");
    EXPECT_EQ(external.at("/spec/ipFamilies"), "");
}

TEST(Service, LoadBalancerWithLocalPolicyGetsAHealthPort) {
    Cluster cluster;
    const Reply reply = cluster.call(
        "POST", kServices,
        R"({"metadata":{"name":"l"},"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local","allocateLoadBalancerNodePorts":false,"ports":[{"port":80}]}})");
    ASSERT_EQ(reply.status, 201) << reply.body;
    EXPECT_GE(std::stoi(reply.at("/spec/healthCheckNodePort")), 30000);
    EXPECT_EQ(reply.at("/spec/ports/0/nodePort"), "");
}

TEST(Service, DeletionReleasesAndRestartRemembers) {
    Cluster cluster;
    const std::string body =
        R"({"metadata":{"name":"r"},"spec":{"type":"NodePort","clusterIP":"10.96.9.9","ports":[{"port":80,"nodePort":30009}]}})";
    ASSERT_EQ(cluster.call("POST", kServices, body).status, 201);
    cluster.restart();
    const Reply clash = cluster.call(
        "POST", kServices,
        R"({"metadata":{"name":"r2"},"spec":{"clusterIP":"10.96.9.9","ports":[{"port":80}]}})");
    EXPECT_EQ(clash.status, 422);
    const Reply port_clash = cluster.call(
        "POST", kServices,
        R"({"metadata":{"name":"r3"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30009}]}})");
    EXPECT_EQ(port_clash.status, 422);
    EXPECT_EQ(port_clash.at("/details/causes/0/message"),
              "Invalid value: 30009: provided port is already allocated");
    EXPECT_EQ(cluster.call("DELETE", service_path("r")).at("/kind"), "Service");
    EXPECT_EQ(cluster.call("POST", kServices, body).status, 201);
}

TEST(Service, DryRunTakesNothing) {
    Cluster cluster;
    const std::string body =
        R"({"metadata":{"name":"d"},"spec":{"clusterIP":"10.96.9.8","ports":[{"port":80}]}})";
    const std::string dry = std::string(kServices) + "?dryRun=All";
    EXPECT_EQ(cluster.call("POST", dry, body).status, 201);
    EXPECT_EQ(cluster.call("GET", service_path("d")).status, 404);
    EXPECT_EQ(cluster.call("POST", kServices, body).status, 201);
}

TEST(Service, BadInputIs422NamesTheFieldAndStoresNothing) {
    Cluster cluster;
    const struct {
        const char* spec;
        const char* field;
    } cases[] = {
        {R"({"ports":[{"port":0}]})", "spec.ports[0].port"},
        {R"({"ports":[{"port":80,"protocol":"FOO"}]})", "spec.ports[0].protocol"},
        {R"({"clusterIP":"10.0.0.999","ports":[{"port":80}]})", "spec.clusterIPs[0]"},
        {R"({"clusterIP":"192.168.0.1","ports":[{"port":80}]})", "spec.clusterIPs"},
        {R"({"externalIPs":["x"],"ports":[{"port":80}]})", "spec.externalIPs[0]"},
        {R"({"type":"NodePort","ports":[{"port":80,"nodePort":1}]})", "spec.ports[0].nodePort"},
    };
    // The address of the Service `kubernetes` is written down beside what is asked here.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (cluster.call("GET", "/apis/networking.k8s.io/v1/ipaddresses").at("/items/0/metadata/name").empty() &&
           std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const store::Revision before = cluster.store().revision();
    for (const auto& bad : cases) {
        const Reply reply = cluster.call(
            "POST", kServices, std::string(R"({"metadata":{"name":"v"},"spec":)") + bad.spec + "}");
        EXPECT_EQ(reply.status, 422) << reply.body;
        EXPECT_EQ(reply.at("/details/causes/0/field"), bad.field) << reply.body;
    }
    const Reply name = cluster.call(
        "POST", kServices, R"({"metadata":{"name":"1x"},"spec":{"ports":[{"port":80}]}})");
    EXPECT_EQ(name.at("/details/causes/0/field"), "metadata.name");
    EXPECT_EQ(cluster.call("GET", service_path("v")).status, 404);
    EXPECT_EQ(cluster.store().revision(), before);
}

TEST(Service, ConcurrentCreationsNeverShare) {
    Cluster cluster;
    std::vector<std::shared_ptr<Recorder>> pending;
    for (int i = 0; i < 200; ++i) {
        pending.push_back(cluster.start(
            "POST", kServices,
            R"({"metadata":{"generateName":"c-"},"spec":{"type":"NodePort","ports":[{"port":80}]}})"));
    }
    std::set<std::string> addresses;
    std::set<std::string> ports;
    for (const auto& recorder : pending) {
        const http::Response response = recorder->wait();
        ASSERT_EQ(response.status, 201) << response.body;
        const Reply reply{response.status, response.body, {}};
        EXPECT_TRUE(addresses.insert(reply.at("/spec/clusterIP")).second);
        EXPECT_TRUE(ports.insert(reply.at("/spec/ports/0/nodePort")).second);
    }
}

TEST(Service, TableAsKubectlShowsIt) {
    Cluster cluster;
    const Reply reply = cluster.call(
        "GET", kServices, "", {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}});
    EXPECT_EQ(reply.at("/kind"), "Table");
    const char* names[] = {"Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector"};
    for (int i = 0; i < 7; ++i) {
        EXPECT_EQ(reply.at("/columnDefinitions/" + std::to_string(i) + "/name"), names[i]);
        EXPECT_EQ(reply.at("/columnDefinitions/" + std::to_string(i) + "/priority"),
                  i == 6 ? "1" : "0");
    }
    EXPECT_EQ(reply.at("/rows/0/cells/2"), "10.96.0.1");
    EXPECT_EQ(reply.at("/rows/0/cells/4"), "443/TCP");
}

}  // namespace
}  // namespace sluice::registry::testing
