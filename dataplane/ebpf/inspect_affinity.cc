// See inspect_affinity.h.
#include "dataplane/ebpf/inspect_affinity.h"

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "api/base/fd.h"
#include "dataplane/ebpf/pins.h"

#include "bpf/lib/view_memory.h"
// The views come first: what follows is written against them.
#include "bpf/lib/affinity_memory.h"
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

AffinityTable::~AffinityTable() {
    for (const Span& span : {config_, buckets_}) {
        if (span.address != nullptr) munmap(span.address, span.length);
    }
}

Result<AffinityTable::Span> AffinityTable::map_pin(const std::string& path, std::uint32_t value_size) {
    const int raw = bpf_obj_get(path.c_str());
    if (raw < 0) return errno_error(-raw, "cannot open the pinned affinity table {}", path);
    const Fd fd(raw);
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    if (const int error = bpf_obj_get_info_by_fd(fd.get(), &info, &length); error != 0) {
        return errno_error(-error, "cannot inspect the pinned affinity table {}", path);
    }
    if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != value_size ||
        (info.map_flags & BPF_F_MMAPABLE) == 0) {
        return make_error(Code::kFailedPrecondition, "{} is not an affinity table of this layout", path);
    }
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    Span out;
    out.entries = info.max_entries;
    out.length = (std::size_t{value_size} * info.max_entries + page - 1) / page * page;
    void* address = mmap(nullptr, out.length, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (address == MAP_FAILED) return errno_error(errno, "cannot map the affinity table {}", path);
    out.address = address;
    return out;
}

Result<std::unique_ptr<AffinityTable>> AffinityTable::open(const std::string& state_directory) {
    auto out = std::make_unique<AffinityTable>();
    const auto pin = [&](const char* map) { return state_directory + "/" + state_pin_name(map); };
    SLUICE_TRY_ASSIGN(out->config_, map_pin(pin("sluice_aff_cfg"), sizeof(sluice_affinity_config)));
    SLUICE_TRY_ASSIGN(out->buckets_, map_pin(pin("sluice_affinity"), sizeof(sluice_affinity_bucket)));
    return out;
}

AffinityView AffinityTable::view() const {
    const auto* config = static_cast<const sluice_affinity_config*>(config_.address);
    constexpr std::uint64_t kNsPerSecond = 1000000000;
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    const std::uint64_t ns =
        static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(now.tv_nsec);
    AffinityView out;
    out.buckets = static_cast<const sluice_affinity_bucket*>(buckets_.address);
    const std::uint32_t said =
        config->bucket_count != 0 ? config->bucket_count
                                  : SLUICE_AFFINITY_BUCKETS(SLUICE_AFFINITY_DEFAULT_ENTRIES);
    out.bucket_count = std::min(said, buckets_.entries);
    out.now = static_cast<std::uint32_t>(ns >> SLUICE_AFFINITY_TIME_SHIFT);
    out.seed = SLUICE_READ_ONCE(config->seed);
    return out;
}

}  // namespace sluice::dataplane
