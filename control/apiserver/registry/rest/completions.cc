#include "control/apiserver/registry/rest/completions.h"

#include <utility>

#include "control/apiserver/registry/rest/executor.h"

namespace sluice::registry {

void Completions::add(std::function<void()> task) {
    {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
        if (std::exchange(called_, true)) return;
    }
    call_worker();
}

void Completions::call_worker() {
    executor_.post([self = shared_from_this()] { self->run(); });
}

void Completions::run() {
    std::unique_lock lock(mutex_);
    called_ = false;
    for (std::size_t i = 0; i < kInTurn && !tasks_.empty(); ++i) {
        auto task = std::move(tasks_.front());
        tasks_.pop_front();
        const bool calls = !tasks_.empty() && !std::exchange(called_, true);
        lock.unlock();
        if (calls) call_worker();
        task();
        task = nullptr;
        lock.lock();
    }
    const bool calls = !tasks_.empty() && !std::exchange(called_, true);
    lock.unlock();
    if (calls) call_worker();
}

}  // namespace sluice::registry
