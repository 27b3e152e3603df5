// Where requests to proxies go, and which are refused; the texts are those of kube-apiserver.
#include "control/apiserver/proxy/place.h"

#include <gtest/gtest.h>

#include <set>

#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"

namespace sluice::apiserver {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

std::string shown(const std::optional<ProxyRequest>& request) {
    if (!request) return "none";
    const char* kinds[] = {"pod", "service", "node"};
    return std::string(kinds[static_cast<int>(request->kind)]) + " " + request->name_space + "/" + request->id + " " +
           request->prefix + " " + request->rest;
}

TEST(ProxyTarget, IsTakenApart) {
    EXPECT_EQ(shown(parse_proxy_target("/api/v1/namespaces/ns/pods/p/proxy")),
              "pod ns/p /api/v1/namespaces/ns/pods/p/proxy ");
    EXPECT_EQ(shown(parse_proxy_target("/api/v1/namespaces/ns/services/https:s:web/proxy/a%20b/c?q=/proxy")),
              "service ns/https:s:web /api/v1/namespaces/ns/services/https:s:web/proxy /a%20b/c");
    EXPECT_EQ(shown(parse_proxy_target("/api/v1/namespaces/ns/pods/p%3A80/proxy/")),
              "pod ns/p:80 /api/v1/namespaces/ns/pods/p%3A80/proxy /");
    EXPECT_EQ(shown(parse_proxy_target("/api/v1/nodes/n1/proxy/metrics?x=1")),
              "node /n1 /api/v1/nodes/n1/proxy /metrics");
    for (const char* other : {"/api/v1/namespaces/ns/pods/p/log", "/api/v1/namespaces/ns/configmaps/p/proxy",
                              "/api/v1/nodes/n1", "/apis/apps/v1/namespaces/ns/pods/p/proxy",
                              "/api/v1/namespaces/ns/pods//proxy", "/proxy", "",
                              "/api/v1/namespaces/ns/pods/p/proxyx"}) {
        EXPECT_EQ(shown(parse_proxy_target(other)), "none") << other;
    }
}

TEST(ProxyId, HasSchemeNameAndPort) {
    const auto parts = [](const char* id) {
        const auto out = split_proxy_id(id);
        return out ? out->scheme + "|" + out->name + "|" + out->port : "none";
    };
    EXPECT_EQ(parts("p"), "|p|");
    EXPECT_EQ(parts("p:80"), "|p|80");
    EXPECT_EQ(parts("https:p:443"), "https|p|443");
    EXPECT_EQ(parts("http:p:"), "http|p|");
    EXPECT_EQ(parts(":p:web"), "|p|web");
    EXPECT_EQ(parts("ftp:p:21"), "none");
    EXPECT_EQ(parts("a:b:c:d"), "none");
    EXPECT_EQ(parts(":80"), "none");
}

class Places : public testing::Test {
protected:
    Places() {
        pod_.mutable_status()->set_podip("10.1.2.3");
        pod_.mutable_status()->add_podips()->set_ip("10.1.2.3");
        pod_.mutable_status()->add_podips()->set_ip("10.1.2.4");
        pod_.mutable_spec()->add_containers();
        pod_.mutable_spec()->add_containers()->add_ports()->set_containerport(8080);
        auto* port = service_.mutable_spec()->add_ports();
        port->set_name("web");
        port->set_port(80);
        auto* subset = endpoints_.add_subsets();
        for (const char* ip : {"10.1.2.3", "10.1.2.4"}) {
            auto* address = subset->add_addresses();
            address->set_ip(ip);
            address->mutable_targetref()->set_namespace_("ns");
            address->mutable_targetref()->set_name("x");
        }
        subset->add_ports()->set_name("web");
        subset->mutable_ports(0)->set_port(8080);
        auto* address = node_.mutable_status()->add_addresses();
        address->set_type("InternalIP");
        address->set_address("192.0.2.9");
    }

    std::string place(const std::string& target, std::uint32_t random = 0) {
        const auto request = parse_proxy_target(target);
        if (!request) return "none";
        const ObjectReader reader = [this](const codec::KindInfo& kind, const std::string&, const std::string& name)
            -> Result<std::shared_ptr<const google::protobuf::Message>> {
            if (name != "x") return make_error(Code::kNotFound, "not found");
            if (kind.gvk.kind == "Pod") return std::make_shared<const corev1::Pod>(pod_);
            if (kind.gvk.kind == "Service") return std::make_shared<const corev1::Service>(service_);
            if (kind.gvk.kind == "Node") return std::make_shared<const corev1::Node>(node_);
            return std::make_shared<const corev1::Endpoints>(endpoints_);
        };
        const auto found = find_place(*request, reader, random);
        if (!found) return std::to_string(found.error().status) + " " + found.error().body;
        return found->address + ":" + std::to_string(found->port) + (found->tls ? " tls" : "") +
               (found->kubelet ? " kubelet" : "");
    }
    std::string pod(const std::string& id) { return place("/api/v1/namespaces/ns/pods/" + id + "/proxy/"); }
    std::string service(const std::string& id, std::uint32_t random = 0) {
        return place("/api/v1/namespaces/ns/services/" + id + "/proxy/", random);
    }
    std::string node(const std::string& id) { return place("/api/v1/nodes/" + id + "/proxy/"); }
    static void has(const std::string& answer, const std::string& status, const std::string& text) {
        EXPECT_TRUE(answer.starts_with(status)) << answer;
        EXPECT_NE(answer.find(text), std::string::npos) << answer;
    }

    corev1::Pod pod_;
    corev1::Service service_;
    corev1::Endpoints endpoints_;
    corev1::Node node_;
};

TEST_F(Places, OfPods) {
    EXPECT_EQ(pod("x"), "10.1.2.3:8080");  // the first port that a container names
    EXPECT_EQ(pod("x:81"), "10.1.2.3:81");
    EXPECT_EQ(pod("https:x:8443"), "10.1.2.3:8443 tls");
    pod_.mutable_spec()->mutable_containers(1)->clear_ports();
    EXPECT_EQ(pod("x"), "10.1.2.3:80");
    EXPECT_EQ(pod("https:x:"), "10.1.2.3:443 tls");
    has(pod("gone"), "404", R"(pods \"gone\" not found)");
    has(pod("ftp:x:1"), "400", R"(invalid pod request \"ftp:x:1\")");
    has(pod("x:web"), "400", R"(invalid pod request \"x:web\")");
}

TEST_F(Places, OfPodsAreNeverThisMachine) {
    for (const char* ip : {"", "127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "224.0.0.1"}) {
        pod_.mutable_status()->set_podip(ip);
        has(pod("x"), "400", "address not allowed");
    }
}

TEST_F(Places, OfServicesAreTheirEndpoints) {
    const std::set<std::string> both = {service("x:web", 0), service("x:web", 1)};
    EXPECT_EQ(both, (std::set<std::string>{"10.1.2.3:8080", "10.1.2.4:8080"}));
    EXPECT_EQ(service("x:80"), "10.1.2.3:8080");
    EXPECT_EQ(service("x"), "10.1.2.3:8080");  // its only port
    EXPECT_EQ(service("https:x:web"), "10.1.2.3:8080 tls");
    has(service("x:81"), "503", R"(no service port 81 found for service \"x\")");
    has(service("x:nope"), "503", R"(no endpoints available for service \"x:nope\")");
    endpoints_.clear_subsets();
    has(service("x:web"), "503", R"(no endpoints available for service \"x:web\")");
}

// Whoever may write Endpoints cannot make this server ask what he could not ask himself.
TEST_F(Places, OfServicesAreAddressesOfPodsOfTheirNamespace) {
    auto* subset = endpoints_.mutable_subsets(0);
    const auto refused = [&] { has(service("x:web"), "503", R"(no endpoints available for service \"x:web\")"); };
    subset->mutable_addresses(0)->set_ip("192.0.2.9");
    EXPECT_EQ(service("x:web"), "10.1.2.4:8080");
    subset->mutable_addresses()->DeleteSubrange(1, 1);
    refused();
    subset->mutable_addresses(0)->set_ip("10.1.2.3");
    EXPECT_EQ(service("x:web"), "10.1.2.3:8080");
    auto* target = subset->mutable_addresses(0)->mutable_targetref();
    target->set_namespace_("other");
    refused();
    target->set_namespace_("ns");
    target->set_name("gone");
    refused();
    subset->mutable_addresses(0)->clear_targetref();
    refused();
}

TEST_F(Places, OfNodesAreKubeletsOrOtherPorts) {
    EXPECT_EQ(node("x"), "192.0.2.9:10250 tls kubelet");
    EXPECT_EQ(node("x:10250"), "192.0.2.9:10250 tls kubelet");
    EXPECT_EQ(node("x:9100"), "192.0.2.9:9100");
    has(node("gone"), "404", R"(nodes \"gone\" not found)");
}

}  // namespace
}  // namespace sluice::apiserver
