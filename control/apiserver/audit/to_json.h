// Bodies in Kubernetes' protobuf or in YAML as the JSON that an audit event holds.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::audit {

// nullopt: it is neither, it is malformed, or its kind is none of the scheme's.
[[nodiscard]] std::optional<std::string> body_to_json(std::string_view body,
                                                      std::string_view content_type);

}  // namespace sluice::audit
