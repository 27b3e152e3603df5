// The pipeline of one lcore: what it works on, and how that changes between bursts.
#include "dataplane/dpdk/pipeline/pipeline.h"

#include <bit>

#include "dataplane/dpdk/pipeline/burst.h"
#include "dataplane/dpdk/pipeline/dispatch.h"
#include "dataplane/dpdk/pipeline/flow_carrier.h"
#include "dataplane/dpdk/pipeline/flow_view.h"
#include "dataplane/dpdk/pipeline/work.h"

namespace sluice::dpdk {
namespace {

// A seed that lies beside the tables it is for: drawn by whoever comes first, and never 0.
__u64 seed_of(__u64& cell, __u64 fresh) {
    __u64 seed = __atomic_load_n(&cell, __ATOMIC_ACQUIRE);
    if (seed != 0) return seed;
    // As splitmix64 finishes a number (Steele, Lea, Flood 2014), so that lcores that are numbered are strangers.
    fresh += 0x9e3779b97f4a7c15ULL;
    fresh = (fresh ^ fresh >> 30U) * 0xbf58476d1ce4e5b9ULL;
    fresh = (fresh ^ fresh >> 27U) * 0x94d049bb133111ebULL;
    fresh = (fresh ^ fresh >> 31U) | 1U;
    return __atomic_compare_exchange_n(&cell, &seed, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
               ? fresh
               : seed;
}

class LcorePipeline final : public Pipeline {
public:
    LcorePipeline(const PipelineOptions& options, const FlowMemory& flows, const SharedMemory& shared,
                  const EventMemory& events) {
        work_.options = options;
        work_.events = events;
        set_random(options.random_seed);
        take(flows);
        take(shared);
    }

    void use(const image::Tables& tables) override {
        ready_ = tables.header != nullptr && tables.header->magic == SLUICE_IMAGE_MAGIC &&
                 tables.header->layout_version == SLUICE_LAYOUT_VERSION &&
                 std::has_single_bit(tables.header->counter_rows);
        work_.tables = tables;
        if (!ready_) return;
        const sluice_header& header = *tables.header;
        const std::uint32_t row = work_.options.lcore & (header.counter_rows - 1);
        const PortShare ports = share_of_ports(header.snat_port_min, header.snat_port_max,
                                               work_.options.lcore, work_.options.lcores);
        work_.image = image::view_of(tables);
        work_.served = tables.served + std::size_t{row} * header.backend_capacity;
        work_.served_count = header.backend_capacity;
        work_.drops = tables.drops + std::size_t{row} * SLUICE_DROP_STRIDE;
        work_.own_rows =
            (header.flags & SLUICE_HEADER_OWN_ROWS) != 0 && work_.options.lcores <= header.counter_rows;
        work_.port_min = ports.first;
        work_.port_max = ports.last;
    }

    void use(const Forwarding* forwarding) override {
        work_.hops.use(forwarding);
        work_.interfaces = forwarding != nullptr ? forwarding->interfaces() : std::span<const Interface>{};
        if (work_.interfaces.size() > kMaxInterfaces) work_.interfaces = work_.interfaces.first(kMaxInterfaces);
        for (std::size_t i = 0; i < work_.interfaces.size(); ++i) {
            const Place place = work_.interfaces[i].place;
            work_.place[i] = place == Place::kPod      ? SLUICE_PLACE_POD_INGRESS
                             : place == Place::kUplink ? SLUICE_PLACE_NODE_INGRESS
                                                       : SLUICE_PLACE_NODE_EGRESS;
            work_.vlan[i] = work_.interfaces[i].vlan;
        }
    }

    void use(const FlowMemory& flows) override { take(flows); }
    void use(const SharedMemory& shared) override { take(shared); }

    Carrying carry_flows(std::uint32_t buckets, const Now& now) override {
        work_.flows.now = now.tick;
        return carrier_.carry(work_.flows, buckets);
    }
    [[nodiscard]] const CarriedFlows& carried_flows() const override { return carrier_.total(); }

    void set_random(std::uint64_t state) override { work_.random = work_.event_random = state != 0 ? state : 1; }

    void process(std::span<Frame> frames, const Now& now) override {
        if (!ready_ || work_.hops.forwarding() == nullptr) {
            for (Frame& frame : frames) pass_frame(frame);
            return;
        }
        work_.flows.now = now.tick;
        work_.datagram_view.now = now.tick;
        work_.affinity.now = now.affinity_time;
        process_burst(work_, burst_, frames);
    }

private:
    void take(const FlowMemory& flows) {
        // Published once more for another lcore's sake: what is being carried goes on.
        const bool goes_on = work_.flows.mode == SLUICE_FLOW_MOVE && flows.mode == SLUICE_FLOW_MOVE;
        work_.flows = view_of(flows, {});
        if (flows.config != nullptr) work_.flows.seed = seed_of(flows.config->seed, work_.random);
        if (!goes_on) carrier_.begin();
    }
    void take(const SharedMemory& shared) {
        work_.shared = shared;
        if (shared.affinity_config == nullptr) return;
        work_.datagram_view.seed = seed_of(shared.affinity_config->seed, work_.random);
        work_.affinity.seed = work_.datagram_view.seed;
        work_.affinity.bucket_count = shared.affinity_config->bucket_count;
        work_.affinity.buckets = shared.affinity;
        work_.affinity.config = shared.affinity_config;
    }

    Work work_;
    Burst burst_;
    FlowCarrier carrier_;
    bool ready_ = false;
};

}  // namespace

std::unique_ptr<Pipeline> Pipeline::make(const PipelineOptions& options, const FlowMemory& flows,
                                         const SharedMemory& shared, const EventMemory& events) {
    return std::make_unique<LcorePipeline>(options, flows, shared, events);
}

}  // namespace sluice::dpdk
