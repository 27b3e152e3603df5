// See inspect_affinity.h.
#include "dataplane/ebpf/inspect_affinity.h"

#include <algorithm>
#include <ctime>

#include "dataplane/ebpf/pins.h"

#include "bpf/lib/view_memory.h"
// The views come first: what follows is written against them.
#include "bpf/lib/affinity_memory.h"

// What a client chose is read here, not whether it may be used: no image is asked.
static inline int sluice_view_open(sluice_view* /*view*/) {
    return 0;
}

#include "bpf/lib/affinity.h"

namespace sluice::dataplane {

std::optional<RememberedChoice> find_affinity(const AffinityView& view, const sluice_address& client,
                                              std::uint32_t service, std::uint32_t timeout_s) {
    if (view.buckets == nullptr || view.seed == 0) return std::nullopt;
    sluice_affinity_view table{};
    table.seed = view.seed;
    table.bucket_count = view.bucket_count;
    table.now = view.now;
    table.buckets = const_cast<sluice_affinity_bucket*>(view.buckets);  // looking writes nothing
    sluice_affinity_case asked{};
    asked.entry.client = client;
    asked.entry.service = service;
    asked.entry.timeout = sluice_affinity_units(timeout_s);
    if (sluice_affinity_find(&table, &asked) == 0) return std::nullopt;
    constexpr std::uint64_t kNsPerSecond = 1000000000;
    const std::uint64_t age_ns = std::uint64_t{sluice_affinity_age(&table, asked.word)}
                                 << SLUICE_AFFINITY_TIME_SHIFT;
    return RememberedChoice{asked.entry.backend, asked.entry.incarnation,
                            static_cast<std::uint32_t>(age_ns / kNsPerSecond)};
}

sluice_address affinity_client_of(std::uint64_t netns_cookie) {
    return {{0xffffffffU, 0, static_cast<std::uint32_t>(netns_cookie >> 32U),
             static_cast<std::uint32_t>(netns_cookie)}};
}

Result<std::unique_ptr<AffinityTable>> AffinityTable::open(const std::string& state_directory) {
    auto out = std::make_unique<AffinityTable>();
    const auto map = [&](const char* name, std::uint32_t value_size) {
        return PinnedArray::open(state_directory + "/" + state_pin_name(name), value_size, "affinity table");
    };
    SLUICE_TRY_ASSIGN(out->config_, map("sluice_aff_cfg", sizeof(sluice_affinity_config)));
    SLUICE_TRY_ASSIGN(out->buckets_, map("sluice_affinity", sizeof(sluice_affinity_bucket)));
    return out;
}

AffinityView AffinityTable::view() const {
    const auto* config = config_.as<const sluice_affinity_config>();
    constexpr std::uint64_t kNsPerSecond = 1000000000;
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    const std::uint64_t ns =
        static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(now.tv_nsec);
    AffinityView out;
    out.buckets = buckets_.as<const sluice_affinity_bucket>();
    const std::uint32_t said =
        config->bucket_count != 0 ? config->bucket_count
                                  : SLUICE_AFFINITY_BUCKETS(SLUICE_AFFINITY_DEFAULT_ENTRIES);
    out.bucket_count = std::min(said, buckets_.entries());
    out.now = static_cast<std::uint32_t>(ns >> SLUICE_AFFINITY_TIME_SHIFT);
    out.seed = SLUICE_READ_ONCE(config->seed);
    return out;
}

}  // namespace sluice::dataplane
