// Evictions and the budgets that they spend; expectations from recordings of kube-apiserver 1.32 and its sources.
#include <gtest/gtest.h>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kPods = "/api/v1/namespaces/default/pods";
constexpr const char* kBudgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

std::string pod(const std::string& name) { return std::string(kPods) + "/" + name; }
std::string budget(const std::string& name) { return std::string(kBudgets) + "/" + name; }

// A Pod that runs on a node, ready or not.
void run_pod(Cluster* cluster, const std::string& name, bool ready) {
    const Reply made = cluster->call(
        "POST", kPods,
        R"({"metadata":{"name":")" + name + R"(","labels":{"app":"x"}},"spec":{"nodeName":"n",)"
        R"("containers":[{"name":"c","image":"i"}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    const Reply status = cluster->call(
        "PATCH", pod(name) + "/status",
        std::string(R"({"status":{"phase":"Running","conditions":[{"type":"Ready","status":")") +
            (ready ? "True" : "False") + R"("}]}})",
        kMerge);
    ASSERT_EQ(status.status, 200) << status.body;
}

void make_budget(Cluster* cluster, const std::string& name, const std::string& spec,
                 const std::string& status) {
    const Reply made = cluster->call(
        "POST", kBudgets, R"({"metadata":{"name":")" + name +
                              R"("},"spec":{"selector":{"matchLabels":{"app":"x"}},)" + spec + "}}");
    ASSERT_EQ(made.status, 201) << made.body;
    const Reply patched = cluster->call("PATCH", budget(name) + "/status",
                                        R"({"status":{"observedGeneration":1,)" + status + "}}", kMerge);
    ASSERT_EQ(patched.status, 200) << patched.body;
}

std::string eviction(const std::string& name, const std::string& version = "policy/v1",
                     const std::string& more = "") {
    return R"({"apiVersion":")" + version + R"(","kind":"Eviction","metadata":{"name":")" + name +
           R"("})" + more + "}";
}

TEST(Eviction, DeletesWhatNoBudgetProtects) {
    for (const char* version : {"policy/v1", "policy/v1beta1"}) {
        Cluster cluster;
        run_pod(&cluster, "ev", true);
        const Reply reply = cluster.call("POST", pod("ev") + "/eviction", eviction("ev", version));
        EXPECT_EQ(reply.status, 201);
        EXPECT_EQ(reply.body,
                  "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Success\","
                  "\"code\":201}\n");
        // It has a node, and goes gracefully.
        const Reply dying = cluster.call("GET", pod("ev"));
        EXPECT_NE(dying.at("/metadata/deletionTimestamp"), "");
        EXPECT_NE(dying.body.find(R"("type":"DisruptionTarget")"), std::string::npos);
        EXPECT_NE(dying.body.find(R"("reason":"EvictionByEvictionAPI")"), std::string::npos);
    }
}

TEST(Eviction, AnExhaustedBudgetRefuses) {
    Cluster cluster;
    run_pod(&cluster, "ev", true);
    make_budget(&cluster, "pdb", R"("minAvailable":1)",
                R"("disruptionsAllowed":0,"currentHealthy":1,"desiredHealthy":1,"expectedPods":1)");
    const Reply reply = cluster.call("POST", pod("ev") + "/eviction", eviction("ev"));
    EXPECT_EQ(reply.status, 429);
    EXPECT_EQ(reply.body,
              R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":)"
              R"("Cannot evict pod as it would violate the pod's disruption budget.","reason":)"
              R"("TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":)"
              R"("The disruption budget pdb needs 1 healthy pods and has 1 currently"}]},)"
              R"("code":429})" "\n");
    EXPECT_EQ(cluster.call("GET", pod("ev")).at("/metadata/deletionTimestamp"), "");
}

TEST(Eviction, EachOneIsPaidForOnce) {
    Cluster cluster;
    run_pod(&cluster, "a", true);
    run_pod(&cluster, "b", true);
    make_budget(&cluster, "pdb", R"("minAvailable":1)",
                R"("disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2)");
    const Reply dry = cluster.call("POST", pod("a") + "/eviction?dryRun=All", eviction("a"));
    EXPECT_EQ(dry.status, 201) << dry.body;
    EXPECT_EQ(cluster.call("GET", budget("pdb")).at("/status/disruptionsAllowed"), "1");
    EXPECT_EQ(cluster.call("GET", pod("a")).at("/metadata/deletionTimestamp"), "");
    const Reply first = cluster.call("POST", pod("a") + "/eviction", eviction("a"));
    EXPECT_EQ(first.status, 201) << first.body;
    const Reply spent = cluster.call("GET", budget("pdb"));
    EXPECT_EQ(spent.at("/status/disruptionsAllowed"), "0");
    EXPECT_NE(spent.at("/status/disruptedPods/a"), "");
    EXPECT_EQ(spent.at("/status/conditions/0/type"), "DisruptionAllowed");
    EXPECT_EQ(spent.at("/status/conditions/0/status"), "False");
    EXPECT_EQ(spent.at("/status/conditions/0/reason"), "InsufficientPods");
    EXPECT_EQ(spent.at("/metadata/generation"), "1");
    EXPECT_EQ(cluster.call("POST", pod("b") + "/eviction", eviction("b")).status, 429);
    // What is going already costs nothing.
    EXPECT_EQ(cluster.call("POST", pod("a") + "/eviction", eviction("a")).status, 201);
}

TEST(Eviction, AskAgainWhileTheBudgetIsBehind) {
    Cluster cluster;
    run_pod(&cluster, "ev", true);
    make_budget(&cluster, "pdb", R"("minAvailable":1)",
                R"("disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2)");
    ASSERT_EQ(cluster.call("PATCH", budget("pdb"), R"({"spec":{"minAvailable":2}})", kMerge)
                  .at("/metadata/generation"),
              "2");
    const Reply reply = cluster.call("POST", pod("ev") + "/eviction", eviction("ev"));
    EXPECT_EQ(reply.status, 429);
    EXPECT_EQ(reply.header("Retry-After"), "10");
    EXPECT_EQ(reply.at("/details/causes/0/message"),
              "The disruption budget pdb is still being processed by the server.");
    EXPECT_EQ(reply.at("/details/retryAfterSeconds"), "10");
}

TEST(Eviction, UnhealthyPods) {
    Cluster cluster;
    run_pod(&cluster, "ev", false);
    make_budget(&cluster, "pdb", R"("minAvailable":1)",
                R"("disruptionsAllowed":0,"currentHealthy":0,"desiredHealthy":1,"expectedPods":1)");
    EXPECT_EQ(cluster.call("POST", pod("ev") + "/eviction", eviction("ev")).status, 429);
    cluster.call("PATCH", budget("pdb") + "/status", R"({"status":{"currentHealthy":1}})", kMerge);
    // Enough others are healthy.
    EXPECT_EQ(cluster.call("POST", pod("ev") + "/eviction?dryRun=All", eviction("ev")).status, 201);
    cluster.call("PATCH", budget("pdb") + "/status", R"({"status":{"currentHealthy":0}})", kMerge);
    cluster.call("PATCH", budget("pdb"), R"({"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}})",
                 kMerge);
    EXPECT_EQ(cluster.call("POST", pod("ev") + "/eviction", eviction("ev")).status, 201);
    EXPECT_EQ(cluster.call("GET", budget("pdb")).at("/status/disruptedPods"), "");
}

TEST(Eviction, RefusesWhatItCannotDo) {
    Cluster cluster;
    run_pod(&cluster, "ev", true);
    const std::string path = pod("ev") + "/eviction";
    const Reply other = cluster.call("POST", path, eviction("x"));
    EXPECT_EQ(other.status, 400);
    EXPECT_EQ(other.at("/message"), "name in URL does not match name in Eviction object");
    EXPECT_EQ(cluster.call("POST", pod("no") + "/eviction", eviction("no")).status, 404);
    EXPECT_EQ(cluster.call("GET", path).status, 405);
    EXPECT_EQ(cluster.call("POST", path, eviction("ev", "policy/v2")).status, 400);
    EXPECT_EQ(cluster
                  .call("POST", path,
                        eviction("ev", "policy/v1",
                                 R"(,"deleteOptions":{"preconditions":{"uid":"other"}})"))
                  .status,
              409);
    make_budget(&cluster, "p1", R"("minAvailable":1)", R"("disruptionsAllowed":1)");
    make_budget(&cluster, "p2", R"("maxUnavailable":"50%")", R"("disruptionsAllowed":1)");
    const Reply two = cluster.call("POST", path, eviction("ev"));
    EXPECT_EQ(two.status, 500);
    EXPECT_EQ(two.at("/message"),
              "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
              "not support.");
}

TEST(DisruptionBudgets, ValidationGenerationAndTable) {
    Cluster cluster;
    const auto refused = [&](const std::string& spec, const std::string& why) {
        const Reply reply =
            cluster.call("POST", kBudgets, R"({"metadata":{"name":"v"},"spec":{)" + spec + "}}");
        EXPECT_EQ(reply.status, 422) << reply.body;
        EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.body;
    };
    refused(R"("minAvailable":1,"maxUnavailable":1)",
            "minAvailable and maxUnavailable cannot be both set");
    refused(R"("minAvailable":"101%")", "spec.minAvailable: Invalid value: \"101%\": must not be "
                                        "greater than 100%");
    refused(R"("unhealthyPodEvictionPolicy":"X")",
            R"(spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: )"
            R"("AlwaysAllow", "IfHealthyBudget")");
    make_budget(&cluster, "pdb", R"("maxUnavailable":"50%")", R"("disruptionsAllowed":2)");
    const Reply table = cluster.call("GET", kBudgets, "", kTable);
    EXPECT_EQ(ageless(table.at("/rows/0/cells")), R"(["pdb","N/A","50%",2,"AGE"])");
    // Without a version, an update is refused.
    const Reply put = cluster.call(
        "PUT", budget("pdb"), R"({"metadata":{"name":"pdb"},"spec":{"maxUnavailable":1}})");
    EXPECT_EQ(put.status, 422);
    EXPECT_NE(put.at("/message").find("metadata.resourceVersion: Invalid value: 0x0: must be "
                                      "specified for an update"),
              std::string::npos)
        << put.body;
}

TEST(EphemeralContainers, AreAddedAndNeverChanged) {
    Cluster cluster;
    run_pod(&cluster, "p", true);
    const std::string path = pod("p") + "/ephemeralcontainers";
    const Headers strategic = {{"Content-Type", "application/strategic-merge-patch+json"}};
    // As `kubectl debug p --image=busybox --target=c` sends it.
    const Reply added = cluster.call(
        "PATCH", path,
        R"({"spec":{"ephemeralContainers":[{"name":"debugger","image":"busybox","resources":{},)"
        R"("terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent",)"
        R"("targetContainerName":"c"}],"nodeName":"elsewhere"}})",
        strategic);
    ASSERT_EQ(added.status, 200) << added.body;
    EXPECT_EQ(added.at("/spec/ephemeralContainers/0/name"), "debugger");
    EXPECT_EQ(added.at("/spec/nodeName"), "n");
    const auto refused = [&](const std::string& body, const std::string& why) {
        const Reply reply = cluster.call("PATCH", path, body, kMerge);
        EXPECT_EQ(reply.status, 422) << reply.body;
        EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.body;
    };
    refused(R"({"spec":{"ephemeralContainers":[]}})",
            "existing ephemeral containers \"debugger\" may not be removed");
    refused(R"({"spec":{"ephemeralContainers":[{"name":"debugger","image":"other"}]}})",
            "existing ephemeral containers \"debugger\" may not be changed");
    const std::string kept =
        R"({"spec":{"ephemeralContainers":[{"name":"debugger","image":"busybox",)"
        R"("terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent",)"
        R"("targetContainerName":"c"},)";
    refused(kept + R"({"name":"c","image":"i"}]}})",
            "spec.ephemeralContainers[1].name: Duplicate value: \"c\"");
    refused(kept + R"({"name":"d","image":"i","targetContainerName":"no"}]}})",
            "spec.ephemeralContainers[1].targetContainerName: Not found: \"no\"");
    refused(kept + R"({"name":"d","image":"i","ports":[{"containerPort":1}]}]}})",
            "spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container");
    const Reply made = cluster.call(
        "POST", kPods,
        R"({"metadata":{"name":"q"},"spec":{"containers":[{"name":"c","image":"i"}],)"
        R"("ephemeralContainers":[{"name":"d","image":"i"}]}})");
    EXPECT_EQ(made.status, 422);
    EXPECT_NE(made.at("/message").find("spec.ephemeralContainers: Forbidden: cannot be set on create"),
              std::string::npos)
        << made.body;
}

}  // namespace
}  // namespace sluice::registry::testing
