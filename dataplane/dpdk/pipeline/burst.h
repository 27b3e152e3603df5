// The stages of a burst: plain packets of flows, with the memory that each stage will want fetched by the one before.
// Internal to this folder.
//
//   look     is it plain IP, whole and sound, with ports? hash; fetch the head of its bucket
//   aim      which slot has its tag? fetch the record
//   take     find, follow; fetch next hop and counters. In the frames' order: what is not plain, not found, or of no
//            use any more is processed here as a whole (slow.cc), so that packets see each other's flows
//   send     rewrite, Ethernet header, count
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
    std::uint64_t hash;
    // What it becomes, as its flow's record says; of IPv4 addresses word 3.
    std::uint32_t new_src_be[4];
    std::uint32_t new_dst_be[4];
    std::uint32_t new_ports_be;
    std::uint32_t backend;
    std::uint32_t total;  // bytes of IP packet
    Kind kind;
    std::uint8_t l3;
    std::uint8_t protocol;
    std::uint8_t tcp_flags;
    std::uint8_t flags;  // of the flow's half
    std::uint8_t slots;  // of its bucket that have its tag, a bit each
    bool plain;          // for `take`: found to be plain by `look`
};

struct Burst {
    std::array<Step, kMaxBurst> step;
};

// REQUIRES: an image and routes; frames.size() <= kMaxBurst.
void process_burst(Work& work, Burst& burst, std::span<Frame> frames);

}  // namespace sluice::dpdk
