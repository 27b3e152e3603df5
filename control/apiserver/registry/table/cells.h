// The words that several kinds' table cells share: ages, and joined lists.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "api/codec/scheme.h"

namespace sluice::registry {

// A duration as kubectl shows ages: "3s", "5m10s", "2d4h", "3y12d".
[[nodiscard]] std::string human_duration(std::int64_t seconds);
// The time since a Unix time; "<unknown>" for 0.
[[nodiscard]] std::string age_since(std::int64_t unix_seconds);
// Since the object was created.
[[nodiscard]] std::string age_cell(const codec::metav1::ObjectMeta& meta);

// "a=1,b=2" in key order, or "<none>".
[[nodiscard]] std::string format_labels(const std::map<std::string, std::string>& labels);

// Seconds since 1970; tests of ages need no other clock.
[[nodiscard]] std::int64_t unix_now();

}  // namespace sluice::registry
