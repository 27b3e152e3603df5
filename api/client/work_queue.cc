#include "api/client/work_queue.h"

#include <algorithm>

namespace sluice::client {

void WorkQueue::add_locked(const std::string& key) {
    if (!dirty_.insert(key).second) return;
    if (processing_.contains(key)) return;
    ready_.push_back(key);
    changed_.notify_one();
}

void WorkQueue::add(const std::string& key) {
    const std::scoped_lock lock(mutex_);
    add_locked(key);
}

void WorkQueue::add_after(const std::string& key, std::chrono::milliseconds delay) {
    if (delay <= std::chrono::milliseconds::zero()) return add(key);
    const auto due = Clock::now() + delay;
    const std::scoped_lock lock(mutex_);
    const auto [entry, fresh] = due_.emplace(key, due);
    if (!fresh) {
        if (entry->second <= due) return;
        const auto [begin, end] = delayed_.equal_range(entry->second);
        delayed_.erase(std::find_if(begin, end, [&](const auto& item) { return item.second == key; }));
        entry->second = due;
    }
    delayed_.emplace(due, key);
    // Whoever waits may have to wait less long now.
    changed_.notify_all();
}

void WorkQueue::add_rate_limited(const std::string& key) {
    std::chrono::milliseconds delay = min_retry_;
    {
        const std::scoped_lock lock(mutex_);
        const int failures = failures_[key]++;
        for (int i = 0; i < failures && delay < max_retry_; ++i) delay *= 2;
    }
    add_after(key, std::min(delay, max_retry_));
}

void WorkQueue::forget(const std::string& key) {
    const std::scoped_lock lock(mutex_);
    failures_.erase(key);
}

int WorkQueue::failures(const std::string& key) const {
    const std::scoped_lock lock(mutex_);
    const auto found = failures_.find(key);
    return found == failures_.end() ? 0 : found->second;
}

std::optional<WorkQueue::Clock::time_point> WorkQueue::move_due_locked(Clock::time_point now) {
    while (!delayed_.empty() && delayed_.begin()->first <= now) {
        const std::string key = std::move(delayed_.begin()->second);
        delayed_.erase(delayed_.begin());
        due_.erase(key);
        add_locked(key);
    }
    if (delayed_.empty()) return std::nullopt;
    return delayed_.begin()->first;
}

std::optional<std::string> WorkQueue::get(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
        const auto next = move_due_locked(Clock::now());
        if (!ready_.empty()) {
            std::string key = std::move(ready_.front());
            ready_.pop_front();
            dirty_.erase(key);
            processing_.insert(key);
            return key;
        }
        const auto woken = [&] { return !ready_.empty() || changed_since(next); };
        if (next) {
            changed_.wait_until(lock, stop, *next, woken);
        } else {
            changed_.wait(lock, stop, woken);
        }
    }
    return std::nullopt;
}

bool WorkQueue::changed_since(const std::optional<Clock::time_point>& next) const {
    if (delayed_.empty()) return false;
    return !next || delayed_.begin()->first < *next;
}

void WorkQueue::done(const std::string& key) {
    const std::scoped_lock lock(mutex_);
    processing_.erase(key);
    if (dirty_.contains(key)) {
        ready_.push_back(key);
        changed_.notify_one();
    }
}

std::size_t WorkQueue::size() const {
    const std::scoped_lock lock(mutex_);
    return ready_.size();
}

}  // namespace sluice::client
