// A few threads for what may block: the runtime's answers and reading files. Jobs wait in a queue with a limit.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::kubelet {

inline constexpr std::size_t kServerThreads = 4;
inline constexpr std::size_t kMaxWaitingJobs = 8'192;

// Thread-safe. Destruction finishes the jobs that run and drops those that wait.
class Workers {
public:
    Workers();
    ~Workers() { stop(); }
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    // False when kMaxWaitingJobs wait already; the job is not run then.
    [[nodiscard]] bool run(std::function<void()> job);
    // As the destructor; from then on run() refuses.
    void stop();

private:
    void work();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> jobs_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace sluice::kubelet
