// Ends connected UDP sockets by sock_diag (INET_UDP_DIAG_DESTROY): their next call fails with ECONNABORTED, and a new
// connect() chooses anew. For sockets that a connect hook has sent to a backend that is gone: a datagram has
// no way to
// learn that nobody listens any more, and some clients never connect again by themselves. TCP sockets are
// never touched.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::sockets {

// More network namespaces than this are not visited; Outcome::skipped counts the rest.
inline constexpr std::size_t kMaxNamespaces = 4096;

// A socket and what it is connected to. Both must match, so that a socket that went elsewhere meanwhile is
// left alone.
struct Target {
    std::uint64_t cookie = 0;  // SO_COOKIE: unique on the machine while it runs
    IpAddress peer;
    std::uint16_t port = 0;
};

struct Outcome {
    std::size_t destroyed = 0;
    std::size_t missing = 0;     // targets that no namespace had (any more)
    std::size_t namespaces = 0;  // visited
    std::size_t skipped = 0;     // beyond the limit, or not to be entered
    std::size_t errors = 0;      // what the kernel refused
    std::string last_error;
};

// Visits the network namespace of every process (/proc/*/ns/net, each once) in a thread of its own, until all targets
// are found. Blocks; about 0.1 ms a namespace and 1 us a connected UDP socket. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
Outcome destroy_connected_udp(std::span<const Target> targets);

}  // namespace sluice::sockets
