// See event_correlator.h.
#include "api/client/event_correlator.h"

#include <fmt/core.h>

#include <algorithm>

#include "api/client/event_recorder.h"

namespace sluice::client {
namespace {

using ::k8s::io::api::core::v1::Event;

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
// Separates the parts of a key; no name, uid or reason holds it.
constexpr char kSeparator = '\x1f';

std::string join(std::initializer_list<std::string_view> parts) {
    std::string out;
    for (const std::string_view part : parts) out.append(part).push_back(kSeparator);
    return out;
}

std::string object_part(const Event& event) {
    const auto& object = event.involvedobject();
    return join({event.source().component(), event.source().host(), object.apiversion(),
                 object.kind(), object.namespace_(), object.name(), object.uid()});
}

std::string event_key(const Event& event) {
    return object_part(event) + join({event.involvedobject().fieldpath(), event.type(),
                                      event.reason(), event.message()});
}

void set_name(std::int64_t now_ns, Event* event) {
    event->mutable_metadata()->set_name(
        fmt::format("{}.{:x}", event->involvedobject().name(), now_ns));
}

}  // namespace

bool EventCorrelator::take_token(std::int64_t now_ns, const Event& event) {
    Bucket& bucket = buckets_.at(object_part(event));
    if (!bucket.used) {
        bucket = {.used = true, .tokens = kEventBurst, .filled_ns = now_ns};
    }
    // A clock that was set back fills nothing.
    const std::int64_t passed_ns = std::max<std::int64_t>(0, now_ns - bucket.filled_ns);
    const double gained = static_cast<double>(passed_ns) /
                          static_cast<double>(kEventRefillSeconds * kNanosPerSecond);
    bucket.tokens = std::min<double>(kEventBurst, bucket.tokens + gained);
    bucket.filled_ns = now_ns;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
}

EventCorrelator::Verdict EventCorrelator::correlate(std::int64_t now_ns, Event* event) {
    // Counting comes before the filter, so that a count that was held back shows in the next one that is written.
    Known& known = known_.at(event_key(*event));
    const std::int64_t now_s = now_ns / kNanosPerSecond;
    const bool is_new = known.name.empty();
    if (is_new) {
        set_name(now_ns, event);
        known = {.name = event->metadata().name(), .count = 1, .first_seconds = now_s};
    } else {
        event->mutable_metadata()->set_name(known.name);
        ++known.count;
    }
    event->set_count(known.count);
    event->mutable_firsttimestamp()->set_seconds(known.first_seconds);
    event->mutable_lasttimestamp()->set_seconds(now_s);
    if (!take_token(now_ns, *event)) {
        // An Event that was never written cannot be patched later.
        if (is_new) known = {};
        return Verdict::kSuppress;
    }
    return is_new ? Verdict::kCreate : Verdict::kCountUp;
}

void EventCorrelator::forget_and_rename(std::int64_t now_ns, Event* event) {
    set_name(now_ns, event);
    known_.at(event_key(*event)).name = event->metadata().name();
}

}  // namespace sluice::client
