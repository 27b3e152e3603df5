// metadata.managedFields through the verbs. Expectations: recordings of kube-apiserver 1.32, Kubernetes' documentation
// of server-side apply, and what clusters keep.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";
constexpr const char* kDeployments = "/apis/apps/v1/namespaces/default/deployments";

// One server for all cases; each uses names of its own.
Cluster& cluster() {
    static Cluster shared;
    return shared;
}

Headers agent(const std::string& name) { return {{"user-agent", name}}; }
Headers patch_type(const std::string& type) { return {{"content-type", "application/" + type}}; }

std::string map_body(const std::string& name, const std::string& data, const std::string& meta = "") {
    return R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":")" + name + "\"" + meta + R"(},"data":)" +
           data + "}";
}

// "manager operation version subresource fields" of each entry, without quotes in the fields.
std::string owners(const Reply& reply) {
    const auto document = reply.json();
    const auto* meta = document.as_object().if_contains("metadata");
    const auto* entries = meta == nullptr ? nullptr : meta->as_object().if_contains("managedFields");
    if (entries == nullptr) return "none";
    std::string out;
    for (const auto& entry : entries->as_array()) {
        const auto& members = entry.as_object();
        if (!out.empty()) out += " | ";
        for (const char* name : {"manager", "operation", "apiVersion", "subresource"}) {
            const auto* value = members.if_contains(name);
            if (value != nullptr) out += std::string(value->as_string()) + " ";
        }
        if (!members.contains("time")) out += "timeless ";
        EXPECT_EQ(members.at("fieldsType"), "FieldsV1");
        out += boost::json::serialize(members.at("fieldsV1"));
    }
    std::erase(out, '"');
    return out;
}

std::string deployment_body(const std::string& name, const std::string& more = "") {
    return R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":")" + name +
           R"("},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":)"
           R"({"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}})" +
           more + "}}";
}

TEST(ManagedFields, OfACreation) {
    const Reply made = cluster().call("POST", kMaps, map_body("made", R"({"k":"v"})"), agent("kubectl/v1.32 (linux)"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(owners(made), "kubectl Update v1 {f:data:{.:{},f:k:{}}}");
    EXPECT_EQ(owners(cluster().call("GET", std::string(kMaps) + "/made")), owners(made));
    const Reply named = cluster().call("POST", std::string(kMaps) + "?fieldManager=me",
                                       map_body("named", R"({"k":"v"})"), agent("kubectl/v1.32"));
    EXPECT_EQ(owners(named), "me Update v1 {f:data:{.:{},f:k:{}}}");
    EXPECT_EQ(owners(cluster().call("POST", kMaps, map_body("nobody", R"({"k":"v"})"))),
              "unknown Update v1 {f:data:{.:{},f:k:{}}}");
    // What the server sets is not the client's, what it defaults is.
    const Reply deployed = cluster().call("POST", kDeployments, deployment_body("made"), agent("x/1"));
    ASSERT_EQ(deployed.status, 201) << deployed.body;
    EXPECT_NE(owners(deployed).find("f:progressDeadlineSeconds:{}"), std::string::npos) << owners(deployed);
    EXPECT_EQ(owners(deployed).find("f:status"), std::string::npos) << owners(deployed);
    EXPECT_EQ(owners(deployed).find("f:generation"), std::string::npos) << owners(deployed);
}

TEST(ManagedFields, ANameMustBePrintable) {
    const Reply bad = cluster().call("POST", std::string(kMaps) + "?fieldManager=a%01b", map_body("bad", "{}"));
    EXPECT_EQ(bad.status, 422) << bad.body;
    EXPECT_EQ(bad.at("/message"),
              "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\x01b\": should only contain "
              "printable characters");
}

TEST(ManagedFields, MoveWithAnUpdate) {
    cluster().call("POST", kMaps, map_body("moving", R"({"a":"1","b":"1"})"), agent("one/1"));
    const std::string path = std::string(kMaps) + "/moving";
    const Reply changed = cluster().call("PUT", path, map_body("moving", R"({"a":"1","b":"2","c":"3"})"),
        agent("two/1"));
    ASSERT_EQ(changed.status, 200) << changed.body;
    EXPECT_EQ(owners(changed), "one Update v1 {f:data:{.:{},f:a:{}}} | two Update v1 {f:data:{f:b:{},f:c:{}}}");
    // Another's write of the same values is none.
    const Reply same = cluster().call("PUT", path, map_body("moving", R"({"a":"1","b":"2","c":"3"})"),
        agent("three/1"));
    EXPECT_EQ(same.at("/metadata/resourceVersion"), changed.at("/metadata/resourceVersion"));
    EXPECT_EQ(owners(same), owners(changed));
    const Reply patched = cluster().call("PATCH", path, R"({"data":{"c":null,"d":"4"}})",
        patch_type("merge-patch+json"));
    EXPECT_EQ(owners(patched),
              "one Update v1 {f:data:{.:{},f:a:{}}} | two Update v1 {f:data:{f:b:{}}} | unknown Update v1 "
              "{f:data:{f:d:{}}}");
}

TEST(ManagedFields, OfSubresources) {
    cluster().call("POST", kDeployments, deployment_body("sub"), agent("maker/1"));
    const std::string path = std::string(kDeployments) + "/sub";
    const Reply status =
        cluster().call("PATCH", path + "/status", R"({"status":{"replicas":3},"spec":{"replicas":7}})",
                       {{"content-type", "application/merge-patch+json"}, {"user-agent", "controller/1"}});
    ASSERT_EQ(status.status, 200) << status.body;
    EXPECT_NE(owners(status).find("controller Update apps/v1 status {f:status:{f:replicas:{}}}"), std::string::npos)
        << owners(status);
    const Reply scale = cluster().call("PATCH", path + "/scale", R"({"spec":{"replicas":5}})",
                                       {{"content-type", "application/merge-patch+json"}, {"user-agent", "hpa/1"}});
    ASSERT_EQ(scale.status, 200) << scale.body;
    const std::string after = owners(cluster().call("GET", path));
    EXPECT_NE(after.find("hpa Update apps/v1 scale timeless {f:spec:{f:replicas:{}}}"), std::string::npos) << after;
    EXPECT_EQ(after.find("f:replicas:{},f:selector"), std::string::npos) << after;
}

TEST(ManagedFields, TakenAwayAndGiven) {
    cluster().call("POST", kMaps, map_body("reset", R"({"a":"1"})"), agent("one/1"));
    const std::string path = std::string(kMaps) + "/reset";
    const Reply gone = cluster().call("PATCH", path,
        R"([{"op":"replace","path":"/metadata/managedFields","value":[]}])",
                                      patch_type("json-patch+json"));
    ASSERT_EQ(gone.status, 200) << gone.body;
    EXPECT_EQ(owners(gone), "none");
    // What is not tracked stays so until the first apply.
    EXPECT_EQ(owners(cluster().call("PUT", path, map_body("reset", R"({"a":"2"})"), agent("two/1"))), "none");
    cluster().call("POST", kMaps, map_body("reset2", R"({"a":"1"})"), agent("one/1"));
    const std::string second = std::string(kMaps) + "/reset2";
    EXPECT_EQ(owners(cluster().call("PUT", second, map_body("reset2", R"({"a":"1"})", R"(,"managedFields":[{}])"))),
        "none");
    cluster().call("POST", kMaps, map_body("reset3", R"({"a":"1"})"), agent("one/1"));
    const std::string third = std::string(kMaps) + "/reset3";
    EXPECT_EQ(owners(cluster().call("PUT", third, map_body("reset3", R"({"a":"1"})", R"(,"managedFields" : [ ])"))),
        "none");
    // As newer kubectls migrate from their own apply.
    cluster().call("POST", kMaps, map_body("given", R"({"a":"1"})"), agent("kubectl-client-side-apply/1"));
    const std::string fourth = std::string(kMaps) + "/given";
    const Reply given = cluster().call(
        "PATCH", fourth,
        R"([{"op":"replace","path":"/metadata/managedFields","value":[{"manager":"kubectl","operation":"Apply",)"
        R"("apiVersion":"v1","time":"2024-01-01T00:00:00Z","fieldsType":"FieldsV1",)"
        R"("fieldsV1":{"f:data":{"f:a":{}}}}]}])",
        patch_type("json-patch+json"));
    ASSERT_EQ(given.status, 200) << given.body;
    EXPECT_EQ(owners(given), "kubectl Apply v1 {f:data:{f:a:{}}}");
    // Leaving them out is not taking them away, and what cannot be read is left out.
    EXPECT_EQ(owners(cluster().call("PUT", fourth, map_body("given", R"({"a":"1"})"))), owners(given));
    EXPECT_EQ(owners(cluster().call(
                  "PUT", fourth, map_body("given", R"({"a":"1"})", R"(,"managedFields":[{"operation":"X"}])"))),
              owners(given));
}

}  // namespace
}  // namespace sluice::registry::testing
