// Reading of the arguments of `sluice explain`. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "dataplane/ebpf/inspect.h"

namespace sluice::cli {

struct Target {
    IpAddress address;
    std::uint16_t port = 0;  // 0: none given
};

// "10.0.0.1", "10.0.0.1:80", "fd00::1", "[fd00::1]", "[fd00::1]:80".
Result<Target> parse_target(const std::string& text);
// "tcp", "udp" or "sctp", in any case.
Result<Protocol> parse_protocol_argument(const std::string& text);

// "pod", "node", "outside"; empty: to be guessed by the source address.
Result<dataplane::Origin> parse_origin(const std::string& text);

}  // namespace sluice::cli
