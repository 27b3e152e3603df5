// What the machine says about itself.
#pragma once

#include <string>

#include "api/base/ip_address.h"

namespace sluice::control {

[[nodiscard]] std::string host_name();

// The address under which clients on other machines find a server that listens on `listen`: that one or, if
// it is unspecified, the first global address of its family on an interface that is up, or else loopback.
[[nodiscard]] IpAddress advertised_address(const IpAddress& listen);

// Raises the soft limit of open files to the hard one: each connection is a file.
void raise_open_files_limit();

}  // namespace sluice::control
