#include "dataplane/dpdk/runtime/table_growth.h"

#include <condition_variable>

#include "api/abi/affinity.h"
#include "api/base/log.h"
// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
// clang-format on

namespace sluice::dpdk {
namespace {

constexpr char kComponent[] = "dpdk";
constexpr auto kStep = std::chrono::microseconds(200);  // between looks at what lcores have done

// Sleeps, unless the engine ends. False: it does.
template <class Duration>
bool pause(Duration duration, const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, duration, [] { return false; });
    return !stop.stop_requested();
}

std::uint32_t slots_in_use(const sluice_flow_set& set, const sluice_flow_view& clock) {
    std::uint32_t used = 0;
    for (std::uint32_t slot = 0; slot < SLUICE_FLOW_WAYS; ++slot) {
        const std::uint32_t state = SLUICE_READ_ONCE(set.word[slot]) & SLUICE_FLOW_STATE_MASK;
        used += static_cast<std::uint32_t>(state != SLUICE_FLOW_FREE &&
                                           sluice_flow_age(&clock, SLUICE_READ_ONCE(set.seen[slot])) <=
                                               sluice_flow_timeout(state, SLUICE_READ_ONCE(set.protocol[slot])));
    }
    return used;
}

std::uint32_t slots_in_use(const sluice_affinity_bucket& bucket, std::uint32_t now) {
    std::uint32_t used = 0;
    for (std::uint32_t slot = 0; slot < SLUICE_AFFINITY_WAYS; ++slot) {
        const std::uint64_t word = SLUICE_READ_ONCE(bucket.word[slot]);
        const std::uint32_t age = now - static_cast<std::uint32_t>(word >> SLUICE_AFFINITY_USED_SHIFT);
        // A lcore may be a moment ahead.
        used += static_cast<std::uint32_t>((word & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_LIVE &&
                                           (age <= bucket.entry[slot].timeout || age > 0x80000000U));
    }
    return used;
}

// The part of the slots that is in use, by some of `count` buckets; `used` counts in one, `any` draws one.
template <class Used, class Any>
double fullness(std::uint32_t count, std::uint32_t ways, Used used, Any any) {
    if (count == 0) return 0;
    const std::uint32_t looked_at = std::min(count, kSampledBuckets);
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < looked_at; ++i) sum += used(count == looked_at ? i : any(count));
    return static_cast<double>(sum) / (static_cast<double>(looked_at) * ways);
}

}  // namespace

std::unique_ptr<TableGrowth> TableGrowth::start(const Setup& setup) {
    std::unique_ptr<TableGrowth> out(new TableGrowth(setup));
    out->thread_ = std::jthread([self = out.get()](const std::stop_token& stop) { self->run(stop); });
    return out;
}

TableGrowth::~TableGrowth() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
}

void TableGrowth::run(const std::stop_token& stop) {
    bool goes_on = false;
    for (std::size_t lcore = 0; lcore < setup_.flows.size(); ++lcore) {
        if (setup_.flows[lcore]->memory().mode != SLUICE_FLOW_MOVE) continue;
        log::info(kComponent, "going on with the growth of the flow tables of lcore {}", lcore);
        goes_on = true;
    }
    // With a number by which lcores say that they have carried all.
    if (goes_on && !publish_flows(stop)) return;
    while (pause(kGrowthLook, stop)) {
        for (std::size_t lcore = 0; lcore < setup_.flows.size() && !stop.stop_requested(); ++lcore) {
            look_at_flows(lcore, stop);
        }
        if (!stop.stop_requested()) look_at_affinity(stop);
    }
}

// xorshift64 (Marsaglia): which bucket is looked at has to be even, not secret.
std::uint32_t TableGrowth::any_of(std::uint32_t count) {
    random_ ^= random_ << 13U;
    random_ ^= random_ >> 7U;
    random_ ^= random_ << 17U;
    return static_cast<std::uint32_t>((random_ >> 32U) * count >> 32U);
}

void TableGrowth::look_at_flows(std::size_t lcore, const std::stop_token& stop) {
    const FlowMemory memory = setup_.flows[lcore]->memory();
    if (memory.mode == SLUICE_FLOW_MOVE) {
        end_if_carried(lcore, stop);
        return;
    }
    sluice_flow_view clock{};
    clock.now = shared_now().tick;
    const auto any = [this](std::uint32_t count) { return any_of(count); };
    const std::array<double, 2> used{
        fullness(memory.config->bucket_count4, SLUICE_FLOW_WAYS,
                 [&](std::uint32_t i) { return slots_in_use(memory.buckets4[i].set, clock); }, any),
        fullness(memory.config->bucket_count6, SLUICE_FLOW_WAYS,
                 [&](std::uint32_t i) { return slots_in_use(memory.buckets6[i].set, clock); }, any)};
    const std::array<std::uint32_t, 2> buckets{memory.config->bucket_count4, memory.config->bucket_count6};
    std::array<bool, 2> full{};
    for (std::size_t family = 0; family < full.size(); ++family) {
        if (used[family] <= kFullAt || Clock::now() < retry_at_[lcore][family]) continue;
        if (std::uint64_t{buckets[family]} * 2 <= SLUICE_FLOW_BUCKETS(std::uint64_t{setup_.flows_max})) {
            full[family] = true;
            continue;
        }
        if (counters_.flows_refused[family].value() == 0) {
            log::warn(kComponent,
                      "the {} flow table of lcore {} is more than {:.0f}% full and has reached its limit of {} flows: "
                      "idle flows are displaced (--flows-max)",
                      family == 0 ? "IPv4" : "IPv6", lcore, kFullAt * 100, setup_.flows_max);
        }
        counters_.flows_refused[family].add(1);
        retry_at_[lcore][family] = Clock::now() + kGrowthRetry;
    }
    if (full[0] || full[1]) grow_flows(lcore, full[0], full[1], stop);
}

void TableGrowth::grow_flows(std::size_t lcore, bool v4, bool v6, const std::stop_token& stop) {
    FlowSegment& segment = *setup_.flows[lcore];
    if (auto begun = segment.begin_growth(v4, v6); !begun) {
        for (const std::size_t family : {std::size_t{0}, std::size_t{1}}) {
            if (!(family == 0 ? v4 : v6)) continue;
            counters_.flows_refused[family].add(1);
            retry_at_[lcore][family] = Clock::now() + kGrowthRetry;
        }
        log::warn(kComponent, "the flow tables of lcore {} stay as they are: {}", lcore, begun.error().to_string());
        return;
    }
    if (!publish_flows(stop)) return;
    moves_[lcore] = {setup_.lcores.worker(lcore).counters().flows_lost.value(), {}};
    segment.move();
    publish_flows(stop);
}

// Nobody waits for it: the other lcores' tables may be filling up.
void TableGrowth::end_if_carried(std::size_t lcore, const std::stop_token& stop) {
    FlowSegment& segment = *setup_.flows[lcore];
    const Worker& worker = setup_.lcores.worker(lcore);
    Move& move = moves_[lcore];
    if (!worker.has_carried(published_) || Clock::now() < move.retry_at) return;
    if (auto ended = segment.end_growth(); !ended) {
        log::warn(kComponent, "the flow tables of lcore {}: {}", lcore, ended.error().to_string());
        move.retry_at = Clock::now() + kGrowthRetry;
        return;
    }
    if (!publish_flows(stop)) return;
    {
        const std::lock_guard lock(setup_.mapped);
        segment.forget_smaller();
    }
    counters_.grown.add(1);
    const FlowMemory memory = segment.memory();
    log::info(kComponent, "the flow tables of lcore {} have room for {} and {} flows; {} found no place there", lcore,
              std::uint64_t{memory.config->bucket_count4} * (SLUICE_FLOW_WAYS / 2),
              std::uint64_t{memory.config->bucket_count6} * (SLUICE_FLOW_WAYS / 2),
              worker.counters().flows_lost.value() - move.lost_before);
}

void TableGrowth::look_at_affinity(const std::stop_token& stop) {
    const SharedMemory memory = setup_.shared.memory();
    const std::uint32_t count = memory.affinity_config->bucket_count;
    const std::uint32_t now = shared_now().affinity_time;
    const double used = fullness(
        count, SLUICE_AFFINITY_WAYS, [&](std::uint32_t i) { return slots_in_use(memory.affinity[i], now); },
        [this](std::uint32_t of) { return any_of(of); });
    if (used <= kFullAt || Clock::now() < affinity_retry_at_) return;
    const std::uint64_t clients = std::uint64_t{count} * SLUICE_AFFINITY_WAYS;
    Result<void> begun;
    if (clients * 2 > setup_.affinity_max) {
        begun = make_error(Code::kResourceExhausted,
                           "it is more than {:.0f}% full and has reached its limit of {} clients: those that came "
                           "least recently are forgotten (--affinity-entries-max)",
                           kFullAt * 100, clients);
    } else {
        begun = setup_.shared.begin_growth();
    }
    if (!begun) {
        if (counters_.affinity_refused.value() == 0) {
            log::warn(kComponent, "the affinity table stays as it is: {}", begun.error().message);
        }
        counters_.affinity_refused.add(1);
        affinity_retry_at_ = Clock::now() + kGrowthRetry;
        return;
    }
    setup_.shared.move();
    if (!publish_shared(stop)) return;
    auto late = setup_.shared.end_growth();
    while (!late) {
        log::warn(kComponent, "the affinity table: {}", late.error().to_string());
        if (!pause(kGrowthRetry, stop)) return;
        late = setup_.shared.end_growth();
    }
    {
        const std::lock_guard lock(setup_.mapped);
        setup_.shared.forget_smaller();
    }
    counters_.grown.add(1);
    log::info(kComponent, "the affinity table has room for {} clients; {} came while it grew", clients * 2, *late);
}

bool TableGrowth::publish_flows(const std::stop_token& stop) {
    auto next = std::make_unique<FlowSet>();
    for (const auto& segment : setup_.flows) next->push_back(segment->memory());
    flow_sets_.push_back(std::move(next));
    published_ = setup_.lcores.publish(flow_sets_.back().get());
    if (!wait_for_lcores(stop)) return false;
    flow_sets_.erase(flow_sets_.begin(), flow_sets_.end() - 1);
    return true;
}

bool TableGrowth::publish_shared(const std::stop_token& stop) {
    shared_sets_.push_back(std::make_unique<SharedMemory>(setup_.shared.memory()));
    setup_.lcores.publish(shared_sets_.back().get());
    if (!wait_for_lcores(stop)) return false;
    shared_sets_.erase(shared_sets_.begin(), shared_sets_.end() - 1);
    return true;
}

bool TableGrowth::wait_for_lcores(const std::stop_token& stop) {
    const std::uint64_t token = setup_.lcores.grace().begin();
    while (!setup_.lcores.grace().passed(token)) {
        if (!pause(kStep, stop)) return false;
    }
    return true;
}

}  // namespace sluice::dpdk
