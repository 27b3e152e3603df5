#include "dataplane/ebpf/pinned_array.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "api/base/fd.h"

namespace sluice::dataplane {

PinnedArray::~PinnedArray() {
    if (address_ != nullptr) munmap(address_, length_);
}

Result<PinnedArray> PinnedArray::open(const std::string& path, std::uint32_t value_size,
                                      std::string_view what) {
    const int raw = bpf_obj_get(path.c_str());
    if (raw < 0) return errno_error(-raw, "cannot open the pinned {} {}", what, path);
    const Fd fd(raw);
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    if (const int error = bpf_obj_get_info_by_fd(fd.get(), &info, &length); error != 0) {
        return errno_error(-error, "cannot inspect the pinned {} {}", what, path);
    }
    if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != value_size ||
        (info.map_flags & BPF_F_MMAPABLE) == 0) {
        return make_error(Code::kFailedPrecondition, "{} is no {} of this layout", path, what);
    }
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    PinnedArray out;
    out.entries_ = info.max_entries;
    out.length_ = (std::size_t{value_size} * info.max_entries + page - 1) / page * page;
    void* address = mmap(nullptr, out.length_, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (address == MAP_FAILED) return errno_error(errno, "cannot map the {} {}", what, path);
    out.address_ = address;
    return out;
}

}  // namespace sluice::dataplane
