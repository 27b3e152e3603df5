// Threads on which requests wait for webhooks, so that those of connections and of the store do not.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::webhooks {

// Made as they are needed, and kept.
inline constexpr std::size_t kMaxWaitingThreads = 64;
// Requests that wait for a thread of one room; more are refused with 429.
inline constexpr std::size_t kMaxQueuedRequests = 4'096;

// Thread-safe. Destroying it runs what is queued.
class WaitingRoom {
public:
    WaitingRoom() = default;
    ~WaitingRoom();
    WaitingRoom(const WaitingRoom&) = delete;
    WaitingRoom& operator=(const WaitingRoom&) = delete;

    // False, and the task is dropped, when too many wait.
    bool run(std::function<void()> task);
    [[nodiscard]] std::size_t queued() const;
    [[nodiscard]] std::uint64_t refused() const;

private:
    void work();

    mutable std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<std::function<void()>> queue_;
    std::vector<std::thread> threads_;
    std::size_t idle_ = 0;
    std::uint64_t refused_ = 0;
    bool stopping_ = false;
};

}  // namespace sluice::webhooks
