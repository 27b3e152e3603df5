#include "control/kubelet/volumes/host_path_private.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "control/kubelet/volumes/files_private.h"

namespace sluice::kubelet {
namespace {

struct Type {
    std::string_view name;
    mode_t format;
    std::string_view words;
};
constexpr std::array<Type, 7> kTypes{{{"DirectoryOrCreate", S_IFDIR, "directory"},
                                      {"Directory", S_IFDIR, "directory"},
                                      {"FileOrCreate", S_IFREG, "file"},
                                      {"File", S_IFREG, "file"},
                                      {"Socket", S_IFSOCK, "socket file"},
                                      {"CharDevice", S_IFCHR, "character device"},
                                      {"BlockDevice", S_IFBLK, "block device"}}};

Result<void> make_file(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0644));
    if (!file) return errno_error(errno, "cannot make the file {}", path);
    return {};
}

}  // namespace

Result<void> prepare_host_path(const std::string& path, const std::string& type) {
    if (path.empty() || path.front() != '/') {
        return make_error(Code::kInvalidArgument, "hostPath \"{}\" is not an absolute path", path);
    }
    if (path.find_first_not_of('/') != std::string::npos) {
        SLUICE_TRY(check_relative(path.substr(path.find_first_not_of('/')), "hostPath"));
    }
    if (type.empty()) return {};
    const Type* wanted = nullptr;
    for (const Type& known : kTypes) {
        if (known.name == type) wanted = &known;
    }
    if (wanted == nullptr) {
        return make_error(Code::kInvalidArgument, "{} is an invalid volume type", type);
    }
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        if (errno != ENOENT) return errno_error(errno, "cannot stat hostPath {}", path);
        if (type == "DirectoryOrCreate") return make_directories(path, 0755);
        if (type == "FileOrCreate") return make_file(path);
        info.st_mode = 0;  // what is not there is not of the type either
    }
    if ((info.st_mode & S_IFMT) != wanted->format) {
        return make_error(Code::kFailedPrecondition, "hostPath type check failed: {} is not a {}",
                          path, wanted->words);
    }
    return {};
}

}  // namespace sluice::kubelet
