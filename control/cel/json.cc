// Views of JSON, and values as JSON.
#include "control/cel/json.h"

#include <boost/json/value.hpp>
#include <cmath>

#include "api/codec/json_text.h"
#include "api/codec/time.h"
#include "control/cel/errors_private.h"
#include "control/cel/escape.h"
#include "control/cel/functions/time_private.h"

namespace sluice::cel {

namespace {

namespace json = boost::json;
using JsonPtr = std::shared_ptr<const json::value>;

Result<Value> view(const JsonPtr& value, const Type& type);

std::string_view text_of(const json::string& string) { return {string.data(), string.size()}; }

// A part of a value, owned by what owns the whole.
JsonPtr part(const JsonPtr& whole, const json::value& inner) { return {whole, &inner}; }

class JsonList final : public ListValue {
public:
    JsonList(JsonPtr value, Type type) : value_(std::move(value)), type_(std::move(type)) {}
    std::size_t size() const override { return value_->get_array().size(); }
    Result<Value> at(std::size_t index) const override {
        const Type element = type_.kind() == Kind::kList ? type_.element() : Type::dyn();
        return view(part(value_, value_->get_array()[index]), element);
    }
    const ListSemantics* semantics() const override {
        return type_.kind() == Kind::kList ? type_.semantics().get() : nullptr;
    }

private:
    JsonPtr value_;
    Type type_;
};

// An object of any type: its keys as they are.
class JsonMap final : public MapValue {
public:
    JsonMap(JsonPtr value, Type element) : value_(std::move(value)), element_(std::move(element)) {}
    std::size_t size() const override { return value_->get_object().size(); }
    Result<std::optional<Value>> find(const Value& key) const override {
        const auto* name = key.as_string();
        return name == nullptr ? std::optional<Value>() : find(name->view());
    }
    Result<std::optional<Value>> find(std::string_view name) const override {
        const json::value* found = value_->get_object().if_contains({name.data(), name.size()});
        if (found == nullptr) return std::optional<Value>();
        SLUICE_TRY_ASSIGN(Value out, view(part(value_, *found), element_));
        return std::optional<Value>(std::move(out));
    }
    Result<bool> has(std::string_view name) const override {
        return value_->get_object().contains({name.data(), name.size()});
    }
    std::vector<Value> keys() const override {
        std::vector<Value> out;
        out.reserve(size());
        for (const auto& member : value_->get_object()) {
            const std::string_view name(member.key().data(), member.key().size());
            out.push_back(Value::string(SharedText(name, value_)));
        }
        return out;
    }

private:
    JsonPtr value_;
    Type element_;
};

// An object with declared fields: those, by the names that expressions use.
class JsonObject final : public MapValue {
public:
    JsonObject(JsonPtr value, Type type) : value_(std::move(value)), type_(std::move(type)) {}
    std::size_t size() const override { return members().size(); }
    Result<std::optional<Value>> find(const Value& key) const override {
        const auto* name = key.as_string();
        return name == nullptr ? std::optional<Value>() : find(name->view());
    }
    Result<std::optional<Value>> find(std::string_view name) const override {
        const json::value* found = nullptr;
        const auto type = lookup(name, &found);
        if (!type) return std::optional<Value>();
        SLUICE_TRY_ASSIGN(Value out, view(part(value_, *found), *type));
        return std::optional<Value>(std::move(out));
    }
    Result<bool> has(std::string_view name) const override {
        const json::value* found = nullptr;
        return lookup(name, &found).has_value();
    }
    std::vector<Value> keys() const override {
        std::vector<Value> out;
        for (const std::string_view name : members()) {
            const auto escaped = escape_name(name);
            out.push_back(escaped && *escaped != name ? Value::string(*escaped)
                                                      : Value::string(SharedText(name, value_)));
        }
        return out;
    }

private:
    // A member that is null is no member.
    std::optional<Type> lookup(std::string_view name, const json::value** found) const {
        const auto json_name = unescape_name(name);
        if (!json_name) return std::nullopt;
        *found = value_->get_object().if_contains(*json_name);
        if (*found == nullptr || (*found)->is_null()) return std::nullopt;
        return type_.object_type()->field(*json_name);
    }
    std::vector<std::string_view> members() const {
        std::vector<std::string_view> out;
        for (const auto& member : value_->get_object()) {
            const std::string_view name(member.key().data(), member.key().size());
            if (!member.value().is_null() && type_.object_type()->field(name)) out.push_back(name);
        }
        return out;
    }

    JsonPtr value_;
    Type type_;
};

// "3 days" and the like, which Go does not read: a number and a unit's name.
std::optional<Duration> named_duration(std::string_view text) {
    constexpr std::int64_t kDay = 86'400'000'000'000;
    const std::size_t digits = text.find_first_not_of("0123456789");
    if (digits == 0 || digits == text.npos || digits > 6) return std::nullopt;
    std::int64_t number = 0;
    for (const char c : text.substr(0, digits)) number = number * 10 + (c - '0');
    std::string_view unit = text.substr(digits);
    while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
    const bool days = unit == "d" || unit == "day" || unit == "days";
    const bool weeks = unit == "w" || unit == "week" || unit == "weeks";
    if (!days && !weeks) return std::nullopt;
    Duration out;
    if (__builtin_mul_overflow(number, weeks ? 7 * kDay : kDay, &out.nanos)) return std::nullopt;
    return out;
}

Result<Value> text_view(const JsonPtr& value, Kind kind) {
    const std::string_view text = text_of(value->get_string());
    switch (kind) {
        case Kind::kTimestamp: {
            // A date is its midnight.
            constexpr std::size_t kDate = 10;
            auto time = parse_timestamp(text.size() == kDate ? std::string(text) + "T00:00:00Z"
                                                             : std::string(text));
            if (!time) return failed("Invalid date-time formatted string {}", text);
            return Value::timestamp(*time);
        }
        case Kind::kDuration: {
            if (const auto duration = named_duration(text)) return Value::duration(*duration);
            auto duration = parse_duration(text);
            if (!duration) return failed("Invalid duration {}", text);
            return Value::duration(*duration);
        }
        case Kind::kBytes: {
            auto bytes = codec::decode_base64(text);
            if (!bytes) return failed("Invalid byte formatted string {}", text);
            return Value::bytes(std::move(*bytes));
        }
        default: return Value::string(SharedText(text, value));
    }
}

Result<Value> view(const JsonPtr& value, const Type& type) {
    switch (value->kind()) {
        case json::kind::null: return Value::null();
        case json::kind::bool_: return Value::boolean(value->get_bool());
        case json::kind::int64:
            if (type.kind() == Kind::kDouble) {
                return Value::number(static_cast<double>(value->get_int64()));
            }
            return Value::integer(value->get_int64());
        case json::kind::uint64:
            if (type.kind() == Kind::kDouble) {
                return Value::number(static_cast<double>(value->get_uint64()));
            }
            return value->get_uint64() > INT64_MAX
                       ? Value::uinteger(value->get_uint64())
                       : Value::integer(static_cast<std::int64_t>(value->get_uint64()));
        case json::kind::double_: return Value::number(value->get_double());
        case json::kind::string: return text_view(value, type.kind());
        case json::kind::array: return Value::list(std::make_shared<JsonList>(value, type));
        case json::kind::object:
            if (type.kind() == Kind::kObject) {
                return Value::map(std::make_shared<JsonObject>(value, type));
            }
            return Value::map(std::make_shared<JsonMap>(
                value, type.kind() == Kind::kMap ? type.value() : Type::dyn()));
    }
    return no_such_overload();
}

Result<json::value> map_json(const MapValue& map);

Result<json::value> list_json(const ListValue& list) {
    json::array out;
    for (std::size_t i = 0; i < list.size(); ++i) {
        SLUICE_TRY_ASSIGN(const Value element, list.at(i));
        SLUICE_TRY_ASSIGN(json::value made, to_json(element));
        out.push_back(std::move(made));
    }
    return json::value(std::move(out));
}

Result<json::value> map_json(const MapValue& map) {
    json::object out;
    for (const Value& key : map.keys()) {
        const auto* name = key.as_string();
        if (name == nullptr) return failed("a map with keys of type {} is no JSON", key.type().name());
        SLUICE_TRY_ASSIGN(const auto value, map.find(key));
        if (!value) continue;
        SLUICE_TRY_ASSIGN(json::value made, to_json(*value));
        const std::string_view text = name->view();
        out.insert_or_assign({text.data(), text.size()}, std::move(made));
    }
    return json::value(std::move(out));
}

json::value json_text(std::string_view text) {
    return json::value(json::string(text.data(), text.size()));
}

}  // namespace

Value json_view(std::shared_ptr<const json::value> json, const Type& type) {
    auto out = view(json, type);
    if (out) return std::move(*out);
    // A text that is not of its format: as a value of its own, which no function takes.
    return json->is_string() ? Value::string(SharedText(text_of(json->get_string()), json))
                             : Value::null();
}

Result<json::value> to_json(const Value& value) {
    switch (value.kind()) {
        case Kind::kNull: return json::value(nullptr);
        case Kind::kBool: return json::value(*value.as_bool());
        case Kind::kInt: return json::value(*value.as_int());
        case Kind::kUint: return json::value(*value.as_uint());
        case Kind::kDouble:
            if (!std::isfinite(*value.as_double())) return failed("a number that is no JSON");
            return json::value(*value.as_double());
        case Kind::kString: return json_text(value.as_string()->view());
        case Kind::kTimestamp: return json_text(timestamp_text(*value.as_timestamp()));
        case Kind::kDuration: return json_text(duration_text(*value.as_duration()));
        case Kind::kBytes: {
            std::string quoted;
            codec::append_json_base64(value.as_bytes()->view(), &quoted);
            return json_text(std::string_view(quoted).substr(1, quoted.size() - 2));
        }
        case Kind::kList: return list_json(**value.as_list());
        case Kind::kMap: return map_json(**value.as_map());
        default: return failed("a value of type {} is no JSON", value.type().to_string());
    }
}

}  // namespace sluice::cel
