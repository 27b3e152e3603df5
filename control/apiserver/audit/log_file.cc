#include "control/apiserver/audit/log_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <utility>
#include <vector>

#include "api/base/log.h"

namespace sluice::audit {
namespace {

constexpr std::string_view kComponent = "audit";
constexpr std::uint64_t kMegabyte = 1U << 20U;
constexpr mode_t kMode = 0600;
constexpr auto kGather = std::chrono::milliseconds(50);

Result<int> open_for_append(const std::string& path) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode);
    if (fd < 0) return errno_error(errno, "cannot open the audit log {}", path);
    return fd;
}

std::string timestamp() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    const std::time_t seconds = ms / 1'000;
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}-{:02}-{:02}.{:03}", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       ms % 1'000);
}

}  // namespace

Result<std::unique_ptr<LogFile>> LogFile::open(const LogOptions& options) {
    if (options.path == "-") {
        return std::unique_ptr<LogFile>(new LogFile(options, STDOUT_FILENO, 0));
    }
    SLUICE_TRY_ASSIGN(const int fd, open_for_append(options.path));
    struct stat info {};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        ::close(fd);
        return make_error(Code::kInvalidArgument, "the audit log {} is not a regular file",
                          options.path);
    }
    return std::unique_ptr<LogFile>(
        new LogFile(options, fd, static_cast<std::uint64_t>(info.st_size)));
}

LogFile::LogFile(LogOptions options, int fd, std::uint64_t size)
    : options_(std::move(options)),
      max_bytes_(kMegabyte * (options_.max_megabytes > 0 ? options_.max_megabytes
                                                         : kDefaultMaxMegabytes)),
      fd_(fd),
      size_(size),
      thread_([this] { run(); }) {}

LogFile::~LogFile() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
    if (fd_ >= 0 && fd_ != STDOUT_FILENO) ::close(fd_);
}

bool LogFile::append(std::string_view line) {
    const std::lock_guard lock(mutex_);
    // A lone line always passes, however long it is.
    if (!buffer_.empty() && buffer_.size() + line.size() > kMaxBufferedBytes) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    buffer_.append(line);
    if (lines_++ == 0) changed_.notify_one();
    return true;
}

void LogFile::flush() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return buffer_.empty() && !busy_; });
}

void LogFile::run() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return stopping_ || !buffer_.empty(); });
        if (buffer_.empty()) return;
        // A little later there are more lines for the same system call.
        if (!stopping_ && buffer_.size() < kMegabyte) changed_.wait_for(lock, kGather);
        const std::string lines = std::exchange(buffer_, {});
        const std::uint64_t count = std::exchange(lines_, 0);
        busy_ = true;
        lock.unlock();
        write(lines, count);
        lock.lock();
        busy_ = false;
        idle_.notify_all();
    }
}

void LogFile::write(const std::string& lines, std::uint64_t count) {
    const bool regular = fd_ != STDOUT_FILENO;
    if (regular && fd_ >= 0 && size_ > 0 && size_ + lines.size() > max_bytes_) rotate();
    if (fd_ < 0) {
        // The disk may have recovered since the last try.
        if (auto fd = open_for_append(options_.path)) fd_ = *fd;
    }
    std::size_t done = 0;
    while (fd_ >= 0 && done < lines.size()) {
        const ssize_t size = ::write(fd_, lines.data() + done, lines.size() - done);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0) break;
        done += static_cast<std::size_t>(size);
    }
    size_ += done;
    if (done == lines.size()) {
        written_.fetch_add(count, std::memory_order_relaxed);
        return;
    }
    const auto complete = static_cast<std::uint64_t>(
        std::count(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(done), '\n'));
    written_.fetch_add(complete, std::memory_order_relaxed);
    if (failed_.fetch_add(count - complete, std::memory_order_relaxed) == 0) {
        log::error(kComponent, "the audit log {} cannot be written: errno {}", options_.path, errno);
    }
    // Half a line would spoil the next one.
    if (done > 0 && lines[done - 1] != '\n') {
        [[maybe_unused]] const ssize_t ignored = ::write(fd_, "\n", 1);
    }
}

void LogFile::rotate() {
    const std::filesystem::path path(options_.path);
    const std::filesystem::path backup =
        path.parent_path() / fmt::format("{}-{}{}", path.stem().string(), timestamp(),
                                         path.extension().string());
    if (::rename(options_.path.c_str(), backup.c_str()) != 0) {
        log::error(kComponent, "the audit log {} cannot be rotated: errno {}", options_.path, errno);
        return;
    }
    ::close(fd_);
    auto fd = open_for_append(options_.path);
    fd_ = fd ? *fd : -1;
    size_ = 0;
    rotations_.fetch_add(1, std::memory_order_relaxed);
    remove_old();
}

void LogFile::remove_old() const {
    if (options_.max_age_days == 0 && options_.max_backups == 0) return;
    const std::filesystem::path path(options_.path);
    const std::string prefix = path.stem().string() + "-";
    const std::string extension = path.extension().string();
    constexpr std::size_t kTimestampBytes = 23;
    std::vector<std::filesystem::path> backups;
    std::error_code error;
    const auto directory =
        path.parent_path().empty() ? std::filesystem::path(".") : path.parent_path();
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        const std::string name = entry.path().filename().string();
        // Only what rotate() may have named is removed.
        if (name.size() == prefix.size() + kTimestampBytes + extension.size() &&
            name.starts_with(prefix) && name.ends_with(extension) && name[prefix.size() + 10] == 'T') {
            backups.push_back(entry.path());
        }
    }
    std::sort(backups.rbegin(), backups.rend());  // newest first: names are times
    const auto oldest = std::filesystem::file_time_type::clock::now() -
                        std::chrono::hours(24) * options_.max_age_days;
    for (std::size_t i = 0; i < backups.size(); ++i) {
        const bool many = options_.max_backups > 0 && i >= options_.max_backups;
        const bool old = options_.max_age_days > 0 &&
                         std::filesystem::last_write_time(backups[i], error) < oldest;
        if (many || old) std::filesystem::remove(backups[i], error);
    }
}

LogStats LogFile::stats() const {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    return {written_.load(kRelaxed), dropped_.load(kRelaxed), failed_.load(kRelaxed),
            rotations_.load(kRelaxed)};
}

}  // namespace sluice::audit
