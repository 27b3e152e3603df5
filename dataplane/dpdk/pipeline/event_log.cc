#include "dataplane/dpdk/pipeline/event_log.h"

#include <ctime>

#include "dataplane/dpdk/pipeline/work.h"
// Behind the views that work.h defines.
#include "bpf/lib/event.h"

namespace sluice::dpdk {
namespace {

std::uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
    return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

// xorshift64 (Marsaglia), and not the generator that backends are drawn from: whether somebody follows changes no
// choice.
std::uint32_t draw(std::uint64_t& state) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    return static_cast<std::uint32_t>(state >> 32U);
}

[[gnu::noinline]] void write_event(Work& work, std::uint32_t kind) {
    const EventMemory& log = work.events;
    if (draw(work.event_random) > __atomic_load_n(&log.config->below, __ATOMIC_RELAXED)) return;
    const std::uint64_t now = monotonic_ns();
    if (now > __atomic_load_n(&log.config->until_ns, __ATOMIC_RELAXED)) {
        // Who follows no longer was killed. One that still lives asks again with its next look.
        __atomic_store_n(&log.config->kinds, 0U, __ATOMIC_RELAXED);
        return;
    }
    const std::uint64_t at = log.ring->written;
    if (at - __atomic_load_n(&log.ring->read, __ATOMIC_ACQUIRE) >= kEventsPerLcore) {
        __atomic_fetch_add(&log.config->lost, 1, __ATOMIC_RELAXED);
        return;
    }
    sluice_event& event = log.events[at % kEventsPerLcore];
    event = {};
    event.time_ns = now;
    event.kind = static_cast<__u8>(kind);
    sluice_event_tell(&event, &work.now, kind);
    __atomic_store_n(&log.ring->written, at + 1, __ATOMIC_RELEASE);
}

}  // namespace

void log_event(Work& work, std::uint32_t kind) {
    if (work.events.config == nullptr ||
        (__atomic_load_n(&work.events.config->kinds, __ATOMIC_ACQUIRE) >> kind & 1U) == 0) {
        return;
    }
    write_event(work, kind);
}

}  // namespace sluice::dpdk
