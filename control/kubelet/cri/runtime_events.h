// containerd's event stream: containers that start, end or run out of memory are known at once, without listing.
//
// One thread of its own, which subscribes again for ever. Events may have been missed whenever a subscription begins:
// on_connected is called then, and who listens lists everything.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "api/base/result.h"

namespace sluice::kubelet {

inline constexpr std::uint32_t kMinResubscribeMs = 50;
inline constexpr std::uint32_t kMaxResubscribeMs = 1'000;

struct RuntimeEvent {
    enum class Type { kStart, kExit, kOom };
    Type type = Type::kStart;
    std::string container_id;  // or a sandbox's
    std::uint32_t exit_code = 0;
    std::int64_t exited_at_ns = 0;
};

class RuntimeEvents {
public:
    virtual ~RuntimeEvents() = default;

    // Both are called on the stream's thread, one call at a time. on_connected: the subscription is
    // in force, what happens from here on will be told. It may block; events wait meanwhile.
    static Result<std::unique_ptr<RuntimeEvents>> start(
        const std::string& endpoint, std::function<void()> on_connected,
        std::function<void(const RuntimeEvent&)> on_event);
};

}  // namespace sluice::kubelet
