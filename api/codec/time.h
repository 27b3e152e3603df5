// Kubernetes' times and durations as text: metav1.Time (RFC 3339, whole seconds), metav1.MicroTime
// (RFC 3339 with exactly six digits) and metav1.Duration (Go's "1h2m3.5s"). Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::codec {

// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted, and 0..999'999'999 nanoseconds.
struct Timestamp {
    std::int64_t seconds = 0;
    std::int32_t nanos = 0;
    auto operator<=>(const Timestamp&) const = default;
};

// Years 1 to 9999: the range that RFC 3339 can write and Go's zero time starts.
inline constexpr std::int64_t kMinTimeSeconds = -62'135'596'800;
inline constexpr std::int64_t kMaxTimeSeconds = 253'402'300'799;

// "2006-01-02T15:04:05Z", a fraction of any length and an offset allowed. Errors are Go's.
Result<Timestamp> parse_time(std::string_view text);
// The same with exactly six digits of fraction.
Result<Timestamp> parse_micro_time(std::string_view text);

// REQUIRES: kMinTimeSeconds <= seconds <= kMaxTimeSeconds. UTC.
[[nodiscard]] std::string format_time(std::int64_t seconds);
// REQUIRES: the same, and nanos in range; what is below a microsecond is cut off.
[[nodiscard]] std::string format_micro_time(Timestamp time);

// "1h2m3.5s", "-1.5h", "250ms", "0"; units ns, us, ms, s, m, h.
Result<std::int64_t> parse_duration_ns(std::string_view text);
// "1h2m3.5s", "1.5ms", "0s".
[[nodiscard]] std::string format_duration_ns(std::int64_t duration_ns);

}  // namespace sluice::codec
