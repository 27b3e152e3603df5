#include "dataplane/ebpf/own_addresses.h"

#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>

#include "dataplane/image/frontends.h"

namespace sluice::dataplane {

std::vector<IpAddress> own_addresses() {
    std::vector<IpAddress> out;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) return out;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr) continue;
        if (entry->ifa_addr->sa_family == AF_INET) {
            const auto* v4 = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
            out.push_back(IpAddress::from_v4_be(v4->sin_addr.s_addr));
        } else if (entry->ifa_addr->sa_family == AF_INET6) {
            const auto* v6 = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr);
            sluice_address address{};
            std::copy_n(v6->sin6_addr.s6_addr32, 4, address.word_be);
            out.push_back(image::address_of(address));
        }
    }
    freeifaddrs(list);
    return out;
}

}  // namespace sluice::dataplane
