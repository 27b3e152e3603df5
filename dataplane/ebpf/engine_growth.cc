// Growth of the flow tables while packets use them; the steps are those of flow_growth.h.
#include <algorithm>

#include "api/abi/drop_reasons.h"
#include "api/abi/flow.h"
#include "api/base/log.h"
#include "dataplane/ebpf/engine_private.h"

namespace sluice::dataplane {

void EbpfEngine::watch_flows() {
    if (!options_.tc) {
        return;
    }
    const std::uint32_t shift = flow_pins_.tick_shift();
    for (const FlowFamily family : {FlowFamily::kIpv4, FlowFamily::kIpv6}) {
        flow_samples_[static_cast<std::size_t>(family)].open(flow_pins_.table(family),
                                                             flow_pins_.buckets(family), shift);
    }
}

void EbpfEngine::look_at_flows() {
    if (!options_.tc || !publisher_) {
        return;
    }
    if (carrying_) {
        auto done = replace_image(live_.tables->capacities(), node_);
        if (done) {
            done = carry_flows();
        }
        if (!done) {
            log::warn("ebpf", "flows are still to be carried over: {}", done.error().to_string());
        }
        return;
    }
    std::array<bool, 2> full{};
    for (std::size_t family = 0; family < flow_samples_.size(); ++family) {
        FlowSample& sample = flow_samples_[family];
        sample.take();
        if (!sample.judged() || sample.fullness() <= kFullAt) {
            continue;
        }
        sample.forget();
        if (std::uint64_t{sample.buckets()} * 2 > SLUICE_FLOW_BUCKETS(options_.flow_entries_max)) {
            if (growth_refused_[family]++ == 0) {
                log::warn("ebpf",
                          "the {} flow table is more than {:.0f}% full and has reached its limit of {} flows: "
                          "idle flows are displaced (flow_entries_max)",
                          family == 0 ? "IPv4" : "IPv6", kFullAt * 100, options_.flow_entries_max);
            }
            continue;
        }
        full[family] = true;
    }
    if (!full[0] && !full[1]) {
        return;
    }
    if (auto grown = grow_flows(full[0], full[1]); !grown) {
        for (std::size_t family = 0; family < full.size(); ++family) {
            growth_refused_[family] += full[family] ? 1 : 0;
        }
        log::warn("ebpf", "the flow tables stay as they are: {}", grown.error().to_string());
    }
}

Result<void> EbpfEngine::grow_flows(bool v4, bool v6) {
    const auto turn = [&] { return replace_image(live_.tables->capacities(), node_); };
    Result<void> done = flow_pins_.begin(v4, v6);
    if (done) {
        done = turn();
    }
    if (done) {
        done = flow_pins_.beside();
    }
    // Until the last program that began before looks in both tables.
    if (done) {
        done = wait_for_grace_period();
    }
    if (done) {
        done = flow_pins_.swap();
    }
    if (!done) {
        flow_pins_.give_up();
        return done;
    }
    carrying_ = true;
    SLUICE_TRY(turn());
    return carry_flows();
}

// With programs in force that bring over what they find.
Result<void> EbpfEngine::carry_flows() {
    SLUICE_TRY_ASSIGN(const FlowMoveCounts counts,
                      flow_pins_.carry(options_.object_dir + "/flow_move.o"));
    SLUICE_TRY(flow_pins_.finish());
    carrying_ = false;
    // The programs hold the smaller table until they are exchanged once more.
    SLUICE_TRY(replace_image(live_.tables->capacities(), node_));
    watch_flows();
    log::info("ebpf",
              "the flow tables have room for {} and {} flows; {} were carried over, {} had expired, {} found no place",
              flow_samples_[0].status("").capacity, flow_samples_[1].status("").capacity,
              counts.moved, counts.expired, counts.lost);
    return {};
}

}  // namespace sluice::dataplane
