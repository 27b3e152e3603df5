// Text pieces of JSON as Go's encoding/json writes them: strings, numbers, base64, embedded documents.
// Private to api/codec. Pure and thread-safe; output is appended.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::codec {

// A quoted string. <, > and & are escaped so that the text is safe inside HTML, U+2028 and U+2029 so
// that it is safe inside JavaScript; a byte that is not UTF-8 becomes \ufffd.
void append_json_string(std::string_view text, std::string* out);
void append_json_int(std::int64_t value, std::string* out);
void append_json_uint(std::uint64_t value, std::string* out);
// The shortest digits that read back as value; exponents below 1e-6 and from 1e21 on. A value that
// JSON cannot hold (NaN, infinity) becomes null.
void append_json_double(double value, std::string* out);
// Shortest digits of value as Go formats them, without the rule for NaN and infinity.
[[nodiscard]] std::string format_double(double value);

// Quoted standard base64 with padding.
void append_json_base64(std::string_view bytes, std::string* out);
// Line breaks are skipped, anything else outside the alphabet is an error that names the byte's offset.
Result<std::string> decode_base64(std::string_view text);

// Appends document without white space and with the escapes of append_json_string. Returns false and
// leaves *out as it was if document is not one JSON value of at most kMaxJsonDepth levels.
bool append_embedded_json(std::string_view document, std::string* out);

// Whether a text is certain to be what write_json(parse_json(text)) gives: objects in objects with names in ascending
// order, and nothing else, as fields of managers mostly are. False says nothing.
[[nodiscard]] bool is_compact_tree(std::string_view text);

// No overlong forms, surrogates or values above U+10FFFF.
[[nodiscard]] bool is_utf8(std::string_view text);

// text in double quotes, escaped as Go's %q does.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace sluice::codec
