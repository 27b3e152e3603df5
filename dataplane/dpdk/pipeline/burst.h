// The stages of a burst: plain packets of flows, with the memory that each stage will want fetched by the one before.
// Internal to this folder.
//
//   look     is it plain IP, whole and sound, with ports? hash; fetch the head of its bucket
//   aim      which slot has its tag? fetch the record
//   take     is it the flow's, and does nothing change by it? else find, follow; fetch next hop and counters. In the
//            frames' order
//   send     rewrite, Ethernet header, count; from the record, where it lies
//
// What is not plain, not found, or of no use any more is processed as a whole (slow.cc) when `take` comes to it, so
// that packets see each other's flows. An insert may displace a record, so all that has been taken is sent before.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "api/abi/flow.h"
#include "dataplane/dpdk/pipeline/frame.h"
#include "dataplane/dpdk/pipeline/pipeline.h"

namespace sluice::dpdk {

struct Work;

// What the stages know of one frame.
struct Step {
    enum class Kind : std::uint8_t { kDone, kPlain4, kPlain6 };

    sluice_flow_set* set;  // the head of its bucket
    const void* record;    // sluice_flow4 or 6: its flow's if it is taken, before that what aim() takes for it
    std::uint32_t total;   // bytes of IP packet
    std::uint32_t hash;    // the lower half of it: tag and home
    std::uint16_t hops;    // HopCache::set_of where it goes
    Kind kind;
    std::uint8_t l3;
    std::uint8_t protocol;
    std::uint8_t tcp_flags;
    std::uint8_t slot;  // of the record
};
static_assert(sizeof(Step) <= 32);

struct Burst {
    std::array<Step, kMaxBurst> step;
};

// REQUIRES: an image and routes; frames.size() <= kMaxBurst.
void process_burst(Work& work, Burst& burst, std::span<Frame> frames);

}  // namespace sluice::dpdk
