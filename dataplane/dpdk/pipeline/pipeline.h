// What becomes of frames: the stages of bpf/lib over a burst, with the memory that each will want fetched ahead.
//
//   glance -> hash, prefetch bucket -> find flow -> prefetch hop -> rewrite        (established)
//                                        miss: parse -> decide -> insert -> rewrite (bpf/lib/decide.h, direct.h)
//
// The same decisions as the eBPF programs take on the same image, flow table, random state and tick, and the same
// bytes from the IP header on. One Pipeline a lcore; lcores share nothing that they write but the affinity table, the
// memory of fragments (both with the protocols of bpf/lib) and the refused counter of a service.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "api/abi/affinity.h"
#include "api/abi/flow.h"
#include "api/base/result.h"
#include "dataplane/dpdk/pipeline/event_log.h"
#include "dataplane/dpdk/pipeline/frame.h"
#include "dataplane/dpdk/routing/forwarding.h"
#include "dataplane/image/layout.h"

struct sluice_datagram_set;

namespace sluice::dpdk {

inline constexpr std::size_t kMaxBurst = 64;

// Memory that a pipeline works on; borrowed, and zero when it is made new.
struct FlowTable {
    sluice_flow_config* config = nullptr;
    sluice_flow_bucket4* buckets4 = nullptr;  // [config->bucket_count4]
    sluice_flow_bucket6* buckets6 = nullptr;  // [config->bucket_count6]
};
// Of one lcore. The other table is there while flows move from one to another, and has the same seed; what `mode` means
// is said in api/abi/flow.h.
struct FlowMemory : FlowTable {
    FlowTable other;
    sluice_flow_mode mode = SLUICE_FLOW_ALONE;
};
struct SharedMemory {
    sluice_affinity_config* affinity_config = nullptr;
    sluice_affinity_bucket* affinity = nullptr;  // [affinity_config->bucket_count]
    sluice_datagram_set* datagrams = nullptr;    // [SLUICE_DATAGRAM_SETS]
};

struct PipelineOptions {
    std::uint32_t lcore = 0;   // among those that forward
    std::uint32_t lcores = 1;  // each takes its share of the SNAT ports (pipeline/dispatch.h)
    std::uint64_t random_seed = 0;  // the first state of the generator (Pipeline::set_random); 0 stands for 1
};

// The clock of a burst. tick: 16 bits, about a second each; seconds: for affinity, in its unit.
struct Now {
    std::uint16_t tick = 0;
    std::uint32_t affinity_time = 0;
};

// What became of flows that were carried to another table, since the pipeline was made.
struct CarriedFlows {
    std::uint64_t moved = 0;
    std::uint64_t expired = 0;
    std::uint64_t lost = 0;  // their place in the new table was taken, or its bucket full of flows in use
};

enum class Carrying : std::uint8_t {
    kGoesOn,
    kWaits,  // for room in the larger table, until the next tick
    kDone,
};

class Pipeline {
public:
    static std::unique_ptr<Pipeline> make(const PipelineOptions& options, const FlowMemory& flows,
                                          const SharedMemory& shared, const EventMemory& events = {});
    virtual ~Pipeline() = default;

    // From the next burst on. Null tables.header or null forwarding: everything goes to the kernel.
    // The caller keeps what was in force before until this lcore has passed a quiescent state.
    virtual void use(const image::Tables& tables) = 0;
    virtual void use(const Forwarding* forwarding) = 0;
    // Another table of flows, or of clients. What the one before has must be in there, or be its `other`.
    virtual void use(const FlowMemory& flows) = 0;
    virtual void use(const SharedMemory& shared) = 0;

    // In mode MOVE, for flows that no packet brings over: carries what is in so many buckets of each family, about
    // half a microsecond for each flow. kDone: the other table is not wanted any more.
    virtual Carrying carry_flows(std::uint32_t buckets, const Now& now) = 0;
    [[nodiscard]] virtual const CarriedFlows& carried_flows() const = 0;

    // The state of the generator that choices are drawn from: xorshift64*, as the XDP program has it. 0 stands for 1.
    virtual void set_random(std::uint64_t state) = 0;

    // frames.size() <= kMaxBurst. Fills in each frame's answer. Never allocates, never blocks.
    virtual void process(std::span<Frame> frames, const Now& now) = 0;
};

}  // namespace sluice::dpdk
