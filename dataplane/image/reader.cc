#include "dataplane/image/reader.h"

#include <algorithm>
#include <cstring>

#include "bpf/lib/view_memory.h"
// The view comes first: the look-up is written against it.
#include "bpf/lib/lookup.h"

namespace sluice::image {

Result<void> check_header(const sluice_header& header, const Capacities& actual) {
    if (header.magic != SLUICE_IMAGE_MAGIC) {
        return make_error(Code::kFailedPrecondition, "the image's magic is {:#x}, not {:#x}",
                          header.magic, SLUICE_IMAGE_MAGIC);
    }
    if (header.layout_version != SLUICE_LAYOUT_VERSION) {
        return make_error(Code::kFailedPrecondition,
                          "the image has layout version {}, this program reads version {}",
                          header.layout_version, SLUICE_LAYOUT_VERSION);
    }
    if (capacities_of(header) != actual || !actual.within_limits() ||
        header.cidr_count > SLUICE_MAX_CIDRS) {
        return make_error(Code::kFailedPrecondition,
                          "the image's header does not fit the sizes of its tables");
    }
    return {};
}

std::string read_name(const Tables& tables, std::uint32_t offset) {
    if (offset >= tables.header->name_bytes) {
        return {};
    }
    const std::size_t room =
        std::min<std::size_t>(tables.header->name_bytes - offset, kMaxNameLength);
    return {tables.names + offset, strnlen(tables.names + offset, room)};
}

std::vector<sluice_backend> read_set(const Tables& tables, std::uint64_t word) {
    const sluice_view view = view_of(tables);
    std::vector<sluice_backend> out;
    const std::uint32_t first = sluice_word_first(word);
    const std::uint32_t count = sluice_word_count(word);
    for (std::uint32_t i = 0; i < count; ++i) {
        const sluice_set_slot* slot = sluice_view_set_slot(&view, first + i);
        if (slot == nullptr) {
            break;
        }
        const sluice_backend* backend = sluice_view_backend(&view, slot->backend);
        if (backend != nullptr) {
            out.push_back(*backend);
        }
    }
    return out;
}

}  // namespace sluice::image
