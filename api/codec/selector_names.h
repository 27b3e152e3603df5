// The checks that label keys and values must pass, in Kubernetes' words. Private to the selectors.
#pragma once

#include <string>
#include <string_view>

namespace sluice::codec {

inline constexpr std::size_t kMaxLabelNameBytes = 63;
inline constexpr std::size_t kMaxLabelPrefixBytes = 253;

// Empty when valid, else every reason, joined with "; ".
[[nodiscard]] std::string check_label_key(std::string_view key);
[[nodiscard]] std::string check_label_value(std::string_view value);
// Text in double quotes with Go's escapes.
[[nodiscard]] std::string quote(std::string_view text);

}  // namespace sluice::codec
