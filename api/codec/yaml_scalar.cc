#include "api/codec/yaml_scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>

namespace sluice::codec {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

struct Word {
    std::string_view text;
    enum class Meaning : std::uint8_t { kTrue, kFalse, kNull, kNan, kPlusInf, kMinusInf } meaning;
};
using Meaning = Word::Meaning;
constexpr Word kWords[] = {
    {"y", Meaning::kTrue},         {"Y", Meaning::kTrue},        {"yes", Meaning::kTrue},
    {"Yes", Meaning::kTrue},       {"YES", Meaning::kTrue},      {"true", Meaning::kTrue},
    {"True", Meaning::kTrue},      {"TRUE", Meaning::kTrue},     {"on", Meaning::kTrue},
    {"On", Meaning::kTrue},        {"ON", Meaning::kTrue},       {"n", Meaning::kFalse},
    {"N", Meaning::kFalse},        {"no", Meaning::kFalse},      {"No", Meaning::kFalse},
    {"NO", Meaning::kFalse},       {"false", Meaning::kFalse},   {"False", Meaning::kFalse},
    {"FALSE", Meaning::kFalse},    {"off", Meaning::kFalse},     {"Off", Meaning::kFalse},
    {"OFF", Meaning::kFalse},      {"", Meaning::kNull},         {"~", Meaning::kNull},
    {"null", Meaning::kNull},      {"Null", Meaning::kNull},     {"NULL", Meaning::kNull},
    {".nan", Meaning::kNan},       {".NaN", Meaning::kNan},      {".NAN", Meaning::kNan},
    {".inf", Meaning::kPlusInf},   {".Inf", Meaning::kPlusInf},  {".INF", Meaning::kPlusInf},
    {"+.inf", Meaning::kPlusInf},  {"+.Inf", Meaning::kPlusInf}, {"+.INF", Meaning::kPlusInf},
    {"-.inf", Meaning::kMinusInf}, {"-.Inf", Meaning::kMinusInf}, {"-.INF", Meaning::kMinusInf},
};

YamlScalar word_value(Meaning meaning) {
    switch (meaning) {
        case Meaning::kTrue: return true;
        case Meaning::kFalse: return false;
        case Meaning::kNull: return YamlNull{};
        case Meaning::kNan: return std::numeric_limits<double>::quiet_NaN();
        case Meaning::kPlusInf: return std::numeric_limits<double>::infinity();
        case Meaning::kMinusInf: return -std::numeric_limits<double>::infinity();
    }
    return YamlString{};
}

// An integer with the prefixes of Go: 0x, 0o, 0b, and 0 for octal.
bool read_integer(std::string_view text, YamlScalar* out) {
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    int base = 10;
    if (text.size() > 1 && text.front() == '0') {
        const char mark = static_cast<char>(text[1] | 0x20);
        base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
        text.remove_prefix(mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1);
    }
    std::uint64_t magnitude = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), magnitude, base);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return false;
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (negative) {
        if (magnitude > kMax + 1) return false;
        *out = static_cast<std::int64_t>(~magnitude + 1);
    } else if (magnitude <= kMax) {
        *out = static_cast<std::int64_t>(magnitude);
    } else {
        *out = magnitude;
    }
    return true;
}

// [-+]? (.digits | digits[.digits*]) ([eE][-+]?digits)?
bool read_float(std::string_view text, YamlScalar* out) {
    if (text.starts_with('+')) text.remove_prefix(1);
    std::string_view rest = text;
    if (rest.starts_with('-')) rest.remove_prefix(1);
    const auto digits = [&rest] {
        const auto end = std::ranges::find_if_not(rest, is_digit);
        const auto count = static_cast<std::size_t>(end - rest.begin());
        rest.remove_prefix(count);
        return count;
    };
    const std::size_t whole = digits();
    std::size_t fraction = 0;
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        fraction = digits();
    }
    if (whole + fraction == 0) return false;
    if (rest.starts_with('e') || rest.starts_with('E')) {
        rest.remove_prefix(1);
        if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
        if (digits() == 0) return false;
    }
    if (!rest.empty()) return false;
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return false;
    *out = value;
    return true;
}

// YYYY-M-D, alone or with a time after T, t or a space. What comes after the date is not checked to the
// last digit: either way, the value is a text.
bool is_timestamp(std::string_view text) {
    const auto number = [&text](std::size_t least, std::size_t most) {
        std::size_t count = 0;
        while (count < text.size() && count < most && is_digit(text[count])) ++count;
        if (count < least) return false;
        text.remove_prefix(count);
        return true;
    };
    const auto literal = [&text](std::string_view any) {
        if (text.empty() || any.find(text.front()) == std::string_view::npos) return false;
        text.remove_prefix(1);
        return true;
    };
    if (!number(4, 4) || !literal("-") || !number(1, 2) || !literal("-") || !number(1, 2)) {
        return false;
    }
    if (text.empty()) return true;
    return literal("Tt ") && number(1, 2) && literal(":") && number(1, 2) && literal(":") &&
           number(1, 2) &&
           std::ranges::all_of(text, [](char c) {
               return is_digit(c) || std::string_view(".+-:Z").find(c) != std::string_view::npos;
           });
}

}  // namespace

YamlScalar resolve_yaml_scalar(std::string_view text) {
    if (text == "<<") return YamlMerge{};
    constexpr std::size_t kLongestWord = 5;
    if (text.size() <= kLongestWord) {
        for (const auto& word : kWords) {
            if (word.text == text) return word_value(word.meaning);
        }
    }
    const char first = text.empty() ? ' ' : text.front();
    YamlScalar out = YamlString{};
    if (first == '.') {
        read_float(text, &out);
        return out;
    }
    if (!is_digit(first) && first != '+' && first != '-') return out;
    if (is_timestamp(text)) return YamlTimestamp{};
    std::string plain(text);
    std::erase(plain, '_');
    if (!read_integer(plain, &out)) read_float(plain, &out);
    return out;
}

bool is_base60(std::string_view text) {
    // Cheap refusal first: most texts hold no colon.
    if (text.find(':') == std::string_view::npos) return false;
    if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
    return !text.empty() && is_digit(text.front()) &&
           std::ranges::all_of(text, [](char c) {
               return is_digit(c) || c == '_' || c == ':' || c == '.';
           });
}

}  // namespace sluice::codec
