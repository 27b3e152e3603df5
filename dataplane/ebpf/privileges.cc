#include "dataplane/ebpf/privileges.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

namespace sluice::dataplane {

Result<void> check_privileges() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    if (syscall(SYS_capget, &header, data.data()) != 0) {
        return errno_error(errno, "cannot tell this process's capabilities");
    }
    const auto has = [&](unsigned capability) {
        return (data[capability / 32].effective >> capability % 32 & 1U) != 0;
    };
    if (has(CAP_SYS_ADMIN)) {
        return {};
    }
    std::string lacking;
    const auto require = [&](unsigned capability, const char* name) {
        if (!has(capability)) {
            lacking += (lacking.empty() ? "" : ", ") + std::string(name);
        }
    };
    require(CAP_BPF, "CAP_BPF");
    require(CAP_NET_ADMIN, "CAP_NET_ADMIN");
    require(CAP_PERFMON, "CAP_PERFMON");
    if (lacking.empty()) {
        return {};
    }
    return make_error(Code::kPermissionDenied,
                      "the eBPF engine must run as root, or with CAP_BPF, CAP_NET_ADMIN and "
                      "CAP_PERFMON; missing here: {}",
                      lacking);
}

}  // namespace sluice::dataplane
