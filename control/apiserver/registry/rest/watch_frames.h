// The frames of changes that many watches are told of: made by the first of them, and shared by all that show the
// kind in the same way.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "control/apiserver/registry/rest/negotiate.h"
#include "control/store/store.h"

namespace sluice::registry {

// Thread-safe. Keeps what was used last, within kMaxBatches and kMaxBytes.
class WatchFrames {
public:
    // How a watch shows the objects of a batch.
    struct View {
        const codec::KindInfo* kind = nullptr;
        OutputFormat format;
        bool operator==(const View&) const = default;
    };
    using Frames = std::shared_ptr<const std::string>;

    static constexpr std::size_t kMaxBatches = 64;
    static constexpr std::size_t kMaxBytes = 4U << 20U;

    // What `make` gave the first time for this batch and view. Its errors are not kept: who comes next tries anew.
    Answer<Frames> get(const store::EventBatch& batch, const View& view,
                       const std::function<Answer<std::string>()>& make);

private:
    struct Entry {
        store::EventBatch batch;  // kept, so that no other can have its address
        View view;
        std::mutex mutex;
        Frames frames;  // guarded by mutex; null: not made yet
        std::size_t bytes = 0;  // guarded by WatchFrames::mutex_
    };
    using EntryPtr = std::shared_ptr<Entry>;

    EntryPtr find(const store::EventBatch& batch, const View& view);
    void account(const EntryPtr& entry, std::size_t bytes);

    std::mutex mutex_;
    std::deque<EntryPtr> entries_;  // oldest first; guarded by mutex_
    std::size_t bytes_ = 0;         // of all entries; guarded by mutex_
};

}  // namespace sluice::registry
