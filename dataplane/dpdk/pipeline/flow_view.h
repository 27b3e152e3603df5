// An lcore's flow tables as bpf/lib/flow.h sees them. For readers and writers alike.
#pragma once

#include "bpf/lib/flow_memory.h"
#include "dataplane/dpdk/pipeline/pipeline.h"

namespace sluice::dpdk {

inline sluice_flow_view view_of(const FlowMemory& memory, std::uint16_t tick) {
    sluice_flow_view out{};
    out.now = tick;
    if (memory.config == nullptr) return out;
    out.seed = memory.config->seed;
    out.bucket_count4 = memory.buckets4 != nullptr ? memory.config->bucket_count4 : 0;
    out.bucket_count6 = memory.buckets6 != nullptr ? memory.config->bucket_count6 : 0;
    out.buckets4 = memory.buckets4;
    out.buckets6 = memory.buckets6;
    if (memory.mode == SLUICE_FLOW_ALONE || memory.other.config == nullptr) return out;
    out.mode = static_cast<__u16>(memory.mode);
    out.other_count4 = memory.other.config->bucket_count4;
    out.other_count6 = memory.other.config->bucket_count6;
    out.others4 = memory.other.buckets4;
    out.others6 = memory.other.buckets6;
    return out;
}

}  // namespace sluice::dpdk
