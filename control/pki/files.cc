#include "control/pki/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "api/base/fd.h"
#include "api/base/log.h"

namespace sluice::pki {
namespace {

constexpr std::string_view kComponent = "pki";
constexpr mode_t kOwnerOnly = 0600;

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> write_all(int fd, std::string_view text, const std::string& path) {
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno_error(errno, "cannot write {}: {}", path, std::strerror(errno));
        }
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fsync(fd) != 0) {
        return errno_error(errno, "cannot sync {}: {}", path, std::strerror(errno));
    }
    return {};
}

}  // namespace

Result<std::optional<std::string>> read_secret(const std::string& path) {
    // O_NONBLOCK: opening a FIFO put in the file's place must not hang the start.
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) {
        if (errno == ENOENT) return std::optional<std::string>{};
        return errno_error(errno, "cannot open {}: {}", path, std::strerror(errno));
    }
    struct stat facts {};
    if (::fstat(file.get(), &facts) != 0) {
        return errno_error(errno, "cannot examine {}: {}", path, std::strerror(errno));
    }
    if (!S_ISREG(facts.st_mode)) {
        return make_error(Code::kFailedPrecondition, "{} is not a regular file", path);
    }
    if (static_cast<std::size_t>(facts.st_size) > kMaxFileBytes) {
        return make_error(Code::kFailedPrecondition, "{} is larger than {} bytes", path,
                          kMaxFileBytes);
    }
    if ((facts.st_mode & 077U) != 0) {
        log::warn(kComponent, "{} could be read by others; its mode is now 0600", path);
        if (::fchmod(file.get(), kOwnerOnly) != 0) {
            return errno_error(errno, "cannot protect {}: {}", path, std::strerror(errno));
        }
    }
    std::string text(static_cast<std::size_t>(facts.st_size), '\0');
    std::size_t have = 0;
    while (have < text.size()) {
        const ssize_t n = ::read(file.get(), text.data() + have, text.size() - have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno_error(errno, "cannot read {}: {}", path, std::strerror(errno));
        if (n == 0) break;
        have += static_cast<std::size_t>(n);
    }
    text.resize(have);
    return std::optional<std::string>(std::move(text));
}

Result<void> write_secret(const std::string& path, std::string_view text) {
    std::string temporary = path + ".XXXXXX";  // mkostemp makes it 0600
    const Fd file(::mkostemp(temporary.data(), O_CLOEXEC));
    if (file.get() < 0) {
        return errno_error(errno, "cannot make a file beside {}: {}", path, std::strerror(errno));
    }
    Result<void> done = write_all(file.get(), text, temporary);
    if (done && ::rename(temporary.c_str(), path.c_str()) != 0) {
        done = errno_error(errno, "cannot put {} in place: {}", path, std::strerror(errno));
    }
    if (!done) {
        ::unlink(temporary.c_str());
        return done;
    }
    const Fd directory(
        ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.get() < 0 || ::fsync(directory.get()) != 0) {
        return errno_error(errno, "cannot sync the directory of {}: {}", path,
                           std::strerror(errno));
    }
    return {};
}

Result<void> make_private_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0700) == 0) return {};
    const int error = errno;
    struct stat facts {};
    if (error == EEXIST && ::stat(path.c_str(), &facts) == 0) {
        if (S_ISDIR(facts.st_mode)) return {};
        return make_error(Code::kFailedPrecondition, "{} is not a directory", path);
    }
    return errno_error(error, "cannot make the directory {}: {}", path, std::strerror(error));
}

}  // namespace sluice::pki
