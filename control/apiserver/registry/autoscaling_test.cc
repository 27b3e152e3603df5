// HorizontalPodAutoscalers in two versions of one stored object. Expectations are those of kube-apiserver 1.32: its
// recordings, and what its conversion functions promise.
#include <gtest/gtest.h>

#include "api/codec/protobuf.h"
#include "control/apiserver/registry/test_util.h"
#include "control/store/store.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kV1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
constexpr const char* kV2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
constexpr const char* kKey = "/registry/horizontalpodautoscalers/default/d1";
// As kubectl 1.20 writes `autoscale deploy d1 --min=1 --max=3 --cpu-percent=80`.
constexpr const char* kRecorded =
    R"({"kind":"HorizontalPodAutoscaler","apiVersion":"autoscaling/v1","metadata":{"name":"d1",)"
    R"("creationTimestamp":null},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"d1",)"
    R"("apiVersion":"apps/v1"},"minReplicas":1,"maxReplicas":3,)"
    R"("targetCPUUtilizationPercentage":80},"status":{"currentReplicas":0,"desiredReplicas":0}})";

std::string at(const char* collection, const std::string& rest) { return collection + rest; }

TEST(Autoscaling, WrittenInTheFirstVersionAndReadInTheSecond) {
    Cluster cluster;
    const Reply made = cluster.call("POST", kV1, kRecorded);
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/apiVersion"), "autoscaling/v1");
    EXPECT_EQ(made.at("/spec/targetCPUUtilizationPercentage"), "80");
    EXPECT_EQ(made.at("/spec/metrics"), "");
    const Reply read = cluster.call("GET", at(kV2, "/d1"));
    EXPECT_EQ(read.at("/apiVersion"), "autoscaling/v2");
    EXPECT_EQ(read.at("/spec/metrics"),
              R"([{"type":"Resource","resource":{"name":"cpu","target":)"
              R"({"type":"Utilization","averageUtilization":80}}}])");
    EXPECT_EQ(read.at("/metadata/uid"), made.at("/metadata/uid"));
    EXPECT_EQ(read.at("/metadata/resourceVersion"), made.at("/metadata/resourceVersion"));
    const Reply list = cluster.call("GET", kV1);
    EXPECT_EQ(list.at("/apiVersion"), "autoscaling/v1");
    EXPECT_EQ(list.at("/items/0/spec/targetCPUUtilizationPercentage"), "80");
    EXPECT_EQ(cluster.call("GET", kV2).at("/items/0/spec/metrics/0/type"), "Resource");
}

// As in etcd, where autoscaling/v2 is the storage version.
TEST(Autoscaling, StoredAsTheSecondVersionWhateverWasWritten) {
    Cluster cluster;
    ASSERT_EQ(cluster.call("POST", kV1, kRecorded).status, 201);
    const auto stored = cluster.store().get(kKey);
    ASSERT_TRUE(stored && *stored);
    const auto envelope = codec::open_envelope(*(*stored)->value);
    ASSERT_TRUE(envelope);
    EXPECT_EQ(envelope->gvk.api_version(), "autoscaling/v2");
    EXPECT_EQ(envelope->gvk.kind, "HorizontalPodAutoscaler");
}

TEST(Autoscaling, WhatTheFirstVersionLacksIsInItsAnnotations) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kV2,
        R"({"metadata":{"name":"d1"},"spec":{"maxReplicas":3,"scaleTargetRef":{"kind":"D","name":)"
        R"("d"},"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":)"
        R"("Utilization","averageUtilization":50}}},{"type":"Pods","pods":{"metric":{"name":"q"},)"
        R"("target":{"type":"AverageValue","averageValue":"30"}}}],"behavior":{"scaleDown":)"
        R"({"stabilizationWindowSeconds":60}}}})");
    ASSERT_EQ(made.status, 201) << made.body;
    // Whoever names a part of the behaviour gets the rest of it.
    EXPECT_EQ(made.at("/spec/behavior"),
              R"({"scaleUp":{"stabilizationWindowSeconds":0,"selectPolicy":"Max","policies":)"
              R"([{"type":"Pods","value":4,"periodSeconds":15},{"type":"Percent","value":100,)"
              R"("periodSeconds":15}]},"scaleDown":{"stabilizationWindowSeconds":60,)"
              R"("selectPolicy":"Max","policies":[{"type":"Percent","value":100,)"
              R"("periodSeconds":15}]}})");
    const Reply old = cluster.call("GET", at(kV1, "/d1"));
    EXPECT_EQ(old.at("/spec/targetCPUUtilizationPercentage"), "50");
    EXPECT_EQ(old.at("/metadata/annotations/autoscaling.alpha.kubernetes.io~1metrics"),
              R"([{"type":"Pods","pods":{"metricName":"q","targetAverageValue":"30"}}])");
    EXPECT_EQ(old.at("/metadata/annotations/autoscaling.alpha.kubernetes.io~1behavior"),
              R"({"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":)"
              R"([{"Type":"Pods","Value":4,"PeriodSeconds":15},{"Type":"Percent","Value":100,)"
              R"("PeriodSeconds":15}]},"ScaleDown":{"StabilizationWindowSeconds":60,)"
              R"("SelectPolicy":"Max","Policies":[{"Type":"Percent","Value":100,)"
              R"("PeriodSeconds":15}]}})");
    // A client of the first version that writes what it read loses nothing.
    const Reply put = cluster.call("PUT", at(kV1, "/d1"), old.body);
    ASSERT_EQ(put.status, 200) << put.body;
    EXPECT_EQ(put.at("/spec"), old.at("/spec"));
    EXPECT_EQ(put.at("/metadata/annotations"), old.at("/metadata/annotations"));
    const Reply patched =
        cluster.call("PATCH", at(kV1, "/d1"),
                     R"({"spec":{"targetCPUUtilizationPercentage":70}})", kMerge);
    ASSERT_EQ(patched.status, 200) << patched.body;
    EXPECT_EQ(patched.at("/apiVersion"), "autoscaling/v1");
    const Reply read = cluster.call("GET", at(kV2, "/d1"));
    EXPECT_EQ(read.at("/spec/metrics/0/pods/target/averageValue"), "30");
    EXPECT_EQ(read.at("/spec/metrics/1/resource/target/averageUtilization"), "70");
    EXPECT_EQ(read.at("/spec/behavior/scaleDown/stabilizationWindowSeconds"), "60");
    EXPECT_EQ(read.at("/metadata/annotations"), "");
}

TEST(Autoscaling, StatusInBothVersions) {
    Cluster cluster;
    cluster.call("POST", kV1, kRecorded);
    const Reply status = cluster.call(
        "PATCH", at(kV2, "/d1/status"),
        R"({"status":{"currentReplicas":2,"desiredReplicas":3,"currentMetrics":[{"type":"Resource",)"
        R"("resource":{"name":"cpu","current":{"averageValue":"150m","averageUtilization":43}}}],)"
        R"("conditions":[{"type":"AbleToScale","status":"True","lastTransitionTime":null}]}})",
        kMerge);
    ASSERT_EQ(status.status, 200) << status.body;
    const Reply old = cluster.call("GET", at(kV1, "/d1"));
    EXPECT_EQ(old.at("/status/currentCPUUtilizationPercentage"), "43");
    EXPECT_EQ(old.at("/metadata/annotations/autoscaling.alpha.kubernetes.io~1current-metrics"),
              R"([{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":43,)"
              R"("currentAverageValue":"150m"}}])");
    EXPECT_EQ(old.at("/metadata/annotations/autoscaling.alpha.kubernetes.io~1conditions"),
              R"([{"type":"AbleToScale","status":"True","lastTransitionTime":null}])");
    const Reply refused =
        cluster.call("PATCH", at(kV2, "/d1/status"), R"({"status":{"currentReplicas":-1}})", kMerge);
    EXPECT_EQ(refused.status, 422) << refused.body;
}

TEST(Autoscaling, WatchedAndTabledInTheVersionThatIsAsked) {
    Cluster cluster;
    cluster.call("POST", kV1, kRecorded);
    const auto watch = cluster.start("GET", at(kV1, "?watch=true"));
    const auto lines = watch->wait_lines(1);
    ASSERT_FALSE(lines.empty());
    EXPECT_NE(lines[0].find(R"("apiVersion":"autoscaling/v1")"), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find(R"("targetCPUUtilizationPercentage":80)"), std::string::npos);
    watch->hang_up();
    for (const char* version : {kV1, kV2}) {
        const Reply table = cluster.call("GET", version, "", kTable);
        EXPECT_EQ(ageless(table.at("/rows/0/cells")),
                  R"(["d1","Deployment/d1","cpu: <unknown>/80%","1",3,0,"AGE"])");
        EXPECT_EQ(table.at("/columnDefinitions/2/name"), "Targets");
    }
}

TEST(Autoscaling, ProtobufOfEachVersion) {
    Cluster cluster;
    cluster.call("POST", kV1, kRecorded);
    for (const auto& [path, version] : {std::pair{kV1, "autoscaling/v1"}, {kV2, "autoscaling/v2"}}) {
        const Reply reply = cluster.call("GET", at(path, "/d1"), "",
                                         {{"Accept", "application/vnd.kubernetes.protobuf"}});
        const auto envelope = codec::open_envelope(reply.body);
        ASSERT_TRUE(envelope) << path;
        EXPECT_EQ(envelope->gvk.api_version(), version);
    }
}

TEST(Autoscaling, Validation) {
    Cluster cluster;
    const auto refused = [&](const std::string& spec, const std::string& why) {
        const Reply reply =
            cluster.call("POST", kV2, R"({"metadata":{"name":"v"},"spec":{)" + spec + "}}");
        EXPECT_EQ(reply.status, 422) << reply.body;
        EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.body;
    };
    const std::string target = R"("scaleTargetRef":{"kind":"D","name":"d"})";
    // The recorded one, whole.
    const Reply recorded = cluster.call(
        "POST", kV2,
        R"({"metadata":{"name":"v"},"spec":{"minReplicas":5,"maxReplicas":3,)" + target + "}}");
    EXPECT_EQ(recorded.at("/message"),
              "HorizontalPodAutoscaler.autoscaling \"v\" is invalid: spec.maxReplicas: Invalid "
              "value: 3: must be greater than or equal to `minReplicas`");
    refused(target, "spec.maxReplicas: Invalid value: 0: must be greater than 0");
    refused(R"("maxReplicas":1,"minReplicas":0,)" + target,
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1");
    refused(R"("maxReplicas":1,"scaleTargetRef":{})",
            "[spec.scaleTargetRef.kind: Required value, spec.scaleTargetRef.name: Required value]");
    refused(R"("maxReplicas":1,"metrics":[{"type":"X"}],)" + target,
            R"(spec.metrics[0].type: Unsupported value: "X": supported values: )"
            R"("ContainerResource", "External", "Object", "Pods", "Resource")");
    refused(R"("maxReplicas":1,"metrics":[{"type":"Pods"}],)" + target,
            "spec.metrics[0].pods: Required value: must populate information for the given metric "
            "source");
    refused(R"("maxReplicas":1,"behavior":{"scaleUp":{"stabilizationWindowSeconds":4000}},)" + target,
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less "
            "than or equal to 3600");
    const Reply wrong = cluster.call(
        "POST", kV1, R"({"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler",)"
                     R"("metadata":{"name":"v"}})");
    EXPECT_EQ(wrong.status, 400);
    EXPECT_EQ(wrong.at("/message"),
              "the API version in the data (autoscaling/v2) does not match the expected API version "
              "(autoscaling/v1)");
}

}  // namespace
}  // namespace sluice::registry::testing
