// Texts of people around expressions: messages, names, rules.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice::expressions {

// Without white space around it.
[[nodiscard]] inline std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n\v\f";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

[[nodiscard]] inline bool has_line_breaks(std::string_view text) {
    return text.find_first_of("\r\n") != std::string_view::npos;
}

// Whether a variable of a policy may have the name.
[[nodiscard]] inline bool is_identifier(std::string_view name) {
    constexpr std::array<std::string_view, 21> kReserved = {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function",
        "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"};
    const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
    if (name.empty() || !letter(name.front())) return false;
    return std::ranges::all_of(name, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); }) &&
           std::ranges::find(kReserved, name) == kReserved.end();
}

}  // namespace sluice::expressions
