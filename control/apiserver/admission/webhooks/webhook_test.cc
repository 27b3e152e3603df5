// Which webhooks are asked about what: rules, selectors, versions, subresources.
#include "control/apiserver/admission/webhooks/webhook.h"

#include <chrono>
#include <thread>

#include "control/apiserver/admission/webhooks/test_hook.h"
#include "control/apiserver/registry/rest/listing.h"

namespace sluice::admission::testing {
namespace {

using registry::testing::kMerge;

struct RuleCase {
    const char* what;
    std::vector<const char*> operations, groups, versions, resources;
    const char* scope;
    bool matches;
};

// Of an update of deployments/scale in apps/v1.
TEST(Rules, OfAScale) {
    const RuleCase cases[] = {
        {"exact", {"UPDATE"}, {"apps"}, {"v1"}, {"deployments/scale"}, "*", true},
        {"stars", {"*"}, {"*"}, {"*"}, {"*/*"}, "*", true},
        {"second of each",
         {"CREATE", "UPDATE"},
         {"", "apps"},
         {"v1beta1", "v1"},
         {"pods", "deployments/scale"},
         "*",
         true},
        {"any subresource", {"UPDATE"}, {"apps"}, {"v1"}, {"deployments/*"}, "*", true},
        {"any resource's scale", {"UPDATE"}, {"apps"}, {"v1"}, {"*/scale"}, "*", true},
        {"namespaced", {"UPDATE"}, {"apps"}, {"v1"}, {"*/scale"}, "Namespaced", true},
        {"cluster", {"UPDATE"}, {"apps"}, {"v1"}, {"*/scale"}, "Cluster", false},
        {"the resource alone", {"UPDATE"}, {"apps"}, {"v1"}, {"deployments"}, "*", false},
        {"resources without subresources", {"UPDATE"}, {"apps"}, {"v1"}, {"*"}, "*", false},
        {"another subresource", {"UPDATE"}, {"apps"}, {"v1"}, {"deployments/status"}, "*", false},
        {"another operation", {"CREATE"}, {"apps"}, {"v1"}, {"deployments/scale"}, "*", false},
        {"another group", {"UPDATE"}, {""}, {"v1"}, {"deployments/scale"}, "*", false},
        {"another version", {"UPDATE"}, {"apps"}, {"v2"}, {"deployments/scale"}, "*", false},
        {"another resource", {"UPDATE"}, {"apps"}, {"v1"}, {"deployment/scale"}, "*", false},
    };
    registry::Call call;
    call.info.kind = &registry::kind_named("apps", "v1", "deployments");
    const http::Identity user;
    const registry::AdmissionRequest request{.user = user,
                                             .operation = registry::Operation::kUpdate,
                                             .kind = *call.info.kind,
                                             .subresource = "scale",
                                             .name_space = "default",
                                             .name = "d",
                                             .call = call};
    for (const RuleCase& one : cases) {
        Criteria criteria;
        criteria.equivalent = false;
        auto& rule = criteria.rules.emplace_back().what;
        for (const char* text : one.operations) rule.add_operations(text);
        for (const char* text : one.groups) rule.mutable_rule()->add_apigroups(text);
        for (const char* text : one.versions) rule.mutable_rule()->add_apiversions(text);
        for (const char* text : one.resources) rule.mutable_rule()->add_resources(text);
        rule.mutable_rule()->set_scope(one.scope);
        EXPECT_EQ(match_rules(criteria, request).kind != nullptr, one.matches) << one.what;
    }
}

TEST_F(Asked, ObjectSelectorTakesEitherObject) {
    hook_.on("/ok", R"("allowed":true)");
    configure(false, "c",
              hook_json("a.example.com", "/ok",
                        rules(R"(["configmaps"])") + R"(,"objectSelector":{"matchExpressions":[)"
                                                     R"({"key":"watch","operator":"Exists"}]})"));
    ASSERT_EQ(make("m").status, 201);
    EXPECT_EQ(hook_.seen().size(), 0U);
    const std::string path = "/api/v1/namespaces/default/configmaps/m";
    // Put on, changed, taken off: seen each time. Then no more.
    for (const char* labels : {R"({"watch":"a"})", R"({"watch":"b"})", R"({"watch":null})", R"({"other":"c"})"}) {
        ASSERT_EQ(
            cluster_.call("PATCH", path, R"({"metadata":{"labels":)" + std::string(labels) + "}}", kMerge).status,
            200);
    }
    EXPECT_EQ(hook_.seen().size(), 3U);
}

TEST_F(Asked, NamespaceSelectorAndNamespacesThemselves) {
    hook_.on("/no", R"("allowed":false)");
    const std::string selector = R"(,"namespaceSelector":{"matchLabels":{"guarded":"yes"}})";
    configure(false, "c",
              hook_json("a.example.com", "/no", rules(R"(["configmaps","persistentvolumes"])") + selector));
    EXPECT_EQ(make("m").status, 201);
    // What is in no namespace is not exempt.
    EXPECT_EQ(
        cluster_
            .call("POST", "/api/v1/persistentvolumes",
                  R"({"metadata":{"name":"v"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],)"
                  R"("hostPath":{"path":"/x"}}})")
            .status,
        400);
    const std::string guarded = R"({"metadata":{"name":"n","labels":{"guarded":"yes"}}})";
    ASSERT_EQ(cluster_.call("POST", "/api/v1/namespaces", guarded).status, 201);
    EXPECT_EQ(cluster_.call("POST", "/api/v1/namespaces/n/configmaps", R"({"metadata":{"name":"m"}})").status, 400);
    configure(false, "d", hook_json("b.example.com", "/no", rules(R"(["namespaces"])", R"(["*"])") + selector));
    // By the labels it is to have, and those it has when it goes.
    EXPECT_EQ(
        cluster_.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"o","labels":{"guarded":"yes"}}})").status,
        400);
    EXPECT_EQ(cluster_.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"o"}})").status, 201);
    EXPECT_EQ(cluster_.call("DELETE", "/api/v1/namespaces/n").status, 400);
    EXPECT_EQ(text(hook_.seen().back(), "/namespace"), "n");
    EXPECT_EQ(text(hook_.seen().back(), "/name"), "n");
}

const std::string kScaler = R"("metadata":{"name":"h"},"spec":{"maxReplicas":3,)"
                            R"("scaleTargetRef":{"kind":"Deployment","name":"d","apiVersion":"apps/v1"}})";

TEST_F(Asked, EquivalentVersionsAreConverted) {
    hook_.on("/m", [](const json::object& request) {
        EXPECT_EQ(text(request, "/kind"), R"({"group":"autoscaling","version":"v2","kind":"HorizontalPodAutoscaler"})");
        EXPECT_EQ(text(request, "/resource/version"), "v2");
        EXPECT_EQ(text(request, "/requestKind/version"), "v1");
        EXPECT_EQ(text(request, "/requestResource/version"), "v1");
        EXPECT_EQ(text(request, "/object/apiVersion"), "autoscaling/v2");
        return patch(R"([{"op":"add","path":"/spec/metrics","value":[{"type":"Resource","resource":)"
                     R"({"name":"cpu","target":{"type":"Utilization","averageUtilization":42}}}]}])");
    });
    const std::string v2 =
        rules(R"(["horizontalpodautoscalers"])", R"(["CREATE"])", R"(["autoscaling"])", R"(["v2"])");
    configure(true, "c", hook_json("a.example.com", "/m", v2));
    const std::string path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    const Reply made = cluster_.call("POST", path, "{" + kScaler + "}");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/targetCPUUtilizationPercentage"), "42");
    EXPECT_EQ(hook_.seen().size(), 1U);
    ASSERT_EQ(cluster_.call("DELETE", path + "/h").status, 200);
    ASSERT_EQ(cluster_.call("DELETE", path_of(true) + "/c").status, 200);
    configure(true, "c", hook_json("a.example.com", "/m", v2 + R"(,"matchPolicy":"Exact")"));
    ASSERT_EQ(cluster_.call("POST", path, "{" + kScaler + "}").status, 201);
    EXPECT_EQ(hook_.seen().size(), 1U);
    // The other way: what is stored as v2 is shown, and changed, as v1.
    ASSERT_EQ(cluster_.call("DELETE", path + "/h").status, 200);
    ASSERT_EQ(cluster_.call("DELETE", path_of(true) + "/c").status, 200);
    hook_.on("/old", [](const json::object& request) {
        EXPECT_EQ(text(request, "/object/apiVersion"), "autoscaling/v1");
        EXPECT_EQ(text(request, "/object/spec/targetCPUUtilizationPercentage"), "80");
        return patch(R"([{"op":"replace","path":"/spec/targetCPUUtilizationPercentage","value":43}])");
    });
    configure(true, "c",
              hook_json("b.example.com", "/old",
                        rules(R"(["horizontalpodautoscalers"])", R"(["CREATE"])", R"(["autoscaling"])", R"(["v1"])")));
    const Reply newer =
        cluster_.call("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
                      "{" + kScaler.substr(0, kScaler.size() - 1) +
                          R"(,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":)"
                          R"({"type":"Utilization","averageUtilization":80}}}]}})");
    ASSERT_EQ(newer.status, 201) << newer.body;
    EXPECT_EQ(newer.at("/spec/metrics/0/resource/target/averageUtilization"), "43");
}

TEST_F(Asked, ScalesAreSeenAsScales) {
    hook_.on("/m", patch(R"([{"op":"replace","path":"/spec/replicas","value":2}])"));
    hook_.on("/ok", R"("allowed":true)");
    const std::string path = "/apis/apps/v1/namespaces/default/deployments";
    ASSERT_EQ(
        cluster_
            .call("POST", path,
                  R"({"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":)"
                  R"({"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})")
            .status,
        201);
    const std::string scales = rules(R"(["deployments/scale"])", R"(["*"])", R"(["apps"])");
    configure(true, "c", hook_json("m.example.com", "/m", scales));
    configure(false, "c", hook_json("v.example.com", "/ok", scales));
    const Reply scaled = cluster_.call("PATCH", path + "/d/scale", R"({"spec":{"replicas":7}})", kMerge);
    ASSERT_EQ(scaled.status, 200) << scaled.body;
    EXPECT_EQ(scaled.at("/spec/replicas"), "2");
    EXPECT_EQ(cluster_.call("GET", path + "/d").at("/spec/replicas"), "2");
    const auto seen = hook_.seen();
    ASSERT_EQ(seen.size(), 2U);
    EXPECT_EQ(text(seen[0], "/kind"), R"({"group":"autoscaling","version":"v1","kind":"Scale"})");
    EXPECT_EQ(text(seen[0], "/resource"), R"({"group":"apps","version":"v1","resource":"deployments"})");
    EXPECT_EQ(text(seen[0], "/subResource"), "scale");
    EXPECT_EQ(text(seen[0], "/operation"), "UPDATE");
    EXPECT_EQ(text(seen[0], "/object/spec"), R"({"replicas":7})");
    EXPECT_EQ(text(seen[0], "/oldObject/spec"), R"({"replicas":1})");
    EXPECT_EQ(text(seen[1], "/object/spec"), R"({"replicas":2})");
    hook_.forget();
    ASSERT_EQ(cluster_.call("PATCH", path + "/d/status", R"({"status":{"replicas":1}})", kMerge).status, 200);
    EXPECT_EQ(hook_.seen().size(), 0U);
}

TEST_F(Asked, BindingsEvictionsAndConnections) {
    hook_.on("/ok", R"("allowed":true)");
    const std::string pods = "/api/v1/namespaces/default/pods";
    ASSERT_EQ(
        cluster_.call("POST", pods, R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})")
            .status,
        201);
    configure(false, "c", hook_json("a.example.com", "/ok", rules(R"(["pods/*"])")));
    ASSERT_EQ(
        cluster_.call("POST", pods + "/p/binding", R"({"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}})")
            .status,
        201);
    ASSERT_EQ(hook_.seen().size(), 1U);
    auto seen = hook_.seen()[0];
    EXPECT_EQ(text(seen, "/kind/kind"), "Binding");
    EXPECT_EQ(text(seen, "/resource/resource"), "pods");
    EXPECT_EQ(text(seen, "/subResource"), "binding");
    EXPECT_EQ(text(seen, "/operation"), "CREATE");
    EXPECT_EQ(text(seen, "/object/target/name"), "n");
    EXPECT_EQ(text(seen, "/oldObject"), "null");
    hook_.forget();
    ASSERT_EQ(cluster_
                  .call("POST", pods + "/p/eviction",
                        R"({"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}})")
                  .status,
              201);
    ASSERT_EQ(hook_.seen().size(), 1U);
    seen = hook_.seen()[0];
    EXPECT_EQ(text(seen, "/kind"), R"({"group":"policy","version":"v1","kind":"Eviction"})");
    EXPECT_EQ(text(seen, "/subResource"), "eviction");
    hook_.forget();
    hook_.on("/no", R"("allowed":false,"status":{"message":"attaching to pods is not allowed"})");
    configure(false, "d", hook_json("b.example.com", "/no", rules(R"(["pods/attach"])", R"(["CONNECT"])")));
    const auto connect = [this](const std::string& subresource) {
        return this->connect(
            "/api/v1/namespaces/default/pods/p/" + subresource,
            {{"stdin", "true"}, {"tty", "1"}, {"stderr", "false"}, {"container", "c"}, {"command", "ls"}});
    };
    EXPECT_EQ(connect("attach").at("/message"),
              "admission webhook \"b.example.com\" denied the request: attaching to pods is not allowed");
    seen = hook_.seen().back();
    EXPECT_EQ(text(seen, "/operation"), "CONNECT");
    EXPECT_EQ(text(seen, "/kind"), R"({"group":"","version":"v1","kind":"PodAttachOptions"})");
    EXPECT_EQ(text(seen, "/name"), "p");
    EXPECT_EQ(connect("exec").status, 200);
    EXPECT_EQ(
        text(hook_.seen().back(), "/object"),
        R"({"kind":"PodExecOptions","apiVersion":"v1","stdin":true,"tty":true,"container":"c","command":["ls"]})");
    hook_.forget();
    EXPECT_EQ(connect("log").status, 200);
    EXPECT_EQ(hook_.seen().size(), 0U);
}

// A name is a name: one that looks like a subresource leads nobody past the webhooks.
TEST_F(Asked, ConnectionsWhateverTheNames) {
    hook_.on("/no", R"("allowed":false,"status":{"message":"no connections"})");
    configure(false, "d", hook_json("b.example.com", "/no", rules(R"(["*/*"])", R"(["CONNECT"])")));
    for (const char* path : {"/api/v1/namespaces/proxy/pods/p/attach", "/api/v1/namespaces/default/pods/proxy/attach",
                             "/api/v1/namespaces/proxy/pods/proxy/exec", "/api/v1/namespaces/proxy/pods/proxy/portforward",
                             "/api/v1/namespaces/proxy/pods/proxy/proxy/x/proxy/y", "/api/v1/nodes/proxy/proxy/metrics",
                             "/api/v1/namespaces/proxy/services/proxy/proxy", "/api/v1/nodes/n/proxy"}) {
        EXPECT_EQ(connect(path).at("/message"),
                  "admission webhook \"b.example.com\" denied the request: no connections")
            << path;
    }
    EXPECT_EQ(text(hook_.seen()[4], "/object/path"), "/x/proxy/y");
    EXPECT_EQ(text(hook_.seen()[4], "/name"), "proxy");
    EXPECT_EQ(text(hook_.seen()[4], "/namespace"), "proxy");
    EXPECT_EQ(connect("/api/v1/namespaces/proxy/pods/proxy/log").status, 200);
    // What nobody can be asked about is not done.
    EXPECT_EQ(connect("/api/v1/namespaces/default/pods/p/knock").status, 400);
}

TEST_F(Asked, PortsThatAreForwarded) {
    hook_.on("/yes", R"("allowed":true)");
    configure(false, "d", hook_json("b.example.com", "/yes", rules(R"(["pods/portforward"])", R"(["CONNECT"])")));
    const auto forward = [this](const std::string& ports) {
        return connect("/api/v1/namespaces/default/pods/p/portforward", {{"ports", ports}, {"ports", "9"}});
    };
    EXPECT_EQ(forward("080,443").status, 200);
    EXPECT_EQ(text(hook_.seen().back(), "/object"),
              R"({"kind":"PodPortForwardOptions","apiVersion":"v1","ports":[80,443,9]})");
    EXPECT_EQ(forward(",").at("/message"), R"(strconv.ParseInt: parsing "": invalid syntax)");
    EXPECT_EQ(forward("80,x").at("/message"), R"(strconv.ParseInt: parsing "x": invalid syntax)");
    EXPECT_EQ(forward("40000").at("/message"), R"(strconv.ParseInt: parsing "40000": value out of range)");
    EXPECT_EQ(forward("40000").status, 400);
    EXPECT_EQ(hook_.seen().size(), 1U);
}

// A webhook that does not answer holds up those who ask about what it is asked about, and nobody else.
TEST_F(Asked, OthersDoNotWaitForThoseWhoWait) {
    hook_.hold("/never");
    configure(false, "d", hook_json("b.example.com", "/never", rules(R"(["secrets"])") + R"(,"timeoutSeconds":30)"));
    std::vector<std::shared_ptr<registry::testing::Recorder>> waiting;
    for (std::size_t i = 0; i <= webhooks::kMaxWaitingThreads; ++i) {
        waiting.push_back(cluster_.start("POST", "/api/v1/namespaces/default/secrets",
                                         R"({"metadata":{"name":"s)" + std::to_string(i) + "\"}}"));
    }
    EXPECT_EQ(make("c").status, 201);
    EXPECT_EQ(connect("/api/v1/namespaces/default/pods/p/exec").status, 200);
    for (const auto& one : waiting) EXPECT_FALSE(one->answered());
    hook_.raw("/never", 500, "");
    hook_.let_go();
    for (const auto& one : waiting) EXPECT_EQ(one->wait().status, 500);
}

TEST_F(Asked, AServerThatEndsDoesNothingUnasked) {
    hook_.hold("/never");
    configure(false, "d",
              hook_json("b.example.com", "/never",
                        rules(R"(["secrets"])") + R"(,"timeoutSeconds":30,"failurePolicy":"Ignore")"));
    const auto waiting =
        cluster_.start("POST", "/api/v1/namespaces/default/secrets", R"({"metadata":{"name":"s"}})");
    while (hook_.seen().empty()) std::this_thread::yield();
    webhooks_.stop();
    EXPECT_EQ(waiting->wait().status, 503);
    EXPECT_EQ(cluster_.call("GET", "/api/v1/namespaces/default/secrets/s").status, 404);
}

TEST_F(Asked, CustomObjectsInTheVersionThatRulesName) {
    const auto version = [](const std::string& name, bool storage) {
        return R"({"name":")" + name + R"(","served":true,"storage":)" + (storage ? "true" : "false") +
               R"(,"schema":{"openAPIV3Schema":{"type":"object","properties":{"data":{"type":"object","properties":)"
               R"({"start":{"type":"string"},"stage1":{"type":"string"},)"
                R"("filled":{"type":"string","default":"d"}}}}}}})";
    };
    ASSERT_EQ(cluster_
                  .call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                        R"({"metadata":{"name":"tests.hook.example.com"},"spec":{"group":"hook.example.com",)"
                        R"("scope":"Namespaced","names":{"plural":"tests","kind":"Test"},"versions":[)" +
                            version("v1", true) + "," + version("v2", false) + "]}}")
                  .status,
              201);
    const std::string path = "/apis/hook.example.com/v2/namespaces/default/tests";
    for (int i = 0; i < 2'000 && cluster_.call("GET", path).status != 200; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    hook_.on("/m", [](const json::object& request) {
        EXPECT_EQ(text(request, "/kind"), R"({"group":"hook.example.com","version":"v1","kind":"Test"})");
        EXPECT_EQ(text(request, "/requestKind/version"), "v2");
        EXPECT_EQ(text(request, "/object/apiVersion"), "hook.example.com/v1");
        EXPECT_EQ(text(request, "/object/data"), R"({"filled":"d","start":"yes"})");
        // What the schema does not know is pruned.
        return patch(
            R"([{"op":"add","path":"/data/stage1","value":"yes"},{"op":"add","path":"/data/stage2","value":"yes"},)"
            R"({"op":"remove","path":"/data/filled"}])");
    });
    configure(true, "c",
              hook_json("a.example.com", "/m", rules(R"(["tests"])", R"(["CREATE"])", R"(["hook.example.com"])")));
    const Reply made = cluster_.call("POST", path,
                                     R"({"apiVersion":"hook.example.com/v2","kind":"Test","metadata":{"name":"t"},)"
                                     R"("data":{"start":"yes"}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/apiVersion"), "hook.example.com/v2");
    EXPECT_EQ(made.at("/data"), R"({"filled":"d","stage1":"yes","start":"yes"})");
    hook_.on("/no", R"("allowed":false)");
    configure(false, "c",
              hook_json("b.example.com", "/no",
                        rules(R"(["tests"])", R"(["UPDATE","DELETE"])", R"(["hook.example.com"])")));
    EXPECT_EQ(cluster_.call("PATCH", path + "/t", R"({"data":{"start":"no"}})", kMerge).status, 400);
    EXPECT_EQ(cluster_.call("DELETE", path + "/t").status, 400);
    EXPECT_EQ(text(hook_.seen().back(), "/oldObject/apiVersion"), "hook.example.com/v1");
    EXPECT_EQ(cluster_.call("DELETE", path_of(false) + "/c").status, 200);
    EXPECT_EQ(cluster_.call("DELETE", path + "/t").status, 200);
}

}  // namespace
}  // namespace sluice::admission::testing
