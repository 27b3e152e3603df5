#include "control/kubelet/logs/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "control/kubelet/logs/cri_log.h"

namespace sluice::kubelet::logs {
namespace {

constexpr std::size_t kPrefixBytes = 80;  // time, stream and tag of a line

Error read_error(const std::string& path) {
    const int reason = errno;
    return errno_error(reason, "cannot read the log {}: {}", path, std::strerror(reason));
}

}  // namespace

Result<LogReader> LogReader::open(std::string path, const ReadOptions& options) {
    Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
        const int reason = errno;
        return errno_error(reason, "failed to open log file \"{}\": {}", path,
                           std::strerror(reason));
    }
    LogReader reader(std::move(path), options, std::move(file));
    if (options.tail_lines) SLUICE_TRY(reader.seek_tail());
    return reader;
}

// Whether the line that ends at line_end (its break) is the last part of what the container printed.
Result<bool> LogReader::ends_whole_line(std::int64_t line_start, std::int64_t line_end) const {
    std::array<char, kPrefixBytes> prefix{};
    const auto size = std::min<std::int64_t>(line_end - line_start, kPrefixBytes);
    const ssize_t got = ::pread(file_.get(), prefix.data(), static_cast<std::size_t>(size), line_start);
    if (got < 0) return read_error(path_);
    const auto parsed = parse_line({prefix.data(), static_cast<std::size_t>(got)});
    return !parsed || !parsed->partial;
}

// From the end backwards, block by block: no more of a large log is read than the lines asked for.
Result<void> LogReader::seek_tail() {
    struct stat facts {};
    if (::fstat(file_.get(), &facts) != 0) return read_error(path_);
    offset_ = facts.st_size;
    if (*options_.tail_lines == 0) {
        // A line being written now belongs to what is past.
        return {};
    }
    std::int64_t whole_lines = 0;
    std::int64_t line_end = -1;  // the break after the line whose start is looked for
    std::int64_t block_end = facts.st_size;
    std::string block(kReadBytes, '\0');
    while (block_end > 0) {
        const std::int64_t start = std::max<std::int64_t>(0, block_end - std::int64_t{kReadBytes});
        const ssize_t got = ::pread(file_.get(), block.data(),
                                    static_cast<std::size_t>(block_end - start), start);
        if (got < 0) return read_error(path_);
        for (std::int64_t at = got - 1; at >= 0; --at) {
            if (block[static_cast<std::size_t>(at)] != '\n') continue;
            const std::int64_t position = start + at;
            if (line_end >= 0) {
                SLUICE_TRY_ASSIGN(const bool whole, ends_whole_line(position + 1, line_end));
                if (whole && ++whole_lines > *options_.tail_lines) {
                    offset_ = line_end + 1;
                    return {};
                }
            }
            line_end = position;
        }
        block_end = start;
    }
    if (line_end >= 0) {
        SLUICE_TRY_ASSIGN(const bool whole, ends_whole_line(0, line_end));
        if (whole && ++whole_lines > *options_.tail_lines) {
            offset_ = line_end + 1;
            return {};
        }
    }
    offset_ = 0;
    return {};
}

Result<bool> LogReader::reopen() {
    struct stat now {};
    struct stat ours {};
    // While the runtime makes the new file there may be none.
    if (::stat(path_.c_str(), &now) != 0) return false;
    if (::fstat(file_.get(), &ours) != 0) return read_error(path_);
    if (now.st_ino == ours.st_ino && now.st_dev == ours.st_dev) {
        if (now.st_size >= offset_) return false;
        // Cut short in place.
        offset_ = 0;
        rest_.clear();
        return true;
    }
    // What was written to the old file between its last read and now comes first.
    if (ours.st_size > offset_) return true;
    Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return false;
    file_ = std::move(file);
    offset_ = 0;
    rest_.clear();
    return true;
}

Result<LogReader::State> LogReader::read(std::string* out) {
    if (finished_) return State::kFinished;
    std::string block(kReadBytes, '\0');
    const ssize_t got = ::pread(file_.get(), block.data(), block.size(), offset_);
    if (got < 0) return read_error(path_);
    if (got == 0) {
        SLUICE_TRY_ASSIGN(const bool more, reopen());
        return more ? State::kMore : State::kCaughtUp;
    }
    offset_ += got;
    std::string_view input(block.data(), static_cast<std::size_t>(got));
    while (!input.empty() && !finished_) {
        const std::size_t end = input.find('\n');
        if (end == std::string_view::npos) {
            rest_.append(input);
            if (rest_.size() > kMaxLineBytes) {
                line(rest_, out);
                in_long_line_ = true;
                rest_.clear();
            }
            break;
        }
        if (rest_.empty()) {
            line(input.substr(0, end), out);
        } else {
            rest_.append(input.substr(0, end));
            line(rest_, out);
            rest_.clear();
        }
        if (in_long_line_ && !at_line_start_) {
            emit("\n", out);
            at_line_start_ = true;
        }
        in_long_line_ = false;
        input.remove_prefix(end + 1);
    }
    return finished_ ? State::kFinished : State::kMore;
}

void LogReader::line(std::string_view text, std::string* out) {
    if (in_long_line_) {
        // A later part of a line without end has no prefix of its own.
        if (!in_excluded_line_) emit(text, out);
        return;
    }
    const auto parsed = parse_line(text);
    if (!parsed) return;
    in_excluded_line_ = parsed->is_stderr ? !options_.want_stderr : !options_.want_stdout;
    if (!in_excluded_line_ && options_.since_ns && at_line_start_) {
        const auto time = parse_time_ns(parsed->time);
        in_excluded_line_ = !time || *time < *options_.since_ns;
    }
    if (in_excluded_line_) return;
    const bool unfinished = parsed->partial || rest_.size() > kMaxLineBytes;
    if (options_.timestamps && at_line_start_) {
        emit(parsed->time, out);
        emit(" ", out);
    }
    emit(parsed->text, out);
    if (!unfinished) emit("\n", out);
    at_line_start_ = !unfinished;
}

void LogReader::emit(std::string_view text, std::string* out) {
    if (finished_) return;
    if (options_.limit_bytes) {
        const auto left = static_cast<std::size_t>(*options_.limit_bytes);
        const std::size_t size = std::min(left, text.size());
        out->append(text.substr(0, size));
        options_.limit_bytes = static_cast<std::int64_t>(left - size);
        finished_ = *options_.limit_bytes == 0;
        return;
    }
    out->append(text);
}

}  // namespace sluice::kubelet::logs
