// What is left to do for writes that the store has done: handed to the workers together.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace sluice::registry {

class Executor;

// The store's thread completes a whole group of writes at once. To call a worker for each of them costs more than some
// of them do, and the store's thread has the next group to write. So it calls one, and a worker that finds more than
// it can do calls the next: nothing waits behind a task that itself waits.
//
// Thread-safe; held by a shared_ptr. What is left when the executor ends is done then.
class Completions : public std::enable_shared_from_this<Completions> {
public:
    explicit Completions(Executor& executor) : executor_(executor) {}
    Completions(const Completions&) = delete;
    Completions& operator=(const Completions&) = delete;

    // Bounded by its callers: one entry per write under way.
    void add(std::function<void()> task);

private:
    // What a worker does before others of the executor's tasks have their turn.
    static constexpr std::size_t kInTurn = 8;

    void call_worker();
    void run();

    Executor& executor_;
    std::mutex mutex_;
    std::deque<std::function<void()>> tasks_;  // guarded by mutex_, as is the next
    bool called_ = false;                      // a worker is on its way
};

}  // namespace sluice::registry
