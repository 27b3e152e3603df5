// How YAML 1.1 reads a scalar without quotes. Private to api/codec. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

namespace sluice::codec {

struct YamlNull {};
struct YamlString {};     // none of the others: the text itself
struct YamlTimestamp {};  // a text, too, but written in quotes
struct YamlMerge {};      // <<

using YamlScalar = std::variant<YamlNull, YamlString, YamlTimestamp, YamlMerge, bool, std::int64_t,
                                std::uint64_t, double>;

[[nodiscard]] YamlScalar resolve_yaml_scalar(std::string_view text);

// Whether a YAML 1.1 reader may take text for a number of base 60 (1:30).
[[nodiscard]] bool is_base60(std::string_view text);

}  // namespace sluice::codec
