#include "control/apiserver/registry/observe/observation.h"

#include <algorithm>
#include <chrono>

#include "api/base/log.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::registry {

namespace {

constexpr std::string_view kComponent = "observation";
constexpr std::chrono::milliseconds kRetryInterval{200};

}  // namespace

KindObservation::KindObservation(Core& core, const Strategy& strategy, Observer observer)
    : core_(core), strategy_(strategy), observer_(std::move(observer)) {}

KindObservation::~KindObservation() { KindObservation::stop(); }

void KindObservation::stop() {
    std::vector<std::pair<store::Revision, std::function<void()>>> released;
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        letters_.clear();
        released.swap(waiting_);
    }
    std::unique_ptr<store::Watch> ended;
    {
        const std::lock_guard telling(telling_);
        ended = std::move(watch_);
    }
    // Outside of the locks, which the sink takes.
    ended.reset();
    for (const auto& [revision, callback] : released) callback();
}

Result<void> KindObservation::start() {
    const std::lock_guard telling(telling_);
    return list_and_watch();
}

Result<void> KindObservation::list_and_watch() {
    const std::string prefix = strategy_.storage_prefix() + "/";
    SLUICE_TRY_ASSIGN(auto range, core_.store.range(prefix, "", 0));
    std::unordered_map<std::string, store::Revision> gone;
    gone.swap(known_);
    known_.reserve(range.items.size());
    for (const store::KeyValue& item : range.items) {
        const auto before = gone.find(item.key);
        const bool same = before != gone.end() && before->second == item.mod_revision;
        if (before != gone.end()) gone.erase(before);
        if (same) {
            known_.emplace(item.key, item.mod_revision);
        } else {
            tell(item);
        }
    }
    for (const auto& [key, revision] : gone) tell({key, nullptr, 0, 0});
    SLUICE_TRY_ASSIGN(
        watch_, core_.store.watch(prefix, range.revision,
                                  [weak = weak_from_this()](Result<store::EventBatch> events,
                                                            store::Revision revision) {
                                      const auto self = weak.lock();
                                      if (self != nullptr) self->push({std::move(events), revision});
                                  }));
    reach(range.revision);
    return {};
}

void KindObservation::tell(const store::KeyValue& item) {
    Observed seen;
    seen.kind = &strategy_.kind();
    const std::size_t slash = item.key.rfind('/');
    seen.name = item.key.substr(slash + 1);
    if (strategy_.kind().namespaced) {
        const std::size_t before = item.key.rfind('/', slash - 1);
        seen.name_space = item.key.substr(before + 1, slash - before - 1);
    }
    if (item.value == nullptr) {
        known_.erase(item.key);
        observer_(seen);
        return;
    }
    auto object = core_.cache.get(strategy_.kind(), item.mod_revision, *item.value);
    if (!object) {
        // Nobody can act on what nobody can read; what was known of it no longer holds.
        log::warn(kComponent, "{} cannot be read: {}", item.key, object.error().message);
        known_.erase(item.key);
        observer_(seen);
        return;
    }
    known_[item.key] = item.mod_revision;
    seen.object = std::shared_ptr<const Message>(*object, &(*object)->message());
    observer_(seen);
}

void KindObservation::push(Letter letter) {
    {
        const std::lock_guard lock(mutex_);
        if (stopped_) return;
        letters_.push_back(std::move(letter));
        if (scheduled_) return;
        scheduled_ = true;
    }
    core_.executor.post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->drain();
    });
}

void KindObservation::drain() {
    const std::lock_guard telling(telling_);
    while (true) {
        Letter letter;
        {
            const std::lock_guard lock(mutex_);
            if (letters_.empty() || stopped_) {
                scheduled_ = false;
                return;
            }
            letter = std::move(letters_.front());
            letters_.pop_front();
        }
        if (!letter.events) {
            retry_later();
            continue;
        }
        for (const store::Event& event : **letter.events) tell(event.current);
        reach(letter.revision);
    }
}

void KindObservation::retry_later() {
    core_.executor.post_at(
        std::chrono::steady_clock::now() + kRetryInterval, [weak = weak_from_this()] {
            const auto self = weak.lock();
            if (self == nullptr) return;
            std::unique_ptr<store::Watch> ended;
            const std::lock_guard telling(self->telling_);
            {
                const std::lock_guard lock(self->mutex_);
                if (self->stopped_) return;
                self->letters_.clear();
            }
            ended = std::move(self->watch_);
            ended.reset();
            if (const auto ok = self->list_and_watch(); !ok) {
                log::warn(kComponent, "{} cannot be followed: {}", self->strategy_.kind().resource,
                          ok.error().message);
                self->retry_later();
            }
        });
}

void KindObservation::reach(store::Revision revision) {
    std::vector<std::function<void()>> due;
    {
        const std::lock_guard lock(mutex_);
        reached_ = std::max(reached_, revision);
        std::erase_if(waiting_, [&](auto& entry) {
            if (entry.first > reached_) return false;
            due.push_back(std::move(entry.second));
            return true;
        });
    }
    for (const auto& callback : due) {
        // Not from under the lock that telling needs: who waited may write again.
        core_.executor.post(callback);
    }
}

void KindObservation::when_reached(store::Revision revision, std::function<void()> callback) {
    {
        const std::lock_guard lock(mutex_);
        if (!stopped_ && reached_ < revision) {
            waiting_.emplace_back(revision, std::move(callback));
            return;
        }
    }
    callback();
}

}  // namespace sluice::registry
