// How many writes may wait for webhooks, and what becomes of the others.
#include "control/apiserver/webhooks/waiting_room.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

namespace sluice::webhooks {
namespace {

TEST(WaitingRoom, TasksBeyondTheLimitAreRefusedAndTheOthersRun) {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t waiting = 0;
    bool open = false;
    std::atomic<std::size_t> done{0};
    const auto task = [&] {
        std::unique_lock lock(mutex);
        ++waiting;
        changed.notify_all();
        changed.wait(lock, [&] { return open; });
        ++done;
    };
    auto room = std::make_unique<WaitingRoom>();
    for (std::size_t i = 0; i < kMaxWaitingThreads; ++i) ASSERT_TRUE(room->run(task));
    {
        // All at once: one task that waits holds up no other.
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return waiting == kMaxWaitingThreads; });
    }
    for (std::size_t i = 0; i < kMaxQueuedRequests; ++i) ASSERT_TRUE(room->run(task));
    EXPECT_EQ(room->queued(), kMaxQueuedRequests);
    EXPECT_EQ(room->refused(), 0U);
    EXPECT_FALSE(room->run(task));
    EXPECT_EQ(room->refused(), 1U);
    {
        const std::lock_guard lock(mutex);
        open = true;
    }
    changed.notify_all();
    room.reset();
    EXPECT_EQ(done.load(), kMaxWaitingThreads + kMaxQueuedRequests);
}

}  // namespace
}  // namespace sluice::webhooks
