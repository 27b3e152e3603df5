// Descriptions of messages and fields: the leading comments of the .proto files, which protoc's C++
// does not carry. A descriptor set with its source information is linked into the program instead.
#pragma once

#include <string_view>

namespace sluice::codec {

// full_name: of a message or a field, such as "k8s.io.api.core.v1.ServiceSpec.ports". Empty without
// comment. The first call reads the descriptor set. Thread-safe.
[[nodiscard]] std::string_view documentation_of(std::string_view full_name);

}  // namespace sluice::codec
