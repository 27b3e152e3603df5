// "%s".format([...]). Private to cel/.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/cel/meter_private.h"
#include "control/cel/value.h"

namespace sluice::cel {

// Digits that a clause may ask for; cel-go has no limit.
inline constexpr int kMaxPrecision = 1000;

Result<std::string> format_string(std::string_view format, const ListValue& args, Meter* meter);

// One clause of a format, "%.3f".
struct FormatClause {
    char verb = 's';
    int precision = -1;  // -1: none was given
    // Bytes from the percent sign to the verb, both included.
    std::size_t size = 0;
};

// Reads the clause at a percent sign that is not followed by another. Errors are cel-go's.
Result<FormatClause> parse_format_clause(std::string_view format, std::size_t at);
// What is said of an argument of a type that the clause does not take.
[[nodiscard]] std::string format_type_error(char verb, std::string_view type);

}  // namespace sluice::cel
