// JSON trees to YAML text. Which texts go without quotes follows libyaml's analysis, so that any YAML 1.1
// reader gets back the same value.
#include <algorithm>
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "api/codec/json_text.h"
#include "api/codec/yaml.h"
#include "api/codec/yaml_scalar.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;

constexpr std::size_t kStep = 2;
// YAML readers accept a key without the mark "?" up to 1024 characters.
constexpr std::size_t kMaxSimpleKey = 1000;

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// Digits that begin at `at`, without leading zeros.
std::string_view number_at(std::string_view text, std::size_t at) {
    std::size_t end = at;
    while (end < text.size() && is_digit(text[end])) ++end;
    while (at < end && text[at] == '0') ++at;
    return text.substr(at, end - at);
}

// Numbers within keys by value, letters after everything else: "a2" before "a10".
bool key_less(std::string_view a, std::string_view b) {
    const auto [left, right] = std::ranges::mismatch(a, b);
    if (left == a.end() || right == b.end()) return a.size() < b.size();
    auto at = static_cast<std::size_t>(left - a.begin());
    // Numbers that began before the mismatch are compared whole, letters or not: otherwise "10", "1q" and
    // "2" would go in circles, as they do in go-yaml.
    while (at > 0 && is_digit(a[at - 1])) --at;
    if (is_digit(a[at]) && is_digit(b[at])) {
        const auto x = number_at(a, at);
        const auto y = number_at(b, at);
        if (x.size() != y.size()) return x.size() < y.size();
        if (x != y) return x < y;
    }
    if (is_letter(*left) && is_letter(*right)) {
        return static_cast<unsigned char>(*left) < static_cast<unsigned char>(*right);
    }
    if (is_letter(*left) || is_letter(*right)) return is_letter(*right);
    return *left < *right;
}

// Texts that only double quotes can hold: control characters and what editors do not show.
bool has_special(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if ((c < 0x20 && c != '\n') || c == 0x7F) return true;
        const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : '\0');
        const auto third = static_cast<unsigned char>(i + 2 < text.size() ? text[i + 2] : '\0');
        if (c == 0xC2 && next < 0xA0) return true;                              // C1 controls
        if (c == 0xE2 && next == 0x80 && (third == 0xA8 || third == 0xA9)) return true;
        if (c == 0xEF && next == 0xBB && third == 0xBF) return true;            // byte order mark
        if (c == 0xEF && next == 0xBF && third >= 0xBE) return true;            // U+FFFE, U+FFFF
    }
    return false;
}

bool plain_allowed(std::string_view text) {
    if (text.empty() || text.front() == ' ' || text.back() == ' ') return false;
    if (text.starts_with("---") || text.starts_with("...")) return false;
    const auto blank_after = [&](std::size_t i) { return i + 1 == text.size() || text[i + 1] == ' '; };
    if (std::string_view("#,[]{}&*!|>'\"%@`").find(text.front()) != std::string_view::npos) {
        return false;
    }
    if (std::string_view("?:-").find(text.front()) != std::string_view::npos && blank_after(0)) {
        return false;
    }
    for (std::size_t i = 1; i < text.size(); ++i) {
        if (text[i] == ':' && blank_after(i)) return false;
        if (text[i] == '#' && text[i - 1] == ' ') return false;
    }
    return true;
}

// Whether a reader takes the bare text for a text.
bool reads_as_text(std::string_view text) {
    return std::holds_alternative<YamlString>(resolve_yaml_scalar(text)) && !is_base60(text);
}

// A block of lines, if it needs no indentation mark and loses no spaces.
bool literal_allowed(std::string_view text) {
    return text.front() != ' ' && text.front() != '\n' && text.back() != ' ' &&
           text.find(" \n") == std::string_view::npos && !has_special(text);
}

class Emitter {
public:
    std::string run(const json::value& value) {
        block(value, 0, true);
        return std::move(out_);
    }

private:
    void pad(std::size_t indent) { out_.append(indent, ' '); }

    // A value that begins where the cursor stands: at a line's start or after "- ".
    // NOLINTNEXTLINE(misc-no-recursion): the caller limits the depth.
    void block(const json::value& value, std::size_t indent, bool top = false) {
        if (const auto* object = value.if_object(); object != nullptr && !object->empty()) {
            members(*object, indent);
        } else if (const auto* array = value.if_array(); array != nullptr && !array->empty()) {
            elements(*array, indent);
        } else {
            scalar(value, top ? kStep : indent);
            out_.push_back('\n');
        }
    }

    void members(const json::object& object, std::size_t indent) {
        std::vector<const json::key_value_pair*> sorted;
        sorted.reserve(object.size());
        for (const auto& member : object) sorted.push_back(&member);
        std::ranges::sort(sorted, [](const auto* a, const auto* b) {
            return key_less({a->key().data(), a->key().size()}, {b->key().data(), b->key().size()});
        });
        bool first = true;
        for (const auto* member : sorted) {
            if (!first) pad(indent);
            first = false;
            key({member->key().data(), member->key().size()}, indent);
            value_of_key(member->value(), indent);
        }
    }

    void key(std::string_view text, std::size_t indent) {
        if (text.size() > kMaxSimpleKey) {
            out_ += "? ";
            double_quoted(text);
            out_.push_back('\n');
            pad(indent);
        } else if (text.find('\n') != std::string_view::npos) {
            double_quoted(text);
        } else {
            one_line(text);
        }
        out_.push_back(':');
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void value_of_key(const json::value& value, std::size_t indent) {
        if (const auto* object = value.if_object(); object != nullptr && !object->empty()) {
            out_.push_back('\n');
            pad(indent + kStep);
            members(*object, indent + kStep);
        } else if (const auto* array = value.if_array(); array != nullptr && !array->empty()) {
            out_.push_back('\n');
            pad(indent);
            elements(*array, indent);
        } else {
            out_.push_back(' ');
            scalar(value, indent + kStep);
            out_.push_back('\n');
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void elements(const json::array& array, std::size_t indent) {
        bool first = true;
        for (const auto& element : array) {
            if (!first) pad(indent);
            first = false;
            out_ += "- ";
            block(element, indent + kStep);
        }
    }

    // indent: of the lines of a literal block.
    void scalar(const json::value& value, std::size_t indent) {
        switch (value.kind()) {
            case json::kind::null: out_ += "null"; return;
            case json::kind::bool_: out_ += value.get_bool() ? "true" : "false"; return;
            case json::kind::int64: append_json_int(value.get_int64(), &out_); return;
            case json::kind::uint64: append_json_uint(value.get_uint64(), &out_); return;
            case json::kind::double_: out_ += format_double(value.get_double()); return;
            case json::kind::array: out_ += "[]"; return;
            case json::kind::object: out_ += "{}"; return;
            case json::kind::string: break;
        }
        const std::string_view text{value.get_string().data(), value.get_string().size()};
        if (text.find('\n') == std::string_view::npos) {
            one_line(text);
        } else if (literal_allowed(text)) {
            literal(text, indent);
        } else {
            double_quoted(text);
        }
    }

    void one_line(std::string_view text) {
        if (has_special(text) || !reads_as_text(text)) {
            double_quoted(text);
        } else if (plain_allowed(text)) {
            out_ += text;
        } else {
            single_quoted(text);
        }
    }

    void single_quoted(std::string_view text) {
        out_.push_back('\'');
        for (const char c : text) {
            if (c == '\'') out_.push_back('\'');
            out_.push_back(c);
        }
        out_.push_back('\'');
    }

    void literal(std::string_view text, std::size_t indent) {
        const std::size_t last = text.find_last_not_of('\n');
        const std::size_t breaks = text.size() - last - 1;
        out_ += breaks == 0 ? "|-" : breaks == 1 ? "|" : "|+";
        std::string_view rest = text.substr(0, breaks == 0 ? text.size() : text.size() - 1);
        for (;;) {
            const auto end = rest.find('\n');
            const auto line = rest.substr(0, end);
            out_.push_back('\n');
            if (!line.empty()) {
                pad(indent);
                out_ += line;
            }
            if (end == std::string_view::npos) break;
            rest.remove_prefix(end + 1);
        }
    }

    void double_quoted(std::string_view text) {
        constexpr std::string_view kHex = "0123456789ABCDEF";
        out_.push_back('"');
        for (std::size_t i = 0; i < text.size(); ++i) {
            const auto c = static_cast<unsigned char>(text[i]);
            if (c == '"' || c == '\\') {
                out_.push_back('\\');
                out_.push_back(text[i]);
            } else if (c == '\n') {
                out_ += "\\n";
            } else if (c == '\t') {
                out_ += "\\t";
            } else if (c == '\r') {
                out_ += "\\r";
            } else if (c < 0x20 || c == 0x7F) {
                out_ += "\\x";
                out_.push_back(kHex[c >> 4U]);
                out_.push_back(kHex[c & 0xFU]);
            } else if (c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
                // U+0080 to U+009F: the second byte of UTF-8 is the code point.
                const auto low = static_cast<unsigned char>(text[++i]);
                out_ += "\\x";
                out_.push_back(kHex[low >> 4U]);
                out_.push_back(kHex[low & 0xFU]);
            } else if (c >= 0xE2 && c < 0xF0 && has_special(text.substr(i, 3))) {
                const auto second = static_cast<unsigned char>(text[i + 1]);
                const auto third = static_cast<unsigned char>(text[i + 2]);
                const unsigned point = (c & 0xFU) << 12U | (second & 0x3FU) << 6U | (third & 0x3FU);
                out_ += "\\u";
                for (const unsigned shift : {12U, 8U, 4U, 0U}) out_.push_back(kHex[point >> shift & 0xFU]);
                i += 2;
            } else {
                out_.push_back(text[i]);
            }
        }
        out_.push_back('"');
    }

    std::string out_;
};

}  // namespace

std::string json_to_yaml(const json::value& value) {
    return Emitter().run(value);
}

}  // namespace sluice::codec
