// See netns.h.
#include "dataplane/ebpf/netns.h"

#include <sys/socket.h>

#include <cerrno>

#include "api/base/fd.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace sluice::dataplane {

Result<std::uint64_t> netns_cookie() {
    const Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    std::uint64_t cookie = 0;
    socklen_t length = sizeof(cookie);
    if (!any || getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) {
        return errno_error(errno, "cannot tell the cookie of this network namespace (Linux 5.14)");
    }
    return cookie;
}

}  // namespace sluice::dataplane
