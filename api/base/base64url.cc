#include "api/base/base64url.h"

#include <array>
#include <cstdint>

namespace sluice {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::uint8_t kNoDigit = 64;

constexpr auto kDigits = [] {
    std::array<std::uint8_t, 256> digits{};
    digits.fill(kNoDigit);
    for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
        digits[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
    }
    return digits;
}();

}  // namespace

std::string base64url(std::string_view bytes) {
    std::string out;
    out.reserve((bytes.size() * 4 + 2) / 3);
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (const char byte : bytes) {
        held = (held << 8U) | static_cast<unsigned char>(byte);
        bits += 8;
        while (bits >= 6) {
            bits -= 6;
            out += kAlphabet[(held >> bits) & 63U];
        }
    }
    if (bits > 0) out += kAlphabet[(held << (6U - bits)) & 63U];
    return out;
}

std::size_t decode_base64url(std::string_view text, std::string* out) {
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const std::uint8_t digit = kDigits[static_cast<unsigned char>(text[i])];
        if (digit == kNoDigit) return i;
        held = (held << 6U) | digit;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        out->push_back(static_cast<char>((held >> bits) & 255U));
    }
    // One character alone has no whole byte.
    return text.size() % 4 == 1 ? text.size() - 1 : std::string_view::npos;
}

Result<std::string> from_base64url(std::string_view text) {
    std::string out;
    out.reserve(text.size() * 3 / 4);
    if (const std::size_t at = decode_base64url(text, &out); at != std::string_view::npos) {
        return make_error(Code::kInvalidArgument, "no base64url at byte {}", at);
    }
    if (base64url(out) != text) return make_error(Code::kInvalidArgument, "base64url with bits left over");
    return out;
}

}  // namespace sluice
