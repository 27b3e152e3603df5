// Routes and neighbours as people write them on the command line, in the words of ip-route(8) and
// ip-neighbour(8).
#pragma once

#include <span>
#include <string_view>

#include "api/base/result.h"
#include "dataplane/dpdk/routing/forwarding.h"

namespace sluice::dpdk {

// "PREFIX|default [via ADDRESS] [dev INTERFACE] [metric NUMBER]", words in any order after the
// prefix. Without dev: the interface that has the gateway on its link; "default" is of the
// gateway's family. kInvalidArgument names the text.
Result<Route> parse_route(std::string_view text, std::span<const Interface> interfaces);

// "ADDRESS lladdr MAC dev INTERFACE"; dev may be left out if one interface alone has the address on
// its link.
Result<Neighbour> parse_neighbour(std::string_view text, std::span<const Interface> interfaces);

}  // namespace sluice::dpdk
