// Operators on numbers, texts, times and lists; equality and order; "in".
#include <cmath>
#include <string>
#include <utility>

#include "control/cel/ast_private.h"
#include "control/cel/compare_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions/concat_private.h"
#include "control/cel/functions/time_private.h"
#include "control/cel/functions_private.h"
#include "control/cel/lists_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

Error int_overflow() { return failed("integer overflow"); }
Error uint_overflow() { return failed("unsigned integer overflow"); }

// What a sum of signed or unsigned integers is.
template <class Number>
Result<Value> arithmetic(char op, Number a, Number b) {
    constexpr bool kSigned = std::is_signed_v<Number>;
    Number out = 0;
    bool overflow = false;
    switch (op) {
        case '+': overflow = __builtin_add_overflow(a, b, &out); break;
        case '-': overflow = __builtin_sub_overflow(a, b, &out); break;
        case '*': overflow = __builtin_mul_overflow(a, b, &out); break;
        default: {
            if (b == 0) return failed("{}", op == '/' ? "division by zero" : "modulus by zero");
            if constexpr (kSigned) {
                if (a == INT64_MIN && b == -1) return int_overflow();
            }
            out = op == '/' ? a / b : a % b;
        }
    }
    if constexpr (kSigned) {
        if (overflow) return int_overflow();
        return Value::integer(out);
    } else {
        if (overflow) return uint_overflow();
        return Value::uinteger(out);
    }
}

template <char op>
Result<Value> of_ints(CallContext&, Args args) {
    return arithmetic<std::int64_t>(op, *args[0].as_int(), *args[1].as_int());
}
template <char op>
Result<Value> of_uints(CallContext&, Args args) {
    return arithmetic<std::uint64_t>(op, *args[0].as_uint(), *args[1].as_uint());
}
template <char op>
Result<Value> of_doubles(CallContext&, Args args) {
    const double a = *args[0].as_double();
    const double b = *args[1].as_double();
    switch (op) {
        case '+': return Value::number(a + b);
        case '-': return Value::number(a - b);
        case '*': return Value::number(a * b);
        default: return Value::number(a / b);
    }
}

Result<Value> concat_text(CallContext& context, Args args) {
    const bool is_bytes = args[0].kind() == Kind::kBytes;
    const SharedText& a = is_bytes ? *args[0].as_bytes() : *args[0].as_string();
    const SharedText& b = is_bytes ? *args[1].as_bytes() : *args[1].as_string();
    if (!context.meter.build(a.view().size() + b.view().size())) return Meter::stopped();
    std::string out;
    out.reserve(a.view().size() + b.view().size());
    out.append(a.view()).append(b.view());
    return is_bytes ? Value::bytes(std::move(out)) : Value::string(std::move(out));
}

Result<Value> concat_list(CallContext& context, Args args) {
    const Value::ListRef& a = *args[0].as_list();
    const Value::ListRef& b = *args[1].as_list();
    if (a->semantics() == nullptr) return Value::list(concat_lists(a, b));
    // Copied and hashed: about what a hundred bytes each take.
    constexpr std::uint64_t kElementBytes = 100;
    if (!context.meter.build((a->size() + b->size()) * kElementBytes)) return Meter::stopped();
    SLUICE_TRY_ASSIGN(auto merged, merge_lists(a, b));
    return Value::list(std::move(merged));
}

Result<Value> negate(CallContext&, Args args) {
    if (const auto* number = args[0].as_double()) return Value::number(-*number);
    if (*args[0].as_int() == INT64_MIN) return int_overflow();
    return Value::integer(-*args[0].as_int());
}

Result<Value> logical_not(CallContext&, Args args) {
    return Value::boolean(!*args[0].as_bool());
}

template <bool wanted>
Result<Value> equals(CallContext& context, Args args) {
    SLUICE_TRY_ASSIGN(const bool same, equal_values(args[0], args[1], &context.meter));
    return Value::boolean(same == wanted);
}

enum class Order : std::uint8_t { kLess, kLessEqual, kGreater, kGreaterEqual };

template <Order wanted>
Result<Value> ordered(CallContext&, Args args) {
    SLUICE_TRY_ASSIGN(const std::partial_ordering order, compare_values(args[0], args[1]));
    if (order == std::partial_ordering::unordered) return failed("NaN values cannot be ordered");
    switch (wanted) {
        case Order::kLess: return Value::boolean(order < 0);
        case Order::kLessEqual: return Value::boolean(order <= 0);
        case Order::kGreater: return Value::boolean(order > 0);
        case Order::kGreaterEqual: return Value::boolean(order >= 0);
    }
    return no_such_overload();
}

Result<Value> in_list(CallContext& context, Args args) {
    const ListValue& list = **args[1].as_list();
    for (std::size_t i = 0; i < list.size(); ++i) {
        SLUICE_TRY_ASSIGN(const Value element, list.at(i));
        SLUICE_TRY_ASSIGN(const bool same, equal_values(args[0], element, &context.meter));
        if (same) return Value::boolean(true);
    }
    return Value::boolean(false);
}

Result<Value> in_map(CallContext&, Args args) {
    SLUICE_TRY_ASSIGN(const auto found, (*args[1].as_map())->find(args[0]));
    return Value::boolean(found.has_value());
}

Result<Value> size(CallContext& context, Args args) {
    return Value::integer(static_cast<std::int64_t>(size_of(args[0], &context.meter)));
}

void add_arithmetic(FunctionTable* table) {
    const Type i = Type::integer();
    const Type u = Type::uinteger();
    const Type d = Type::number();
    const Type t = Type::timestamp();
    const Type span = Type::duration();
    const Type list = Type::list(Type::param("A"));
    table->global("_+_", "add_bytes", {Type::bytes(), Type::bytes()}, Type::bytes(), concat_text,
                  CostRule::kConcatText);
    table->global("_+_", "add_double", {d, d}, d, of_doubles<'+'>);
    table->global("_+_", "add_duration_duration", {span, span}, span, add_durations);
    table->global("_+_", "add_duration_timestamp", {span, t}, t, add_to_timestamp);
    table->global("_+_", "add_timestamp_duration", {t, span}, t, add_to_timestamp);
    table->global("_+_", "add_int64", {i, i}, i, of_ints<'+'>);
    table->global("_+_", "add_list", {list, list}, list, concat_list, CostRule::kConcatList);
    table->global("_+_", "add_string", {Type::string(), Type::string()}, Type::string(),
                  concat_text, CostRule::kConcatText);
    table->global("_+_", "add_uint64", {u, u}, u, of_uints<'+'>);
    table->global("_-_", "subtract_double", {d, d}, d, of_doubles<'-'>);
    table->global("_-_", "subtract_duration_duration", {span, span}, span, subtract_durations);
    table->global("_-_", "subtract_int64", {i, i}, i, of_ints<'-'>);
    table->global("_-_", "subtract_timestamp_duration", {t, span}, t, subtract_from_timestamp);
    table->global("_-_", "subtract_timestamp_timestamp", {t, t}, span, subtract_timestamps);
    table->global("_-_", "subtract_uint64", {u, u}, u, of_uints<'-'>);
    table->global("_*_", "multiply_double", {d, d}, d, of_doubles<'*'>);
    table->global("_*_", "multiply_int64", {i, i}, i, of_ints<'*'>);
    table->global("_*_", "multiply_uint64", {u, u}, u, of_uints<'*'>);
    table->global("_/_", "divide_double", {d, d}, d, of_doubles<'/'>);
    table->global("_/_", "divide_int64", {i, i}, i, of_ints<'/'>);
    table->global("_/_", "divide_uint64", {u, u}, u, of_uints<'/'>);
    table->global("_%_", "modulo_int64", {i, i}, i, of_ints<'%'>);
    table->global("_%_", "modulo_uint64", {u, u}, u, of_uints<'%'>);
    table->global(kNegate, "negate_double", {d}, d, negate);
    table->global(kNegate, "negate_int64", {i}, i, negate);
}

void add_order(FunctionTable* table, const std::string& name, const std::string& id,
               Implementation implementation) {
    const std::pair<const char*, Type> numbers[] = {{"int64", Type::integer()},
                                                    {"uint64", Type::uinteger()},
                                                    {"double", Type::number()}};
    const std::pair<const char*, Type> others[] = {{"bool", Type::boolean()},
                                                   {"timestamp", Type::timestamp()},
                                                   {"duration", Type::duration()}};
    const Type boolean = Type::boolean();
    for (const auto& [left, a] : numbers) {
        for (const auto& [right, b] : numbers) {
            const std::string suffix = a == b ? left : std::string(left) + "_" + right;
            table->global(name, id + "_" + suffix, {a, b}, boolean, implementation);
        }
    }
    for (const auto& [suffix, type] : others) {
        table->global(name, id + "_" + suffix, {type, type}, boolean, implementation);
    }
    for (const Type& type : {Type::string(), Type::bytes()}) {
        table->global(name, id + "_" + type.name(), {type, type}, boolean, implementation,
                      CostRule::kCompare);
    }
}

}  // namespace

void add_operators(FunctionTable* table) {
    const Type a = Type::param("A");
    const Type b = Type::param("B");
    const Type boolean = Type::boolean();
    const Type list = Type::list(a);
    const Type map = Type::map(a, b);
    table->global(kConditional, "conditional", {boolean, a, a}, a, nullptr);
    table->global(kLogicalAnd, "logical_and", {boolean, boolean}, boolean, nullptr);
    table->global(kLogicalOr, "logical_or", {boolean, boolean}, boolean, nullptr);
    table->global(kNotStrictlyFalse, "not_strictly_false", {boolean}, boolean, nullptr);
    table->global(kLogicalNot, "logical_not", {boolean}, boolean, logical_not);
    table->global("_==_", "equals", {a, a}, boolean, equals<true>, CostRule::kEquals);
    table->global("_!=_", "not_equals", {a, a}, boolean, equals<false>, CostRule::kCompare);
    add_arithmetic(table);
    add_order(table, "_<_", "less", ordered<Order::kLess>);
    add_order(table, "_<=_", "less_equals", ordered<Order::kLessEqual>);
    add_order(table, "_>_", "greater", ordered<Order::kGreater>);
    add_order(table, "_>=_", "greater_equals", ordered<Order::kGreaterEqual>);
    table->global(kIndex, "index_list", {list, Type::integer()}, a, nullptr);
    table->global(kIndex, "index_map", {map, a}, b, nullptr);
    table->global("@in", "in_list", {a, list}, boolean, in_list, CostRule::kInList);
    table->global("@in", "in_map", {a, map}, boolean, in_map);
    for (const Type& type : {Type::bytes(), list, map, Type::string()}) {
        table->global("size", "size_" + type.name(), {type}, Type::integer(), size);
        table->member("size", type.name() + "_size", {type}, Type::integer(), size);
    }
    table->global(kMapInsert, "@mapInsert_map_key_value", {map, a, b}, map, nullptr);
    table->global(kMapInsert, "@mapInsert_map_map", {map, map}, map, nullptr);
}

}  // namespace sluice::cel
