// IP addresses, prefixes and L4 protocols as values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice {

enum class IpFamily : std::uint8_t { kIpv4 = 4, kIpv6 = 6 };

// IANA protocol numbers.
enum class Protocol : std::uint8_t { kTcp = 6, kUdp = 17, kSctp = 132 };

// "TCP", "UDP", "SCTP", as Kubernetes writes them.
[[nodiscard]] std::string_view protocol_name(Protocol protocol);
Result<Protocol> parse_protocol(std::string_view name);

// 16 bytes in network order; an IPv4 address stands as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2).
// Default: the IPv6 unspecified address.
struct IpAddress {
    std::array<std::uint8_t, 16> bytes{};

    // Dotted IPv4 or IPv6 text. Refuses leading zeros in IPv4 octets, zones and white space.
    static Result<IpAddress> parse(std::string_view text);
    // As kube-proxy reads endpoint and service addresses: leading zeros are decimal, not an error.
    static Result<IpAddress> parse_sloppy(std::string_view text);
    // v4_be: the address as it lies in a packet, read as an integer without swapping.
    static IpAddress from_v4_be(std::uint32_t v4_be);
    static IpAddress from_v6(const std::array<std::uint8_t, 16>& bytes) { return {bytes}; }

    [[nodiscard]] bool is_v4() const;
    [[nodiscard]] IpFamily family() const { return is_v4() ? IpFamily::kIpv4 : IpFamily::kIpv6; }
    // REQUIRES: is_v4(). Network byte order.
    [[nodiscard]] std::uint32_t v4_be() const;
    [[nodiscard]] bool is_unspecified() const;  // 0.0.0.0 or ::
    [[nodiscard]] bool is_loopback() const;     // 127.0.0.0/8 or ::1
    [[nodiscard]] bool is_link_local() const;   // 169.254.0.0/16 or fe80::/10
    [[nodiscard]] bool is_multicast() const;
    // Canonical text (RFC 5952 for IPv6).
    [[nodiscard]] std::string to_string() const;

    auto operator<=>(const IpAddress&) const = default;
};

// An address range; bits counts within the family (0..32 or 0..128). Host bits are zero.
struct IpPrefix {
    IpAddress address;
    std::uint8_t bits = 0;

    // "10.0.0.0/8"; host bits must be zero unless allow_host_bits, then they are cleared.
    static Result<IpPrefix> parse(std::string_view text, bool allow_host_bits = false);
    [[nodiscard]] IpFamily family() const { return address.family(); }
    [[nodiscard]] bool contains(const IpAddress& other) const;
    [[nodiscard]] std::string to_string() const;

    auto operator<=>(const IpPrefix&) const = default;
};

}  // namespace sluice

template <>
struct std::hash<sluice::IpAddress> {
    std::size_t operator()(const sluice::IpAddress& address) const noexcept;
};
