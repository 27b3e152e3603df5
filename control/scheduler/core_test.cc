// Sequences of events: what is tried when, what wakes a pod that fitted nowhere, what a failed binding leaves.
#include "control/scheduler/core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/scheduler/test_objects.h"

namespace sluice::scheduler::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct CoreTest : ::testing::Test {
    Core core{42};
    Time now = Time{} + std::chrono::hours(1);

    void node(const Node& object) { ASSERT_TRUE(core.set_node(object)); }
    void pod(const std::shared_ptr<const Pod>& object) { EXPECT_FALSE(core.set_pod(object, now)); }
    // "pod>node", "pod>" for one that fitted nowhere, or "".
    std::string next() {
        const auto outcome = core.schedule_next(now);
        return outcome ? outcome->pod->name + ">" + outcome->node : "";
    }
};

TEST_F(CoreTest, HigherPriorityFirstThenTheOlder) {
    node(make_node("a"));
    pod(make_pod("first"));
    now += milliseconds(1);
    pod(make_pod("second"));
    pod(make_pod("urgent", R"("priority":1000)"));
    pod(make_pod("lowest", R"("priority":-2147483648)"));
    EXPECT_EQ(next(), "urgent>a");
    EXPECT_EQ(next(), "first>a");
    EXPECT_EQ(next(), "second>a");
    EXPECT_EQ(next(), "lowest>a");
    EXPECT_EQ(next(), "");
}

TEST_F(CoreTest, OnlyPodsOfThisSchedulerThatAreReadyForIt) {
    node(make_node("a"));
    pod(make_pod("other", R"("schedulerName":"mine")"));
    pod(make_pod("gated", R"("schedulingGates":[{"name":"wait"}])"));
    pod(make_pod("going", "", R"(,"deletionTimestamp":"2026-01-01T00:00:00Z")"));
    pod(make_pod("placed", R"("nodeName":"a")"));
    EXPECT_EQ(next(), "");
    pod(make_pod("gated"));
    EXPECT_EQ(next(), "gated>a");
}

TEST_F(CoreTest, RoomIsTakenBeforeTheServerKnows) {
    node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"10")"));
    pod(make_pod("one", requests("600m", "1")));
    now += milliseconds(1);
    pod(make_pod("two", requests("600m", "1")));
    EXPECT_EQ(next(), "one>a");
    EXPECT_EQ(next(), "two>");
}

TEST_F(CoreTest, AFailedBindingGivesTheRoomBackAndComesAgain) {
    node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"10")"));
    pod(make_pod("one", requests("600m", "1")));
    const auto outcome = core.schedule_next(now);
    ASSERT_TRUE(outcome);
    core.bind_failed(outcome->pod, true, now);
    EXPECT_EQ(next(), "");
    now += seconds(1);
    EXPECT_EQ(next(), "one>a");
}

TEST_F(CoreTest, AFailedBindingOfAPodThatIsGoneLeavesNothing) {
    node(make_node("a"));
    pod(make_pod("one"));
    const auto outcome = core.schedule_next(now);
    core.remove_pod("default/one", now);
    core.bind_failed(outcome->pod, true, now);
    now += seconds(20);
    EXPECT_EQ(next(), "");
    EXPECT_EQ(core.cluster().pod_count(), 0U);
}

TEST_F(CoreTest, AFailedBindingThatSucceededAfterAllIsNotTakenBack) {
    node(make_node("a"));
    pod(make_pod("one"));
    const auto outcome = core.schedule_next(now);
    pod(assigned(make_pod("one"), "a"));
    core.bind_failed(outcome->pod, true, now);
    EXPECT_EQ(core.cluster().pod_count(), 1U);
    now += seconds(20);
    EXPECT_EQ(next(), "");
}

TEST_F(CoreTest, EchoesFromBeforeTheBindingChangeNothing) {
    node(make_node("a"));
    pod(make_pod("one"));
    EXPECT_EQ(next(), "one>a");
    pod(make_pod("one", "", R"(,"resourceVersion":"9")"));
    now += seconds(20);
    EXPECT_EQ(next(), "");
    EXPECT_EQ(core.cluster().pod_count(), 1U);
}

TEST_F(CoreTest, OnlyWhatCanHelpWakesAPod) {
    node(make_node("a", R"("taints":[{"key":"k","effect":"NoSchedule"}])"));
    pod(make_pod("one"));
    EXPECT_EQ(next(), "one>");
    now += seconds(20);
    // Labels and room do not help against a taint.
    node(make_node("a", R"("taints":[{"key":"k","effect":"NoSchedule"}])", R"(,"x":"y")"));
    EXPECT_EQ(next(), "");
    pod(make_pod("other", R"("nodeName":"a")"));
    core.remove_pod("default/other", now);
    EXPECT_EQ(next(), "");
    node(make_node("a"));
    EXPECT_EQ(next(), "one>a");
}

TEST_F(CoreTest, ADeletedPodMakesRoom) {
    node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"10")"));
    pod(make_pod("big", R"("nodeName":"a",)" + requests("1", "1")));
    pod(make_pod("one", requests("1", "1")));
    EXPECT_EQ(next(), "one>");
    now += seconds(20);
    EXPECT_EQ(next(), "");
    core.remove_pod("default/big", now);
    EXPECT_EQ(next(), "one>a");
}

TEST_F(CoreTest, AFinishedPodMakesRoom) {
    node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"10")"));
    const auto job = make_pod("job", R"("nodeName":"a",)" + requests("1", "1"));
    pod(job);
    pod(make_pod("one", requests("1", "1")));
    EXPECT_EQ(next(), "one>");
    now += seconds(20);
    auto done = std::make_shared<Pod>(*job);
    done->mutable_status()->set_phase("Succeeded");
    pod(done);
    EXPECT_EQ(next(), "one>a");
}

TEST_F(CoreTest, BackoffDoublesUpToTenSeconds) {
    pod(make_pod("one"));
    for (const int wait : {1, 2, 4, 8, 10, 10}) {
        EXPECT_EQ(next(), "one>");
        // A new node that does not help (it is cordoned) tries the pod again, but not before its time.
        static int number = 0;
        node(make_node("n" + std::to_string(number++), R"("unschedulable":true)"));
        now += seconds(wait) - milliseconds(1);
        EXPECT_EQ(next(), "") << wait;
        now += milliseconds(1);
    }
}

TEST_F(CoreTest, AfterFiveMinutesAPodIsTriedAnyway) {
    node(make_node("a", R"("unschedulable":true)"));
    pod(make_pod("one"));
    EXPECT_EQ(next(), "one>");
    ASSERT_TRUE(core.next_time());
    now = *core.next_time();
    EXPECT_EQ(next(), "one>");
}

TEST_F(CoreTest, AChangedPodIsTriedAgainAStatusChangeIsNot) {
    node(make_node("a", R"("taints":[{"key":"k","effect":"NoSchedule"}])"));
    pod(make_pod("one"));
    EXPECT_EQ(next(), "one>");
    now += seconds(20);
    auto told = std::make_shared<Pod>(*make_pod("one"));
    told->mutable_status()->add_conditions()->set_type("PodScheduled");
    pod(told);
    EXPECT_EQ(next(), "");
    pod(make_pod("one", R"("tolerations":[{"operator":"Exists"}])"));
    EXPECT_EQ(next(), "one>a");
}

TEST_F(CoreTest, ANewPodOfTheSameNameIsANewPod) {
    node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"10")"));
    pod(make_pod("one", requests("1", "1")));
    EXPECT_EQ(next(), "one>a");
    auto again = std::make_shared<Pod>(*make_pod("one", requests("1", "1")));
    again->mutable_metadata()->set_uid("another");
    pod(again);
    EXPECT_EQ(next(), "one>a");
    EXPECT_EQ(core.cluster().pod_count(), 1U);
}

TEST_F(CoreTest, PodsOfANodeThatIsGoneCountAgainWhenItComesBack) {
    node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"10")"));
    pod(make_pod("big", R"("nodeName":"a",)" + requests("1", "1")));
    core.remove_node("a");
    pod(make_pod("one", requests("1", "1")));
    const auto outcome = core.schedule_next(now);
    EXPECT_EQ(outcome->message, "no nodes available to schedule pods");
    now += seconds(2);
    node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"10")"));
    EXPECT_EQ(core.schedule_next(now)->message, "0/1 nodes are available: 1 Insufficient cpu.");
}

TEST_F(CoreTest, AnUnreadablePodIsToldAboutOnce) {
    node(make_node("a"));
    const auto told = core.set_pod(make_pod("bad", requests("-1", "1")), now);
    ASSERT_TRUE(told);
    EXPECT_THAT(told->message, ::testing::HasSubstr("default/bad"));
    EXPECT_EQ(next(), "");
}

TEST_F(CoreTest, AnUnreadableNodeGetsNoPods) {
    Node bad = make_node("a");
    (*bad.mutable_status()->mutable_allocatable())["cpu"].set_string("many");
    EXPECT_FALSE(core.set_node(bad));
    pod(make_pod("one"));
    EXPECT_EQ(next(), "one>");
}

}  // namespace
}  // namespace sluice::scheduler::testing
