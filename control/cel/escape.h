// How names of fields that are no identifiers are written in expressions: "x-y" is x__dash__y. Kubernetes,
// "Validation expression language": escaping of property names.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::cel {

// Nullopt: an expression cannot name such a field.
[[nodiscard]] std::optional<std::string> escape_name(std::string_view json_name);
// The inverse. Nullopt: no name is escaped so. A name that needs no escape is itself.
[[nodiscard]] std::optional<std::string> unescape_name(std::string_view name);

}  // namespace sluice::cel
