// Code points of UTF-8. Private to cel/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::cel {

// Code points of valid text; of other text, bytes that continue nothing.
[[nodiscard]] inline std::size_t count_code_points(std::string_view text) {
    std::size_t count = 0;
    for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
    return count;
}

// Bytes of the code point that begins at the byte; at least 1, and never beyond the text. REQUIRES: at < text.size().
[[nodiscard]] inline std::size_t code_point_size(std::string_view text, std::size_t at) {
    std::size_t size = 1;
    while (at + size < text.size() && size < 4 &&
           (static_cast<unsigned char>(text[at + size]) & 0xC0U) == 0x80U) {
        ++size;
    }
    return size;
}

// The byte at which the code point of that index begins; text.size() if there are not so many.
[[nodiscard]] inline std::size_t byte_of_code_point(std::string_view text, std::size_t index) {
    std::size_t at = 0;
    while (index > 0 && at < text.size()) {
        at += code_point_size(text, at);
        --index;
    }
    return at;
}

// The code point that begins at the byte. REQUIRES: at < text.size(), text is UTF-8.
[[nodiscard]] std::uint32_t code_point_at(std::string_view text, std::size_t at);

// REQUIRES: code_point <= 0x10FFFF. Surrogates become U+FFFD, as in Go.
void append_utf8(std::uint32_t code_point, std::string* out);

}  // namespace sluice::cel
