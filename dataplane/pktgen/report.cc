#include "dataplane/pktgen/report.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace sluice::pktgen {

namespace {

Result<void> write_all(int fd, std::string_view text, const std::string& path) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            return errno_error(errno, "{} cannot be written", path);
        }
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

}  // namespace

double loss_share(const RunResult& run) {
    return run.sent == 0 ? 0 : static_cast<double>(run.lost) / static_cast<double>(run.sent);
}

Result<void> write_file(const std::string& path, std::string_view text) {
    if (path == "-") {
        return write_all(STDOUT_FILENO, text, "standard output");
    }
    // A pipe, a device or what a link leads to is written to; only a plain file is replaced.
    struct stat there{};
    const bool in_place = ::lstat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode);
    if (in_place) {
        const int fd = ::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
        if (fd < 0) {
            return errno_error(errno, "{} cannot be opened", path);
        }
        auto written = write_all(fd, text, path);
        ::close(fd);
        return written;
    }
    std::string beside = path + ".XXXXXX";
    const int fd = ::mkostemp(beside.data(), O_CLOEXEC);
    if (fd < 0) {
        return errno_error(errno, "{} cannot be created", path);
    }
    auto written = write_all(fd, text, path);
    // mkostemp() lets only the owner read; a report is nobody's secret.
    if (written && (::fchmod(fd, 0644) != 0 || ::rename(beside.c_str(), path.c_str()) != 0)) {
        written = errno_error(errno, "{} cannot be written", path);
    }
    ::close(fd);
    if (!written) {
        ::unlink(beside.c_str());
    }
    return written;
}

}  // namespace sluice::pktgen
