// Delivers the index's changes to watches. A watch is a prefix and the revision up to which its
// sink has been told; one thread, the committing one, moves every watch forward along the index's
// history, so that replay and live delivery are the same walk and cannot leave a gap or repeat a
// change between them.
//
//     add() any thread -> incoming_ -> [behind_: replay in pieces] -> live_: told of each group as
//     it commits
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/store/index.h"
#include "control/store/store.h"

namespace sluice::store {

// Threads: add and size from any thread, the destructor of a Watch too; the rest from the
// committing thread.
class WatchHub {
public:
    WatchHub() = default;
    ~WatchHub() = default;
    WatchHub(const WatchHub&) = delete;
    WatchHub& operator=(const WatchHub&) = delete;

    // As Store::watch. The caller wakes the committing thread, which then calls deliver().
    Result<std::unique_ptr<Watch>> add(const Index& index, std::string prefix, Revision after,
                                       WatchSink sink);
    [[nodiscard]] std::size_t size() const { return open_->load(std::memory_order_relaxed); }

    // Tells live watches of the changes since the last call, and replays history to the others for
    // at most kReplayBudget changes. Returns true when some are still behind: call again soon.
    bool deliver(const Index& index);
    // Tells live watches that have seen older revisions that nothing of theirs changed since.
    void progress(const Index& index);
    // True when progress() would tell somebody something.
    [[nodiscard]] bool needs_progress() const { return needs_progress_; }
    // Ends every watch with the error; what comes is delivered from `revision` on. For an index that
    // was reset.
    void restart(const Error& error, Revision revision);
    // Ends every watch with the error.
    void close(const Error& error);

    static constexpr std::size_t kReplayBudget = 65'536;
    // More than one group can hold, so that each call brings a watch nearer to the present.
    static constexpr std::size_t kReplayPiece = 8'192;

private:
    struct State;
    class Handle;
    using StatePtr = std::shared_ptr<State>;

    void take_incoming();
    void tell_live(const Index& index);
    void sweep();
    // True when the watch has reached the present or ended; takes what it walked off the budget.
    static bool replay(const Index& index, State& state, std::size_t& budget);

    std::mutex mutex_;
    std::vector<StatePtr> incoming_;  // guarded by mutex_

    std::deque<StatePtr> behind_;
    std::map<std::string, std::vector<StatePtr>, std::less<>> live_;  // by prefix
    Revision live_revision_ = 0;                                      // what live_ has been told
    bool needs_progress_ = false;
    // Shared with the handles, which may outlive the hub: watches not yet destroyed, and those
    // destroyed that the hub still lists.
    std::shared_ptr<std::atomic<std::size_t>> open_ = std::make_shared<std::atomic<std::size_t>>(0);
    std::shared_ptr<std::atomic<std::size_t>> closed_ =
        std::make_shared<std::atomic<std::size_t>>(0);
};

}  // namespace sluice::store
