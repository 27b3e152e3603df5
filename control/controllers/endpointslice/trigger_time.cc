#include "control/controllers/endpointslice/trigger_time.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/kubernetes/core/v1/types.pb.h"

namespace sluice::controllers::endpoints {
namespace {

using Time = ::k8s::io::apimachinery::pkg::apis::meta::v1::Time;

// Kubernetes has no other sign for "not known" than the zero of its encoding.
std::optional<codec::Timestamp> known(bool given, const Time& time) {
    if (!given || (time.seconds() == 0 && time.nanos() == 0)) return std::nullopt;
    if (time.seconds() < codec::kMinTimeSeconds || time.seconds() > codec::kMaxTimeSeconds) {
        return std::nullopt;
    }
    return codec::Timestamp{time.seconds(), time.nanos()};
}

std::optional<TriggerTimes::Readiness> readiness_of(const corev1::Pod& pod) {
    const auto& conditions = pod.status().conditions();
    const auto ready = std::find_if(conditions.begin(), conditions.end(),
                                    [](const auto& each) { return each.type() == "Ready"; });
    if (ready == conditions.end()) return std::nullopt;
    const auto since = known(ready->has_lasttransitiontime(), ready->lasttransitiontime());
    if (!since) return std::nullopt;
    return TriggerTimes::Readiness{*since, ready->status()};
}

bool has_changed(const TriggerTimes::Readiness& before, const TriggerTimes::Readiness& now) {
    return now.since > before.since || (now.since == before.since && now.status != before.status);
}

void take_earlier(std::optional<codec::Timestamp>* earliest, const codec::Timestamp& time) {
    if (!*earliest || time < **earliest) *earliest = time;
}

// RFC 3339 with as many digits of fraction as there are: Go's RFC3339Nano.
std::string format_nano_time(const codec::Timestamp& time) {
    std::string text = codec::format_time(time.seconds);
    if (time.nanos == 0) return text;
    std::string fraction = fmt::format(".{:09}", time.nanos);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    text.insert(text.size() - 1, fraction);  // before the Z
    return text;
}

}  // namespace

void set_trigger_time(const std::optional<codec::Timestamp>& trigger, ObjectMeta* meta) {
    if (trigger) {
        (*meta->mutable_annotations())[kTriggerTime] = format_nano_time(*trigger);
    } else {
        meta->mutable_annotations()->erase(kTriggerTime);
    }
}

TriggerTimes::Look TriggerTimes::look(const std::string& service, const corev1::Service& object,
                                      const std::vector<PodPtr>& pods) const {
    std::shared_ptr<const Seen> before;
    {
        const std::scoped_lock lock(mutex_);
        const auto found = seen_.find(service);
        if (found != seen_.end()) before = found->second;
    }
    auto now = std::make_shared<Seen>();
    const auto& meta = object.metadata();
    now->service = known(meta.has_creationtimestamp(), meta.creationtimestamp());
    for (const auto& pod : pods) {
        if (auto readiness = readiness_of(*pod)) {
            now->pods.emplace(pod->metadata().name(), std::move(*readiness));
        }
    }
    Look out;
    out.seen = now;
    if (before == nullptr) {
        out.trigger = now->service;
        return out;
    }
    for (const auto& [name, readiness] : now->pods) {
        const auto found = before->pods.find(name);
        if (found == before->pods.end() || has_changed(found->second, readiness)) {
            take_earlier(&out.trigger, readiness.since);
        }
    }
    if (now->service && (!before->service || *now->service > *before->service)) {
        take_earlier(&out.trigger, *now->service);
    }
    return out;
}

void TriggerTimes::followed(const std::string& service, Look look) {
    const std::scoped_lock lock(mutex_);
    seen_[service] = std::move(look.seen);
}

void TriggerTimes::forget(const std::string& service) {
    const std::scoped_lock lock(mutex_);
    seen_.erase(service);
}

}  // namespace sluice::controllers::endpoints
