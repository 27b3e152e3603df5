// What the agent asks of the engine: images, grace periods, draining, the end.
#include <algorithm>
#include <thread>

#include "api/base/log.h"
#include "dataplane/dpdk/runtime/engine_internal.h"

namespace sluice::dpdk {
namespace {

constexpr char kComponent[] = "dpdk";
constexpr auto kLook = std::chrono::microseconds(50);
constexpr auto kDrainLook = std::chrono::milliseconds(100);
constexpr auto kDrainScan = std::chrono::seconds(1);

// Its services as they are, without endpoints: who comes anew is refused, and goes elsewhere. Flows have the records
// of their backends, so they go on. A service that the agent adds meanwhile is not in the copy, which refuses as well.
void make_drained(LiveImage* live) {
    const image::Tables& tables = live->segment->tables();
    live->drained.assign(tables.services, tables.services + tables.header->service_capacity);
    for (sluice_service& service : live->drained) {
        for (__u64& word : service.word) {
            word &= ~((SLUICE_WORD_COUNT_MASK << SLUICE_WORD_COUNT_SHIFT) | SLUICE_WORD_RING);
            word &= ~std::uint64_t{0xffffffffU};  // the first slot; of an empty set why it is: refuse
        }
    }
    live->tables = tables;
    live->tables.services = live->drained.data();
}

template <class Bucket>
std::uint64_t count_active(const Bucket* buckets, std::uint32_t count, std::uint16_t now, std::uint32_t idle_ticks) {
    std::uint64_t active = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const sluice_flow_set& set = buckets[i].set;
        for (std::uint32_t slot = 0; slot < SLUICE_FLOW_WAYS; ++slot) {
            const std::uint32_t state = __atomic_load_n(&set.word[slot], __ATOMIC_RELAXED) & SLUICE_FLOW_STATE_MASK;
            if (state <= SLUICE_FLOW_CLOSED) continue;
            const auto age = static_cast<std::uint16_t>(now - __atomic_load_n(&set.seen[slot], __ATOMIC_RELAXED));
            const std::uint8_t flags = __atomic_load_n(&buckets[i].entry[slot].meta.flags, __ATOMIC_RELAXED);
            // A flow has two halves that are seen together.
            if (age < idle_ticks && (flags & SLUICE_FLOW_REVERSE) == 0) ++active;
        }
    }
    return active;
}

}  // namespace

Result<void> RealEngine::wait_for_lcores(const Patience& patience) {
    const std::uint64_t token = lcores_->grace().begin();
    while (!lcores_->grace().passed(token)) {
        SLUICE_TRY(patience.check("waiting for lcores"));
        std::this_thread::sleep_for(kLook);
    }
    return {};
}

Result<void> RealEngine::put_into_force(std::unique_ptr<LiveImage> next, const Patience& patience) {
    while (!retired_.empty() && lcores_->grace().passed(retired_.front().first)) retired_.pop_front();
    if (retired_.size() >= kMaxRetiredImages) {
        return make_error(Code::kResourceExhausted, "{} former images are still in use by a lcore that is stuck",
                          retired_.size());
    }
    const image::Tables* tables = &next->tables;
    lcores_->publish(tables);
    std::unique_ptr<LiveImage> before;
    {
        const std::lock_guard lock(live_mutex_);
        before = std::exchange(live_, std::move(next));
    }
    // Captures the tables by value: they are the new image's, which stays until another one is put into force.
    control_->call([of = *tables](Controller& controller) { controller.use(of); });
    if (before != nullptr) retired_.emplace_back(lcores_->grace().begin(), std::move(before));
    SLUICE_TRY(wait_for_lcores(patience));
    retired_.clear();
    return {};
}

Result<void> RealEngine::attach(std::uint32_t image, const Patience& patience) {
    {
        const std::lock_guard lock(images_mutex_);
        if (live_ != nullptr && live_->segment->number() == image) return {};
        auto next = std::make_unique<LiveImage>();
        SLUICE_TRY_ASSIGN(next->segment, ImageSegment::open(options_.state_directory, image, Access::kReadOnly));
        next->tables = next->segment->tables();
        if (draining_.load()) make_drained(next.get());
        SLUICE_TRY(put_into_force(std::move(next), patience));
        log::info(kComponent, "image {} is in force", image);
    }
    changed();
    return {};
}

Result<void> RealEngine::synchronize(const Patience& patience) {
    return wait_for_lcores(patience);
}

std::uint64_t RealEngine::active_flows(std::uint32_t idle_seconds) const {
    const Now now = shared_now();
    std::uint64_t active = 0;
    // A tick is a little longer than a second.
    const std::uint32_t ticks = std::max(idle_seconds, 1U);
    const std::lock_guard lock(mapped_mutex_);
    for (const auto& segment : flows_) {
        const FlowMemory memory = segment->memory();
        for (const FlowTable& table : {FlowTable(memory), memory.other}) {
            if (table.config == nullptr) continue;
            active += count_active(table.buckets4, table.config->bucket_count4, now.tick, ticks);
            active += count_active(table.buckets6, table.config->bucket_count6, now.tick, ticks);
        }
    }
    return active;
}

Result<std::uint64_t> RealEngine::drain(const DrainOptions& options, const Patience& patience) {
    const std::uint64_t undone = undone_.load();
    {
        const std::lock_guard lock(images_mutex_);
        if (!draining_.exchange(true) && live_ != nullptr) {
            auto next = std::make_unique<LiveImage>();
            SLUICE_TRY_ASSIGN(next->segment, ImageSegment::open(options_.state_directory, live_->segment->number(),
                                                                Access::kReadOnly));
            make_drained(next.get());
            SLUICE_TRY(put_into_force(std::move(next), patience));
        }
    }
    changed();
    log::info(kComponent, "draining: new flows are refused");
    auto next_scan = std::chrono::steady_clock::now();
    for (std::uint64_t active = 0;;) {
        if (std::chrono::steady_clock::now() >= next_scan) {
            active = active_flows(options.idle_seconds);
            if (active == 0) return active;
            next_scan = std::chrono::steady_clock::now() + kDrainScan;
        }
        if (undone_.load() != undone) return make_error(Code::kCancelled, "draining was taken back");
        if (const auto waits = patience.check("draining"); !waits) {
            return waits.error().with_context(fmt::format("{} flows are left", active));
        }
        std::this_thread::sleep_for(kDrainLook);
    }
}

void RealEngine::undo_drain() {
    const std::lock_guard lock(images_mutex_);
    undone_.fetch_add(1);
    if (!draining_.exchange(false) || live_ == nullptr) return;
    auto next = std::make_unique<LiveImage>();
    auto segment = ImageSegment::open(options_.state_directory, live_->segment->number(), Access::kReadOnly);
    if (!segment) {
        // The agent has removed it, so that another image is about to come.
        log::warn(kComponent, "draining stays until another image: {}", segment.error().to_string());
        return;
    }
    next->segment = std::move(*segment);
    next->tables = next->segment->tables();
    const auto put = put_into_force(std::move(next), {std::chrono::steady_clock::now() + kHandOverPatience, nullptr});
    if (!put) log::warn(kComponent, "taking draining back: {}", put.error().to_string());
    log::info(kComponent, "draining is over: new flows are taken");
}

Result<void> RealEngine::hand_over(const Patience& patience) {
    SLUICE_TRY(patience.check("handing over"));
    log::info(kComponent, "handing over to a successor");
    lcores_->stop();
    // From here on there is no way back: lcores end their burst, and run() closes the ports.
    std::unique_lock lock(end_mutex_);
    end_.wait(lock, [this] { return ports_closed_; });
    return {};
}

}  // namespace sluice::dpdk
