// "HOST:PORT" as URLs, flags and logs have it: an IPv6 address stands in brackets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/ip_address.h"

namespace sluice {

// host: a name or an address, of IPv6 with its zone perhaps; one that has its brackets already keeps them.
[[nodiscard]] std::string host_and_port(std::string_view host, std::int64_t port);
[[nodiscard]] std::string host_and_port(const IpAddress& address, std::int64_t port);

}  // namespace sluice
