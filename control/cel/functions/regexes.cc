// Kubernetes' library "regex": find, findAll.
#include "control/cel/errors_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

Result<std::vector<std::string_view>> matches_of(CallContext& context, Args args,
                                                 std::int64_t most) {
    const std::string_view text = args[0].as_string()->view();
    auto regex = context.regexes.get(args[1].as_string()->view(), context.regex, &context.meter);
    if (!regex) {
        if (context.meter.exceeded()) return Meter::stopped();
        return failed("Illegal regex: {}", regex.error().message);
    }
    if (!context.meter.work(kRegexWork * text.size())) return Meter::stopped();
    return regex_find(**regex, text, most, &context.meter);
}

Value part_of(const Value& text, std::string_view part) {
    return Value::string(text.as_string()->part(
        static_cast<std::size_t>(part.data() - text.as_string()->view().data()), part.size()));
}

Result<Value> find(CallContext& context, Args args) {
    SLUICE_TRY_ASSIGN(const auto found, matches_of(context, args, 1));
    if (found.empty()) return Value::string(std::string());
    return part_of(args[0], found[0]);
}

Result<Value> find_all(CallContext& context, Args args) {
    const std::int64_t most = args.size() > 2 ? *args[2].as_int() : -1;
    // Every byte may be a match.
    SLUICE_TRY_ASSIGN(const auto found, matches_of(context, args, most));
    if (!context.meter.build(found.size() * sizeof(Value))) return Meter::stopped();
    std::vector<Value> out;
    out.reserve(found.size());
    for (const std::string_view part : found) out.push_back(part_of(args[0], part));
    return Value::list(std::move(out));
}

}  // namespace

void add_regexes(FunctionTable* table) {
    const Type string = Type::string();
    const Type list = Type::list(string);
    table->member("find", "string_find_string", {string, string}, string, find, CostRule::kFind);
    table->member("findAll", "string_find_all_string", {string, string}, list, find_all,
                  CostRule::kFind);
    table->member("findAll", "string_find_all_string_int", {string, string, Type::integer()}, list,
                  find_all, CostRule::kFind);
}

}  // namespace sluice::cel
