#include "control/controllers/deployment/history.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"

namespace sluice::controllers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <class T>
T parse(const std::string& text) {
    T out;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
    return out;
}

std::string pod_template(const std::string& image, const std::string& hash = {}) {
    std::string labels = R"(labels { key: "app" value: "web" })";
    if (!hash.empty()) labels += R"(labels { key: "pod-template-hash" value: ")" + hash + "\" }";
    return "template { metadata { " + labels + R"( } spec { containers { name: "c" image: ")" +
           image + "\" } } }";
}

Deployment deployment(const std::string& image, const std::string& more = {}) {
    return parse<Deployment>(R"(metadata { name: "web" } spec { )" + pod_template(image) + more +
                             " }");
}

ReplicaSet replica_set(const std::string& name, const std::string& image, int created = 0) {
    return parse<ReplicaSet>("metadata { name: \"" + name + "\" creationTimestamp { seconds: " +
                             std::to_string(created) + " } } spec { " +
                             pod_template(image, name) + " }");
}

ReplicaSetPtr shared(ReplicaSet set) { return std::make_shared<ReplicaSet>(std::move(set)); }

ReplicaSetPtr revision(std::int64_t number, const std::string& more = {},
                       const std::string& metadata = {}) {
    ReplicaSet set = parse<ReplicaSet>("metadata { name: \"r" + std::to_string(number) + "\" " +
                                       metadata + " } " + more);
    (*set.mutable_metadata()->mutable_annotations())[kRevisionAnnotation] =
        std::to_string(number);
    return shared(std::move(set));
}

std::vector<std::string> names(const ReplicaSets& sets) {
    std::vector<std::string> out;
    for (const auto& set : sets) out.push_back(set->metadata().name());
    return out;
}

TEST(HistoryTest, TheNewSetIsTheOldestOfTheSameTemplate) {
    const ReplicaSets sets = {shared(replica_set("b", "web:1", 20)),
                              shared(replica_set("a", "web:1", 10)),
                              shared(replica_set("d", "web:1", 30)),
                              shared(replica_set("c", "web:2", 5))};
    ASSERT_NE(find_new_set(deployment("web:1"), sets), nullptr);
    EXPECT_EQ(find_new_set(deployment("web:1"), sets)->metadata().name(), "a");
    EXPECT_EQ(find_new_set(deployment("web:2"), sets)->metadata().name(), "c");
    EXPECT_EQ(find_new_set(deployment("web:3"), sets), nullptr);
    EXPECT_EQ(find_new_set(deployment("web:1"), {}), nullptr);
}

// Only the label that the controller itself adds may differ.
TEST(HistoryTest, AnotherLabelIsAnotherTemplate) {
    Deployment labelled = deployment("web:1");
    (*labelled.mutable_spec()->mutable_template_()->mutable_metadata()->mutable_labels())["tier"] =
        "front";
    EXPECT_EQ(find_new_set(labelled, {shared(replica_set("a", "web:1"))}), nullptr);
}

TEST(HistoryTest, AnnotationsFollowTheDeploymentButForTheirOwn) {
    Deployment source = deployment("web:1");
    auto& annotations = *source.mutable_metadata()->mutable_annotations();
    annotations["kubernetes.io/change-cause"] = "first";
    annotations["kubectl.kubernetes.io/last-applied-configuration"] = "{}";
    annotations[kRevisionAnnotation] = "7";
    ReplicaSet set;
    EXPECT_TRUE(annotate(source, 1, false, &set));
    const auto& got = set.metadata().annotations();
    EXPECT_EQ(got.at("kubernetes.io/change-cause"), "first");
    EXPECT_EQ(got.at(kRevisionAnnotation), "1");
    EXPECT_EQ(got.size(), 2U);
    EXPECT_FALSE(annotate(source, 1, true, &set)) << "nothing is left to change";
}

// kubectl rollout history shows the revision; what the set was before is kept beside it.
TEST(HistoryTest, AnUndoKeepsEarlierRevisions) {
    ReplicaSet set;
    annotate(deployment("web:1"), 1, false, &set);
    EXPECT_TRUE(annotate(deployment("web:1"), 3, true, &set));
    EXPECT_EQ(revision_of(set), 3);
    EXPECT_EQ(set.metadata().annotations().at(kRevisionHistoryAnnotation), "1");
    annotate(deployment("web:1"), 5, true, &set);
    EXPECT_EQ(set.metadata().annotations().at(kRevisionHistoryAnnotation), "1,3");
    EXPECT_FALSE(annotate(deployment("web:1"), 4, true, &set)) << "revisions never go back";
    EXPECT_EQ(revision_of(set), 5);
}

TEST(HistoryTest, TheRecordOfRevisionsIsCutAtItsLimit) {
    ReplicaSet set;
    for (int number = 1; number <= 1'000; ++number) annotate(Deployment(), number, true, &set);
    const auto& history = set.metadata().annotations().at(kRevisionHistoryAnnotation);
    EXPECT_LE(history.size(), kMaxRevisionHistoryBytes);
    EXPECT_TRUE(history.ends_with(",998,999"));
    (*set.mutable_metadata()->mutable_annotations())[kRevisionHistoryAnnotation] =
        std::string(10'000, 'x');
    annotate(Deployment(), 1'001, true, &set);
    EXPECT_EQ(set.metadata().annotations().at(kRevisionHistoryAnnotation), "1000");
}

TEST(HistoryTest, RevisionsThatAreNoNumbers) {
    for (const char* text : {"", "x", "-3", "7x", "9223372036854775807", "99999999999999999999"}) {
        ReplicaSet set;
        (*set.mutable_metadata()->mutable_annotations())[kRevisionAnnotation] = text;
        EXPECT_EQ(revision_of(set), 0) << text;
    }
    EXPECT_EQ(highest_revision({revision(3), revision(12), revision(5)}), 12);
}

// The defaults, "25%" of 10: 3 more (rounded up), 2 fewer (rounded down).
TEST(HistoryTest, BoundsAreRoundedAwayFromEachOther) {
    const std::string quarter =
        R"(strategy { type: "RollingUpdate" rollingUpdate {
             maxSurge { type: 1 strVal: "25%" } maxUnavailable { type: 1 strVal: "25%" } } })";
    const Bounds ten = bounds_of(deployment("i", "replicas: 10 " + quarter));
    EXPECT_EQ(ten.surge, 3);
    EXPECT_EQ(ten.unavailable, 2);
    const Bounds one = bounds_of(deployment("i", "replicas: 1 " + quarter));
    EXPECT_EQ(one.surge, 1);
    EXPECT_EQ(one.unavailable, 0);
}

TEST(HistoryTest, BoundsLeaveRoomToMove) {
    const std::string none = R"(strategy { type: "RollingUpdate" rollingUpdate {
        maxSurge { type: 1 strVal: "0%" } maxUnavailable { type: 1 strVal: "5%" } } })";
    const Bounds small = bounds_of(deployment("i", "replicas: 4 " + none));
    EXPECT_EQ(small.surge, 0);
    EXPECT_EQ(small.unavailable, 1);
    EXPECT_EQ(bounds_of(deployment("i", "replicas: 0 " + none)).unavailable, 0);
    const Bounds recreate =
        bounds_of(deployment("i", R"(replicas: 4 strategy { type: "Recreate" })"));
    EXPECT_EQ(recreate.surge + recreate.unavailable, 0);
}

TEST(HistoryTest, SizesAreRemembered) {
    ReplicaSet set;
    EXPECT_FALSE(remembers_other_size(set, 3)) << "a set that remembers nothing is no scaling";
    EXPECT_TRUE(annotate_size(10, {3, 2}, &set));
    EXPECT_FALSE(annotate_size(10, {3, 2}, &set));
    EXPECT_EQ(set.metadata().annotations().at(kDesiredReplicasAnnotation), "10");
    EXPECT_EQ(set.metadata().annotations().at(kMaxReplicasAnnotation), "13");
    EXPECT_FALSE(remembers_other_size(set, 10));
    EXPECT_TRUE(remembers_other_size(set, 11));
    EXPECT_EQ(size_of(set).max_replicas, 13);
    annotate_size(INT32_MAX, {INT32_MAX, 0}, &set);
    EXPECT_EQ(size_of(set).max_replicas, INT32_MAX);
}

TEST(HistoryTest, TheOldestBeyondTheLimitGo) {
    const Deployment two = deployment("i", "revisionHistoryLimit: 2");
    EXPECT_THAT(names(superfluous(two, {revision(4), revision(1), revision(3), revision(2)})),
                ElementsAre("r1", "r2"));
    EXPECT_THAT(superfluous(two, {revision(1), revision(2)}), IsEmpty());
    EXPECT_THAT(names(superfluous(deployment("i", "revisionHistoryLimit: 0"), {revision(9)})),
                ElementsAre("r9"));
    EXPECT_THAT(superfluous(deployment("i"), {revision(1), revision(2)}), IsEmpty());
}

TEST(HistoryTest, SetsWithPodsOrUnseenChangesStay) {
    const Deployment none = deployment("i", "revisionHistoryLimit: 0");
    EXPECT_THAT(names(superfluous(none, {revision(1, "status { replicas: 1 }"),
                                         revision(2, "spec { replicas: 1 }"),
                                         revision(3, {}, "generation: 2"),
                                         revision(4)})),
                ElementsAre("r4"));
}

// A set that is on its way out (its finalizer, say) is not replaced by the next younger one.
TEST(HistoryTest, WhatIsBeingDeletedIsNotCounted) {
    const Deployment one = deployment("i", "revisionHistoryLimit: 1");
    const auto leaving = revision(1, {}, "deletionTimestamp { seconds: 5 }");
    EXPECT_THAT(superfluous(one, {leaving, revision(2)}), IsEmpty());
}

}  // namespace
}  // namespace sluice::controllers
