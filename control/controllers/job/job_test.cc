// Jobs against a real API server. The test is scheduler and kubelet: it binds pods and lets them
// end.
#include <gtest/gtest.h>

#include <atomic>

#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/kubernetes/batch/v1/job.pb.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/controllers/job/job.h"
#include "control/controllers/job/tracking.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::controllers {
namespace {

namespace batchv1 = ::k8s::io::api::batch::v1;
namespace corev1 = ::k8s::io::api::core::v1;
using testing::eventually;
using testing::get;
using testing::kind_named;
using testing::TestCluster;

class Jobs : public ::testing::Test {
protected:
    Jobs()
        : informers(cluster.client()),
          events(client::EventRecorder::start(cluster.client(), "job-controller")),
          context{cluster.client(), informers, *events, [this] {
                      return std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::chrono::system_clock::now().time_since_epoch())
                                 .count() +
                             ahead_ns.load();
                  }} {
        std::vector<std::unique_ptr<Controller>> made;
        made.push_back(make_job_controller(context));
        informers.start();
        runner = std::make_unique<Runner>(context, std::move(made));
    }

    void job(const std::string& spec) const {
        cluster.create("apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: j\nspec:\n" + spec +
                       "  template:\n    spec:\n      restartPolicy: Never\n"
                       "      terminationGracePeriodSeconds: 0\n"
                       "      containers:\n      - name: c\n        image: i\n");
    }
    // Makes the controller look again, at a later time.
    void pass(int seconds) {
        ahead_ns += seconds * kSecondNs;
        touch("passed", std::to_string(ahead_ns));
    }
    void touch(const std::string& key, const std::string& value) const {
        cluster.merge("apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: j\n  annotations:\n"
                      "    " +
                      key + ": \"" + value + "\"\n");
    }
    void suspend(bool value) const {
        cluster.merge(std::string("apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: j\nspec:\n"
                                  "  suspend: ") + (value ? "true\n" : "false\n"));
    }
    template <class List>
    [[nodiscard]] auto list(const std::string& resource) const {
        client::ListRequest request;
        request.selection.namespace_name = "default";
        const auto found = cluster.client().list(kind_named(resource), request);
        auto items = static_cast<const List&>(**found).items();
        return std::vector(items.begin(), items.end());
    }
    [[nodiscard]] std::vector<Pod> active() const {
        auto pods = list<corev1::PodList>("pods");
        std::erase_if(pods, [](const Pod& pod) { return !is_active(pod); });
        return pods;
    }
    [[nodiscard]] JobStatus status() const {
        const auto found = get<batchv1::Job>(cluster, "jobs", "default", "j");
        return found == nullptr ? JobStatus() : found->status();
    }
    [[nodiscard]] bool has(const std::string& condition) const {
        return condition_of(status(), condition) != nullptr;
    }
    void end(const Pod& pod, const std::string& phase) const {
        EXPECT_TRUE(eventually([&] {
            auto next = get<Pod>(cluster, "pods", "default", pod.metadata().name());
            if (next == nullptr) return true;
            next->mutable_status()->set_phase(phase);
            return cluster.client().update(kind_named("pods"), *next, "status").has_value();
        }));
    }
    [[nodiscard]] bool event(const std::string& reason) const {
        for (const auto& entry : list<corev1::EventList>("events")) {
            if (entry.reason() == reason && entry.involvedobject().name() == "j") return true;
        }
        return false;
    }
    [[nodiscard]] bool nothing_held() const {
        for (const auto& pod : list<corev1::PodList>("pods")) {
            if (is_tracked(pod)) return false;
        }
        return true;
    }

    std::atomic<std::int64_t> ahead_ns{0};
    TestCluster cluster;
    InformerSet informers;
    std::unique_ptr<client::EventRecorder> events;
    Context context;
    std::unique_ptr<Runner> runner;
};

TEST_F(Jobs, RunUntilAllCompletionsAreThere) {
    job("  completions: 5\n  parallelism: 2\n");
    int ended = 0;
    while (ended < 5) {
        const std::size_t wanted = static_cast<std::size_t>(std::min(2, 5 - ended));
        ASSERT_TRUE(eventually([&] { return active().size() == wanted; })) << ended;
        const auto pod = active().front();
        EXPECT_TRUE(is_tracked(pod));
        EXPECT_FALSE(has("Complete"));
        end(pod, "Succeeded");
        ++ended;
        ASSERT_TRUE(eventually([&] { return status().succeeded() == ended; })) << ended;
    }
    ASSERT_TRUE(eventually([&] { return has("Complete"); }));
    const auto last = status();
    EXPECT_TRUE(condition_of(last, "SuccessCriteriaMet") != nullptr);
    EXPECT_EQ(last.succeeded(), 5);
    EXPECT_EQ(last.failed(), 0);
    EXPECT_EQ(last.active(), 0);
    EXPECT_TRUE(last.has_starttime() && last.has_completiontime());
    EXPECT_EQ(last.uncountedterminatedpods().succeeded_size(), 0);
    EXPECT_TRUE(eventually([&] { return nothing_held(); }));
    EXPECT_EQ(list<corev1::PodList>("pods").size(), 5U);
    EXPECT_TRUE(eventually([&] { return event("Completed") && event("SuccessfulCreate"); }));
}

TEST_F(Jobs, EachIndexRunsUntilItSucceeds) {
    job("  completions: 3\n  parallelism: 3\n  completionMode: Indexed\n");
    ASSERT_TRUE(eventually([&] { return active().size() == 3; }));
    Pod second;
    for (const auto& pod : active()) {
        const std::string index = pod.metadata().annotations().at(kIndexKey);
        EXPECT_EQ(pod.spec().hostname(), "j-" + index);
        EXPECT_EQ(pod.metadata().labels().at(kIndexKey), index);
        EXPECT_TRUE(pod.metadata().name().starts_with("j-" + index + "-"));
        EXPECT_EQ(pod.spec().containers(0).env(0).name(), "JOB_COMPLETION_INDEX");
        if (index == "1") {
            second = pod;
        } else {
            end(pod, "Succeeded");
        }
    }
    end(second, "Failed");
    ASSERT_TRUE(eventually([&] {
        return status().completedindexes() == "0,2" && status().failed() == 1;
    }));
    EXPECT_TRUE(active().empty());
    pass(11);
    ASSERT_TRUE(eventually([&] { return active().size() == 1; }));
    EXPECT_EQ(index_of(active().front()), 1);
    end(active().front(), "Succeeded");
    EXPECT_TRUE(eventually([&] {
        return has("Complete") && status().completedindexes() == "0-2";
    }));
}

TEST_F(Jobs, FailWhenTooManyPodsFail) {
    job("  backoffLimit: 1\n  parallelism: 1\n  completions: 1\n");
    for (int failed = 1; failed <= 2; ++failed) {
        ASSERT_TRUE(eventually([&] { return active().size() == 1; }));
        end(active().front(), "Failed");
        ASSERT_TRUE(eventually([&] { return status().failed() == failed; }));
        pass(60);
    }
    ASSERT_TRUE(eventually([&] { return has("Failed") && has("FailureTarget"); }));
    EXPECT_EQ(condition_of(status(), "Failed")->reason(), "BackoffLimitExceeded");
    EXPECT_EQ(condition_of(status(), "Failed")->message(),
              "Job has reached the specified backoff limit");
    EXPECT_TRUE(active().empty());
    EXPECT_TRUE(eventually([&] { return nothing_held() && event("BackoffLimitExceeded"); }));
}

TEST_F(Jobs, EndAtTheirDeadlineAndAreRemovedAfterTheirTime) {
    job("  activeDeadlineSeconds: 100\n  ttlSecondsAfterFinished: 50\n  parallelism: 2\n");
    ASSERT_TRUE(eventually([&] { return active().size() == 2 && status().has_starttime(); }));
    pass(101);
    ASSERT_TRUE(eventually([&] { return has("Failed"); }));
    EXPECT_EQ(condition_of(status(), "Failed")->reason(), "DeadlineExceeded");
    EXPECT_TRUE(eventually([&] { return active().empty() && nothing_held(); }));
    pass(51);
    EXPECT_TRUE(eventually([&] {
        const auto found = get<batchv1::Job>(cluster, "jobs", "default", "j");
        return found == nullptr || found->metadata().has_deletiontimestamp();
    }));
}

TEST_F(Jobs, SuspendedJobsHaveNoPodsAndCountNoneAsFailed) {
    job("  suspend: true\n  parallelism: 2\n");
    ASSERT_TRUE(eventually([&] { return has("Suspended"); }));
    EXPECT_FALSE(status().has_starttime());
    EXPECT_TRUE(active().empty());
    suspend(false);
    ASSERT_TRUE(eventually([&] { return active().size() == 2 && !has("Suspended"); }));
    EXPECT_TRUE(eventually([&] { return status().has_starttime(); }));
    suspend(true);
    ASSERT_TRUE(eventually([&] { return active().empty() && status().active() == 0; }));
    EXPECT_EQ(status().failed(), 0);
    EXPECT_TRUE(eventually([&] { return event("Suspended") && event("Resumed"); }));
}

TEST_F(Jobs, PodsOfAJobThatIsGoneAreLetGo) {
    job("  parallelism: 2\n");
    ASSERT_TRUE(eventually([&] { return active().size() == 2; }));
    client::DeleteRequest request;
    request.propagation_policy = "Background";
    ASSERT_TRUE(cluster.client().remove(kind_named("jobs"), "default", "j", request));
    EXPECT_TRUE(eventually([&] { return nothing_held(); }));
}

}  // namespace
}  // namespace sluice::controllers
