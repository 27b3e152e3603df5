// The formats of strings that Kubernetes checks. Expressions are those of its library (go-openapi/strfmt), in RE2.
#include <re2/re2.h>

#include <cstdlib>
#include <map>
#include <memory>

#include "api/base/ip_address.h"
#include "api/codec/json_text.h"
#include "api/codec/time.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace sluice::registry {

namespace {

bool all_digits(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// ISO 7812: from the right, every other digit counts twice.
bool luhn(std::string_view digits) {
    int sum = 0;
    bool twice = false;
    for (std::size_t i = digits.size(); i-- > 0;) {
        int digit = digits[i] - '0';
        if (twice && (digit *= 2) > 9) digit -= 9;
        sum += digit;
        twice = !twice;
    }
    return sum % 10 == 0;
}

std::string without_separators(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c != '-' && c != ' ') out += c;
    }
    return out;
}

bool is_isbn10(std::string_view text) {
    const std::string digits = without_separators(text);
    if (digits.size() != 10 || !all_digits(std::string_view(digits).substr(0, 9))) return false;
    int sum = 0;
    for (int i = 0; i < 9; ++i) sum += (i + 1) * (digits[static_cast<std::size_t>(i)] - '0');
    if (digits[9] == 'X') return (sum + 100) % 11 == 0;
    return all_digits(digits) && (sum + 10 * (digits[9] - '0')) % 11 == 0;
}

bool is_isbn13(std::string_view text) {
    const std::string digits = without_separators(text);
    if (digits.size() != 13 || !all_digits(digits)) return false;
    int sum = 0;
    for (int i = 0; i < 12; ++i) sum += (i % 2 == 0 ? 1 : 3) * (digits[static_cast<std::size_t>(i)] - '0');
    return (10 - sum % 10) % 10 == digits[12] - '0';
}

bool is_date(std::string_view text) {
    // A date is what makes a time of day at midnight.
    return text.size() == 10 && codec::parse_time(std::string(text) + "T00:00:00Z").has_value();
}

bool is_hostname(std::string_view text) {
    constexpr std::size_t kMaxHostname = 255;
    static const RE2 expression(
        R"(^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?$)");
    return text.size() <= kMaxHostname &&
           RE2::FullMatch(re2::StringPiece(text.data(), text.size()), expression);
}

bool is_uri(std::string_view text) {
    static const RE2 expression(R"(^(?:[a-zA-Z][a-zA-Z0-9+.-]*:[^\s]*|/[^\s]*)$)");
    return RE2::FullMatch(re2::StringPiece(text.data(), text.size()), expression);
}

bool is_ip(std::string_view text, bool v4) {
    const auto address = IpAddress::parse(text);
    return address.has_value() && address->is_v4() == v4;
}

const RE2* expression_of(std::string_view format) {
    static const auto* const expressions = [] {
        auto* all = new std::map<std::string, std::unique_ptr<const RE2>, std::less<>>;
        const auto add = [all](const char* name, const char* text) {
            (*all)[name] = std::make_unique<const RE2>(text);
        };
        add("bsonobjectid", "^[0-9a-fA-F]{24}$");
        add("email", R"(^[^\s@<>()\[\],;:\\"]+@[^\s@<>()\[\],;:\\"]+$)");
        add("mac",
            "^(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$|^(?:[0-9A-Fa-f]{2}[:-]){7}[0-9A-Fa-f]{2}$|"
            R"(^(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}$)");
        add("uuid", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
        add("uuid3", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
        add("uuid4", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$");
        add("uuid5", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$");
        add("ssn", R"(^\d{3}[- ]?\d{2}[- ]?\d{4}$)");
        add("hexcolor", "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
        add("rgbcolor",
            R"(^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,)"
            R"(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,)"
            R"(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$)");
        return all;
    }();
    const auto found = expressions->find(format);
    return found == expressions->end() ? nullptr : found->second.get();
}

constexpr std::string_view kOtherFormats[] = {
    "uri",    "hostname", "ipv4",     "ipv6",     "cidr",      "byte",   "password",   "date",
    "duration", "datetime", "date-time", "isbn",   "isbn10",    "isbn13", "creditcard", "int32",
    "int64",  "float",    "double"};

}  // namespace

bool is_known_format(std::string_view format) {
    for (const std::string_view known : kOtherFormats) {
        if (format == known) return true;
    }
    return expression_of(format) != nullptr;
}

bool has_format(std::string_view format, std::string_view text) {
    if (const RE2* expression = expression_of(format)) {
        return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *expression);
    }
    if (format == "uri") return is_uri(text);
    if (format == "hostname") return is_hostname(text);
    if (format == "ipv4") return is_ip(text, true);
    if (format == "ipv6") return is_ip(text, false);
    if (format == "cidr") {
        return text.find('/') != std::string_view::npos && IpPrefix::parse(text, true).has_value();
    }
    if (format == "byte") return codec::decode_base64(text).has_value();
    if (format == "date") return is_date(text);
    if (format == "date-time" || format == "datetime") return codec::parse_time(text).has_value();
    if (format == "duration") return codec::parse_duration_ns(text).has_value();
    if (format == "isbn10") return is_isbn10(text);
    if (format == "isbn13") return is_isbn13(text);
    if (format == "isbn") return is_isbn10(text) || is_isbn13(text);
    if (format == "creditcard") {
        const std::string digits = without_separators(text);
        return digits.size() >= 13 && digits.size() <= 19 && all_digits(digits) && luhn(digits);
    }
    return true;
}

}  // namespace sluice::registry
