// The kinds that make Pods from templates: defaults, validation, generations, tables, scale, cascades.
#include <gtest/gtest.h>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kApps = "/apis/apps/v1/namespaces/default/";
const Headers kStrategic = {{"Content-Type", "application/strategic-merge-patch+json"}};
const Headers kJsonPatch = {{"Content-Type", "application/json-patch+json"}};

std::string apps(const std::string& path) { return kApps + path; }

// A workload whose selector is a=b; `more` is added to its spec.
std::string workload(const std::string& name, const std::string& more = "") {
    return R"({"metadata":{"name":")" + name + R"("},"spec":{)" + more +
           R"("selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},)"
           R"("spec":{"containers":[{"name":"c","image":"i:1"}]}}}})";
}

std::string job(const std::string& name, const std::string& more = "") {
    return R"({"metadata":{"name":")" + name + R"("},"spec":{)" + more +
           R"("template":{"spec":{"restartPolicy":"Never","containers":)"
           R"([{"name":"c","image":"i:1"}]}}}})";
}

TEST(Deployments, GenerationRisesWithTheSpecAndWithAnnotations) {
    Cluster cluster;
    const std::string path = apps("deployments/d");
    Reply made = cluster.call("POST", apps("deployments"), workload("d"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    const auto patched = [&](const std::string& patch, const Headers& type) {
        const Reply reply = cluster.call("PATCH", path, patch, type);
        EXPECT_EQ(reply.status, 200) << reply.body;
        return reply.at("/metadata/generation");
    };
    EXPECT_EQ(patched(R"({"metadata":{"labels":{"x":"y"}}})", kMerge), "1");
    EXPECT_EQ(patched(R"({"metadata":{"annotations":{"x":"y"}}})", kMerge), "2");
    EXPECT_EQ(patched(R"({"spec":{"replicas":3}})", kMerge), "3");
    EXPECT_EQ(patched(R"({"spec":{"replicas":3}})", kMerge), "3");
    // A user id of 0 is not the same as none.
    EXPECT_EQ(patched(R"({"spec":{"template":{"spec":{"securityContext":{"runAsUser":0}}}}})", kMerge),
              "4");
    EXPECT_EQ(cluster.call("PATCH", path + "/status", R"({"status":{"replicas":2}})", kMerge)
                  .at("/metadata/generation"),
              "4");
    EXPECT_EQ(cluster.call("GET", path).at("/status/replicas"), "2");
}

TEST(Deployments, WhatDoesNotChangeIsNotWritten) {
    Cluster cluster;
    const Reply made = cluster.call("POST", apps("deployments"), workload("d"));
    const Reply same = cluster.call("PATCH", apps("deployments/d"), "{}", kStrategic);
    EXPECT_EQ(same.at("/metadata/resourceVersion"), made.at("/metadata/resourceVersion"));
}

TEST(Deployments, RolloutCommandsOfKubectl) {
    Cluster cluster;
    const std::string path = apps("deployments/d");
    cluster.call("POST", apps("deployments"), workload("d"));
    const Reply image = cluster.call(
        "PATCH", path,
        R"({"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"}],)"
        R"("containers":[{"image":"i:2","name":"c"}]}}}})",
        kStrategic);
    EXPECT_EQ(image.at("/spec/template/spec/containers/0/image"), "i:2");
    EXPECT_EQ(image.at("/spec/template/spec/containers/0/imagePullPolicy"), "IfNotPresent");
    EXPECT_EQ(cluster.call("PATCH", path, R"({"spec":{"paused":true}})", kStrategic)
                  .at("/spec/paused"),
              "true");
    EXPECT_EQ(cluster.call("PATCH", path, R"({"spec":{"paused":null}})", kStrategic)
                  .at("/spec/paused"),
              "");
    const Reply undone = cluster.call(
        "PATCH", path,
        R"([{"op":"replace","path":"/spec/template","value":{"metadata":{"labels":{"a":"b"}},)"
        R"("spec":{"containers":[{"name":"c","image":"i:1"}]}}},)"
        R"({"op":"replace","path":"/metadata/annotations","value":{"n":"1"}}])",
        kJsonPatch);
    // The path of annotations does not exist yet.
    EXPECT_EQ(undone.status, 422);
    EXPECT_EQ(cluster
                  .call("PATCH", path,
                        R"([{"op":"replace","path":"/spec/template","value":{"metadata":{"labels":)"
                        R"({"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}}])",
                        kJsonPatch)
                  .at("/spec/template/spec/containers/0/image"),
              "i:1");
}

TEST(Deployments, Validation) {
    Cluster cluster;
    const auto refused = [&](const std::string& body, const std::string& why) {
        const Reply reply = cluster.call("POST", apps("deployments"), body);
        EXPECT_EQ(reply.status, 422) << reply.body;
        EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.body;
    };
    refused(workload("d", R"("replicas":-1,)"),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
    refused(workload("d", R"("strategy":{"type":"X"},)"),
            R"(spec.strategy.type: Unsupported value: "X": supported values: "Recreate", )"
            R"("RollingUpdate")");
    refused(workload("d", R"("strategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":"0%"}},)"),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when "
            "`maxSurge` is 0");
    refused(workload("d", R"("strategy":{"type":"Recreate","rollingUpdate":{"maxSurge":1}},)"),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is "
            "'Recreate'");
    refused(workload("d", R"("strategy":{"rollingUpdate":{"maxUnavailable":"101%"}},)"),
            "must not be greater than 100%");
    refused(workload("d", R"("minReadySeconds":600,)"), "must be greater than minReadySeconds");
    refused(R"({"metadata":{"name":"d"},"spec":{"template":{"spec":{"containers":[]}}}})",
            "spec.selector: Required value");
}

TEST(Deployments, TableAsKubectlShowsIt) {
    Cluster cluster;
    cluster.call("POST", apps("deployments"), workload("d", R"("replicas":2,)"));
    cluster.call("PATCH", apps("deployments/d/status"),
                 R"({"status":{"replicas":2,"readyReplicas":1,"updatedReplicas":2,)"
                 R"("availableReplicas":1}})",
                 kMerge);
    const Reply table = cluster.call("GET", apps("deployments"), "", kTable);
    std::string names;
    for (int i = 0; i < 8; ++i) {
        names += table.at("/columnDefinitions/" + std::to_string(i) + "/name") + "|";
    }
    EXPECT_EQ(names, "Name|Ready|Up-to-date|Available|Age|Containers|Images|Selector|");
    EXPECT_EQ(ageless(table.at("/rows/0/cells")), R"(["d","1/2",2,1,"AGE","c","i:1","a=b"])");
}

TEST(Scale, ReadsWritesAndRefuses) {
    Cluster cluster;
    const std::string path = apps("replicasets/r");
    cluster.call("POST", apps("replicasets"), workload("r"));
    const Reply read = cluster.call("GET", path + "/scale");
    EXPECT_EQ(read.at("/kind"), "Scale");
    EXPECT_EQ(read.at("/apiVersion"), "autoscaling/v1");
    EXPECT_EQ(read.at("/spec/replicas"), "1");
    EXPECT_EQ(read.at("/status/selector"), "a=b");
    EXPECT_EQ(cluster.call("PATCH", path + "/scale", R"({"spec":{"replicas":4}})", kMerge)
                  .at("/spec/replicas"),
              "4");
    EXPECT_EQ(cluster.call("GET", path).at("/spec/replicas"), "4");
    EXPECT_EQ(cluster.call("GET", path).at("/metadata/generation"), "2");
    EXPECT_EQ(cluster.call("PATCH", path + "/scale", R"({"spec":{"replicas":0}})", kMerge)
                  .at("/spec"),
              "{}");
    const Reply negative =
        cluster.call("PATCH", path + "/scale", R"({"spec":{"replicas":-1}})", kMerge);
    EXPECT_EQ(negative.status, 422);
    EXPECT_EQ(negative.at("/message"),
              "Scale.autoscaling \"r\" is invalid: spec.replicas: Invalid value: -1: must be "
              "greater than or equal to 0");
    const Reply stale = cluster.call("PUT", path + "/scale",
                                     R"({"metadata":{"name":"r","resourceVersion":"1"},)"
                                     R"("spec":{"replicas":1}})");
    EXPECT_EQ(stale.status, 409);
    EXPECT_EQ(cluster.call("GET", apps("replicasets/nope/scale")).status, 404);
    EXPECT_EQ(cluster.call("GET", apps("daemonsets/x/scale")).status, 404);
    EXPECT_EQ(cluster.call("DELETE", path + "/scale").status, 405);
}

TEST(ReplicationControllers, TakeSelectorAndLabelsFromTheTemplate) {
    Cluster cluster;
    const std::string rcs = "/api/v1/namespaces/default/replicationcontrollers";
    const Reply made = cluster.call(
        "POST", rcs,
        R"({"metadata":{"name":"r"},"spec":{"replicas":0,"template":{"metadata":{"labels":)"
        R"({"a":"rc"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/selector"), R"({"a":"rc"})");
    EXPECT_EQ(made.at("/metadata/labels"), R"({"a":"rc"})");
    EXPECT_EQ(made.at("/spec/replicas"), "0");
    EXPECT_EQ(cluster.call("GET", rcs + "/r/scale").at("/status/selector"), "a=rc");
    // Without a policy, core/v1 leaves the Pods alone.
    const Reply deleted = cluster.call("DELETE", rcs + "/r");
    EXPECT_EQ(deleted.at("/kind"), "ReplicationController");
    EXPECT_EQ(deleted.at("/metadata/finalizers"), R"(["orphan"])");
}

TEST(DaemonSets, Defaults) {
    Cluster cluster;
    const Reply made = cluster.call("POST", apps("daemonsets"), workload("d"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/updateStrategy"),
              R"({"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":1,"maxSurge":0}})");
    EXPECT_EQ(made.at("/spec/revisionHistoryLimit"), "10");
    const Reply table = cluster.call("GET", apps("daemonsets"), "", kTable);
    EXPECT_EQ(ageless(table.at("/rows/0/cells")),
              R"(["d",0,0,0,0,0,"<none>","AGE","c","i:1","a=b"])");
}

TEST(Jobs, GenerateTheirSelector) {
    Cluster cluster;
    const std::string jobs = "/apis/batch/v1/namespaces/default/jobs";
    const Reply made = cluster.call("POST", jobs, job("j"));
    ASSERT_EQ(made.status, 201) << made.body;
    const std::string uid = made.at("/metadata/uid");
    EXPECT_EQ(made.at("/spec/selector/matchLabels"),
              R"({"batch.kubernetes.io/controller-uid":")" + uid + R"("})");
    for (const char* label : {"controller-uid", "batch.kubernetes.io~1controller-uid"}) {
        EXPECT_EQ(made.at(std::string("/spec/template/metadata/labels/") + label), uid);
    }
    for (const char* label : {"job-name", "batch.kubernetes.io~1job-name"}) {
        EXPECT_EQ(made.at(std::string("/spec/template/metadata/labels/") + label), "j");
    }
    EXPECT_EQ(made.at("/spec/backoffLimit"), "6");
    EXPECT_EQ(made.at("/spec/completions"), "1");
    EXPECT_EQ(made.at("/spec/parallelism"), "1");
    EXPECT_EQ(made.at("/spec/completionMode"), "NonIndexed");
    EXPECT_EQ(made.at("/spec/suspend"), "false");
    EXPECT_EQ(made.at("/spec/manualSelector"), "false");
    EXPECT_EQ(made.at("/spec/podReplacementPolicy"), "TerminatingOrFailed");
    const Reply changed = cluster.call(
        "PATCH", jobs + "/j",
        R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}})", kStrategic);
    EXPECT_EQ(changed.status, 422);
    EXPECT_EQ(changed.at("/details/causes/0/field"), "spec.template");
    EXPECT_EQ(cluster.call("PATCH", jobs + "/j", R"({"spec":{"suspend":true}})", kMerge).status,
              200);
    const Reply deleted = cluster.call("DELETE", jobs + "/j");
    EXPECT_NE(deleted.header("Warning").find("child pods are preserved by default"),
              std::string::npos);
    EXPECT_EQ(deleted.at("/metadata/finalizers"), R"(["orphan"])");
}

TEST(Jobs, Validation) {
    Cluster cluster;
    const std::string jobs = "/apis/batch/v1/namespaces/default/jobs";
    const auto refused = [&](const std::string& body, const std::string& why) {
        const Reply reply = cluster.call("POST", jobs, body);
        EXPECT_EQ(reply.status, 422) << reply.body;
        EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.body;
    };
    refused(job("j", R"("completionMode":"Indexed","parallelism":1,)"),
            "spec.completions: Required value: when completion mode is Indexed");
    refused(job("j", R"("podFailurePolicy":{"rules":[]},)"), "spec.podFailurePolicy: Forbidden");
    refused(job("j", R"("selector":{"matchLabels":{"x":"y"}},)"), "`selector` not auto-generated");
    refused(R"({"metadata":{"name":"j"},"spec":{"template":{"spec":{"containers":)"
            R"([{"name":"c","image":"i"}]}}}})",
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", "
            "\"Never\"");
}

TEST(Cascades, PoliciesSetTheCollectorsFinalizers) {
    Cluster cluster;
    const auto deleted = [&](const std::string& name, const std::string& query,
                             const std::string& body = "") {
        EXPECT_EQ(cluster.call("POST", apps("replicasets"), workload(name)).status, 201);
        return cluster.call("DELETE", apps("replicasets/" + name) + query, body);
    };
    EXPECT_EQ(deleted("a", "").at("/kind"), "Status");
    EXPECT_EQ(deleted("b", "?propagationPolicy=Background").at("/kind"), "Status");
    EXPECT_EQ(deleted("c", "?propagationPolicy=Orphan").at("/metadata/finalizers"),
              R"(["orphan"])");
    EXPECT_EQ(deleted("d", "?propagationPolicy=Foreground").at("/metadata/finalizers"),
              R"(["foregroundDeletion"])");
    EXPECT_EQ(deleted("e", "", R"({"orphanDependents":true})").at("/metadata/finalizers"),
              R"(["orphan"])");
    // The collector takes its finalizer away, and with it the object.
    const Reply gone = cluster.call("PATCH", apps("replicasets/c"),
                                    R"({"metadata":{"finalizers":null}})", kMerge);
    EXPECT_EQ(gone.status, 200);
    EXPECT_EQ(cluster.call("GET", apps("replicasets/c")).status, 404);
}

TEST(ControllerRevisions, DataIsImmutable) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", apps("controllerrevisions"),
        R"({"metadata":{"name":"r","ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet",)"
        R"("name":"d","uid":"u","controller":true}]},"data":{"x":1},"revision":3})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(cluster.call("PATCH", apps("controllerrevisions/r"), R"({"revision":4})", kMerge)
                  .status,
              200);
    EXPECT_EQ(cluster.call("PATCH", apps("controllerrevisions/r"), R"({"data":{"x":2}})", kMerge)
                  .status,
              422);
    EXPECT_EQ(ageless(cluster.call("GET", apps("controllerrevisions"), "", kTable).at("/rows/0/cells")),
              R"(["r","daemonset.apps/d",4,"AGE"])");
}

}  // namespace
}  // namespace sluice::registry::testing
