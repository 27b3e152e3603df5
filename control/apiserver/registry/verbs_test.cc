// The verbs: lists and continue tokens, patches, deletion, namespaces, content types.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";

std::string map_path(const std::string& name) { return std::string(kMaps) + "/" + name; }

Reply make_map(Cluster& cluster, const std::string& name, const std::string& labels = "{}") {
    return cluster.call("POST", kMaps,
                        R"({"metadata":{"name":")" + name + R"(","labels":)" + labels +
                            R"(},"data":{"k":"v"}})");
}

TEST(Paths, OnlyResourcesAreHandled) {
    Cluster cluster;
    EXPECT_TRUE(cluster.api().handles("/api/v1/pods"));
    EXPECT_TRUE(cluster.api().handles("/api/v1/nosuch"));
    EXPECT_TRUE(cluster.api().handles("/apis/discovery.k8s.io/v1/endpointslices"));
    EXPECT_FALSE(cluster.api().handles("/api/v1"));
    EXPECT_FALSE(cluster.api().handles("/apis/nope.io/v1/things"));
    EXPECT_FALSE(cluster.api().handles("/healthz"));
    EXPECT_EQ(cluster.call("GET", "/api/v1/nosuch").status, 404);
}

TEST(List, PagesAreExactAtOneRevision) {
    Cluster cluster;
    for (const char* name : {"a", "b", "c", "d"}) ASSERT_EQ(make_map(cluster, name).status, 201);
    const Reply first = cluster.call("GET", std::string(kMaps) + "?limit=2");
    EXPECT_EQ(first.at("/items/1/metadata/name"), "b");
    EXPECT_EQ(first.at("/metadata/remainingItemCount"), "2");
    const std::string token = first.at("/metadata/continue");
    ASSERT_EQ(cluster.call("DELETE", map_path("c")).status, 200);
    ASSERT_EQ(make_map(cluster, "e").status, 201);
    const Reply second = cluster.call("GET", std::string(kMaps) + "?limit=5&continue=" + token);
    EXPECT_EQ(second.at("/items/0/metadata/name"), "c");
    EXPECT_EQ(second.at("/items/1/metadata/name"), "d");
    EXPECT_EQ(second.at("/items/2"), "");
    EXPECT_EQ(second.at("/metadata/continue"), "");
    EXPECT_EQ(second.at("/metadata/resourceVersion"), first.at("/metadata/resourceVersion"));
}

TEST(List, WithASelectorNobodyKnowsHowManyRemain) {
    Cluster cluster;
    for (const char* name : {"a", "b", "c"}) make_map(cluster, name, R"({"l":"x"})");
    make_map(cluster, "z");
    const Reply page = cluster.call("GET", std::string(kMaps) + "?limit=2&labelSelector=l%3Dx");
    EXPECT_EQ(page.at("/metadata/remainingItemCount"), "");
    const Reply rest = cluster.call("GET", std::string(kMaps) + "?limit=2&labelSelector=l%3Dx&continue=" +
                                               page.at("/metadata/continue"));
    EXPECT_EQ(rest.at("/items/0/metadata/name"), "c");
    EXPECT_EQ(rest.at("/items/1"), "");
    const Reply by_name =
        cluster.call("GET", std::string(kMaps) + "?fieldSelector=metadata.name%3Db&limit=500");
    EXPECT_EQ(by_name.at("/items/0/metadata/name"), "b");
    EXPECT_EQ(by_name.at("/items/1"), "");
}

TEST(List, AnExpiredTokenCanBeContinuedInconsistently) {
    Cluster cluster;
    for (const char* name : {"a", "b", "c"}) make_map(cluster, name);
    const Reply first = cluster.call("GET", std::string(kMaps) + "?limit=1");
    make_map(cluster, "d");
    ASSERT_TRUE(cluster.store().compact(cluster.store().revision()).has_value());
    const Reply gone = cluster.call(
        "GET", std::string(kMaps) + "?limit=1&continue=" + first.at("/metadata/continue"));
    EXPECT_EQ(gone.status, 410) << gone.body;
    EXPECT_EQ(gone.at("/reason"), "Expired");
    const Reply next = cluster.call(
        "GET", std::string(kMaps) + "?limit=9&continue=" + gone.at("/metadata/continue"));
    EXPECT_EQ(next.status, 200) << next.body;
    EXPECT_EQ(next.at("/items/0/metadata/name"), "b");
    EXPECT_EQ(next.at("/items/2/metadata/name"), "d");
}

TEST(Update, NoOpKeepsTheVersionAndAChangeRaisesIt) {
    Cluster cluster;
    const Reply made = make_map(cluster, "a");
    const Reply same = cluster.call("PUT", map_path("a"), made.body);
    EXPECT_EQ(same.at("/metadata/resourceVersion"), made.at("/metadata/resourceVersion"));
    const Reply changed =
        cluster.call("PUT", map_path("a"), R"({"metadata":{"name":"a"},"data":{"k":"w"}})");
    EXPECT_EQ(changed.status, 200);
    EXPECT_NE(changed.at("/metadata/resourceVersion"), made.at("/metadata/resourceVersion"));
    EXPECT_EQ(changed.at("/metadata/uid"), made.at("/metadata/uid"));
    EXPECT_EQ(cluster.call("PUT", map_path("a"), made.body).status, 409);
}

TEST(Update, LeaseIsMadeByPut) {
    Cluster cluster;
    const std::string path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    const Reply made = cluster.call("PUT", path, R"({"metadata":{"name":"l"}})");
    EXPECT_EQ(made.status, 201) << made.body;
}

TEST(Patch, OfThreeTypesAndNoOther) {
    Cluster cluster;
    make_map(cluster, "p");
    const Reply merged =
        cluster.call("PATCH", map_path("p"), R"({"data":{"k":null,"b":"2"}})", kMerge);
    EXPECT_EQ(merged.at("/data"), R"({"b":"2"})") << merged.body;
    const Reply json = cluster.call("PATCH", map_path("p"),
                                    R"([{"op":"add","path":"/data/d","value":"4"}])",
                                    {{"Content-Type", "application/json-patch+json"}});
    EXPECT_EQ(json.at("/data"), R"({"b":"2","d":"4"})") << json.body;
    const Reply strategic =
        cluster.call("PATCH", map_path("p"), R"({"data":{"b":null}})",
                     {{"Content-Type", "application/strategic-merge-patch+json"}});
    EXPECT_EQ(strategic.at("/data"), R"({"d":"4"})") << strategic.body;
    const Reply none = cluster.call("PATCH", map_path("p"), "{}",
                                    {{"Content-Type", "application/json"}});
    EXPECT_EQ(none.status, 415);
    EXPECT_EQ(none.at("/reason"), "UnsupportedMediaType");
}

TEST(Delete, AnswersStatusOrTheObjectThatLingers) {
    Cluster cluster;
    const Reply made = make_map(cluster, "a");
    const Reply gone = cluster.call("DELETE", map_path("a"));
    EXPECT_EQ(gone.at("/status"), "Success");
    EXPECT_EQ(gone.at("/details/uid"), made.at("/metadata/uid"));
    cluster.call("POST", kMaps, R"({"metadata":{"name":"f","finalizers":["x.io/f"]}})");
    const Reply lingers = cluster.call("DELETE", map_path("f"));
    EXPECT_EQ(lingers.at("/metadata/deletionGracePeriodSeconds"), "0") << lingers.body;
    EXPECT_NE(lingers.at("/metadata/deletionTimestamp"), "");
    cluster.call("PATCH", map_path("f"), R"({"metadata":{"finalizers":null}})", kMerge);
    EXPECT_EQ(cluster.call("GET", map_path("f")).status, 404);
}

TEST(Delete, ABoundPodDiesGracefully) {
    Cluster cluster;
    const std::string pods = "/api/v1/namespaces/default/pods";
    const std::string body =
        R"({"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}})";
    const Reply made = cluster.call("POST", pods, body);
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/status/phase"), "Pending");
    EXPECT_EQ(made.at("/status/qosClass"), "BestEffort");
    const Reply dying = cluster.call("DELETE", pods + "/p");
    EXPECT_EQ(dying.at("/metadata/deletionGracePeriodSeconds"), "30") << dying.body;
    EXPECT_EQ(cluster.call("GET", pods + "/p").status, 200);
    EXPECT_EQ(cluster.call("DELETE", pods + "/p?gracePeriodSeconds=0").at("/kind"), "Pod");
    EXPECT_EQ(cluster.call("GET", pods + "/p").status, 404);
}

TEST(Delete, CollectionsBySelector) {
    Cluster cluster;
    for (const char* name : {"a", "b"}) make_map(cluster, name, R"({"l":"x"})");
    make_map(cluster, "c");
    EXPECT_EQ(cluster.call("DELETE", std::string(kMaps) + "?labelSelector=l%3Dx").status, 200);
    const Reply left = cluster.call("GET", kMaps);
    EXPECT_EQ(left.at("/items/0/metadata/name"), "c");
    EXPECT_EQ(left.at("/items/1"), "");
}

TEST(Status, BelongsToItsSubresource) {
    Cluster cluster;
    const std::string node = "/api/v1/nodes/n";
    ASSERT_EQ(cluster.call("POST", "/api/v1/nodes", R"({"metadata":{"name":"n"}})").status, 201);
    cluster.call("PATCH", node, R"({"status":{"phase":"x"},"spec":{"unschedulable":true}})", kMerge);
    EXPECT_EQ(cluster.call("GET", node).at("/status/phase"), "");
    const Reply status = cluster.call(
        "PATCH", node + "/status", R"({"status":{"phase":"x"},"spec":{"unschedulable":null}})", kMerge);
    EXPECT_EQ(status.at("/status/phase"), "x") << status.body;
    EXPECT_EQ(status.at("/spec/unschedulable"), "true");
}

TEST(Namespace, DeletionEmptiesIt) {
    Cluster cluster;
    cluster.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"n"}})");
    const std::string maps = "/api/v1/namespaces/n/configmaps";
    cluster.call("POST", maps, R"({"metadata":{"name":"a"}})");
    EXPECT_EQ(cluster.call("POST", "/api/v1/namespaces/no/configmaps", R"({"metadata":{"name":"a"}})")
                  .status,
              404);
    const Reply dying = cluster.call("DELETE", "/api/v1/namespaces/n");
    EXPECT_EQ(dying.at("/status/phase"), "Terminating") << dying.body;
    for (int i = 0; i < 1000; ++i) {
        if (cluster.call("GET", "/api/v1/namespaces/n").status == 404) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(cluster.call("GET", "/api/v1/namespaces/n").status, 404);
    EXPECT_EQ(cluster.call("GET", maps + "/a").status, 404);
}

TEST(Namespace, ConditionsTellWhatHoldsIt) {
    Cluster cluster;
    cluster.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"n"}})");
    const std::string maps = "/api/v1/namespaces/n/configmaps";
    cluster.call("POST", maps, R"({"metadata":{"name":"a","finalizers":["example.com/hold"]}})");
    cluster.call("POST", maps, R"({"metadata":{"name":"b"}})");
    cluster.call("DELETE", "/api/v1/namespaces/n");
    const auto eventually = [&](const auto& condition) {
        for (int i = 0; i < 1000 && !condition(); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return condition();
    };
    EXPECT_TRUE(eventually([&] {
        const Reply held = cluster.call("GET", "/api/v1/namespaces/n");
        return held.at("/status/conditions/0/message") ==
                   "Some resources are remaining: configmaps. has 1 resource instances" &&
               held.at("/status/conditions/1/message") ==
                   "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
    })) << cluster.call("GET", "/api/v1/namespaces/n").body;
    EXPECT_EQ(cluster.call("GET", maps + "/b").status, 404);
    EXPECT_EQ(cluster.call("PATCH", maps + "/a", R"({"metadata":{"finalizers":null}})", kMerge).status, 200);
    EXPECT_TRUE(eventually([&] { return cluster.call("GET", "/api/v1/namespaces/n").status == 404; }));
}

TEST(Codec, ProtobufBodiesAndAnswers) {
    Cluster cluster;
    corev1::ConfigMap map;
    map.mutable_metadata()->set_name("pb");
    (*map.mutable_data())["k"] = "v";
    const std::string type = "application/vnd.kubernetes.protobuf";
    const Reply made = cluster.call("POST", kMaps, codec::encode_protobuf(map, {"", "v1", "ConfigMap"}),
                                    {{"Content-Type", type}, {"Accept", type}});
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.header("Content-Type"), type);
    const auto envelope = codec::open_envelope(made.body);
    ASSERT_TRUE(envelope.has_value());
    EXPECT_EQ(envelope->gvk.kind, "ConfigMap");
    corev1::ConfigMap answer;
    ASSERT_TRUE(codec::decode_protobuf_raw(envelope->raw, &answer).has_value());
    EXPECT_EQ(answer.data().at("k"), "v");
    EXPECT_FALSE(answer.metadata().resourceversion().empty());
    const Reply list = cluster.call("GET", kMaps, "", {{"Accept", type}});
    const auto list_envelope = codec::open_envelope(list.body);
    ASSERT_TRUE(list_envelope.has_value());
    corev1::ConfigMapList items;
    ASSERT_TRUE(codec::decode_protobuf_raw(list_envelope->raw, &items).has_value());
    ASSERT_EQ(items.items_size(), 1);
    EXPECT_EQ(items.items(0).metadata().name(), "pb");
    EXPECT_EQ(cluster.call("POST", kMaps, "x", {{"Content-Type", "text/plain"}}).status, 415);
}

TEST(Codec, UnknownFieldsWarn) {
    Cluster cluster;
    const Reply warned = cluster.call("POST", kMaps, R"({"metadata":{"name":"w"},"foo":1})");
    EXPECT_EQ(warned.status, 201);
    EXPECT_EQ(warned.header("Warning"), R"(299 - "unknown field \"foo\"")");
    const Reply ignored = cluster.call("POST", std::string(kMaps) + "?fieldValidation=Ignore",
                                       R"({"metadata":{"name":"i"},"foo":1})");
    EXPECT_EQ(ignored.header("Warning"), "");
}

TEST(Create, VersionsMayNotBeGiven) {
    Cluster cluster;
    const Reply reply =
        cluster.call("POST", kMaps, R"({"metadata":{"name":"a","resourceVersion":"5"}})");
    EXPECT_EQ(reply.status, 500);
    const Reply generated = cluster.call("POST", kMaps, R"({"metadata":{"generateName":"g-"}})");
    EXPECT_EQ(generated.at("/metadata/name").size(), 7U);
}

}  // namespace
}  // namespace sluice::registry::testing
