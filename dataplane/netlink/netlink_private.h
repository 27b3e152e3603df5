// What the files of this folder share of libnl: a route socket and its errors.
#pragma once

#include <netlink/addr.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <memory>
#include <string_view>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::netlink {

struct SocketDeleter {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using Socket = std::unique_ptr<nl_sock, SocketDeleter>;

// libnl's errors are its own numbers; the sentence carries its text.
[[nodiscard]] Error netlink_error(int status, std::string_view what);
Result<Socket> open_route_socket();
// All zero for a family that is neither.
[[nodiscard]] IpAddress to_address(nl_addr* address);

}  // namespace sluice::netlink
