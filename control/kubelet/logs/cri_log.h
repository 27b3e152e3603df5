// Lines of container logs as CRI runtimes write them:
//
//   2016-10-06T00:17:09.669794202Z stdout F what the container printed
//
// F is a whole line (or its last part), P a part that the next line of the same stream goes on. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "api/base/result.h"

namespace sluice::kubelet::logs {

struct CriLine {
    std::string_view time;  // as written
    bool is_stderr = false;
    bool partial = false;
    std::string_view text;  // without the line break
};

// line: without its line break. nullopt: not in this form.
[[nodiscard]] std::optional<CriLine> parse_line(std::string_view line);

// RFC 3339, any offset, up to nine digits of a second, as nanoseconds since 1970. kInvalidArgument in the words of
// Go's time.Parse. Years 1970 to 2261.
Result<std::int64_t> parse_time_ns(std::string_view text);

}  // namespace sluice::kubelet::logs
