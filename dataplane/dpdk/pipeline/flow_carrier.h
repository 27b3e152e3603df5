// Carries an lcore's flows to a larger table (bpf/lib/flow_move.h), a few buckets at a time between its bursts. It is
// the lcore that does it, for only who inserts into a table may claim its buckets. Internal to this folder.
#pragma once

#include <cstdint>

#include "api/abi/flow.h"
#include "dataplane/dpdk/pipeline/pipeline.h"

struct sluice_flow_view;

namespace sluice::dpdk {

// Passes over the smaller table before flows that find no place in the larger one are given up. A pass is a tick after
// the one before, so they have as many seconds in which others of their bucket may end; meanwhile packets use them
// where they are.
inline constexpr std::uint32_t kCarryPasses = 64;

class FlowCarrier {
public:
    // From the first bucket on.
    void begin();
    // As Pipeline::carry_flows.
    Carrying carry(const sluice_flow_view& view, std::uint32_t buckets);
    [[nodiscard]] const CarriedFlows& total() const { return total_; }

private:
    Carrying end_pass(const sluice_flow_view& view);

    sluice_flow_mover at_{};  // its counts are of this pass
    std::uint32_t passes_ = 0;
    std::uint16_t pass_ended_ = 0;  // tick; the next one begins in another
    bool waits_ = false;
    bool done_ = false;
    CarriedFlows total_;
};

}  // namespace sluice::dpdk
