// Timestamps and durations. Private to cel/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

// Errors: "timestamp overflow", "duration overflow".
Result<Value> add_durations(CallContext& context, std::span<const Value> args);
Result<Value> subtract_durations(CallContext& context, std::span<const Value> args);
// One argument is the timestamp, the other the duration.
Result<Value> add_to_timestamp(CallContext& context, std::span<const Value> args);
Result<Value> subtract_from_timestamp(CallContext& context, std::span<const Value> args);
Result<Value> subtract_timestamps(CallContext& context, std::span<const Value> args);

// RFC 3339, a fraction of up to nine digits.
Result<Timestamp> parse_timestamp(std::string_view text);
Result<Duration> parse_duration(std::string_view text);
// "2009-02-13T23:31:30.5Z": no more digits than needed.
[[nodiscard]] std::string timestamp_text(Timestamp timestamp);
// Seconds, "3600s", "0.5s".
[[nodiscard]] std::string duration_text(Duration duration);
// Whether RFC 3339 can write it: years 1 to 9999.
[[nodiscard]] bool in_range(std::int64_t seconds);

// Seconds that local time is ahead of UTC at that moment. zone: "UTC", "America/New_York", "+02:00", "-01:30",
// "02:00". An error for a zone that nobody knows.
Result<std::int32_t> zone_offset(std::string_view zone, std::int64_t seconds);

}  // namespace sluice::cel
