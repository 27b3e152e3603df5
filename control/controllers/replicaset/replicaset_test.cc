// ReplicaSets and ReplicationControllers against a real API server.
#include "control/controllers/replicaset/replicaset.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "control/controllers/controller.h"
#include "control/controllers/pod_control.h"
#include "control/controllers/test_workloads.h"

namespace sluice::controllers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using testing::eventually;
using testing::kind_named;

std::string replica_set(const std::string& name, int replicas, const std::string& image = "i") {
    return "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: " + name +
           "}\nspec:\n  replicas: " + std::to_string(replicas) +
           "\n  selector: {matchLabels: {app: web}}\n  template:\n"
           "    metadata: {labels: {app: web, tier: front}}\n"
           "    spec: {nodeName: n1, containers: [{name: c, image: " + image + "}]}\n";
}

std::string bare_pod(const std::string& name, const std::string& app) {
    return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {app: " + app +
           "}}\nspec: {nodeName: n1, containers: [{name: c, image: i}]}\n";
}

class ReplicaSetTest : public WorkloadTest {
protected:
    [[nodiscard]] bool available(const std::string& name, int count) const {
        const auto found = set(name);
        return found != nullptr && found->status().availablereplicas() == count &&
               found->status().replicas() == count &&
               found->status().observedgeneration() == found->metadata().generation();
    }
};

TEST_F(ReplicaSetTest, KeepsTheNumber) {
    cluster.create(replica_set("web", 3));
    ASSERT_TRUE(eventually([&] { return available("web", 3); }));
    EXPECT_EQ(set("web")->status().fullylabeledreplicas(), 3);
    EXPECT_EQ(set("web")->status().readyreplicas(), 3);
    const auto before = pod_names();
    for (const auto& name : before) EXPECT_TRUE(name.starts_with("web-")) << name;
    EXPECT_TRUE(eventually([&] { return told("SuccessfulCreate", "Created pod: web-"); }));

    remove("pods", before.front());
    EXPECT_TRUE(eventually([&] {
        const auto now = pod_names();
        return now.size() == 3 && std::ranges::count(now, before.front()) == 0;
    }));
    EXPECT_THAT(pod_names(), IsSupersetOf({before[1], before[2]}));

    // One that has ended stays to be looked at, and is replaced all the same.
    merge("Pod", before[1], "status: {phase: Failed}");
    EXPECT_TRUE(eventually([&] { return pod_names().size() == 4 && available("web", 3); }));

    merge("ReplicaSet", "web", "spec: {replicas: 0}");
    EXPECT_TRUE(eventually([&] { return pod_names().size() == 1 && available("web", 0); }));
    EXPECT_TRUE(eventually([&] { return told("SuccessfulDelete", "Deleted pod: web-"); }));
}

TEST_F(ReplicaSetTest, ShrinksWhereItIsMissedLeast) {
    cluster.create(replica_set("web", 4));
    ASSERT_TRUE(eventually([&] { return available("web", 4); }));
    const auto names = pod_names();
    merge("Pod", names[0], "  annotations: {controller.kubernetes.io/pod-deletion-cost: '-1'}");
    merge("Pod", names[2], "status: {conditions: [{type: Ready, status: 'False'}]}");
    ASSERT_TRUE(eventually([&] { return set("web")->status().readyreplicas() == 3; }));
    merge("ReplicaSet", "web", "spec: {replicas: 2}");
    ASSERT_TRUE(eventually([&] { return available("web", 2) && pod_names().size() == 2; }));
    EXPECT_THAT(pod_names(), ElementsAre(names[1], names[3]));
}

TEST_F(ReplicaSetTest, AdoptsWhatItsSelectorMatches) {
    cluster.create(bare_pod("mine", "web") + "---\n" + bare_pod("other", "db"));
    cluster.create(replica_set("web", 2));
    ASSERT_TRUE(eventually([&] { return available("web", 2); }));
    EXPECT_EQ(pod_names("app=web").size(), 2U);
    const auto mine = testing::get<corev1::Pod>(cluster, "pods", "default", "mine");
    ASSERT_EQ(mine->metadata().ownerreferences_size(), 1);
    EXPECT_EQ(mine->metadata().ownerreferences(0).uid(), set("web")->metadata().uid());
    EXPECT_TRUE(mine->metadata().ownerreferences(0).controller());
    EXPECT_EQ(set("web")->status().fullylabeledreplicas(), 1) << "it lacks a label of the template";
    const auto other = testing::get<corev1::Pod>(cluster, "pods", "default", "other");
    EXPECT_EQ(other->metadata().ownerreferences_size(), 0);
    // One that comes later is adopted too, and is one too many.
    cluster.create(bare_pod("late", "web"));
    EXPECT_TRUE(eventually([&] { return pod_names("app=web").size() == 2; }));
}

// kubectl label pod NAME app=debug: the way to take a pod out of service and look at it.
TEST_F(ReplicaSetTest, LetsGoWhatIsRelabelled) {
    cluster.create(replica_set("web", 2));
    ASSERT_TRUE(eventually([&] { return available("web", 2); }));
    const std::string taken = pod_names().front();
    merge("Pod", taken, "  labels: {app: debug}");
    EXPECT_TRUE(eventually([&] {
        const auto pod = testing::get<corev1::Pod>(cluster, "pods", "default", taken);
        return pod != nullptr && pod->metadata().ownerreferences_size() == 0 &&
               pod_names("app=web").size() == 2 && available("web", 2);
    }));
}

TEST_F(ReplicaSetTest, PodsGoWithTheirSetOrStayAsAsked) {
    cluster.create(replica_set("web", 2));
    ASSERT_TRUE(eventually([&] { return available("web", 2); }));
    const auto names = pod_names();
    remove("replicasets", "web", "Orphan");
    ASSERT_TRUE(eventually([&] { return set("web") == nullptr; }));
    EXPECT_EQ(pod_names(), names);
    for (const auto& pod : pods()) EXPECT_EQ(pod.metadata().ownerreferences_size(), 0);
    cluster.create(replica_set("heir", 2));
    ASSERT_TRUE(eventually([&] { return available("heir", 2); }));
    EXPECT_EQ(pod_names(), names) << "the orphans were adopted";
    remove("replicasets", "heir", "Background");
    EXPECT_TRUE(eventually([&] { return pod_names().empty(); }));
}

TEST_F(ReplicaSetTest, PodsThatLeaveAreCountedApart) {
    kubelet->hold_deletions(true);
    cluster.create(replica_set("web", 2));
    ASSERT_TRUE(eventually([&] { return available("web", 2); }));
    merge("ReplicaSet", "web", "spec: {replicas: 1}");
    EXPECT_TRUE(eventually([&] {
        return available("web", 1) && set("web")->status().terminatingreplicas() == 1;
    }));
    kubelet->hold_deletions(false);
    EXPECT_TRUE(eventually([&] {
        return set("web")->status().terminatingreplicas() == 0 && pod_names().size() == 1;
    }));
}

// The server takes the template and refuses its pods. The set says so once; each try has another
// name in its message, which must not be written again and bring the set up without end.
TEST_F(ReplicaSetTest, RefusedPodsAreToldOnce) {
    cluster.create(R"(
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 50
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, finalizers: ["no finalizer"]}
    spec: {nodeName: n1, containers: [{name: c, image: i}]}
)");
    ASSERT_TRUE(eventually([&] { return set("web")->status().conditions_size() == 1; }));
    const auto before = set("web");
    EXPECT_EQ(before->status().conditions(0).type(), "ReplicaFailure");
    EXPECT_EQ(before->status().conditions(0).reason(), "FailedCreate");
    EXPECT_TRUE(before->status().conditions(0).message().starts_with("Pod \"web-"));
    EXPECT_TRUE(eventually([&] {
        return times_told("FailedCreate", "Error creating: Pod \"web-") >= 5;
    }));
    EXPECT_EQ(set("web")->metadata().resourceversion(), before->metadata().resourceversion());
    EXPECT_TRUE(pod_names().empty());
    merge("ReplicaSet", "web", "spec: {replicas: 1, template: {metadata: {finalizers: null}}}");
    EXPECT_TRUE(eventually([&] {
        return available("web", 1) && set("web")->status().conditions_size() == 0;
    }));
}

TEST_F(ReplicaSetTest, ReplicationControllersToo) {
    cluster.create(R"(
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: old}}
    spec: {nodeName: n1, containers: [{name: c, image: i}]}
)");
    const auto count = [&] {
        return testing::get<corev1::ReplicationController>(cluster, "replicationcontrollers",
                                                           "default", "old")
            ->status().availablereplicas();
    };
    EXPECT_TRUE(eventually([&] { return count() == 2; }));
    merge("ReplicationController", "old", "spec: {replicas: 1}");
    EXPECT_TRUE(eventually([&] { return count() == 1 && pod_names().size() == 1; }));
}

// What the server says is gone will not be told of again: without this the set would wait for it
// until its expectations are given up.
TEST(PodControlTest, DeletionsThatNobodyWillSeeAreNamed) {
    const testing::TestCluster cluster;
    InformerSet informers(cluster.client());
    const auto events = client::EventRecorder::start(cluster.client(), "test");
    Context context{cluster.client(), informers, *events, [] { return std::int64_t{0}; }};
    PodControl control(context, kind_named("replicasets"));
    const auto stored = std::static_pointer_cast<Pod>(cluster.create(bare_pod("there", "web")));
    auto ghost = std::make_shared<Pod>(*stored);
    ghost->mutable_metadata()->set_name("ghost");
    // Another pod has its name now.
    auto replaced = std::make_shared<Pod>(*stored);
    replaced->mutable_metadata()->set_uid("another");
    appsv1::ReplicaSet owner;
    owner.mutable_metadata()->set_namespace_("default");
    owner.mutable_metadata()->set_name("web");
    const auto done = control.remove(owner, {ghost, replaced, stored});
    EXPECT_FALSE(done.error);
    EXPECT_EQ(done.count, 3);
    EXPECT_THAT(done.unseen, ElementsAre("default/ghost", "default/there"));
}

// The cache may not show yet that the owner is being deleted with its pods to be left alone.
TEST(PodControlTest, AnOwnerThatLeavesAdoptsNothing) {
    const testing::TestCluster cluster;
    const auto stored = std::static_pointer_cast<appsv1::ReplicaSet>(
        cluster.create(replica_set("web", 0)));
    const auto& kind = kind_named("replicasets");
    EXPECT_TRUE(may_adopt(cluster.client(), kind, *stored));
    appsv1::ReplicaSet earlier = *stored;
    earlier.mutable_metadata()->set_uid("another");
    EXPECT_FALSE(may_adopt(cluster.client(), kind, earlier));
    client::DeleteRequest request;
    request.propagation_policy = "Orphan";
    ASSERT_TRUE(cluster.client().remove(kind, "default", "web", request));
    const auto refused = may_adopt(cluster.client(), kind, *stored);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kAborted);
}

}  // namespace
}  // namespace sluice::controllers
