// The directory that segments lie in, and which image is in force.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <thread>

#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/state_files.h"

namespace sluice::dpdk {
namespace {

constexpr std::string_view kCurrent = "current";
constexpr std::string_view kLock = "lock";
constexpr std::string_view kImage = "image-";
constexpr std::string_view kCounts = "counts-";
constexpr std::string_view kFlows = "flows-";
constexpr std::string_view kShared = "shared";
constexpr std::string_view kEvents = "events";
constexpr std::string_view kLargerFlows = "larger-flows-";
constexpr std::string_view kLargerShared = "larger-shared";

// Somebody who only asks whether the lock is free has it for a moment.
constexpr int kLockAttempts = 10;
constexpr std::chrono::milliseconds kLockRetry{10};

std::string in(const std::string& directory, std::string_view name) {
    return fmt::format("{}/{}", directory, name);
}

// The number in "image-N", as it would be written.
std::optional<std::uint32_t> number_of(std::string_view name, std::string_view prefix) {
    if (!name.starts_with(prefix)) {
        return std::nullopt;
    }
    name.remove_prefix(prefix.size());
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc() || end != name.data() + name.size() || std::to_string(number) != name) {
        return std::nullopt;
    }
    return number;
}

std::vector<std::string> names_in(const std::string& directory) {
    std::vector<std::string> out;
    const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(directory.c_str()), closedir);
    while (open) {
        const dirent* entry = readdir(open.get());
        if (entry == nullptr) {
            break;
        }
        const std::string_view name = static_cast<const char*>(entry->d_name);
        if (name != "." && name != "..") {
            out.emplace_back(name);
        }
    }
    std::sort(out.begin(), out.end());
    return out;
}

void add_numbers(const std::string& directory, std::string_view prefix, std::set<std::uint32_t>& out) {
    for (const std::string& name : names_in(directory)) {
        if (const auto number = number_of(name, prefix)) {
            out.insert(*number);
        }
    }
}

Result<void> remove_file(const std::string& path) {
    return unlink(path.c_str()) == 0 || errno == ENOENT
               ? Result<void>()
               : Result<void>(errno_error(errno, "cannot remove {}", path));
}

Result<void> check_directory(const std::string& directory) {
    struct stat info {};
    if (lstat(directory.c_str(), &info) != 0) {
        return errno_error(errno, "cannot look at the state directory {}", directory);
    }
    if (!S_ISDIR(info.st_mode)) {
        return make_error(Code::kFailedPrecondition, "the state directory {} is not a directory", directory);
    }
    if ((info.st_uid != geteuid() && info.st_uid != 0) || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return make_error(Code::kPermissionDenied,
                          "the state directory {} belongs to user {} with mode {:o}: others may write to it", directory,
                          info.st_uid, info.st_mode & 07777U);
    }
    return {};
}

bool is_ours(const std::string& name) {
    return name == kCurrent || name.starts_with(std::string(kCurrent) + ".") || name == kLock || name == kShared ||
           name == kLargerShared || name == kEvents || number_of(name, kImage) || number_of(name, kCounts) ||
           number_of(name, kFlows) || number_of(name, kLargerFlows);
}

}  // namespace

std::string image_path(const std::string& directory, std::uint32_t number) {
    return fmt::format("{}/{}{}", directory, kImage, number);
}
std::string counts_path(const std::string& directory, std::uint32_t number) {
    return fmt::format("{}/{}{}", directory, kCounts, number);
}
std::string flows_path(const std::string& directory, std::uint32_t lcore) {
    return fmt::format("{}/{}{}", directory, kFlows, lcore);
}
std::string shared_path(const std::string& directory) {
    return in(directory, kShared);
}

std::string events_path(const std::string& directory) {
    return in(directory, kEvents);
}
std::string larger_flows_path(const std::string& directory, std::uint32_t lcore) {
    return fmt::format("{}/{}{}", directory, kLargerFlows, lcore);
}
std::string larger_shared_path(const std::string& directory) {
    return in(directory, kLargerShared);
}

Result<void> make_state_directory(const std::string& directory) {
    // Parents as mkdir -p makes them; the last one for us alone.
    for (std::size_t at = directory.find('/', 1); at != std::string::npos; at = directory.find('/', at + 1)) {
        const std::string parent = directory.substr(0, at);
        if (mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST) {
            return errno_error(errno, "cannot make the directory {}", parent);
        }
    }
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
        return errno_error(errno, "cannot make the state directory {}", directory);
    }
    return check_directory(directory);
}

Result<Fd> lock_state_directory(const std::string& directory) {
    SLUICE_TRY(make_state_directory(directory));
    const std::string path = in(directory, kLock);
    Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) {
        return errno_error(errno, "cannot open {}", path);
    }
    bool locked = false;
    for (int attempt = 0; attempt < kLockAttempts && !locked; ++attempt) {
        if (attempt > 0) {
            std::this_thread::sleep_for(kLockRetry);
        }
        locked = flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
        if (!locked && errno != EWOULDBLOCK) {
            break;
        }
    }
    if (!locked) {
        return errno == EWOULDBLOCK
                   ? make_error(Code::kFailedPrecondition, "another engine uses the state directory {}", directory)
                   : errno_error(errno, "cannot lock {}", path);
    }
    // Whoever cleaned up meanwhile took the file away that was opened.
    struct stat held {};
    struct stat named {};
    if (fstat(fd.get(), &held) != 0 || stat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino) {
        return make_error(Code::kUnavailable, "the state directory {} was removed meanwhile", directory);
    }
    return fd;
}

bool state_directory_in_use(const std::string& directory) {
    const Fd fd(open(in(directory, kLock).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) {
        return errno != ENOENT;
    }
    return flock(fd.get(), LOCK_SH | LOCK_NB) != 0;
}

Result<std::vector<std::string>> remove_state_directory(const std::string& directory) {
    std::vector<std::string> removed;
    struct stat info {};
    if (lstat(directory.c_str(), &info) != 0 && errno == ENOENT) {
        return removed;
    }
    SLUICE_TRY_ASSIGN(const Fd lock, lock_state_directory(directory));
    bool strangers = false;
    for (const std::string& name : names_in(directory)) {
        if (!is_ours(name)) {
            strangers = true;
        } else if (name != kLock) {
            SLUICE_TRY(remove_file(in(directory, name)));
            removed.push_back(in(directory, name));
        }
    }
    SLUICE_TRY(remove_file(in(directory, kLock)));
    if (!strangers && rmdir(directory.c_str()) == 0) {
        removed.push_back(directory);
    }
    return removed;
}

std::uint64_t state_directory_bytes(const std::string& directory) {
    std::uint64_t sum = 0;
    for (const std::string& name : names_in(directory)) {
        struct stat info {};
        if (is_ours(name) && lstat(in(directory, name).c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
            sum += static_cast<std::uint64_t>(info.st_size);
        }
    }
    return sum;
}

std::vector<std::uint32_t> list_images(const std::string& directory) {
    std::set<std::uint32_t> out;
    add_numbers(directory, kImage, out);
    add_numbers(directory, kCounts, out);
    return {out.begin(), out.end()};
}

std::uint32_t next_image_number(const std::string& directory) {
    std::set<std::uint32_t> taken;
    add_numbers(directory, kImage, taken);
    add_numbers(directory, kCounts, taken);
    std::uint32_t next = taken.empty() ? 1 : *taken.rbegin() + 1;
    while (next == 0 || taken.contains(next)) {
        ++next;
    }
    return next;
}

std::vector<std::uint32_t> list_flows(const std::string& directory) {
    std::set<std::uint32_t> out;
    add_numbers(directory, kFlows, out);
    return {out.begin(), out.end()};
}

Result<void> remove_flows(const std::string& directory, std::uint32_t lcore) {
    SLUICE_TRY(remove_file(larger_flows_path(directory, lcore)));
    return remove_file(flows_path(directory, lcore));
}

Result<std::uint32_t> current_image(const std::string& directory) {
    const std::string path = in(directory, kCurrent);
    std::array<char, NAME_MAX> target{};
    const ssize_t length = readlink(path.c_str(), target.data(), target.size());
    if (length < 0) {
        return errno == EINVAL ? make_error(Code::kDataLoss, "{} is not a symbolic link", path)
                               : errno_error(errno, "there is no image in force: cannot read {}", path);
    }
    const std::string_view name(target.data(), static_cast<std::size_t>(length));
    const auto number = number_of(name, kImage);
    if (!number) {
        return make_error(Code::kDataLoss, "{} points at {}, which is no image", path, name);
    }
    return *number;
}

Result<void> set_current_image(const std::string& directory, std::uint32_t number) {
    const std::string path = in(directory, kCurrent);
    const std::string next = fmt::format("{}.{}", path, getpid());
    SLUICE_TRY(remove_file(next));
    if (symlink(fmt::format("{}{}", kImage, number).c_str(), next.c_str()) != 0) {
        return errno_error(errno, "cannot make {}", next);
    }
    if (rename(next.c_str(), path.c_str()) != 0) {
        const int error = errno;
        unlink(next.c_str());
        return errno_error(error, "cannot put {} in its place", path);
    }
    return {};
}

Result<void> remove_image(const std::string& directory, std::uint32_t number) {
    SLUICE_TRY(remove_file(image_path(directory, number)));
    return remove_file(counts_path(directory, number));
}

}  // namespace sluice::dpdk
