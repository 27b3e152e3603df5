// Looking into values: fields, keys, indices. Private to cel/.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "control/cel/value.h"

namespace sluice::cel {

// operand.name; "no such key: name" if there is none. An optional is looked into, and the result is optional then.
Result<Value> select_field(const Value& operand, std::string_view name);
// operand.?name
Result<Value> select_optional(const Value& operand, std::string_view name);
// has(operand.name)
Result<bool> has_field(const Value& operand, std::string_view name);
// operand[index], "index out of bounds: 3" and "no such key: x"; optional: operand[?index].
Result<Value> index_value(const Value& operand, const Value& index, bool optional);

// A value as an error shows it.
[[nodiscard]] std::string shown(const Value& value);

}  // namespace sluice::cel
