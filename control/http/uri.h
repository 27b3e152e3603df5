// Request targets: "/api/v1/pods?limit=5" into a decoded path and decoded query parameters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace sluice::http {

inline constexpr std::size_t kMaxTargetBytes = 64U << 10U;
inline constexpr std::size_t kMaxQueryParameters = 1'000;

struct Target {
    std::string path;
    std::vector<std::pair<std::string, std::string>> query;
};

// Reads origin form ("/path?query") and absolute form ("https://host/path?query", of which the host is dropped).
// "+" is a space in the query only. kInvalidArgument: an escape that is not two hexadecimal digits, a NUL or
// a raw control character, another form of target, or a limit above. A fragment is not part of a target
// and is refused too.
Result<Target> parse_target(std::string_view target);

// The parts of a path between its slashes, without the empty ones; after `most` and one more the rest is left out, so
// that the caller sees that there are too many. They live as long as the path's text.
[[nodiscard]] std::vector<std::string_view> path_segments(std::string_view path, std::size_t most);

// The inverse for one path segment or query part: everything but unreserved characters is escaped.
[[nodiscard]] std::string percent_encode(std::string_view text);

}  // namespace sluice::http
