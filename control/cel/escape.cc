// The rules of Kubernetes' escape of property names (1.32).
#include "control/cel/escape.h"

#include <algorithm>
#include <array>

namespace sluice::cel {

namespace {

constexpr std::array<std::string_view, 21> kReserved = {
    "true", "false", "null", "in",      "as",        "break",  "const", "continue",
    "else", "for",   "function", "if",  "import",    "let",    "loop",  "package",
    "namespace", "return", "var", "void", "while",
};

bool is_reserved(std::string_view name) {
    return std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
}

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::optional<std::string> escape_name(std::string_view json_name) {
    if (json_name.empty() || (json_name[0] >= '0' && json_name[0] <= '9')) return std::nullopt;
    if (is_reserved(json_name)) return "__" + std::string(json_name) + "__";
    std::string out;
    for (std::size_t i = 0; i < json_name.size(); ++i) {
        const char c = json_name[i];
        if (json_name.substr(i, 2) == "__") {
            out += "__underscores__";
            ++i;
        } else if (c == '.') {
            out += "__dot__";
        } else if (c == '-') {
            out += "__dash__";
        } else if (c == '/') {
            out += "__slash__";
        } else if (c == '_' || is_letter_or_digit(c)) {
            out += c;
        } else {
            return std::nullopt;
        }
    }
    return out;
}

std::optional<std::string> unescape_name(std::string_view name) {
    std::string out;
    std::size_t at = 0;
    while (at < name.size()) {
        // An escape is two underscores, no underscore, two underscores.
        const std::size_t from = at + 2;
        const std::size_t end = name.substr(at, 2) == "__" ? name.find('_', from) : name.npos;
        if (end == name.npos || end == from || name.substr(end, 2) != "__") {
            out += name[at++];
            continue;
        }
        const std::string_view contents = name.substr(from, end - from);
        if (contents == "underscores") {
            out += "__";
        } else if (contents == "dot") {
            out += '.';
        } else if (contents == "dash") {
            out += '-';
        } else if (contents == "slash") {
            out += '/';
        } else if (is_reserved(contents) && contents.size() + 4 == name.size()) {
            out += contents;
        } else {
            return std::nullopt;
        }
        at = end + 2;
    }
    return out;
}

}  // namespace sluice::cel
