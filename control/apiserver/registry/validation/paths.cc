#include "control/apiserver/registry/validation/paths.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

constexpr std::size_t kMaxDriverName = 63;
constexpr std::size_t kMinQualifiedSegments = 3;
constexpr std::string_view kPathCharacters = "/-._~%!$&'()*+,;=:";
constexpr std::string_view kUrlForm = "; desired format: https://host[/path]";

bool is_path_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kPathCharacters.find(c) != std::string_view::npos;
}

}  // namespace

std::string ascii_lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

std::vector<std::string> check_wildcard_subdomain(std::string_view name) {
    constexpr std::size_t kMaxSubdomain = 253;
    std::vector<std::string> errors;
    if (name.size() > kMaxSubdomain) {
        errors.push_back(fmt::format("must be no more than {} characters", kMaxSubdomain));
    }
    if (!name.starts_with("*.") || !check_dns1123_subdomain(name.substr(2)).empty()) {
        errors.emplace_back(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS "
            "subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and "
            "end with an alphanumeric character (e.g. '*.example.com', regex used for validation "
            "is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
    }
    return errors;
}

void check_domain_prefixed_path(const std::string& text, const std::string& field,
                                FieldErrors* errors) {
    if (text.empty()) {
        errors->required(field);
        return;
    }
    const std::size_t slash = text.find('/');
    if (slash == std::string::npos || slash == 0 || slash + 1 == text.size()) {
        errors->invalid(field, text, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    }
    const std::string host = text.substr(0, slash);
    const std::string path = text.substr(slash + 1);
    errors->invalid_all(field, host, check_dns1123_subdomain(host));
    if (!std::ranges::all_of(path, is_path_character)) {
        errors->invalid(field, path,
                        "Invalid path (regex used for validation is "
                        "'[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
    }
}

void check_fully_qualified_name(const std::string& text, const std::string& field,
                                FieldErrors* errors) {
    if (text.empty()) {
        errors->required(field);
        return;
    }
    const auto why = check_dns1123_subdomain(text);
    if (!why.empty()) {
        errors->invalid(field, text, fmt::format("{}", fmt::join(why, ",")));
    } else if (std::ranges::count(text, '.') + 1 <
               static_cast<std::ptrdiff_t>(kMinQualifiedSegments)) {
        errors->invalid(field, text,
                        "should be a domain with at least three segments separated by dots");
    }
}

void check_csi_driver_name(const std::string& text, const std::string& field,
                           FieldErrors* errors) {
    if (text.empty()) errors->required(field);
    if (text.size() > kMaxDriverName) errors->too_long(field, kMaxDriverName);
    errors->invalid_all(field, text, check_dns1123_subdomain(ascii_lower(text)));
}

void check_webhook_url(const std::string& url, const std::string& field, FieldErrors* errors) {
    // scheme "://" authority path ["?" query] ["#" fragment], RFC 3986.
    const std::size_t colon = url.find(':');
    const std::string scheme = colon == std::string::npos ? "" : url.substr(0, colon);
    if (scheme != "https") {
        errors->invalid(field, scheme,
                        fmt::format("'https' is the only allowed URL scheme{}", kUrlForm));
    }
    std::string rest = colon == std::string::npos ? url : url.substr(colon + 1);
    const auto cut = [&rest](char mark) {
        const std::size_t at = rest.find(mark);
        if (at == std::string::npos) return std::string();
        std::string tail = rest.substr(at + 1);
        rest.resize(at);
        return tail;
    };
    const std::string fragment = cut('#');
    const std::string query = cut('?');
    std::string host;
    if (rest.starts_with("//")) host = rest.substr(2, rest.find('/', 2) - 2);
    std::string user;
    if (const std::size_t at = host.rfind('@'); at != std::string::npos) {
        user = host.substr(0, at);
        host.erase(0, at + 1);
    }
    if (host.empty()) {
        errors->invalid(field, "", fmt::format("host must be specified{}", kUrlForm));
    }
    if (!user.empty()) {
        errors->invalid(field, user, "user information is not permitted in the URL");
    }
    if (!fragment.empty()) {
        errors->invalid(field, fragment, "fragments are not permitted in the URL");
    }
    if (!query.empty()) {
        errors->invalid(field, query, "query parameters are not permitted in the URL");
    }
}

void check_service_path(const std::string& path, const std::string& field, FieldErrors* errors) {
    if (path.empty() || path == "/") return;
    if (path == "//") {
        errors->invalid(field, path, "segment[0] may not be empty");
        return;
    }
    if (!path.starts_with('/')) errors->invalid(field, path, "must start with a '/'");
    std::string_view rest = std::string_view(path).substr(1);
    if (rest.ends_with('/')) rest.remove_suffix(1);
    for (int i = 0;; ++i) {
        const std::size_t slash = rest.find('/');
        const std::string_view step = rest.substr(0, slash);
        if (step.empty()) {
            errors->invalid(field, path, fmt::format("segment[{}] may not be empty", i));
        } else {
            for (const std::string& why : check_dns1123_subdomain(step)) {
                errors->invalid(field, path, fmt::format("segment[{}]: {}", i, why));
            }
        }
        if (slash == std::string_view::npos) return;
        rest.remove_prefix(slash + 1);
    }
}

}  // namespace sluice::registry
