#include "api/codec/json_text.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>
#include <charconv>
#include <cmath>

#include "api/codec/json.h"

namespace sluice::codec {
namespace {

constexpr std::size_t kMaxCompactDepth = 32;  // well below kMaxJsonDepth

constexpr std::string_view kHex = "0123456789abcdef";

// What a byte needs inside a JSON string: 0 nothing, 1 an escape, 2 a look at the UTF-8 sequence.
constexpr std::array<std::uint8_t, 256> make_string_classes() {
    std::array<std::uint8_t, 256> classes{};
    for (std::size_t c = 0; c < 0x20; ++c) classes[c] = 1;
    for (const char c : {'"', '\\', '<', '>', '&'}) classes[static_cast<unsigned char>(c)] = 1;
    for (std::size_t c = 0x80; c < 0x100; ++c) classes[c] = 2;
    return classes;
}
constexpr auto kStringClasses = make_string_classes();

void append_escape(unsigned char c, std::string* out) {
    switch (c) {
        case '"': out->append("\\\""); return;
        case '\\': out->append("\\\\"); return;
        case '\b': out->append("\\b"); return;
        case '\f': out->append("\\f"); return;
        case '\n': out->append("\\n"); return;
        case '\r': out->append("\\r"); return;
        case '\t': out->append("\\t"); return;
        default:
            out->append("\\u00");
            out->push_back(kHex[c >> 4U]);
            out->push_back(kHex[c & 0xFU]);
    }
}

// The length of the UTF-8 sequence at the front of text, 0 if it is not one (overlong forms,
// surrogates and values above U+10FFFF are not).
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const auto tail = [&](std::size_t i) {
        return i < text.size() && (byte(i) & 0xC0U) == 0x80U;
    };
    const unsigned char lead = byte(0);
    if (lead < 0x80) return 1;
    if (lead < 0xC2) return 0;
    if (lead < 0xE0) return tail(1) ? 2 : 0;
    if (lead < 0xF0) {
        if (!tail(1) || !tail(2)) return 0;
        if (lead == 0xE0 && byte(1) < 0xA0) return 0;
        if (lead == 0xED && byte(1) >= 0xA0) return 0;
        return 3;
    }
    if (lead < 0xF5) {
        if (!tail(1) || !tail(2) || !tail(3)) return 0;
        if (lead == 0xF0 && byte(1) < 0x90) return 0;
        if (lead == 0xF4 && byte(1) >= 0x90) return 0;
        return 4;
    }
    return 0;
}

// Copies one JSON document while checking its grammar. Recursion is bounded by kMaxJsonDepth.
class EmbeddedCopier {
public:
    EmbeddedCopier(std::string_view text, std::string* out) : text_(text), out_(out) {}

    bool run() {
        skip_space();
        if (!value(0)) return false;
        skip_space();
        return at_ == text_.size();
    }

private:
    [[nodiscard]] bool peek(char c) const { return at_ < text_.size() && text_[at_] == c; }
    void skip_space() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' ||
                                      text_[at_] == '\n' || text_[at_] == '\r')) {
            ++at_;
        }
    }
    bool take(char c) {
        if (!peek(c)) return false;
        out_->push_back(c);
        ++at_;
        return true;
    }
    bool word(std::string_view expected) {
        if (text_.substr(at_, expected.size()) != expected) return false;
        out_->append(expected);
        at_ += expected.size();
        return true;
    }
    bool digits() {
        const std::size_t start = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        out_->append(text_.substr(start, at_ - start));
        return at_ > start;
    }
    bool number() {
        take('-');
        if (!take('0') && !digits()) return false;
        if (take('.') && !digits()) return false;
        if (take('e') || take('E')) {
            if (!take('+')) take('-');
            return digits();
        }
        return true;
    }
    bool string() {
        if (!take('"')) return false;
        while (at_ < text_.size()) {
            const auto c = static_cast<unsigned char>(text_[at_]);
            if (c == '"') return take('"');
            if (c < 0x20) return false;
            if (c == '\\') {
                if (!escape()) return false;
            } else if (c == '<' || c == '>' || c == '&') {
                append_escape(c, out_);
                ++at_;
            } else if (c == 0xE2 && text_.substr(at_, 2) == "\xE2\x80" && at_ + 2 < text_.size() &&
                       (static_cast<unsigned char>(text_[at_ + 2]) & 0xFEU) == 0xA8U) {
                out_->append(text_[at_ + 2] == '\xA8' ? "\\u2028" : "\\u2029");
                at_ += 3;
            } else {
                const std::size_t length = utf8_length(text_.substr(at_));
                if (length == 0) return false;
                out_->append(text_.substr(at_, length));
                at_ += length;
            }
        }
        return false;
    }
    bool escape() {
        if (at_ + 1 >= text_.size()) return false;
        const char kind = text_[at_ + 1];
        if (kind == 'u') {
            if (at_ + 6 > text_.size()) return false;
            for (std::size_t i = at_ + 2; i < at_ + 6; ++i) {
                const char c = text_[i];
                const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
                                 (c >= 'A' && c <= 'F');
                if (!hex) return false;
            }
            out_->append(text_.substr(at_, 6));
            at_ += 6;
            return true;
        }
        if (std::string_view("\"\\/bfnrt").find(kind) == std::string_view::npos) return false;
        out_->append(text_.substr(at_, 2));
        at_ += 2;
        return true;
    }
    bool members(int depth, char close, bool named) {
        ++at_;
        skip_space();
        if (take(close)) return true;
        for (;;) {
            if (named) {
                if (!string()) return false;
                skip_space();
                if (!take(':')) return false;
                skip_space();
            }
            if (!value(depth + 1)) return false;
            skip_space();
            if (take(close)) return true;
            if (!take(',')) return false;
            skip_space();
        }
    }
    // NOLINTNEXTLINE(misc-no-recursion): the depth is limited.
    bool value(int depth) {
        if (at_ >= text_.size()) return false;
        switch (text_[at_]) {
            case '{':
            case '[': {
                if (depth >= kMaxJsonDepth) return false;
                const bool named = text_[at_] == '{';
                out_->push_back(text_[at_]);
                return members(depth, named ? '}' : ']', named);
            }
            case '"': return string();
            case 't': return word("true");
            case 'f': return word("false");
            case 'n': return word("null");
            default: return number();
        }
    }

    std::string_view text_;
    std::string* out_;
    std::size_t at_ = 0;
};

}  // namespace

namespace {

constexpr std::size_t kBlockBytes = 16;

// How many bytes at the begin of a block of kBlockBytes need no look: ASCII that is written as it is.
std::size_t plain_bytes(const char* block) {
#if defined(__SSE2__)
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
    // What is not ASCII is negative here, and so below the space, too.
    __m128i special = _mm_cmplt_epi8(bytes, _mm_set1_epi8(' '));
    for (const char c : {'"', '\\', '<', '>', '&'}) {
        special = _mm_or_si128(special, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c)));
    }
    const auto found = static_cast<unsigned>(_mm_movemask_epi8(special));
    return found == 0 ? kBlockBytes : static_cast<std::size_t>(std::countr_zero(found));
#else
    std::size_t count = 0;
    while (count < kBlockBytes && kStringClasses[static_cast<unsigned char>(block[count])] == 0) ++count;
    return count;
#endif
}

}  // namespace

void append_json_string(std::string_view text, std::string* out) {
    out->push_back('"');
    std::size_t start = 0;
    std::size_t i = 0;
    const auto flush = [&] { out->append(text.data() + start, i - start); };
    while (i < text.size()) {
        if (text.size() - i >= kBlockBytes) {
            const std::size_t plain = plain_bytes(text.data() + i);
            i += plain;
            if (plain == kBlockBytes) continue;
        }
        const auto c = static_cast<unsigned char>(text[i]);
        const std::uint8_t string_class = kStringClasses[c];
        if (string_class == 0) {
            ++i;
            continue;
        }
        if (string_class == 1) {
            flush();
            append_escape(c, out);
            start = ++i;
            continue;
        }
        const std::size_t length = utf8_length(text.substr(i));
        if (length == 0) {
            flush();
            out->append("\\ufffd");
            start = ++i;
        } else if (length == 3 && c == 0xE2 && text[i + 1] == '\x80' &&
                   (text[i + 2] == '\xA8' || text[i + 2] == '\xA9')) {
            flush();
            out->append(text[i + 2] == '\xA8' ? "\\u2028" : "\\u2029");
            i += length;
            start = i;
        } else {
            i += length;
        }
    }
    flush();
    out->push_back('"');
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

void append_json_int(std::int64_t value, std::string* out) {
    std::array<char, 24> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    out->append(buffer.data(), end.ptr);
}

void append_json_uint(std::uint64_t value, std::string* out) {
    std::array<char, 24> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    out->append(buffer.data(), end.ptr);
}

// 2^53: above, not every integer is a double, and the shortest digits of one are fewer than its own.
constexpr double kExactIntegers = 9007199254740992.0;

std::string format_double(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    const double magnitude = std::fabs(value);
    const bool scientific = magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21);
    // Beyond 2^53 to_chars writes all digits of the value in fixed form; the shortest ones and zeros are due.
    const bool zeros = !scientific && magnitude >= kExactIntegers;
    std::array<char, 64> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                   scientific || zeros ? std::chars_format::scientific
                                                       : std::chars_format::fixed);
    std::string text(buffer.data(), end.ptr);
    if (zeros) {
        // "-6.006e+18": the sign, digits around a point, and how many follow the first.
        const std::size_t first = text.front() == '-' ? 1 : 0;
        const auto mark = text.find('e');
        std::size_t digits = 0;
        std::from_chars(text.data() + mark + 2, text.data() + text.size(), digits);
        text.resize(mark);
        if (mark > first + 1) text.erase(first + 1, 1);
        text.append(first + 1 + digits - text.size(), '0');
        return text;
    }
    // Exponents have no leading zero: 1e-7, where to_chars gives 1e-07.
    const auto exponent = text.find('e');
    if (exponent != std::string::npos && exponent + 2 < text.size() && text[exponent + 2] == '0') {
        text.erase(exponent + 2, 1);
    }
    return text;
}

void append_json_double(double value, std::string* out) {
    out->append(std::isfinite(value) ? format_double(value) : "null");
}

void append_json_base64(std::string_view bytes, std::string* out) {
    constexpr std::string_view kAlphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out->push_back('"');
    out->reserve(out->size() + (bytes.size() + 2) / 3 * 4 + 1);
    std::size_t i = 0;
    const auto byte = [&](std::size_t at) {
        return at < bytes.size() ? static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at]))
                                 : 0U;
    };
    for (; i < bytes.size(); i += 3) {
        const std::uint32_t triple = byte(i) << 16U | byte(i + 1) << 8U | byte(i + 2);
        out->push_back(kAlphabet[triple >> 18U & 63U]);
        out->push_back(kAlphabet[triple >> 12U & 63U]);
        out->push_back(i + 1 < bytes.size() ? kAlphabet[triple >> 6U & 63U] : '=');
        out->push_back(i + 2 < bytes.size() ? kAlphabet[triple & 63U] : '=');
    }
    out->push_back('"');
}

Result<std::string> decode_base64(std::string_view text) {
    const auto bad = [](std::size_t at) {
        return make_error(Code::kInvalidArgument, "illegal base64 data at input byte {}", at);
    };
    const auto digit = [](char c) -> int {
        if (c >= 'A' && c <= 'Z') return c - 'A';
        if (c >= 'a' && c <= 'z') return c - 'a' + 26;
        if (c >= '0' && c <= '9') return c - '0' + 52;
        if (c == '+') return 62;
        if (c == '/') return 63;
        return -1;
    };
    std::string out;
    out.reserve(text.size() / 4 * 3 + 3);
    std::uint32_t bits = 0;
    int filled = 0;   // digits of the current quantum, padding included
    int padding = 0;  // '=' of the current quantum
    bool ended = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '\n' || c == '\r') continue;
        if (ended) return bad(i);
        if (c == '=') {
            if (filled < 2) return bad(i);
            ++padding;
            bits <<= 6U;
        } else {
            const int value = digit(c);
            if (value < 0 || padding > 0) return bad(i);
            bits = bits << 6U | static_cast<std::uint32_t>(value);
        }
        if (++filled < 4) continue;
        out.push_back(static_cast<char>(bits >> 16U & 0xFFU));
        if (padding < 2) out.push_back(static_cast<char>(bits >> 8U & 0xFFU));
        if (padding < 1) out.push_back(static_cast<char>(bits & 0xFFU));
        ended = padding > 0;
        bits = 0;
        filled = 0;
        padding = 0;
    }
    if (filled != 0) return bad(text.size());
    return out;
}

bool append_embedded_json(std::string_view document, std::string* out) {
    const std::size_t before = out->size();
    if (EmbeddedCopier(document, out).run()) return true;
    out->resize(before);
    return false;
}

bool is_compact_tree(std::string_view text) {
    // Of each object that is open, the name before; empty: none yet, as no name of a field is.
    std::array<std::string_view, kMaxCompactDepth> names;
    std::size_t open = 0;
    std::size_t at = 0;
    const auto take = [&](char c) {
        const bool there = at < text.size() && text[at] == c;
        at += there ? 1 : 0;
        return there;
    };
    if (!take('{')) return false;
    ++open;
    while (open > 0) {
        std::string_view& before = names[open - 1];
        if (take('}')) {
            before = {};
            --open;
            continue;
        }
        if (!before.empty() && !take(',')) return false;
        if (!take('"')) return false;
        const std::size_t begin = at;
        for (; at < text.size() && text[at] != '"'; ++at) {
            const char c = text[at];
            // What is escaped in one way or another is for the parser; but an escaped quote is common.
            const bool quote = c == '\\' && at + 1 < text.size() && text[at + 1] == '"';
            if (quote) {
                ++at;
            } else if (c < 0x20 || c > 0x7d || c == '\\' || c == '<' || c == '>' || c == '&') {
                return false;
            }
        }
        const std::string_view name = text.substr(begin, at - begin);
        if (name <= before || !take('"') || !take(':') || !take('{')) return false;
        before = name;
        if (open >= kMaxCompactDepth) return false;
        ++open;
    }
    return at == text.size();
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (std::size_t i = 0; i < text.size();) {
        const auto c = static_cast<unsigned char>(text[i]);
        const std::size_t length = utf8_length(text.substr(i));
        if (c == '"' || c == '\\') {
            out.push_back('\\');
            out.push_back(text[i]);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            append_escape(c, &out);
        } else if (c < 0x20 || c == 0x7F || length == 0) {
            out.append("\\x");
            out.push_back(kHex[c >> 4U]);
            out.push_back(kHex[c & 0xFU]);
        } else {
            out.append(text.substr(i, length));
        }
        i += length == 0 ? 1 : length;
    }
    out.push_back('"');
    return out;
}

}  // namespace sluice::codec
