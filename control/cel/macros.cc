// Macros: has(), the comprehensions, and optMap(). They are expanded as cel-go expands them, but that what
// optMap() is called on is evaluated once.
#include <fmt/core.h>

#include <string>
#include <utility>

#include "control/cel/parser_private.h"

namespace sluice::cel {

namespace {

class Expander {
public:
    Expander(std::uint32_t offset, Issues* issues) : offset_(offset), issues_(issues) {}

    ExprPtr literal(Value value) const {
        auto out = std::make_unique<Expr>(Node::kLiteral, offset_);
        out->literal = std::move(value);
        return out;
    }
    ExprPtr ident(std::string name) const {
        auto out = std::make_unique<Expr>(Node::kIdent, offset_);
        out->name = std::move(name);
        return out;
    }
    ExprPtr accumulator() const { return ident(kAccumulator); }

    template <class... Args>
    ExprPtr call(const char* function, Args... args) const {
        auto out = std::make_unique<Expr>(Node::kCall, offset_);
        out->name = function;
        (out->args.push_back(std::move(args)), ...);
        return out;
    }
    ExprPtr member(const char* function, ExprPtr target) const {
        ExprPtr out = call(function, std::move(target));
        out->member = true;
        return out;
    }
    // What is in the expression once.
    ExprPtr list_of(ExprPtr element) const {
        auto out = std::make_unique<Expr>(Node::kList, offset_);
        if (element != nullptr) out->args.push_back(std::move(element));
        return out;
    }

    ExprPtr error(const Expr& at, std::string message) const {
        issues_->add(at.offset, std::move(message));
        return literal(Value());
    }

    struct Parts {
        ExprPtr init;
        ExprPtr condition;
        ExprPtr step;
        ExprPtr result;
    };
    ExprPtr comprehension(ExprPtr range, std::string variable, std::string variable2, Parts parts,
                          std::string accumulator = kAccumulator) const {
        auto out = std::make_unique<Expr>(Node::kComprehension, offset_);
        out->loop = std::make_unique<Comprehension>();
        out->loop->range = std::move(range);
        out->loop->variable = std::move(variable);
        out->loop->variable2 = std::move(variable2);
        out->loop->accumulator = std::move(accumulator);
        out->loop->init = std::move(parts.init);
        out->loop->condition = std::move(parts.condition);
        out->loop->step = std::move(parts.step);
        out->loop->result = std::move(parts.result);
        return out;
    }

    // accumulator + what, or the accumulator alone where a filter says so.
    ExprPtr appending(ExprPtr step, ExprPtr filter) const {
        step->accumulates = true;
        if (filter == nullptr) return step;
        return call(kConditional, std::move(filter), std::move(step), accumulator());
    }

    Parts quantifier(const std::string& function, ExprPtr predicate) const {
        if (function == "all") {
            return {literal(Value::boolean(true)), call(kNotStrictlyFalse, accumulator()),
                    call(kLogicalAnd, accumulator(), std::move(predicate)), accumulator()};
        }
        if (function == "exists") {
            return {literal(Value::boolean(false)),
                    call(kNotStrictlyFalse, call(kLogicalNot, accumulator())),
                    call(kLogicalOr, accumulator(), std::move(predicate)), accumulator()};
        }
        return {literal(Value::integer(0)), literal(Value::boolean(true)),
                call(kConditional, std::move(predicate),
                     call("_+_", accumulator(), literal(Value::integer(1))), accumulator()),
                call("_==_", accumulator(), literal(Value::integer(1)))};
    }

    Parts collecting(ExprPtr filter, ExprPtr element) const {
        return {list_of(nullptr), literal(Value::boolean(true)),
                appending(call("_+_", accumulator(), list_of(std::move(element))),
                          std::move(filter)),
                accumulator()};
    }

    Parts inserting(ExprPtr filter, ExprPtr insertion) const {
        return {std::make_unique<Expr>(Node::kMap, offset_), literal(Value::boolean(true)),
                appending(std::move(insertion), std::move(filter)), accumulator()};
    }

    ExprPtr has(ExprPtr arg) const {
        if (arg->node != Node::kSelect || arg->test_only) {
            return error(*arg, "invalid argument to has() macro");
        }
        arg->test_only = true;
        arg->offset = offset_;
        return arg;
    }

    // Evaluates value once as name within body.
    ExprPtr bind(std::string name, ExprPtr value, ExprPtr body) const {
        ExprPtr step = ident(name);
        Parts parts{std::move(value), literal(Value::boolean(false)), std::move(step),
                    std::move(body)};
        return comprehension(list_of(nullptr), "#unused", "", std::move(parts), std::move(name));
    }

    ExprPtr optional_map(bool flat, ExprPtr target, ExprPtr variable, ExprPtr body) const {
        if (variable->node != Node::kIdent) {
            return error(*variable, fmt::format("{}() variable name must be a simple identifier",
                                                flat ? "optFlatMap" : "optMap"));
        }
        // The names "@optional" of nested ones do not meet: a target is evaluated outside of its own binding, and a
        // body does not name it.
        ExprPtr mapped = bind(variable->name, member("value", ident("@optional")), std::move(body));
        if (!flat) mapped = call("optional.of", std::move(mapped));
        ExprPtr chosen = call(kConditional, member("hasValue", ident("@optional")),
                              std::move(mapped), call("optional.none"));
        return bind("@optional", std::move(target), std::move(chosen));
    }

private:
    std::uint32_t offset_;
    Issues* issues_;
};

bool is_quantifier(const std::string& function) {
    return function == "all" || function == "exists" || function == "exists_one";
}

ExprPtr one_variable(const Expander& make, const std::string& function, ExprPtr* target,
                     std::vector<ExprPtr>* args) {
    std::vector<ExprPtr>& in = *args;
    if (is_quantifier(function) && in.size() == 2) {
        if (in[0]->node != Node::kIdent) return make.error(*in[0], "argument must be a simple name");
        return make.comprehension(std::move(*target), in[0]->name, "",
                                  make.quantifier(function, std::move(in[1])));
    }
    const bool is_map = function == "map" && (in.size() == 2 || in.size() == 3);
    const bool is_filter = function == "filter" && in.size() == 2;
    if (!is_map && !is_filter) return nullptr;
    if (in[0]->node != Node::kIdent) return make.error(*in[0], "argument is not an identifier");
    const std::string variable = in[0]->name;
    if (is_filter) {
        return make.comprehension(std::move(*target), variable, "",
                                  make.collecting(std::move(in[1]), std::move(in[0])));
    }
    ExprPtr filter = in.size() == 3 ? std::move(in[1]) : nullptr;
    return make.comprehension(std::move(*target), variable, "",
                              make.collecting(std::move(filter), std::move(in.back())));
}

ExprPtr two_variables(const Expander& make, const std::string& function, ExprPtr* target,
                      std::vector<ExprPtr>* args) {
    std::vector<ExprPtr>& in = *args;
    const bool quantifies = (is_quantifier(function) || function == "existsOne") && in.size() == 3;
    const bool transforms = (function == "transformList" || function == "transformMap" ||
                             function == "transformMapEntry") &&
                            (in.size() == 3 || in.size() == 4);
    if (!quantifies && !transforms) return nullptr;
    for (std::size_t i = 0; i < 2; ++i) {
        if (in[i]->node != Node::kIdent) return make.error(*in[i], "argument must be a simple name");
    }
    const std::string first = in[0]->name;
    const std::string second = in[1]->name;
    if (first == second) return make.error(*in[1], "duplicate variable name: " + first);
    ExprPtr filter = in.size() == 4 ? std::move(in[2]) : nullptr;
    ExprPtr last = std::move(in.back());
    Expander::Parts parts;
    if (quantifies) {
        parts = make.quantifier(function, std::move(last));
    } else if (function == "transformList") {
        parts = make.collecting(std::move(filter), std::move(last));
    } else if (function == "transformMap") {
        parts = make.inserting(std::move(filter), make.call(kMapInsert, make.accumulator(),
                                                            make.ident(first), std::move(last)));
    } else {
        parts = make.inserting(std::move(filter),
                               make.call(kMapInsert, make.accumulator(), std::move(last)));
    }
    return make.comprehension(std::move(*target), first, second, std::move(parts));
}

}  // namespace

ExprPtr expand_macro(std::uint32_t offset, const std::string& function, ExprPtr* target,
                     std::vector<ExprPtr>* args, Issues* issues) {
    const Expander make(offset, issues);
    if (target == nullptr) {
        if (function != "has" || args->size() != 1) return nullptr;
        return make.has(std::move(args->front()));
    }
    if ((function == "optMap" || function == "optFlatMap") && args->size() == 2) {
        return make.optional_map(function == "optFlatMap", std::move(*target),
                                 std::move((*args)[0]), std::move((*args)[1]));
    }
    if (ExprPtr out = one_variable(make, function, target, args)) return out;
    return two_variables(make, function, target, args);
}

}  // namespace sluice::cel
