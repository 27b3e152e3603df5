// What the files of flows and of affinity have in common. Internal to this folder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "api/abi/state.h"
#include "api/base/result.h"
#include "dataplane/dpdk/shared/segment_file.h"

namespace sluice::dpdk {

constexpr std::uint32_t shape_of(std::string_view name) {
#define SLUICE_SHAPE(map, version) \
    if (name == #map) {            \
        return version;            \
    }
    SLUICE_STATE_SHAPES(SLUICE_SHAPE)
#undef SLUICE_SHAPE
    return 1;
}

// Never 0.
std::uint64_t draw_seed();
// kInvalidArgument names the size.
Result<void> check_size(const char* name, std::uint32_t value, std::uint32_t least, std::uint32_t most);
// In place of a file that cannot be taken over, because of `why`.
Result<SegmentFile> make_anew(const std::string& path, SegmentKind kind, std::uint32_t shape,
                              std::span<const PartShape> parts, std::span<const std::uint64_t> counts,
                              const Error& why);
// What is not there is no error.
Result<void> remove_segment(const std::string& path);
// The file of a table takes the place of the smaller one's.
Result<void> replace_segment(const std::string& path, const std::string& larger);

}  // namespace sluice::dpdk
