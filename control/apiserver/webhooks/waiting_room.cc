#include "control/apiserver/webhooks/waiting_room.h"

#include <utility>

namespace sluice::webhooks {

WaitingRoom::~WaitingRoom() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    ready_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

bool WaitingRoom::run(std::function<void()> task) {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= kMaxQueuedRequests) {
        ++refused_;
        return false;
    }
    queue_.push_back(std::move(task));
    if (queue_.size() > idle_ && threads_.size() < kMaxWaitingThreads) {
        threads_.emplace_back([this] { work(); });
    }
    ready_.notify_one();
    return true;
}

std::size_t WaitingRoom::queued() const {
    const std::lock_guard lock(mutex_);
    return queue_.size();
}

std::uint64_t WaitingRoom::refused() const {
    const std::lock_guard lock(mutex_);
    return refused_;
}

void WaitingRoom::work() {
    std::unique_lock lock(mutex_);
    while (true) {
        ++idle_;
        ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        --idle_;
        if (queue_.empty()) return;
        auto task = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        task();
        task = nullptr;
        lock.lock();
    }
}

}  // namespace sluice::webhooks
