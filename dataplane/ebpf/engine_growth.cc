// Growth of the flow tables while packets use them; the steps are those of flow_growth.h. Programs are exchanged three
// times for it; they are loaded in a thread, and each call of reclaim() takes a step if there is one to take.
#include <algorithm>
#include <utility>

#include "api/abi/drop_reasons.h"
#include "api/abi/flow.h"
#include "api/base/log.h"
#include "dataplane/ebpf/engine_private.h"

namespace sluice::dataplane {
namespace {

// After an error, until programs for a larger table are loaded once more.
constexpr std::chrono::seconds kGrowthRetry{30};

}  // namespace

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
    const auto now = std::chrono::steady_clock::now();
    const auto failed = [&](const Error& error) {
        flow_retry_at_ = now + kGrowthRetry;
        log::warn("ebpf", "{}: {}",
                  carrying_ ? "flows are still to be carried over" : "the flow tables stay as they are",
                  error.to_string());
    };
    if (growing_.active()) {
        if (ready(growing_.programs)) {
            if (auto done = go_on_growing(); !done) {
                failed(done.error());
            }
        }
        return;
    }
    if (now < flow_retry_at_) {
        return;
    }
    if (carrying_ || growth_ == Growth::kKnowOne) {
        // An error came between; from here it only goes on.
        growth_ = carrying_ ? Growth::kCarry : Growth::kKnowOne;
        auto begun = begin_loading(live_.tables->capacities());
        if (!begun) {
            failed(begun.error());
            return;
        }
        growing_ = std::move(*begun);
        return;
    }
    // One at a time: programs are loaded with what is pinned.
    if (larger_affinity_.active()) {
        return;
    }
    std::array<bool, 2> full{};
    for (std::size_t family = 0; family < flow_samples_.size(); ++family) {
        FlowSample& sample = flow_samples_[family];
        sample.take();
        if (!sample.full()) {
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
        failed(grown.error());
    }
}

Result<void> EbpfEngine::grow_flows(bool v4, bool v6) {
    auto done = flow_pins_.begin(v4, v6);
    auto begun = done ? begin_loading(live_.tables->capacities()) : Result<Loading>(done.error());
    if (!begun) {
        flow_pins_.give_up();
        return begun.error();
    }
    growing_ = std::move(*begun);
    growth_ = Growth::kKnowBoth;
    return {};
}

Result<void> EbpfEngine::go_on_growing() {
    Loading loaded = std::exchange(growing_, {});
    auto programs = loaded.programs.get();
    Result<void> done = programs ? Result<void>() : Result<void>(programs.error());
    if (done && loaded.tables->capacities() != live_.tables->capacities()) {
        // The image has grown meanwhile.
        SLUICE_TRY_ASSIGN(growing_, begin_loading(live_.tables->capacities()));
        return {};
    }
    if (done) {
        done = succeed(std::move(loaded.tables), std::move(*programs), node_);
    }
    if (growth_ == Growth::kKnowBoth) {
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
            growth_ = Growth::kNone;
            flow_pins_.give_up();
            for (std::size_t family = 0; family < growth_refused_.size(); ++family) {
                ++growth_refused_[family];
            }
            return done;
        }
        carrying_ = true;
        growth_ = Growth::kCarry;
        SLUICE_TRY_ASSIGN(growing_, begin_loading(live_.tables->capacities()));
        return {};
    }
    SLUICE_TRY(std::move(done));
    if (growth_ == Growth::kCarry) {
        return carry_flows();
    }
    growth_ = Growth::kNone;
    watch_flows();
    log::info("ebpf", "the flow tables have room for {} and {} flows", flow_samples_[0].status("").capacity,
              flow_samples_[1].status("").capacity);
    return {};
}

// With programs in force that bring over what they find.
Result<void> EbpfEngine::carry_flows() {
    SLUICE_TRY_ASSIGN(const FlowMoveCounts counts,
                      flow_pins_.carry(options_.object_dir + "/flow_move.o"));
    SLUICE_TRY(flow_pins_.finish());
    log::info("ebpf", "of the flows {} were carried to the larger table, {} had expired, {} found no place",
              counts.moved, counts.expired, counts.lost);
    carrying_ = false;
    // The programs hold the smaller table until they are exchanged once more.
    growth_ = Growth::kKnowOne;
    SLUICE_TRY_ASSIGN(growing_, begin_loading(live_.tables->capacities()));
    return {};
}

void EbpfEngine::look_at_affinity() {
    if (!publisher_) {
        return;
    }
    const auto now = std::chrono::steady_clock::now();
    const bool too_soon = now < affinity_retry_at_;
    Result<void> done;
    if (larger_affinity_.active()) {
        if (ready(larger_affinity_.programs)) {
            done = go_on_with_affinity();
        }
    } else if (growing_.active() || growth_ != Growth::kNone || carrying_ || xdp_loading_.valid()) {
        return;
    } else if (affinity_.pending()) {
        if (too_soon) {
            return;
        }
        // An error came between; from where the larger table is pinned it only goes on.
        done = affinity_.settle();
        if (done && affinity_.pending()) {
            done = begin_affinity();
        }
    } else {
        affinity_.look();
        if (!affinity_.full() || too_soon) {
            return;
        }
        if (affinity_.entries() * 2 > options_.affinity_entries_max) {
            if (affinity_refused_++ == 0) {
                log::warn("ebpf",
                          "the affinity table is more than {:.0f}% full and has reached its limit of {} clients: those "
                          "that came least recently are forgotten (affinity_entries_max)",
                          kFullAt * 100, affinity_.entries());
            }
            return;
        }
        done = affinity_.begin();
        if (done) {
            done = begin_affinity();
        }
    }
    if (!done) {
        ++affinity_refused_;
        affinity_retry_at_ = now + kGrowthRetry;
        log::warn("ebpf", "the affinity table is not larger yet: {}", done.error().to_string());
    }
}

Result<void> EbpfEngine::begin_affinity() {
    SLUICE_TRY_ASSIGN(larger_affinity_, begin_loading(live_.tables->capacities()));
    return {};
}

Result<void> EbpfEngine::go_on_with_affinity() {
    Loading loaded = std::exchange(larger_affinity_, {});
    SLUICE_TRY_ASSIGN(auto programs, loaded.programs.get());
    if (loaded.tables->capacities() != live_.tables->capacities()) {
        // The image has grown meanwhile.
        return begin_affinity();
    }
    SLUICE_TRY(succeed(std::move(loaded.tables), std::move(programs), node_));
    if (affinity_.pending()) {
        return make_error(Code::kUnavailable, "programs of before may still use the smaller table");
    }
    return {};
}

void EbpfEngine::catch_up_affinity() const {
    if (!affinity_.pending()) {
        return;
    }
    if (auto carried = affinity_.catch_up(); !carried) {
        log::warn("ebpf", "the larger affinity table: {}", carried.error().to_string());
    }
}

// With programs in force that use the larger table, and none left that use the smaller.
Result<void> EbpfEngine::carry_affinity() {
    SLUICE_TRY_ASSIGN(const std::uint64_t late, affinity_.finish());
    affinity_.watch();
    log::info("ebpf", "the affinity table has room for {} clients; {} came while it grew", affinity_.entries(), late);
    return {};
}

}  // namespace sluice::dataplane
