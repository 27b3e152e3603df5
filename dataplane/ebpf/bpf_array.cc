#include "dataplane/ebpf/bpf_array.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

namespace sluice::dataplane {

ArrayShape array_shape(const Fd& map) {
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    if (!map || bpf_obj_get_info_by_fd(map.get(), &info, &length) != 0) return {};
    return {info.id, info.value_size, info.max_entries};
}

Result<Fd> make_array(const char* name, std::uint32_t value_size, std::uint32_t entries) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
    const int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, value_size, entries, &options);
    if (fd < 0) return errno_error(-fd, "cannot make the map {} of {} entries", name, entries);
    return Fd(fd);
}

}  // namespace sluice::dataplane
