// Server-side apply through the verbs. Expectations: recordings of kube-apiserver 1.32, the words of its sources, and
// Kubernetes' documentation.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps/";
constexpr const char* kDeployments = "/apis/apps/v1/namespaces/default/deployments/";

Cluster& cluster() {
    static Cluster shared;
    return shared;
}

Reply apply(const std::string& path, const std::string& manager, const std::string& yaml,
            const std::string& query = "") {
    return cluster().call("PATCH", path + "?fieldManager=" + manager + query, yaml,
                          {{"content-type", "application/apply-patch+yaml"}});
}

std::string map_yaml(const std::string& name, const std::string& data) {
    return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: " + data;
}

std::string deployment_yaml(const std::string& name, const std::string& replicas, const std::string& image = "i:1") {
    return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + "}\nspec:\n  selector: {matchLabels: " +
           "{a: b}}\n" + (replicas.empty() ? "" : "  replicas: " + replicas + "\n") +
           "  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: '" + image + "'}]}\n";
}

// "manager operation subresource {fields}" of each entry.
std::string owners(const Reply& reply) {
    std::string out;
    const auto document = reply.json();
    const auto* entries = document.at("metadata").as_object().if_contains("managedFields");
    if (entries == nullptr) return "none";
    for (const auto& entry : entries->as_array()) {
        const auto& members = entry.as_object();
        if (!out.empty()) out += " | ";
        for (const char* name : {"manager", "operation", "subresource"}) {
            if (const auto* value = members.if_contains(name)) out += std::string(value->as_string()) + " ";
        }
        out += boost::json::serialize(members.at("fieldsV1"));
    }
    std::erase(out, '"');
    return out;
}

TEST(Apply, MakesAndChanges) {
    const std::string path = std::string(kMaps) + "made";
    const Reply made = apply(path, "m1", map_yaml("made", "{a: '1', b: '1'}"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(owners(made), "m1 Apply {f:data:{f:a:{},f:b:{}}}");
    const Reply again = apply(path, "m1", map_yaml("made", "{a: '1', b: '1'}"));
    EXPECT_EQ(again.status, 200);
    EXPECT_EQ(again.at("/metadata/resourceVersion"), made.at("/metadata/resourceVersion"));
    const Reply less = apply(path, "m1", map_yaml("made", "{a: '2'}"));
    EXPECT_EQ(less.at("/data"), R"({"a":"2"})");
    const Reply tried = apply(path, "m1", map_yaml("made", "{a: '3'}"), "&dryRun=All");
    EXPECT_EQ(tried.at("/data/a"), "3");
    EXPECT_EQ(cluster().call("GET", path).at("/data/a"), "2");
    EXPECT_EQ(apply(std::string(kMaps) + "unmade", "m1", map_yaml("unmade", "{}"), "&dryRun=All").status, 201);
    EXPECT_EQ(cluster().call("GET", std::string(kMaps) + "unmade").status, 404);
}

TEST(Apply, ConflictsInKubernetesWords) {
    const std::string path = std::string(kMaps) + "fought";
    apply(path, "m1", map_yaml("fought", "{a: '1', b: '1'}"));
    const Reply one = apply(path, "m2", map_yaml("fought", "{a: '2'}"));
    EXPECT_EQ(one.status, 409);
    EXPECT_EQ(one.at("/reason"), "Conflict");
    EXPECT_EQ(one.at("/message"), "Apply failed with 1 conflict: conflict with \"m1\": .data.a");
    EXPECT_EQ(one.at("/details"),
              R"({"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"m1\"","field":".data.a"}]})");
    const Reply two = apply(path, "m2", map_yaml("fought", "{a: '2', b: '2'}"));
    EXPECT_EQ(two.at("/message"),
              "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b");
    const Reply shared = apply(path, "m2", map_yaml("fought", "{a: '1'}"));
    EXPECT_EQ(shared.status, 200) << shared.body;
    EXPECT_EQ(owners(shared), "m2 Apply {f:data:{f:a:{}}} | m1 Apply {f:data:{f:a:{},f:b:{}}}");
    const Reply forced = apply(path, "m2", map_yaml("fought", "{a: '2'}"), "&force=true");
    EXPECT_EQ(forced.at("/data"), R"({"a":"2","b":"1"})");
    // An updater's field: with its version.
    cluster().call("PATCH", path, R"({"data":{"b":"9"}})",
                   {{"content-type", "application/merge-patch+json"}, {"user-agent", "curl/8"}});
    EXPECT_EQ(apply(path, "m1", map_yaml("fought", "{b: '1'}")).at("/message"),
              "Apply failed with 1 conflict: conflict with \"curl\" using v1: .data.b");
}

TEST(Apply, WhatIsRefused) {
    const std::string path = std::string(kMaps) + "refused";
    const auto refused = [&](const std::string& yaml, const std::string& query = "") {
        const Reply reply = apply(path, "m", yaml, query);
        return std::to_string(reply.status) + " " + reply.at("/message");
    };
    EXPECT_EQ(refused("apiVersion: v1\nkind: Pod\nmetadata: {name: refused}"),
        "400 invalid object type: /v1, Kind=Pod");
    EXPECT_EQ(refused(map_yaml("refused", "{a: 1}")),
              "500 failed to create typed patch object (/refused; /v1, Kind=ConfigMap): .data.a: expected string, got "
              "&value.valueUnstructured{Value:1}");
    EXPECT_EQ(refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: refused, namespace: default}\nfoo: 1"),
              "500 failed to create typed patch object (default/refused; /v1,"
              " Kind=ConfigMap): .foo: field not declared "
              "in schema");
    EXPECT_EQ(refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: refused, managedFields: []}"),
              "400 metadata.managedFields must be nil");
    EXPECT_EQ(refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}"),
              "400 the name of the object (other) does not match the name on the URL (refused)");
    EXPECT_EQ(refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: refused, uid: x}"),
              "409 Operation cannot be fulfilled on configmaps \"refused\": uid mismatch: the provided object "
              "specified "
              "uid x, and no existing object was found");
    EXPECT_EQ(refused("- 1").substr(0, 28), "400 error decoding patch: er");
    EXPECT_EQ(cluster().call("PATCH", path + "?fieldManager=m", "{}", {{"content-type",
        "application/apply-patch+cbor"}}).status,
              415);
    EXPECT_EQ(apply(std::string(kDeployments) + "none/status", "m", deployment_yaml("none", "1")).status, 404);
    EXPECT_EQ(apply("/api/v1/namespaces/nowhere/configmaps/refused", "m", map_yaml("refused", "{}")).status, 404);
    apply(path, "m", map_yaml("refused", "{}"));
    EXPECT_EQ(refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: refused, resourceVersion: '1'}").substr(0,
        4), "409 ");
}

// kubectl applied on its own side once; its server-side apply takes over what it said then, and nothing else.
TEST(Apply, KubectlTakesOverFromItself) {
    const std::string path = std::string(kMaps) + "old";
    const std::string last = R"({\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{},)"
                             R"(\"name\":\"old\",\"namespace\":\"default\"},\"data\":{\"a\":\"1\",\"b\":\"1\"}}\n)";
    const Reply made = cluster().call(
        "POST", "/api/v1/namespaces/default/configmaps?fieldManager=kubectl-client-side-apply",
        R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"old","annotations":{)"
        R"("kubectl.kubernetes.io/last-applied-configuration":")" +
            last + R"("}},"data":{"a":"1","b":"1","c":"1"}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(apply(path, "other", map_yaml("old", "{a: '2'}")).status, 409);
    EXPECT_EQ(apply(path, "kubectl", map_yaml("old", "{a: '2', c: '2'}")).at("/message"),
              "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.c");
    const Reply taken = apply(path, "kubectl", map_yaml("old", "{a: '2'}"));
    ASSERT_EQ(taken.status, 200) << taken.body;
    EXPECT_EQ(taken.at("/data/a"), "2");
    EXPECT_EQ(taken.at("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"),
              "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\"},\"kind\":\"ConfigMap\","
              "\"metadata\":{\"name\":\"old\"}}\n");
}

TEST(Apply, AfterNobodyWasRecorded) {
    const std::string path = std::string(kMaps) + "early";
    cluster().call("POST", "/api/v1/namespaces/default/configmaps",
                   R"({"metadata":{"name":"early"},"data":{"a":"1","b":"1"}})");
    cluster().call("PATCH", path, R"({"metadata":{"managedFields":[]}})",
                   {{"content-type", "application/merge-patch+json"}});
    EXPECT_EQ(apply(path, "m", map_yaml("early", "{a: '2'}")).at("/message"),
              "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a");
    EXPECT_EQ(owners(apply(path, "m", map_yaml("early", "{a: '1'}"))),
              "m Apply {f:data:{f:a:{}}} | before-first-apply Update {f:data:{.:{},f:a:{},f:b:{}}}");
}

TEST(Apply, OfSubresources) {
    const std::string path = std::string(kDeployments) + "sub";
    ASSERT_EQ(apply(path, "m", deployment_yaml("sub", "1")).status, 201);
    const Reply status = apply(path + "/status", "ctl",
                               "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: sub}\nstatus: {replicas: 2}\n"
                               "spec: {replicas: 9}");
    ASSERT_EQ(status.status, 200) << status.body;
    EXPECT_EQ(status.at("/status/replicas"), "2");
    EXPECT_EQ(status.at("/spec/replicas"), "1");
    EXPECT_NE(owners(status).find("ctl Apply status {f:status:{f:replicas:{}}}"), std::string::npos) << owners(status);
    const std::string scale = "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: sub}\nspec: {replicas: 4}";
    EXPECT_EQ(apply(path + "/scale", "hpa", scale).at("/message"),
              "Apply failed with 1 conflict: conflict with \"m\": .spec.replicas");
    const Reply scaled = apply(path + "/scale", "hpa", scale, "&force=true");
    ASSERT_EQ(scaled.status, 200) << scaled.body;
    EXPECT_EQ(scaled.at("/spec/replicas"), "4");
    const std::string after = owners(cluster().call("GET", path));
    EXPECT_NE(after.find("hpa Apply scale {f:spec:{f:replicas:{}}}"), std::string::npos) << after;
    EXPECT_EQ(apply(path, "m", deployment_yaml("sub", "2")).at("/message"),
              "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\": .spec.replicas");
    // Who does not name the field any more leaves it to the other.
    EXPECT_EQ(apply(path, "m", deployment_yaml("sub", "")).at("/spec/replicas"), "4");
}

TEST(Apply, DefaultsAndKeyedLists) {
    const std::string path = std::string(kDeployments) + "lists";
    const Reply made = apply(path, "m", deployment_yaml("lists", ""));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/replicas"), "1");
    EXPECT_EQ(made.at("/spec/template/spec/containers/0/imagePullPolicy"), "IfNotPresent");
    EXPECT_EQ(owners(made),
              "m Apply {f:spec:{f:selector:{},f:template:{f:metadata:{f:labels:{f:a:{}}},f:spec:{f:containers:"
              "{k:{\\name\\:\\c\\}:{.:{},f:image:{},f:name:{}}}}}}}");
    const Reply second =
        apply(path, "sidecars",
              "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: lists}\nspec: {template: {spec: {containers: "
              "[{name: side, image: 's:1'}]}}}");
    ASSERT_EQ(second.status, 200) << second.body;
    EXPECT_EQ(second.at("/spec/template/spec/containers/1/name"), "side");
    EXPECT_EQ(second.at("/metadata/generation"), "2");
    const Reply changed = apply(path, "m", deployment_yaml("lists", "", "i:2"));
    EXPECT_EQ(changed.at("/spec/template/spec/containers/0/image"), "i:2");
    EXPECT_EQ(changed.at("/spec/template/spec/containers/1/image"), "s:1");
    EXPECT_EQ(apply(path, "m",
                    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: lists}\nspec: {template: {spec: "
                    "{containers: [{name: c}, {name: c}]}}}")
                  .at("/message"),
              "failed to create typed patch object (/lists; apps/v1, Kind=Deployment): "
              ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]");
}

}  // namespace
}  // namespace sluice::registry::testing
