// Checks of label keys and values (qualified names) by hand: a regular expression would be slower
// and could not say which part is wrong.
#include "api/codec/selector_names.h"

#include <fmt/core.h>

#include <algorithm>

namespace sluice::codec {
namespace {

bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_lower_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// Begins and ends alphanumeric; '-', '_' and '.' may stand between.
bool is_name(std::string_view text) {
    return !text.empty() && is_alnum(text.front()) && is_alnum(text.back()) &&
           std::ranges::all_of(
               text, [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_dns_subdomain(std::string_view text) {
    for (;;) {
        const std::size_t dot = text.find('.');
        const std::string_view label = text.substr(0, dot);
        if (label.empty() || !is_lower_alnum(label.front()) || !is_lower_alnum(label.back()) ||
            !std::ranges::all_of(label, [](char c) { return is_lower_alnum(c) || c == '-'; })) {
            return false;
        }
        if (dot == std::string_view::npos) return true;
        text.remove_prefix(dot + 1);
    }
}

constexpr std::string_view kNameProblem =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation "
    "is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
constexpr std::string_view kSubdomainProblem =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kValueProblem =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

void add(std::string* problems, std::string_view problem) {
    if (!problems->empty()) *problems += "; ";
    *problems += problem;
}

}  // namespace

std::string check_label_key(std::string_view key) {
    std::string problems;
    std::string_view name = key;
    const std::size_t slash = key.find('/');
    if (slash != std::string_view::npos) {
        const std::string_view prefix = key.substr(0, slash);
        name = key.substr(slash + 1);
        if (name.find('/') != std::string_view::npos) {
            return fmt::format(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. "
                "'example.com/MyName')",
                kNameProblem);
        }
        if (prefix.empty()) {
            add(&problems, "prefix part must be non-empty");
        } else {
            if (prefix.size() > kMaxLabelPrefixBytes) {
                add(&problems, fmt::format("prefix part must be no more than {} characters",
                                           kMaxLabelPrefixBytes));
            }
            if (!is_dns_subdomain(prefix)) {
                add(&problems, fmt::format("prefix part {}", kSubdomainProblem));
            }
        }
    }
    if (name.empty()) {
        add(&problems, "name part must be non-empty");
    } else if (name.size() > kMaxLabelNameBytes) {
        add(&problems,
            fmt::format("name part must be no more than {} characters", kMaxLabelNameBytes));
    }
    if (!is_name(name)) add(&problems, fmt::format("name part {}", kNameProblem));
    return problems;
}

std::string check_label_value(std::string_view value) {
    std::string problems;
    if (value.size() > kMaxLabelNameBytes) {
        add(&problems, fmt::format("must be no more than {} characters", kMaxLabelNameBytes));
    }
    if (!value.empty() && !is_name(value)) add(&problems, kValueProblem);
    return problems;
}

std::string quote(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        switch (c) {
            case '"':
            case '\\':
                out += '\\';
                out += c;
                break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            default: {
                const auto byte = static_cast<unsigned char>(c);
                if (byte < 0x20 || byte == 0x7f) {
                    out += fmt::format("\\x{:02x}", byte);
                } else {
                    out += c;
                }
            }
        }
    }
    return out + "\"";
}

}  // namespace sluice::codec
