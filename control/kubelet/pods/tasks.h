// Work that waits long and must not hold the pods' workers: stopping containers, pulling images, hooks.
//
// Threads are made as needed, up to a limit; beyond it tasks wait in order. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::kubelet {

// A node's pods may all be stopped at once.
inline constexpr std::size_t kMaxTaskThreads = 256;

class Tasks {
public:
    explicit Tasks(std::size_t limit = kMaxTaskThreads) : limit_(limit) {}
    // Waits for the tasks that run; those that wait are dropped.
    ~Tasks();
    Tasks(const Tasks&) = delete;
    Tasks& operator=(const Tasks&) = delete;

    void run(std::function<void()> task);
    // Whether a task runs or waits.
    [[nodiscard]] bool busy();

private:
    void work();

    const std::size_t limit_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> waiting_;
    std::size_t idle_ = 0;
    std::size_t running_ = 0;
    bool over_ = false;
    std::vector<std::jthread> threads_;
};

}  // namespace sluice::kubelet
