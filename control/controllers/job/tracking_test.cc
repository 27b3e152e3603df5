// Which pods count, which indexes are next, when to try again; and that no interruption counts a
// pod twice or never.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "api/kubernetes/batch/v1/job.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/job/tracking.h"

namespace sluice::controllers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr std::int64_t kNowS = 10'000;
constexpr std::int64_t kNow = kNowS * kSecondNs;

Job make_job(int completions, int parallelism, bool indexed = false) {
    Job job;
    if (completions >= 0) job.mutable_spec()->set_completions(completions);
    job.mutable_spec()->set_parallelism(parallelism);
    job.mutable_spec()->set_backofflimit(6);
    job.mutable_spec()->set_completionmode(indexed ? "Indexed" : "NonIndexed");
    return job;
}

std::shared_ptr<Pod> make_pod(const std::string& uid, const std::string& phase, int index = -1) {
    auto pod = std::make_shared<Pod>();
    pod->mutable_metadata()->set_uid(uid);
    pod->mutable_metadata()->add_finalizers(kTrackingFinalizer);
    pod->mutable_spec()->set_nodename("n");
    pod->mutable_status()->set_phase(phase);
    if (index >= 0) {
        (*pod->mutable_metadata()->mutable_annotations())[kIndexKey] = std::to_string(index);
    }
    return pod;
}

std::vector<std::string> uids(const Pods& pods) {
    std::vector<std::string> out;
    for (const auto& pod : pods) out.push_back(pod->metadata().uid());
    return out;
}

TEST(Indexes, AreReadAndWritten) {
    for (const char* text : {"", "0", "1,3-5,7", "0,1", "2-9"}) {
        EXPECT_EQ(IndexSet::parse(text, 10).to_string(), text);
    }
    EXPECT_EQ(IndexSet::parse("1,3-5,7", 10).size(), 5);
    EXPECT_EQ(IndexSet::parse("1,3-5,7", 5).to_string(), "1,3,4");
    EXPECT_EQ(IndexSet::parse("1,x,-3,5-4,3,2,6-,8", 10).to_string(), "1,3,8");
    auto set = IndexSet::parse("1,3-5", 10);
    set.add({2, 9, 0});
    EXPECT_EQ(set.to_string(), "0-5,9");
    EXPECT_THAT(set.first_missing(IndexSet::parse("7", 10), 5, 10), ElementsAre(6, 8));
    EXPECT_THAT(set.first_missing({}, 2, 10), ElementsAre(6, 7));
}

RC_GTEST_PROP(Indexes, HoldWhatWasAdded, ()) {
    const auto added = *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 40));
    IndexSet set;
    for (const int index : added) set.add({index});
    const std::set<int> expected(added.begin(), added.end());
    RC_ASSERT(set.size() == static_cast<int>(expected.size()));
    const auto again = IndexSet::parse(set.to_string(), 40);
    for (int i = 0; i < 40; ++i) RC_ASSERT(again.contains(i) == expected.contains(i));
}

TEST(Retry, WaitsTwiceAsLongUpToSixMinutes) {
    EXPECT_EQ(retry_wait_ns(0, kNowS, kNow), 0);
    EXPECT_EQ(retry_wait_ns(1, kNowS, kNow), 10 * kSecondNs);
    EXPECT_EQ(retry_wait_ns(1, kNowS - 4, kNow), 6 * kSecondNs);
    EXPECT_EQ(retry_wait_ns(1, kNowS - 11, kNow), 0);
    EXPECT_EQ(retry_wait_ns(3, kNowS, kNow), 40 * kSecondNs);
    EXPECT_EQ(retry_wait_ns(6, kNowS, kNow), 320 * kSecondNs);
    EXPECT_EQ(retry_wait_ns(7, kNowS, kNow), 360 * kSecondNs);
    EXPECT_EQ(retry_wait_ns(1'000, kNowS, kNow), 360 * kSecondNs);
}

TEST(WantedActive, FollowsCompletionsAndParallelism) {
    EXPECT_EQ(wanted_active(make_job(5, 2), 0, 0), 2);
    EXPECT_EQ(wanted_active(make_job(5, 2), 4, 0), 1);
    EXPECT_EQ(wanted_active(make_job(5, 2), 7, 0), 0);
    EXPECT_EQ(wanted_active(make_job(-1, 3), 0, 1), 3);
    EXPECT_EQ(wanted_active(make_job(-1, 3), 1, 2), 2);
    auto suspended = make_job(5, 2);
    suspended.mutable_spec()->set_suspend(true);
    EXPECT_EQ(wanted_active(suspended, 0, 2), 0);
}

TEST(Tally, SortsPodsByWhatTheyAre) {
    auto deleted = make_pod("deleted", "Running");
    deleted->mutable_metadata()->mutable_deletiontimestamp()->set_seconds(1);
    auto counted = make_pod("counted", "Succeeded");
    counted->mutable_metadata()->clear_finalizers();
    auto job = make_job(9, 9);
    job.mutable_status()->set_succeeded(1);
    job.mutable_status()->mutable_uncountedterminatedpods()->add_failed("waits");
    const Pods pods = {make_pod("runs", "Running"), make_pod("won", "Succeeded"), deleted, counted,
                       make_pod("lost", "Failed"), make_pod("waits", "Failed"),
                       make_pod("seen", "Failed")};
    const auto counts = tally(job, pods, {"seen"}, kNowS);
    EXPECT_THAT(uids(counts.active), ElementsAre("runs"));
    EXPECT_EQ(counts.terminating, 1);
    EXPECT_THAT(counts.new_succeeded, ElementsAre("won"));
    EXPECT_THAT(counts.new_failed, UnorderedElementsAre("deleted", "lost"));
    EXPECT_EQ(counts.succeeded, 2);
    EXPECT_EQ(counts.failed, 3);
    EXPECT_THAT(uids(counts.release), UnorderedElementsAre("won", "deleted", "lost", "waits"));
    // Its successor waits for its end, so it has not failed yet.
    job.mutable_spec()->set_podreplacementpolicy("Failed");
    EXPECT_THAT(tally(job, pods, {"seen"}, kNowS).new_failed, ElementsAre("lost"));
}

TEST(Tally, AnIndexCountsOnceHoweverManyPodsItHad) {
    auto job = make_job(3, 3, true);
    job.mutable_status()->set_completedindexes("0");
    const Pods pods = {make_pod("a", "Succeeded", 0), make_pod("b", "Succeeded", 2),
                       make_pod("c", "Succeeded", 2), make_pod("d", "Succeeded", 7),
                       make_pod("e", "Running", 1)};
    const auto counts = tally(job, pods, {}, kNowS);
    EXPECT_EQ(counts.completed.to_string(), "0,2");
    EXPECT_EQ(counts.succeeded, 2);
    EXPECT_THAT(counts.new_succeeded, IsEmpty());
    EXPECT_EQ(counts.release.size(), 4U);
}

TEST(Tally, WritesNoMoreUidsThanAreAllowed) {
    Pods pods;
    for (int i = 0; i < kMaxUncounted + 5; ++i) {
        pods.push_back(make_pod(std::to_string(i), "Failed"));
    }
    const auto counts = tally(make_job(1, 1), pods, {}, kNowS);
    EXPECT_EQ(counts.new_failed.size(), static_cast<std::size_t>(kMaxUncounted));
    EXPECT_TRUE(counts.more);
}

TEST(Excess, OfAnIndexedJobWhatIsDoneDoubledOrOutOfRange) {
    auto job = make_job(4, 4, true);
    job.mutable_status()->set_completedindexes("0");
    const Pods pods = {make_pod("done", "Running", 0), make_pod("one", "Running", 1),
                       make_pod("twin", "Pending", 1), make_pod("far", "Running", 4),
                       make_pod("two", "Running", 2)};
    const auto counts = tally(job, pods, {}, kNowS);
    EXPECT_THAT(uids(excess(job, counts, 3, kNow)), UnorderedElementsAre("done", "twin", "far"));
    EXPECT_EQ(excess(job, counts, 1, kNow).size(), 4U);
    EXPECT_EQ(excess(job, counts, 0, kNow).size(), 5U);
}

TEST(Judge, FailsAndCompletes) {
    auto job = make_job(2, 2);
    const auto verdict = [&](int succeeded, int failed, int active) {
        Tally counts;
        counts.succeeded = succeeded;
        counts.failed = failed;
        for (int i = 0; i < active; ++i) {
            auto pod = make_pod("p", "Running");
            pod->mutable_status()->add_containerstatuses()->set_restartcount(3);
            counts.active.push_back(pod);
        }
        return judge(job, counts, kNowS);
    };
    EXPECT_EQ(verdict(0, 6, 0).reason, "");
    EXPECT_EQ(verdict(0, 7, 0).reason, "BackoffLimitExceeded");
    EXPECT_FALSE(verdict(1, 0, 0).complete);
    EXPECT_TRUE(verdict(2, 0, 0).complete);
    EXPECT_FALSE(verdict(2, 0, 1).complete);
    EXPECT_EQ(verdict(0, 0, 2).reason, "");
    job.mutable_spec()->mutable_template_()->mutable_spec()->set_restartpolicy("OnFailure");
    EXPECT_EQ(verdict(0, 0, 1).reason, "");
    EXPECT_EQ(verdict(0, 0, 2).reason, "BackoffLimitExceeded");
    job.mutable_spec()->set_activedeadlineseconds(100);
    job.mutable_status()->mutable_starttime()->set_seconds(kNowS - 99);
    EXPECT_EQ(verdict(0, 0, 0).reason, "");
    job.mutable_status()->mutable_starttime()->set_seconds(kNowS - 100);
    EXPECT_EQ(verdict(0, 0, 0).reason, "DeadlineExceeded");
    job.mutable_spec()->set_suspend(true);
    EXPECT_EQ(verdict(0, 0, 0).reason, "");
}

// Steps that end where the property says, as a controller that is killed does; in the end every pod
// counts once.
RC_GTEST_PROP(Counting, IsExactWhateverIsInterrupted, ()) {
    auto job = make_job(-1, 50);
    std::vector<std::shared_ptr<Pod>> pods;
    const int total = *rc::gen::inRange(0, 12);
    int won = 0;
    for (int i = 0; i < total; ++i) {
        const bool success = *rc::gen::arbitrary<bool>();
        won += success ? 1 : 0;
        pods.push_back(make_pod(std::to_string(i), success ? "Succeeded" : "Failed"));
    }
    for (int look = 0; look < 12; ++look) {
        const int interrupted = look < 10 ? *rc::gen::inRange(0, 4) : 3;
        Job next = job;
        std::set<std::string> held;
        for (const auto& pod : pods) {
            if (is_tracked(*pod)) held.insert(pod->metadata().uid());
        }
        const auto counts = tally(job, {pods.begin(), pods.end()}, {}, kNowS);
        settle(held, next.mutable_status());
        note(job, counts, next.mutable_status());
        if (interrupted == 0) continue;
        job = next;
        for (const auto& pod : counts.release) {
            if (interrupted == 1 && *rc::gen::arbitrary<bool>()) continue;
            for (const auto& ours : pods) {
                if (ours == pod) ours->mutable_metadata()->clear_finalizers();
            }
            held.erase(pod->metadata().uid());
        }
        if (interrupted <= 2) continue;
        settle(held, next.mutable_status());
        job = next;
    }
    RC_ASSERT(job.status().succeeded() == won);
    RC_ASSERT(job.status().failed() == total - won);
    RC_ASSERT(job.status().uncountedterminatedpods().failed_size() == 0);
}

}  // namespace
}  // namespace sluice::controllers
