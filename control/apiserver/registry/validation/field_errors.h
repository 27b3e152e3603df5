// Field errors: what is wrong with one object, field by field, in the words of Kubernetes' field.Error, so that
// clients that match on them keep working. Pure values; not thread-safe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::registry {

// A path such as spec.ports[0].port; joins are plain text because paths are built only on the error path's
// way down, a few levels deep.
[[nodiscard]] std::string field_child(std::string_view parent, std::string_view name);
[[nodiscard]] std::string field_index(std::string_view parent, int index);
[[nodiscard]] std::string field_key(std::string_view parent, std::string_view key);

// Text as Go's %q writes it: in double quotes with escapes.
[[nodiscard]] std::string go_quote(std::string_view text);
// A list as Go's %#v writes it: []string{"a", "b"}.
[[nodiscard]] std::string go_string_list(std::span<const std::string> values);

// The value an error shows: quoted text, a number, or something already written in Go's notation.
struct BadValue {
    std::string shown;

    BadValue(std::string_view text) : shown(go_quote(text)) {}          // NOLINT
    BadValue(const std::string& text) : shown(go_quote(text)) {}        // NOLINT
    BadValue(const char* text) : shown(go_quote(text)) {}               // NOLINT
    BadValue(std::int64_t number) : shown(std::to_string(number)) {}    // NOLINT
    BadValue(std::int32_t number) : shown(std::to_string(number)) {}    // NOLINT
    static BadValue verbatim(std::string shown_as) {
        BadValue value{std::int32_t{0}};
        value.shown = std::move(shown_as);
        return value;
    }
};

struct FieldError {
    std::string reason;   // "FieldValueInvalid"
    std::string field;    // "spec.ports[0].port"
    std::string message;  // "Invalid value: 0: must be ..."
};

class FieldErrors {
public:
    void required(std::string field, std::string_view detail = {});
    void invalid(std::string field, const BadValue& value, std::string_view detail);
    void not_supported(std::string field, std::string_view value,
                       std::initializer_list<std::string_view> supported);
    void not_supported(std::string field, const BadValue& value,
                       std::span<const std::string> supported);
    // Invalid, for a value of the wrong type.
    void type_invalid(std::string field, const BadValue& value, std::string_view detail);
    void forbidden(std::string field, std::string_view detail);
    void duplicate(std::string field, const BadValue& value);
    void not_found(std::string field, const BadValue& value);
    void too_long(std::string field, std::uint64_t max_bytes);
    void too_many(std::string field, std::uint64_t count, std::uint64_t max_items);
    // One invalid() for each message.
    void invalid_all(const std::string& field, std::string_view value,
                     const std::vector<std::string>& details);

    [[nodiscard]] bool empty() const { return errors_.empty(); }
    [[nodiscard]] const std::vector<FieldError>& all() const { return errors_; }
    // Those of another collection, behind the ones that are here; below: the path that theirs begin at, if any.
    void append(const FieldErrors& others, std::string_view below = {});
    // "field: message", or "[a, b]" for several; equal ones are named once.
    [[nodiscard]] std::string to_string() const;

private:
    void add(std::string_view reason, std::string field, std::string message);
    std::vector<FieldError> errors_;
};

}  // namespace sluice::registry
