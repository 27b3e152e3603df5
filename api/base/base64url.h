// Base64 in the alphabet that URLs bear, without padding (RFC 4648, section 5).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice {

[[nodiscard]] std::string base64url(std::string_view bytes);

// Appends what the text says, as far as it says anything: returns where the first character is that cannot stand there,
// or npos. As in Go, the bits behind the last byte do not matter.
[[nodiscard]] std::size_t decode_base64url(std::string_view text, std::string* out);

// kInvalidArgument for anything that base64url() does not write: one text for one value, so that none can be spelled in
// two ways.
Result<std::string> from_base64url(std::string_view text);

}  // namespace sluice
