// Named formats of Kubernetes ("dns1123Label", "uuid"). Private to cel/.
#pragma once

#include <cstdint>
#include <string_view>

#include "control/cel/value.h"

namespace sluice::cel {

[[nodiscard]] bool is_dns_label(std::string_view text);
[[nodiscard]] bool is_dns_subdomain(std::string_view text);
// For costs: how long an expression the format has. 1 of a value that is no format.
[[nodiscard]] std::uint64_t format_regex_size(const Value& value);

}  // namespace sluice::cel
