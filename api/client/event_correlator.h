// What becomes of one thing that happened: a new Event, one more of an Event that exists, or nothing, because its
// source tells too much about the object. No clock and no I/O: the recorder's thread brings both.
//
// One thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "api/kubernetes/core/v1/event.pb.h"

namespace sluice::client {

// Keys to values; the least recently used goes when there are more than the limit.
template <class Value>
class LeastRecentlyUsed {
public:
    explicit LeastRecentlyUsed(std::size_t limit) : limit_(limit) {}

    // The value, made new if the key is not known. Valid until the next call.
    Value& at(const std::string& key) {
        if (const auto found = index_.find(key); found != index_.end()) {
            items_.splice(items_.begin(), items_, found->second);
            return found->second->second;
        }
        items_.emplace_front(key, Value{});
        index_.emplace(key, items_.begin());
        if (items_.size() > limit_) {
            index_.erase(items_.back().first);
            items_.pop_back();
        }
        return items_.front().second;
    }
    [[nodiscard]] std::size_t size() const { return items_.size(); }

private:
    const std::size_t limit_;
    std::list<std::pair<std::string, Value>> items_;
    std::unordered_map<std::string, typename std::list<std::pair<std::string, Value>>::iterator>
        index_;
};

class EventCorrelator {
public:
    enum class Verdict { kCreate, kCountUp, kSuppress };
    explicit EventCorrelator(std::size_t known_limit) : known_(known_limit), buckets_(known_limit) {}

    // Completes the event. It comes with everything but name, count and timestamps; `now_ns` is the time of day and
    // gives the name of a new Event. kCountUp: metadata is that of the Event to patch, count and lastTimestamp are new.
    Verdict correlate(std::int64_t now_ns, ::k8s::io::api::core::v1::Event* event);
    // The server no longer has the Event that was to be counted up: gives it a name of its own again.
    void forget_and_rename(std::int64_t now_ns, ::k8s::io::api::core::v1::Event* event);

private:
    struct Known {
        std::string name;
        std::int32_t count = 0;
        std::int64_t first_seconds = 0;
    };
    struct Bucket {
        bool used = false;
        double tokens = 0;
        std::int64_t filled_ns = 0;
    };
    bool take_token(std::int64_t now_ns, const ::k8s::io::api::core::v1::Event& event);

    LeastRecentlyUsed<Known> known_;
    LeastRecentlyUsed<Bucket> buckets_;
};

}  // namespace sluice::client
