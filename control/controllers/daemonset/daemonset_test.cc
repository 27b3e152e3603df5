// DaemonSets against a real API server. The test is kubelet and scheduler: it makes pods ready.
#include <gtest/gtest.h>

#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "control/controllers/daemonset/daemonset.h"
#include "control/controllers/daemonset/placement.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::controllers {
namespace {

namespace appsv1 = ::k8s::io::api::apps::v1;
namespace corev1 = ::k8s::io::api::core::v1;
using testing::eventually;
using testing::get;
using testing::kind_named;
using testing::TestCluster;

class DaemonSets : public ::testing::Test {
protected:
    DaemonSets()
        : informers(cluster.client()),
          events(client::EventRecorder::start(cluster.client(), "daemonset-controller")),
          context{cluster.client(), informers, *events, [] {
                      return std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::chrono::system_clock::now().time_since_epoch())
                          .count();
                  }} {
        std::vector<std::unique_ptr<Controller>> made;
        made.push_back(make_daemon_set_controller(context));
        informers.start();
        runner = std::make_unique<Runner>(context, std::move(made));
    }

    void node(const std::string& name, const std::string& zone = "a") const {
        cluster.create("apiVersion: v1\nkind: Node\nmetadata:\n  name: " + name +
                       "\n  labels:\n    zone: " + zone + "\n");
    }
    void set(const std::string& more = "") const {
        cluster.create(
            "apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: d\nspec:\n" + more +
            "  selector:\n    matchLabels:\n      app: d\n  template:\n    metadata:\n"
            "      labels:\n        app: d\n    spec:\n      nodeSelector:\n        zone: a\n"
            "      terminationGracePeriodSeconds: 0\n"
            "      containers:\n      - name: c\n        image: a:1\n");
    }
    void image(const std::string& name) const {
        cluster.merge("apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: d\nspec:\n"
                      "  template:\n    spec:\n      containers:\n      - name: c\n"
                      "        image: " + name + "\n");
    }
    template <class List>
    [[nodiscard]] auto list(const std::string& resource) const {
        client::ListRequest request;
        request.selection.namespace_name = "default";
        const auto found = cluster.client().list(kind_named(resource), request);
        auto items = static_cast<const List&>(**found).items();
        return std::vector(items.begin(), items.end());
    }
    [[nodiscard]] std::vector<Pod> pods() const { return list<corev1::PodList>("pods"); }
    [[nodiscard]] appsv1::DaemonSetStatus status() const {
        return get<appsv1::DaemonSet>(cluster, "daemonsets", "default", "d")->status();
    }
    void phase(const Pod& pod, const std::string& phase, bool ready) const {
        Pod next = pod;
        next.mutable_status()->set_phase(phase);
        next.mutable_status()->clear_conditions();
        auto* condition = next.mutable_status()->add_conditions();
        condition->set_type("Ready");
        condition->set_status(ready ? "True" : "False");
        condition->mutable_lasttransitiontime()->set_seconds(1'700'000'000);
        const auto written = cluster.client().update(kind_named("pods"), next, "status");
        EXPECT_TRUE(written || written.error().http_status == 409 ||
                    written.error().http_status == 404);
    }
    void make_ready() const {
        for (const auto& pod : pods()) {
            if (pod.status().phase() != "Running") phase(pod, "Running", true);
        }
    }
    [[nodiscard]] bool event(const std::string& reason) const {
        for (const auto& entry : list<corev1::EventList>("events")) {
            if (entry.reason() == reason && entry.involvedobject().name() == "d") return true;
        }
        return false;
    }

    TestCluster cluster;
    InformerSet informers;
    std::unique_ptr<client::EventRecorder> events;
    Context context;
    std::unique_ptr<Runner> runner;
};

TEST_F(DaemonSets, OnePodOnEveryNodeThatIsMeant) {
    node("n1");
    node("other", "b");
    set();
    ASSERT_TRUE(eventually([&] { return pods().size() == 1; }));
    node("n2");
    ASSERT_TRUE(eventually([&] { return pods().size() == 2; }));
    std::vector<std::string> nodes;
    for (const auto& pod : pods()) {
        nodes.push_back(target_node(pod));
        EXPECT_EQ(pod.spec().nodename(), "");
        EXPECT_TRUE(pod.metadata().labels().contains("controller-revision-hash"));
        EXPECT_TRUE(pod.metadata().name().starts_with("d-"));
    }
    std::ranges::sort(nodes);
    EXPECT_EQ(nodes, (std::vector<std::string>{"n1", "n2"}));
    make_ready();
    EXPECT_TRUE(eventually([&] {
        const auto now = status();
        return now.desirednumberscheduled() == 2 && now.currentnumberscheduled() == 2 &&
               now.numberready() == 2 && now.numberavailable() == 2 &&
               now.updatednumberscheduled() == 2 && now.numberunavailable() == 0 &&
               now.numbermisscheduled() == 0 && now.observedgeneration() == 1;
    }));
    EXPECT_TRUE(eventually([&] { return event("SuccessfulCreate"); }));

    // A node that is no longer meant, and one that is gone, lose theirs.
    cluster.merge("apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n  labels:\n    zone: c\n");
    EXPECT_TRUE(eventually([&] { return pods().size() == 1; }));
    ASSERT_TRUE(cluster.client().remove(kind_named("nodes"), "", "n2"));
    EXPECT_TRUE(eventually([&] { return pods().empty(); }));
    EXPECT_TRUE(eventually([&] { return status().desirednumberscheduled() == 0; }));
}

TEST_F(DaemonSets, APodThatFailsOrIsDeletedIsReplaced) {
    node("n1");
    set();
    ASSERT_TRUE(eventually([&] { return pods().size() == 1; }));
    for (const std::string end : {"delete", "Failed", "Succeeded"}) {
        const auto first = pods().front();
        if (end == "delete") {
            ASSERT_TRUE(cluster.client().remove(kind_named("pods"), "default",
                                                first.metadata().name()));
        } else {
            phase(first, end, false);
        }
        EXPECT_TRUE(eventually([&] {
            const auto now = pods();
            return now.size() == 1 && now.front().metadata().uid() != first.metadata().uid();
        })) << end;
    }
    EXPECT_TRUE(eventually([&] {
        return event("FailedDaemonPod") && event("SucceededDaemonPod") && event("SuccessfulDelete");
    }));
}

TEST_F(DaemonSets, ARollingUpdateGoesNodeByNodeAndBack) {
    for (const char* name : {"n1", "n2", "n3"}) node(name);
    set();
    ASSERT_TRUE(eventually([&] { return pods().size() == 3; }));
    make_ready();
    ASSERT_TRUE(eventually([&] { return status().numberavailable() == 3; }));
    const auto roll = [&](const std::string& wanted) {
        return eventually([&] {
            // Three nodes, one of which may be without.
            int ready = 0;
            int updated = 0;
            for (const auto& pod : pods()) {
                ready += pod.status().phase() == "Running" ? 1 : 0;
                updated += pod.spec().containers(0).image() == wanted ? 1 : 0;
            }
            EXPECT_GE(ready, 2);
            make_ready();
            return updated == 3 && status().updatednumberscheduled() == 3;
        });
    };
    image("a:2");
    EXPECT_TRUE(roll("a:2"));
    const auto revisions = [&] {
        return list<appsv1::ControllerRevisionList>("controllerrevisions");
    };
    ASSERT_EQ(revisions().size(), 2U);
    // An undo makes the first template the third revision.
    image("a:1");
    EXPECT_TRUE(roll("a:1"));
    EXPECT_TRUE(eventually([&] {
        std::int64_t highest = 0;
        for (const auto& entry : revisions()) highest = std::max(highest, entry.revision());
        return revisions().size() == 2 && highest == 3;
    }));
}

TEST_F(DaemonSets, OnDeleteLeavesPodsUntilTheyAreDeleted) {
    node("n1");
    set("  revisionHistoryLimit: 0\n  updateStrategy:\n    type: OnDelete\n");
    ASSERT_TRUE(eventually([&] { return pods().size() == 1; }));
    make_ready();
    image("a:2");
    ASSERT_TRUE(eventually([&] {
        return status().observedgeneration() == 2 && status().updatednumberscheduled() == 0 &&
               status().numberready() == 1;
    }));
    ASSERT_EQ(pods().size(), 1U);
    EXPECT_EQ(pods().front().spec().containers(0).image(), "a:1");
    ASSERT_TRUE(cluster.client().remove(kind_named("pods"), "default",
                                        pods().front().metadata().name()));
    EXPECT_TRUE(eventually([&] {
        const auto now = pods();
        return now.size() == 1 && now.front().spec().containers(0).image() == "a:2";
    }));
    // No pod is of the first template any more.
    EXPECT_TRUE(eventually([&] {
        return list<appsv1::ControllerRevisionList>("controllerrevisions").size() == 1;
    }));
}

TEST_F(DaemonSets, SurgeNeverLeavesANodeWithoutAReadyPod) {
    node("n1");
    set("  updateStrategy:\n    rollingUpdate:\n      maxSurge: 1\n      maxUnavailable: 0\n");
    ASSERT_TRUE(eventually([&] { return pods().size() == 1; }));
    make_ready();
    image("a:2");
    ASSERT_TRUE(eventually([&] { return pods().size() == 2; }));
    make_ready();
    EXPECT_TRUE(eventually([&] {
        const auto now = pods();
        return now.size() == 1 && now.front().spec().containers(0).image() == "a:2";
    }));
}

}  // namespace
}  // namespace sluice::controllers
