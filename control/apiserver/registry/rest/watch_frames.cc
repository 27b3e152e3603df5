#include "control/apiserver/registry/rest/watch_frames.h"

#include <algorithm>
#include <utility>

namespace sluice::registry {

WatchFrames::EntryPtr WatchFrames::find(const store::EventBatch& batch, const View& view) {
    store::EventBatch dropped;  // declared first: it goes after the lock
    const std::lock_guard lock(mutex_);
    // Nearly always one of the newest.
    const auto found = std::find_if(entries_.rbegin(), entries_.rend(), [&](const EntryPtr& entry) {
        return entry->batch == batch && entry->view == view;
    });
    if (found != entries_.rend()) return *found;
    if (entries_.size() == kMaxBatches) {
        bytes_ -= entries_.front()->bytes;
        dropped = entries_.front()->batch;
        entries_.pop_front();
    }
    auto made = std::make_shared<Entry>();
    made->batch = batch;
    made->view = view;
    entries_.push_back(made);
    return made;
}

void WatchFrames::account(const EntryPtr& entry, std::size_t bytes) {
    std::deque<EntryPtr> dropped;
    const std::lock_guard lock(mutex_);
    // It may have been dropped meanwhile.
    if (std::find(entries_.begin(), entries_.end(), entry) == entries_.end()) return;
    entry->bytes = bytes;
    bytes_ += bytes;
    while (bytes_ > kMaxBytes) {
        bytes_ -= entries_.front()->bytes;
        dropped.push_back(std::move(entries_.front()));
        entries_.pop_front();
    }
}

Answer<WatchFrames::Frames> WatchFrames::get(const store::EventBatch& batch, const View& view,
                                             const std::function<Answer<std::string>()>& make) {
    const EntryPtr entry = find(batch, view);
    Frames frames;
    {
        const std::lock_guard lock(entry->mutex);
        if (entry->frames != nullptr) return entry->frames;
        auto made = make();
        if (!made) return refuse(std::move(made).error());
        entry->frames = std::make_shared<const std::string>(std::move(*made));
        frames = entry->frames;
    }
    account(entry, frames->size());
    return frames;
}

}  // namespace sluice::registry
