// What outlives images: flow tables, affinity, datagrams.
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <ctime>
#include <string_view>
#include <utility>

#include "api/abi/state.h"
#include "api/base/log.h"
#include "bpf/lib/view_memory.h"
// The views come first: the algorithms are written against them.
#include "bpf/lib/flow_memory.h"
// Datagrams are looked for nowhere here: of their header only the shape is wanted.
static struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view* view, __u32 index);
#include "bpf/lib/fragment.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/segment_file.h"
#include "dataplane/dpdk/shared/state_files.h"

static struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view* /*view*/, __u32 /*index*/) {
    return nullptr;
}

namespace sluice::dpdk {
namespace {

constexpr std::uint32_t shape_of(std::string_view name) {
#define SLUICE_SHAPE(map, version) \
    if (name == #map) {            \
        return version;            \
    }
    SLUICE_STATE_SHAPES(SLUICE_SHAPE)
#undef SLUICE_SHAPE
    return 1;
}

constexpr std::uint32_t kFlowShape =
    shape_of("sluice_flow_cfg") << 16U | shape_of("sluice_flows4") << 8U | shape_of("sluice_flows6");
constexpr std::uint32_t kSharedShape = shape_of("sluice_affinity") << 8U | shape_of("sluice_datagrams");

constexpr std::array<PartShape, 3> kFlowParts{{{"the flows' config", sizeof(sluice_flow_config)},
                                               {"IPv4 flows", sizeof(sluice_flow_bucket4)},
                                               {"IPv6 flows", sizeof(sluice_flow_bucket6)}}};
constexpr std::array<PartShape, 3> kSharedParts{{{"the affinity's config", sizeof(sluice_affinity_config)},
                                                 {"affinity", sizeof(sluice_affinity_bucket)},
                                                 {"datagrams", sizeof(sluice_datagram_set)}}};

constexpr std::uint32_t kLeastAffinity = 1U << 6U;
constexpr std::uint32_t kMostAffinity = 1U << 24U;

std::uint64_t draw_seed() {
    std::uint64_t seed = 0;
    while (seed == 0) {
        SLUICE_ASSERT(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
    }
    return seed;
}

Result<void> check_size(const char* name, std::uint32_t value, std::uint32_t least, std::uint32_t most) {
    return value < least || value > most
               ? Result<void>(make_error(Code::kInvalidArgument, "{} is {}; it may be {} to {}", name, value, least,
                                         most))
               : Result<void>();
}

// Replaces a file that cannot be taken over.
Result<SegmentFile> make_anew(const std::string& path, SegmentKind kind, std::uint32_t shape,
                              std::span<const PartShape> parts, std::span<const std::uint64_t> counts,
                              const Error& why) {
    if (why.code != Code::kNotFound) {
        log::warn("dpdk", "{} begins empty: {}", path, why.to_string());
        if (unlink(path.c_str()) != 0 && errno != ENOENT) {
            return errno_error(errno, "cannot remove {}", path);
        }
    }
    return SegmentFile::create(path, kind, shape, parts, counts);
}

// A writer that died in the middle of an insert left its bucket claimed and its slots half written: neither would ever
// be used again.
template <class Bucket>
void undo_inserts(Bucket* buckets, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        sluice_flow_set& set = buckets[i].set;
        set.claim = 0;
        for (std::uint32_t& word : set.word) {
            if ((word & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_BUSY) {
                word = (word & SLUICE_FLOW_ID_MASK) | SLUICE_FLOW_FREE;
            }
        }
    }
}

class MappedFlows final : public FlowSegment {
public:
    MappedFlows(SegmentFile file, bool taken_over) : file_(std::move(file)), taken_over_(taken_over) {}
    [[nodiscard]] FlowMemory memory() const override {
        return {file_.part<sluice_flow_config>(0), file_.part<sluice_flow_bucket4>(1),
                file_.part<sluice_flow_bucket6>(2)};
    }
    [[nodiscard]] bool taken_over() const override { return taken_over_; }
    [[nodiscard]] std::uint32_t lcores() const override { return file_.note(); }

    // That the config says what the file holds.
    static Result<void> check(const SegmentFile& file, const std::string& path) {
        const auto& config = *file.part<sluice_flow_config>(0);
        if (file.count(0) != 1 || config.seed == 0 || config.bucket_count4 != file.count(1) ||
            config.bucket_count6 != file.count(2) || !std::has_single_bit(config.bucket_count4) ||
            !std::has_single_bit(config.bucket_count6) || config.other_count4 != 0 || config.other_count6 != 0 ||
            config.mode != SLUICE_FLOW_ALONE) {
            return make_error(Code::kDataLoss, "{}: its config does not fit its tables", path);
        }
        return {};
    }

private:
    SegmentFile file_;
    bool taken_over_;
};

class MappedShared final : public SharedSegment {
public:
    MappedShared(SegmentFile file, bool taken_over) : file_(std::move(file)), taken_over_(taken_over) {}
    [[nodiscard]] SharedMemory memory() const override {
        return {file_.part<sluice_affinity_config>(0), file_.part<sluice_affinity_bucket>(1),
                file_.part<sluice_datagram_set>(2)};
    }
    [[nodiscard]] bool taken_over() const override { return taken_over_; }

    static Result<void> check(const SegmentFile& file, const std::string& path) {
        const auto& config = *file.part<sluice_affinity_config>(0);
        if (file.count(0) != 1 || config.seed == 0 || config.bucket_count != file.count(1) ||
            !std::has_single_bit(config.bucket_count) || file.count(2) != SLUICE_DATAGRAM_SETS) {
            return make_error(Code::kDataLoss, "{}: its config does not fit its tables", path);
        }
        return {};
    }

private:
    SegmentFile file_;
    bool taken_over_;
};

}  // namespace

Now shared_now() {
    timespec now{};
    SLUICE_ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    const std::uint64_t ns =
        static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
    constexpr unsigned kTickShift = 30;
    return {static_cast<std::uint16_t>(ns >> kTickShift), static_cast<std::uint32_t>(ns >> SLUICE_AFFINITY_TIME_SHIFT)};
}

Result<std::unique_ptr<FlowSegment>> FlowSegment::open_or_create(const std::string& directory, std::uint32_t lcore,
                                                                 std::uint32_t flows4, std::uint32_t flows6,
                                                                 std::uint32_t lcores) {
    SLUICE_TRY(check_size("the number of IPv4 flows", flows4, kLeastLcoreFlows, kMostLcoreFlows));
    SLUICE_TRY(check_size("the number of IPv6 flows", flows6, kLeastLcoreFlows, kMostLcoreFlows));
    SLUICE_TRY(make_state_directory(directory));
    const std::array<std::uint64_t, 3> counts{1, SLUICE_FLOW_BUCKETS(std::bit_ceil(flows4)),
                                              SLUICE_FLOW_BUCKETS(std::bit_ceil(flows6))};
    const std::string path = flows_path(directory, lcore);
    auto opened = SegmentFile::open(path, SegmentKind::kFlows, kFlowShape, kFlowParts, Access::kReadWrite);
    Result<void> usable = opened ? MappedFlows::check(*opened, path) : Result<void>(opened.error());
    if (usable && (opened->count(1) != counts[1] || opened->count(2) != counts[2] || opened->note() != lcores)) {
        usable = make_error(Code::kFailedPrecondition,
                            "it holds {} and {} buckets of {} lcores, and {} and {} of {} are wanted", opened->count(1),
                            opened->count(2), opened->note(), counts[1], counts[2], lcores);
    }
    if (usable) {
        undo_inserts(opened->part<sluice_flow_bucket4>(1), counts[1]);
        undo_inserts(opened->part<sluice_flow_bucket6>(2), counts[2]);
        return std::make_unique<MappedFlows>(std::move(*opened), true);
    }
    SLUICE_TRY_ASSIGN(SegmentFile file, make_anew(path, SegmentKind::kFlows, kFlowShape, kFlowParts, counts,
                                                  usable.error()));
    auto& config = *file.part<sluice_flow_config>(0);
    config.seed = draw_seed();
    config.bucket_count4 = static_cast<std::uint32_t>(counts[1]);
    config.bucket_count6 = static_cast<std::uint32_t>(counts[2]);
    file.set_note(lcores);
    file.publish();
    return std::make_unique<MappedFlows>(std::move(file), false);
}

Result<std::unique_ptr<FlowSegment>> FlowSegment::open_to_read(const std::string& directory, std::uint32_t lcore) {
    const std::string path = flows_path(directory, lcore);
    SLUICE_TRY_ASSIGN(SegmentFile file, SegmentFile::open(path, SegmentKind::kFlows, kFlowShape, kFlowParts,
                                                          Access::kReadOnly));
    SLUICE_TRY(MappedFlows::check(file, path));
    return std::make_unique<MappedFlows>(std::move(file), true);
}

Result<std::unique_ptr<SharedSegment>> SharedSegment::open_or_create(const std::string& directory,
                                                                     std::uint32_t affinity_entries) {
    SLUICE_TRY(check_size("the number of affinity entries", affinity_entries, kLeastAffinity, kMostAffinity));
    SLUICE_TRY(make_state_directory(directory));
    const std::array<std::uint64_t, 3> counts{1, SLUICE_AFFINITY_BUCKETS(std::bit_ceil(affinity_entries)),
                                              SLUICE_DATAGRAM_SETS};
    const std::string path = shared_path(directory);
    auto opened = SegmentFile::open(path, SegmentKind::kShared, kSharedShape, kSharedParts, Access::kReadWrite);
    Result<void> usable = opened ? MappedShared::check(*opened, path) : Result<void>(opened.error());
    if (usable && opened->count(1) != counts[1]) {
        usable = make_error(Code::kFailedPrecondition, "it holds {} buckets of affinity, and {} are wanted",
                            opened->count(1), counts[1]);
    }
    if (usable) {
        std::fill_n(opened->part<sluice_datagram_set>(2), counts[2], sluice_datagram_set{});
        return std::make_unique<MappedShared>(std::move(*opened), true);
    }
    SLUICE_TRY_ASSIGN(SegmentFile file, make_anew(path, SegmentKind::kShared, kSharedShape, kSharedParts, counts,
                                                  usable.error()));
    auto& config = *file.part<sluice_affinity_config>(0);
    config.seed = draw_seed();
    config.bucket_count = static_cast<std::uint32_t>(counts[1]);
    file.publish();
    return std::make_unique<MappedShared>(std::move(file), false);
}

Result<std::unique_ptr<SharedSegment>> SharedSegment::open_to_read(const std::string& directory) {
    const std::string path = shared_path(directory);
    SLUICE_TRY_ASSIGN(SegmentFile file, SegmentFile::open(path, SegmentKind::kShared, kSharedShape, kSharedParts,
                                                          Access::kReadOnly));
    SLUICE_TRY(MappedShared::check(file, path));
    return std::make_unique<MappedShared>(std::move(file), true);
}

}  // namespace sluice::dpdk
