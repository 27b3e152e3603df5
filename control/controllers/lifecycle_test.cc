// The controllers of nodes, endpoints, ownership, namespaces and certificates together, against a
// real API server.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "api/client/bootstrap.h"
#include "api/client/client.h"
#include "api/client/http.h"
#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "api/kubernetes/coordination/v1/lease.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/serviceaccount.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/controllers.h"
#include "control/pki/certificate.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;
namespace certificatesv1 = ::k8s::io::api::certificates::v1;
using testing::eventually;
using testing::get;
using testing::kind_named;
using testing::TestCluster;

class Lifecycle : public ::testing::Test {
protected:
    void start(std::uint32_t grace_ms = 50'000) {
        Options options;
        options.cluster_cidrs = {*IpPrefix::parse("10.244.0.0/16"), *IpPrefix::parse("fd00:244::/56")};
        options.node_monitor_grace_period_ms = grace_ms;
        options.node_monitor_period_ms = 200;
        options.root_ca_pem = cluster.ca_pem();
        options.signing_certificate_pem = cluster.ca_pem();
        options.signing_key_pem = cluster.ca_key_pem();
        options.sign_token = [](const std::string& space, const std::string& secret, const std::string& account,
                                const std::string& uid) -> Result<std::string> {
            return space + "/" + secret + "/" + account + "/" + uid;
        };
        auto started = Controllers::start(options, cluster.client_config());
        ASSERT_TRUE(started) << started.error().to_string();
        controllers = std::move(*started);
    }

    void node(const std::string& name) {
        cluster.create("apiVersion: v1\nkind: Node\nmetadata:\n  name: " + name +
                       "\nstatus:\n  conditions:\n  - type: Ready\n    status: \"True\"\n");
    }
    void pod(const std::string& name, const std::string& ip, const std::string& on) {
        cluster.create("apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name +
                       "\n  labels:\n    app: web\nspec:\n  nodeName: " + on +
                       "\n  containers:\n  - name: c\n    image: i\nstatus:\n  phase: Running\n  podIP: " + ip +
                       "\n  podIPs:\n  - ip: " + ip + "\n  conditions:\n  - type: Ready\n    status: \"True\"\n");
    }
    void service() {
        cluster.create(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector:\n    app: web\n"
            "  ports:\n  - port: 80\n    targetPort: 8080\n");
    }

    [[nodiscard]] std::vector<discoveryv1::EndpointSlice> slices(const std::string& service) const {
        client::ListRequest request;
        request.selection.namespace_name = "default";
        request.selection.label_selector = "kubernetes.io/service-name=" + service;
        const auto list = cluster.client().list(kind_named("endpointslices"), request);
        if (!list) return {};
        const auto& items = static_cast<const discoveryv1::EndpointSliceList&>(**list).items();
        return {items.begin(), items.end()};
    }
    // Ready endpoints of all slices; -1 without any slice.
    [[nodiscard]] int ready(const std::string& service) const {
        const auto all = slices(service);
        if (all.empty()) return -1;
        int count = 0;
        for (const auto& slice : all) {
            for (const auto& endpoint : slice.endpoints()) count += endpoint.conditions().ready() ? 1 : 0;
        }
        return count;
    }

    // A request as JSON, for custom objects; the answer's body.
    std::string ask(const std::string& method, const std::string& path, const std::string& body = "") const {
        const auto http = client::HttpClient::create(cluster.client_config(), "test");
        EXPECT_TRUE(http);
        client::HttpRequest request;
        request.method = method;
        request.target = path;
        request.headers.emplace_back("Content-Type", "application/json");
        request.body = body;
        const auto answer = (*http)->request(request, {});
        EXPECT_TRUE(answer);
        return answer->body;
    }

    TestCluster cluster;
    std::unique_ptr<Controllers> controllers;
};

// The value of "uid" in an object's metadata.
std::string uid_in(const std::string& json) {
    const std::size_t at = json.find("\"uid\":\"");
    return at == std::string::npos ? "" : json.substr(at + 7, 36);
}

TEST_F(Lifecycle, ReadinessReachesSlicesAndEndpoints) {
    start();
    node("n1");
    service();
    EXPECT_TRUE(eventually([&] { return ready("web") == 0; }));
    pod("a", "10.244.0.5", "n1");
    EXPECT_TRUE(eventually([&] { return ready("web") == 1; }));
    pod("b", "10.244.0.6", "n1");
    EXPECT_TRUE(eventually([&] { return ready("web") == 2; }));
    cluster.merge(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nstatus:\n  conditions:\n  - type: Ready\n    status: \"False\"\n");
    EXPECT_TRUE(eventually([&] { return ready("web") == 1; }));
    EXPECT_TRUE(eventually([&] {
        const auto found = get<corev1::Endpoints>(cluster, "endpoints", "default", "web");
        return found != nullptr && found->subsets_size() == 1 && found->subsets(0).addresses_size() == 1 &&
               found->subsets(0).notreadyaddresses_size() == 1;
    }));
    // Neither of the two makes the other mirror what it wrote.
    EXPECT_EQ(slices("web").size(), 1U);
    ASSERT_TRUE(cluster.client().remove(kind_named("services"), "default", "web"));
    EXPECT_TRUE(eventually([&] {
        return slices("web").empty() && get<corev1::Endpoints>(cluster, "endpoints", "default", "web") == nullptr;
    }));
}

TEST_F(Lifecycle, HandMadeEndpointsAreMirrored) {
    start();
    cluster.create("apiVersion: v1\nkind: Service\nmetadata:\n  name: db\nspec:\n  ports:\n  - port: 5432\n");
    cluster.create(
        "apiVersion: v1\nkind: Endpoints\nmetadata:\n  name: db\nsubsets:\n- addresses:\n  - ip: 192.0.2.1\n"
        "  ports:\n  - port: 5432\n");
    EXPECT_TRUE(eventually([&] { return ready("db") == 1; }));
}

TEST_F(Lifecycle, NamespacesGetWhatTheyStartWith) {
    start();
    cluster.create("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n");
    EXPECT_TRUE(eventually([&] {
        return get<corev1::ServiceAccount>(cluster, "serviceaccounts", "shop", "default") != nullptr;
    }));
    const auto holds_ca = [&] {
        const auto map = get<corev1::ConfigMap>(cluster, "configmaps", "shop", "kube-root-ca.crt");
        return map != nullptr && map->data().contains("ca.crt") && map->data().at("ca.crt") == cluster.ca_pem();
    };
    EXPECT_TRUE(eventually(holds_ca));
    cluster.merge(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kube-root-ca.crt\n  namespace: shop\ndata:\n  ca.crt: bad\n");
    EXPECT_TRUE(eventually(holds_ca));
    ASSERT_TRUE(cluster.client().remove(kind_named("namespaces"), "", "shop"));
    EXPECT_TRUE(eventually([&] { return cluster.get(kind_named("namespaces"), "", "shop") == nullptr; }));
}

TEST_F(Lifecycle, NodesGetRangesOfBothFamilies) {
    start();
    node("n1");
    node("n2");
    std::string first;
    EXPECT_TRUE(eventually([&] {
        const auto a = get<corev1::Node>(cluster, "nodes", "", "n1");
        const auto b = get<corev1::Node>(cluster, "nodes", "", "n2");
        if (a->spec().podcidrs_size() != 2 || b->spec().podcidrs_size() != 2) return false;
        first = a->spec().podcidr();
        return a->spec().podcidr() != b->spec().podcidr() && a->spec().podcidrs(1) != b->spec().podcidrs(1);
    }));
    EXPECT_TRUE(first.starts_with("10.244."));
}

TEST_F(Lifecycle, ALostNodesPodsLeaveTheServiceAndThenTheNode) {
    node("alive");
    node("lost");
    service();
    pod("a", "10.244.0.5", "alive");
    pod("b", "10.244.1.5", "lost");
    start(2'000);
    std::atomic<bool> stop{false};
    std::thread heart([&] {
        for (int i = 1; !stop; ++i) {
            // A kubelet's Lease; its first sign of life makes it.
            const std::string time =
                fmt::format("2026-01-01T00:{:02}:{:02}.000000Z", i / 60 % 60, i % 60);
            const std::string text =
                "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: alive\n  namespace: "
                "kube-node-lease\nspec:\n  holderIdentity: alive\n  leaseDurationSeconds: 40\n  renewTime: " +
                time + "\n";
            i == 1 ? cluster.create(text) : cluster.merge(text);
            std::this_thread::sleep_for(std::chrono::milliseconds(200));
        }
    });
    EXPECT_TRUE(eventually([&] { return ready("web") == 2; }));
    EXPECT_TRUE(eventually([&] { return ready("web") == 1; }));
    EXPECT_TRUE(eventually([&] {
        const auto found = get<corev1::Node>(cluster, "nodes", "", "lost");
        bool unknown = false;
        for (const auto& condition : found->status().conditions()) {
            unknown = unknown || (condition.type() == "Ready" && condition.status() == "Unknown" &&
                                  condition.reason() == "NodeStatusUnknown");
        }
        return unknown && found->spec().taints_size() == 2;
    }));
    cluster.merge("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    touched: \"1\"\n");
    // Without a toleration it goes at once; with Kubernetes' default of 300 s it does not, and the
    // taint stands.
    const auto pod_b = get<corev1::Pod>(cluster, "pods", "default", "b");
    if (pod_b != nullptr && pod_b->spec().tolerations().empty()) {
        EXPECT_TRUE(eventually([&] {
            const auto found = get<corev1::Pod>(cluster, "pods", "default", "b");
            return found == nullptr || found->metadata().has_deletiontimestamp();
        }));
    }
    const auto alive = get<corev1::Pod>(cluster, "pods", "default", "a");
    ASSERT_NE(alive, nullptr);
    EXPECT_FALSE(alive->metadata().has_deletiontimestamp());
    stop = true;
    heart.join();
}

std::string owned(const std::string& name, const std::string& owner, const std::string& uid) {
    return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name +
           "\n  ownerReferences:\n  - apiVersion: v1\n    kind: ConfigMap\n    name: " + owner + "\n    uid: " + uid +
           "\n    blockOwnerDeletion: true\n";
}

TEST_F(Lifecycle, ThreeCascades) {
    start();
    for (const std::string policy : {"Background", "Foreground", "Orphan"}) {
        cluster.create("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: owner\n");
        const auto owner = get<corev1::ConfigMap>(cluster, "configmaps", "default", "owner");
        cluster.create(owned("child", "owner", owner->metadata().uid()));
        const auto child = get<corev1::ConfigMap>(cluster, "configmaps", "default", "child");
        cluster.create(owned("grandchild", "child", child->metadata().uid()));
        client::DeleteRequest request;
        request.propagation_policy = policy;
        const auto done = cluster.client().remove(kind_named("configmaps"), "default", "owner", request);
        ASSERT_TRUE(done) << policy << done.error().message;
        const auto there = [&](const char* name) {
            return cluster.get(kind_named("configmaps"), "default", name) != nullptr;
        };
        EXPECT_TRUE(eventually([&] { return !there("owner"); })) << policy;
        if (policy == "Orphan") {
            const auto freed = get<corev1::ConfigMap>(cluster, "configmaps", "default", "child");
            ASSERT_NE(freed, nullptr);
            EXPECT_EQ(freed->metadata().ownerreferences_size(), 0);
            EXPECT_TRUE(there("grandchild"));
        } else {
            EXPECT_TRUE(eventually([&] { return !there("child") && !there("grandchild"); })) << policy;
        }
    }
}

constexpr char kWidgets[] = "/apis/example.com/v1/namespaces/default/widgets";
constexpr char kDefinition[] =
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: widgets.example.com\n"
    "spec:\n  group: example.com\n  scope: Namespaced\n  names:\n    plural: widgets\n    singular: widget\n"
    "    kind: Widget\n    listKind: WidgetList\n  versions:\n  - name: v1\n    served: true\n    storage: true\n"
    "    schema:\n      openAPIV3Schema:\n        type: object\n        x-kubernetes-preserve-unknown-fields: true\n";

TEST_F(Lifecycle, CustomObjectsOwnAndAreOwned) {
    start();
    const auto widget = [](const std::string& name, const std::string& owner = "", const std::string& uid = "") {
        std::string references;
        if (!owner.empty()) {
            references = R"(,"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":")" + owner +
                         R"(","uid":")" + uid + R"(","blockOwnerDeletion":true}])";
        }
        return R"({"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":")" + name + "\"" + references +
               "}}";
    };
    const auto owned_by_widget = [](const std::string& name, const std::string& uid) {
        std::string text = owned(name, "w", uid);
        text.replace(text.find("apiVersion: v1\n    kind: ConfigMap"), 34,
                     "apiVersion: example.com/v1\n    kind: Widget");
        return text;
    };
    const auto there = [&](const std::string& name) {
        return cluster.get(kind_named("configmaps"), "default", name) != nullptr;
    };
    // The second time the kind comes as another.
    for (int round = 0; round < 2; ++round) {
        cluster.create(kDefinition);
        std::string made;
        ASSERT_TRUE(eventually([&] {
            made = ask("POST", kWidgets, widget("w"));
            return made.find("\"uid\"") != std::string::npos;
        })) << made;
        // An owner that is custom, gone at once or waiting for its dependent.
        for (const std::string policy : {"Background", "Foreground"}) {
            if (policy == "Foreground") made = ask("POST", kWidgets, widget("w"));
            cluster.create(owned_by_widget("child", uid_in(made)));
            ask("DELETE", std::string(kWidgets) + "/w?propagationPolicy=" + policy);
            EXPECT_TRUE(eventually([&] { return !there("child"); })) << policy;
            EXPECT_TRUE(eventually([&] {
                return ask("GET", std::string(kWidgets) + "/w").find("NotFound") != std::string::npos;
            })) << policy;
        }
        // A dependent that is custom, freed of one owner and deleted with the other.
        cluster.create("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: owner\n");
        const auto owner = get<corev1::ConfigMap>(cluster, "configmaps", "default", "owner");
        const std::string uid = owner->metadata().uid();
        ask("POST", kWidgets, widget("d", "owner", uid));
        client::DeleteRequest orphan;
        orphan.propagation_policy = "Orphan";
        // The collector has to have seen it: else nobody is freed.
        const auto list = [&] { return ask("GET", std::string(kWidgets) + "/d"); };
        ask("POST", kWidgets, widget("e", "owner", "00000000-0000-4000-8000-000000000000"));
        EXPECT_TRUE(eventually([&] {
            return ask("GET", std::string(kWidgets) + "/e").find("NotFound") != std::string::npos;
        }));
        ASSERT_TRUE(cluster.client().remove(kind_named("configmaps"), "default", "owner", orphan));
        EXPECT_TRUE(eventually([&] { return !there("owner"); }));
        EXPECT_EQ(list().find("ownerReferences"), std::string::npos) << list();
        ask("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com");
        EXPECT_TRUE(eventually([&] {
            return ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")
                       .find("NotFound") != std::string::npos;
        }));
    }
}

TEST_F(Lifecycle, SecretsOfAccountsAreFilledAndGoWithThem) {
    start();
    cluster.create("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: robot\n");
    const auto secret = [](const std::string& name, const std::string& account) {
        return "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata:\n  name: " + name +
               "\n  annotations:\n    kubernetes.io/service-account.name: " + account + "\n";
    };
    const auto now = [&](const std::string& name) { return get<corev1::Secret>(cluster, "secrets", "default", name); };
    const auto account = get<corev1::ServiceAccount>(cluster, "serviceaccounts", "default", "robot");
    cluster.create(secret("s", "robot"));
    ASSERT_TRUE(eventually([&] { return now("s")->data().contains("token"); }));
    const auto filled = now("s");
    EXPECT_EQ(filled->data().at("token"), "default/s/robot/" + account->metadata().uid());
    EXPECT_EQ(filled->data().at("namespace"), "default");
    EXPECT_EQ(filled->data().at("ca.crt"), cluster.ca_pem());
    EXPECT_EQ(filled->metadata().annotations().at("kubernetes.io/service-account.uid"), account->metadata().uid());
    // What is taken out comes back, with the same account.
    cluster.merge("apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  token: null\n  ca.crt: bm9uZQ==\n");
    EXPECT_TRUE(eventually([&] {
        const auto again = now("s");
        return again->data().contains("token") && again->data().at("ca.crt") == cluster.ca_pem();
    }));
    // Without an account there is nothing to sign for; the Secrets of one go with it.
    cluster.create(secret("nobodys", "nobody"));
    EXPECT_TRUE(eventually([&] { return now("nobodys") == nullptr; }));
    ASSERT_TRUE(cluster.client().remove(kind_named("serviceaccounts"), "default", "robot"));
    EXPECT_TRUE(eventually([&] { return now("s") == nullptr; }));
}

TEST_F(Lifecycle, ABootstrapTokenIsEnoughForANodesCertificate) {
    start();
    const auto config = cluster.config_for("system:bootstrap:abcdef", "system:bootstrappers");
    const auto client = client::Client::create(config, "test");
    ASSERT_TRUE(client);
    const auto key = client::make_key_pem();
    const auto pem = client::make_request_pem(*key, {"system:node:n1", "system:nodes", {}, {}});
    ASSERT_TRUE(pem);
    certificatesv1::CertificateSigningRequest request;
    request.mutable_metadata()->set_name("r");
    request.mutable_spec()->set_request(*pem);
    request.mutable_spec()->set_signername("kubernetes.io/kube-apiserver-client-kubelet");
    request.mutable_spec()->add_usages("digital signature");
    request.mutable_spec()->add_usages("client auth");
    request.mutable_spec()->set_expirationseconds(3'600);
    const auto made = (*client)->create_object(kind_named("certificatesigningrequests"), request);
    ASSERT_TRUE(made) << made.error().message;
    std::string certificate;
    EXPECT_TRUE(eventually([&] {
        const auto found = get<certificatesv1::CertificateSigningRequest>(
            cluster, "certificatesigningrequests", "", "r");
        certificate = found == nullptr ? "" : found->status().certificate();
        return !certificate.empty();
    }));
    const auto facts = pki::read_certificate(certificate);
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->common_name, "system:node:n1");
    EXPECT_LE(facts->not_after_s - facts->not_before_s, 3'600 + pki::kBackdateS);
    EXPECT_TRUE(*pki::is_issued_by(certificate, cluster.ca_pem()));
    const auto state = client::read_certificate_state(certificate, *key, cluster.ca_pem());
    ASSERT_TRUE(state);
    EXPECT_TRUE(state->fits);
}

TEST_F(Lifecycle, ClusterInfoIsSignedWithEveryToken) {
    start();
    corev1::Secret secret;
    secret.mutable_metadata()->set_namespace_("kube-system");
    secret.mutable_metadata()->set_name("bootstrap-token-abcdef");
    secret.set_type("bootstrap.kubernetes.io/token");
    (*secret.mutable_data())["token-id"] = "abcdef";
    (*secret.mutable_data())["token-secret"] = "0123456789abcdef";
    (*secret.mutable_data())["usage-bootstrap-signing"] = "true";
    ASSERT_TRUE(cluster.client().create_object(kind_named("secrets"), secret));
    EXPECT_TRUE(eventually([&] {
        const auto map = get<corev1::ConfigMap>(cluster, "configmaps", "kube-public", "cluster-info");
        return map != nullptr && map->data().contains("jws-kubeconfig-abcdef") &&
               client::verify_detached(map->data().at("kubeconfig"), map->data().at("jws-kubeconfig-abcdef"),
                                       {"abcdef", "0123456789abcdef"});
    }));
}

}  // namespace
}  // namespace sluice::controllers
