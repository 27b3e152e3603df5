// YAML to JSON and back, as kubectl's library does (YAML 1.1 as go-yaml v2 reads it): yes, on and their
// like are booleans, 0o17 and 017 are octal, ~ is null, 1_000 is 1000, << merges; values that JSON cannot
// hold (.nan, .inf) are refused, keys become strings, aliases are expanded within the limits.
// yaml-cpp stays behind yaml_parse.cc. Pure and thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace boost::json {
class value;
}

namespace sluice::codec {

// Nodes of one document after the expansion of aliases, and the bytes that aliases may add.
inline constexpr std::size_t kMaxYamlNodes = 1'000'000;
inline constexpr std::size_t kMaxYamlAliasBytes = 16U << 20U;
// Of the text; kube-apiserver takes 3 MiB. Levels of nesting are limited as in JSON (kMaxJsonDepth).
inline constexpr std::size_t kMaxYamlBytes = 4U << 20U;

// One document; an empty text is null. Duplicate keys, several documents, unknown tags, text that is not
// UTF-8 and control characters are kInvalidArgument with the line; limits are kResourceExhausted.
Result<boost::json::value> yaml_to_json(std::string_view text);
// Keys in go-yaml's order (numbers within them by value), two spaces a level, lists at the level of their
// key, texts of several lines as literal blocks. Long lines are not wrapped.
// REQUIRES: a tree of at most kMaxJsonDepth levels.
[[nodiscard]] std::string json_to_yaml(const boost::json::value& value);

}  // namespace sluice::codec
