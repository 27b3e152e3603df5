#include "control/kubelet/pods/tasks.h"

#include <utility>

namespace sluice::kubelet {

Tasks::~Tasks() {
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
        waiting_.clear();
    }
    changed_.notify_all();
    threads_.clear();
}

void Tasks::run(std::function<void()> task) {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    waiting_.push_back(std::move(task));
    if (idle_ < waiting_.size() && threads_.size() < limit_) {
        threads_.emplace_back([this] { work(); });
    }
    changed_.notify_one();
}

bool Tasks::busy() {
    const std::lock_guard lock(mutex_);
    return running_ > 0 || !waiting_.empty();
}

void Tasks::work() {
    std::unique_lock lock(mutex_);
    while (true) {
        ++idle_;
        changed_.wait(lock, [this] { return over_ || !waiting_.empty(); });
        --idle_;
        if (over_) return;
        const auto task = std::move(waiting_.front());
        waiting_.pop_front();
        ++running_;
        lock.unlock();
        task();
        lock.lock();
        --running_;
    }
}

}  // namespace sluice::kubelet
