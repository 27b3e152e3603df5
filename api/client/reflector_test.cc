// The reflector against a scripted server: what it asks for, and what its consumer is told.
#include "api/client/reflector.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "api/client/fake_http.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
namespace meta = codec::metav1;

std::string object(const std::string& name, int version) {
    return R"({"kind":"Service","apiVersion":"v1","metadata":{"name":")" + name +
           R"(","namespace":"d","uid":"u-)" + name + R"(","resourceVersion":")" +
           std::to_string(version) + R"("}})";
}

FakeAnswer list(int version, const std::vector<std::string>& objects, const std::string& token = "") {
    std::string items;
    for (const auto& text : objects) items += (items.empty() ? "" : ",") + text;
    FakeAnswer answer;
    answer.chunks = {R"({"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":")" +
                     std::to_string(version) + R"(","continue":")" + token + R"("},"items":[)" +
                     items + "]}"};
    return answer;
}

std::string event(const std::string& type, const std::string& content) {
    return R"({"type":")" + type + R"(","object":)" + content + "}\n";
}

std::string status(int code, const std::string& reason) {
    return R"({"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":")" +
           reason + R"(","code":)" + std::to_string(code) + "}";
}

FakeAnswer watch(std::vector<std::string> chunks) {
    FakeAnswer answer;
    answer.chunks = std::move(chunks);
    return answer;
}

FakeAnswer refused(int code, const std::string& reason) {
    FakeAnswer answer;
    answer.status = code;
    answer.chunks = {status(code, reason)};
    return answer;
}

struct Played {
    std::vector<std::string> targets;
    std::vector<std::string> told;  // "+d/a@3", "-d/b", "synced", "not served"
    std::vector<std::uint32_t> waits;
};

Played play(std::deque<FakeAnswer> script, bool streaming = false) {
    auto http = std::make_unique<FakeHttp>();
    FakeHttp* fake = http.get();
    fake->script = std::move(script);
    std::stop_source stop;
    fake->exhausted = [&] { stop.request_stop(); };
    Client client(std::move(http));
    Played run;
    ReflectorEnvironment environment;
    std::uint64_t now_ms = 0;
    environment.sleep = [&](std::uint32_t wait_ms, const std::stop_token& token) {
        run.waits.push_back(wait_ms);
        now_ms += wait_ms;
        return !token.stop_requested();
    };
    environment.random = [](std::uint32_t low, std::uint32_t) { return low; };
    environment.now_ms = [&] { return now_ms; };
    const Sink sink = [&](Batch batch) {
        for (const auto& delta : batch.deltas) {
            run.told.push_back(
                delta.object ? "+" + delta.key + "@" + codec::object_meta(*delta.object).resourceversion()
                             : "-" + delta.key);
        }
        if (batch.synced) run.told.emplace_back("synced");
        if (batch.not_served) run.told.emplace_back("not served");
        return true;
    };
    ReflectorOptions options;
    options.streaming_list = streaming;
    options.selection.label_selector = "!a/b";
    run_reflector(client, *codec::find_resource("", "v1", "services"), options, environment, sink,
                  stop.get_token());
    run.targets = fake->targets;
    run.targets.pop_back();  // the one that found the script used up
    return run;
}

TEST(Reflector, ListsAtZeroThenWatchesWithBookmarksFromThere) {
    const Played run = play({list(7, {object("a", 3)}), watch({event("ADDED", object("b", 8))})});
    EXPECT_THAT(run.targets,
                ElementsAre("/api/v1/services?labelSelector=%21a%2Fb&resourceVersion=0",
                            "/api/v1/services?watch=true&labelSelector=%21a%2Fb&resourceVersion=7&"
                            "timeoutSeconds=300&allowWatchBookmarks=true"));
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "synced", "+d/b@8"));
}

TEST(Reflector, AnEmptyFirstListStillSaysSynced) {
    EXPECT_THAT(play({list(7, {})}).told, ElementsAre("synced"));
}

TEST(Reflector, AWatchGoesOnFromTheLastVersionAndBookmarksCount) {
    const Played run = play({list(7, {}), watch({event("ADDED", object("a", 9))}),
                          watch({event("BOOKMARK", object("", 20))}), watch({})});
    EXPECT_THAT(run.targets[2], HasSubstr("resourceVersion=9&"));
    EXPECT_THAT(run.targets[3], HasSubstr("resourceVersion=20&"));
    EXPECT_THAT(run.told, ElementsAre("synced", "+d/a@9"));
}

TEST(Reflector, AnExpiredVersionLeadsToAListAtTheLastVersionAndDeletesAreNoticed) {
    const Played run = play({list(7, {object("a", 3), object("b", 4)}),
                          watch({event("ERROR", status(410, "Expired"))}),
                          list(30, {object("b", 4), object("c", 25)})});
    EXPECT_THAT(run.targets[2], HasSubstr("resourceVersion=7"));
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "+d/b@4", "synced", "+d/c@25", "-d/a"));
}

// Told again is what has another version, and what has the version of old but is another object (a store that was
// restored counts anew); also of what was last heard of by the watch.
TEST(Reflector, ANewListTellsOfWhatChangedMeanwhileAndOfNothingElse) {
    std::string other = object("d", 6);
    other.replace(other.find("u-d"), 3, "v-d");
    const Played run = play({list(7, {object("a", 3), object("b", 4), object("d", 6)}),
                          watch({event("MODIFIED", object("a", 8)), event("ERROR", status(410, "Expired"))}),
                          list(30, {object("a", 8), object("b", 5), other})});
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "+d/b@4", "+d/d@6", "synced", "+d/a@8", "+d/b@5", "+d/d@6"));
}

TEST(Reflector, AListThatIsExpiredTooAsksForTheNewest) {
    const Played run = play({list(7, {}), refused(410, "Expired"), refused(410, "Expired"), list(90, {})});
    EXPECT_THAT(run.targets[2], HasSubstr("resourceVersion=7"));
    EXPECT_THAT(run.targets[3], Not(HasSubstr("resourceVersion")));
}

TEST(Reflector, ADroppedConnectionIsTakenUpFromTheLastVersionAfterAWait) {
    FakeAnswer dropped = watch({event("ADDED", object("a", 9)), R"({"type":"ADD)"});
    dropped.end = Error{Code::kUnavailable, "reset", 0};
    const Played run = play({list(7, {}), dropped, watch({})});
    EXPECT_THAT(run.targets[2], HasSubstr("resourceVersion=9&"));
    ASSERT_FALSE(run.waits.empty());
    EXPECT_EQ(run.waits[0], 800U);
}

TEST(Reflector, AnUnreachableServerIsAskedWithDoubledWaitsUpToThirtySeconds) {
    std::deque<FakeAnswer> script(8);
    for (auto& answer : script) answer.unreachable = Error{Code::kUnavailable, "refused", 0};
    EXPECT_THAT(play(script).waits,
                ElementsAre(800, 1600, 3200, 6400, 12'800, 25'600, 30'000, 30'000));
}

TEST(Reflector, TheServersRetryAfterIsObeyed) {
    FakeAnswer busy = refused(429, "TooManyRequests");
    busy.headers.emplace_back("retry-after", "5");
    EXPECT_THAT(play({busy, list(1, {})}).waits, ElementsAre(5000));
}

TEST(Reflector, GarbageInAWatchLeadsToAList) {
    const Played run = play({list(7, {object("a", 3)}), watch({"garbage"}), list(8, {})});
    EXPECT_THAT(run.targets[2], Not(HasSubstr("watch=true")));
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "synced", "-d/a"));
}

TEST(Reflector, PagesAreFollowedToTheEnd) {
    const Played run = play({list(7, {object("a", 3)}, "t1"), list(7, {object("b", 4)})});
    EXPECT_THAT(run.targets[1], HasSubstr("continue=t1"));
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "+d/b@4", "synced"));
}

TEST(Reflector, AKindThatIsNotServedIsToldOnceAndAskedForSlowly) {
    const Played run = play({refused(404, "NotFound"), refused(404, "NotFound"), list(3, {})});
    EXPECT_THAT(run.told, ElementsAre("not served", "synced"));
    EXPECT_THAT(run.waits, ElementsAre(60'000, 60'000));
}

TEST(Reflector, EventsThatArriveTogetherAreOneBatchWithTheLastStateOfEachObject) {
    const Played run = play({list(7, {object("a", 3)}),
                          watch({event("MODIFIED", object("a", 8)) + event("ADDED", object("b", 9)) +
                                 event("MODIFIED", object("a", 10)) + event("DELETED", object("b", 11))})});
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "synced", "+d/a@10", "-d/b"));
}

TEST(Reflector, AStreamingListEndsWithItsMark) {
    const std::string mark = R"({"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"12",)"
                             R"("annotations":{"k8s.io/initial-events-end":"true"}}})";
    const Played run = play({watch({event("ADDED", object("a", 3)), event("BOOKMARK", mark),
                                 event("ADDED", object("b", 13))})}, true);
    EXPECT_THAT(run.targets[0], HasSubstr("sendInitialEvents=true&resourceVersionMatch=NotOlderThan"));
    EXPECT_THAT(run.targets, SizeIs(1));
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "synced", "+d/b@13"));
}

// What has come is handed over while the rest is read, and not again when the list has to be read once more.
TEST(Reflector, AStreamingListThatBreaksOffGoesOnWhereItWas) {
    const std::string mark = R"({"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"9000",)"
                             R"("annotations":{"k8s.io/initial-events-end":"true"}}})";
    std::string first, second;
    constexpr std::uint32_t kCount = 2 * kFillPart + 5;
    for (std::uint32_t i = 0; i < kCount; ++i) {
        first += event("ADDED", object(fmt::format("s{}", i), i + 3));
        // One is gone, one has changed.
        if (i != 1) second += event("ADDED", object(fmt::format("s{}", i), i == 2 ? 8000 : i + 3));
    }
    FakeAnswer dropped = watch({first});
    dropped.end = Error{Code::kUnavailable, "reset", 0};
    const Played run = play({dropped, watch({second + event("BOOKMARK", mark)})}, true);
    ASSERT_THAT(run.told, SizeIs(kCount + 3));
    EXPECT_EQ(run.told[0], "+d/s0@3");
    EXPECT_EQ(run.told.back(), "synced");
    const std::set<std::string> told(run.told.begin(), run.told.end());
    EXPECT_THAT(told, SizeIs(kCount + 3));
    EXPECT_TRUE(told.contains("+d/s2@8000"));
    EXPECT_TRUE(told.contains("-d/s1"));
    for (std::uint32_t i = 0; i < kCount; ++i) EXPECT_TRUE(told.contains(fmt::format("+d/s{}@{}", i, i + 3))) << i;
}

TEST(Reflector, AServerWithoutStreamingListsIsListed) {
    const Played run = play({refused(422, "Invalid"), list(7, {object("a", 3)})}, true);
    EXPECT_THAT(run.told, ElementsAre("+d/a@3", "synced"));
    EXPECT_THAT(run.waits, SizeIs(0));
}

TEST(Client, ReadsProtobufAnswersAndWatchEvents) {
    const auto& kind = *codec::find_resource("", "v1", "services");
    ::k8s::io::api::core::v1::Service service;
    service.mutable_metadata()->set_name("a");
    service.mutable_spec()->set_clusterip("10.96.0.1");
    const std::string enveloped = codec::encode_protobuf(service, kind.gvk);
    meta::WatchEvent wire;
    wire.set_type("MODIFIED");
    wire.mutable_object()->set_raw(enveloped);
    const auto decoded = decode_watch_event(Encoding::kProtobuf, wire.SerializeAsString(), kind);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(decoded->type, WatchEvent::Type::kModified);
    EXPECT_EQ(codec::object_meta(*decoded->object).name(), "a");

    auto http = std::make_unique<FakeHttp>();
    FakeHttp* fake = http.get();
    FakeAnswer answer;
    answer.content_type = "application/vnd.kubernetes.protobuf";
    answer.chunks = {enveloped};
    fake->script = {answer, refused(404, "NotFound")};
    Client client(std::move(http));
    const auto got = client.get(kind, "d", "a");
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(fake->targets[0], "/api/v1/namespaces/d/services/a");
    const auto missing = client.get(kind, "d", "b");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kNotFound);
    EXPECT_EQ(missing.error().reason, "NotFound");
}

}  // namespace
}  // namespace sluice::client
