// The flow log: its settings, and a ring of events for each lcore.
#include <array>
#include <utility>

#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/segment_file.h"
#include "dataplane/dpdk/shared/state_files.h"
#include "dataplane/dpdk/shared/state_shapes_internal.h"

namespace sluice::dpdk {
namespace {

// Of the three parts together.
constexpr std::uint32_t kEventShape = 1;
constexpr std::array<PartShape, 3> kEventParts{{{"the flow log's settings", sizeof(sluice_log_config)},
                                                {"the flow log's rings", sizeof(EventRing)},
                                                {"events", sizeof(sluice_event)}}};

class MappedEvents final : public EventSegment {
public:
    explicit MappedEvents(SegmentFile file) : file_(std::move(file)) {}

    [[nodiscard]] EventMemory memory(std::uint32_t lcore) const override {
        SLUICE_ASSERT(lcore < lcores());
        return {file_.part<sluice_log_config>(0), file_.part<EventRing>(1) + lcore,
                file_.part<sluice_event>(2) + std::size_t{lcore} * kEventsPerLcore};
    }
    [[nodiscard]] std::uint32_t lcores() const override { return static_cast<std::uint32_t>(file_.count(1)); }

private:
    SegmentFile file_;
};

Result<SegmentFile> open_events(const std::string& path) {
    SLUICE_TRY_ASSIGN(SegmentFile file,
                      SegmentFile::open(path, SegmentKind::kEvents, kEventShape, kEventParts, Access::kReadWrite));
    if (file.count(0) != 1 || file.count(1) == 0 || file.count(2) != file.count(1) * kEventsPerLcore) {
        return make_error(Code::kDataLoss, "{}: its rings do not fit its events", path);
    }
    return file;
}

}  // namespace

Result<std::unique_ptr<EventSegment>> EventSegment::open_or_create(const std::string& directory, std::uint32_t lcores) {
    SLUICE_ASSERT(lcores != 0);
    SLUICE_TRY(make_state_directory(directory));
    const std::string path = events_path(directory);
    auto opened = open_events(path);
    Result<void> usable = opened ? Result<void>() : Result<void>(opened.error());
    if (usable && opened->count(1) != lcores) {
        usable = make_error(Code::kFailedPrecondition, "it has rings for {} lcores, and {} are wanted",
                            opened->count(1), lcores);
    }
    if (usable) return std::make_unique<MappedEvents>(std::move(*opened));
    const std::array<std::uint64_t, 3> counts{1, lcores, std::uint64_t{lcores} * kEventsPerLcore};
    SLUICE_TRY_ASSIGN(SegmentFile file, make_anew(path, SegmentKind::kEvents, kEventShape, kEventParts, counts,
                                                  usable.error()));
    file.publish();
    return std::make_unique<MappedEvents>(std::move(file));
}

Result<std::unique_ptr<EventSegment>> EventSegment::open_to_follow(const std::string& directory) {
    SLUICE_TRY_ASSIGN(SegmentFile file, open_events(events_path(directory)));
    return std::make_unique<MappedEvents>(std::move(file));
}

}  // namespace sluice::dpdk
