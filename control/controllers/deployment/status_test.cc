// The conditions that kubectl rollout status and kubectl wait judge by.
#include "control/controllers/deployment/status.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "api/kubernetes/apps/v1/apps.pb.h"

namespace sluice::controllers {
namespace {

template <class T>
T parse(const std::string& text) {
    T out;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
    return out;
}

// Three replicas of which none may be missing, with ten minutes to get there.
Deployment deployment(const std::string& more = {}) {
    return parse<Deployment>(
        R"(metadata { name: "web" generation: 4 }
           spec { replicas: 3 progressDeadlineSeconds: 600
                  strategy { type: "RollingUpdate" rollingUpdate {
                      maxSurge { intVal: 1 } maxUnavailable { intVal: 0 } } } } )" + more);
}

ReplicaSetPtr set(const std::string& name, int asked, int there, int available,
                  const std::string& more = {}) {
    const auto number = [](int value) { return std::to_string(value); };
    return std::make_shared<ReplicaSet>(parse<ReplicaSet>(
        "metadata { name: \"" + name + "\" } spec { replicas: " + number(asked) +
        " } status { replicas: " + number(there) + " readyReplicas: " + number(available) +
        " availableReplicas: " + number(available) + " " + more + " }"));
}

DeploymentStatus look(Deployment* deployment, const ReplicaSets& sets, const ReplicaSetPtr& fresh,
                      std::int64_t now_s) {
    *deployment->mutable_status() = next_status(*deployment, sets, fresh, now_s);
    return deployment->status();
}

std::string condition(const DeploymentStatus& status, const std::string& type) {
    const auto* found = find_condition(status, type);
    return found == nullptr ? "none" : found->status() + " " + found->reason();
}

TEST(DeploymentStatusTest, CountsOverAllSets) {
    Deployment web = deployment();
    const auto fresh = set("new", 1, 1, 0, "terminatingReplicas: 1");
    const auto status = look(&web, {fresh, set("old", 3, 3, 2)}, fresh, 100);
    EXPECT_EQ(status.replicas(), 4);
    EXPECT_EQ(status.updatedreplicas(), 1);
    EXPECT_EQ(status.readyreplicas(), 2);
    EXPECT_EQ(status.availablereplicas(), 2);
    EXPECT_EQ(status.unavailablereplicas(), 2);
    EXPECT_EQ(status.terminatingreplicas(), 1);
    EXPECT_EQ(status.observedgeneration(), 4);
}

TEST(DeploymentStatusTest, ZeroIsLeftOut) {
    Deployment web = deployment();
    look(&web, {set("a", 3, 3, 3)}, nullptr, 100);
    const auto status = look(&web, {}, nullptr, 101);
    EXPECT_FALSE(status.has_replicas());
    EXPECT_FALSE(status.has_availablereplicas());
    EXPECT_FALSE(status.has_updatedreplicas());
}

TEST(DeploymentStatusTest, AvailableWhileNoMoreThanAllowedAreMissing) {
    Deployment web = deployment();
    const auto all = set("a", 3, 3, 3);
    EXPECT_EQ(condition(look(&web, {all}, all, 100), "Available"),
              "True MinimumReplicasAvailable");
    const auto fewer = set("a", 3, 3, 2);
    EXPECT_EQ(condition(look(&web, {fewer}, fewer, 200), "Available"),
              "False MinimumReplicasUnavailable");
    EXPECT_EQ(find_condition(web.status(), "Available")->lasttransitiontime().seconds(), 200);
    look(&web, {fewer}, fewer, 300);
    EXPECT_EQ(find_condition(web.status(), "Available")->lasttransitiontime().seconds(), 200);
}

TEST(DeploymentStatusTest, ARolloutFromStartToEnd) {
    Deployment web = deployment();
    auto fresh = set("new", 1, 1, 0);
    EXPECT_EQ(condition(look(&web, {fresh, set("old", 3, 3, 3)}, fresh, 100), "Progressing"),
              "True ReplicaSetUpdated");
    EXPECT_EQ(find_condition(web.status(), "Progressing")->message(),
              "ReplicaSet \"new\" is progressing.");
    fresh = set("new", 3, 3, 3);
    EXPECT_EQ(condition(look(&web, {fresh, set("old", 0, 0, 0)}, fresh, 130), "Progressing"),
              "True NewReplicaSetAvailable");
    const auto* done = find_condition(web.status(), "Progressing");
    EXPECT_EQ(done->message(), "ReplicaSet \"new\" has successfully progressed.");
    EXPECT_EQ(done->lastupdatetime().seconds(), 130);
    EXPECT_EQ(done->lasttransitiontime().seconds(), 100) << "it was True before";
    EXPECT_TRUE(is_complete(web, web.status()));
    // Pods that are lost and come back afterwards are no rollout.
    for (const int available : {1, 2}) {
        fresh = set("new", 3, 3, available);
        EXPECT_EQ(condition(look(&web, {fresh}, fresh, 10'000), "Progressing"),
                  "True NewReplicaSetAvailable");
    }
}

TEST(DeploymentStatusTest, TheDeadlineStrikesWhenNothingMoves) {
    Deployment web = deployment();
    const auto fresh = set("new", 1, 1, 0);
    const ReplicaSets sets = {fresh, set("old", 3, 3, 3)};
    look(&web, sets, fresh, 100);
    EXPECT_EQ(deadline_in(web, web.status(), 100), 601);
    EXPECT_EQ(condition(look(&web, sets, fresh, 700), "Progressing"), "True ReplicaSetUpdated");
    EXPECT_EQ(condition(look(&web, sets, fresh, 701), "Progressing"),
              "False ProgressDeadlineExceeded");
    EXPECT_EQ(find_condition(web.status(), "Progressing")->message(),
              "ReplicaSet \"new\" has timed out progressing.");
    EXPECT_EQ(deadline_in(web, web.status(), 701), std::nullopt);
    // A pod that comes after all is progress.
    const auto ready = set("new", 1, 1, 1);
    EXPECT_EQ(condition(look(&web, {ready, set("old", 3, 3, 3)}, ready, 800), "Progressing"),
              "True ReplicaSetUpdated");
}

TEST(DeploymentStatusTest, ProgressMovesTheDeadline) {
    Deployment web = deployment();
    auto fresh = set("new", 1, 1, 0);
    look(&web, {fresh, set("old", 3, 3, 3)}, fresh, 100);
    fresh = set("new", 1, 1, 1);
    look(&web, {fresh, set("old", 3, 3, 3)}, fresh, 500);
    EXPECT_EQ(deadline_in(web, web.status(), 500), 601);
    EXPECT_EQ(condition(look(&web, {fresh, set("old", 3, 3, 3)}, fresh, 1'000), "Progressing"),
              "True ReplicaSetUpdated");
}

TEST(DeploymentStatusTest, PausedIsNotLate) {
    Deployment web = deployment();
    const auto fresh = set("new", 1, 1, 0);
    const ReplicaSets sets = {fresh, set("old", 3, 3, 3)};
    look(&web, sets, fresh, 100);
    web.mutable_spec()->set_paused(true);
    EXPECT_EQ(condition(look(&web, sets, fresh, 10'000), "Progressing"), "True ReplicaSetUpdated");
    EXPECT_EQ(deadline_in(web, web.status(), 10'000), std::nullopt);
}

// Kubernetes shows no Progressing condition when there is no deadline, or one that never passes.
TEST(DeploymentStatusTest, WithoutADeadlineProgressIsNotJudged) {
    Deployment web = deployment();
    const auto fresh = set("new", 1, 1, 0);
    look(&web, {fresh}, fresh, 100);
    web.mutable_spec()->set_progressdeadlineseconds(INT32_MAX);
    EXPECT_EQ(condition(look(&web, {fresh}, fresh, 101), "Progressing"), "none");
    EXPECT_EQ(deadline_in(web, web.status(), 101), std::nullopt);
    web.mutable_spec()->clear_progressdeadlineseconds();
    EXPECT_EQ(condition(look(&web, {fresh}, fresh, 102), "Progressing"), "none");
}

TEST(DeploymentStatusTest, FailuresOfSetsAreShownTheNewOnesFirst) {
    const auto failing = [](const std::string& name, const std::string& message) {
        return set(name, 3, 0, 0,
                   R"(conditions { type: "ReplicaFailure" status: "True" reason: "FailedCreate"
                      message: ")" + message + "\" }");
    };
    Deployment web = deployment();
    const auto fresh = failing("new", "quota");
    const auto status = look(&web, {failing("old", "other"), fresh}, fresh, 100);
    EXPECT_EQ(condition(status, "ReplicaFailure"), "True FailedCreate");
    EXPECT_EQ(find_condition(status, "ReplicaFailure")->message(), "quota");
    const auto well = set("new", 3, 3, 3);
    EXPECT_EQ(condition(look(&web, {well}, well, 101), "ReplicaFailure"), "none");
}

TEST(DeploymentStatusTest, CompleteNeedsEverything) {
    const Deployment web = deployment();
    const auto status = [](int updated, int replicas, int available, int generation) {
        DeploymentStatus out;
        out.set_updatedreplicas(updated);
        out.set_replicas(replicas);
        out.set_availablereplicas(available);
        out.set_observedgeneration(generation);
        return out;
    };
    EXPECT_TRUE(is_complete(web, status(3, 3, 3, 4)));
    EXPECT_FALSE(is_complete(web, status(2, 3, 3, 4)));
    EXPECT_FALSE(is_complete(web, status(3, 4, 3, 4))) << "an old pod is left";
    EXPECT_FALSE(is_complete(web, status(3, 3, 2, 4)));
    EXPECT_FALSE(is_complete(web, status(3, 3, 3, 3))) << "of an older generation";
}

TEST(DeploymentStatusTest, HugeSizesDoNotWrap) {
    Deployment web = deployment();
    const auto a = set("a", INT32_MAX, 0, 0);
    const auto b = set("b", INT32_MAX, 0, 0);
    EXPECT_EQ(look(&web, {a, b}, a, 100).unavailablereplicas(), INT32_MAX);
}

}  // namespace
}  // namespace sluice::controllers
