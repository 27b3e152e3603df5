// Kubernetes' library "lists": isSorted, sum, min, max, indexOf, lastIndexOf.
#include <array>

#include "control/cel/compare_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

Result<Value> is_sorted(CallContext&, Args args) {
    const ListValue& list = **args[0].as_list();
    Value before;
    for (std::size_t i = 0; i < list.size(); ++i) {
        SLUICE_TRY_ASSIGN(Value element, list.at(i));
        if (i > 0) {
            SLUICE_TRY_ASSIGN(const auto order, compare_values(before, element));
            if (order > 0) return Value::boolean(false);
        }
        before = std::move(element);
    }
    return Value::boolean(true);
}

// The least or the greatest.
template <bool greatest>
Result<Value> extreme(CallContext&, Args args) {
    const ListValue& list = **args[0].as_list();
    if (list.size() == 0) return failed("{} called on empty list", greatest ? "max" : "min");
    SLUICE_TRY_ASSIGN(Value best, list.at(0));
    for (std::size_t i = 1; i < list.size(); ++i) {
        SLUICE_TRY_ASSIGN(Value element, list.at(i));
        SLUICE_TRY_ASSIGN(const auto order, compare_values(best, element));
        if (greatest ? order < 0 : order > 0) best = std::move(element);
    }
    return best;
}

// An empty list's sum is zero of its elements' declared type, so that there is one function for each.
template <Kind kind>
Result<Value> sum(CallContext& context, Args args) {
    const ListValue& list = **args[0].as_list();
    Value total = kind == Kind::kInt      ? Value::integer(0)
                  : kind == Kind::kUint   ? Value::uinteger(0)
                  : kind == Kind::kDouble ? Value::number(0)
                                          : Value::duration({});
    static const Function& add = *all_functions().find("_+_");
    const Overload* plus = nullptr;
    for (const auto& overload : add.overloads) {
        if (overload->args[0].kind() == kind && overload->args[1].kind() == kind) {
            plus = overload.get();
        }
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
        SLUICE_TRY_ASSIGN(const Value element, list.at(i));
        if (element.kind() != kind) return no_such_overload();
        const std::array<Value, 2> both = {total, element};
        SLUICE_TRY_ASSIGN(total, plus->implementation(context, both));
    }
    return total;
}

template <bool last>
Result<Value> index_of(CallContext& context, Args args) {
    const ListValue& list = **args[0].as_list();
    for (std::size_t i = 0; i < list.size(); ++i) {
        const std::size_t at = last ? list.size() - 1 - i : i;
        SLUICE_TRY_ASSIGN(const Value element, list.at(at));
        SLUICE_TRY_ASSIGN(const bool same, equal_values(element, args[1], &context.meter));
        if (same) return Value::integer(static_cast<std::int64_t>(at));
    }
    return Value::integer(-1);
}

template <Kind kind>
void add_sum(FunctionTable* table, const Type& type) {
    table->member("sum", "list_" + type.name() + "_sum", {Type::list(type)}, type, sum<kind>,
                  CostRule::kListTraversal);
}

}  // namespace

void add_lists(FunctionTable* table) {
    for (const Type& type : {Type::integer(), Type::uinteger(), Type::number(), Type::boolean(),
                             Type::duration(), Type::timestamp(), Type::string(), Type::bytes()}) {
        const std::string id = "list_" + type.name();
        const Type list = Type::list(type);
        table->member("isSorted", id + "_is_sorted", {list}, Type::boolean(), is_sorted,
                      CostRule::kListTraversal);
        table->member("max", id + "_max", {list}, type, extreme<true>, CostRule::kListTraversal);
        table->member("min", id + "_min", {list}, type, extreme<false>, CostRule::kListTraversal);
    }
    add_sum<Kind::kInt>(table, Type::integer());
    add_sum<Kind::kUint>(table, Type::uinteger());
    add_sum<Kind::kDouble>(table, Type::number());
    add_sum<Kind::kDuration>(table, Type::duration());
    const Type a = Type::param("A");
    table->member("indexOf", "list_a_index_of_int", {Type::list(a), a}, Type::integer(),
                  index_of<false>, CostRule::kListTraversal);
    table->member("lastIndexOf", "list_a_last_index_of_int", {Type::list(a), a}, Type::integer(),
                  index_of<true>, CostRule::kListTraversal);
}

}  // namespace sluice::cel
