// Deployments against a real API server, as people see them with kubectl.
#include "control/controllers/deployment/deployment.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "control/controllers/deployment/history.h"
#include "control/controllers/deployment/status.h"
#include "control/controllers/pod_control.h"
#include "control/controllers/test_workloads.h"

namespace sluice::controllers {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;
using testing::eventually;

std::string web(int replicas, const std::string& more = {}) {
    return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: " +
           std::to_string(replicas) + "\n" + more +
           "  selector: {matchLabels: {app: web}}\n  template:\n"
           "    metadata: {labels: {app: web}}\n"
           "    spec: {nodeName: n1, containers: [{name: c, image: 'web:1'}]}\n";
}

class DeploymentTest : public WorkloadTest {
protected:
    [[nodiscard]] std::shared_ptr<appsv1::Deployment> deployment() const {
        return testing::get<appsv1::Deployment>(cluster, "deployments", "default", "web");
    }
    // What kubectl rollout status waits for.
    [[nodiscard]] bool rolled_out() const {
        const auto found = deployment();
        return is_complete(*found, found->status());
    }
    void change(const std::string& spec) const { merge("Deployment", "web", "spec: " + spec); }
    void set_image(const std::string& image) const {
        change("{template: {spec: {containers: [{name: c, image: '" + image + "'}]}}}");
    }
    // What each image's set is asked for.
    [[nodiscard]] std::map<std::string, int> sizes() const {
        std::map<std::string, int> out;
        for (const auto& entry : sets()) {
            out[entry.spec().template_().spec().containers(0).image()] += entry.spec().replicas();
        }
        return out;
    }
    [[nodiscard]] std::map<std::string, std::string> revisions() const {
        std::map<std::string, std::string> out;
        for (const auto& entry : sets()) {
            out[entry.metadata().annotations().at(kRevisionAnnotation)] =
                entry.spec().template_().spec().containers(0).image();
        }
        return out;
    }
    [[nodiscard]] std::string progress() const {
        const auto found = deployment();
        const auto* condition = find_condition(found->status(), "Progressing");
        return condition == nullptr ? "none" : condition->status() + " " + condition->reason();
    }
};

using Sizes = std::map<std::string, int>;
using Revisions = std::map<std::string, std::string>;

TEST_F(DeploymentTest, RollsToANewImage) {
    cluster.create(web(3));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    ASSERT_EQ(sets().size(), 1U);
    const std::string first = sets().front().metadata().name();
    EXPECT_TRUE(first.starts_with("web-"));
    EXPECT_TRUE(eventually([&] {
        return told("ScalingReplicaSet", "Scaled up replica set " + first + " from 0 to 3");
    }));
    EXPECT_EQ(deployment()->metadata().annotations().at(kRevisionAnnotation), "1");

    set_image("web:2");
    ASSERT_TRUE(eventually([&] { return rolled_out() && pod_names().size() == 3; }));
    EXPECT_EQ(sizes(), (Sizes{{"web:1", 0}, {"web:2", 3}}));
    EXPECT_EQ(revisions(), (Revisions{{"1", "web:1"}, {"2", "web:2"}}));
    EXPECT_EQ(deployment()->metadata().annotations().at(kRevisionAnnotation), "2");
    EXPECT_TRUE(eventually([&] { return progress() == "True NewReplicaSetAvailable"; }));
    for (const auto& pod : pods()) EXPECT_EQ(pod.spec().containers(0).image(), "web:2");
    EXPECT_TRUE(eventually([&] {
        return told("ScalingReplicaSet", "Scaled down replica set " + first + " from 1 to 0");
    }));
}

TEST_F(DeploymentTest, AWrongImageStopsAndIsUndone) {
    cluster.create(web(3));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    const auto before = pod_names();
    set_image("bad:1");
    // The default surge of 25% is one pod, and none may be missing.
    const auto stopped = [&] {
        return sizes() == Sizes{{"web:1", 3}, {"bad:1", 1}} &&
               deployment()->status().updatedreplicas() == 1;
    };
    ASSERT_TRUE(eventually(stopped));
    EXPECT_EQ(deployment()->status().availablereplicas(), 3);
    set_image("web:1");
    ASSERT_TRUE(eventually([&] {
        return rolled_out() && sizes() == Sizes{{"web:1", 3}, {"bad:1", 0}} &&
               pod_names().size() == 3;
    }));
    EXPECT_EQ(pod_names(), before) << "no pod of the good image was touched";
    EXPECT_EQ(revisions(), (Revisions{{"2", "bad:1"}, {"3", "web:1"}}));
    for (const auto& entry : sets()) {
        const auto& annotations = entry.metadata().annotations();
        if (annotations.at(kRevisionAnnotation) == "3") {
            EXPECT_EQ(annotations.at(kRevisionHistoryAnnotation), "1");
        }
    }
}

TEST_F(DeploymentTest, PausedChangesWaitForResume) {
    cluster.create(web(2));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    change("{paused: true}");
    ASSERT_TRUE(eventually([&] { return progress() == "Unknown DeploymentPaused"; }));
    set_image("web:2");
    set_image("web:3");
    // Scaling is not held up.
    change("{replicas: 4}");
    ASSERT_TRUE(eventually([&] {
        return deployment()->status().availablereplicas() == 4 &&
               deployment()->status().observedgeneration() ==
                   deployment()->metadata().generation();
    }));
    EXPECT_EQ(sizes(), (Sizes{{"web:1", 4}}));
    change("{paused: false}");
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    EXPECT_EQ(sizes(), (Sizes{{"web:1", 0}, {"web:3", 4}})) << "web:2 never was";
}

// Kubernetes' documentation: 10 replicas, maxSurge 3, maxUnavailable 2, an image that cannot be
// pulled, scaled to 15: the 5 more are spread over both sets.
TEST_F(DeploymentTest, ScaledInTheMiddleOfARollout) {
    cluster.create(web(10, "  strategy: {rollingUpdate: {maxSurge: 3, maxUnavailable: 2}}\n"));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    set_image("bad:1");
    ASSERT_TRUE(eventually([&] { return sizes() == Sizes{{"web:1", 8}, {"bad:1", 5}}; }));
    change("{replicas: 15}");
    EXPECT_TRUE(eventually([&] { return sizes() == Sizes{{"web:1", 11}, {"bad:1", 7}}; }));
    set_image("web:2");
    EXPECT_TRUE(eventually([&] {
        return rolled_out() && sizes() == Sizes{{"web:1", 0}, {"bad:1", 0}, {"web:2", 15}};
    }));
}

TEST_F(DeploymentTest, RecreateWaitsForTheLastOldPod) {
    kubelet->hold_deletions(true);
    cluster.create(web(2, "  strategy: {type: Recreate}\n"));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    set_image("web:2");
    ASSERT_TRUE(eventually([&] {
        const auto all = pods();
        return deployment()->status().replicas() == 0 &&
               std::ranges::all_of(all, [](const auto& pod) { return is_deleting(pod); });
    }));
    EXPECT_EQ(sizes(), (Sizes{{"web:1", 0}})) << "the old pods still run";
    kubelet->hold_deletions(false);
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    EXPECT_EQ(sizes(), (Sizes{{"web:1", 0}, {"web:2", 2}}));
}

// kubectl delete deployment --cascade=orphan, and the same Deployment again.
TEST_F(DeploymentTest, TakesUpWhatWasLeftBehind) {
    cluster.create(web(2));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    const std::string uid = sets().front().metadata().uid();
    const auto before = pod_names();
    remove("deployments", "web", "Orphan");
    ASSERT_TRUE(eventually([&] { return deployment() == nullptr; }));
    ASSERT_EQ(sets().size(), 1U);
    EXPECT_EQ(sets().front().metadata().ownerreferences_size(), 0);
    cluster.create(web(2));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    ASSERT_EQ(sets().size(), 1U);
    EXPECT_EQ(sets().front().metadata().uid(), uid);
    EXPECT_EQ(pod_names(), before);
    remove("deployments", "web", "Background");
    EXPECT_TRUE(eventually([&] { return sets().empty() && pod_names().empty(); }));
}

TEST_F(DeploymentTest, KeepsAsMuchHistoryAsAsked) {
    cluster.create(web(1, "  revisionHistoryLimit: 1\n"));
    for (const char* image : {"web:2", "web:3", "web:4"}) {
        ASSERT_TRUE(eventually([&] { return rolled_out(); }));
        set_image(image);
    }
    EXPECT_TRUE(eventually([&] {
        return rolled_out() && revisions() == Revisions{{"3", "web:3"}, {"4", "web:4"}};
    }));
}

// Another's ReplicaSet has the name that the template leads to: the next name is taken.
TEST_F(DeploymentTest, GoesRoundATakenName) {
    const auto paused =
        std::static_pointer_cast<appsv1::Deployment>(cluster.create(web(2, "  paused: true\n")));
    const std::string taken =
        "web-" + template_hash(paused->spec().template_(), std::nullopt);
    cluster.create("apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: " + taken +
                   "}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: db}}\n"
                   "  template: {metadata: {labels: {app: db}}, "
                   "spec: {containers: [{name: c, image: db}]}}\n");
    change("{paused: false}");
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    EXPECT_EQ(deployment()->status().collisioncount(), 1);
    EXPECT_EQ(sets().size(), 2U);
    EXPECT_EQ(set(taken)->metadata().ownerreferences_size(), 0);
}

TEST_F(DeploymentTest, TellsWhenItsTimeIsOver) {
    cluster.create(web(1, "  progressDeadlineSeconds: 1\n"));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    set_image("bad:1");
    EXPECT_TRUE(eventually([&] { return progress() == "False ProgressDeadlineExceeded"; }));
    set_image("web:1");
    EXPECT_TRUE(eventually([&] { return progress() == "True NewReplicaSetAvailable"; }));
}

TEST_F(DeploymentTest, AnnotationsReachTheSet) {
    cluster.create(web(1));
    ASSERT_TRUE(eventually([&] { return rolled_out(); }));
    merge("Deployment", "web", "  annotations: {kubernetes.io/change-cause: 'for the better'}");
    EXPECT_TRUE(eventually([&] {
        const auto annotations = sets().front().metadata().annotations();
        const auto found = annotations.find("kubernetes.io/change-cause");
        return found != annotations.end() && found->second == "for the better";
    }));
}

}  // namespace
}  // namespace sluice::controllers
