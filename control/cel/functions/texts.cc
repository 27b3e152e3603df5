// CEL's standard functions on texts: contains, startsWith, endsWith, matches.
#include "control/cel/errors_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

std::string_view text(const Value& value) { return value.as_string()->view(); }

Result<Value> contains(CallContext& context, Args args) {
    if (!count_search(&context.meter, text(args[0]).size(), text(args[1]).size())) {
        return Meter::stopped();
    }
    return Value::boolean(text(args[0]).find(text(args[1])) != std::string_view::npos);
}

Result<Value> starts_with(CallContext&, Args args) {
    return Value::boolean(text(args[0]).substr(0, text(args[1]).size()) == text(args[1]));
}

Result<Value> ends_with(CallContext&, Args args) {
    const std::string_view whole = text(args[0]);
    const std::string_view end = text(args[1]);
    return Value::boolean(whole.size() >= end.size() &&
                          whole.substr(whole.size() - end.size()) == end);
}

Result<Value> matches(CallContext& context, Args args) {
    SLUICE_TRY_ASSIGN(const Regex regex,
                      context.regexes.get(text(args[1]), context.regex, &context.meter));
    if (!context.meter.work(kRegexWork * text(args[0]).size())) return Meter::stopped();
    return Value::boolean(regex_matches(*regex, text(args[0])));
}

}  // namespace

void add_texts(FunctionTable* table) {
    const Type string = Type::string();
    const Type boolean = Type::boolean();
    table->member("contains", "contains_string", {string, string}, boolean, contains,
                  CostRule::kContains);
    table->member("endsWith", "ends_with_string", {string, string}, boolean, ends_with,
                  CostRule::kPrefix);
    table->member("startsWith", "starts_with_string", {string, string}, boolean, starts_with,
                  CostRule::kPrefix);
    table->global("matches", "matches", {string, string}, boolean, matches, CostRule::kMatches);
    table->member("matches", "matches_string", {string, string}, boolean, matches,
                  CostRule::kMatches);
}

}  // namespace sluice::cel
