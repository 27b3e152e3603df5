// A bounded queue between the threads that watch and the one thread that consumes: what waits is taken all at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <stop_token>
#include <utility>
#include <vector>

namespace sluice::client {

// Any number of producers, one consumer. An item has a weight; producers wait while the queue holds the limit
// or more, so that a slow consumer slows the network reader down instead of filling memory. An item that is
// heavier than the limit is let in when the queue is empty.
template <class T>
class Queue {
public:
    explicit Queue(std::size_t limit) : limit_(limit) {}

    // False when stopped before there was room.
    bool push(T item, std::size_t weight, const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        if (!room_.wait(lock, stop, [&] { return weight_ == 0 || weight_ + weight <= limit_; })) {
            return false;
        }
        weight_ += weight;
        items_.push_back(std::move(item));
        lock.unlock();
        filled_.notify_one();
        return true;
    }

    // All that waits, in order; empty after timeout or when stopped.
    std::vector<T> take(std::chrono::milliseconds timeout, const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        filled_.wait_for(lock, stop, timeout, [&] { return !items_.empty(); });
        weight_ = 0;
        std::vector<T> out = std::exchange(items_, {});
        lock.unlock();
        room_.notify_all();
        return out;
    }

private:
    const std::size_t limit_;
    std::mutex mutex_;
    std::condition_variable_any filled_;
    std::condition_variable_any room_;
    std::vector<T> items_;
    std::size_t weight_ = 0;
};

}  // namespace sluice::client
