// Takes away events that nobody saw again for their time to live, in sweeps of bounded size.
//
//   every kEventSweepInterval: list events in batches --older than the TTL--> delete, unless seen again meanwhile
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// An event may outlive its time to live by this much, and by one more interval for each full sweep before it.
inline constexpr std::chrono::seconds kEventSweepInterval{30};
// Events looked at in one read, and deleted in one sweep; the next sweep goes on with the rest.
inline constexpr std::uint64_t kEventBatch = 500;
inline constexpr std::size_t kMaxEventsPerSweep = 2000;

// Thread-safe. The core outlives it; stop() is called before the core's executor ends.
class EventExpiry {
public:
    virtual ~EventExpiry() = default;
    virtual void stop() = 0;
};

std::unique_ptr<EventExpiry> start_event_expiry(Core& core, std::uint32_t ttl_s);

// One sweep: asks for the deletion of every event last seen at `before` (Unix seconds) or earlier, up to the limit,
// and returns how many those were. The deletions may end after the return.
std::size_t sweep_events(Core& core, std::int64_t before);

}  // namespace sluice::registry
