// cel-go's extension "sets": lists as sets. Their cost is the product of their sizes, as cel-go compares each
// with each.
#include "control/cel/compare_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

Result<bool> has(const ListValue& list, const Value& wanted, Meter* meter) {
    for (std::size_t i = 0; i < list.size(); ++i) {
        SLUICE_TRY_ASSIGN(const Value element, list.at(i));
        SLUICE_TRY_ASSIGN(const bool same, equal_values(element, wanted, meter));
        if (same) return true;
    }
    return false;
}

// Whether each element of the second is in the first; any: whether one is.
Result<bool> covers(const Value& list, const Value& others, bool any, Meter* meter) {
    const ListValue& elements = **others.as_list();
    for (std::size_t i = 0; i < elements.size(); ++i) {
        SLUICE_TRY_ASSIGN(const Value element, elements.at(i));
        SLUICE_TRY_ASSIGN(const bool found, has(**list.as_list(), element, meter));
        if (found == any) return any;
    }
    return !any;
}

Result<Value> contains(CallContext& context, Args args) {
    SLUICE_TRY_ASSIGN(const bool all, covers(args[0], args[1], false, &context.meter));
    return Value::boolean(all);
}

Result<Value> intersects(CallContext& context, Args args) {
    SLUICE_TRY_ASSIGN(const bool any, covers(args[0], args[1], true, &context.meter));
    return Value::boolean(any);
}

Result<Value> equivalent(CallContext& context, Args args) {
    SLUICE_TRY_ASSIGN(const bool forth, covers(args[0], args[1], false, &context.meter));
    if (!forth) return Value::boolean(false);
    SLUICE_TRY_ASSIGN(const bool back, covers(args[1], args[0], false, &context.meter));
    return Value::boolean(back);
}

}  // namespace

void add_sets(FunctionTable* table) {
    const Type list = Type::list(Type::param("T"));
    const Type boolean = Type::boolean();
    table->global("sets.contains", "list_sets_contains_list", {list, list}, boolean, contains,
                  CostRule::kSets);
    table->global("sets.equivalent", "list_sets_equivalent_list", {list, list}, boolean,
                  equivalent, CostRule::kSetsTwice);
    table->global("sets.intersects", "list_sets_intersects_list", {list, list}, boolean,
                  intersects, CostRule::kSets);
}

}  // namespace sluice::cel
