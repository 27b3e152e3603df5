// YAML to JSON and back, as kubectl's library does: YAML 1.1 scalars that JSON cannot hold are refused,
// keys are strings, anchors are expanded within kMaxYamlNodes. yaml-cpp stays behind yaml.cc.
#pragma once

#include <string>
#include <string_view>

#include "api/base/result.h"

namespace boost::json {
class value;
}

namespace sluice::codec {

inline constexpr std::size_t kMaxYamlNodes = 1'000'000;

// One document. Duplicate keys, several documents and unknown tags are kInvalidArgument with the line.
Result<boost::json::value> yaml_to_json(std::string_view text);
[[nodiscard]] std::string json_to_yaml(const boost::json::value& value);

}  // namespace sluice::codec
