#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/segment_file.h"
#include "dataplane/dpdk/shared/state_files.h"
#include "dataplane/image/reader.h"

namespace sluice::dpdk {
namespace {

using image::Capacities;
using image::kTableCount;
using image::Table;

// Tables before it are the image's, the others are counters.
constexpr auto kFirstCounts = static_cast<std::size_t>(Table::kCounters);
constexpr std::size_t kCountTables = kTableCount - kFirstCounts;

using TableShapes = std::array<PartShape, kTableCount>;

TableShapes shapes_of(const std::array<image::TableSpec, kTableCount>& specs) {
    TableShapes out{};
    std::transform(specs.begin(), specs.end(), out.begin(), [](const image::TableSpec& spec) {
        return PartShape{spec.name, spec.value_size};
    });
    return out;
}

class MappedImage final : public ImageSegment {
public:
    static Result<std::unique_ptr<ImageSegment>> open_as(const std::string& directory, std::uint32_t number,
                                                         Access image_access, Access counts_access);

    MappedImage(std::uint32_t number, const Capacities& capacities, SegmentFile image, SegmentFile counts)
        : number_(number), capacities_(capacities), image_(std::move(image)), counts_(std::move(counts)) {
        std::array<void*, kTableCount> addresses{};
        for (std::size_t i = 0; i < kTableCount; ++i) {
            addresses[i] = i < kFirstCounts ? image_.at(i) : counts_.at(i - kFirstCounts);
        }
        tables_ = image::Tables::at(addresses);
    }
    [[nodiscard]] const image::Tables& tables() const override { return tables_; }
    [[nodiscard]] const Capacities& capacities() const override { return capacities_; }
    [[nodiscard]] std::uint32_t number() const override { return number_; }

private:
    std::uint32_t number_;
    Capacities capacities_;
    SegmentFile image_;
    SegmentFile counts_;
    image::Tables tables_;
};

Result<std::unique_ptr<ImageSegment>> MappedImage::open_as(const std::string& directory, std::uint32_t number,
                                                           Access image_access, Access counts_access) {
    const TableShapes shapes = shapes_of(table_specs(Capacities{}));
    const std::span<const PartShape> all(shapes);
    const std::string path = image_path(directory, number);
    SLUICE_TRY_ASSIGN(SegmentFile image, SegmentFile::open(path, SegmentKind::kImage, SLUICE_LAYOUT_VERSION,
                                                           all.first(kFirstCounts), image_access));
    SLUICE_TRY_ASSIGN(SegmentFile counts,
                      SegmentFile::open(counts_path(directory, number), SegmentKind::kCounts, SLUICE_LAYOUT_VERSION,
                                        all.last(kCountTables), counts_access));
    const auto entries = [&](Table table) {
        const auto i = static_cast<std::size_t>(table);
        // Too many for 32 bits are beyond every limit.
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(
            i < kFirstCounts ? image.count(i) : counts.count(i - kFirstCounts), UINT32_MAX));
    };
    Capacities capacities;
    capacities.buckets = entries(Table::kBuckets);
    capacities.frontends = entries(Table::kFrontends);
    capacities.services = entries(Table::kServices);
    capacities.set_slots = entries(Table::kSets);
    capacities.backends = entries(Table::kBackends);
    capacities.name_bytes = std::min(entries(Table::kNames), image::kMaxNameBytes / 8 + 1) * 8;
    capacities.ring_lines = entries(Table::kRings);
    capacities.ranges = entries(Table::kRanges);
    capacities.counter_rows = entries(Table::kDrops) / SLUICE_DROP_STRIDE - 1;
    if (!capacities.within_limits()) {
        return make_error(Code::kDataLoss, "the tables in {} have sizes beyond their limits", path);
    }
    const auto specs = table_specs(capacities);
    for (std::size_t i = 0; i < kTableCount; ++i) {
        if (entries(static_cast<Table>(i)) != specs[i].entries) {
            return make_error(Code::kDataLoss, "{} or its counters: {} has {} entries, not {}", path, specs[i].name,
                              entries(static_cast<Table>(i)), specs[i].entries);
        }
    }
    auto out = std::make_unique<MappedImage>(number, capacities, std::move(image), std::move(counts));
    if (auto checked = image::check_header(*out->tables().header, capacities); !checked) {
        return checked.error().with_context(path);
    }
    return out;
}

}  // namespace

Result<std::unique_ptr<ImageSegment>> ImageSegment::create(const std::string& directory, std::uint32_t number,
                                                           const Capacities& capacities) {
    if (!capacities.within_limits()) {
        return make_error(Code::kResourceExhausted,
                          "the table image would exceed its limits: {} services of {}, {} frontends of {}, {} backends "
                          "of {}, {} set slots of {}",
                          capacities.services, image::kMaxServices, capacities.frontends, image::kMaxFrontends,
                          capacities.backends, image::kMaxBackends, capacities.set_slots, image::kMaxSetSlots);
    }
    SLUICE_TRY(make_state_directory(directory));
    const auto specs = table_specs(capacities);
    const TableShapes shapes = shapes_of(specs);
    std::array<std::uint64_t, kTableCount> counts{};
    std::transform(specs.begin(), specs.end(), counts.begin(), [](const image::TableSpec& spec) {
        return spec.entries;
    });
    const std::span<const PartShape> all(shapes);
    const std::span<const std::uint64_t> sizes(counts);
    SLUICE_TRY_ASSIGN(SegmentFile image, SegmentFile::create(image_path(directory, number), SegmentKind::kImage,
                                                             SLUICE_LAYOUT_VERSION, all.first(kFirstCounts),
                                                             sizes.first(kFirstCounts)));
    auto counters = SegmentFile::create(counts_path(directory, number), SegmentKind::kCounts, SLUICE_LAYOUT_VERSION,
                                        all.last(kCountTables), sizes.last(kCountTables));
    if (!counters) {
        auto removed = remove_image(directory, number);
        return removed ? counters.error() : counters.error().with_context(removed.error().message);
    }
    counters->publish();
    image.publish();
    return std::make_unique<MappedImage>(number, capacities, std::move(image), std::move(*counters));
}

Result<std::unique_ptr<ImageSegment>> ImageSegment::open(const std::string& directory, std::uint32_t number,
                                                         Access image_access) {
    return MappedImage::open_as(directory, number, image_access, Access::kReadWrite);
}

Result<std::unique_ptr<ImageSegment>> ImageSegment::open_to_read(const std::string& directory, std::uint32_t number) {
    return MappedImage::open_as(directory, number, Access::kReadOnly, Access::kReadOnly);
}

}  // namespace sluice::dpdk
