#include "dataplane/ebpf/pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <memory>

#include "api/abi/image.h"
#include "api/abi/state.h"

namespace sluice::dataplane {
namespace {

constexpr std::string_view kImagePrefix = "image-v";
constexpr std::string_view kStatePrefix = "state-v";
// While a pin is being replaced.
constexpr std::string_view kNextSuffix = "-next";

std::string image_prefix() {
    return fmt::format("{}{}-", kImagePrefix, SLUICE_LAYOUT_VERSION);
}

}  // namespace

PinPaths PinPaths::under(const std::string& bpffs) {
    const std::string root = bpffs + "/sluice";
    return PinPaths{root, root + "/links", fmt::format("{}/{}{}", root, kStatePrefix, SLUICE_STATE_VERSION),
                    root + "/current"};
}

std::string PinPaths::image(std::uint64_t number) const {
    return fmt::format("{}/{}{}", root, image_prefix(), number);
}

Result<void> make_directory(const std::string& path) {
    if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
        return errno_error(errno, "cannot make the pin directory {}", path);
    }
    return {};
}

std::vector<std::string> list_directory(const std::string& path) {
    std::vector<std::string> out;
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(path.c_str()), closedir);
    if (!dir) {
        return out;
    }
    while (const dirent* entry = readdir(dir.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") {
            out.emplace_back(name);
        }
    }
    std::sort(out.begin(), out.end());
    return out;
}

Result<void> remove_directory(const std::string& path) {
    for (const std::string& name : list_directory(path)) {
        const std::string full = path + "/" + name;
        if (unlink(full.c_str()) != 0 && errno != ENOENT) {
            return errno_error(errno, "cannot remove the pin {}", full);
        }
    }
    if (rmdir(path.c_str()) != 0 && errno != ENOENT) {
        return errno_error(errno, "cannot remove the pin directory {}", path);
    }
    return {};
}

std::optional<std::string> current_image(const PinPaths& paths) {
    std::array<char, PATH_MAX> target{};
    const ssize_t length = readlink(paths.current.c_str(), target.data(), target.size() - 1);
    if (length <= 0) {
        return std::nullopt;
    }
    const std::string name(target.data(), static_cast<std::size_t>(length));
    if (name.find('/') != std::string::npos) {
        return std::nullopt;
    }
    return paths.root + "/" + name;
}

Result<void> set_current_image(const PinPaths& paths, const std::string& directory) {
    const std::string name = directory.substr(directory.rfind('/') + 1);
    const std::string next = paths.root + "/next";
    if (unlink(next.c_str()) != 0 && errno != ENOENT) {
        return errno_error(errno, "cannot remove {}", next);
    }
    if (symlink(name.c_str(), next.c_str()) != 0) {
        return errno_error(errno, "cannot make the link {}", next);
    }
    if (rename(next.c_str(), paths.current.c_str()) != 0) {
        return errno_error(errno, "cannot rename {} to {}", next, paths.current);
    }
    return {};
}

std::uint32_t layout_version_of(const std::string& directory) {
    const std::string_view name = std::string_view(directory).substr(directory.rfind('/') + 1);
    std::uint32_t version = 0;
    if (name.starts_with(kImagePrefix)) {
        std::from_chars(name.data() + kImagePrefix.size(), name.data() + name.size(), version);
    }
    return version;
}

std::uint64_t next_image_number(const PinPaths& paths) {
    const std::string prefix = image_prefix();
    std::uint64_t highest = 0;
    for (const std::string& name : list_directory(paths.root)) {
        if (name.starts_with(prefix)) {
            std::uint64_t number = 0;
            std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
            highest = std::max(highest, number);
        }
    }
    return highest + 1;
}

std::vector<std::string> stale_images(const PinPaths& paths, const std::string& keep) {
    std::vector<std::string> out;
    for (const std::string& name : list_directory(paths.root)) {
        const std::string full = paths.root + "/" + name;
        if (name.starts_with(kImagePrefix) && full != keep) {
            out.push_back(full);
        }
    }
    return out;
}

std::vector<std::string> stale_states(const PinPaths& paths) {
    std::vector<std::string> out;
    for (const std::string& name : list_directory(paths.root)) {
        const std::string full = paths.root + "/" + name;
        if (name.starts_with(kStatePrefix) && full != paths.state) {
            out.push_back(full);
        }
    }
    return out;
}

std::string state_pin_name(std::string_view map) {
    // A table beside another has its version.
    for (const std::string_view suffix : {"_old", "_was"}) {
        if (map.ends_with(suffix)) {
            return fmt::format("{}{}", state_pin_name(map.substr(0, map.size() - suffix.size())), suffix);
        }
    }
    std::uint32_t version = 1;
#define SLUICE_SHAPE(name, shape) version = map == #name ? (shape) : version;
    SLUICE_STATE_SHAPES(SLUICE_SHAPE)
#undef SLUICE_SHAPE
    return version == 1 ? std::string(map) : fmt::format("{}-v{}", map, version);
}

std::string state_base_name(std::string_view pin) {
    const std::string name(pin.substr(0, pin.find('-')));
    for (const std::string_view suffix : {"_old", "_was"}) {
        if (pin.ends_with(suffix) && !name.ends_with(suffix)) {
            return fmt::format("{}{}", name, suffix);
        }
    }
    return name;
}

Result<void> replace_pin(int map, const std::string& path) {
    const std::string next = fmt::format("{}{}", path, kNextSuffix);
    SLUICE_TRY(remove_pin(next));
    if (const int error = bpf_obj_pin(map, next.c_str()); error != 0) {
        return errno_error(-error, "cannot pin {}", next);
    }
    if (rename(next.c_str(), path.c_str()) != 0) {
        return errno_error(errno, "cannot rename the pin {} to {}", next, path);
    }
    return {};
}

Result<void> remove_pin(const std::string& path) {
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
        return errno_error(errno, "cannot remove the pin {}", path);
    }
    return {};
}

Result<void> check_bpffs(const std::string& path) {
    struct statfs info{};
    if (statfs(path.c_str(), &info) != 0) {
        return errno_error(errno, "the BPF file system {} cannot be read", path);
    }
    if (info.f_type != BPF_FS_MAGIC) {
        return make_error(Code::kFailedPrecondition,
                          "{} is not a BPF file system; mount one with: mount -t bpf bpf {}", path,
                          path);
    }
    return {};
}

Result<void> check_cgroup2(const std::string& path) {
    struct statfs info{};
    if (statfs(path.c_str(), &info) != 0) {
        return errno_error(errno, "the cgroup root {} cannot be read", path);
    }
    if (info.f_type != CGROUP2_SUPER_MAGIC) {
        return make_error(Code::kFailedPrecondition,
                          "{} is not a cgroup2 directory; name one with --cgroup-root (often "
                          "/sys/fs/cgroup, or /sys/fs/cgroup/unified beside cgroup v1)",
                          path);
    }
    return {};
}

}  // namespace sluice::dataplane
