// Kubernetes' library "quantity".
#include "api/codec/quantity.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;
using codec::Quantity;

const Type& quantity_type() {
    static const Type type = Type::opaque("kubernetes.Quantity");
    return type;
}

class QuantityValue final : public OpaqueValue {
public:
    explicit QuantityValue(Quantity value) : quantity(value) {}
    Type type() const override { return quantity_type(); }
    Result<bool> equals(const OpaqueValue& other) const override {
        return quantity == static_cast<const QuantityValue&>(other).quantity;
    }
    const Quantity quantity;
};

const Quantity& quantity(const Value& value) { return value.as<QuantityValue>()->quantity; }
Value made(Quantity value) { return Value::opaque(std::make_shared<QuantityValue>(value)); }

// An int counts as that many units.
Quantity operand(const Value& value) {
    if (const auto* units = value.as_int()) {
        return Quantity::from_units(*units, Quantity::Format::kDecimalExponent);
    }
    return quantity(value);
}

Result<Value> parse(CallContext&, Args args) {
    auto parsed = Quantity::parse(args[0].as_string()->view());
    if (!parsed) return failed("{}", parsed.error().message);
    return made(*parsed);
}

Result<Value> is_quantity(CallContext&, Args args) {
    return Value::boolean(Quantity::parse(args[0].as_string()->view()).has_value());
}

int compare(Args args) {
    const auto order = quantity(args[0]) <=> quantity(args[1]);
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

Result<Value> sign(CallContext&, Args args) {
    const Quantity& q = quantity(args[0]);
    return Value::integer(q.is_negative() ? -1 : q.is_zero() ? 0 : 1);
}
Result<Value> is_greater(CallContext&, Args args) { return Value::boolean(compare(args) > 0); }
Result<Value> is_less(CallContext&, Args args) { return Value::boolean(compare(args) < 0); }
Result<Value> compare_to(CallContext&, Args args) { return Value::integer(compare(args)); }

bool is_whole(const Quantity& q) { return Quantity::from_units(q.units()) == q; }

Result<Value> as_integer(CallContext&, Args args) {
    if (!is_whole(quantity(args[0]))) return failed("cannot convert value to integer");
    return Value::integer(quantity(args[0]).units());
}
Result<Value> is_integer(CallContext&, Args args) {
    return Value::boolean(is_whole(quantity(args[0])));
}

Result<Value> as_float(CallContext&, Args args) {
    return Value::number(quantity(args[0]).approximate());
}

Result<Value> add(CallContext&, Args args) {
    Quantity out = quantity(args[0]);
    out += operand(args[1]);
    return made(out);
}
Result<Value> sub(CallContext&, Args args) {
    Quantity out = quantity(args[0]);
    out -= operand(args[1]);
    return made(out);
}

}  // namespace

void add_quantities(FunctionTable* table) {
    const Type& q = quantity_type();
    const Type s = Type::string();
    const Type i = Type::integer();
    const Type boolean = Type::boolean();
    table->global("quantity", "string_to_quantity", {s}, q, parse, CostRule::kParse);
    table->global("isQuantity", "is_quantity_string", {s}, boolean, is_quantity, CostRule::kParse);
    // In Kubernetes sign is no receiver function, whatever its documentation says.
    table->global("sign", "quantity_sign", {q}, i, sign);
    table->member("isGreaterThan", "quantity_is_greater_than", {q, q}, boolean, is_greater);
    table->member("isLessThan", "quantity_is_less_than", {q, q}, boolean, is_less);
    table->member("compareTo", "quantity_compare_to", {q, q}, i, compare_to);
    table->member("asApproximateFloat", "quantity_get_float", {q}, Type::number(), as_float);
    table->member("asInteger", "quantity_get_int", {q}, i, as_integer);
    table->member("isInteger", "quantity_is_integer", {q}, boolean, is_integer);
    table->member("add", "quantity_add", {q, q}, q, add);
    table->member("add", "quantity_add_int", {q, i}, q, add);
    table->member("sub", "quantity_sub", {q, q}, q, sub);
    table->member("sub", "quantity_sub_int", {q, i}, q, sub);
}

}  // namespace sluice::cel
