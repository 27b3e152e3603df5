// The kinds of storage.k8s.io: what kube-apiserver 1.32 answers. Columns and messages are those of its printers and its
// validation.
#include <gtest/gtest.h>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

const std::string kStorage = "/apis/storage.k8s.io/v1/";

TEST(StorageClasses, DefaultsTableAndImmutability) {
    Cluster cluster;
    const std::string path = kStorage + "storageclasses";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"fast","annotations":{"storageclass.kubernetes.io/is-default-class":)"
        R"("true"}},"provisioner":"csi.example.com","parameters":{"a":"b"},)"
        R"("allowVolumeExpansion":true})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/reclaimPolicy"), "Delete");
    EXPECT_EQ(made.at("/volumeBindingMode"), "Immediate");
    EXPECT_EQ(cells(cluster, path),
              R"x(["fast (default)","csi.example.com","Delete","Immediate","true","AGE"])x");
    const auto patch = [&](const std::string& body) {
        return cluster.call("PATCH", path + "/fast", body, kMerge);
    };
    expect_refused(patch(R"({"parameters":{"a":"c"}})"),
                   "parameters: Forbidden: updates to parameters are forbidden.");
    expect_refused(patch(R"({"provisioner":"other"})"),
                   "provisioner: Forbidden: updates to provisioner are forbidden.");
    expect_refused(patch(R"({"reclaimPolicy":"Retain"})"),
                   "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.");
    expect_refused(
        patch(R"({"volumeBindingMode":"WaitForFirstConsumer"})"),
        R"(volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable)");
    EXPECT_EQ(patch(R"({"allowVolumeExpansion":false})").at("/allowVolumeExpansion"), "false");
    // The deleted object is the answer.
    EXPECT_EQ(cluster.call("DELETE", path + "/fast").at("/kind"), "StorageClass");
}

TEST(StorageClasses, Validation) {
    Cluster cluster;
    const auto bad = [&](const std::string& more, const std::string& why) {
        expect_refused(cluster.call("POST", kStorage + "storageclasses",
                                    R"({"metadata":{"name":"x"})" + more + "}"),
                       why);
    };
    bad("", "provisioner: Required value");
    bad(R"(,"provisioner":"p","reclaimPolicy":"Recycle")",
        R"(reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain")");
    bad(R"(,"provisioner":"p","volumeBindingMode":"Later")",
        R"(volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", )"
        R"("WaitForFirstConsumer")");
    bad(R"(,"provisioner":"p","allowedTopologies":[{"matchLabelExpressions":[{"key":"zone",)"
        R"("values":["a","a"]}]}])",
        R"(allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a")");
}

TEST(CsiDrivers, DefaultsTableAndImmutability) {
    Cluster cluster;
    const std::string path = kStorage + "csidrivers";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"csi.example.com"},"spec":{"tokenRequests":[{"audience":"a"},)"
        R"({"audience":"b","expirationSeconds":3600}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/attachRequired"), "true");
    EXPECT_EQ(made.at("/spec/podInfoOnMount"), "false");
    EXPECT_EQ(made.at("/spec/fsGroupPolicy"), "ReadWriteOnceWithFSType");
    EXPECT_EQ(made.at("/spec/volumeLifecycleModes"), R"(["Persistent"])");
    EXPECT_EQ(cells(cluster, path),
              R"(["csi.example.com",true,false,false,"a,b",false,"Persistent","AGE"])");
    expect_refused(cluster.call("PATCH", path + "/csi.example.com",
                                R"({"spec":{"attachRequired":false}})", kMerge),
                   "spec.attachedRequired: Invalid value: false: field is immutable");
    expect_refused(
        cluster.call("POST", path,
                     R"({"metadata":{"name":"x"},"spec":{"tokenRequests":[{"audience":"a",)"
                     R"("expirationSeconds":10}]}})"),
        "spec.tokenRequests[0].expirationSeconds: Invalid value: 10: may not specify a duration "
        "less than 10 minutes");
    expect_refused(cluster.call("POST", path,
                                R"({"metadata":{"name":"x"},"spec":{"fsGroupPolicy":"Some"}})"),
                   R"(spec.fsGroupPolicy: Unsupported value: "Some": supported values: "File", )"
                   R"("None", "ReadWriteOnceWithFSType")");
}

TEST(CsiNodes, DriversCannotChange) {
    Cluster cluster;
    const std::string path = kStorage + "csinodes";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"n"},"spec":{"drivers":[{"name":"csi.example.com","nodeID":"n-1",)"
        R"("topologyKeys":["zone"],"allocatable":{"count":4}}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(cells(cluster, path), R"(["n",1,"AGE"])");
    const Reply changed = cluster.call(
        "PATCH", path + "/n",
        R"({"spec":{"drivers":[{"name":"csi.example.com","nodeID":"n-2","topologyKeys":["zone"]}]}})",
        kMerge);
    expect_refused(changed, "spec.drivers: Invalid value: ");
    EXPECT_EQ(cluster.call("PATCH", path + "/n", R"({"spec":{"drivers":[]}})", kMerge).status, 200);
    expect_refused(cluster.call("POST", path,
                                R"({"metadata":{"name":"m"},"spec":{"drivers":[{"name":"d",)"
                                R"("nodeID":"","topologyKeys":null}]}})"),
                   "spec.drivers[0].nodeID: Required value");
}

TEST(VolumeAttachments, SpecIsImmutableAndStatusItsOwn) {
    Cluster cluster;
    const std::string path = kStorage + "volumeattachments";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"a"},"spec":{"attacher":"csi.example.com","nodeName":"n","source":)"
        R"({"persistentVolumeName":"pv"}},"status":{"attached":true}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/status/attached"), "false");
    EXPECT_EQ(cluster
                  .call("PATCH", path + "/a/status",
                        R"({"status":{"attached":true,"attachmentMetadata":{"k":"v"}}})", kMerge)
                  .status,
              200);
    EXPECT_EQ(cells(cluster, path), R"(["a","csi.example.com","pv","n",true,"AGE"])");
    expect_refused(
        cluster.call("PATCH", path + "/a", R"({"spec":{"nodeName":"m"}})", kMerge),
        "spec: Invalid value: ");
    expect_refused(cluster.call("POST", path,
                                R"({"metadata":{"name":"b"},"spec":{"attacher":"d","nodeName":"n",)"
                                R"("source":{}}})"),
                   "spec.source: Required value: must specify exactly one of inlineVolumeSpec and "
                   "persistentVolumeName");
}

TEST(CsiStorageCapacities, ClassAndTopologyAreImmutable) {
    Cluster cluster;
    const std::string path = kStorage + "namespaces/default/csistoragecapacities";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"c"},"storageClassName":"fast","capacity":"10Gi","nodeTopology":)"
        R"({"matchLabels":{"zone":"a"}}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(cells(cluster, path), R"(["c","fast","10Gi"])");
    expect_refused(cluster.call("PATCH", path + "/c", R"({"storageClassName":"slow"})", kMerge),
                   R"(storageClassName: Invalid value: "slow": field is immutable)");
    expect_refused(cluster.call("PATCH", path + "/c", R"({"nodeTopology":null})", kMerge),
                   "nodeTopology: Invalid value: ");
    EXPECT_EQ(cluster.call("PATCH", path + "/c", R"({"capacity":"5Gi"})", kMerge).at("/capacity"),
              "5Gi");
    expect_refused(cluster.call("POST", path,
                                R"({"metadata":{"name":"d"},"storageClassName":"s","capacity":)"
                                R"("-1"})"),
                   R"(capacity: Invalid value: "-1": must be greater than or equal to 0)");
}

}  // namespace
}  // namespace sluice::registry::testing
