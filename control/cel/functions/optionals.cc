// Optional values: optional.of, optional.none, optional.ofNonZeroValue, hasValue, value, or, orValue.
#include "control/cel/ast_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions_private.h"
#include "control/cel/optional_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

bool is_zero(const Value& value) {
    switch (value.kind()) {
        case Kind::kNull: return true;
        case Kind::kBool: return !*value.as_bool();
        case Kind::kInt: return *value.as_int() == 0;
        case Kind::kUint: return *value.as_uint() == 0;
        case Kind::kDouble: return *value.as_double() == 0;
        case Kind::kString: return value.as_string()->view().empty();
        case Kind::kBytes: return value.as_bytes()->view().empty();
        case Kind::kDuration: return value.as_duration()->nanos == 0;
        case Kind::kList: return (*value.as_list())->size() == 0;
        case Kind::kMap: return (*value.as_map())->size() == 0;
        default: {
            const auto* optional = value.as<OptionalValue>();
            return optional != nullptr && (!optional->value() || is_zero(*optional->value()));
        }
    }
}

Result<Value> of(CallContext&, Args args) { return Value::optional_of(args[0]); }

Result<Value> of_non_zero(CallContext&, Args args) {
    return is_zero(args[0]) ? Value::optional_none() : Value::optional_of(args[0]);
}

Result<Value> none(CallContext&, Args) { return Value::optional_none(); }

Result<Value> value_of(CallContext&, Args args) {
    const auto& value = args[0].as<OptionalValue>()->value();
    if (!value) return failed("optional.none() dereference");
    return *value;
}

Result<Value> has_value(CallContext&, Args args) {
    return Value::boolean(args[0].as<OptionalValue>()->value().has_value());
}

}  // namespace

void add_optionals(FunctionTable* table) {
    const Type k = Type::param("K");
    const Type v = Type::param("V");
    const Type optional = Type::optional(v);
    const Type list = Type::list(v);
    const Type map = Type::map(k, v);
    const Type integer = Type::integer();
    table->global("optional.of", "optional_of", {v}, optional, of);
    table->global("optional.ofNonZeroValue", "optional_ofNonZeroValue", {v}, optional,
                  of_non_zero);
    table->global("optional.none", "optional_none", {}, optional, none);
    table->member("value", "optional_value", {optional}, v, value_of);
    table->member("hasValue", "optional_hasValue", {optional}, Type::boolean(), has_value);
    // The evaluator does these.
    table->member("or", "optional_or_optional", {optional, optional}, optional, nullptr);
    table->member("orValue", "optional_orValue_value", {optional, v}, v, nullptr);
    table->global(kOptIndex, "list_optindex_optional_int", {list, integer}, optional, nullptr);
    table->global(kOptIndex, "optional_list_optindex_optional_int",
                  {Type::optional(list), integer}, optional, nullptr);
    table->global(kOptIndex, "map_optindex_optional_value", {map, k}, optional, nullptr);
    table->global(kOptIndex, "optional_map_optindex_optional_value", {Type::optional(map), k},
                  optional, nullptr);
    table->global(kIndex, "optional_list_index_int", {Type::optional(list), integer}, optional,
                  nullptr);
    table->global(kIndex, "optional_map_index_value", {Type::optional(map), k}, optional, nullptr);
}

}  // namespace sluice::cel
