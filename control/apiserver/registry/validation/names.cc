#include "control/apiserver/registry/validation/names.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/base/ip_address.h"

namespace sluice::registry {

namespace {

constexpr std::size_t kMaxLabel = 63;
constexpr std::size_t kMaxSubdomain = 253;
constexpr std::size_t kMaxPortName = 15;

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower_alnum(char c) { return is_lower(c) || is_digit(c); }
bool is_alnum(char c) { return is_lower_alnum(c) || is_upper(c); }

std::string max_length(std::size_t limit) {
    return fmt::format("must be no more than {} characters", limit);
}

// The sentence, its examples, and the expression, put together as every client has seen them.
std::string syntax_message(std::string_view sentence, std::string_view expression,
                           std::initializer_list<std::string_view> examples) {
    std::string out(sentence);
    out += " (e.g. ";
    bool first = true;
    for (const std::string_view example : examples) {
        if (!first) out += " or ";
        first = false;
        out += fmt::format("'{}', ", example);
    }
    out += fmt::format("regex used for validation is '{}')", expression);
    return out;
}

bool matches_label(std::string_view name) {
    if (name.empty() || !is_lower_alnum(name.front()) || !is_lower_alnum(name.back())) return false;
    return std::all_of(name.begin(), name.end(),
                       [](char c) { return is_lower_alnum(c) || c == '-'; });
}

bool matches_subdomain(std::string_view name) {
    while (true) {
        const std::size_t dot = name.find('.');
        if (!matches_label(name.substr(0, dot))) return false;
        if (dot == std::string_view::npos) return true;
        name.remove_prefix(dot + 1);
    }
}

// ([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]
bool matches_qualified_part(std::string_view name) {
    if (name.empty() || !is_alnum(name.front()) || !is_alnum(name.back())) return false;
    return std::all_of(name.begin(), name.end(),
                       [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

std::string qualified_syntax() {
    return syntax_message(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character",
        "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", {"MyName", "my.name", "123-abc"});
}

}  // namespace

std::vector<std::string> check_dns1123_label(std::string_view name) {
    std::vector<std::string> errors;
    if (name.size() > kMaxLabel) errors.push_back(max_length(kMaxLabel));
    if (!matches_label(name)) {
        if (matches_subdomain(name)) {
            errors.emplace_back("must not contain dots");
        } else {
            errors.push_back(syntax_message(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or "
                "'-', and must start and end with an alphanumeric character",
                "[a-z0-9]([-a-z0-9]*[a-z0-9])?", {"my-name", "123-abc"}));
        }
    }
    return errors;
}

std::vector<std::string> check_dns1123_subdomain(std::string_view name) {
    std::vector<std::string> errors;
    if (name.size() > kMaxSubdomain) errors.push_back(max_length(kMaxSubdomain));
    if (!matches_subdomain(name)) {
        errors.push_back(syntax_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", {"example.com"}));
    }
    return errors;
}

std::vector<std::string> check_dns1035_label(std::string_view name) {
    std::vector<std::string> errors;
    if (name.size() > kMaxLabel) errors.push_back(max_length(kMaxLabel));
    if (!matches_label(name) || !is_lower(name.front())) {
        errors.push_back(syntax_message(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start "
            "with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?", {"my-name", "abc-123"}));
    }
    return errors;
}

std::vector<std::string> check_qualified_name(std::string_view name) {
    std::vector<std::string> errors;
    std::string_view part = name;
    const std::size_t slash = name.find('/');
    if (slash != std::string_view::npos) {
        if (name.find('/', slash + 1) != std::string_view::npos) {
            errors.push_back("a qualified name " + qualified_syntax() +
                             " with an optional DNS subdomain prefix and '/' (e.g. "
                             "'example.com/MyName')");
            return errors;
        }
        const std::string_view prefix = name.substr(0, slash);
        part = name.substr(slash + 1);
        if (prefix.empty()) {
            errors.emplace_back("prefix part must be non-empty");
        } else {
            for (const std::string& error : check_dns1123_subdomain(prefix)) {
                errors.push_back("prefix part " + error);
            }
        }
    }
    if (part.empty()) {
        errors.emplace_back("name part must be non-empty");
    } else if (part.size() > kMaxLabel) {
        errors.push_back("name part " + max_length(kMaxLabel));
    }
    if (!matches_qualified_part(part)) errors.push_back("name part " + qualified_syntax());
    return errors;
}

std::vector<std::string> check_label_value(std::string_view value) {
    std::vector<std::string> errors;
    if (value.size() > kMaxLabel) errors.push_back(max_length(kMaxLabel));
    if (!value.empty() && !matches_qualified_part(value)) {
        errors.push_back(syntax_message(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', "
            "'_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", {"MyValue", "my_value", "12345"}));
    }
    return errors;
}

std::vector<std::string> check_port_name(std::string_view name) {
    std::vector<std::string> errors;
    if (name.size() > kMaxPortName) errors.push_back(max_length(kMaxPortName));
    if (name.empty() || !std::all_of(name.begin(), name.end(),
                                     [](char c) { return is_lower_alnum(c) || c == '-'; })) {
        errors.emplace_back(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if (std::none_of(name.begin(), name.end(), is_lower)) {
        errors.emplace_back("must contain at least one letter (a-z)");
    }
    if (name.find("--") != std::string_view::npos) {
        errors.emplace_back("must not contain consecutive hyphens");
    }
    if (!name.empty() && (name.front() == '-' || name.back() == '-')) {
        errors.emplace_back("must not begin or end with a hyphen");
    }
    return errors;
}

std::vector<std::string> check_port_number(std::int64_t port) {
    if (port >= 1 && port <= 65535) return {};
    return {"must be between 1 and 65535, inclusive"};
}

std::vector<std::string> check_config_key(std::string_view key) {
    std::vector<std::string> errors;
    if (key.size() > kMaxSubdomain) errors.push_back(max_length(kMaxSubdomain));
    if (key.empty() || !std::all_of(key.begin(), key.end(), [](char c) {
            return is_alnum(c) || c == '-' || c == '_' || c == '.';
        })) {
        errors.push_back(syntax_message(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+", {"key.name", "KEY_NAME", "key-name"}));
    }
    if (key == ".") {
        errors.emplace_back("must not be '.'");
    } else if (key == "..") {
        errors.emplace_back("must not be '..'");
    } else if (key.starts_with("..")) {
        errors.emplace_back("must not start with '..'");
    }
    return errors;
}

std::vector<std::string> check_env_var_name(std::string_view name) {
    std::vector<std::string> errors;
    // Kubernetes 1.32 and later accept every printable ASCII character but '='.
    if (name.empty() || !std::all_of(name.begin(), name.end(),
                                     [](char c) { return c >= ' ' && c <= '~' && c != '='; })) {
        errors.emplace_back(
            "a valid environment variable name must consist only of printable ASCII characters "
            "other than '=' (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used "
            "for validation is '[ -<>-~]+')");
    }
    return errors;
}

std::vector<std::string> check_path_segment(std::string_view name) {
    if (name == ".") return {"may not be '.'"};
    if (name == "..") return {"may not be '..'"};
    std::vector<std::string> errors;
    if (name.find('/') != std::string_view::npos) errors.emplace_back("may not contain '/'");
    if (name.find('%') != std::string_view::npos) errors.emplace_back("may not contain '%'");
    return errors;
}

std::vector<std::string> check_ip(std::string_view text) {
    if (IpAddress::parse_sloppy(text)) return {};
    return {"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"};
}

std::string masked_generate_name(std::string_view prefix) {
    // Kubernetes checks the prefix as if one letter followed it in place of the generated suffix.
    if (prefix.size() > 1 && prefix.ends_with('-')) {
        return std::string(prefix.substr(0, prefix.size() - 2)) + "a";
    }
    return std::string(prefix);
}

}  // namespace sluice::registry
