// Structured logging, the one header that the rest includes; spdlog stays behind log.cc.
// One line a record on standard error: time, level, component, message, then key=value pairs as the
// message holds them; or the same as one JSON object a line. Thread-safe.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "api/base/result.h"

namespace sluice::log {

enum class Level : int { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// Accepts trace, debug, info, warn, error, off.
Result<Level> parse_level(std::string_view name);
void set_level(Level level);

enum class Format : int { kText, kJson };

// Accepts text, json.
Result<Format> parse_format(std::string_view name);
void set_format(Format format);
// What one record looks like as JSON, without the line's end: the keys time (RFC 3339, microseconds, UTC), level,
// component and message. What is not UTF-8 in a text becomes U+FFFD. Pure.
[[nodiscard]] std::string format_json(std::int64_t time_us, Level level, std::string_view component,
                                      std::string_view message);

[[nodiscard]] bool enabled(Level level);
void write(Level level, std::string_view component, std::string_view message);

template <class... Args>
void debug(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kDebug)) {
        write(Level::kDebug, component, fmt::format(format, std::forward<Args>(args)...));
    }
}
template <class... Args>
void info(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kInfo)) {
        write(Level::kInfo, component, fmt::format(format, std::forward<Args>(args)...));
    }
}
template <class... Args>
void warn(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kWarn)) {
        write(Level::kWarn, component, fmt::format(format, std::forward<Args>(args)...));
    }
}
template <class... Args>
void error(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kError)) {
        write(Level::kError, component, fmt::format(format, std::forward<Args>(args)...));
    }
}

}  // namespace sluice::log
