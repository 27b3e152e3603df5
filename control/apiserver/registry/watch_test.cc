// Watches: what is sent, in which order, and in which frames.
#include <gtest/gtest.h>

#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/runtime/runtime.pb.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";

std::string at(const std::string& line, std::string_view pointer) {
    return Reply{200, line, {}}.at(pointer);
}

std::string summary(const std::string& line) {
    return at(line, "/type") + " " + at(line, "/object/metadata/name");
}

void make_map(Cluster& cluster, const std::string& name, const std::string& labels = "{}") {
    const Reply made = cluster.call(
        "POST", kMaps, R"({"metadata":{"name":")" + name + R"(","labels":)" + labels + "}}");
    ASSERT_EQ(made.status, 201) << made.body;
}

TEST(Watch, FromAVersionThenLive) {
    Cluster cluster;
    const std::string version = cluster.call("GET", kMaps).at("/metadata/resourceVersion");
    make_map(cluster, "a");
    const auto watch =
        cluster.start("GET", std::string(kMaps) + "?watch=true&resourceVersion=" + version);
    cluster.call("PATCH", std::string(kMaps) + "/a", R"({"data":{"x":"y"}})", kMerge);
    cluster.call("DELETE", std::string(kMaps) + "/a");
    const auto lines = watch->wait_lines(3);
    ASSERT_GE(lines.size(), 3U);
    EXPECT_EQ(summary(lines[0]), "ADDED a");
    EXPECT_EQ(summary(lines[1]), "MODIFIED a");
    EXPECT_EQ(summary(lines[2]), "DELETED a");
    EXPECT_EQ(at(lines[0], "/object/kind"), "ConfigMap");
    // A deletion carries its own version, and the object as it last was.
    EXPECT_EQ(at(lines[2], "/object/data/x"), "y");
    EXPECT_GT(std::stoull(at(lines[2], "/object/metadata/resourceVersion")),
              std::stoull(at(lines[1], "/object/metadata/resourceVersion")));
    watch->hang_up();
}

TEST(Watch, WithoutAVersionBeginsWithWhatIsThere) {
    Cluster cluster;
    make_map(cluster, "a");
    const auto watch = cluster.start("GET", std::string(kMaps) + "?watch=1");
    EXPECT_EQ(summary(watch->wait_lines(1).at(0)), "ADDED a");
    const auto legacy = cluster.start("GET", "/api/v1/watch/namespaces/default/configmaps/a");
    EXPECT_EQ(summary(legacy->wait_lines(1).at(0)), "ADDED a");
}

TEST(Watch, ObjectsEnterAndLeaveTheSelection) {
    Cluster cluster;
    const std::string version = cluster.call("GET", kMaps).at("/metadata/resourceVersion");
    const auto watch = cluster.start(
        "GET", std::string(kMaps) + "?watch=1&labelSelector=l%3Dw&resourceVersion=" + version);
    make_map(cluster, "w", R"({"l":"w"})");
    const std::string path = std::string(kMaps) + "/w";
    cluster.call("PATCH", path, R"({"metadata":{"labels":{"l":"x"}}})", kMerge);
    cluster.call("PATCH", path, R"({"metadata":{"labels":{"l":"w"}}})", kMerge);
    cluster.call("DELETE", path);
    const auto lines = watch->wait_lines(4);
    ASSERT_EQ(lines.size(), 4U);
    EXPECT_EQ(summary(lines[0]), "ADDED w");
    EXPECT_EQ(summary(lines[1]), "DELETED w");
    EXPECT_EQ(at(lines[1], "/object/metadata/labels/l"), "w");
    EXPECT_EQ(summary(lines[2]), "ADDED w");
    EXPECT_EQ(summary(lines[3]), "DELETED w");
}

// Watches of one object share its frames, but not where they see different things happen to it.
TEST(Watch, OneChangeIsAnotherEventToAnotherWatch) {
    Cluster cluster;
    make_map(cluster, "w");
    const std::string version = cluster.call("GET", kMaps).at("/metadata/resourceVersion");
    const std::string path = std::string(kMaps) + "?watch=1&resourceVersion=" + version;
    const auto all = cluster.start("GET", path);
    const auto some = cluster.start("GET", path + "&labelSelector=l%3Dw");
    const auto same = cluster.start("GET", path);
    cluster.call("PATCH", std::string(kMaps) + "/w", R"({"metadata":{"labels":{"l":"w"}}})", kMerge);
    EXPECT_EQ(summary(all->wait_lines(1).at(0)), "MODIFIED w");
    EXPECT_EQ(summary(some->wait_lines(1).at(0)), "ADDED w");
    EXPECT_EQ(same->wait_lines(1).at(0), all->wait_lines(1).at(0));
}

// A crowd that shows the kind alike shares what is made for each change; those that show it in another way, or look at
// less, are not given the crowd's.
TEST(Watch, ACrowdAndOthersSeeTheSameChanges) {
    constexpr int kCrowd = 40;
    constexpr int kChanges = 30;
    Cluster cluster;
    const std::string version = cluster.call("GET", kMaps).at("/metadata/resourceVersion");
    const std::string query = "?watch=1&resourceVersion=" + version;
    std::vector<std::shared_ptr<Recorder>> crowd;
    for (int i = 0; i < kCrowd; ++i) crowd.push_back(cluster.start("GET", kMaps + query));
    const auto everywhere = cluster.start("GET", "/api/v1/configmaps" + query);
    const auto elsewhere = cluster.start("GET", "/api/v1/namespaces/kube-system/configmaps" + query);
    const auto chosen = cluster.start("GET", kMaps + query + "&labelSelector=l%3Dodd");
    const auto one = cluster.start("GET", kMaps + query + "&fieldSelector=metadata.name%3Dm7");
    const auto partial = cluster.start(
        "GET", kMaps + query, "", {{"Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}});
    for (int i = 0; i < kChanges; ++i) {
        make_map(cluster, "m" + std::to_string(i), i % 2 == 1 ? R"({"l":"odd"})" : "{}");
    }
    const auto check = [](const std::vector<std::string>& lines, int step, int first) {
        for (std::size_t i = 0; i < lines.size(); ++i) {
            EXPECT_EQ(summary(lines[i]), "ADDED m" + std::to_string(first + step * static_cast<int>(i)));
        }
    };
    for (const auto& watch : crowd) {
        const auto lines = watch->wait_lines(kChanges);
        ASSERT_EQ(lines.size(), static_cast<std::size_t>(kChanges));
        check(lines, 1, 0);
        EXPECT_EQ(at(lines[3], "/object/kind"), "ConfigMap");
    }
    const auto lines = everywhere->wait_lines(kChanges);
    ASSERT_EQ(lines.size(), static_cast<std::size_t>(kChanges));
    check(lines, 1, 0);
    const auto odd = chosen->wait_lines(kChanges / 2);
    ASSERT_EQ(odd.size(), static_cast<std::size_t>(kChanges / 2));
    check(odd, 2, 1);
    check(one->wait_lines(1), 1, 7);
    const auto heads = partial->wait_lines(kChanges);
    ASSERT_EQ(heads.size(), static_cast<std::size_t>(kChanges));
    check(heads, 1, 0);
    EXPECT_EQ(at(heads[3], "/object/kind"), "PartialObjectMetadata");
    make_map(cluster, "last");
    EXPECT_EQ(summary(crowd.front()->wait_lines(kChanges + 1).back()), "ADDED last");
    EXPECT_EQ(one->wait_lines(1).size(), 1U);
    elsewhere->hang_up();
}

TEST(Watch, TooOldIsOneErrorEvent) {
    Cluster cluster;
    make_map(cluster, "a");
    make_map(cluster, "b");
    ASSERT_TRUE(cluster.store().compact(cluster.store().revision()).has_value());
    const Reply reply = cluster.call("GET", std::string(kMaps) + "?watch=1&resourceVersion=1");
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.at("/type"), "ERROR") << reply.body;
    EXPECT_EQ(reply.at("/object/code"), "410");
    EXPECT_EQ(reply.at("/object/reason"), "Expired");
}

TEST(Watch, InitialEventsEndWithABookmark) {
    Cluster cluster;
    make_map(cluster, "a");
    const auto watch = cluster.start(
        "GET", std::string(kMaps) +
                   "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&"
                   "resourceVersionMatch=NotOlderThan");
    const auto lines = watch->wait_lines(2);
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(summary(lines[0]), "ADDED a");
    EXPECT_EQ(at(lines[1], "/type"), "BOOKMARK");
    EXPECT_EQ(at(lines[1], "/object/metadata/annotations/k8s.io~1initial-events-end"), "true");
}

TEST(Watch, TablesNameTheirColumnsOnce) {
    Cluster cluster;
    make_map(cluster, "a");
    make_map(cluster, "b");
    const auto watch =
        cluster.start("GET", std::string(kMaps) + "?watch=1", "",
                      {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}});
    const auto lines = watch->wait_lines(2);
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(at(lines[0], "/object/columnDefinitions/0/name"), "Name");
    EXPECT_EQ(at(lines[1], "/object/columnDefinitions"), "null");
    EXPECT_EQ(at(lines[1], "/object/rows/0/cells/0"), "b");
}

TEST(Watch, TimesOutAndShutsDown) {
    Cluster cluster;
    const Reply timed = cluster.call("GET", std::string(kMaps) + "?watch=1&timeoutSeconds=1");
    EXPECT_EQ(timed.status, 200);
    make_map(cluster, "a");
    const auto open = cluster.start("GET", std::string(kMaps) + "?watch=1");
    // Its first event shows that it is open; before that, a shutdown would rightly refuse it.
    ASSERT_EQ(open->wait_lines(1).size(), 1U);
    cluster.api().shutdown();
    EXPECT_EQ(open->wait().status, 200);
    EXPECT_EQ(cluster.call("GET", kMaps).status, 503);
}

TEST(Watch, ProtobufFramesAreLengthDelimited) {
    Cluster cluster;
    make_map(cluster, "a");
    const Reply reply =
        cluster.call("GET", std::string(kMaps) + "?watch=1&timeoutSeconds=1", "",
                     {{"Accept", "application/vnd.kubernetes.protobuf"}});
    EXPECT_EQ(reply.header("Content-Type"), "application/vnd.kubernetes.protobuf;stream=watch");
    ASSERT_GT(reply.body.size(), 4U);
    std::size_t size = 0;
    for (int i = 0; i < 4; ++i) {
        size = size << 8U | static_cast<unsigned char>(reply.body[static_cast<std::size_t>(i)]);
    }
    ASSERT_EQ(reply.body.size(), size + 4);
    metav1::WatchEvent event;
    ASSERT_TRUE(event.ParseFromString(reply.body.substr(4)));
    EXPECT_EQ(event.type(), "ADDED");
    const auto envelope = codec::open_envelope(event.object().raw());
    ASSERT_TRUE(envelope.has_value());
    ::k8s::io::api::core::v1::ConfigMap map;
    ASSERT_TRUE(codec::decode_protobuf_raw(envelope->raw, &map).has_value());
    EXPECT_EQ(map.metadata().name(), "a");
}

}  // namespace
}  // namespace sluice::registry::testing
