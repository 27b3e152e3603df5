#include "api/client/work_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace sluice::client {
namespace {

using std::chrono::milliseconds;

// The key that is there now; "" when none is.
std::string take(WorkQueue& queue) {
    if (queue.size() == 0) return {};
    return queue.get({}).value_or("");
}

TEST(WorkQueueTest, KeysComeInTheOrderOfTheirFirstAdd) {
    WorkQueue queue;
    for (const char* key : {"c", "a", "b", "a", "c"}) queue.add(key);
    EXPECT_EQ(queue.size(), 3U);
    EXPECT_EQ(take(queue), "c");
    EXPECT_EQ(take(queue), "a");
    EXPECT_EQ(take(queue), "b");
    EXPECT_EQ(take(queue), "");
}

TEST(WorkQueueTest, AKeyAddedWhileWorkedOnComesAgainAfterwards) {
    WorkQueue queue;
    queue.add("a");
    ASSERT_EQ(take(queue), "a");
    queue.add("a");
    queue.add("a");
    EXPECT_EQ(queue.size(), 0U) << "no two workers have one key";
    queue.done("a");
    EXPECT_EQ(take(queue), "a");
    queue.done("a");
    EXPECT_EQ(queue.size(), 0U);
}

TEST(WorkQueueTest, NoKeyIsWithTwoWorkersAtATime) {
    WorkQueue queue;
    constexpr int kKeys = 3;
    constexpr int kRounds = 2'000;
    std::atomic<int> busy[kKeys] = {};
    std::atomic<int> doubled{0};
    std::atomic<int> worked{0};
    {
        std::vector<std::jthread> workers;
        for (int i = 0; i < 4; ++i) {
            workers.emplace_back([&](const std::stop_token& stop) {
                while (const auto key = queue.get(stop)) {
                    auto& mine = busy[std::stoi(*key)];
                    if (mine.fetch_add(1) != 0) ++doubled;
                    std::this_thread::yield();
                    mine.fetch_sub(1);
                    ++worked;
                    queue.done(*key);
                }
            });
        }
        for (int i = 0; i < kRounds; ++i) queue.add(std::to_string(i % kKeys));
        while (queue.size() > 0) std::this_thread::yield();
    }
    EXPECT_EQ(doubled, 0);
    EXPECT_GE(worked, kKeys);
}

TEST(WorkQueueTest, OfSeveralDelaysTheShortestCounts) {
    WorkQueue queue;
    queue.add_after("slow", std::chrono::hours(1));
    queue.add_after("k", std::chrono::hours(1));
    queue.add_after("k", milliseconds(1));
    queue.add_after("k", std::chrono::hours(2));
    EXPECT_EQ(queue.get({}), "k");
    queue.done("k");
    EXPECT_EQ(queue.size(), 0U) << "the longer delays were of the same wish";
}

TEST(WorkQueueTest, AWaiterIsWokenByAShorterDelayThanItWaitsFor) {
    WorkQueue queue;
    queue.add_after("later", std::chrono::hours(1));
    std::optional<std::string> got;
    std::jthread worker([&](const std::stop_token& stop) { got = queue.get(stop); });
    queue.add_after("sooner", milliseconds(1));
    worker.join();
    EXPECT_EQ(got, "sooner");
}

TEST(WorkQueueTest, NoDelayIsAnAdd) {
    WorkQueue queue;
    queue.add_after("k", milliseconds(0));
    EXPECT_EQ(take(queue), "k");
}

TEST(WorkQueueTest, FailuresAreCountedUntilForgotten) {
    WorkQueue queue(milliseconds(1), milliseconds(4));
    for (int i = 0; i < 3; ++i) {
        queue.add_rate_limited("k");
        EXPECT_EQ(queue.get({}), "k");
        queue.done("k");
    }
    EXPECT_EQ(queue.failures("k"), 3);
    EXPECT_EQ(queue.failures("other"), 0);
    queue.forget("k");
    EXPECT_EQ(queue.failures("k"), 0);
}

TEST(WorkQueueTest, RetriesBackOffFromTheFirstToTheLongestWait) {
    // With an hour as the first wait a failed key cannot be there; with a limit below it, it soon is.
    WorkQueue patient(std::chrono::hours(1), std::chrono::hours(10));
    patient.add_rate_limited("k");
    patient.add("sentinel");
    EXPECT_EQ(patient.get({}), "sentinel");
    EXPECT_EQ(patient.size(), 0U);
    WorkQueue limited(std::chrono::hours(1), milliseconds(1));
    limited.add_rate_limited("k");
    EXPECT_EQ(limited.get({}), "k");
}

TEST(WorkQueueTest, AStopEndsTheWait) {
    WorkQueue queue;
    queue.add_after("later", std::chrono::hours(1));
    std::optional<std::string> got = "unset";
    {
        const std::jthread worker([&](const std::stop_token& stop) { got = queue.get(stop); });
    }
    EXPECT_EQ(got, std::nullopt);
}

}  // namespace
}  // namespace sluice::client
