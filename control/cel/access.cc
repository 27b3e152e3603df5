// Looking into values.
#include "control/cel/access_private.h"

#include <cmath>

#include "api/codec/json_text.h"
#include "control/cel/errors_private.h"
#include "control/cel/optional_private.h"

namespace sluice::cel {

namespace {

// Nullopt: there is nothing at that place.
Result<std::optional<Value>> find_field(const Value& operand, std::string_view name) {
    const auto* map = operand.as_map();
    if (map == nullptr) return no_such_overload();
    return (*map)->find(name);
}

// A list's index may be of any number type, as long as it is whole.
std::optional<std::int64_t> whole_number(const Value& index) {
    if (const auto* i = index.as_int()) return *i;
    if (const auto* u = index.as_uint()) {
        return *u > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(*u);
    }
    if (const auto* d = index.as_double()) {
        constexpr double kMost = 9007199254740992.0;
        if (*d == std::trunc(*d) && std::abs(*d) <= kMost) return static_cast<std::int64_t>(*d);
    }
    return std::nullopt;
}

Result<std::optional<Value>> find_index(const Value& operand, const Value& index) {
    if (const auto* map = operand.as_map()) return (*map)->find(index);
    const auto* list = operand.as_list();
    if (list == nullptr) return no_such_overload();
    const auto at = whole_number(index);
    if (!at) {
        return make_error(Code::kInvalidArgument, "unsupported index type '{}' in list",
                          index.type().name());
    }
    if (*at < 0 || static_cast<std::uint64_t>(*at) >= (*list)->size()) {
        return std::optional<Value>();
    }
    SLUICE_TRY_ASSIGN(Value element, (*list)->at(static_cast<std::size_t>(*at)));
    return std::optional<Value>(std::move(element));
}

Value wrapped(std::optional<Value> found) {
    return found ? Value::optional_of(std::move(*found)) : Value::optional_none();
}

}  // namespace

std::string shown(const Value& value) {
    switch (value.kind()) {
        case Kind::kNull: return "null";
        case Kind::kBool: return *value.as_bool() ? "true" : "false";
        case Kind::kInt: return std::to_string(*value.as_int());
        case Kind::kUint: return std::to_string(*value.as_uint());
        case Kind::kDouble: return codec::format_double(*value.as_double());
        case Kind::kString: return std::string(value.as_string()->view());
        default: return value.type().to_string();
    }
}

Result<Value> select_field(const Value& operand, std::string_view name) {
    if (const auto* optional = operand.as<OptionalValue>()) {
        // Within a value that is there, a field may be missing; but it has to be one that has fields.
        if (optional->value() && optional->value()->as_map() == nullptr) return no_such_overload();
        return select_optional(operand, name);
    }
    SLUICE_TRY_ASSIGN(auto found, find_field(operand, name));
    if (!found) return make_error(Code::kNotFound, "no such key: {}", name);
    return std::move(*found);
}

Result<Value> select_optional(const Value& operand, std::string_view name) {
    const Value* inner = &operand;
    if (const auto* optional = operand.as<OptionalValue>()) {
        if (!optional->value()) return Value::optional_none();
        inner = &*optional->value();
    }
    // What has no fields has none of that name.
    if (inner->as_map() == nullptr) return Value::optional_none();
    SLUICE_TRY_ASSIGN(auto found, find_field(*inner, name));
    return wrapped(std::move(found));
}

Result<bool> has_field(const Value& operand, std::string_view name) {
    if (const auto* optional = operand.as<OptionalValue>()) {
        return optional->value() ? has_field(*optional->value(), name) : Result<bool>(false);
    }
    const auto* map = operand.as_map();
    return map == nullptr ? Result<bool>(false) : (*map)->has(name);
}

Result<Value> index_value(const Value& operand, const Value& index, bool optional) {
    if (const auto* outer = operand.as<OptionalValue>()) {
        if (!outer->value()) return Value::optional_none();
        return index_value(*outer->value(), index, true);
    }
    SLUICE_TRY_ASSIGN(auto found, find_index(operand, index));
    if (optional) return wrapped(std::move(found));
    if (found) return std::move(*found);
    if (operand.as_list() != nullptr) {
        return make_error(Code::kOutOfRange, "index out of bounds: {}", shown(index));
    }
    return make_error(Code::kNotFound, "no such key: {}", shown(index));
}

}  // namespace sluice::cel
