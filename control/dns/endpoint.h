// Addresses with ports, as flags and resolv.conf name them, and as sockets want them.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/fd.h"
#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::dns {

inline constexpr std::uint16_t kDnsPort = 53;
inline constexpr std::size_t kMaxListeners = 8;
inline constexpr std::size_t kMaxUpstreams = 8;

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;
    std::string zone;  // the interface of a link-local IPv6 address, by name or number

    [[nodiscard]] std::string to_string() const;
    auto operator<=>(const Endpoint&) const = default;
};

// "ADDRESS:PORT" or "[ADDRESS]:PORT"; with a default port also "ADDRESS". flag names what was being
// read.
Result<Endpoint> parse_endpoint(std::string_view flag, std::string_view text,
                                std::uint16_t default_port = 0);
// Several, separated by commas, at most `limit`, none twice (but for port 0).
Result<std::vector<Endpoint>> parse_endpoints(std::string_view flag, std::string_view text,
                                              std::size_t limit, std::uint16_t default_port = 0);

// The name servers of a resolv.conf: the first three that can be used, as resolvers do it; lines
// that cannot be read are passed over.
[[nodiscard]] std::vector<Endpoint> parse_resolv_conf(std::string_view text);

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
};
// kNotFound if the zone names no interface.
Result<SocketAddress> to_socket_address(const Endpoint& endpoint);
[[nodiscard]] Endpoint from_socket_address(const sockaddr_storage& storage);

}  // namespace sluice::dns
