// Conversions between types: int("3"), string(1.5), timestamp("..."), type(x), dyn(x).
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

#include "api/codec/json_text.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions/numbers_private.h"
#include "control/cel/functions/time_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

constexpr double kTwo63 = 9223372036854775808.0;
constexpr double kTwo64 = 18446744073709551616.0;

Result<Value> same(CallContext&, Args args) { return args[0]; }

// strconv's words.
Error bad_syntax(std::string_view function, std::string_view text) {
    return failed("strconv.{}: parsing {}: invalid syntax", function, codec::quoted(text));
}
Error bad_range(std::string_view function, std::string_view text) {
    return failed("strconv.{}: parsing {}: value out of range", function, codec::quoted(text));
}

template <class Number>
Result<Number> parse_integer(std::string_view function, std::string_view text) {
    std::string_view digits = text;
    if (std::is_signed_v<Number> && !digits.empty() && digits[0] == '+') digits.remove_prefix(1);
    Number value = 0;
    const char* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, value);
    const bool twice_signed = digits.size() != text.size() && !digits.empty() && digits[0] == '-';
    if (parsed.ec == std::errc::invalid_argument || parsed.ptr != end || twice_signed) {
        return bad_syntax(function, text);
    }
    if (parsed.ec != std::errc()) return bad_range(function, text);
    return value;
}

Result<Value> to_int(CallContext&, Args args) {
    const Value& from = args[0];
    switch (from.kind()) {
        case Kind::kDouble: {
            const double value = *from.as_double();
            // As cel-go: the ends, which doubles cannot tell from what is beyond them, do not fit.
            if (!(value > -kTwo63 && value < kTwo63)) return failed("integer overflow");
            return Value::integer(static_cast<std::int64_t>(value));
        }
        case Kind::kUint:
            if (*from.as_uint() > INT64_MAX) return failed("integer overflow");
            return Value::integer(static_cast<std::int64_t>(*from.as_uint()));
        case Kind::kString: {
            SLUICE_TRY_ASSIGN(const auto value,
                              parse_integer<std::int64_t>("ParseInt", from.as_string()->view()));
            return Value::integer(value);
        }
        case Kind::kTimestamp: return Value::integer(from.as_timestamp()->seconds);
        case Kind::kDuration: return Value::integer(from.as_duration()->nanos);
        default: return no_such_overload();
    }
}

Result<Value> to_uint(CallContext&, Args args) {
    const Value& from = args[0];
    switch (from.kind()) {
        case Kind::kDouble: {
            const double value = *from.as_double();
            if (!(value >= 0 && value < kTwo64)) return failed("unsigned integer overflow");
            return Value::uinteger(static_cast<std::uint64_t>(value));
        }
        case Kind::kInt:
            if (*from.as_int() < 0) return failed("unsigned integer overflow");
            return Value::uinteger(static_cast<std::uint64_t>(*from.as_int()));
        case Kind::kString: {
            SLUICE_TRY_ASSIGN(const auto value,
                              parse_integer<std::uint64_t>("ParseUint", from.as_string()->view()));
            return Value::uinteger(value);
        }
        default: return no_such_overload();
    }
}

Result<Value> parse_double(std::string_view text) {
    // Go's ParseFloat: decimal and hexadecimal, "inf", "infinity", "nan", with a sign; no spaces.
    const std::string copy(text);
    const bool spaced = text.empty() || std::isspace(static_cast<unsigned char>(text[0])) != 0;
    char* end = nullptr;
    const double value = spaced ? 0 : std::strtod(copy.c_str(), &end);
    const bool whole = !spaced && end == copy.c_str() + copy.size();
    // strtod also reads "nan(text)".
    if (!whole || text.find('(') != text.npos) return bad_syntax("ParseFloat", text);
    const bool named = text.find_first_of("nN") != text.npos;
    if (std::isinf(value) && !named) return bad_range("ParseFloat", text);
    return Value::number(value);
}

Result<Value> to_double(CallContext&, Args args) {
    const Value& from = args[0];
    if (const auto* i = from.as_int()) return Value::number(static_cast<double>(*i));
    if (const auto* u = from.as_uint()) return Value::number(static_cast<double>(*u));
    return parse_double(from.as_string()->view());
}

Result<Value> to_bool(CallContext&, Args args) {
    const std::string_view text = args[0].as_string()->view();
    for (const char* yes : {"1", "t", "T", "TRUE", "true", "True"}) {
        if (text == yes) return Value::boolean(true);
    }
    for (const char* no : {"0", "f", "F", "FALSE", "false", "False"}) {
        if (text == no) return Value::boolean(false);
    }
    return bad_syntax("ParseBool", text);
}

Result<Value> to_bytes(CallContext&, Args args) { return Value::bytes(*args[0].as_string()); }

Result<Value> to_string(CallContext&, Args args) {
    const Value& from = args[0];
    switch (from.kind()) {
        case Kind::kBool: return Value::string(*from.as_bool() ? "true" : "false");
        case Kind::kInt: return Value::string(std::to_string(*from.as_int()));
        case Kind::kUint: return Value::string(std::to_string(*from.as_uint()));
        case Kind::kDouble: return Value::string(short_double(*from.as_double()));
        case Kind::kTimestamp: return Value::string(timestamp_text(*from.as_timestamp()));
        case Kind::kDuration: return Value::string(duration_text(*from.as_duration()));
        case Kind::kBytes:
            if (!codec::is_utf8(from.as_bytes()->view())) {
                return failed("invalid UTF-8 in bytes, cannot convert to string");
            }
            return Value::string(*from.as_bytes());
        default: return no_such_overload();
    }
}

Result<Value> to_timestamp(CallContext&, Args args) {
    if (const auto* seconds = args[0].as_int()) {
        if (!in_range(*seconds)) return failed("timestamp overflow");
        return Value::timestamp({*seconds, 0});
    }
    SLUICE_TRY_ASSIGN(const Timestamp time, parse_timestamp(args[0].as_string()->view()));
    return Value::timestamp(time);
}

Result<Value> to_duration(CallContext&, Args args) {
    if (const auto* nanos = args[0].as_int()) return Value::duration({*nanos});
    SLUICE_TRY_ASSIGN(const Duration duration, parse_duration(args[0].as_string()->view()));
    return Value::duration(duration);
}

Result<Value> type_of(CallContext&, Args args) { return Value::type(args[0].type()); }

}  // namespace

void add_conversions(FunctionTable* table) {
    const Type boolean = Type::boolean();
    const Type bytes = Type::bytes();
    const Type number = Type::number();
    const Type span = Type::duration();
    const Type integer = Type::integer();
    const Type string = Type::string();
    const Type time = Type::timestamp();
    const Type uinteger = Type::uinteger();
    const Type a = Type::param("A");
    table->global("type", "type", {a}, Type::type(a), type_of);
    table->global("dyn", "to_dyn", {a}, Type::dyn(), same);
    table->global("bool", "bool_to_bool", {boolean}, boolean, same);
    table->global("bool", "string_to_bool", {string}, boolean, to_bool);
    table->global("bytes", "bytes_to_bytes", {bytes}, bytes, same);
    table->global("bytes", "string_to_bytes", {string}, bytes, to_bytes, CostRule::kToBytes);
    table->global("double", "double_to_double", {number}, number, same);
    for (const Type& from : {integer, string, uinteger}) {
        table->global("double", from.name() + "_to_double", {from}, number, to_double);
    }
    table->global("duration", "duration_to_duration", {span}, span, same);
    table->global("duration", "int64_to_duration", {integer}, span, to_duration);
    table->global("duration", "string_to_duration", {string}, span, to_duration);
    table->global("int", "int64_to_int64", {integer}, integer, same);
    for (const Type& from : {number, span, string, time, uinteger}) {
        table->global("int", from.name() + "_to_int64", {from}, integer, to_int);
    }
    table->global("string", "string_to_string", {string}, string, same);
    table->global("string", "bytes_to_string", {bytes}, string, to_string, CostRule::kToString);
    for (const Type& from : {boolean, number, span, integer, time, uinteger}) {
        table->global("string", from.name() + "_to_string", {from}, string, to_string);
    }
    table->global("timestamp", "timestamp_to_timestamp", {time}, time, same);
    table->global("timestamp", "int64_to_timestamp", {integer}, time, to_timestamp);
    table->global("timestamp", "string_to_timestamp", {string}, time, to_timestamp);
    table->global("uint", "uint64_to_uint64", {uinteger}, uinteger, same);
    for (const Type& from : {number, integer, string}) {
        table->global("uint", from.name() + "_to_uint64", {from}, uinteger, to_uint);
    }
}

}  // namespace sluice::cel
