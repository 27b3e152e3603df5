#include "control/apiserver/registry/validation/field_errors.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::registry {

namespace {

// Errors kept for one object; a hostile object with thousands of bad fields is told about the first ones.
constexpr std::size_t kMaxFieldErrors = 200;

std::string with_detail(std::string message, std::string_view detail) {
    if (!detail.empty()) {
        message += ": ";
        message += detail;
    }
    return message;
}

}  // namespace

std::string field_child(std::string_view parent, std::string_view name) {
    if (parent.empty()) return std::string(name);
    return fmt::format("{}.{}", parent, name);
}

std::string field_index(std::string_view parent, int index) {
    return fmt::format("{}[{}]", parent, index);
}

std::string field_key(std::string_view parent, std::string_view key) {
    return fmt::format("{}[{}]", parent, key);
}

std::string go_quote(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        switch (c) {
            case '"': out += "\\\""; break;
            case '\\': out += "\\\\"; break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            default:
                if (byte < 0x20 || byte == 0x7f) {
                    out += fmt::format("\\x{:02x}", byte);
                } else {
                    out += c;
                }
        }
    }
    out += '"';
    return out;
}

std::string go_string_list(std::span<const std::string> values) {
    std::string out = "[]string{";
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i != 0) out += ", ";
        out += go_quote(values[i]);
    }
    return out + "}";
}

void FieldErrors::add(std::string_view reason, std::string field, std::string message) {
    if (errors_.size() >= kMaxFieldErrors) return;
    errors_.push_back({std::string(reason), std::move(field), std::move(message)});
}

void FieldErrors::required(std::string field, std::string_view detail) {
    add("FieldValueRequired", std::move(field), with_detail("Required value", detail));
}

void FieldErrors::invalid(std::string field, const BadValue& value, std::string_view detail) {
    add("FieldValueInvalid", std::move(field),
        with_detail("Invalid value: " + value.shown, detail));
}

void FieldErrors::not_supported(std::string field, std::string_view value,
                                std::initializer_list<std::string_view> supported) {
    std::string list;
    for (const std::string_view item : supported) {
        if (!list.empty()) list += ", ";
        list += go_quote(item);
    }
    add("FieldValueNotSupported", std::move(field),
        fmt::format("Unsupported value: {}: supported values: {}", go_quote(value), list));
}

void FieldErrors::not_supported(std::string field, const BadValue& value,
                                std::span<const std::string> supported) {
    std::string list;
    for (const std::string& item : supported) {
        if (!list.empty()) list += ", ";
        list += go_quote(item);
    }
    add("FieldValueNotSupported", std::move(field),
        fmt::format("Unsupported value: {}: supported values: {}", value.shown, list));
}

void FieldErrors::type_invalid(std::string field, const BadValue& value, std::string_view detail) {
    add("FieldValueTypeInvalid", std::move(field),
        with_detail("Invalid value: " + value.shown, detail));
}

void FieldErrors::append(const FieldErrors& others, std::string_view below) {
    for (const FieldError& error : others.errors_) {
        add(error.reason, below.empty() ? error.field : field_child(below, error.field),
            error.message);
    }
}

void FieldErrors::forbidden(std::string field, std::string_view detail) {
    add("FieldValueForbidden", std::move(field), with_detail("Forbidden", detail));
}

void FieldErrors::duplicate(std::string field, const BadValue& value) {
    add("FieldValueDuplicate", std::move(field), "Duplicate value: " + value.shown);
}

void FieldErrors::not_found(std::string field, const BadValue& value) {
    add("FieldValueNotFound", std::move(field), "Not found: " + value.shown);
}

void FieldErrors::too_long(std::string field, std::uint64_t max_bytes) {
    add("FieldValueTooLong", std::move(field),
        fmt::format("Too long: may not be more than {} bytes", max_bytes));
}

void FieldErrors::too_many(std::string field, std::uint64_t count, std::uint64_t max_items) {
    add("FieldValueTooMany", std::move(field),
        fmt::format("Too many: {}: must have at most {} items", count, max_items));
}

void FieldErrors::invalid_all(const std::string& field, std::string_view value,
                              const std::vector<std::string>& details) {
    for (const std::string& detail : details) invalid(field, value, detail);
}

std::string FieldErrors::to_string() const {
    std::vector<std::string> lines;
    for (const FieldError& error : errors_) {
        std::string line = error.field + ": " + error.message;
        if (std::find(lines.begin(), lines.end(), line) == lines.end()) {
            lines.push_back(std::move(line));
        }
    }
    if (lines.size() == 1) return lines.front();
    return fmt::format("[{}]", fmt::join(lines, ", "));
}

}  // namespace sluice::registry
