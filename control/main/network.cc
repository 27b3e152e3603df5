#include "control/main/network.h"

#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>

namespace sluice::control {
namespace {

std::optional<IpAddress> address_of(const sockaddr* address) {
    if (address == nullptr) return std::nullopt;
    if (address->sa_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, address, sizeof(v4));
        return IpAddress::from_v4_be(v4.sin_addr.s_addr);
    }
    if (address->sa_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, address, sizeof(v6));
        std::array<std::uint8_t, 16> bytes{};
        std::memcpy(bytes.data(), v6.sin6_addr.s6_addr, bytes.size());
        return IpAddress::from_v6(bytes);
    }
    return std::nullopt;
}

}  // namespace

std::string host_name() {
    std::array<char, HOST_NAME_MAX + 1> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0) return {};
    return name.data();
}

IpAddress advertised_address(const IpAddress& listen) {
    if (!listen.is_unspecified()) return listen;
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) == 0) {
        const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
        for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
            if ((entry->ifa_flags & IFF_UP) == 0) continue;
            const auto address = address_of(entry->ifa_addr);
            if (address && address->family() == listen.family() && !address->is_loopback() &&
                !address->is_link_local()) {
                return *address;
            }
        }
    }
    return *IpAddress::parse(listen.is_v4() ? "127.0.0.1" : "::1");
}

void raise_open_files_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    // Without it the server still works, with fewer connections.
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

}  // namespace sluice::control
