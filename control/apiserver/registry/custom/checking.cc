// Values against schemas. The order of checks and the words are those of Kubernetes' validator, which clients and
// people know.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cmath>
#include <limits>

#include "api/codec/json.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

std::string_view text_of(const json::string& text) { return {text.data(), text.size()}; }

std::string below(const std::string& path, std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

std::string_view type_name(const json::value& value) {
    switch (value.kind()) {
        case json::kind::null: return "null";
        case json::kind::bool_: return "boolean";
        case json::kind::string: return "string";
        case json::kind::array: return "array";
        case json::kind::object: return "object";
        case json::kind::double_: return "number";
        default: return "integer";
    }
}

bool is_integral(const json::value& value) {
    if (value.is_int64() || value.is_uint64()) return true;
    return value.is_double() && std::trunc(value.get_double()) == value.get_double();
}

bool fits_type(std::string_view wanted, const json::value& value) {
    if (wanted == "integer") return is_integral(value);
    if (wanted == "number") return value.is_number();
    return wanted == type_name(value);
}

std::string number_text(double number) { return codec::write_json(json::value(number)); }

std::size_t characters(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
    }));
}

// Errors that the validator makes without a field; Kubernetes shows them under no path.
void unplaced(std::string_view message, FieldErrors* errors) {
    errors->invalid("<nil>", "", message);
}

class Checker {
public:
    Checker(const json::value& value, const json::value* old, const Schema& schema,
            const std::string& path, FieldErrors* errors)
        : value_(value), old_(old), schema_(schema), path_(path), errors_(errors) {}

    // NOLINTNEXTLINE(misc-no-recursion)
    void run() {
        if (old_ != nullptr && equal_values(*old_, value_)) return;
        if (!type()) return;
        if (value_.is_null()) return;
        combinations();
        enumeration();
        if (value_.is_string()) string();
        if (value_.is_number()) number();
        if (value_.is_array()) array();
        if (value_.is_object()) object();
    }

private:
    // "spec.replicas in body"
    [[nodiscard]] std::string where() const { return path_ + " in body"; }

    void invalid(std::string_view what) {
        errors_->invalid(path_, shown_value(value_), where() + " " + std::string(what));
    }

    // False when nothing more can be said of the value.
    bool type() {
        const std::string types = schema_.int_or_string ? "integer,string" : schema_.type;
        if (types.empty()) return true;
        if (value_.is_null() && schema_.nullable) return true;
        const bool fits = schema_.int_or_string
                              ? value_.is_string() || is_integral(value_)
                              : fits_type(schema_.type, value_);
        if (!fits) {
            const std::string_view given = type_name(value_);
            errors_->type_invalid(path_, given,
                                  fmt::format("{} must be of type {}: {}", where(), types,
                                              go_quote(given)));
            return false;
        }
        return true;
    }

    void enumeration() {
        if (schema_.values.empty()) return;
        for (const json::value& one : schema_.values) {
            if (equal_values(one, value_)) return;
        }
        std::vector<std::string> supported;
        for (const json::value& one : schema_.values) {
            const auto* text = one.if_string();
            supported.push_back(text != nullptr ? std::string(text_of(*text))
                                                : codec::write_json(one));
        }
        errors_->not_supported(path_, shown_value(value_), supported);
    }

    void string() {
        const std::string_view text = text_of(value_.get_string());
        const auto length = static_cast<std::int64_t>(characters(text));
        if (schema_.max_length && length > *schema_.max_length) {
            errors_->too_long(path_, static_cast<std::uint64_t>(
                                         std::max<std::int64_t>(0, *schema_.max_length)));
        }
        if (schema_.min_length && length < *schema_.min_length) {
            invalid(fmt::format("should be at least {} chars long", *schema_.min_length));
        }
        if (schema_.expression != nullptr &&
            !RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *schema_.expression)) {
            invalid(fmt::format("should match '{}'", schema_.pattern));
        }
        if (!schema_.format.empty() && !has_format(schema_.format, text)) {
            errors_->type_invalid(path_, shown_value(value_),
                                  fmt::format("{} must be of type {}: {}", where(), schema_.format,
                                              go_quote(text)));
        }
    }

    void number() {
        const auto number = value_.to_number<double>();
        if (schema_.format == "int32" && schema_.type == "integer" &&
            (number > std::numeric_limits<std::int32_t>::max() ||
             number < std::numeric_limits<std::int32_t>::min())) {
            unplaced(fmt::format("Checked value must be of type integer with format int32 in {}",
                                 path_),
                     errors_);
        }
        if (schema_.multiple_of && *schema_.multiple_of > 0) {
            const double parts = number / *schema_.multiple_of;
            if (!std::isfinite(parts) || std::trunc(parts) != parts) {
                invalid("should be a multiple of " + number_text(*schema_.multiple_of));
            }
        }
        if (schema_.maximum && (number > *schema_.maximum ||
                                (schema_.exclusive_maximum && number == *schema_.maximum))) {
            invalid(fmt::format("should be less than {}{}",
                                schema_.exclusive_maximum ? "" : "or equal to ",
                                number_text(*schema_.maximum)));
        }
        if (schema_.minimum && (number < *schema_.minimum ||
                                (schema_.exclusive_minimum && number == *schema_.minimum))) {
            invalid(fmt::format("should be greater than {}{}",
                                schema_.exclusive_minimum ? "" : "or equal to ",
                                number_text(*schema_.minimum)));
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void array() {
        const json::array& items = value_.get_array();
        const auto count = static_cast<std::int64_t>(items.size());
        if (schema_.items != nullptr) {
            const OldItems old(schema_, old_);
            for (std::size_t i = 0; i < items.size(); ++i) {
                const std::string path = fmt::format("{}[{}]", path_, i);
                Checker(items[i], old.find(items[i]), *schema_.items, path, errors_).run();
            }
        }
        if (schema_.min_items && count < *schema_.min_items) {
            errors_->invalid(path_, count, fmt::format("{} should have at least {} items", where(),
                                                       *schema_.min_items));
        }
        if (schema_.max_items && count > *schema_.max_items) {
            errors_->too_many(path_, static_cast<std::uint64_t>(count),
                              static_cast<std::uint64_t>(
                                  std::max<std::int64_t>(0, *schema_.max_items)));
        }
    }

    [[nodiscard]] const json::value* old_member(std::string_view name) const {
        if (old_ == nullptr || !old_->is_object()) return nullptr;
        return old_->get_object().if_contains(name);
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void object() {
        const json::object& members = value_.get_object();
        const auto count = static_cast<std::int64_t>(members.size());
        if (schema_.min_properties && count < *schema_.min_properties) {
            errors_->invalid(path_, *schema_.min_properties,
                             fmt::format("{} should have at least {} properties", where(),
                                         *schema_.min_properties));
        }
        if (schema_.max_properties && count > *schema_.max_properties) {
            errors_->too_many(path_, static_cast<std::uint64_t>(count),
                              static_cast<std::uint64_t>(
                                  std::max<std::int64_t>(0, *schema_.max_properties)));
        }
        for (const std::string& name : schema_.required) {
            if (!members.contains(name)) errors_->required(below(path_, name));
        }
        for (const auto& member : members) {
            const std::string_view name{member.key().data(), member.key().size()};
            const Schema* known = schema_.property(name);
            if (known == nullptr && schema_.additional == Schema::Additional::kNone) {
                errors_->invalid(path_, name,
                                 fmt::format("{}.{} in body is a forbidden property", path_,
                                             name));
                continue;
            }
            if (known == nullptr) known = schema_.additional_schema.get();
            if (known == nullptr) continue;
            const std::string path = below(path_, name);
            Checker(member.value(), old_member(name), *known, path, errors_).run();
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    FieldErrors against(const Schema& schema) const {
        FieldErrors errors;
        Checker(value_, nullptr, schema, path_, &errors).run();
        return errors;
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void combinations() {
        any_of();
        one_of();
        std::size_t held = 0;
        FieldErrors all;
        for (const Schema& one : schema_.all_of) {
            const FieldErrors errors = against(one);
            if (errors.empty()) ++held;
            all.append(errors);
        }
        if (held != schema_.all_of.size()) {
            errors_->append(all);
            unplaced(fmt::format("{} must validate all the schemas (allOf){}", go_quote(path_),
                                 held == 0 ? ". None validated" : ""),
                     errors_);
        }
        if (schema_.negated != nullptr && against(*schema_.negated).empty()) {
            unplaced(fmt::format("{} must not validate the schema (not)", go_quote(path_)),
                     errors_);
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void any_of() {
        if (schema_.any_of.empty()) return;
        FieldErrors best;
        for (const Schema& one : schema_.any_of) {
            const FieldErrors errors = against(one);
            if (errors.empty()) return;
            if (best.empty() || errors.all().size() < best.all().size()) best = errors;
        }
        unplaced(fmt::format("{} must validate at least one schema (anyOf)", go_quote(path_)),
                 errors_);
        errors_->append(best);
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    void one_of() {
        if (schema_.one_of.empty()) return;
        std::size_t held = 0;
        FieldErrors best;
        for (const Schema& one : schema_.one_of) {
            const FieldErrors errors = against(one);
            if (errors.empty()) {
                ++held;
            } else if (best.empty() || errors.all().size() < best.all().size()) {
                best = errors;
            }
        }
        if (held == 1) return;
        unplaced(fmt::format("{} must validate one and only one schema (oneOf). {}",
                             go_quote(path_),
                             held == 0 ? "Found none valid"
                                       : fmt::format("Found {} valid alternatives", held)),
                 errors_);
        if (held == 0) errors_->append(best);
    }

    const json::value& value_;
    const json::value* const old_;
    const Schema& schema_;
    const std::string path_;
    FieldErrors* const errors_;
};

}  // namespace

// NOLINTNEXTLINE(misc-no-recursion)
bool equal_values(const json::value& a, const json::value& b) {
    if (a.is_number() && b.is_number()) {
        if (a.kind() == b.kind()) return a == b;
        return a.to_number<double>() == b.to_number<double>();
    }
    if (a.kind() != b.kind()) return false;
    if (a.is_array()) {
        return std::ranges::equal(a.get_array(), b.get_array(), equal_values);
    }
    if (a.is_object()) {
        if (a.get_object().size() != b.get_object().size()) return false;
        return std::ranges::all_of(a.get_object(), [&b](const json::key_value_pair& member) {
            const json::value* other = b.get_object().if_contains(member.key());
            return other != nullptr && equal_values(member.value(), *other);
        });
    }
    return a == b;
}

BadValue shown_value(const json::value& value) {
    if (const auto* text = value.if_string()) return BadValue(text_of(*text));
    if (value.is_object() || value.is_array()) {
        return BadValue::verbatim(codec::write_sorted_json(value));
    }
    return BadValue::verbatim(codec::write_json(value));
}

void check_value(const json::value& value, const json::value* old, const Schema& schema,
                 const std::string& path, FieldErrors* errors) {
    Checker(value, old, schema, path, errors).run();
}

}  // namespace sluice::registry
