#include "dataplane/dpdk/pipeline/flow_carrier.h"

// Of an lcore's flow tables.
#define SLUICE_FLOW_ONE_WRITER
// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
// clang-format on

namespace sluice::dpdk {
namespace {

template <int V6>
void carry_bucket(const sluice_flow_view& view, std::uint32_t bucket, sluice_flow_mover& at) {
    sluice_flow_set* set = sluice_flow_head(&view, bucket, V6 | SLUICE_FLOW_OTHER);
    for (std::uint32_t slot = 0; slot < SLUICE_FLOW_WAYS; ++slot) {
        if ((SLUICE_READ_ONCE(set->word[slot]) & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_FREE) continue;
        const std::uint32_t index = bucket * SLUICE_FLOW_WAYS + slot;
        ++at.count[V6 != 0 ? sluice_flow_move6(&view, index) : sluice_flow_move4(&view, index)];
    }
    // Its head is read by the next call.
    if (const auto* next = sluice_flow_head(&view, bucket + 1, V6 | SLUICE_FLOW_OTHER)) __builtin_prefetch(next);
}

}  // namespace

void FlowCarrier::begin() {
    at_ = {};
    passes_ = 0;
    waits_ = done_ = false;
}

Carrying FlowCarrier::carry(const sluice_flow_view& view, std::uint32_t buckets) {
    if (done_ || view.mode != SLUICE_FLOW_MOVE) return Carrying::kDone;
    if (waits_ && view.now == pass_ended_) return Carrying::kWaits;
    waits_ = false;
    for (std::uint32_t i = 0; i < buckets; ++i) {
        if (at_.next4 < view.other_count4) carry_bucket<0>(view, at_.next4++, at_);
        if (at_.next6 < view.other_count6) carry_bucket<1>(view, at_.next6++, at_);
    }
    if (at_.next4 < view.other_count4 || at_.next6 < view.other_count6) return Carrying::kGoesOn;
    return end_pass(view);
}

Carrying FlowCarrier::end_pass(const sluice_flow_view& view) {
    const std::uint64_t waiting = at_.count[SLUICE_FLOW_CARRIED_FULL] + at_.count[SLUICE_FLOW_CARRIED_AGAIN];
    total_.moved += at_.count[SLUICE_FLOW_CARRIED_MOVED];
    total_.expired += at_.count[SLUICE_FLOW_CARRIED_OVER];
    done_ = waiting == 0 || ++passes_ == kCarryPasses;
    if (done_) total_.lost += waiting + at_.count[SLUICE_FLOW_CARRIED_EXISTS];
    at_ = {};
    waits_ = true;
    pass_ended_ = view.now;
    return done_ ? Carrying::kDone : Carrying::kWaits;
}

}  // namespace sluice::dpdk
