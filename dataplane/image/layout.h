// The table image as memory: which tables there are, how large, and where. Engines provide the
// memory (BPF arrays, shared memory, a test's heap); everything in this folder works on Tables
// alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "api/abi/image.h"

struct sluice_view;

namespace sluice::image {

// Ceilings, so that no input can make an image without bound.
inline constexpr std::uint32_t kMaxServices = 1U << 18U;
inline constexpr std::uint32_t kMaxFrontends = 1U << 20U;
inline constexpr std::uint32_t kMaxBackends = 1U << 22U;
inline constexpr std::uint32_t kMaxSetSlots = 1U << 23U;
inline constexpr std::uint32_t kMaxNameBytes = 1U << 28U;
inline constexpr std::uint32_t kMaxRingLines = 1U << 22U;
inline constexpr std::uint32_t kMaxRanges = 1U << 20U;
// CPUs beyond as many share rows.
inline constexpr std::uint32_t kMaxCounterRows = 8;

// Up to as many entries a table has room for half as much again and grows to double, beyond it both
// are a quarter: room that nobody uses is what the node's memory goes to there.
inline constexpr std::uint32_t kLargeTable = 65536;

// Entries of each table. buckets is a power of two; name_bytes a multiple of 8.
struct Capacities {
    std::uint32_t buckets = 256;
    std::uint32_t frontends = 1024;
    std::uint32_t services = 512;
    std::uint32_t set_slots = 4096;
    std::uint32_t backends = 2048;
    std::uint32_t name_bytes = 1U << 16U;
    std::uint32_t ring_lines = 64;
    std::uint32_t ranges = 64;
    std::uint32_t counter_rows = 1;  // a power of two

    bool operator==(const Capacities&) const = default;
    [[nodiscard]] bool within_limits() const;
};

// What a state needs, or holds.
struct Usage {
    std::size_t services = 0;
    std::size_t frontends = 0;  // whole-address entries included
    std::size_t backends = 0;
    std::size_t set_slots = 0;
    std::size_t name_bytes = 0;
    std::size_t ring_lines = 0;
    std::size_t ranges = 0;
};

// Room for the usage and half as much again, for large tables a quarter (small tables of sets and
// rings twice: make before break), nothing below `least`.
Capacities capacities_for(const Usage& usage, const Capacities& least);

enum class Table : std::uint8_t {
    kHeader,
    kBuckets,
    kFrontends,
    kServices,
    kSets,
    kBackends,
    kNames,
    kRings,
    kRanges,
    kCounters,
    kServed,
    kDrops,
};
inline constexpr std::size_t kTableCount = 12;

// name: of the BPF map (bpf/progs/maps.h). value_size is a multiple of 8.
struct TableSpec {
    const char* name;
    std::uint32_t value_size;
    std::uint32_t entries;
};
std::array<TableSpec, kTableCount> table_specs(const Capacities& capacities);

// Borrowed; the owner outlives every user.
struct Tables {
    sluice_header* header = nullptr;
    sluice_bucket* buckets = nullptr;
    sluice_frontend* frontends = nullptr;
    sluice_service* services = nullptr;
    sluice_set_slot* sets = nullptr;
    sluice_backend* backends = nullptr;
    char* names = nullptr;
    sluice_ring_line* ring_lines = nullptr;
    sluice_range* ranges = nullptr;
    sluice_service_counters* counters = nullptr;
    sluice_backend_counters* served = nullptr;
    std::uint64_t* drops = nullptr;

    static Tables at(const std::array<void*, kTableCount>& addresses);
};

// What bpf/lib reads.
sluice_view view_of(const Tables& tables);

// Capacities as the header tells them.
Capacities capacities_of(const sluice_header& header);

// Rows of counters for a number of CPUs.
std::uint32_t counter_rows_for(std::uint32_t cpus);
// Of each service [service_capacity]: its own figures and those of its backends.
std::vector<sluice_service_counters> count_services(const Tables& tables);
// Sums the rows of a backend's counters, or of a reason's drops.
sluice_backend_counters sum_served(const Tables& tables, std::uint32_t backend);
std::uint64_t sum_drops(const Tables& tables, std::uint32_t reason);

// An image on the heap.
class MemoryImage {
public:
    explicit MemoryImage(const Capacities& capacities);
    [[nodiscard]] const Tables& tables() const { return tables_; }

private:
    std::array<std::vector<std::uint64_t>, kTableCount> words_;
    Tables tables_;
};

}  // namespace sluice::image
