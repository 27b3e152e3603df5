// The flow tables of one lcore: one file, and a larger one while flows move there.
#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <utility>

#include "api/abi/flow.h"
#include "api/base/log.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/segment_file.h"
#include "dataplane/dpdk/shared/state_files.h"
#include "dataplane/dpdk/shared/state_shapes_internal.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint32_t kFlowShape =
    shape_of("sluice_flow_cfg") << 16U | shape_of("sluice_flows4") << 8U | shape_of("sluice_flows6");
constexpr std::array<PartShape, 3> kFlowParts{{{"the flows' config", sizeof(sluice_flow_config)},
                                               {"IPv4 flows", sizeof(sluice_flow_bucket4)},
                                               {"IPv6 flows", sizeof(sluice_flow_bucket6)}}};
using Counts = std::array<std::uint64_t, 3>;

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

void undo_inserts(const SegmentFile& file) {
    undo_inserts(file.part<sluice_flow_bucket4>(1), file.count(1));
    undo_inserts(file.part<sluice_flow_bucket6>(2), file.count(2));
}

sluice_flow_config& config_of(const SegmentFile& file) {
    return *file.part<sluice_flow_config>(0);
}

FlowTable table_of(const SegmentFile& file) {
    return {&config_of(file), file.part<sluice_flow_bucket4>(1), file.part<sluice_flow_bucket6>(2)};
}

// That the config says what the file holds.
Result<void> check_config(const SegmentFile& file, const std::string& path) {
    const sluice_flow_config& config = config_of(file);
    if (file.count(0) != 1 || config.seed == 0 || config.bucket_count4 != file.count(1) ||
        config.bucket_count6 != file.count(2) || config.bucket_count4 > SLUICE_FLOW_BUCKETS(kMostLcoreFlows) ||
        config.bucket_count6 > SLUICE_FLOW_BUCKETS(kMostLcoreFlows) || !std::has_single_bit(config.bucket_count4) ||
        !std::has_single_bit(config.bucket_count6) || config.other_count4 != 0 || config.other_count6 != 0 ||
        config.mode > SLUICE_FLOW_MOVE) {
        return make_error(Code::kDataLoss, "{}: its config does not fit its tables", path);
    }
    return {};
}

Result<SegmentFile> open_flows(const std::string& path, Access access) {
    SLUICE_TRY_ASSIGN(SegmentFile file,
                      SegmentFile::open(path, SegmentKind::kFlows, kFlowShape, kFlowParts, access));
    SLUICE_TRY(check_config(file, path));
    return file;
}

// Not published yet.
Result<SegmentFile> fill_config(Result<SegmentFile> made, const Counts& counts, std::uint64_t seed,
                                sluice_flow_mode mode, std::uint32_t lcores) {
    if (!made) return made;
    sluice_flow_config& config = config_of(*made);
    config.seed = seed;
    config.bucket_count4 = static_cast<std::uint32_t>(counts[1]);
    config.bucket_count6 = static_cast<std::uint32_t>(counts[2]);
    config.mode = mode;
    made->set_note(lcores);
    return made;
}

// Whether flows were under way from `file` to `larger` when their user died.
bool was_moving(const SegmentFile& file, const SegmentFile& larger) {
    return config_of(larger).mode == SLUICE_FLOW_MOVE && config_of(larger).seed == config_of(file).seed &&
           larger.note() == file.note() && larger.count(1) >= file.count(1) && larger.count(2) >= file.count(2) &&
           larger.count(1) + larger.count(2) > file.count(1) + file.count(2);
}

class MappedFlows final : public FlowSegment {
public:
    MappedFlows(std::string directory, std::uint32_t lcore, SegmentFile file, bool taken_over)
        : directory_(std::move(directory)), lcore_(lcore), file_(std::move(file)), taken_over_(taken_over) {}

    [[nodiscard]] FlowMemory memory() const override {
        const std::lock_guard lock(mutex_);
        switch (mode_) {
            case SLUICE_FLOW_BESIDE: return {table_of(file_), table_of(larger_), mode_};
            case SLUICE_FLOW_MOVE: return {table_of(larger_), table_of(file_), mode_};
            default: return {table_of(file_), {}, mode_};
        }
    }
    [[nodiscard]] bool taken_over() const override { return taken_over_; }
    [[nodiscard]] std::uint32_t lcores() const override {
        const std::lock_guard lock(mutex_);
        return file_.note();
    }

    Result<void> begin_growth(bool v4, bool v6) override;
    void move() override {
        const std::lock_guard lock(mutex_);
        SLUICE_ASSERT(mode_ == SLUICE_FLOW_BESIDE);
        __atomic_store_n(&config_of(larger_).mode, SLUICE_FLOW_MOVE, __ATOMIC_RELEASE);
        mode_ = SLUICE_FLOW_MOVE;
    }
    Result<void> end_growth() override;
    void forget_smaller() override { smaller_ = {}; }

    // As they lie there: flows that were moving go on.
    void go_on(SegmentFile larger) {
        larger_ = std::move(larger);
        mode_ = SLUICE_FLOW_MOVE;
    }

private:
    const std::string directory_;
    const std::uint32_t lcore_;
    mutable std::mutex mutex_;  // of what follows, but for reading in the thread that grows
    SegmentFile file_;
    SegmentFile larger_;   // unless the mode is ALONE
    SegmentFile smaller_;  // of the growth before, until it is forgotten
    sluice_flow_mode mode_ = SLUICE_FLOW_ALONE;
    bool taken_over_;
};

Result<void> MappedFlows::begin_growth(bool v4, bool v6) {
    SLUICE_ASSERT(mode_ == SLUICE_FLOW_ALONE);
    const std::string path = larger_flows_path(directory_, lcore_);
    SLUICE_TRY(remove_segment(path));
    const Counts counts{1, file_.count(1) << (v4 ? 1U : 0U), file_.count(2) << (v6 ? 1U : 0U)};
    SLUICE_TRY_ASSIGN(SegmentFile made,
                      fill_config(SegmentFile::create(path, SegmentKind::kFlows, kFlowShape, kFlowParts, counts),
                                  counts, config_of(file_).seed, SLUICE_FLOW_BESIDE, file_.note()));
    made.populate();
    made.publish();
    const std::lock_guard lock(mutex_);
    larger_ = std::move(made);
    mode_ = SLUICE_FLOW_BESIDE;
    return {};
}

Result<void> MappedFlows::end_growth() {
    SLUICE_ASSERT(mode_ == SLUICE_FLOW_MOVE);
    SLUICE_TRY(replace_segment(flows_path(directory_, lcore_), larger_flows_path(directory_, lcore_)));
    // After the file of the flows that were moved has gone: whoever finds this mode without it knows that all are here.
    __atomic_store_n(&config_of(larger_).mode, SLUICE_FLOW_ALONE, __ATOMIC_RELEASE);
    const std::lock_guard lock(mutex_);
    smaller_ = std::move(file_);
    file_ = std::move(larger_);
    larger_ = {};
    mode_ = SLUICE_FLOW_ALONE;
    return {};
}

}  // namespace

Result<std::unique_ptr<FlowSegment>> FlowSegment::open_or_create(const std::string& directory, std::uint32_t lcore,
                                                                 std::uint32_t flows4, std::uint32_t flows6,
                                                                 std::uint32_t lcores, std::uint32_t most) {
    SLUICE_TRY(check_size("the most flows", most, kLeastLcoreFlows, kMostLcoreFlows));
    SLUICE_TRY(check_size("the number of IPv4 flows", flows4, kLeastLcoreFlows, most));
    SLUICE_TRY(check_size("the number of IPv6 flows", flows6, kLeastLcoreFlows, most));
    SLUICE_TRY(make_state_directory(directory));
    const std::string path = flows_path(directory, lcore);
    const std::string larger_path = larger_flows_path(directory, lcore);
    auto opened = open_flows(path, Access::kReadWrite);
    Result<void> usable = opened ? Result<void>() : Result<void>(opened.error());
    if (usable && opened->note() != lcores) {
        usable = make_error(Code::kFailedPrecondition, "its flows are spread over {} lcores, and {} are wanted",
                            opened->note(), lcores);
    }
    if (usable) {
        opened->populate();
        undo_inserts(*opened);
        config_of(*opened).mode = SLUICE_FLOW_ALONE;
        auto larger = open_flows(larger_path, Access::kReadWrite);
        const bool moving = larger && was_moving(*opened, *larger);
        const SegmentFile& largest = moving ? *larger : *opened;
        const std::uint64_t limit = SLUICE_FLOW_BUCKETS(std::uint64_t{std::bit_ceil(most)});
        if (largest.count(1) > limit || largest.count(2) > limit) {
            log::warn("dpdk",
                      "the flow tables of lcore {} that are taken over have room for {} and {} flows, and no more than "
                      "{} are wanted (--flows-max)",
                      lcore, largest.count(1) * (SLUICE_FLOW_WAYS / 2), largest.count(2) * (SLUICE_FLOW_WAYS / 2),
                      most);
        }
        auto out = std::make_unique<MappedFlows>(directory, lcore, std::move(*opened), true);
        if (moving) {
            larger->populate();
            undo_inserts(*larger);
            out->go_on(std::move(*larger));
        } else {
            SLUICE_TRY(remove_segment(larger_path));
        }
        return out;
    }
    SLUICE_TRY(remove_segment(larger_path));
    const Counts counts{1, SLUICE_FLOW_BUCKETS(std::bit_ceil(flows4)), SLUICE_FLOW_BUCKETS(std::bit_ceil(flows6))};
    SLUICE_TRY_ASSIGN(SegmentFile file,
                      fill_config(make_anew(path, SegmentKind::kFlows, kFlowShape, kFlowParts, counts, usable.error()),
                                  counts, draw_seed(), SLUICE_FLOW_ALONE, lcores));
    file.populate();
    file.publish();
    return std::make_unique<MappedFlows>(directory, lcore, std::move(file), false);
}

Result<std::unique_ptr<FlowSegment>> FlowSegment::open_to_read(const std::string& directory, std::uint32_t lcore) {
    // The larger one first: if it takes the other's place meanwhile, the two are seen to be one.
    auto larger = open_flows(larger_flows_path(directory, lcore), Access::kReadOnly);
    SLUICE_TRY_ASSIGN(SegmentFile file, open_flows(flows_path(directory, lcore), Access::kReadOnly));
    const bool moving = larger && was_moving(file, *larger);
    auto out = std::make_unique<MappedFlows>(directory, lcore, std::move(file), true);
    if (moving) out->go_on(std::move(*larger));
    return out;
}

}  // namespace sluice::dpdk
