// What lcores share: affinity, which outlives engines, and datagrams.
#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <optional>
#include <utility>

#include "api/base/log.h"
#include "bpf/lib/view_memory.h"
// The views come first: the algorithms are written against them.
#include "bpf/lib/affinity_memory.h"
#include "bpf/lib/flow_memory.h"
// Datagrams are looked for nowhere here: of their header only the shape is wanted. And clients are carried with what
// they chose, whatever an image says of it.
static struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view* view, __u32 index);
static inline int sluice_view_open(sluice_view* /*view*/) {
    return 0;
}
#include "bpf/lib/affinity.h"
#include "bpf/lib/affinity_move.h"
#include "bpf/lib/fragment.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/segment_file.h"
#include "dataplane/dpdk/shared/state_files.h"
#include "dataplane/dpdk/shared/state_shapes_internal.h"

static struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view* /*view*/, __u32 /*index*/) {
    return nullptr;
}

namespace sluice::dpdk {
namespace {

constexpr std::uint32_t kSharedShape = shape_of("sluice_affinity") << 8U | shape_of("sluice_datagrams");
constexpr std::array<PartShape, 3> kSharedParts{{{"the affinity's config", sizeof(sluice_affinity_config)},
                                                 {"affinity", sizeof(sluice_affinity_bucket)},
                                                 {"datagrams", sizeof(sluice_datagram_set)}}};
using Counts = std::array<std::uint64_t, 3>;

sluice_affinity_config& config_of(const SegmentFile& file) {
    return *file.part<sluice_affinity_config>(0);
}

Result<void> check_config(const SegmentFile& file, const std::string& path) {
    const sluice_affinity_config& config = config_of(file);
    if (file.count(0) != 1 || config.seed == 0 || config.bucket_count != file.count(1) ||
        config.bucket_count > SLUICE_AFFINITY_BUCKETS(kMostAffinity) || !std::has_single_bit(config.bucket_count) ||
        file.count(2) != SLUICE_DATAGRAM_SETS) {
        return make_error(Code::kDataLoss, "{}: its config does not fit its tables", path);
    }
    return {};
}

Result<SegmentFile> open_shared(const std::string& path, Access access) {
    SLUICE_TRY_ASSIGN(SegmentFile file,
                      SegmentFile::open(path, SegmentKind::kShared, kSharedShape, kSharedParts, access));
    SLUICE_TRY(check_config(file, path));
    return file;
}

// Not published yet. The seed stays when a table grows: it also says which lcore a frame belongs to.
Result<SegmentFile> fill_config(Result<SegmentFile> made, std::uint64_t buckets, std::uint64_t seed) {
    if (!made) return made;
    config_of(*made).seed = seed;
    config_of(*made).bucket_count = static_cast<std::uint32_t>(buckets);
    return made;
}

sluice_affinity_view view_of(const SegmentFile& file) {
    const sluice_affinity_config& config = config_of(file);
    return {config.seed, config.bucket_count, shared_now().affinity_time, file.part<sluice_affinity_bucket>(1),
            &config_of(file)};
}

// since: those that were used before it are known there. affinity_time.
std::uint64_t carry(const SegmentFile& smaller, const SegmentFile& larger, std::optional<std::uint32_t> since = {}) {
    const sluice_affinity_view from = view_of(smaller);
    const sluice_affinity_view to = view_of(larger);
    return since ? sluice_affinity_carry_since(&from, &to, *since) : sluice_affinity_carry(&from, &to);
}

// Flows that were spread over lcores by a seed that is lost.
Result<void> forget_flows(const std::string& directory) {
    for (const std::uint32_t lcore : list_flows(directory)) {
        log::warn("dpdk", "the flows of lcore {} are forgotten: which lcore has a flow goes by the seed in {}", lcore,
                  shared_path(directory));
        SLUICE_TRY(remove_flows(directory, lcore));
    }
    return {};
}

class MappedShared final : public SharedSegment {
public:
    MappedShared(std::string directory, SegmentFile file, bool taken_over)
        : directory_(std::move(directory)), file_(std::move(file)), taken_over_(taken_over) {}

    [[nodiscard]] SharedMemory memory() const override {
        const std::lock_guard lock(mutex_);
        const SegmentFile& affinity = moved_ ? larger_ : file_;
        // Of the file that was there first: what lcores know of datagrams under way is in one place.
        const SegmentFile& datagrams = has_grown_ ? first_ : file_;
        return {&config_of(affinity), affinity.part<sluice_affinity_bucket>(1), datagrams.part<sluice_datagram_set>(2)};
    }
    [[nodiscard]] bool taken_over() const override { return taken_over_; }

    Result<void> begin_growth() override;
    void move() override;
    Result<std::uint64_t> end_growth() override;
    void forget_smaller() override {
        smaller_ = {};
        if (has_grown_) first_.release(1);
    }

private:
    const std::string directory_;
    mutable std::mutex mutex_;  // of what follows, but for reading in the thread that grows
    SegmentFile file_;
    SegmentFile larger_;   // while it grows
    SegmentFile first_;    // when it has grown: for its datagrams
    SegmentFile smaller_;  // of a later growth, until it is forgotten
    std::uint32_t began_ = 0;  // when the larger one began to learn; affinity_time
    bool grows_ = false;
    bool moved_ = false;  // the larger one is in use
    bool has_grown_ = false;
    bool taken_over_;
};

Result<void> MappedShared::begin_growth() {
    SLUICE_ASSERT(!grows_);
    const std::string path = larger_shared_path(directory_);
    SLUICE_TRY(remove_segment(path));
    const Counts counts{1, file_.count(1) * 2, SLUICE_DATAGRAM_SETS};
    SLUICE_TRY_ASSIGN(SegmentFile made, fill_config(SegmentFile::create(path, SegmentKind::kShared, kSharedShape,
                                                                        kSharedParts, counts),
                                                    counts[1], config_of(file_).seed));
    made.populate();
    began_ = shared_now().affinity_time;
    carry(file_, made);
    __atomic_fetch_add(&config_of(made).displaced, __atomic_load_n(&config_of(file_).displaced, __ATOMIC_RELAXED),
                       __ATOMIC_RELAXED);
    made.publish();
    const std::lock_guard lock(mutex_);
    larger_ = std::move(made);
    grows_ = true;
    return {};
}

// A client that came while the larger table learned would be a new one to it. This pass is short, for it looks at those
// clients alone; who comes during it is known when lcores use the larger table, unless back at once: end_growth().
void MappedShared::move() {
    SLUICE_ASSERT(grows_ && !moved_);
    carry(file_, larger_, began_);
    const std::lock_guard lock(mutex_);
    moved_ = true;
}

Result<std::uint64_t> MappedShared::end_growth() {
    SLUICE_ASSERT(grows_ && moved_);
    const std::uint64_t late = carry(file_, larger_);
    SLUICE_TRY(replace_segment(shared_path(directory_), larger_shared_path(directory_)));
    const std::lock_guard lock(mutex_);
    (has_grown_ ? smaller_ : first_) = std::move(file_);
    has_grown_ = true;
    file_ = std::move(larger_);
    larger_ = {};
    grows_ = moved_ = false;
    return late;
}

}  // namespace

Result<std::unique_ptr<SharedSegment>> SharedSegment::open_or_create(const std::string& directory,
                                                                     std::uint32_t affinity_entries,
                                                                     std::uint32_t lcores, std::uint32_t most) {
    SLUICE_TRY(check_size("the most affinity entries", most, kLeastAffinity, kMostAffinity));
    SLUICE_TRY(check_size("the number of affinity entries", affinity_entries, kLeastAffinity, most));
    SLUICE_TRY(make_state_directory(directory));
    const std::string path = shared_path(directory);
    const std::string larger_path = larger_shared_path(directory);
    auto opened = open_shared(path, Access::kReadWrite);
    // What had been begun: both tables were in use for a moment, so the larger one learns from the smaller once more.
    if (auto larger = open_shared(larger_path, Access::kReadWrite);
        opened && larger && config_of(*larger).seed == config_of(*opened).seed) {
        carry(*opened, *larger);
        SLUICE_TRY(replace_segment(path, larger_path));
        opened = std::move(larger);
    }
    SLUICE_TRY(remove_segment(larger_path));
    if (opened) {
        if (opened->count(1) > SLUICE_AFFINITY_BUCKETS(std::uint64_t{std::bit_ceil(most)})) {
            log::warn("dpdk",
                      "the affinity table that is taken over has room for {} clients, which is more than the {} of "
                      "--affinity-entries-max",
                      opened->count(1) * SLUICE_AFFINITY_WAYS, most);
        }
        std::fill_n(opened->part<sluice_datagram_set>(2), opened->count(2), sluice_datagram_set{});
        return std::make_unique<MappedShared>(directory, std::move(*opened), true);
    }
    // Before there is another seed, for whoever comes after a death in between takes over what it finds.
    if (lcores > 1) SLUICE_TRY(forget_flows(directory));
    const Counts counts{1, SLUICE_AFFINITY_BUCKETS(std::bit_ceil(affinity_entries)), SLUICE_DATAGRAM_SETS};
    SLUICE_TRY_ASSIGN(SegmentFile file, fill_config(make_anew(path, SegmentKind::kShared, kSharedShape, kSharedParts,
                                                              counts, opened.error()),
                                                    counts[1], draw_seed()));
    file.publish();
    return std::make_unique<MappedShared>(directory, std::move(file), false);
}

Result<std::unique_ptr<SharedSegment>> SharedSegment::open_to_read(const std::string& directory) {
    SLUICE_TRY_ASSIGN(SegmentFile file, open_shared(shared_path(directory), Access::kReadOnly));
    return std::make_unique<MappedShared>(directory, std::move(file), true);
}

}  // namespace sluice::dpdk
