// What the volumes need of the file system: mount points, safe paths, trees that are taken away.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/fd.h"
#include "api/base/result.h"

namespace sluice::kubelet {

// Of one path within a volume.
inline constexpr std::size_t kMaxVolumePath = 4'095;
// Files and directories that one measurement of a volume looks at; a volume with more counts as
// what was seen.
inline constexpr std::size_t kMaxMeasuredFiles = 1'000'000;
inline constexpr std::size_t kMaxTreeDepth = 512;

struct MountPoint {
    std::string path;
    std::string type;  // "tmpfs"
};

// The mounts at and below a directory, the deepest first.
Result<std::vector<MountPoint>> mounts_below(const std::string& directory);
// The lines of /proc/self/mountinfo; exposed for its escapes ("\040").
[[nodiscard]] std::vector<MountPoint> parse_mountinfo(std::string_view text);

// Makes the directory and those above it, with that mode (the umask does not count for the last
// one).
Result<void> make_directories(const std::string& path, std::uint32_t mode);
// Unmounts all mounts at and below it, then removes it without following links. Harmless when it is
// not there. A mount that cannot be taken away keeps everything: what is mounted belongs to
// somebody else.
Result<void> remove_tree(const std::string& path);
// Whether the directory is a mount point of a tmpfs of its own.
Result<bool> is_own_tmpfs(const std::string& path);
// Bytes of disk in the tree, without crossing into other file systems and without following links.
Result<std::uint64_t> measure_tree(const std::string& path);

// A path relative to a volume: not empty, not absolute, no "..", no NUL, not too long. `what` names
// it in the error.
Result<void> check_relative(std::string_view path, std::string_view what);

// Opens (O_PATH) what `path` names below root, following only links that stay below it; missing
// directories are made with `mode`. kFailedPrecondition for a path that leads out.
Result<Fd> open_beneath(const std::string& root, const std::string& path, std::uint32_t mode);

// Whole content of a small file of the system, at most `limit` bytes.
Result<std::string> read_small_file(const std::string& path, std::size_t limit);

}  // namespace sluice::kubelet
