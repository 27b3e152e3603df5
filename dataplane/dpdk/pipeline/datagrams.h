// The memory of datagrams in fragments (bpf/lib/fragment.h) over plain memory. Internal to this folder.
#pragma once

// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
// clang-format on

struct sluice_datagram_set;

namespace sluice::dpdk {

// Which memory the calls that follow on this thread mean; null: none.
inline thread_local sluice_datagram_set* datagrams_in_use = nullptr;

}  // namespace sluice::dpdk

static inline sluice_datagram_set* sluice_datagrams_at(const sluice_flow_view* view, __u32 index);

#include "bpf/lib/fragment.h"

static inline sluice_datagram_set* sluice_datagrams_at(const sluice_flow_view* /*view*/, __u32 index) {
    sluice_datagram_set* sets = sluice::dpdk::datagrams_in_use;
    return sets != nullptr && index < SLUICE_DATAGRAM_SETS ? sets + index : nullptr;
}
