#include "api/base/host_port.h"

#include <fmt/format.h>

namespace sluice {

std::string host_and_port(std::string_view host, std::int64_t port) {
    const bool bare_v6 = host.find(':') != std::string_view::npos && host.front() != '[';
    return bare_v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

std::string host_and_port(const IpAddress& address, std::int64_t port) {
    return host_and_port(address.to_string(), port);
}

}  // namespace sluice
