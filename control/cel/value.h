// Values of the Common Expression Language: small, cheap to copy, immutable; aggregates are looked into only as
// far as an expression does.
//
// A value of an interface (ListValue, MapValue, OpaqueValue) may be a lazy view of something else: of JSON
// (json.h), or of what a caller computes on demand. Values are thread-safe as far as such views are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "api/base/result.h"
#include "control/cel/type.h"

namespace sluice::cel {

class Value;

// Lists, maps and optionals that expressions put into each other, beyond which they are refused: values are compared,
// formatted and destroyed level by level, on the stack.
inline constexpr int kMaxValueDepth = 500;

class ListValue {
public:
    virtual ~ListValue() = default;
    [[nodiscard]] virtual std::size_t size() const = 0;
    // REQUIRES: index < size(). An error: the element is not what its type says.
    [[nodiscard]] virtual Result<Value> at(std::size_t index) const = 0;
    // How it is compared and merged; null: element by element, by appending.
    [[nodiscard]] virtual const ListSemantics* semantics() const { return nullptr; }
    // How many values an expression has put into each other to make it. None: it is a view of what is bounded
    // otherwise, as JSON is.
    [[nodiscard]] virtual int depth() const { return 0; }
};

// Maps, and objects too: those are maps of their fields' names.
class MapValue {
public:
    virtual ~MapValue() = default;
    [[nodiscard]] virtual std::size_t size() const = 0;
    // Nullopt: no such key. Numbers are looked up by value: 1, 1u and 1.0 are one key.
    [[nodiscard]] virtual Result<std::optional<Value>> find(const Value& key) const = 0;
    // The same for a string; what "x.name" asks. The name is as the expression writes it, not unescaped.
    [[nodiscard]] virtual Result<std::optional<Value>> find(std::string_view name) const = 0;
    // What has(x.name) asks.
    [[nodiscard]] virtual Result<bool> has(std::string_view name) const;
    // In the order in which they are iterated.
    [[nodiscard]] virtual std::vector<Value> keys() const = 0;
    // What type(x) is; nullopt: map.
    [[nodiscard]] virtual std::optional<Type> type() const { return std::nullopt; }
    // As a list's.
    [[nodiscard]] virtual int depth() const { return 0; }
};

// A value of a type that only a library knows.
class OpaqueValue {
public:
    virtual ~OpaqueValue() = default;
    [[nodiscard]] virtual Type type() const = 0;
    // other has the same type. Not asked of optionals.
    [[nodiscard]] virtual Result<bool> equals(const OpaqueValue& other) const = 0;
    // As a list's.
    [[nodiscard]] virtual int depth() const { return 0; }
};

// Seconds since 1970 and nanoseconds within the second, [0, 10^9); years 1 to 9999.
struct Timestamp {
    std::int64_t seconds = 0;
    std::int32_t nanos = 0;
    auto operator<=>(const Timestamp&) const = default;
};

struct Duration {
    std::int64_t nanos = 0;
    auto operator<=>(const Duration&) const = default;
};

// Text (UTF-8) or bytes that share their owner; a part of one is made without copying.
class SharedText {
public:
    SharedText() = default;
    explicit SharedText(std::string text);
    // The text lives as long as the owner; null: as long as every value made of it, which the caller takes care of.
    SharedText(std::string_view text, std::shared_ptr<const void> owner)
        : view_(text), owner_(std::move(owner)) {}
    [[nodiscard]] std::string_view view() const { return view_; }
    [[nodiscard]] SharedText part(std::size_t from, std::size_t size) const {
        return {view_.substr(from, size), owner_};
    }

private:
    std::string_view view_;
    std::shared_ptr<const void> owner_;
};

class Value {
public:
    struct Null {};
    struct Bytes {
        SharedText bytes;
    };
    using ListRef = std::shared_ptr<const ListValue>;
    using MapRef = std::shared_ptr<const MapValue>;
    using OpaqueRef = std::shared_ptr<const OpaqueValue>;

    // null.
    Value() = default;
    static Value null() { return {}; }
    static Value boolean(bool value) { return Value(Data(value)); }
    static Value integer(std::int64_t value) { return Value(Data(value)); }
    static Value uinteger(std::uint64_t value) { return Value(Data(value)); }
    static Value number(double value) { return Value(Data(value)); }
    // REQUIRES: UTF-8.
    static Value string(std::string text) { return Value(Data(SharedText(std::move(text)))); }
    static Value string(SharedText text) { return Value(Data(std::move(text))); }
    static Value bytes(std::string bytes) { return Value(Data(Bytes{SharedText(std::move(bytes))})); }
    static Value bytes(SharedText bytes) { return Value(Data(Bytes{std::move(bytes)})); }
    static Value timestamp(Timestamp value) { return Value(Data(value)); }
    static Value duration(Duration value) { return Value(Data(value)); }
    static Value list(ListRef list) { return Value(Data(std::move(list))); }
    static Value list(std::vector<Value> elements);
    static Value map(MapRef map) { return Value(Data(std::move(map))); }
    // Of two entries with one key the first counts; callers take care that there are none.
    static Value map(std::vector<std::pair<Value, Value>> entries);
    static Value type(Type type) { return Value(Data(std::move(type))); }
    static Value opaque(OpaqueRef value) { return Value(Data(std::move(value))); }
    static Value optional_none();
    static Value optional_of(Value value);

    // kDyn never; an object is kMap, an optional kOpaque.
    [[nodiscard]] Kind kind() const;
    [[nodiscard]] bool is_null() const { return std::holds_alternative<Null>(data_); }
    // Null if the value is of another kind.
    [[nodiscard]] const bool* as_bool() const { return std::get_if<bool>(&data_); }
    [[nodiscard]] const std::int64_t* as_int() const { return std::get_if<std::int64_t>(&data_); }
    [[nodiscard]] const std::uint64_t* as_uint() const {
        return std::get_if<std::uint64_t>(&data_);
    }
    [[nodiscard]] const double* as_double() const { return std::get_if<double>(&data_); }
    [[nodiscard]] const SharedText* as_string() const { return std::get_if<SharedText>(&data_); }
    [[nodiscard]] const SharedText* as_bytes() const {
        const auto* bytes = std::get_if<Bytes>(&data_);
        return bytes == nullptr ? nullptr : &bytes->bytes;
    }
    [[nodiscard]] const Timestamp* as_timestamp() const { return std::get_if<Timestamp>(&data_); }
    [[nodiscard]] const Duration* as_duration() const { return std::get_if<Duration>(&data_); }
    [[nodiscard]] const ListRef* as_list() const { return std::get_if<ListRef>(&data_); }
    [[nodiscard]] const MapRef* as_map() const { return std::get_if<MapRef>(&data_); }
    [[nodiscard]] const Type* as_type() const { return std::get_if<Type>(&data_); }
    [[nodiscard]] const OpaqueRef* as_opaque() const { return std::get_if<OpaqueRef>(&data_); }
    // The opaque value as T, null if it is none.
    template <class T>
    [[nodiscard]] const T* as() const {
        const auto* opaque = as_opaque();
        return opaque == nullptr ? nullptr : dynamic_cast<const T*>(opaque->get());
    }

    // That of the list, map or optional; other values have none.
    [[nodiscard]] int depth() const;
    // What type(x) is: of aggregates without the types of their elements.
    [[nodiscard]] Type type() const;

private:
    using Data = std::variant<Null, bool, std::int64_t, std::uint64_t, double, SharedText, Bytes,
                              Timestamp, Duration, ListRef, MapRef, Type, OpaqueRef>;
    explicit Value(Data data) : data_(std::move(data)) {}
    Data data_;
};

}  // namespace sluice::cel
