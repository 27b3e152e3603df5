#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "control/kubelet/volumes/files_private.h"

namespace sluice::kubelet {
namespace {

constexpr std::size_t kMaxMountinfoBytes = 64U << 20U;

// "\040" as a blank; the kernel escapes blank, tab, newline and backslash.
std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const bool octal = text[at] == '\\' && at + 3 < text.size() &&
                           std::all_of(text.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                                       text.begin() + static_cast<std::ptrdiff_t>(at) + 4,
                                       [](char c) { return c >= '0' && c <= '7'; });
        if (!octal) {
            out.push_back(text[at]);
            continue;
        }
        const int value = (text[at + 1] - '0') * 64 + (text[at + 2] - '0') * 8 + (text[at + 3] - '0');
        out.push_back(static_cast<char>(value));
        at += 3;
    }
    return out;
}

bool is_below(std::string_view path, std::string_view directory) {
    return path == directory ||
           (path.starts_with(directory) && path[directory.size()] == '/');
}

int open_how(int directory, const char* path, std::uint64_t flags, std::uint64_t resolve) {
    struct ::open_how how {};
    how.flags = flags;
    how.resolve = resolve;
    return static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof how));
}

}  // namespace

Result<std::string> read_small_file(const std::string& path, std::size_t limit) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return errno_error(errno, "cannot open {}", path);
    std::string out;
    char chunk[16'384];
    while (true) {
        const ssize_t got = ::read(file.get(), chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error(errno, "cannot read {}", path);
        if (got == 0) return out;
        out.append(chunk, static_cast<std::size_t>(got));
        if (out.size() > limit) {
            return make_error(Code::kResourceExhausted, "{} is larger than {} bytes", path, limit);
        }
    }
}

std::vector<MountPoint> parse_mountinfo(std::string_view text) {
    std::vector<MountPoint> out;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        // id parent major:minor root MOUNT-POINT options [tags...] - TYPE source options
        MountPoint point;
        int field = 0;
        bool after_dash = false;
        while (!line.empty()) {
            const std::size_t blank = line.find(' ');
            const std::string_view word = line.substr(0, blank);
            line.remove_prefix(blank == std::string_view::npos ? line.size() : blank + 1);
            if (field == 4) point.path = unescape(word);
            if (after_dash) {
                point.type = std::string(word);
                break;
            }
            if (field > 5 && word == "-") after_dash = true;
            ++field;
        }
        if (!point.path.empty()) out.push_back(std::move(point));
    }
    return out;
}

Result<std::vector<MountPoint>> mounts_below(const std::string& directory) {
    SLUICE_TRY_ASSIGN(const std::string text,
                      read_small_file("/proc/self/mountinfo", kMaxMountinfoBytes));
    // The kernel lists resolved paths.
    std::error_code error;
    const std::string resolved = std::filesystem::weakly_canonical(directory, error).string();
    std::vector<MountPoint> points = parse_mountinfo(text);
    std::erase_if(points, [&](const MountPoint& point) {
        return !is_below(point.path, directory) && !is_below(point.path, resolved);
    });
    // Of mounts on one point the later one lies on top and is listed later.
    std::reverse(points.begin(), points.end());
    std::stable_sort(points.begin(), points.end(), [](const MountPoint& a, const MountPoint& b) {
        return a.path.size() > b.path.size();
    });
    return points;
}

Result<void> make_directories(const std::string& path, std::uint32_t mode) {
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        const std::string above = path.substr(0, slash);
        if (::mkdir(above.c_str(), 0755) != 0 && errno != EEXIST) {
            return errno_error(errno, "cannot make the directory {}", above);
        }
    }
    if (::mkdir(path.c_str(), mode) == 0) {
        // Whatever the umask is.
        if (::chmod(path.c_str(), mode) != 0) return errno_error(errno, "cannot chmod {}", path);
        return {};
    }
    if (errno != EEXIST) return errno_error(errno, "cannot make the directory {}", path);
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return errno_error(errno, "cannot stat {}", path);
    if (!S_ISDIR(info.st_mode)) {
        return make_error(Code::kFailedPrecondition, "{} is not a directory", path);
    }
    return {};
}

Result<void> remove_tree(const std::string& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) return {};
        return errno_error(errno, "cannot stat {}", path);
    }
    SLUICE_TRY_ASSIGN(const auto points, mounts_below(path));
    for (const MountPoint& point : points) {
        if (::umount2(point.path.c_str(), UMOUNT_NOFOLLOW) == 0) continue;
        // In use, by a process that is just ending or by one that escaped: it goes when they let go
        // of it.
        if (::umount2(point.path.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) == 0) continue;
        if (errno == EINVAL || errno == ENOENT) continue;  // unmounted meanwhile
        return errno_error(errno, "cannot unmount {}", point.path);
    }
    if (!points.empty()) {
        SLUICE_TRY_ASSIGN(const auto left, mounts_below(path));
        if (!left.empty()) {
            return make_error(Code::kFailedPrecondition, "{} is still mounted", left.front().path);
        }
    }
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) return errno_error(error.value(), "cannot remove {}", path);
    return {};
}

Result<bool> is_own_tmpfs(const std::string& path) {
    struct statfs system {};
    if (::statfs(path.c_str(), &system) != 0) {
        if (errno == ENOENT) return false;
        return errno_error(errno, "cannot look at the file system of {}", path);
    }
    if (system.f_type != TMPFS_MAGIC) return false;
    struct stat here {};
    struct stat above {};
    if (::stat(path.c_str(), &here) != 0 || ::stat((path + "/..").c_str(), &above) != 0) {
        return errno_error(errno, "cannot stat {}", path);
    }
    return here.st_dev != above.st_dev;
}

namespace {

struct Measurement {
    dev_t device = 0;
    std::uint64_t blocks = 0;
    std::size_t files = 0;
};

void measure_directory(Fd directory, std::size_t depth, Measurement* sum) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(::dup(directory.get())),
                                                     &::closedir);
    if (stream == nullptr) return;
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        struct stat info {};
        if (::fstatat(directory.get(), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (info.st_dev != sum->device) continue;
        if (++sum->files > kMaxMeasuredFiles) return;
        // A file with several links takes its space once; a part for each of them is near enough.
        const auto links = std::max<std::uint64_t>(1, S_ISDIR(info.st_mode) ? 1 : info.st_nlink);
        sum->blocks += static_cast<std::uint64_t>(info.st_blocks) / links;
        if (!S_ISDIR(info.st_mode) || depth >= kMaxTreeDepth) continue;
        Fd below(::openat(directory.get(), entry->d_name,
                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (below) measure_directory(std::move(below), depth + 1, sum);
    }
}

}  // namespace

Result<std::uint64_t> measure_tree(const std::string& path) {
    Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory) return errno_error(errno, "cannot open {}", path);
    struct stat info {};
    if (::fstat(directory.get(), &info) != 0) return errno_error(errno, "cannot stat {}", path);
    Measurement sum{info.st_dev, static_cast<std::uint64_t>(info.st_blocks), 0};
    measure_directory(std::move(directory), 0, &sum);
    return sum.blocks * 512;
}

Result<void> check_relative(std::string_view path, std::string_view what) {
    if (path.empty()) return make_error(Code::kInvalidArgument, "{} must not be empty", what);
    if (path.size() > kMaxVolumePath) {
        return make_error(Code::kInvalidArgument, "{} is longer than {} bytes", what,
                          kMaxVolumePath);
    }
    if (path.front() == '/') {
        return make_error(Code::kInvalidArgument, "{} \"{}\" must be a relative path", what, path);
    }
    if (path.find('\0') != std::string_view::npos) {
        return make_error(Code::kInvalidArgument, "{} must not contain NUL", what);
    }
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t slash = std::min(path.find('/', at), path.size());
        if (path.substr(at, slash - at) == "..") {
            return make_error(Code::kInvalidArgument, "{} \"{}\" must not contain '..'", what, path);
        }
        at = slash + 1;
    }
    return {};
}

Result<Fd> open_beneath(const std::string& root, const std::string& path, std::uint32_t mode) {
    const Fd directory(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return errno_error(errno, "cannot open {}", root);
    const auto failed = [&](const std::string& part) -> Error {
        if (errno == EXDEV || errno == ELOOP) {
            return make_error(Code::kFailedPrecondition, "\"{}\" leads out of the volume", part);
        }
        return errno_error(errno, "cannot open \"{}\" in {}", part, root);
    };
    constexpr std::uint64_t kBeneath = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    Fd found(open_how(directory.get(), path.c_str(), O_PATH | O_CLOEXEC, kBeneath));
    if (found || errno != ENOENT) {
        if (found) return found;
        return failed(path);
    }
    // Directory by directory from the top, each opened before the next is made in it, so that
    // nobody can put a link in between.
    Fd above(open_how(directory.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC, kBeneath));
    for (std::size_t at = 0; at < path.size();) {
        const std::size_t slash = std::min(path.find('/', at), path.size());
        const std::string part = path.substr(at, slash - at);
        const std::string so_far = path.substr(0, slash);
        at = slash + 1;
        if (part.empty() || part == ".") continue;
        Fd next(open_how(directory.get(), so_far.c_str(), O_PATH | O_CLOEXEC, kBeneath));
        if (!next && errno == ENOENT) {
            if (::mkdirat(above.get(), part.c_str(), static_cast<mode_t>(mode)) != 0 &&
                errno != EEXIST) {
                return failed(so_far);
            }
            // A link to nothing is no place for a directory.
            next = Fd(::openat(above.get(), part.c_str(),
                               O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            if (next && ::chmod(fmt::format("/proc/self/fd/{}", next.get()).c_str(),
                                static_cast<mode_t>(mode)) != 0) {
                return failed(so_far);
            }
        }
        if (!next) return failed(so_far);
        above = std::move(next);
    }
    return above;
}

}  // namespace sluice::kubelet
