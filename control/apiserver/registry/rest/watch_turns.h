// The watches that have letters to see to. An event for a thousand watches is a thousand letters: they are gone through
// some in a turn, in few tasks, between which requests are heard.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>

namespace sluice::registry {

class Executor;
class WatchStream;

// Thread-safe. REQUIRES: every task that it posts runs or is dropped before it goes.
class WatchTurns {
public:
    WatchTurns(Executor& executor, std::size_t threads) : executor_(executor), max_tasks_(threads) {}

    // Has the stream drained soon, behind what requests are waiting for.
    void add(std::weak_ptr<WatchStream> stream);

    // A turn is over after so many of them, or so long.
    static constexpr std::size_t kStreamsPerTurn = 32;
    static constexpr std::chrono::milliseconds kTurn{1};

private:
    void turn();

    Executor& executor_;
    const std::size_t max_tasks_;
    std::mutex mutex_;
    std::deque<std::weak_ptr<WatchStream>> waiting_;  // guarded by mutex_, as is the next
    std::size_t tasks_ = 0;
};

}  // namespace sluice::registry
