#include "control/apiserver/registry/event_expiry/event_expiry.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <mutex>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/stopping_handle.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kComponent = "event-expiry";

// The newest of the times that an event carries; writers fill different ones.
std::int64_t last_seen(const corev1::Event& event) {
    return std::max({static_cast<std::int64_t>(event.metadata().creationtimestamp().seconds()),
                     static_cast<std::int64_t>(event.lasttimestamp().seconds()),
                     static_cast<std::int64_t>(event.eventtime().seconds()),
                     static_cast<std::int64_t>(event.series().lastobservedtime().seconds())});
}

void remove(Core& core, const Strategy& events, const StoredObject& event, std::int64_t before) {
    const auto& meta = event.meta();
    change_object(
        core, events, meta.namespace_(), meta.name(), false,
        [&events, before](const ObjectPtr& existing) -> Answer<Change> {
            // Seen again, or gone, since it was looked at.
            if (existing == nullptr ||
                last_seen(static_cast<const corev1::Event&>(existing->message())) > before) {
                return Change{};
            }
            DeleteOptions options;
            options.propagation = Propagation::kBackground;
            return prepare_deletion(events, *existing, options);
        },
        [name = meta.name(), name_space = meta.namespace_()](Answer<Outcome> outcome) {
            if (outcome) return;
            log::warn(kComponent, "event {}/{} cannot be removed: {}", name_space, name,
                      outcome.error().message);
        });
}

class Sweeper final : public std::enable_shared_from_this<Sweeper> {
public:
    Sweeper(Core& core, std::uint32_t ttl_s) : core_(core), ttl_s_(ttl_s) {}

    void schedule() {
        const std::lock_guard lock(mutex_);
        if (stopped_) return;
        core_.executor.post_at(std::chrono::steady_clock::now() + kEventSweepInterval,
                               [weak = weak_from_this()] {
                                   if (const auto self = weak.lock()) self->run();
                               });
    }
    void stop() {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
    }

private:
    void run() {
        {
            const std::lock_guard lock(mutex_);
            if (stopped_) return;
        }
        sweep_events(core_, unix_now() - std::int64_t{ttl_s_});
        schedule();
    }

    Core& core_;
    const std::uint32_t ttl_s_;
    std::mutex mutex_;
    bool stopped_ = false;
};

}  // namespace

std::size_t sweep_events(Core& core, std::int64_t before) {
    const codec::KindInfo* kind = codec::find_resource("", "v1", "events");
    SLUICE_ASSERT(kind != nullptr);
    const Strategy& events = core.strategies.of(*kind);
    const std::string prefix = events.storage_prefix() + "/";
    std::string after;
    std::size_t removed = 0;
    while (!core.stopping) {
        auto range = core.store.range(prefix, after, kEventBatch);
        if (!range) {
            log::warn(kComponent, "events cannot be listed: {}", range.error().message);
            return removed;
        }
        for (const store::KeyValue& item : range->items) {
            after = item.key;
            auto object = core.cache.get(*kind, item.mod_revision, *item.value);
            if (!object) continue;
            if (last_seen(static_cast<const corev1::Event&>((*object)->message())) > before) {
                continue;
            }
            if (removed == kMaxEventsPerSweep) return removed;
            remove(core, events, **object, before);
            ++removed;
        }
        if (!range->more) return removed;
    }
    return removed;
}

std::unique_ptr<EventExpiry> start_event_expiry(Core& core, std::uint32_t ttl_s) {
    auto sweeper = std::make_shared<Sweeper>(core, ttl_s);
    sweeper->schedule();
    return std::make_unique<StoppingHandle<EventExpiry, Sweeper>>(std::move(sweeper));
}

}  // namespace sluice::registry
