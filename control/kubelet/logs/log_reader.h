// Reads one container's log, piece by piece, in the form that `kubectl logs` prints. Follows the file across rotation:
// the runtime's new file of the same path is taken up when the old one has been read to its end.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/base/fd.h"
#include "api/base/result.h"

namespace sluice::kubelet::logs {

inline constexpr std::size_t kReadBytes = 64U << 10U;  // of the file at a time
// Longer lines of the file are passed on in parts of this size. Runtimes split at 16 KiB.
inline constexpr std::size_t kMaxLineBytes = 256U << 10U;

struct ReadOptions {
    std::optional<std::int64_t> tail_lines;   // whole lines, however many parts they were written in
    std::optional<std::int64_t> since_ns;     // Unix time; older lines are left out
    std::optional<std::int64_t> limit_bytes;  // of the output
    bool timestamps = false;
    bool want_stdout = true;
    bool want_stderr = true;
};

// Not thread-safe.
class LogReader {
public:
    enum class State {
        kMore,      // call again
        kCaughtUp,  // nothing more is there now
        kFinished,  // limit_bytes are reached
    };

    // kNotFound: there is no such file. REQUIRES: options that are not negative.
    static Result<LogReader> open(std::string path, const ReadOptions& options);

    // Appends what comes next, about kReadBytes. Reading again after kCaughtUp finds what was written since.
    Result<State> read(std::string* out);

    [[nodiscard]] const std::string& path() const { return path_; }

private:
    LogReader(std::string path, const ReadOptions& options, Fd file)
        : path_(std::move(path)), options_(options), file_(std::move(file)) {}
    Result<void> seek_tail();
    Result<bool> ends_whole_line(std::int64_t line_start, std::int64_t line_end) const;
    // True if another file has taken the path's place and reading goes on there.
    Result<bool> reopen();
    void line(std::string_view text, std::string* out);
    void emit(std::string_view text, std::string* out);

    std::string path_;
    ReadOptions options_;
    Fd file_;
    std::int64_t offset_ = 0;
    std::string rest_;         // of a line whose end has not been read yet
    bool in_long_line_ = false;
    bool at_line_start_ = true;  // of the output
    bool in_excluded_line_ = false;
    bool finished_ = false;
};

}  // namespace sluice::kubelet::logs
