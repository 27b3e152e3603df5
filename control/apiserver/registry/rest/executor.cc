#include "control/apiserver/registry/rest/executor.h"

#include <utility>

namespace sluice::registry {

Executor::Executor(std::size_t threads) {
    threads_.reserve(threads + 1);
    for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    threads_.emplace_back([this] { keep_time(); });
}

Executor::~Executor() {
    std::multimap<SteadyTime, Timer> dropped;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        // Their captures may own objects whose destructors call cancel(), so they go outside the lock.
        dropped.swap(timers_);
        tickets_.clear();
    }
    dropped.clear();
    work_ready_.notify_all();
    timer_changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Executor::post(std::function<void()> task) {
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(task));
    }
    work_ready_.notify_one();
}

void Executor::post_later(std::function<void()> task) {
    {
        const std::lock_guard lock(mutex_);
        later_.push_back(std::move(task));
    }
    work_ready_.notify_one();
}

std::function<void()> Executor::next() {
    const bool urgent = !queue_.empty() && (later_.empty() || urgent_in_turn_ < kUrgentInTurn);
    urgent_in_turn_ = urgent ? urgent_in_turn_ + 1 : 0;
    auto& from = urgent ? queue_ : later_;
    auto task = std::move(from.front());
    from.pop_front();
    return task;
}

std::uint64_t Executor::post_at(SteadyTime when, std::function<void()> task) {
    std::uint64_t ticket = 0;
    {
        const std::lock_guard lock(mutex_);
        ticket = next_ticket_++;
        if (stopping_) return ticket;
        timers_.emplace(when, Timer{ticket, std::move(task)});
        tickets_.emplace(ticket, when);
    }
    timer_changed_.notify_one();
    return ticket;
}

bool Executor::cancel(std::uint64_t ticket) {
    std::function<void()> dropped;  // declared first: what it owns goes after the lock is released
    const std::lock_guard lock(mutex_);
    const auto found = tickets_.find(ticket);
    if (found == tickets_.end()) return false;
    auto [at, end] = timers_.equal_range(found->second);
    for (; at != end; ++at) {
        if (at->second.ticket == ticket) {
            dropped = std::move(at->second.task);
            timers_.erase(at);
            break;
        }
    }
    tickets_.erase(found);
    return true;
}

void Executor::work() {
    std::unique_lock lock(mutex_);
    while (true) {
        work_ready_.wait(lock, [this] { return stopping_ || !queue_.empty() || !later_.empty(); });
        if (queue_.empty() && later_.empty()) return;
        auto task = next();
        lock.unlock();
        task();
        task = nullptr;
        lock.lock();
    }
}

void Executor::keep_time() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (timers_.empty()) {
            timer_changed_.wait(lock);
            continue;
        }
        const auto first = timers_.begin();
        const SteadyTime due = first->first;
        if (std::chrono::steady_clock::now() < due) {
            timer_changed_.wait_until(lock, due);
            continue;
        }
        tickets_.erase(first->second.ticket);
        queue_.push_back(std::move(first->second.task));
        timers_.erase(first);
        work_ready_.notify_one();
    }
}

}  // namespace sluice::registry
