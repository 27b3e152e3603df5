// Values of fields: from JSON, from a flag's text, and back. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/config/config.h"
#include "api/base/result.h"

namespace boost::json {
class value;
}

namespace sluice::config {

// Where a field's value is kept.
using Slot = std::variant<bool*, std::optional<bool>*, std::int32_t*, std::uint32_t*,
                          std::optional<std::int32_t>*, double*, std::string*,
                          std::vector<std::string>*, Duration*, std::optional<Duration>*,
                          FeatureGates*, FlushFrequency*, QuantityText*, VerbosityRules*>;

// Go's durations: "1h30m", "250ms", "-1.5s", "0".
Result<Duration> parse_duration(std::string_view text);
[[nodiscard]] std::string format_duration(Duration duration);

// null leaves the slot as it is, as it does in Go. Errors say what was expected, not where.
Result<void> from_json(const boost::json::value& value, const Slot& slot);
[[nodiscard]] boost::json::value to_json(const Slot& slot);

// One occurrence of a flag; lists and maps grow with each. REQUIRES: the caller empties them before the first.
Result<void> from_text(std::string_view text, const Slot& slot);
[[nodiscard]] bool is_bool(const Slot& slot);
// A word for help texts: "DURATION", "LIST".
[[nodiscard]] const char* kind_name(const Slot& slot);
// Back to what it was before anything was read.
void reset(const Slot& slot);
// Whether it is as reset() leaves it.
[[nodiscard]] bool is_empty(const Slot& slot);

}  // namespace sluice::config
