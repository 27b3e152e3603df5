// The worker threads of the resource API: what the store's thread and timers must not do themselves (encoding
// answers, filtering watch events) is done here.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice::registry {

using SteadyTime = std::chrono::steady_clock::time_point;

// Thread-safe. Destroying it runs what is queued and drops what is still waiting for its time.
class Executor {
public:
    explicit Executor(std::size_t threads);
    ~Executor();
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;

    // The queue is bounded by its callers: one entry per request in flight or per watch.
    void post(std::function<void()> task);
    // The same for what nobody waits for by itself, such as events for watches. It is not put off for ever: after
    // kUrgentInTurn others one of these has its turn.
    void post_later(std::function<void()> task);
    // Runs the task on a worker thread no earlier than `when`. Returns a ticket for cancel().
    std::uint64_t post_at(SteadyTime when, std::function<void()> task);
    // True when the task had not started; it will not then.
    bool cancel(std::uint64_t ticket);

private:
    static constexpr std::size_t kUrgentInTurn = 16;

    void work();
    // REQUIRES: the lock, and a task in one of the queues.
    std::function<void()> next();
    void keep_time();

    std::mutex mutex_;
    std::condition_variable work_ready_;
    std::condition_variable timer_changed_;
    std::deque<std::function<void()>> queue_;
    std::deque<std::function<void()>> later_;
    std::size_t urgent_in_turn_ = 0;
    struct Timer {
        std::uint64_t ticket;
        std::function<void()> task;
    };
    std::multimap<SteadyTime, Timer> timers_;
    std::map<std::uint64_t, SteadyTime> tickets_;
    std::uint64_t next_ticket_ = 1;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace sluice::registry
