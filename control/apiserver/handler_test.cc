// The request chain and what it serves itself, with a fake store and a fake resource API. What discovery must
// say is taken from recordings of kube-apiserver 1.32.
#include "control/apiserver/handler.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/codec/protobuf.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "control/apiserver/audit/auditor.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/authorization/policy/policy.h"
#include "control/apiserver/registry/api.h"
#include "control/store/store.h"

namespace sluice::apiserver {
namespace {

class FakeStore final : public store::Store {
public:
    bool broken = false;
    [[nodiscard]] store::Revision revision() const override { return 42; }
    [[nodiscard]] store::Revision compacted() const override { return 7; }
    [[nodiscard]] Result<std::optional<store::KeyValue>> get(std::string_view,
                                                             store::Revision) const override {
        if (broken) return make_error(Code::kUnavailable, "the disk at /secret/path is gone");
        return std::optional<store::KeyValue>{};
    }
    [[nodiscard]] Result<store::RangeResult> range(std::string_view, std::string_view,
                                                   std::uint64_t, store::Revision) const override {
        return store::RangeResult{};
    }
    void write(store::Write, std::function<void(Result<store::WriteResult>)>) override {}
    Result<std::unique_ptr<store::Watch>> watch(std::string, store::Revision,
                                                store::WatchSink) override {
        return make_error(Code::kUnimplemented, "no watches");
    }
    Result<void> compact(store::Revision) override { return {}; }
};

class FakeApi final : public registry::Api {
public:
    http::Identity seen;
    [[nodiscard]] bool handles(const std::string& path) const override {
        return path.starts_with("/api/v1/");
    }
    void handle(std::shared_ptr<const http::Request> request,
                std::shared_ptr<http::Responder> responder) override {
        seen = request->identity;
        if (request->path.ends_with("dropped")) return;
        http::Response response;
        response.status = 201;
        response.body = "resource";
        responder->send(response);
    }
    void shutdown() override {}
};

class FakeResponder final : public http::Responder {
public:
    explicit FakeResponder(std::optional<http::Response>* out) : out_(out) {}
    void send(http::Response response) override { *out_ = std::move(response); }
    void begin_stream(http::Response head) override { *out_ = std::move(head); }
    bool write(std::string) override { return true; }
    void end_stream() override {}
    void on_close(std::function<void()>) override {}

private:
    std::optional<http::Response>* out_;
};

class Chain : public ::testing::Test {
protected:
    Chain() {
        server.set_api(&api);
        // The roles that every cluster has, and one more for what the tests ask for.
        for (const auto& object : authorization::default_policy()) {
            if (const auto* role = dynamic_cast<const authorization::Rbac::ClusterRole*>(object.get())) {
                authorizer.rbac().put(*role);
            } else if (const auto* binding =
                           dynamic_cast<const authorization::Rbac::ClusterRoleBinding*>(object.get())) {
                authorizer.rbac().put(*binding);
            }
        }
        authorization::Rbac::ClusterRoleBinding bob;
        bob.mutable_metadata()->set_name("bob");
        bob.mutable_roleref()->set_kind("ClusterRole");
        bob.mutable_roleref()->set_name("cluster-admin");
        bob.add_subjects()->set_kind("User");
        bob.mutable_subjects(0)->set_name("bob");
        authorizer.rbac().put(bob);
        server.set_authorizer(&authorizer);
    }

    http::Response request(const std::string& method, const std::string& path,
                           std::vector<std::pair<std::string, std::string>> headers = {},
                           const http::Identity& who = {"admin", {"system:masters"}}) {
        auto request = std::make_shared<http::Request>();
        request->method = method;
        const std::size_t question = path.find('?');
        request->path = path.substr(0, question);
        if (question != std::string::npos) request->query.emplace_back(path.substr(question + 1), "");
        request->headers = std::move(headers);
        request->identity = who;
        std::optional<http::Response> out;
        server.handle(std::move(request), std::make_shared<FakeResponder>(&out));
        return out.value_or(http::Response{.status = 0, .headers = {}, .body = {}});
    }
    http::Response get(const std::string& path, const std::string& accept = "",
                       const http::Identity& who = {"admin", {"system:masters"}}) {
        if (accept.empty()) return request("GET", path, {}, who);
        return request("GET", path, {{"accept", accept}}, who);
    }
    boost::json::value json(const std::string& path, const std::string& accept = "") {
        return boost::json::parse(get(path, accept).body);
    }

    FakeStore store;
    FakeApi api;
    authorization::Authorizer authorizer{{authorization::Mode::kNode, authorization::Mode::kRbac}};
    ApiServer server{store, "192.0.2.2:16443", [] { return http::ServerStats{}; }};
};

std::string header(const http::Response& response, const std::string& name) {
    for (const auto& [key, value] : response.headers) {
        if (key == name) return value;
    }
    return {};
}

const http::Identity kAnonymous;

TEST_F(Chain, AnonymousClientsMayAskForHealthAndVersionOnly) {
    for (const char* path : {"/healthz", "/livez", "/readyz", "/version"}) {
        EXPECT_EQ(get(path, "", kAnonymous).status, 200) << path;
    }
    for (const char* path : {"/", "/api", "/apis", "/metrics", "/openapi/v2", "/api/v1/pods",
                             "/healthzz", "/nowhere"}) {
        const auto response = get(path, "", kAnonymous);
        EXPECT_EQ(response.status, 401) << path;
        EXPECT_EQ(boost::json::parse(response.body).at("message"), "Unauthorized");
    }
    EXPECT_EQ(request("POST", "/version", {}, kAnonymous).status, 401);
    // Single checks are for who watches the cluster (system:monitoring).
    EXPECT_EQ(get("/readyz/store", "", kAnonymous).status, 403);
    EXPECT_EQ(get("/readyz/store", "", {"prometheus", {"system:monitoring"}}).status, 200);
    EXPECT_EQ(get("/metrics", "", {"prometheus", {"system:monitoring"}}).status, 200);
}

TEST_F(Chain, IdentityReachesTheApi) {
    EXPECT_EQ(get("/api/v1/pods", "", {"bob", {"dev"}}).body, "resource");
    EXPECT_EQ(api.seen.user, "bob");
    EXPECT_EQ(api.seen.groups, (std::vector<std::string>{"dev", "system:authenticated"}));
}

TEST_F(Chain, ImpersonationNeedsAPermission) {
    const std::vector<std::pair<std::string, std::string>> as_bob = {
        {"impersonate-user", "bob"}, {"impersonate-group", "g1"}, {"impersonate-group", "g2"}};
    EXPECT_EQ(request("GET", "/api/v1/pods", as_bob).status, 201);
    EXPECT_EQ(api.seen.user, "bob");
    EXPECT_EQ(api.seen.groups, (std::vector<std::string>{"g1", "g2", "system:authenticated"}));
    EXPECT_EQ(request("GET", "/api/v1/pods", as_bob, {"eve", {"dev"}}).status, 403);
    // As kube-apiserver answers it.
    EXPECT_EQ(request("GET", "/api/v1/pods", {{"impersonate-group", "g"}}).status, 500);
}

// The bodies are recordings of kube-apiserver 1.32.
TEST_F(Chain, ForbiddenInKubernetesWords) {
    const http::Identity dev{"dev", {"developers"}};
    EXPECT_EQ(get("/api/v1/nodes/x", "", dev).body,
              "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"nodes "
              "\\\"x\\\" is forbidden: User \\\"dev\\\" cannot get resource \\\"nodes\\\" in API group \\\"\\\" at the "
              "cluster scope\",\"reason\":\"Forbidden\",\"details\":{\"name\":\"x\",\"kind\":\"nodes\"},\"code\":403}\n");
    EXPECT_EQ(get("/metrics", "", dev).body,
              "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":"
              "\"forbidden: User \\\"dev\\\" cannot get path \\\"/metrics\\\"\",\"reason\":\"Forbidden\",\"details\":{},"
              "\"code\":403}\n");
    // Before anything is looked up: what does not exist is as forbidden as what does.
    EXPECT_EQ(get("/apis/nowhere.example.com/v1/things", "", dev).status, 403);
    EXPECT_EQ(header(get("/api/v1/nodes", "application/vnd.kubernetes.protobuf", dev), "Content-Type"),
              "application/vnd.kubernetes.protobuf");
}

// What kube-apiserver 1.32 notes of its authorizers' answers.
TEST_F(Chain, TheAuditLogTellsWhyARequestWasAllowed) {
    const auto folder = std::filesystem::path(::testing::TempDir()) / "sluice-audited-chain";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "policy.yaml") << "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n"
                                             "rules:\n- level: Metadata\n";
    audit::AuditOptions options;
    options.policy_path = folder / "policy.yaml";
    options.log.path = folder / "audit.log";
    const auto auditor = audit::Auditor::create(options);
    ASSERT_TRUE(auditor) << auditor.error().message;
    server.set_auditor(*auditor);
    std::size_t lines = 0;
    const auto noted = [&](const std::string& path, const http::Identity& who,
                           std::vector<std::pair<std::string, std::string>> headers = {}) {
        request("GET", path, std::move(headers), who);
        (*auditor)->flush();
        std::ifstream log(folder / "audit.log");
        std::string line;
        std::string last;
        std::size_t count = 0;
        for (; std::getline(log, line); ++count) last = line;
        EXPECT_EQ(count, ++lines);
        const auto event = boost::json::parse(last);
        const auto* found = event.as_object().if_contains("annotations");
        return found == nullptr ? std::string("none") : boost::json::serialize(*found);
    };
    const auto annotations = [](const std::string& decision, const std::string& reason) {
        return R"({"authorization.k8s.io/decision":")" + decision + R"(","authorization.k8s.io/reason":)" +
               boost::json::serialize(boost::json::string(reason)) + "}";
    };
    EXPECT_EQ(noted("/api/v1/pods", {"bob", {}}),
              annotations("allow", R"(RBAC: allowed by ClusterRoleBinding "bob" of ClusterRole "cluster-admin" to )"
                                   R"(User "bob")"));
    EXPECT_EQ(noted("/metrics", {"prometheus", {"system:monitoring"}}),
              annotations("allow", R"(RBAC: allowed by ClusterRoleBinding "system:monitoring" of ClusterRole )"
                                   R"("system:monitoring" to Group "system:monitoring")"));
    EXPECT_EQ(noted("/api/v1/pods", {"admin", {"system:masters"}}), annotations("allow", ""));
    EXPECT_EQ(noted("/api/v1/pods", {"eve", {}}), annotations("forbid", ""));
    authorization::Rbac::ClusterRoleBinding lost;
    lost.mutable_metadata()->set_name("lost");
    lost.mutable_roleref()->set_kind("ClusterRole");
    lost.mutable_roleref()->set_name("gone");
    lost.add_subjects()->set_kind("User");
    lost.mutable_subjects(0)->set_name("eve");
    authorizer.rbac().put(lost);
    EXPECT_EQ(noted("/api/v1/pods", {"eve", {}}),
              annotations("forbid", R"(RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found)"));
    // Whoever is acted for is the one who is allowed.
    EXPECT_EQ(noted("/api/v1/pods", {"admin", {"system:masters"}}, {{"impersonate-user", "bob"}}),
              annotations("allow", R"(RBAC: allowed by ClusterRoleBinding "bob" of ClusterRole "cluster-admin" to )"
                                   R"(User "bob")"));
    // Nobody decided about these.
    EXPECT_EQ(noted("/api/v1/pods", {"eve", {}}, {{"impersonate-user", "bob"}}), "none");
    EXPECT_EQ(noted("/api/v1/pods", kAnonymous), "none");
    std::filesystem::remove_all(folder);
}

TEST_F(Chain, NobodyIsServedBeforeTheRolesAreKnown) {
    server.set_authorizer(nullptr);
    const http::Identity dev{"dev", {"developers"}};
    EXPECT_EQ(get("/api/v1/nodes", "", dev).status, 503);
    EXPECT_EQ(get("/readyz", "", kAnonymous).status, 200);
    EXPECT_EQ(get("/api/v1/namespaces/kube-public/configmaps/cluster-info", "", kAnonymous).status, 503);
    EXPECT_EQ(get("/api/v1/nodes").status, 201);
}

TEST_F(Chain, StrangersAreAnonymousWhereTheyAreAllowed) {
    server.set_anonymous(true);
    const auto refused = get("/api/v1/namespaces/ho/pods", "", kAnonymous);
    EXPECT_EQ(refused.status, 403);
    EXPECT_EQ(boost::json::parse(refused.body).at("message"),
              "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the "
              "namespace \"ho\"");
    EXPECT_EQ(get("/readyz", "", kAnonymous).status, 200);
}

TEST_F(Chain, Reviews) {
    const http::Identity dev{"dev", {"developers"}, "dev-uid"};
    const auto post = [&](const std::string& path, const std::string& body, const http::Identity& who) {
        auto asked = std::make_shared<http::Request>();
        asked->method = "POST";
        asked->path = path;
        asked->body = body;
        asked->identity = who;
        std::optional<http::Response> out;
        server.handle(std::move(asked), std::make_shared<FakeResponder>(&out));
        return out.value_or(http::Response{.status = 0, .headers = {}, .body = {}});
    };
    const auto who = post("/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}", dev);
    EXPECT_EQ(who.status, 201);
    EXPECT_EQ(serialize(boost::json::parse(who.body).at("status")),
              "{\"userInfo\":{\"username\":\"dev\",\"uid\":\"dev-uid\",\"groups\":[\"developers\","
              "\"system:authenticated\"]}}");
    const auto may = [&](const std::string& attributes, const http::Identity& user) {
        const auto answer = post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                                 "{\"spec\":{" + attributes + "}}", user);
        EXPECT_EQ(answer.status, 201) << answer.body;
        return boost::json::parse(answer.body).at("status").at("allowed").as_bool();
    };
    const std::string pods = R"("resourceAttributes":{"namespace":"ho","verb":"list","resource":"pods"})";
    EXPECT_FALSE(may(pods, dev));
    EXPECT_TRUE(may(pods, {"admin", {"system:masters"}}));
    EXPECT_TRUE(may(R"("nonResourceAttributes":{"path":"/version","verb":"get"})", dev));
    const auto wrong = post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "{\"spec\":{}}", dev);
    EXPECT_EQ(wrong.status, 422);
    // Somebody else's rights are not everybody's business.
    EXPECT_EQ(post("/apis/authorization.k8s.io/v1/subjectaccessreviews",
                   "{\"spec\":{" + pods + ",\"user\":\"dev\"}}", dev)
                  .status,
              403);
    const auto other = post("/apis/authorization.k8s.io/v1/subjectaccessreviews",
                            "{\"spec\":{" + pods + ",\"user\":\"x\",\"groups\":[\"system:masters\"]}}",
                            {"admin", {"system:masters"}});
    EXPECT_EQ(other.status, 201);
    EXPECT_TRUE(boost::json::parse(other.body).at("status").at("allowed").as_bool());
    const auto rules = post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                            R"({"spec":{"namespace":"ho"}})", dev);
    EXPECT_EQ(rules.status, 201);
    EXPECT_FALSE(boost::json::parse(rules.body).at("status").at("nonResourceRules").as_array().empty());
    EXPECT_EQ(get("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews").status, 405);
}

TEST_F(Chain, UnknownPathsAreText) {
    const auto response = get("/apis/nope.io/v1/things");
    EXPECT_EQ(response.status, 404);
    EXPECT_EQ(response.body, "404 page not found\n");
    EXPECT_EQ(header(response, "Content-Type"), "text/plain; charset=utf-8");
}

TEST_F(Chain, HealthTellsWhatFailsButNotWhy) {
    EXPECT_EQ(get("/healthz").body, "ok");
    EXPECT_EQ(get("/readyz?verbose").body,
              "[+]ping ok\n[+]store ok\n[+]api ok\n[+]shutdown ok\nreadyz check passed\n");
    EXPECT_EQ(get("/readyz/nonsense").status, 404);
    store.broken = true;
    const auto broken = get("/readyz");
    EXPECT_EQ(broken.status, 500);
    EXPECT_NE(broken.body.find("[-]store failed: reason withheld\n"), std::string::npos);
    EXPECT_EQ(broken.body.find("secret"), std::string::npos);
    EXPECT_EQ(get("/livez").status, 200);  // a restart would not mend the disk
    store.broken = false;
    server.begin_shutdown();
    EXPECT_EQ(get("/readyz").status, 500);
    EXPECT_EQ(get("/healthz").status, 200);
}

TEST_F(Chain, ResourcesWaitForTheApi) {
    server.set_api(nullptr);
    const auto response = get("/api/v1/pods");
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(header(response, "Retry-After"), "1");
    EXPECT_EQ(get("/readyz").status, 500);
}

TEST_F(Chain, Version) {
    const auto version = json("/version");
    EXPECT_EQ(version.at("major"), "1");
    EXPECT_EQ(version.at("minor"), "32");
    EXPECT_EQ(version.at("gitVersion"), "v1.32.0+sluice." SLUICE_VERSION);
    EXPECT_TRUE(version.at("platform").as_string().starts_with("linux/"));
}

TEST_F(Chain, AnswersMayNotBeCachedBlindly) {
    EXPECT_EQ(header(get("/api/v1/pods"), "Cache-Control"), "no-cache, private");
}

TEST_F(Chain, MetricsCount) {
    get("/api/v1/pods");
    get("/api/v1/namespaces/a/services/b");
    get("/api/v1/dropped");
    get("/api", "", kAnonymous);
    const std::string text = get("/metrics").body;
    for (const char* line : {
             "apiserver_request_total{component=\"apiserver\",verb=\"LIST\",group=\"\",version=\"v1\","
             "resource=\"pods\",scope=\"cluster\",dry_run=\"\",subresource=\"\",code=\"201\"} 1\n",
             "apiserver_request_total{component=\"apiserver\",verb=\"GET\",group=\"\",version=\"v1\","
             "resource=\"services\",scope=\"resource\",dry_run=\"\",subresource=\"\",code=\"201\"} 1\n",
             "code=\"500\"} 1\n",
             "code=\"401\"} 1\n",
             "apiserver_request_duration_seconds_count{component=\"apiserver\",verb=\"LIST\","
             "group=\"\",version=\"v1\",resource=\"pods\",scope=\"cluster\"} 1\n",
             "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n",
             "sluice_store_revision 42\n",
             "sluice_apiserver_unauthenticated_requests_total 1\n",
         }) {
        EXPECT_NE(text.find(line), std::string::npos) << line << text;
    }
}

TEST_F(Chain, LegacyDiscovery) {
    // As recorded from kube-apiserver, byte for byte.
    EXPECT_EQ(get("/api").body,
              "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":"
              "[{\"clientCIDR\":\"0.0.0.0/0\",\"serverAddress\":\"192.0.2.2:16443\"}]}");
    EXPECT_EQ(get("/apis/coordination.k8s.io").body,
              "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\",\"name\":\"coordination.k8s.io\","
              "\"versions\":[{\"groupVersion\":\"coordination.k8s.io/v1\",\"version\":\"v1\"}],"
              "\"preferredVersion\":{\"groupVersion\":\"coordination.k8s.io/v1\",\"version\":\"v1\"}}");
    std::set<std::string> groups;
    const auto apis = json("/apis");
    for (const auto& group : apis.at("groups").as_array()) {
        groups.insert(std::string(group.at("name").as_string()));
    }
    EXPECT_TRUE(groups.contains("discovery.k8s.io"));
    EXPECT_TRUE(groups.contains("coordination.k8s.io"));
    EXPECT_FALSE(groups.contains(""));
    const auto core = json("/api/v1");
    EXPECT_EQ(core.at("groupVersion"), "v1");
    std::string services;
    std::set<std::string> names;
    for (const auto& resource : core.at("resources").as_array()) {
        names.insert(std::string(resource.at("name").as_string()));
        if (resource.at("name") == "services") services = serialize(resource);
    }
    for (const char* name : {"configmaps", "endpoints", "events", "namespaces", "nodes", "pods",
                             "pods/status", "secrets", "serviceaccounts", "services/status"}) {
        EXPECT_TRUE(names.contains(name)) << name;
    }
    EXPECT_EQ(services,
              "{\"name\":\"services\",\"singularName\":\"service\",\"namespaced\":true,"
              "\"kind\":\"Service\",\"verbs\":[\"create\",\"delete\",\"deletecollection\",\"get\","
              "\"list\",\"patch\",\"update\",\"watch\"],\"shortNames\":[\"svc\"],"
              "\"categories\":[\"all\"]}");
    EXPECT_EQ(get("/api/v1/").status, 200);
    EXPECT_EQ(request("POST", "/api").status, 405);
}

// Kind, group and version, and verbs of each subresource as kube-apiserver lists them (api/discovery of
// Kubernetes 1.32); singular names and short names of the kinds besides.
TEST_F(Chain, RowsOfDiscoveryAreKubernetes) {
    const auto rows = [&](const std::string& path) {
        std::map<std::string, std::string> out;
        const auto document = json(path);
        for (const auto& item : document.at("resources").as_array()) {
            const auto& resource = item.as_object();
            const auto text = [&](const char* key) {
                return resource.contains(key) ? std::string(resource.at(key).as_string()) : std::string();
            };
            std::string row = text("kind");
            if (!text("version").empty()) row += " " + text("group") + "/" + text("version");
            row += resource.at("namespaced").as_bool() ? " ns" : " cluster";
            for (const auto& verb : resource.at("verbs").as_array()) {
                row += " " + std::string(verb.as_string());
            }
            if (!text("singularName").empty()) row += " (" + text("singularName");
            if (resource.contains("shortNames")) row += "," + serialize(resource.at("shortNames"));
            if (resource.contains("categories")) row += "," + serialize(resource.at("categories"));
            if (!text("singularName").empty()) row += ")";
            out[text("name")] = row;
        }
        return out;
    };
    const std::string all = " create delete deletecollection get list patch update watch";
    const std::string part = " get patch update";
    const std::map<std::string, std::map<std::string, std::string>> wanted = {
        {"/apis/apps/v1",
         {{"controllerrevisions", "ControllerRevision ns" + all + " (controllerrevision)"},
          {"daemonsets", "DaemonSet ns" + all + " (daemonset,[\"ds\"],[\"all\"])"},
          {"daemonsets/status", "DaemonSet ns" + part},
          {"deployments", "Deployment ns" + all + " (deployment,[\"deploy\"],[\"all\"])"},
          {"deployments/scale", "Scale autoscaling/v1 ns" + part},
          {"deployments/status", "Deployment ns" + part},
          {"replicasets", "ReplicaSet ns" + all + " (replicaset,[\"rs\"],[\"all\"])"},
          {"replicasets/scale", "Scale autoscaling/v1 ns" + part},
          {"replicasets/status", "ReplicaSet ns" + part}}},
        {"/apis/batch/v1",
         {{"jobs", "Job ns" + all + " (job,[\"all\"])"}, {"jobs/status", "Job ns" + part}}},
        {"/apis/certificates.k8s.io/v1",
         {{"certificatesigningrequests",
           "CertificateSigningRequest cluster" + all + " (certificatesigningrequest,[\"csr\"])"},
          {"certificatesigningrequests/approval", "CertificateSigningRequest cluster" + part},
          {"certificatesigningrequests/status", "CertificateSigningRequest cluster" + part}}},
        {"/apis/rbac.authorization.k8s.io/v1",
         {{"clusterrolebindings", "ClusterRoleBinding cluster" + all + " (clusterrolebinding)"},
          {"clusterroles", "ClusterRole cluster" + all + " (clusterrole)"},
          {"rolebindings", "RoleBinding ns" + all + " (rolebinding)"},
          {"roles", "Role ns" + all + " (role)"}}},
    };
    for (const auto& [path, expected] : wanted) {
        const auto found = rows(path);
        for (const auto& [name, row] : expected) {
            EXPECT_EQ(found.contains(name) ? found.at(name) : "absent", row) << path << " " << name;
        }
    }
    const std::string proxied = " create delete get patch update";
    const std::map<std::string, std::string> core = {
        {"bindings", "Binding ns create (binding)"},
        {"namespaces/finalize", "Namespace cluster update"},
        {"namespaces/status", "Namespace cluster" + part},
        {"nodes/proxy", "NodeProxyOptions cluster" + proxied},
        {"nodes/status", "Node cluster" + part},
        {"persistentvolumeclaims/status", "PersistentVolumeClaim ns" + part},
        {"persistentvolumes/status", "PersistentVolume cluster" + part},
        {"pods", "Pod ns" + all + " (pod,[\"po\"],[\"all\"])"},
        {"pods/attach", "PodAttachOptions ns create get"},
        {"pods/binding", "Binding ns create"},
        {"pods/ephemeralcontainers", "Pod ns" + part},
        {"pods/eviction", "Eviction policy/v1 ns create"},
        {"pods/exec", "PodExecOptions ns create get"},
        {"pods/log", "Pod ns get"},
        {"pods/portforward", "PodPortForwardOptions ns create get"},
        {"pods/proxy", "PodProxyOptions ns" + proxied},
        {"pods/status", "Pod ns" + part},
        {"serviceaccounts/token", "TokenRequest authentication.k8s.io/v1 ns create"},
        {"replicationcontrollers",
         "ReplicationController ns" + all + " (replicationcontroller,[\"rc\"],[\"all\"])"},
        {"replicationcontrollers/scale", "Scale autoscaling/v1 ns" + part},
        {"replicationcontrollers/status", "ReplicationController ns" + part},
        {"resourcequotas/status", "ResourceQuota ns" + part},
        {"services/proxy", "ServiceProxyOptions ns" + proxied},
        {"services/status", "Service ns" + part},
    };
    const auto found = rows("/api/v1");
    for (const auto& [name, row] : core) {
        EXPECT_EQ(found.contains(name) ? found.at(name) : "absent", row) << name;
    }
    // And nothing that Kubernetes has not.
    for (const auto& [name, row] : found) {
        if (name.find('/') == std::string::npos) continue;
        EXPECT_TRUE(core.contains(name)) << name << ": " << row;
    }
}

TEST_F(Chain, AggregatedDiscovery) {
    const std::string accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"
        "application/json";
    const auto response = get("/apis", accept);
    EXPECT_EQ(header(response, "Content-Type"),
              "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    const auto list = boost::json::parse(response.body);
    EXPECT_EQ(list.at("kind"), "APIGroupDiscoveryList");
    EXPECT_EQ(list.at("apiVersion"), "apidiscovery.k8s.io/v2");
    bool leases = false;
    for (const auto& group : list.at("items").as_array()) {
        if (group.at("metadata").at("name") != "coordination.k8s.io") continue;
        const auto& resource = group.at("versions").as_array().at(0).at("resources").as_array().at(0);
        leases = resource.at("resource") == "leases" && resource.at("scope") == "Namespaced" &&
                 resource.at("responseKind").at("kind") == "Lease";
    }
    EXPECT_TRUE(leases);
    // Unchanged documents are not sent again.
    const std::string tag = header(response, "ETag");
    const auto again = request("GET", "/apis", {{"accept", accept}, {"if-none-match", tag}});
    EXPECT_EQ(again.status, 304);
    EXPECT_TRUE(again.body.empty());
    EXPECT_EQ(json("/api", accept.substr(accept.find(',') + 1)).at("apiVersion"),
              "apidiscovery.k8s.io/v2beta1");
    // A version of tomorrow falls back to the next form the client takes.
    EXPECT_EQ(json("/apis", "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,"
                            "application/json")
                  .at("kind"),
              "APIGroupList");
    EXPECT_EQ(get("/apis", "text/html").status, 406);
}

TEST_F(Chain, DiscoveryInProtobuf) {
    const auto response = get("/api/v1", "application/vnd.kubernetes.protobuf");
    const auto envelope = codec::open_envelope(response.body);
    ASSERT_TRUE(envelope);
    EXPECT_EQ(envelope->gvk.kind, "APIResourceList");
    codec::metav1::APIResourceList list;
    ASSERT_TRUE(codec::decode_protobuf_raw(envelope->raw, &list));
    EXPECT_EQ(list.groupversion(), "v1");
    EXPECT_GT(list.resources_size(), 9);
}

TEST_F(Chain, OpenApiIsTagged) {
    const auto response = get("/openapi/v3");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(request("GET", "/openapi/v3", {{"if-none-match", header(response, "ETag")}}).status,
              304);
    const auto protobuf =
        get("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
    EXPECT_EQ(header(protobuf, "Content-Type"),
              "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    EXPECT_EQ(header(get("/openapi/v2"), "Content-Type"), "application/json");
    EXPECT_EQ(get("/openapi/v3/apis/nope/v1").status, 404);
}

}  // namespace
}  // namespace sluice::apiserver
