#include "dataplane/image/layout.h"

#include <algorithm>
#include <bit>

#include "api/abi/drop_reasons.h"
#include "bpf/lib/view_memory.h"

namespace sluice::image {
namespace {

// Five of eight slots in use on average keep two-choice buckets far from full.
constexpr std::size_t kSlotsInUse = 5;

// Rounded up by an eighth at most, so that a state that grows slowly is not copied for every few
// entries.
std::uint32_t room(std::size_t used, bool make_before_break, std::uint32_t least,
                   std::uint32_t most) {
    const std::size_t extra = used > kLargeTable ? used / 4 : used / (make_before_break ? 1 : 2);
    const std::size_t wanted = used + extra;
    const std::size_t step = std::bit_ceil(wanted + 1) / 16;
    const std::size_t rounded =
        step > 8 ? (wanted + step - 1) / step * step : std::bit_ceil(wanted);
    return static_cast<std::uint32_t>(
        std::min<std::size_t>(std::max<std::size_t>(rounded, least), most));
}

}  // namespace

bool Capacities::within_limits() const {
    return std::has_single_bit(buckets) && buckets <= kMaxFrontends && frontends > 0 &&
           frontends <= kMaxFrontends && services > 0 && services <= kMaxServices &&
           set_slots > 0 && set_slots <= kMaxSetSlots && backends > 0 && backends <= kMaxBackends &&
           name_bytes >= 8 && name_bytes <= kMaxNameBytes && name_bytes % 8 == 0 &&
           ring_lines > 0 && ring_lines <= kMaxRingLines && ranges > 0 && ranges <= kMaxRanges &&
           std::has_single_bit(counter_rows) && counter_rows <= kMaxCounterRows;
}

Capacities capacities_for(const Usage& usage, const Capacities& least) {
    Capacities out = least;
    out.frontends = room(usage.frontends, false, least.frontends, kMaxFrontends);
    out.services = room(usage.services, false, least.services, kMaxServices);
    out.set_slots = room(usage.set_slots, true, least.set_slots, kMaxSetSlots);
    out.backends = room(usage.backends, false, least.backends, kMaxBackends);
    out.name_bytes = room(usage.name_bytes, false, least.name_bytes, kMaxNameBytes);
    out.ring_lines = room(usage.ring_lines, true, least.ring_lines, kMaxRingLines);
    out.ranges = room(usage.ranges, true, least.ranges, kMaxRanges);
    out.buckets = std::max(static_cast<std::uint32_t>(std::min<std::size_t>(
                               std::bit_ceil(usage.frontends / kSlotsInUse + 1), kMaxFrontends)),
                           least.buckets);
    return out;
}

std::array<TableSpec, kTableCount> table_specs(const Capacities& capacities) {
    const std::uint32_t rows = capacities.counter_rows;
    return {{
        {"sluice_header", sizeof(sluice_header), 1},
        {"sluice_buckets", sizeof(sluice_bucket), capacities.buckets},
        {"sluice_fronts", sizeof(sluice_frontend), capacities.frontends},
        {"sluice_services", sizeof(sluice_service), capacities.services},
        {"sluice_sets", sizeof(sluice_set_slot), capacities.set_slots},
        {"sluice_backends", sizeof(sluice_backend), capacities.backends},
        {"sluice_names", 8, capacities.name_bytes / 8},
        {"sluice_rings", sizeof(sluice_ring_line), capacities.ring_lines},
        {"sluice_ranges", sizeof(sluice_range), capacities.ranges},
        {"sluice_counters", sizeof(sluice_service_counters), capacities.services},
        {"sluice_served", sizeof(sluice_backend_counters), rows * capacities.backends},
        {"sluice_drops", sizeof(std::uint64_t), (rows + 1) * SLUICE_DROP_STRIDE},
    }};
}

static_assert(SLUICE_DROP_REASON_COUNT <= SLUICE_DROP_STRIDE);

Tables Tables::at(const std::array<void*, kTableCount>& addresses) {
    return Tables{
        static_cast<sluice_header*>(addresses[0]),
        static_cast<sluice_bucket*>(addresses[1]),
        static_cast<sluice_frontend*>(addresses[2]),
        static_cast<sluice_service*>(addresses[3]),
        static_cast<sluice_set_slot*>(addresses[4]),
        static_cast<sluice_backend*>(addresses[5]),
        static_cast<char*>(addresses[6]),
        static_cast<sluice_ring_line*>(addresses[7]),
        static_cast<sluice_range*>(addresses[8]),
        static_cast<sluice_service_counters*>(addresses[9]),
        static_cast<sluice_backend_counters*>(addresses[10]),
        static_cast<std::uint64_t*>(addresses[11]),
    };
}

sluice_view view_of(const Tables& tables) {
    return sluice_view{tables.header, tables.buckets,  tables.frontends,  tables.services,
                       tables.sets,   tables.backends, tables.ring_lines, tables.ranges};
}

Capacities capacities_of(const sluice_header& header) {
    return Capacities{header.bucket_count,       header.frontend_capacity, header.service_capacity,
                      header.set_slot_capacity,  header.backend_capacity,  header.name_bytes,
                      header.ring_line_capacity, header.range_capacity,    header.counter_rows};
}

std::uint32_t counter_rows_for(std::uint32_t cpus) {
    return std::min(std::bit_ceil(std::max(cpus, 1U)), kMaxCounterRows);
}

sluice_backend_counters sum_served(const Tables& tables, std::uint32_t backend) {
    sluice_backend_counters sum{};
    const std::size_t stride = tables.header->backend_capacity;
    for (std::size_t row = 0; row < tables.header->counter_rows; ++row) {
        const sluice_backend_counters& cell = tables.served[row * stride + backend];
        sum.connections += __atomic_load_n(&cell.connections, __ATOMIC_RELAXED);
        sum.packets += __atomic_load_n(&cell.packets, __ATOMIC_RELAXED);
        sum.bytes += __atomic_load_n(&cell.bytes, __ATOMIC_RELAXED);
    }
    return sum;
}

std::vector<sluice_service_counters> count_services(const Tables& tables) {
    const sluice_header& header = *tables.header;
    std::vector<sluice_service_counters> out(tables.counters,
                                             tables.counters + header.service_capacity);
    for (std::uint32_t i = 0; i < header.backend_capacity; ++i) {
        const sluice_backend& backend = tables.backends[i];
        if (backend.incarnation % 2 == 0 || backend.service >= header.service_capacity) {
            continue;
        }
        const sluice_backend_counters served = sum_served(tables, i);
        out[backend.service].connections += served.connections;
        out[backend.service].packets += served.packets;
        out[backend.service].bytes += served.bytes;
    }
    return out;
}

std::uint64_t sum_drops(const Tables& tables, std::uint32_t reason) {
    std::uint64_t sum = 0;
    for (std::size_t row = 0; row <= tables.header->counter_rows; ++row) {
        sum += __atomic_load_n(&tables.drops[row * SLUICE_DROP_STRIDE + reason], __ATOMIC_RELAXED);
    }
    return sum;
}

MemoryImage::MemoryImage(const Capacities& capacities) {
    const auto specs = table_specs(capacities);
    std::array<void*, kTableCount> addresses{};
    for (std::size_t i = 0; i < kTableCount; ++i) {
        words_[i].resize(static_cast<std::size_t>(specs[i].value_size) / 8 * specs[i].entries);
        addresses[i] = words_[i].data();
    }
    tables_ = Tables::at(addresses);
}

}  // namespace sluice::image
