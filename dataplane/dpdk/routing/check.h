// What is demanded of interfaces, routes and neighbours before a snapshot is made of them.
#pragma once

#include <span>

#include "api/base/result.h"
#include "dataplane/dpdk/routing/forwarding.h"

namespace sluice::dpdk {

// DPDK's port numbers are small; an interface with a larger one is a mistake.
inline constexpr std::size_t kMaxPortNumbers = 1024;
inline constexpr std::uint16_t kMaxVlan = 4094;
inline constexpr std::uint16_t kLeastMtu = 68;     // RFC 791
inline constexpr std::uint16_t kLeastMtu6 = 1280;  // RFC 8200, section 5
// Of all interfaces together.
inline constexpr std::size_t kMaxAddresses = 16'384;

// kInvalidArgument, kResourceExhausted: name what is wrong, by the interface's name and the field.
Result<void> check_interfaces(std::span<const Interface> interfaces);
Result<void> check_route(const Route& route, std::span<const Interface> interfaces);
// A free place is in order.
Result<void> check_neighbour(const Neighbour& neighbour, std::span<const Interface> interfaces);

// Neither of all ones, of a group, nor of zeros.
[[nodiscard]] bool is_station(const Mac& mac);
[[nodiscard]] std::string mac_text(const Mac& mac);
// "02:00:00:00:00:01"; kInvalidArgument.
Result<Mac> parse_mac(std::string_view text);
// The prefix that an interface's address is in.
[[nodiscard]] IpPrefix prefix_of(const InterfaceAddress& address);

}  // namespace sluice::dpdk
