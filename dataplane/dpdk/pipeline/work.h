// What one lcore works with: its tables, and memory for the packet at hand. Internal to this folder.
//
// bpf/lib is C that reaches tables through views; they are defined here, over plain memory, for every file of the
// pipeline alike. What decides (bpf/lib/decide.h, direct.h) is compiled in judge.cc alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

// Of an lcore's flow tables.
#define SLUICE_FLOW_ONE_WRITER
// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/select.h"
#include "bpf/lib/case.h"
#include "bpf/lib/budget.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/reply.h"
#include "bpf/lib/rewrite.h"
// clang-format on

#include "bpf/lib/affinity_memory.h"
#include "dataplane/dpdk/pipeline/event_log.h"
#include "dataplane/dpdk/pipeline/frame.h"
#include "dataplane/dpdk/pipeline/hop_cache.h"
#include "dataplane/dpdk/pipeline/pipeline.h"
#include "dataplane/image/layout.h"

namespace sluice::dpdk {

struct Work {
    // Settled when the tables change.
    image::Tables tables;
    sluice_view image{};
    sluice_backend_counters* served = nullptr;  // this lcore's row
    std::uint32_t served_count = 0;             // its length
    std::uint64_t* drops = nullptr;             // this lcore's row
    bool own_rows = false;                      // nobody else adds to it
    std::uint16_t port_min = 0;                 // this lcore's source ports, host order, both ends included
    std::uint16_t port_max = 0;

    // Settled when the routes change.
    HopCache hops;
    std::span<const Interface> interfaces;
    // Of each: what packets meet that come in by it, enum sluice_place; and its VLAN id, host order.
    std::array<std::uint8_t, kMaxInterfaces> place{};
    std::array<std::uint16_t, kMaxInterfaces> vlan{};

    // Settled at each burst.
    sluice_flow_view flows{};
    sluice_affinity_view affinity{};
    // For datagrams in fragments, which lcores share: another seed than the flows', the same time.
    sluice_flow_view datagram_view{};

    PipelineOptions options;
    SharedMemory shared;
    EventMemory events;
    std::uint64_t random = 1;
    std::uint64_t event_random = 1;
    sluice_reply_budget budget{};

    // Of the packet at hand.
    sluice_case now{};
    const Hop* hop = nullptr;  // settled by route()
    sluice_answer answer{};
    sluice_reply reply{};
    sluice_quote quote{};  // of an ICMP error that is translated
};

// Adds to a cell of this lcore's rows. Whoever reads it at the same time sees the old or the new figure.
template <class Cell>
void count(const Work& work, Cell& cell, std::uint32_t amount) {
    if (work.own_rows) {
        __atomic_store_n(&cell, cell + amount, __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_add(&cell, amount, __ATOMIC_RELAXED);
    }
}
inline void count_drop(const Work& work, std::uint32_t reason) {
    if (reason < SLUICE_DROP_STRIDE) count(work, work.drops[reason], 1);
}
inline void count_connection(const Work& work, std::uint32_t backend) {
    if (backend < work.served_count) count(work, work.served[backend].connections, 1);
}
inline void count_packet(const Work& work, std::uint32_t backend, std::uint32_t bytes) {
    if (backend >= work.served_count) return;
    sluice_backend_counters& served = work.served[backend];
    count(work, served.packets, 1);
    count(work, served.bytes, bytes);
}
// Lcores share this one.
inline void count_refused(const Work& work, std::uint32_t service) {
    if (service >= work.image.header->service_capacity) return;
    __atomic_fetch_add(&work.tables.counters[service].refused, 1, __ATOMIC_RELAXED);
}

// judge.cc. Of work.now; none changes the frame.
namespace judge {
// sluice_decide, and sluice_decide_portless: enum sluice_decision.
int decide(Work& work, bool v6);
int decide_portless(Work& work, std::uint32_t error, bool v6);
// sluice_turn_quote, of work.quote: whether the error is about a flow.
bool turn_quote(Work& work, bool v6);
// sluice_direct_accept, of what another node says: enum sluice_direct.
int accept(Work& work, const sluice_address& pod, std::uint16_t port_be, bool option, bool v6);
}  // namespace judge

// slow.cc. Any frame, from its first byte; fills in its answer. REQUIRES: an image and routes.
void process_frame(Work& work, Frame& frame);

// Answers that need no look at the packet.
void discard_frame(Work& work, Frame& frame, std::uint32_t reason);  // counted
void drop_frame(Work& work, Frame& frame, std::uint32_t reason);     // and logged, of work.now
void pass_frame(Frame& frame);                                    // to the kernel, or on its way from there

}  // namespace sluice::dpdk
