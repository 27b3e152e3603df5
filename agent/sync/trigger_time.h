// The annotation in which the EndpointSlice controller notes when the change behind a slice happened.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace sluice::sync {

// RFC 3339 with any fraction and an offset; nullopt for anything else.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_trigger_time(
    std::string_view text);

}  // namespace sluice::sync
