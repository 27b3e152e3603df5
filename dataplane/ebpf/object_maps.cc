#include "dataplane/ebpf/object_maps.h"

#include <bpf/libbpf.h>

namespace sluice::dataplane {
namespace {

constexpr std::string_view kData = ".data.";

}  // namespace

std::string_view map_name(const bpf_map* map) {
    std::string_view name = bpf_map__name(map);
    if (bpf_map__is_internal(map) && name.starts_with(kData)) {
        name.remove_prefix(kData.size());
    }
    return name;
}

bool is_private(const bpf_map* map) {
    return bpf_map__is_internal(map) && !std::string_view(bpf_map__name(map)).starts_with(kData);
}

int map_fd(const bpf_object* object, const std::string& name) {
    const int fd = bpf_object__find_map_fd_by_name(object, name.c_str());
    return fd >= 0 ? fd : bpf_object__find_map_fd_by_name(object, (std::string(kData) + name).c_str());
}

}  // namespace sluice::dataplane
