// Follows the objects of one kind for another part of this process (authorization, admission), without a connection.
//
//   store thread --push--> mailbox --post--> worker: decode through the cache, tell the observer
//
// Writes of this process can wait for an observation: once such a write is acknowledged, the observer has seen it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/apiserver/registry/api.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// Thread-safe. The core outlives it; destroying it waits for an observer that is being told something.
class KindObservation final : public Observation,
                              public std::enable_shared_from_this<KindObservation> {
public:
    KindObservation(Core& core, const Strategy& strategy, Observer observer);
    ~KindObservation() override;

    // Tells of what is there, on the calling thread, then follows.
    Result<void> start();
    // No more calls of the observer; who waits is released.
    void stop();
    // Calls back once the observer has been told of everything up to the revision, at once if it has been.
    void when_reached(store::Revision revision, std::function<void()> callback);
    [[nodiscard]] const codec::KindInfo& kind() const { return strategy_.kind(); }

private:
    struct Letter {
        Result<store::EventBatch> events = store::EventBatch();
        store::Revision revision = 0;
    };
    void push(Letter letter);
    void drain();
    void tell(const store::KeyValue& item);
    // Lists anew after a watch that ended, and tells what differs.
    Result<void> list_and_watch();
    void retry_later();
    void reach(store::Revision revision);

    Core& core_;
    const Strategy& strategy_;
    const Observer observer_;
    // Held while the observer is told, by whoever tells.
    std::mutex telling_;
    std::unordered_map<std::string, store::Revision> known_;  // by key; under telling_
    std::mutex mutex_;
    std::deque<Letter> letters_;
    std::vector<std::pair<store::Revision, std::function<void()>>> waiting_;
    store::Revision reached_ = 0;
    bool scheduled_ = false;
    bool stopped_ = false;
    std::unique_ptr<store::Watch> watch_;  // under telling_
};

}  // namespace sluice::registry
