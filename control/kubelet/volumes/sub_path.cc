#include "control/kubelet/volumes/sub_path_private.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>

#include "control/kubelet/volumes/files_private.h"

namespace sluice::kubelet {

Result<void> bind_sub_path(const std::string& volume, const std::string& sub_path,
                           const std::string& target) {
    SLUICE_TRY(check_relative(sub_path, "subPath"));
    struct stat of_volume {};
    if (::stat(volume.c_str(), &of_volume) != 0) return errno_error(errno, "cannot stat {}", volume);
    if (!S_ISDIR(of_volume.st_mode)) {
        return make_error(Code::kFailedPrecondition, "{} is not a directory, so it has no subPath",
                          volume);
    }
    // New directories are as open as the volume is.
    SLUICE_TRY_ASSIGN(const Fd source, open_beneath(volume, sub_path, of_volume.st_mode & 07777U));
    struct stat wanted {};
    if (::fstat(source.get(), &wanted) != 0) return errno_error(errno, "cannot stat {}", sub_path);

    struct stat there {};
    if (::lstat(target.c_str(), &there) == 0) {
        const bool same = there.st_dev == wanted.st_dev && there.st_ino == wanted.st_ino;
        if (same) return {};
        while (::umount2(target.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) == 0) {
        }
        SLUICE_TRY(remove_tree(target));
    }
    SLUICE_TRY(make_directories(target.substr(0, target.rfind('/')), 0750));
    if (S_ISDIR(wanted.st_mode)) {
        SLUICE_TRY(make_directories(target, 0750));
    } else {
        const Fd file(::open(target.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640));
        if (!file) return errno_error(errno, "cannot create {}", target);
    }
    const std::string opened = fmt::format("/proc/self/fd/{}", source.get());
    if (::mount(opened.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) {
        return errno_error(errno, "cannot bind \"{}\" of {} to {}", sub_path, volume, target);
    }
    return {};
}

}  // namespace sluice::kubelet
