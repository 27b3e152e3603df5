// The evaluator. It counts costs where cel-go's interpreter does; "&&" and "||" absorb errors as cel-spec says.
#include "control/cel/evaluator_private.h"

#include <fmt/core.h>

#include <array>

#include "control/cel/access_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/escape.h"
#include "control/cel/optional_private.h"
#include "control/cel/scalar_key_private.h"

namespace sluice::cel {

namespace {

constexpr std::uint64_t kIdentCost = 1;
constexpr std::uint64_t kListCost = 10;
constexpr std::uint64_t kMapCost = 30;
constexpr std::uint64_t kStructCost = 40;

// No function has more arguments, its receiver counted.
constexpr std::size_t kMaxArguments = 4;

// What cel-go resolves as one attribute, whose first name costs nothing more.
bool is_attribute(const Expr& expr) {
    switch (expr.node) {
        case Node::kIdent: return expr.slot >= 0 || expr.variable >= 0;
        case Node::kSelect: return !expr.test_only;
        case Node::kCall:
            return expr.name == kIndex || expr.name == kOptIndex || expr.name == kOptSelect;
        default: return false;
    }
}

// A made object: a map that knows its type.
class MadeObject final : public MapValue {
public:
    MadeObject(Value::MapRef fields, Type type)
        : fields_(std::move(fields)), type_(std::move(type)) {}
    std::size_t size() const override { return fields_->size(); }
    Result<std::optional<Value>> find(const Value& key) const override {
        return fields_->find(key);
    }
    Result<std::optional<Value>> find(std::string_view name) const override {
        return fields_->find(name);
    }
    std::vector<Value> keys() const override { return fields_->keys(); }
    std::optional<Type> type() const override { return type_; }
    int depth() const override { return fields_->depth(); }

private:
    Value::MapRef fields_;
    Type type_;
};

// Nullopt: the optional has no value, and what it was given for is left out.
Result<std::optional<Value>> given(Value value, bool optional, std::string_view what) {
    if (!optional) return std::optional<Value>(std::move(value));
    const auto* wrapped = value.as<OptionalValue>();
    if (wrapped == nullptr) {
        return make_error(Code::kInvalidArgument,
                          "cannot initialize optional {} from non-optional value {}", what,
                          shown(value));
    }
    return wrapped->value();
}

bool is_optional(const Expr& expr, std::size_t index) {
    return index < expr.optionals.size() && expr.optionals[index];
}

// Expressions under evaluation on a thread's stack: those of a program, and of others that its variables ask for.
thread_local int evaluated_depth = 0;

class Level {
public:
    explicit Level(int* depth) : depth_(depth) { ++*depth_; }
    ~Level() { --*depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    [[nodiscard]] bool too_deep() const { return *depth_ > kMaxEvaluationDepth; }

private:
    int* const depth_;
};

}  // namespace

Evaluator::Evaluator(const Program::Data& program, const Activation& activation, Meter* meter)
    : program_(program),
      activation_(activation),
      meter_(meter),
      depth_(&evaluated_depth),
      regexes_(program.regexes),
      locals_(static_cast<std::size_t>(program.locals), Value()),
      variables_(program.variables.size()) {}

Result<Value> Evaluator::eval(const Expr& expr) {
    const Level level(depth_);
    if (level.too_deep()) return failed("expressions are nested too deeply");
    switch (expr.node) {
        case Node::kLiteral: return expr.literal;
        case Node::kIdent: return ident(expr);
        case Node::kSelect: return select(expr);
        default: break;
    }
    auto made = make(expr);
    if (made && made->depth() > kMaxValueDepth) return nested_too_deeply();
    return made;
}

Result<Value> Evaluator::make(const Expr& expr) {
    switch (expr.node) {
        case Node::kCall: return call(expr);
        case Node::kList: return list(expr);
        case Node::kMap: return map(expr);
        case Node::kStruct: return structure(expr);
        case Node::kComprehension: return comprehension(expr);
        default: break;
    }
    return no_such_overload();
}

Result<Value> Evaluator::ident(const Expr& expr) {
    if (expr.slot < 0 && expr.variable < 0) return expr.literal;
    if (!meter_->charge(kIdentCost)) return Meter::stopped();
    if (expr.slot >= 0) return local(expr.slot);
    const auto index = static_cast<std::size_t>(expr.variable);
    std::optional<Result<Value>>& known = variables_[index];
    if (!known) {
        auto found = activation_.find(program_.variables[index]);
        if (!found) {
            known.emplace(std::move(found).error());
        } else if (!*found) {
            known.emplace(make_error(Code::kNotFound, "no such attribute(s): {}",
                                     program_.variables[index]));
        } else {
            known.emplace(std::move(**found));
        }
    }
    return *known;
}

Result<Value> Evaluator::select(const Expr& expr) {
    SLUICE_TRY_ASSIGN(const Value operand, eval(*expr.args[0]));
    if (!is_attribute(*expr.args[0]) && !meter_->charge(kIdentCost)) return Meter::stopped();
    if (expr.test_only) {
        SLUICE_TRY_ASSIGN(const bool has, has_field(operand, expr.name));
        return Value::boolean(has);
    }
    if (!meter_->charge(kIdentCost)) return Meter::stopped();
    return select_field(operand, expr.name);
}

Result<Value> Evaluator::list(const Expr& expr) {
    if (!meter_->build(expr.args.size() * sizeof(Value))) return Meter::stopped();
    std::vector<Value> elements;
    elements.reserve(expr.args.size());
    for (std::size_t i = 0; i < expr.args.size(); ++i) {
        SLUICE_TRY_ASSIGN(Value value, eval(*expr.args[i]));
        SLUICE_TRY_ASSIGN(auto element,
                          given(std::move(value), is_optional(expr, i), "list element"));
        if (element) elements.push_back(std::move(*element));
    }
    if (!meter_->charge(kListCost)) return Meter::stopped();
    return Value::list(std::move(elements));
}

Result<Value> Evaluator::map(const Expr& expr) {
    if (!meter_->build(expr.args.size() * 2 * sizeof(Value))) return Meter::stopped();
    std::vector<std::pair<Value, Value>> entries;
    std::unordered_map<ScalarKey, std::size_t, ScalarKeyHash> places;
    entries.reserve(expr.args.size() / 2);
    for (std::size_t i = 0; i < expr.args.size(); i += 2) {
        SLUICE_TRY_ASSIGN(Value key, eval(*expr.args[i]));
        SLUICE_TRY_ASSIGN(Value value, eval(*expr.args[i + 1]));
        SLUICE_TRY_ASSIGN(auto entry, given(std::move(value), is_optional(expr, i / 2), "entry"));
        const auto scalar = ScalarKey::of(key);
        if (!scalar) {
            return make_error(Code::kInvalidArgument, "unsupported key type: {}",
                              key.type().name());
        }
        if (!entry) continue;
        // Of equal keys the last counts.
        const auto [place, added] = places.emplace(*scalar, entries.size());
        if (added) {
            entries.emplace_back(std::move(key), std::move(*entry));
        } else {
            entries[place->second].second = std::move(*entry);
        }
    }
    if (!meter_->charge(kMapCost)) return Meter::stopped();
    return Value::map(std::move(entries));
}

Result<Value> Evaluator::structure(const Expr& expr) {
    std::vector<std::pair<Value, Value>> entries;
    for (std::size_t i = 0; i < expr.args.size(); ++i) {
        SLUICE_TRY_ASSIGN(Value value, eval(*expr.args[i]));
        SLUICE_TRY_ASSIGN(auto field, given(std::move(value), is_optional(expr, i), "entry"));
        if (field) entries.emplace_back(Value::string(expr.fields[i]), std::move(*field));
    }
    if (!meter_->charge(kStructCost)) return Meter::stopped();
    const Value fields = Value::map(std::move(entries));
    return Value::map(std::make_shared<MadeObject>(*fields.as_map(), expr.type));
}

Result<Value> Evaluator::call(const Expr& expr) {
    switch (expr.operation) {
        case Operation::kAnd: return logical(expr, false);
        case Operation::kOr: return logical(expr, true);
        case Operation::kConditional: return conditional(expr);
        case Operation::kNotStrictlyFalse: return not_strictly_false(expr);
        case Operation::kOptionalOr: return optional_or(expr);
        case Operation::kIndex:
        case Operation::kOptIndex:
        case Operation::kOptSelect: {
            SLUICE_TRY_ASSIGN(const Value operand, eval(*expr.args[0]));
            SLUICE_TRY_ASSIGN(const Value index, eval(*expr.args[1]));
            const std::uint64_t cost = is_attribute(*expr.args[0]) ? kIdentCost : 2 * kIdentCost;
            if (!meter_->charge(cost)) return Meter::stopped();
            if (expr.operation == Operation::kOptSelect) {
                return select_optional(operand, index.as_string()->view());
            }
            return index_value(operand, index, expr.operation == Operation::kOptIndex);
        }
        case Operation::kFunction: return function(expr);
    }
    return no_such_overload();
}

// decisive: the value of one operand that is the result whatever the others are, errors included.
Result<Value> Evaluator::logical(const Expr& expr, bool decisive) {
    std::optional<Error> error;
    for (const ExprPtr& arg : expr.args) {
        auto value = eval(*arg);
        if (meter_->exceeded()) return Meter::stopped();
        const bool* boolean = value ? value->as_bool() : nullptr;
        if (boolean != nullptr && *boolean == decisive) return Value::boolean(decisive);
        if (boolean == nullptr && !error) error = value ? no_such_overload() : value.error();
    }
    if (error) return std::move(*error);
    return Value::boolean(!decisive);
}

Result<Value> Evaluator::conditional(const Expr& expr) {
    SLUICE_TRY_ASSIGN(const Value condition, eval(*expr.args[0]));
    const bool* chosen = condition.as_bool();
    if (chosen == nullptr) return no_such_overload();
    return eval(*expr.args[*chosen ? 1 : 2]);
}

Result<Value> Evaluator::not_strictly_false(const Expr& expr) {
    auto value = eval(*expr.args[0]);
    if (!meter_->charge(1)) return Meter::stopped();
    if (value && value->as_bool() != nullptr) return std::move(*value);
    return Value::boolean(true);
}

Result<Value> Evaluator::optional_or(const Expr& expr) {
    SLUICE_TRY_ASSIGN(Value first, eval(*expr.args[0]));
    const auto* optional = first.as<OptionalValue>();
    if (optional == nullptr) return no_such_overload();
    if (!optional->value()) return eval(*expr.args[1]);
    if (expr.name == "orValue") return *optional->value();
    return first;
}

Result<Value> Evaluator::function(const Expr& expr) {
    std::array<Value, kMaxArguments> values;
    SLUICE_ASSERT(expr.args.size() <= kMaxArguments);
    for (std::size_t i = 0; i < expr.args.size(); ++i) {
        SLUICE_TRY_ASSIGN(values[i], eval(*expr.args[i]));
    }
    const std::span<const Value> args(values.data(), expr.args.size());
    const Overload* chosen = nullptr;
    for (const Overload* overload : expr.overloads) {
        bool fits = true;
        for (std::size_t i = 0; fits && i < args.size(); ++i) {
            fits = fits_type(args[i], overload->args[i]);
        }
        if (!fits) continue;
        chosen = overload;
        break;
    }
    if (chosen == nullptr) {
        if (!meter_->charge(1)) return Meter::stopped();
        return no_overload(expr, args);
    }
    // What a call costs by its arguments is paid before it works on them.
    const bool by_result = chosen->cost == CostRule::kJoin;
    if (!by_result && !meter_->charge(call_cost(chosen->cost, args, nullptr, meter_))) {
        return Meter::stopped();
    }
    CallContext context{*meter_, regexes_, expr.regex};
    auto result = chosen->implementation(context, args);
    if (by_result) {
        const Value* made = result ? &*result : nullptr;
        if (!meter_->charge(call_cost(chosen->cost, args, made, meter_))) return Meter::stopped();
    }
    if (meter_->exceeded()) return Meter::stopped();
    return result;
}

Error Evaluator::no_overload(const Expr& expr, std::span<const Value> args) const {
    // Operators are told by their names only, as those are no names that a user wrote.
    if (expr.name.find('_') != std::string::npos || expr.name[0] == '@') return no_such_overload();
    std::string types;
    for (const Value& arg : args) {
        if (!types.empty()) types += ", ";
        types += arg.type().name();
    }
    return make_error(Code::kInvalidArgument, "no such overload: {}({})", expr.name, types);
}

}  // namespace sluice::cel
