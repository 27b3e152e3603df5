// What tests and benchmarks of this folder share: short ways to write interfaces, routes and
// frames.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "dataplane/dpdk/routing/check.h"
#include "dataplane/dpdk/routing/forwarding.h"

namespace sluice::dpdk {

inline IpAddress address(const std::string& text) {
    return IpAddress::parse(text).value();
}

inline sluice_address words(const IpAddress& of) {
    sluice_address out{};
    std::memcpy(out.word_be, of.bytes.data(), sizeof out.word_be);
    return out;
}
inline sluice_address words(const std::string& text) {
    return words(address(text));
}

inline Mac mac(const std::string& text) {
    return parse_mac(text).value();
}

inline Interface make_interface(const std::string& name, std::uint16_t port, std::uint16_t vlan,
                                const std::string& mac_address,
                                const std::vector<std::string>& addresses,
                                std::uint16_t mtu = 1500) {
    Interface out;
    out.name = name;
    out.port = port;
    out.vlan = vlan;
    out.mac = mac(mac_address);
    out.mtu = mtu;
    for (const std::string& text : addresses) {
        const std::size_t slash = text.find('/');
        out.addresses.push_back({address(text.substr(0, slash)),
                                 static_cast<std::uint8_t>(std::stoul(text.substr(slash + 1)))});
    }
    return out;
}

// gateway "": on the link.
inline Route route(const std::string& prefix, const std::string& gateway, std::uint16_t interface,
                   std::uint32_t metric = 0) {
    return {IpPrefix::parse(prefix).value(), gateway.empty() ? IpAddress{} : address(gateway),
            interface, metric};
}

// mac_address "": not resolved.
inline Neighbour neighbour(std::uint16_t interface, const std::string& of,
                           const std::string& mac_address) {
    return {interface, address(of), mac_address.empty() ? Mac{} : mac(mac_address),
            !mac_address.empty()};
}

inline const Hop& lookup(const Forwarding& forwarding, const std::string& text) {
    const IpAddress to = address(text);
    return forwarding.lookup(words(to), !to.is_v4());
}

inline std::string hex(std::span<const std::uint8_t> bytes) {
    std::string out;
    for (const std::uint8_t byte : bytes) out += fmt::format("{:02x}", byte);
    return out;
}

// "0806 0001" and the like; anything but hexadecimal digits is passed over.
inline std::vector<std::uint8_t> from_hex(const std::string& text) {
    std::vector<std::uint8_t> out;
    std::string digits;
    for (const char c : text) {
        if (std::isxdigit(static_cast<unsigned char>(c)) != 0) digits += c;
    }
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        out.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(i, 2), nullptr, 16)));
    }
    return out;
}

}  // namespace sluice::dpdk
