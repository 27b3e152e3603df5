#include "dataplane/image/layout.h"

#include <algorithm>
#include <bit>

#include "api/abi/drop_reasons.h"
#include "bpf/lib/view_memory.h"

namespace sluice::image {
namespace {

// Five of eight slots in use on average keep two-choice buckets far from full.
constexpr std::size_t kSlotsInUse = 5;

std::uint32_t room(std::size_t used, std::size_t factor_halves, std::uint32_t least,
                   std::uint32_t most) {
    const std::size_t wanted =
        std::bit_ceil(std::max<std::size_t>(used * factor_halves / 2, least));
    return static_cast<std::uint32_t>(std::min<std::size_t>(wanted, most));
}

}  // namespace

bool Capacities::within_limits() const {
    return std::has_single_bit(buckets) && buckets <= kMaxFrontends && frontends > 0 &&
           frontends <= kMaxFrontends && services > 0 && services <= kMaxServices &&
           set_slots > 0 && set_slots <= kMaxSetSlots && backends > 0 && backends <= kMaxBackends &&
           name_bytes >= 8 && name_bytes <= kMaxNameBytes && name_bytes % 8 == 0 && cpus > 0 &&
           cpus <= kMaxCpus;
}

Capacities capacities_for(const Usage& usage, const Capacities& least) {
    Capacities out = least;
    out.frontends = room(usage.frontends, 3, least.frontends, kMaxFrontends);
    out.services = room(usage.services, 3, least.services, kMaxServices);
    out.set_slots = room(usage.set_slots, 4, least.set_slots, kMaxSetSlots);
    out.backends = room(usage.backends, 3, least.backends, kMaxBackends);
    out.name_bytes = room(usage.name_bytes, 3, least.name_bytes, kMaxNameBytes);
    out.buckets = room(usage.frontends / kSlotsInUse + 1, 2, least.buckets, kMaxFrontends);
    return out;
}

std::array<TableSpec, kTableCount> table_specs(const Capacities& capacities) {
    const std::uint32_t rows = capacities.cpus + 1;
    return {{
        {"sluice_header", sizeof(sluice_header), 1},
        {"sluice_buckets", sizeof(sluice_bucket), capacities.buckets},
        {"sluice_fronts", sizeof(sluice_frontend), capacities.frontends},
        {"sluice_services", sizeof(sluice_service), capacities.services},
        {"sluice_sets", sizeof(sluice_set_slot), capacities.set_slots},
        {"sluice_backends", sizeof(sluice_backend), capacities.backends},
        {"sluice_names", 8, capacities.name_bytes / 8},
        {"sluice_counters", sizeof(sluice_service_counters), rows * capacities.services},
        {"sluice_drops", sizeof(std::uint64_t), rows * SLUICE_DROP_STRIDE},
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
        static_cast<sluice_service_counters*>(addresses[7]),
        static_cast<std::uint64_t*>(addresses[8]),
    };
}

sluice_view view_of(const Tables& tables) {
    return sluice_view{tables.header,   tables.buckets, tables.frontends,
                       tables.services, tables.sets,    tables.backends};
}

Capacities capacities_of(const sluice_header& header) {
    return Capacities{header.bucket_count,      header.frontend_capacity, header.service_capacity,
                      header.set_slot_capacity, header.backend_capacity,  header.name_bytes,
                      header.cpu_count};
}

sluice_service_counters sum_counters(const Tables& tables, std::uint32_t service) {
    sluice_service_counters sum{};
    const std::size_t stride = tables.header->service_capacity;
    for (std::size_t row = 0; row <= tables.header->cpu_count; ++row) {
        const sluice_service_counters& cell = tables.counters[row * stride + service];
        sum.connections += __atomic_load_n(&cell.connections, __ATOMIC_RELAXED);
        sum.packets += __atomic_load_n(&cell.packets, __ATOMIC_RELAXED);
        sum.bytes += __atomic_load_n(&cell.bytes, __ATOMIC_RELAXED);
        sum.refused += __atomic_load_n(&cell.refused, __ATOMIC_RELAXED);
    }
    return sum;
}

std::uint64_t sum_drops(const Tables& tables, std::uint32_t reason) {
    std::uint64_t sum = 0;
    for (std::size_t row = 0; row <= tables.header->cpu_count; ++row) {
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
