#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <set>

#include "api/base/log.h"
#include "control/kubelet/volumes/atomic_writer_private.h"
#include "control/kubelet/volumes/files_private.h"

namespace sluice::kubelet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDataLink = "..data";
constexpr const char* kNewDataLink = "..data_tmp";
constexpr std::uint32_t kGroupRead = 0440;
constexpr std::uint32_t kGroupEnter = 0110;

std::string first_part(const std::string& path) { return path.substr(0, path.find('/')); }

Result<void> check_payload(const Payload& payload) {
    for (const auto& [path, file] : payload) {
        SLUICE_TRY(check_relative(path, "path"));
        // Such names are the writer's own.
        if (path.starts_with("..")) {
            return make_error(Code::kInvalidArgument, "path \"{}\" must not start with '..'", path);
        }
    }
    return {};
}

std::uint32_t file_mode(const ProjectedFile& file, std::optional<std::int64_t> group) {
    return group ? file.mode | kGroupRead : file.mode;
}

// Where ..data points; empty when there is none.
std::string current_version(const std::string& directory) {
    std::error_code error;
    const fs::path target = fs::read_symlink(fs::path(directory) / kDataLink, error);
    return error ? "" : target.filename().string();
}

// Whether the version holds exactly the payload, with its modes.
bool holds(const std::string& version, const Payload& payload, std::optional<std::int64_t> group) {
    std::size_t found = 0;
    std::error_code error;
    for (auto entry = fs::recursive_directory_iterator(version, error);
         !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        if (entry->is_directory(error)) continue;
        const auto file = payload.find(fs::relative(entry->path(), version, error).string());
        if (file == payload.end()) return false;
        struct stat info {};
        if (::lstat(entry->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
        if ((info.st_mode & 07777U) != file_mode(file->second, group)) return false;
        if (group && info.st_gid != static_cast<gid_t>(*group)) return false;
        if (file->second.user && info.st_uid != static_cast<uid_t>(*file->second.user)) return false;
        if (static_cast<std::uint64_t>(info.st_size) != file->second.content.size()) return false;
        const auto content = read_small_file(entry->path(), file->second.content.size());
        if (!content || *content != file->second.content) return false;
        ++found;
    }
    return !error && found == payload.size();
}

Result<void> write_file(const std::string& path, const ProjectedFile& file,
                        std::optional<std::int64_t> group) {
    const Fd out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!out) return errno_error(errno, "cannot create {}", path);
    for (std::size_t done = 0; done < file.content.size();) {
        const ssize_t wrote =
            ::write(out.get(), file.content.data() + done, file.content.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return errno_error(errno, "cannot write {}", path);
        done += static_cast<std::size_t>(wrote);
    }
    const auto user = file.user ? static_cast<uid_t>(*file.user) : static_cast<uid_t>(-1);
    const auto owner_group = group ? static_cast<gid_t>(*group) : static_cast<gid_t>(-1);
    if ((file.user || group) && ::fchown(out.get(), user, owner_group) != 0) {
        return errno_error(errno, "cannot chown {}", path);
    }
    // Last, as changing the owner takes away bits. The umask does not count.
    if (::fchmod(out.get(), static_cast<mode_t>(file_mode(file, group))) != 0) {
        return errno_error(errno, "cannot chmod {}", path);
    }
    return {};
}

Result<void> make_directory(const std::string& path, std::optional<std::int64_t> group) {
    SLUICE_TRY(make_directories(path, 0755));
    if (!group) return {};
    if (::chown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(*group)) != 0) {
        return errno_error(errno, "cannot chown {}", path);
    }
    if (::chmod(path.c_str(), S_ISGID | 0755 | kGroupRead | kGroupEnter) != 0) {
        return errno_error(errno, "cannot chmod {}", path);
    }
    return {};
}

Result<void> write_version(const std::string& version, const Payload& payload,
                           std::optional<std::int64_t> group) {
    SLUICE_TRY(make_directory(version, group));
    std::set<std::string> made;
    for (const auto& [path, file] : payload) {
        for (std::size_t slash = path.find('/'); slash != std::string::npos;
             slash = path.find('/', slash + 1)) {
            const std::string above = path.substr(0, slash);
            if (made.insert(above).second) SLUICE_TRY(make_directory(version + "/" + above, group));
        }
        SLUICE_TRY(write_file(version + "/" + path, file, group));
    }
    return {};
}

std::string new_version_name() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    const std::time_t seconds = static_cast<std::time_t>(ns / 1'000'000'000);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    return fmt::format("..{:04}_{:02}_{:02}_{:02}_{:02}_{:02}.{:09}", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       ns % 1'000'000'000);
}

// The names that users see: a link for the first part of each path.
Result<void> link_names(const std::string& directory, const Payload& payload) {
    std::set<std::string> names;
    for (const auto& [path, file] : payload) names.insert(first_part(path));
    for (const std::string& name : names) {
        const std::string link = directory + "/" + name;
        const std::string target = std::string(kDataLink) + "/" + name;
        std::error_code error;
        if (fs::read_symlink(link, error) == target && !error) continue;
        fs::remove_all(link, error);
        if (::symlink(target.c_str(), link.c_str()) != 0) {
            return errno_error(errno, "cannot link {}", link);
        }
    }
    return {};
}

// Takes away names and versions that are not of the current payload.
void clear_rest(const std::string& directory, const Payload& payload, const std::string& current) {
    std::set<std::string> names{kDataLink, current};
    for (const auto& [path, file] : payload) names.insert(first_part(path));
    std::error_code error;
    std::vector<fs::path> stale;
    for (const auto& entry : fs::directory_iterator(directory, error)) {
        const std::string name = entry.path().filename().string();
        if (names.contains(name)) continue;
        // Directories that were made for a subPath are not of this writer.
        if (!name.starts_with("..") && !entry.is_symlink(error)) continue;
        stale.push_back(entry.path());
    }
    for (const auto& path : stale) {
        fs::remove_all(path, error);
        if (error) {
            log::warn("kubelet", "cannot remove {}, which is no longer used: {}", path.string(),
                      error.message());
        }
    }
}

}  // namespace

bool has_payload(const std::string& directory) {
    const std::string version = current_version(directory);
    std::error_code error;
    return !version.empty() && fs::is_directory(directory + "/" + version, error);
}

Result<bool> write_atomically(const std::string& directory, const Payload& payload,
                              std::optional<std::int64_t> group) {
    SLUICE_TRY(check_payload(payload));
    const std::string old = current_version(directory);
    if (!old.empty() && holds(directory + "/" + old, payload, group)) {
        // After a crash between the change and the links.
        SLUICE_TRY(link_names(directory, payload));
        clear_rest(directory, payload, old);
        return false;
    }
    const std::string name = new_version_name();
    const std::string version = directory + "/" + name;
    if (auto written = write_version(version, payload, group); !written) {
        std::error_code error;
        fs::remove_all(version, error);
        return written.error();
    }
    const std::string fresh = directory + "/" + kNewDataLink;
    ::unlink(fresh.c_str());
    if (::symlink(name.c_str(), fresh.c_str()) != 0) {
        return errno_error(errno, "cannot link {}", fresh);
    }
    const std::string data = directory + "/" + kDataLink;
    if (::rename(fresh.c_str(), data.c_str()) != 0) {
        return errno_error(errno, "cannot replace {}", data);
    }
    SLUICE_TRY(link_names(directory, payload));
    clear_rest(directory, payload, name);
    return true;
}

}  // namespace sluice::kubelet
