// The flow log of api/abi/event.h in shared memory: each lcore writes a ring of its own, one follower reads all of
// them.
//
//   follower --kinds, lease--> sluice_log_config <--one look-- lcore --event--> ring of the lcore --> follower
//
// A full ring loses events and counts them; no packet waits for a reader. While nobody follows, a new flow or a drop
// costs one look at a word.
#pragma once

#include <cstdint>

#include "api/abi/event.h"

namespace sluice::dpdk {

inline constexpr std::uint32_t kEventsPerLcore = 4096;  // a power of two; 384 KiB

// Both counts rise for ever; event n lies at n % kEventsPerLcore.
struct EventRing {
    std::uint64_t written;  // by the lcore
    std::uint64_t reserved1[7];
    std::uint64_t read;     // by the follower
    std::uint64_t reserved2[7];
};
static_assert(sizeof(EventRing) == 128);

// Of one lcore; null: no log.
struct EventMemory {
    sluice_log_config* config = nullptr;
    EventRing* ring = nullptr;
    sluice_event* events = nullptr;  // [kEventsPerLcore]
};

struct Work;

// Of work.now. `kind`: enum sluice_event_kind.
void log_event(Work& work, std::uint32_t kind);

}  // namespace sluice::dpdk
