// Lines appended to a file by a thread of its own: callers never wait for the disk. The file is rotated by size; old
// ones go by age and number, named as kube-apiserver names them (audit-2006-01-02T15-04-05.000.log).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "api/base/result.h"

namespace sluice::audit {

// Lines that wait for the disk; further ones are dropped and counted.
inline constexpr std::size_t kMaxBufferedBytes = 16U << 20U;
inline constexpr std::uint32_t kDefaultMaxMegabytes = 100;

struct LogOptions {
    std::string path;  // "-": standard output
    std::uint32_t max_megabytes = 0;  // 0: kDefaultMaxMegabytes
    std::uint32_t max_age_days = 0;   // 0: for ever
    std::uint32_t max_backups = 0;    // 0: all
};

struct LogStats {
    std::uint64_t written = 0;  // lines
    std::uint64_t dropped = 0;  // lines that found the buffer full
    std::uint64_t failed = 0;   // lines that the disk refused
    std::uint64_t rotations = 0;
};

// Thread-safe.
class LogFile {
public:
    static Result<std::unique_ptr<LogFile>> open(const LogOptions& options);
    // Writes what is buffered.
    ~LogFile();
    LogFile(const LogFile&) = delete;
    LogFile& operator=(const LogFile&) = delete;

    // A whole line with its newline. False if it was dropped.
    bool append(std::string_view line);
    // Waits until what was appended before is written or refused.
    void flush();
    [[nodiscard]] LogStats stats() const;

private:
    LogFile(LogOptions options, int fd, std::uint64_t size);
    void run();
    void write(const std::string& lines, std::uint64_t count);
    void rotate();
    void remove_old() const;

    const LogOptions options_;
    const std::uint64_t max_bytes_;
    int fd_;              // the writing thread's
    std::uint64_t size_;  // of the file
    std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable idle_;
    std::string buffer_;
    std::uint64_t lines_ = 0;  // in buffer_
    bool busy_ = false;
    bool stopping_ = false;
    std::atomic<std::uint64_t> written_{0};
    std::atomic<std::uint64_t> dropped_{0};
    std::atomic<std::uint64_t> failed_{0};
    std::atomic<std::uint64_t> rotations_{0};
    std::thread thread_;
};

}  // namespace sluice::audit
