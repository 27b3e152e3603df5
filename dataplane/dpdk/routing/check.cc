// See check.h.
#include "dataplane/dpdk/routing/check.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <string>
#include <utility>

namespace sluice::dpdk {
namespace {

unsigned family_bits(const IpAddress& address) {
    return address.is_v4() ? 32 : 128;
}

bool is_host(const IpAddress& address) {
    return !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() &&
           !(address.is_v4() && address.bytes[12] == 255);
}

Result<void> check_addresses(const Interface& interface) {
    std::set<IpAddress> seen;
    for (const InterfaceAddress& own : interface.addresses) {
        if (!is_host(own.address)) {
            return make_error(Code::kInvalidArgument, "interface {}: {} cannot be a host's address",
                              interface.name, own.address.to_string());
        }
        if (own.prefix_length > family_bits(own.address)) {
            return make_error(Code::kInvalidArgument,
                              "interface {}: prefix length {} of {} is more than {}",
                              interface.name, own.prefix_length, own.address.to_string(),
                              family_bits(own.address));
        }
        if (!own.address.is_v4() && interface.mtu < kLeastMtu6) {
            return make_error(Code::kInvalidArgument,
                              "interface {}: MTU {} is less than the {} that IPv6 needs for {}",
                              interface.name, interface.mtu, kLeastMtu6, own.address.to_string());
        }
        if (!seen.insert(own.address).second) {
            return make_error(Code::kInvalidArgument, "interface {}: address {} is listed twice",
                              interface.name, own.address.to_string());
        }
    }
    return {};
}

}  // namespace

bool is_station(const Mac& mac) {
    return (mac[0] & 1U) == 0 &&
           std::any_of(mac.begin(), mac.end(), [](std::uint8_t byte) { return byte != 0; });
}

std::string mac_text(const Mac& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                       mac[4], mac[5]);
}

Result<Mac> parse_mac(std::string_view text) {
    Mac out{};
    const auto bad = [&] {
        return make_error(Code::kInvalidArgument, "\"{}\" is not a MAC address", text);
    };
    if (text.size() != 17) return bad();
    for (std::size_t i = 0; i < out.size(); ++i) {
        const char* const from = text.data() + i * 3;
        const auto read = std::from_chars(from, from + 2, out[i], 16);
        if (read.ec != std::errc{} || read.ptr != from + 2) return bad();
        if (i + 1 < out.size() && from[2] != ':') return bad();
    }
    return out;
}

IpPrefix prefix_of(const InterfaceAddress& address) {
    IpPrefix out{address.address, address.prefix_length};
    const std::size_t kept = address.prefix_length + (address.address.is_v4() ? 96U : 0U);
    for (std::size_t i = 0; i < out.address.bytes.size(); ++i) {
        const std::size_t bits = kept > i * 8 ? std::min<std::size_t>(kept - i * 8, 8) : 0;
        out.address.bytes[i] = static_cast<std::uint8_t>(out.address.bytes[i] & (0xff00U >> bits));
    }
    return out;
}

Result<void> check_interfaces(std::span<const Interface> interfaces) {
    if (interfaces.size() > kMaxInterfaces) {
        return make_error(Code::kResourceExhausted, "{} interfaces are more than {}",
                          interfaces.size(), kMaxInterfaces);
    }
    std::set<std::string_view> names;
    std::set<std::pair<std::uint16_t, std::uint16_t>> places;
    std::size_t addresses = 0;
    for (const Interface& interface : interfaces) {
        if (interface.name.empty()) {
            return make_error(Code::kInvalidArgument, "the interface on port {} has no name",
                              interface.port);
        }
        if (!names.insert(interface.name).second) {
            return make_error(Code::kInvalidArgument, "two interfaces are called {}",
                              interface.name);
        }
        if (interface.port >= kMaxPortNumbers) {
            return make_error(Code::kInvalidArgument, "interface {}: port {} is not below {}",
                              interface.name, interface.port, kMaxPortNumbers);
        }
        if (interface.vlan > kMaxVlan) {
            return make_error(Code::kInvalidArgument, "interface {}: VLAN {} is more than {}",
                              interface.name, interface.vlan, kMaxVlan);
        }
        if (!places.emplace(interface.port, interface.vlan).second) {
            return make_error(Code::kInvalidArgument,
                              "interface {}: port {} has another interface for VLAN {}",
                              interface.name, interface.port, interface.vlan);
        }
        if (!is_station(interface.mac)) {
            return make_error(Code::kInvalidArgument,
                              "interface {}: {} cannot be a station's MAC address", interface.name,
                              mac_text(interface.mac));
        }
        if (interface.mtu < kLeastMtu) {
            return make_error(Code::kInvalidArgument, "interface {}: MTU {} is less than {}",
                              interface.name, interface.mtu, kLeastMtu);
        }
        SLUICE_TRY(check_addresses(interface));
        addresses += interface.addresses.size();
    }
    if (addresses > kMaxAddresses) {
        return make_error(Code::kResourceExhausted,
                          "the interfaces have {} addresses, more than {}", addresses,
                          kMaxAddresses);
    }
    return {};
}

Result<void> check_route(const Route& route, std::span<const Interface> interfaces) {
    const auto bad = [&](std::string what) {
        return make_error(Code::kInvalidArgument, "route {}: {}", route.prefix.to_string(), what);
    };
    if (route.prefix.bits > family_bits(route.prefix.address)) {
        return bad(fmt::format("prefix length is more than {}", family_bits(route.prefix.address)));
    }
    if (prefix_of({route.prefix.address, route.prefix.bits}) != route.prefix) {
        return bad("the address has bits beyond the prefix");
    }
    if (route.prefix.bits != 0 && !route.prefix.address.is_v4() &&
        route.prefix.address.is_link_local()) {
        return bad("link-local addresses are not forwarded to");
    }
    if (route.prefix.bits != 0 &&
        (route.prefix.address.is_multicast() || route.prefix.address.is_loopback())) {
        return bad("multicast and loopback addresses are not forwarded to");
    }
    if (route.interface == kToKernel) {
        if (!route.gateway.is_unspecified())
            return bad("what the kernel takes has no gateway here");
        return {};
    }
    if (route.interface >= interfaces.size()) {
        return bad(fmt::format("interface {} is none of {}", route.interface, interfaces.size()));
    }
    // 0.0.0.0 says "on the link" for IPv4 as :: does for both.
    if (route.gateway.is_unspecified()) return {};
    if (route.gateway.is_v4() != route.prefix.address.is_v4()) {
        return bad(fmt::format("gateway {} is of the other family", route.gateway.to_string()));
    }
    if (!is_host(route.gateway)) {
        return bad(fmt::format("gateway {} cannot be a host's address", route.gateway.to_string()));
    }
    for (const InterfaceAddress& own : interfaces[route.interface].addresses) {
        if (own.address == route.gateway) {
            return bad(fmt::format("gateway {} is interface {}'s own address",
                                   route.gateway.to_string(), interfaces[route.interface].name));
        }
    }
    return {};
}

Result<void> check_neighbour(const Neighbour& neighbour, std::span<const Interface> interfaces) {
    const auto bad = [&](std::string what) {
        return make_error(Code::kInvalidArgument, "neighbour {}: {}", neighbour.address.to_string(),
                          what);
    };
    if (neighbour.address.is_unspecified()) return {};
    if (neighbour.interface >= interfaces.size()) {
        return bad(
            fmt::format("interface {} is none of {}", neighbour.interface, interfaces.size()));
    }
    if (!is_host(neighbour.address)) return bad("cannot be a host's address");
    if (neighbour.resolved && !is_station(neighbour.mac)) {
        return bad(fmt::format("{} cannot be a station's MAC address", mac_text(neighbour.mac)));
    }
    return {};
}

}  // namespace sluice::dpdk
