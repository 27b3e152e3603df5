// Small blocking-socket helpers shared by the modes of testpeer.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "api/base/fd.h"
#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::testpeer {

struct Endpoint {
    sockaddr_storage storage{};
    socklen_t length = 0;
    [[nodiscard]] const sockaddr* raw() const {
        return reinterpret_cast<const sockaddr*>(&storage);  // NOLINT: the sockets API
    }
};

// v4_mapped: an IPv4 address as ::ffff:a.b.c.d in an IPv6 socket address.
Endpoint make_endpoint(const IpAddress& address, std::uint16_t port, bool v4_mapped = false);
// "10.0.0.1 40000", "fd00::1 40000"; IPv4-mapped addresses are shown as IPv4.
std::string describe(const sockaddr_storage& address);
IpAddress address_of(const sockaddr_storage& address);
std::uint16_t port_of(const sockaddr_storage& address);

// A socket bound to the wildcard (both families) or the given address, with SO_REUSEADDR.
Result<Fd> bound_socket(int type, std::uint16_t port);
void set_timeout(int fd, std::chrono::milliseconds timeout);

// Sorts samples and reads a percentile (0..100) from them; 0 for none.
double percentile(std::vector<double>& samples, double percent);

}  // namespace sluice::testpeer
