// CustomResourceDefinitions and their objects through the resource API, over a real store. Expectations are what
// kube-apiserver 1.32 answers, and the documents of its custom resources.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr char kDefinitions[] =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
constexpr char kTabs[] = "/apis/stable.example.com/v1/namespaces/default/crontabs";

// The definition of the documentation's CronTab, in two versions, with both subresources.
std::string definition(const std::string& plural = "crontabs", const std::string& kind = "CronTab",
                       const std::string& short_name = "ct") {
    const std::string schema = R"({"openAPIV3Schema":{"type":"object","properties":{
        "spec":{"type":"object","properties":{
            "cronSpec":{"type":"string","pattern":"^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
            "image":{"type":"string","default":"busybox"},
            "color":{"type":"string"},
            "replicas":{"type":"integer","minimum":1,"maximum":10,"default":1}}},
        "status":{"type":"object","properties":{"replicas":{"type":"integer"},
            "labelSelector":{"type":"string"}}}}}})";
    const std::string parts = R"("served":true,"schema":)" + schema + R"(,
        "subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas",
            "statusReplicasPath":".status.replicas","labelSelectorPath":".status.labelSelector"}},
        "selectableFields":[{"jsonPath":".spec.color"}],
        "additionalPrinterColumns":[{"name":"Spec","type":"string","jsonPath":".spec.cronSpec"},
            {"name":"Replicas","type":"integer","jsonPath":".spec.replicas"},
            {"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}]})";
    return R"({"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
        "metadata":{"name":")" + plural + R"(.stable.example.com"},
        "spec":{"group":"stable.example.com","scope":"Namespaced",
            "names":{"plural":")" + plural + R"(","kind":")" + kind + R"(","shortNames":[")" + short_name + R"("]},
            "versions":[{"name":"v1","storage":true,)" + parts + R"(,
                        {"name":"v1beta1","storage":false,"deprecated":true,)" + parts + R"(]}})";
}

std::string tab(const std::string& name, const std::string& spec = R"({"cronSpec":"* * * * */5"})") {
    return R"({"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":")" + name +
           R"("},"spec":)" + spec + "}";
}

class Custom : public ::testing::Test {
protected:
    // Waits until the condition of the definition has the status; conditions come by themselves.
    std::string wait_for(const std::string& name, const std::string& type) {
        for (int i = 0; i < 2'000; ++i) {
            const Reply reply = cluster.call("GET", std::string(kDefinitions) + "/" + name);
            for (int at = 0; at < 5; ++at) {
                const std::string where = "/status/conditions/" + std::to_string(at);
                if (reply.at(where + "/type") == type) return reply.at(where + "/status");
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return "never";
    }
    void define() {
        const Reply made = cluster.call("POST", kDefinitions, definition());
        ASSERT_EQ(made.status, 201) << made.body;
        ASSERT_EQ(wait_for("crontabs.stable.example.com", "Established"), "True");
    }
    // Until the target answers with the status.
    bool becomes(const std::string& target, int status) {
        for (int i = 0; i < 2'000; ++i) {
            if (cluster.call("GET", target).status == status) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return false;
    }

    Cluster cluster;
};

TEST_F(Custom, ADefinitionIsServedWhenItSaysSo) {
    EXPECT_EQ(cluster.call("GET", kTabs).status, 404);
    define();
    const Reply stored = cluster.call("GET", std::string(kDefinitions) + "/crontabs.stable.example.com");
    EXPECT_EQ(stored.at("/spec/names/singular"), "crontab");
    EXPECT_EQ(stored.at("/spec/names/listKind"), "CronTabList");
    EXPECT_EQ(stored.at("/spec/conversion/strategy"), "None");
    EXPECT_EQ(stored.at("/status/storedVersions"), R"(["v1"])");
    EXPECT_EQ(stored.at("/status/acceptedNames/kind"), "CronTab");
    EXPECT_EQ(stored.at("/metadata/generation"), "1");
    const Reply list = cluster.call("GET", kTabs);
    EXPECT_EQ(list.status, 200);
    EXPECT_EQ(list.at("/kind"), "CronTabList");
    EXPECT_EQ(cluster.call("GET", "/apis/stable.example.com/v2/crontabs").status, 404);
}

TEST_F(Custom, ObjectsHaveAllVerbs) {
    define();
    const Reply made = cluster.call("POST", kTabs, tab("a"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/image"), "busybox");
    EXPECT_EQ(made.at("/spec/replicas"), "1");
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    // In the store as kube-apiserver keeps it in etcd.
    const auto raw = cluster.store().get("/registry/stable.example.com/crontabs/default/a");
    ASSERT_TRUE(raw && *raw);
    EXPECT_TRUE((*raw)->value->starts_with(
        R"({"kind":"CronTab","apiVersion":"stable.example.com/v1","metadata":{"name":"a")"))
        << *(*raw)->value;
    const Reply patched = cluster.call("PATCH", std::string(kTabs) + "/a",
                                       R"({"spec":{"replicas":3}})",
                                       {{"content-type", "application/merge-patch+json"}});
    EXPECT_EQ(patched.at("/spec/replicas"), "3");
    EXPECT_EQ(patched.at("/metadata/generation"), "2");
    const Reply json_patched =
        cluster.call("PATCH", std::string(kTabs) + "/a",
                     R"([{"op":"replace","path":"/spec/image","value":"x"}])",
                     {{"content-type", "application/json-patch+json"}});
    EXPECT_EQ(json_patched.at("/spec/image"), "x");
    EXPECT_EQ(cluster.call("PATCH", std::string(kTabs) + "/a", "{}",
                           {{"content-type", "application/strategic-merge-patch+json"}})
                  .status,
              415);
    // Labels do not count as a new generation.
    const Reply labelled = cluster.call("PATCH", std::string(kTabs) + "/a",
                                        R"({"metadata":{"labels":{"l":"1"}}})",
                                        {{"content-type", "application/merge-patch+json"}});
    EXPECT_EQ(labelled.at("/metadata/generation"), "3");
    EXPECT_EQ(cluster.call("GET", std::string(kTabs) + "?labelSelector=l%3D1").at("/items/0/metadata/name"), "a");
    const Reply put = cluster.call("PUT", std::string(kTabs) + "/a", tab("a"));
    EXPECT_EQ(put.status, 422);
    EXPECT_EQ(put.at("/message"),
              "crontabs.stable.example.com \"a\" is invalid: metadata.resourceVersion: Invalid "
              "value: 0x0: must be specified for an update");
    EXPECT_EQ(cluster.call("DELETE", std::string(kTabs) + "/a").at("/status"), "Success");
    EXPECT_EQ(cluster.call("GET", std::string(kTabs) + "/a").status, 404);
    cluster.call("POST", kTabs, tab("b"));
    EXPECT_EQ(cluster.call("DELETE", kTabs).status, 200);
    EXPECT_EQ(cluster.call("GET", kTabs).at("/items"), "[]");
}

TEST_F(Custom, ValuesArePrunedAndChecked) {
    define();
    const Reply wrong = cluster.call("POST", kTabs, tab("a", R"({"cronSpec":"x","replicas":11})"));
    EXPECT_EQ(wrong.status, 422);
    EXPECT_EQ(wrong.at("/details/kind"), "CronTab");
    EXPECT_NE(wrong.body.find("spec.replicas in body should be less than or equal to 10"),
              std::string::npos)
        << wrong.body;
    EXPECT_NE(wrong.body.find("spec.cronSpec in body should match"), std::string::npos);
    const std::string unknown = tab("a", R"({"cronSpec":"* * * * *","nonsense":1})");
    const Reply strict = cluster.call("POST", std::string(kTabs) + "?fieldValidation=Strict", unknown);
    EXPECT_EQ(strict.status, 400);
    EXPECT_EQ(strict.at("/message"),
              "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: "
              "unknown field \"spec.nonsense\"");
    const Reply warned = cluster.call("POST", kTabs, unknown);
    EXPECT_EQ(warned.status, 201);
    EXPECT_EQ(warned.header("Warning"), R"(299 - "unknown field \"spec.nonsense\"")");
    EXPECT_EQ(warned.at("/spec/nonsense"), "");
    EXPECT_EQ(cluster.call("POST", kTabs, "k8s", {{"content-type", "application/vnd.kubernetes.protobuf"}}).status, 415);
}

TEST_F(Custom, StatusAndScaleAreApart) {
    define();
    cluster.call("POST", kTabs, tab("a"));
    const Reply status =
        cluster.call("PATCH", std::string(kTabs) + "/a/status",
                     R"({"spec":{"replicas":9},"status":{"replicas":2,"labelSelector":"a=b"}})",
                     {{"content-type", "application/merge-patch+json"}});
    ASSERT_EQ(status.status, 200) << status.body;
    EXPECT_EQ(status.at("/spec/replicas"), "1");
    EXPECT_EQ(status.at("/status/replicas"), "2");
    EXPECT_EQ(status.at("/metadata/generation"), "1");
    const Reply scale = cluster.call("GET", std::string(kTabs) + "/a/scale");
    EXPECT_EQ(scale.at("/kind"), "Scale");
    EXPECT_EQ(scale.at("/spec/replicas"), "1");
    EXPECT_EQ(scale.at("/status/replicas"), "2");
    EXPECT_EQ(scale.at("/status/selector"), "a=b");
    const Reply scaled = cluster.call("PATCH", std::string(kTabs) + "/a/scale",
                                      R"({"spec":{"replicas":4}})",
                                      {{"content-type", "application/merge-patch+json"}});
    EXPECT_EQ(scaled.at("/spec/replicas"), "4") << scaled.body;
    EXPECT_EQ(cluster.call("GET", std::string(kTabs) + "/a").at("/spec/replicas"), "4");
}

TEST_F(Custom, VersionsShowOneObject) {
    define();
    cluster.call("POST", kTabs, tab("a"));
    const Reply beta =
        cluster.call("GET", "/apis/stable.example.com/v1beta1/namespaces/default/crontabs/a");
    EXPECT_EQ(beta.at("/apiVersion"), "stable.example.com/v1beta1");
    EXPECT_EQ(beta.at("/spec/image"), "busybox");
    EXPECT_EQ(beta.header("Warning"), R"(299 - "stable.example.com/v1beta1 CronTab is deprecated")");
    EXPECT_EQ(cluster.call("GET", std::string(kTabs) + "/a").at("/apiVersion"),
              "stable.example.com/v1");
}

TEST_F(Custom, TablesAndSelectorsFollowTheDefinition) {
    define();
    cluster.call("POST", kTabs, tab("a", R"({"cronSpec":"* * * * *","color":"red"})"));
    cluster.call("POST", kTabs, tab("b", R"({"cronSpec":"1 * * * *","color":"blue"})"));
    const Reply table = cluster.call(
        "GET", kTabs, "",
        {{"accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}});
    EXPECT_EQ(table.at("/columnDefinitions/1/name"), "Spec");
    EXPECT_EQ(table.at("/columnDefinitions/2/description"),
              "Custom resource definition column (in JSONPath format): .spec.replicas");
    EXPECT_EQ(ageless(table.at("/rows/0/cells")), R"(["a","* * * * *",1,"AGE"])");
    const Reply red = cluster.call("GET", std::string(kTabs) + "?fieldSelector=spec.color%3Dred");
    EXPECT_EQ(red.at("/items/0/metadata/name"), "a");
    EXPECT_EQ(red.at("/items/1"), "");
    EXPECT_EQ(cluster.call("GET", std::string(kTabs) + "?fieldSelector=spec.image%3Dx").status, 400);
    const Reply partial = cluster.call(
        "GET", std::string(kTabs) + "/a", "",
        {{"accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}});
    EXPECT_EQ(partial.at("/kind"), "PartialObjectMetadata");
    EXPECT_EQ(cluster.call("GET", kTabs, "", {{"accept", "application/vnd.kubernetes.protobuf"}}).status, 406);
}

TEST_F(Custom, WatchesSeeChangesAndEndWithTheDefinition) {
    define();
    const auto watch = cluster.start("GET", std::string(kTabs) + "?watch=true&resourceVersion=0");
    cluster.call("POST", kTabs, tab("a"));
    const auto lines = watch->wait_lines(1);
    ASSERT_FALSE(lines.empty());
    EXPECT_TRUE(lines[0].starts_with(R"({"type":"ADDED","object":{"kind":"CronTab")")) << lines[0];
    cluster.call("DELETE", std::string(kDefinitions) + "/crontabs.stable.example.com");
    // ADDED, DELETED, and then the end: more lines never come.
    EXPECT_EQ(watch->wait_lines(100).size(), 2U);
}

TEST_F(Custom, ADefinitionTakesItsObjectsAlong) {
    define();
    cluster.call("POST", kTabs, tab("a"));
    std::string held = tab("held");
    held.insert(held.find(R"("name")"), R"("finalizers":["example.com/hold"],)");
    ASSERT_EQ(cluster.call("POST", kTabs, held).status, 201);
    const std::string name = std::string(kDefinitions) + "/crontabs.stable.example.com";
    const Reply going = cluster.call("DELETE", name);
    EXPECT_EQ(going.at("/metadata/finalizers"),
              R"(["customresourcecleanup.apiextensions.k8s.io"])");
    EXPECT_TRUE(becomes(std::string(kTabs) + "/a", 404));
    EXPECT_EQ(wait_for("crontabs.stable.example.com", "Terminating"), "True");
    const Reply late = cluster.call("POST", kTabs, tab("late"));
    EXPECT_EQ(late.status, 405);
    EXPECT_EQ(late.at("/message"),
              "create not allowed while custom resource definition is terminating");
    EXPECT_EQ(cluster.call("GET", name).status, 200);
    cluster.call("PATCH", std::string(kTabs) + "/held", R"({"metadata":{"finalizers":null}})",
                 {{"content-type", "application/merge-patch+json"}});
    EXPECT_TRUE(becomes(name, 404));
    EXPECT_EQ(cluster.call("GET", kTabs).status, 404);
}

TEST_F(Custom, NamesBelongToWhomTheyWereGiven) {
    define();
    ASSERT_EQ(cluster.call("POST", kDefinitions, definition("others", "Other", "ct")).status, 201);
    EXPECT_EQ(wait_for("others.stable.example.com", "NamesAccepted"), "False");
    EXPECT_EQ(wait_for("others.stable.example.com", "Established"), "False");
    EXPECT_EQ(cluster.call("GET", "/apis/stable.example.com/v1/others").status, 404);
    // With the first definition its names become free.
    cluster.call("DELETE", std::string(kDefinitions) + "/crontabs.stable.example.com");
    EXPECT_TRUE(becomes("/apis/stable.example.com/v1/others", 200));
}

TEST_F(Custom, AChangedSchemaHoldsAtOnce) {
    define();
    cluster.call("POST", kTabs, tab("a"));
    const std::string name = std::string(kDefinitions) + "/crontabs.stable.example.com";
    const Reply changed = cluster.call(
        "PATCH", name,
        R"([{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size",
             "value":{"type":"string","default":"big"}}])",
        {{"content-type", "application/json-patch+json"}});
    ASSERT_EQ(changed.status, 200) << changed.body;
    EXPECT_EQ(changed.at("/metadata/generation"), "2");
    // Defaults reach objects that were stored before.
    std::string size;
    for (int i = 0; i < 2'000 && size.empty(); ++i) {
        size = cluster.call("GET", std::string(kTabs) + "/a").at("/spec/size");
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(size, "big");
}

TEST_F(Custom, BadDefinitionsAreRefused) {
    const auto refusal = [this](const std::string& from, const std::string& to) {
        std::string text = definition();
        text.replace(text.find(from), from.size(), to);
        const Reply reply = cluster.call("POST", kDefinitions, text);
        EXPECT_EQ(reply.status, 422) << reply.body;
        return reply.at("/message");
    };
    EXPECT_EQ(refusal("crontabs.stable", "tabs.stable"),
              "CustomResourceDefinition.apiextensions.k8s.io \"tabs.stable.example.com\" is invalid: "
              "metadata.name: Invalid value: \"tabs.stable.example.com\": must be "
              "spec.names.plural+\".\"+spec.group");
    EXPECT_NE(refusal(R"("scope":"Namespaced")", R"("scope":"Everywhere")")
                  .find(R"(spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced")"),
              std::string::npos);
    EXPECT_NE(refusal(R"("storage":true)", R"("storage":false)")
                  .find("must have exactly one version marked as storage version"),
              std::string::npos);
    EXPECT_NE(refusal(R"("names":)", R"("conversion":{"strategy":"Webhook"},"names":)")
                  .find("spec.conversion.webhookClientConfig: Required value: required when strategy is set to "
                        "Webhook"),
              std::string::npos);
    EXPECT_NE(refusal(R"("names":)", R"("conversion":{"strategy":"None","webhook":{"clientConfig":{},
                  "conversionReviewVersions":["v1"]}},"names":)")
                  .find("spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not "
                        "set to Webhook"),
              std::string::npos);
    EXPECT_NE(refusal(R"("names":)", R"("conversion":{"strategy":"Webhook","webhook":{"clientConfig":{
                  "url":"http://x.example"},"conversionReviewVersions":["v2"]}},"names":)")
                  .find("spec.conversion.conversionReviewVersions: Invalid value: []string{\"v2\"}: must include at "
                        "least one of v1, v1beta1"),
              std::string::npos);
}

TEST_F(Custom, NamespacesAreEmptiedOfThem) {
    define();
    cluster.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"n"}})");
    ASSERT_EQ(cluster.call("POST", "/apis/stable.example.com/v1/namespaces/n/crontabs", tab("a")).status, 201);
    cluster.call("DELETE", "/api/v1/namespaces/n");
    EXPECT_TRUE(becomes("/api/v1/namespaces/n", 404));
    EXPECT_FALSE(*cluster.store().get("/registry/stable.example.com/crontabs/n/a"));
}

TEST_F(Custom, KindsAreServedAgainAfterARestart) {
    define();
    cluster.call("POST", kTabs, tab("a"));
    cluster.restart();
    EXPECT_EQ(cluster.call("GET", std::string(kTabs) + "/a").at("/spec/image"), "busybox");
}

}  // namespace
}  // namespace sluice::registry::testing
