// Watch delivery; see watch_hub.h.
#include "control/store/watch_hub.h"

#include <algorithm>
#include <utility>

namespace sluice::store {

// The mutex is held while the sink runs: the handle's destructor waits there for a call under way.
struct WatchHub::State {
    std::string prefix;
    Revision told = 0;  // every change up to it has been delivered; committing thread only
    std::mutex mutex;
    WatchSink sink;  // guarded by mutex; empty once the watch has ended

    // Calls the sink unless the watch has ended.
    void call(const EventBatch& events, Revision revision) {
        std::lock_guard guard(mutex);
        told = revision;
        if (sink) {
            sink(events, revision);
        }
    }
    // The last call.
    void end(const Error& error) {
        std::lock_guard guard(mutex);
        if (sink) {
            sink(error, told);
            sink = nullptr;
        }
    }
    bool ended() {
        std::lock_guard guard(mutex);
        return !sink;
    }
};

class WatchHub::Handle final : public Watch {
public:
    Handle(StatePtr state, std::shared_ptr<std::atomic<std::size_t>> open,
           std::shared_ptr<std::atomic<std::size_t>> closed)
        : state_(std::move(state)), open_(std::move(open)), closed_(std::move(closed)) {}
    ~Handle() override {
        WatchSink sink;  // destroyed without the lock, as what it holds may do anything
        {
            std::lock_guard guard(state_->mutex);
            sink.swap(state_->sink);
        }
        closed_->fetch_add(1, std::memory_order_relaxed);
        open_->fetch_sub(1, std::memory_order_relaxed);
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

private:
    StatePtr state_;
    std::shared_ptr<std::atomic<std::size_t>> open_;
    std::shared_ptr<std::atomic<std::size_t>> closed_;
};

Result<std::unique_ptr<Watch>> WatchHub::add(const Index& index, std::string prefix, Revision after,
                                             WatchSink sink) {
    if (prefix.size() > kMaxKeyBytes) {
        return make_error(Code::kInvalidArgument,
                          "watch prefix of {} bytes, at most {} are allowed", prefix.size(),
                          kMaxKeyBytes);
    }
    if (after < index.compacted()) {
        return make_error(Code::kOutOfRange, "revision {} has been compacted, the oldest is {}",
                          after, index.compacted());
    }
    if (after > index.revision()) {
        return make_error(Code::kFailedPrecondition,
                          "revision {} is in the future, the store is at {}", after,
                          index.revision());
    }
    if (open_->fetch_add(1, std::memory_order_relaxed) >= kMaxWatches) {
        open_->fetch_sub(1, std::memory_order_relaxed);
        return make_error(Code::kResourceExhausted, "{} watches are open, the limit of a store",
                          kMaxWatches);
    }
    auto state = std::make_shared<State>();
    state->prefix = std::move(prefix);
    state->told = after;
    state->sink = std::move(sink);
    auto handle = std::make_unique<Handle>(state, open_, closed_);
    std::lock_guard guard(mutex_);
    incoming_.push_back(std::move(state));
    return std::unique_ptr<Watch>(std::move(handle));
}

void WatchHub::take_incoming() {
    std::lock_guard guard(mutex_);
    behind_.insert(behind_.end(), incoming_.begin(), incoming_.end());
    incoming_.clear();
}

// Drops the states of destroyed watches, when they are a noticeable part of all.
void WatchHub::sweep() {
    const std::size_t closed = closed_->load(std::memory_order_relaxed);
    if (closed == 0 || closed * 4 < size()) {
        return;
    }
    closed_->fetch_sub(closed, std::memory_order_relaxed);
    for (auto group = live_.begin(); group != live_.end();) {
        std::erase_if(group->second, [](const StatePtr& state) { return state->ended(); });
        group = group->second.empty() ? live_.erase(group) : std::next(group);
    }
    std::erase_if(behind_, [](const StatePtr& state) { return state->ended(); });
}

void WatchHub::tell_live(const Index& index) {
    const Revision newest = index.revision();
    const std::size_t first = index.history_after(live_revision_);
    for (auto& [prefix, states] : live_) {
        std::vector<Event> events;
        for (std::size_t i = first; i < index.history_size(); ++i) {
            if (index.history_key(i).starts_with(prefix)) {
                events.push_back(index.history_event(i));
            }
        }
        if (events.empty()) {
            needs_progress_ = true;
            continue;
        }
        const auto batch = std::make_shared<const std::vector<Event>>(std::move(events));
        for (const StatePtr& state : states) {
            state->call(batch, newest);
        }
    }
    live_revision_ = newest;
}

bool WatchHub::replay(const Index& index, State& state, std::size_t& budget) {
    if (state.told < index.compacted()) {
        state.end(
            make_error(Code::kOutOfRange,
                       "revision {} was compacted before it could be replayed, the oldest is {}",
                       state.told, index.compacted()));
        return true;
    }
    const Revision newest = index.revision();
    const std::size_t first = index.history_after(state.told);
    const std::size_t all = index.history_size();
    std::size_t end = std::min(all, first + kReplayPiece);
    // A piece ends with a revision, so that `told` is true of every key.
    while (end > first && end < all &&
           index.history_revision(end) == index.history_revision(end - 1)) {
        ++end;
    }
    budget -= std::min(budget, end - first + 1);
    const Revision until = end == all ? newest : index.history_revision(end - 1);
    std::vector<Event> events;
    for (std::size_t i = first; i < end; ++i) {
        if (index.history_key(i).starts_with(state.prefix)) {
            events.push_back(index.history_event(i));
        }
    }
    if (!events.empty() || until == newest) {
        state.call(std::make_shared<const std::vector<Event>>(std::move(events)), until);
    } else {
        state.told = until;
    }
    return until == newest;
}

bool WatchHub::deliver(const Index& index) {
    sweep();
    if (live_revision_ < index.revision()) {
        tell_live(index);
    }
    take_incoming();
    std::size_t budget = kReplayBudget;
    for (std::size_t turns = behind_.size(); turns > 0 && budget > 0; --turns) {
        StatePtr state = std::move(behind_.front());
        behind_.pop_front();
        const bool finished = replay(index, *state, budget);
        if (!finished) {
            behind_.push_back(std::move(state));
        } else if (!state->ended()) {
            live_[state->prefix].push_back(std::move(state));
        } else {
            // Already gone: it is not listed any more, whoever still holds the handle.
        }
    }
    return !behind_.empty();
}

void WatchHub::progress(const Index& index) {
    const Revision newest = index.revision();
    const auto nothing = std::make_shared<const std::vector<Event>>();
    for (auto& [prefix, states] : live_) {
        for (const StatePtr& state : states) {
            if (state->told < newest) {
                state->call(nothing, newest);
            }
        }
    }
    needs_progress_ = false;
}

void WatchHub::restart(const Error& error, Revision revision) {
    close(error);
    live_revision_ = revision;
    needs_progress_ = false;
}

void WatchHub::close(const Error& error) {
    take_incoming();
    for (auto& [prefix, states] : live_) {
        for (const StatePtr& state : states) {
            state->end(error);
        }
    }
    for (const StatePtr& state : behind_) {
        state->end(error);
    }
    live_.clear();
    behind_.clear();
}

}  // namespace sluice::store
