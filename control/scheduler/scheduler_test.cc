// The whole component against a real API server: what a person sees of a pod that is placed, and of one that is not.
#include "control/scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "api/client/client.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/scheduler/writer.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::scheduler {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using sluice::testing::eventually;
using sluice::testing::kind_named;
using sluice::testing::TestCluster;
using ::testing::HasSubstr;

std::string node(const std::string& name, const std::string& cpu = "4") {
    return "apiVersion: v1\nkind: Node\nmetadata: {name: " + name +
           "}\nstatus:\n  allocatable: {cpu: '" + cpu + "', memory: 4Gi, pods: '110'}\n";
}

std::string pod(const std::string& name, const std::string& cpu, const std::string& more = "") {
    return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name +
           "}\nspec:\n  containers:\n  - {name: c, image: x, resources: {requests: {cpu: '" + cpu +
           "'}}}\n" + more;
}

struct SchedulerTest : ::testing::Test {
    TestCluster cluster;
    std::unique_ptr<Scheduler> scheduler;

    void start() {
        auto started = Scheduler::start(cluster.client_config(), {.seed = 1});
        ASSERT_TRUE(started);
        scheduler = std::move(*started);
    }
    std::shared_ptr<corev1::Pod> read(const std::string& name) {
        return sluice::testing::get<corev1::Pod>(cluster, "pods", "default", name);
    }
    bool on(const std::string& name, const std::string& node_name) {
        return eventually([&] { return read(name)->spec().nodename() == node_name; });
    }
    // Empty without one.
    corev1::PodCondition condition(const std::string& name) {
        const auto object = read(name);
        for (const auto& one : object->status().conditions()) {
            if (one.type() == "PodScheduled") return one;
        }
        return {};
    }
    // The events of that reason about the pod.
    std::vector<corev1::Event> events(const std::string& name, const std::string& reason) {
        const auto list = cluster.client().list(kind_named("events"), {});
        std::vector<corev1::Event> out;
        if (!list) return out;
        for (const auto& event : static_cast<const corev1::EventList&>(**list).items()) {
            if (event.involvedobject().name() == name && event.reason() == reason) {
                out.push_back(event);
            }
        }
        return out;
    }
};

TEST_F(SchedulerTest, PlacesWhatExistsAndWhatComes) {
    cluster.create(node("n1"));
    cluster.create(pod("early", "1"));
    start();
    EXPECT_TRUE(on("early", "n1"));
    cluster.create(pod("late", "1"));
    EXPECT_TRUE(on("late", "n1"));
    EXPECT_TRUE(eventually([&] { return !events("late", "Scheduled").empty(); }));
    const auto event = events("late", "Scheduled").at(0);
    EXPECT_EQ(event.message(), "Successfully assigned default/late to n1");
    EXPECT_EQ(event.type(), "Normal");
    EXPECT_EQ(event.source().component(), "default-scheduler");
    EXPECT_EQ(condition("late").status(), "True");
}

TEST_F(SchedulerTest, SaysWhyAPodFitsNowhereAndPlacesItWhenItDoes) {
    cluster.create(node("n1", "1"));
    cluster.create(node("n2", "2"));
    start();
    cluster.create(pod("big", "3"));
    const std::string message = "0/2 nodes are available: 2 Insufficient cpu.";
    EXPECT_TRUE(eventually([&] { return condition("big").message() == message; }));
    EXPECT_EQ(condition("big").status(), "False");
    EXPECT_EQ(condition("big").reason(), "Unschedulable");
    EXPECT_TRUE(eventually([&] { return !events("big", "FailedScheduling").empty(); }));
    const auto event = events("big", "FailedScheduling").at(0);
    EXPECT_EQ(event.message(), message);
    EXPECT_EQ(event.type(), "Warning");
    cluster.create(node("n3", "3"));
    EXPECT_TRUE(on("big", "n3"));
    EXPECT_EQ(condition("big").status(), "True");
}

TEST_F(SchedulerTest, LeavesOtherSchedulersPodsAlone) {
    cluster.create(node("n1"));
    start();
    cluster.create(pod("theirs", "1", "  schedulerName: theirs\n"));
    cluster.create(pod("ours", "1"));
    EXPECT_TRUE(on("ours", "n1"));
    EXPECT_EQ(read("theirs")->spec().nodename(), "");
}

TEST_F(SchedulerTest, ManyAtOnceNeverOvercommit) {
    for (const char* name : {"n1", "n2", "n3"}) cluster.create(node(name, "10"));
    start();
    for (int i = 0; i < 33; ++i) cluster.create(pod("p" + std::to_string(i), "1"));
    std::map<std::string, int> placed;
    EXPECT_TRUE(eventually([&] {
        placed.clear();
        for (int i = 0; i < 33; ++i) ++placed[read("p" + std::to_string(i))->spec().nodename()];
        return placed[""] == 3;
    }));
    EXPECT_EQ(placed["n1"], 10);
    EXPECT_EQ(placed["n2"], 10);
    EXPECT_EQ(placed["n3"], 10);
}

TEST(WriterTest, TheConditionIsAPatchOfOneElement) {
    EXPECT_EQ(condition_patch("u1", "Unschedulable", "a \"b\"", 0),
              R"({"metadata":{"uid":"u1"},"status":{"conditions":[{"type":"PodScheduled","status":"False",)"
              R"("reason":"Unschedulable","message":"a \"b\"","lastProbeTime":null,)"
              R"("lastTransitionTime":"1970-01-01T00:00:00Z"}]}})");
}

TEST(WriterTest, LongMessagesAreCutInEvents) {
    EXPECT_EQ(note_of("short"), "short");
    const std::string cut = note_of(std::string(2'000, 'x'));
    EXPECT_EQ(cut.size(), 1'024U);
    EXPECT_EQ(cut.substr(1'019), "x ...");
}

}  // namespace
}  // namespace sluice::scheduler
