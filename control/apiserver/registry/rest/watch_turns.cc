#include "control/apiserver/registry/rest/watch_turns.h"

#include <utility>

#include "control/apiserver/registry/rest/executor.h"
#include "control/apiserver/registry/rest/watch.h"

namespace sluice::registry {

void WatchTurns::add(std::weak_ptr<WatchStream> stream) {
    {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(std::move(stream));
        // One task for the first, another for each further turn's worth of streams.
        if (tasks_ == max_tasks_ || waiting_.size() <= tasks_ * kStreamsPerTurn) return;
        ++tasks_;
    }
    executor_.post_later([this] { turn(); });
}

void WatchTurns::turn() {
    const auto end = std::chrono::steady_clock::now() + kTurn;
    for (std::size_t seen = 0; seen < kStreamsPerTurn; ++seen) {
        std::weak_ptr<WatchStream> next;
        {
            const std::lock_guard lock(mutex_);
            if (waiting_.empty()) {
                --tasks_;
                return;
            }
            next = std::move(waiting_.front());
            waiting_.pop_front();
        }
        if (const auto stream = next.lock()) stream->drain();
        // A watch that begins may have a long list to send.
        if (std::chrono::steady_clock::now() >= end) break;
    }
    executor_.post_later([this] { turn(); });
}

}  // namespace sluice::registry
