// The interfaces of the engine: a DPDK port, or a VLAN on one.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "dataplane/dpdk/pipeline/frame.h"

namespace sluice::dpdk {

using Mac = std::array<std::uint8_t, 6>;

inline constexpr std::size_t kMaxInterfaces = 256;

struct InterfaceAddress {
    IpAddress address;
    std::uint8_t prefix_length = 0;
    auto operator<=>(const InterfaceAddress&) const = default;
};

struct Interface {
    std::string name;        // as given by the user, or the port's own
    std::uint16_t port = 0;  // DPDK port id
    std::uint16_t vlan = 0;  // VLAN id, host order; 0: frames without a tag, and priority tags
    Place place = Place::kUplink;
    Mac mac{};
    std::uint16_t mtu = 1500;  // of IP packets
    std::vector<InterfaceAddress> addresses;
    // ARP and ND are answered here also for external and load-balancer addresses of the image that
    // lie in a prefix of `addresses`. ClusterIPs are never answered for.
    bool announce = true;
};

}  // namespace sluice::dpdk
