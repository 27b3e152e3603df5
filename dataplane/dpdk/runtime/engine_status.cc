// What the engine says of itself.
#include <unistd.h>

#include <algorithm>

#include "api/abi/drop_reasons.h"
#include "dataplane/dpdk/runtime/engine_internal.h"
#include "dataplane/image/drop_reasons.h"

namespace sluice::dpdk {
namespace {

// What the engine itself drops, beyond the reasons that the pipeline counts in the image.
struct OwnDrop {
    const char* name;
    Counter WorkerCounters::*counter;
};
constexpr OwnDrop kOwnDrops[] = {
    {"lcore_dispatch_failed", &WorkerCounters::dispatch_failed},
    {"lcore_send_failed", &WorkerCounters::send_failed},
    {"lcore_outgoing_failed", &WorkerCounters::outgoing_failed},
    {"lcore_control_failed", &WorkerCounters::control_failed},
    {"lcore_no_exception", &WorkerCounters::no_exception},
    {"lcore_exception_failed", &WorkerCounters::exception_failed},
    {"lcore_foreign", &WorkerCounters::foreign},
    {"lcore_no_interface", &WorkerCounters::no_interface},
    {"lcore_malformed", &WorkerCounters::malformed},
};

std::string mac_of(const Mac& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

template <class Bucket>
void add_table(const Bucket* buckets, std::uint32_t count, dataplane::TableStatus* table) {
    std::uint64_t halves = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const sluice_flow_set& set = buckets[i].set;
        table->displaced += __atomic_load_n(&set.evicted, __ATOMIC_RELAXED) & ~SLUICE_FLOW_SPILLED;
        for (const std::uint32_t& word : set.word) {
            if ((__atomic_load_n(&word, __ATOMIC_RELAXED) & SLUICE_FLOW_STATE_MASK) > SLUICE_FLOW_BUSY) ++halves;
        }
    }
    table->used += (halves + 1) / 2;
}

}  // namespace

// Reads every bucket's head, a few milliseconds' work, so that it is not done at each call.
std::vector<dataplane::TableStatus> RealEngine::sample_tables() const {
    const std::lock_guard lock(sample_mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (!sample_.empty() && now - sampled_ < kTableSample) return sample_;
    dataplane::TableStatus flows4{"flows4", 0, 0, 0, 0};
    dataplane::TableStatus flows6{"flows6", 0, 0, 0, 0};
    const std::lock_guard mapped(mapped_mutex_);
    for (const auto& segment : flows_) {
        const FlowMemory memory = segment->memory();
        flows4.capacity += std::uint64_t{memory.config->bucket_count4} * (SLUICE_FLOW_WAYS / 2);
        flows6.capacity += std::uint64_t{memory.config->bucket_count6} * (SLUICE_FLOW_WAYS / 2);
        for (const FlowTable& table : {FlowTable(memory), memory.other}) {
            if (table.config == nullptr) continue;
            add_table(table.buckets4, table.config->bucket_count4, &flows4);
            add_table(table.buckets6, table.config->bucket_count6, &flows6);
        }
    }
    dataplane::TableStatus affinity{"affinity", 0, 0, 0, 0};
    const SharedMemory shared = shared_->memory();
    affinity.capacity = std::uint64_t{shared.affinity_config->bucket_count} * SLUICE_AFFINITY_WAYS;
    affinity.displaced = __atomic_load_n(&shared.affinity_config->displaced, __ATOMIC_RELAXED);
    for (std::uint32_t i = 0; i < shared.affinity_config->bucket_count; ++i) {
        for (const __u64& word : shared.affinity[i].word) {
            if ((__atomic_load_n(&word, __ATOMIC_RELAXED) & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_LIVE) {
                ++affinity.used;
            }
        }
    }
    {
        const std::lock_guard live_lock(live_mutex_);
        // One reason for both families, told of the table that most flows are in.
        if (live_ != nullptr) flows4.refused = image::sum_drops(live_->tables, SLUICE_DROP_FLOW_TABLE_FULL);
    }
    const TableGrowth::Counters& growth = growth_->counters();
    flows4.refused += growth.flows_refused[0].value();
    flows6.refused += growth.flows_refused[1].value();
    affinity.refused += growth.affinity_refused.value();
    sample_ = {flows4, flows6, affinity};
    sampled_ = now;
    return sample_;
}

GrowthState RealEngine::growth() const {
    GrowthState out;
    out.tables_grown = growth_->counters().grown.value();
    for (std::size_t i = 0; i < lcores_->size(); ++i) {
        const WorkerCounters& counters = lcores_->worker(i).counters();
        out.flows_moved += counters.flows_moved.value();
        out.flows_expired += counters.flows_expired.value();
        out.flows_lost += counters.flows_lost.value();
    }
    return out;
}

EngineState RealEngine::status() const {
    EngineState out;
    out.version = SLUICE_VERSION;
    out.layout_version = SLUICE_LAYOUT_VERSION;
    out.pid = static_cast<std::uint32_t>(getpid());
    out.state_directory = options_.state_directory;
    out.draining = draining_.load();
    out.cycles_per_second = eal_->cycles_per_second();
    out.memory = eal_->memory();
    out.counter_rows = static_cast<std::uint32_t>(lcores_->size());
    out.uptime_seconds = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - born_).count());
    {
        const std::lock_guard lock(live_mutex_);
        if (live_ != nullptr) {
            out.image = live_->segment->number();
            out.generation = __atomic_load_n(&live_->tables.header->generation, __ATOMIC_RELAXED);
        }
    }
    const auto uplink = std::find_if(interfaces_.begin(), interfaces_.end(),
                                     [](const Interface& interface) { return interface.place == Place::kUplink; });
    if (uplink != interfaces_.end()) out.node_interface = static_cast<std::uint32_t>(uplink - interfaces_.begin());
    {
        const std::lock_guard lock(ports_mutex_);
        for (const Port& port : ports_) {
            PortState state;
            state.name = port.device;
            state.interface = port.exception ? port.kernel_device : "";
            for (const auto& interface : interfaces_) {
                if (interface.port != port.id) continue;
                state.interface += (state.interface.empty() ? "" : ",") + interface.name;
            }
            state.driver = port.driver;
            state.mac = mac_of(port.mac);
            state.mtu = port.mtu;
            state.offloads = port.offloads;
            state.queues = port.rx_queues;
            for (const auto& name : port.lacking) {
                out.missing.push_back(fmt::format("port {}: {}; done in software", port.device, name));
            }
            if (ports_open_) {
                const PortFigures figures = figures_of(port);
                state.link_up = figures.link_up;
                state.received = figures.received;
                state.received_bytes = figures.received_bytes;
                state.sent = figures.sent;
                state.sent_bytes = figures.sent_bytes;
                state.missed = figures.missed;
                state.no_buffer = figures.no_buffer;
            }
            for (std::size_t i = 0; i < lcores_->size(); ++i) {
                state.send_failed += lcores_->worker(i).counters().port_send_failed[port.id].value();
            }
            out.ports.push_back(std::move(state));
        }
    }
    for (std::size_t i = 0; i < lcores_->size(); ++i) {
        const WorkerCounters& counters = lcores_->worker(i).counters();
        out.lcores.push_back({static_cast<std::uint32_t>(i), lcores_->numbers()[i], counters.busy_cycles.value(),
                              counters.idle_cycles.value(), counters.packets.value(), counters.bursts.value(),
                              counters.dispatched.value(), counters.dispatch_failed.value()});
    }
    out.tables = sample_tables();
    out.growth = growth();
    out.routing = control_->routing();
    return out;
}

std::vector<std::pair<std::string, std::uint64_t>> RealEngine::drops() const {
    std::vector<std::pair<std::string, std::uint64_t>> out;
    {
        const std::lock_guard lock(live_mutex_);
        for (std::uint32_t reason = SLUICE_DROP_NONE + 1; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
            out.emplace_back(image::drop_name(reason),
                             live_ == nullptr ? 0 : image::sum_drops(live_->tables, reason));
        }
    }
    for (const OwnDrop& drop : kOwnDrops) {
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < lcores_->size(); ++i) sum += (lcores_->worker(i).counters().*drop.counter).value();
        out.emplace_back(drop.name, sum);
    }
    const ControlCounters& control = control_->counters();
    out.emplace_back("control_no_buffer", control.no_buffer.value());
    out.emplace_back("control_no_exception", control.no_exception.value());
    out.emplace_back("control_send_failed", lcores_->control_send_failed());
    return out;
}

}  // namespace sluice::dpdk
