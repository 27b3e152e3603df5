// See sockets.h.
#include "tests/tools/sockets.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

namespace sluice::testpeer {

Endpoint make_endpoint(const IpAddress& address, std::uint16_t port, bool v4_mapped) {
    Endpoint endpoint;
    if (address.is_v4() && !v4_mapped) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        v4.sin_addr.s_addr = address.v4_be();
        std::memcpy(&endpoint.storage, &v4, sizeof v4);
        endpoint.length = sizeof v4;
    } else {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        std::memcpy(&v6.sin6_addr, address.bytes.data(), 16);
        std::memcpy(&endpoint.storage, &v6, sizeof v6);
        endpoint.length = sizeof v6;
    }
    return endpoint;
}

IpAddress address_of(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &address, sizeof v4);
        return IpAddress::from_v4_be(v4.sin_addr.s_addr);
    }
    IpAddress result;
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof v6);
    std::memcpy(result.bytes.data(), &v6.sin6_addr, 16);
    return result;
}

std::uint16_t port_of(const sockaddr_storage& address) {
    sockaddr_in6 v6{};  // the port lies at the same place in both families
    std::memcpy(&v6, &address, sizeof v6);
    return ntohs(v6.sin6_port);
}

std::string describe(const sockaddr_storage& address) {
    return fmt::format("{} {}", address_of(address).to_string(), port_of(address));
}

Result<Fd> bound_socket(int type, std::uint16_t port) {
    Fd fd(::socket(AF_INET6, type | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) return errno_error(errno, "socket");
    const int on = 1;
    const int off = 0;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    const Endpoint any = make_endpoint(IpAddress{}, port);
    if (::bind(fd.get(), any.raw(), any.length) != 0) {
        return errno_error(errno, "bind port {}", port);
    }
    return fd;
}

void set_timeout(int fd, std::chrono::milliseconds timeout) {
    timeval value{};
    value.tv_sec = timeout.count() / 1000;
    value.tv_usec = (timeout.count() % 1000) * 1000;
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof value);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value);
}

double percentile(std::vector<double>& samples, double percent) {
    if (samples.empty()) return 0;
    std::sort(samples.begin(), samples.end());
    const double rank = std::ceil(percent / 100.0 * static_cast<double>(samples.size()));
    const auto index = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
    return samples[std::min(index, samples.size() - 1)];
}

}  // namespace sluice::testpeer
