// The addresses of all devices of this network namespace.
#pragma once

#include <vector>

#include "api/base/ip_address.h"

namespace sluice::dataplane {

std::vector<IpAddress> own_addresses();

}  // namespace sluice::dataplane
