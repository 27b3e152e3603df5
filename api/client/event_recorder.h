// Tells people what happened to an object, as core/v1 Events: written by a thread of its own, equal ones counted up in
// one Event instead of repeated, never in the way of the work they tell about.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/client/client.h"

namespace k8s::io::api::core::v1 {
class ObjectReference;
}

namespace sluice::client {

// Events that may wait to be written; further ones are dropped and counted.
inline constexpr std::size_t kMaxQueuedEvents = 1'000;
// Events remembered for counting up; the least recently seen is forgotten first.
inline constexpr std::size_t kMaxKnownEvents = 4'096;
// Of one source about one object: a burst, then one in five minutes (client-go's spam filter).
inline constexpr int kEventBurst = 25;
inline constexpr int kEventRefillSeconds = 300;

enum class EventType { kNormal, kWarning };

// Thread-safe.
class EventRecorder {
public:
    virtual ~EventRecorder() = default;
    // Returns at once. `object` is any kind of the scheme; field_path may be "spec.containers{web}".
    virtual void record(const google::protobuf::Message& object, EventType type,
                        const std::string& reason, const std::string& message,
                        const std::string& field_path = {}) = 0;
    [[nodiscard]] virtual std::uint64_t dropped() const = 0;

    // component: "kubelet", "default-scheduler"; host: the node, or empty. client outlives it. Destruction waits up
    // to a second for what is queued.
    static std::unique_ptr<EventRecorder> start(Client& client, std::string component,
                                                std::string host = {});
};

// A reference to the object as events and owner references of pods carry it.
[[nodiscard]] ::k8s::io::api::core::v1::ObjectReference reference_to(
    const google::protobuf::Message& object);

}  // namespace sluice::client
