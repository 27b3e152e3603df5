// The checker, after cel-go's (checker/checker.go): the same types, and the same words for what is wrong.
#include "control/cel/checker_private.h"

#include <fmt/core.h>

#include <algorithm>

#include "control/cel/escape.h"
#include "control/cel/functions_private.h"
#include "control/cel/unify_private.h"

namespace sluice::cel {

namespace {

bool is_dyn(const Type& type) { return type.kind() == Kind::kDyn; }
bool is_error(const Type& type) { return type.kind() == Kind::kError; }

class Checker {
public:
    Checker(const Environment::Data& environment, Issues* issues)
        : environment_(environment), issues_(issues) {}

    int run(Expr* expr) {
        visit(expr);
        finish(expr);
        return slots_;
    }

private:
    struct Local {
        std::string name;
        Type type;
        int slot;
    };

    void report(const Expr& at, std::string message) { issues_->add(at.offset, std::move(message)); }
    void mismatch(const Expr& at, const Type& expected, const Type& found) {
        report(at, fmt::format("expected type '{}' but found '{}'", shown(expected), shown(found)));
    }
    void undeclared(const Expr& at, std::string_view name) {
        report(at, fmt::format("undeclared reference to '{}' (in container '')", name));
    }
    static std::string shown(const Type& type) { return type.to_string(); }

    void visit(Expr* expr) {
        switch (expr->node) {
            case Node::kLiteral: expr->type = expr->literal.type(); break;
            case Node::kIdent: ident(expr, expr->name); break;
            case Node::kSelect: select(expr); break;
            case Node::kCall: call(expr); break;
            case Node::kList: list(expr); break;
            case Node::kMap: map(expr); break;
            case Node::kStruct: structure(expr); break;
            case Node::kComprehension: comprehension(expr); break;
        }
    }

    // Variables that stayed free become dyn.
    void finish(Expr* expr) {
        expr->type = unifier_.substitute(expr->type, true);
        for (const ExprPtr& arg : expr->args) finish(arg.get());
        if (expr->loop == nullptr) return;
        for (const ExprPtr* part : {&expr->loop->range, &expr->loop->init, &expr->loop->condition,
                                    &expr->loop->step, &expr->loop->result}) {
            finish(part->get());
        }
    }

    const Local* find_local(std::string_view name) const {
        const auto found = std::find_if(locals_.rbegin(), locals_.rend(),
                                        [name](const Local& local) { return local.name == name; });
        return found == locals_.rend() ? nullptr : &*found;
    }

    // Makes the expression a reference to what has the name; false: nothing has.
    bool resolve(Expr* expr, const std::string& name) {
        if (const Local* local = find_local(name)) {
            expr->type = local->type;
            expr->slot = local->slot;
        } else if (const auto found = environment_.variable_index.find(name);
                   found != environment_.variable_index.end()) {
            expr->variable = found->second;
            expr->type = environment_.variables[static_cast<std::size_t>(found->second)].type;
        } else if (const auto type = type_of_name(name)) {
            expr->literal = Value::type(*type);
            expr->type = Type::type(*type);
        } else {
            return false;
        }
        expr->node = Node::kIdent;
        expr->name = name;
        return true;
    }

    std::optional<Type> type_of_name(const std::string& name) const {
        const auto found = environment_.types.find(name);
        return found == environment_.types.end() ? type_named(name) : std::optional(found->second);
    }

    void ident(Expr* expr, const std::string& name) {
        if (resolve(expr, name)) return;
        expr->type = Type::error();
        undeclared(*expr, name);
    }

    // "a.b" of identifiers only, and a is no local: those have no qualified names.
    std::optional<std::string> qualified_name(const Expr& expr) const {
        if (expr.node == Node::kIdent) {
            if (find_local(expr.name) != nullptr) return std::nullopt;
            return expr.name;
        }
        if (expr.node != Node::kSelect || expr.test_only) return std::nullopt;
        auto prefix = qualified_name(*expr.args[0]);
        if (prefix) *prefix += "." + expr.name;
        return prefix;
    }

    void select(Expr* expr) {
        if (const auto name = qualified_name(*expr)) {
            if (environment_.variable_index.count(*name) > 0 || type_of_name(*name)) {
                if (resolve(expr, *name)) {
                    expr->args.clear();
                    return;
                }
            }
        }
        const Type field = field_type(*expr, expr->args[0].get(), expr->name, false);
        expr->type = expr->test_only ? Type::boolean() : unifier_.substitute(field, false);
    }

    Type field_type(const Expr& at, Expr* operand, const std::string& field, bool optional) {
        visit(operand);
        Type target = unifier_.substitute(operand->type, false);
        if (target.is_optional()) {
            optional = true;
            target = unwrapped(target);
        }
        Type out = Type::error();
        switch (target.kind()) {
            case Kind::kMap: out = target.value(); break;
            case Kind::kObject: {
                const auto name = unescape_name(field);
                const auto found = name ? target.object_type()->field(*name) : std::nullopt;
                if (found) {
                    out = *found;
                } else {
                    report(at, fmt::format("undefined field '{}'", field));
                }
                break;
            }
            case Kind::kParam:
                // The variable is not bound to what a later use would make of it.
                (void)unifier_.assignable(Type::dyn(), target);
                out = Type::dyn();
                break;
            default:
                if (!is_dyn(target) && !is_error(target)) {
                    report(at, fmt::format("type '{}' does not support field selection",
                                           shown(target)));
                }
                out = Type::dyn();
        }
        return optional ? Type::optional(out) : out;
    }

    static Type unwrapped(const Type& type) {
        return type.is_optional() ? type.optional_of() : type;
    }

    static Operation operation_of(const Expr& expr) {
        if (expr.member) {
            return expr.name == "or" || expr.name == "orValue" ? Operation::kOptionalOr
                                                               : Operation::kFunction;
        }
        if (expr.name == kLogicalAnd) return Operation::kAnd;
        if (expr.name == kLogicalOr) return Operation::kOr;
        if (expr.name == kConditional) return Operation::kConditional;
        if (expr.name == kNotStrictlyFalse) return Operation::kNotStrictlyFalse;
        if (expr.name == kIndex) return Operation::kIndex;
        if (expr.name == kOptIndex) return Operation::kOptIndex;
        if (expr.name == kOptSelect) return Operation::kOptSelect;
        return Operation::kFunction;
    }

    void call(Expr* expr) {
        expr->operation = operation_of(*expr);
        if (expr->name == kOptSelect) {
            const std::string field(expr->args[1]->literal.as_string()->view());
            visit(expr->args[1].get());
            expr->type = unifier_.substitute(
                field_type(*expr, expr->args[0].get(), field, true), false);
            return;
        }
        const std::size_t first = expr->member ? 1 : 0;
        for (std::size_t i = first; i < expr->args.size(); ++i) visit(expr->args[i].get());
        const Function* function = nullptr;
        if (expr->member) {
            // a.b.c() may be the function "a.b.c".
            if (const auto prefix = qualified_name(*expr->args[0])) {
                function = all_functions().find(*prefix + "." + expr->name);
            }
            if (function != nullptr) {
                expr->name = function->name;
                expr->member = false;
                expr->args.erase(expr->args.begin());
            } else {
                visit(expr->args[0].get());
            }
        }
        if (function == nullptr) function = all_functions().find(expr->name);
        if (function == nullptr) {
            expr->type = Type::error();
            undeclared(*expr, expr->name);
            return;
        }
        overloads(expr, *function);
    }

    void overloads(Expr* expr, const Function& function) {
        if (expr->name == kLogicalAnd || expr->name == kLogicalOr) {
            for (const ExprPtr& arg : expr->args) {
                if (unifier_.assignable(arg->type, Type::boolean())) continue;
                mismatch(*arg, Type::boolean(), unifier_.substitute(arg->type, true));
            }
            expr->type = Type::boolean();
            return;
        }
        std::vector<Type> types;
        for (const ExprPtr& arg : expr->args) types.push_back(arg->type);
        std::optional<Type> result;
        for (const auto& overload : function.overloads) {
            if (overload->member != expr->member || overload->args.size() != types.size()) continue;
            Instance instance(&unifier_);
            std::vector<Type> wanted;
            for (const Type& arg : overload->args) {
                wanted.push_back(overload->generic ? instance.of(arg) : arg);
            }
            if (!unifier_.assignable(types, wanted)) continue;
            const Type made = unifier_.substitute(
                overload->generic ? instance.of(overload->result) : overload->result, false);
            expr->overloads.push_back(overload.get());
            if (!result) {
                result = made;
            } else if (!is_dyn(*result) && !(made == *result)) {
                result = Type::dyn();
            }
        }
        if (!result) {
            expr->type = Type::error();
            no_overload(*expr, types);
            return;
        }
        expr->type = *result;
    }

    void no_overload(const Expr& expr, const std::vector<Type>& types) {
        std::string signature;
        std::size_t first = 0;
        if (expr.member) {
            signature = shown(unifier_.substitute(types[0], true)) + ".";
            first = 1;
        }
        signature += "(";
        for (std::size_t i = first; i < types.size(); ++i) {
            if (i > first) signature += ", ";
            signature += shown(unifier_.substitute(types[i], true));
        }
        report(expr, fmt::format("found no matching overload for '{}' applied to '{})'", expr.name,
                                 signature));
    }

    // The type of an element, entry or field that may be optional.
    Type given_type(const Expr& owner, std::size_t index, const Expr& value) {
        if (index >= owner.optionals.size() || !owner.optionals[index]) return value.type;
        const Type type = unifier_.substitute(value.type, false);
        if (!type.is_optional() && !is_dyn(type)) mismatch(value, Type::optional(type), type);
        return unwrapped(type);
    }

    // The type that several parts of one literal have; literals.cc refuses those of different types.
    void join(std::optional<Type>* joined, const Type& type) {
        if (!*joined) {
            *joined = type;
        } else if (unifier_.assignable(**joined, type)) {
            *joined = Unifier::most_general(**joined, type);
        } else {
            *joined = Type::dyn();
        }
    }

    void list(Expr* expr) {
        std::optional<Type> element;
        for (std::size_t i = 0; i < expr->args.size(); ++i) {
            Expr& arg = *expr->args[i];
            visit(&arg);
            join(&element, given_type(*expr, i, arg));
        }
        expr->type = Type::list(element ? *element : unifier_.fresh());
    }

    void map(Expr* expr) {
        std::optional<Type> key;
        std::optional<Type> value;
        for (std::size_t i = 0; i < expr->args.size(); i += 2) {
            Expr& key_expr = *expr->args[i];
            Expr& value_expr = *expr->args[i + 1];
            visit(&key_expr);
            join(&key, key_expr.type);
            visit(&value_expr);
            join(&value, given_type(*expr, i / 2, value_expr));
        }
        // In this order, for the names of variables follow it.
        const Type key_type = key ? *key : unifier_.fresh();
        expr->type = Type::map(key_type, value ? *value : unifier_.fresh());
    }

    void structure(Expr* expr) {
        const auto type = type_of_name(expr->name);
        if (!type) {
            undeclared(*expr, expr->name);
            expr->type = Type::error();
        } else if (type->kind() != Kind::kObject) {
            report(*expr, fmt::format("'{}' is not a message type", shown(*type)));
            expr->type = Type::error();
        } else {
            expr->type = *type;
        }
        for (std::size_t i = 0; i < expr->args.size(); ++i) {
            Expr& value = *expr->args[i];
            visit(&value);
            if (is_error(expr->type)) continue;
            const auto name = unescape_name(expr->fields[i]);
            const auto field = name ? expr->type.object_type()->field(*name) : std::nullopt;
            if (!field) {
                report(value, fmt::format("undefined field '{}'", expr->fields[i]));
                continue;
            }
            const Type given = given_type(*expr, i, value);
            if (!unifier_.assignable(*field, given)) {
                report(value,
                       fmt::format("expected type of field '{}' is '{}' but provided type is '{}'",
                                   expr->fields[i], shown(*field),
                                   shown(unifier_.substitute(given, true))));
            }
        }
    }

    int declare(const std::string& name, Type type) {
        const auto slot = static_cast<int>(locals_.size());
        locals_.push_back({name, std::move(type), slot});
        slots_ = std::max(slots_, slot + 1);
        return slot;
    }

    // Types of one or two variables that go through the range.
    std::pair<Type, Type> iterated(const Expr& range, bool two) {
        const Type type = unifier_.substitute(range.type, false);
        switch (type.kind()) {
            case Kind::kList:
                return two ? std::pair(Type::integer(), type.element())
                           : std::pair(type.element(), Type::dyn());
            case Kind::kMap: return {type.key(), type.value()};
            case Kind::kDyn:
            case Kind::kError:
            case Kind::kParam:
                (void)unifier_.assignable(Type::dyn(), type);
                return {Type::dyn(), Type::dyn()};
            default:
                report(range, fmt::format("expression of type '{}' cannot be range of a "
                                          "comprehension (must be list, map, or dynamic)",
                                          shown(type)));
                return {Type::error(), Type::error()};
        }
    }

    void comprehension(Expr* expr) {
        Comprehension& loop = *expr->loop;
        visit(loop.range.get());
        visit(loop.init.get());
        const Type accumulated = loop.init->type;
        const bool two = !loop.variable2.empty();
        const auto [first, second] = iterated(*loop.range, two);
        loop.accumulator_slot = declare(loop.accumulator, accumulated);
        loop.variable_slot = declare(loop.variable, first);
        if (two) loop.variable2_slot = declare(loop.variable2, second);
        visit(loop.condition.get());
        expect(loop.condition.get(), Type::boolean());
        visit(loop.step.get());
        expect(loop.step.get(), accumulated);
        locals_.erase(locals_.begin() + loop.variable_slot, locals_.end());
        visit(loop.result.get());
        locals_.pop_back();
        expr->type = unifier_.substitute(loop.result->type, false);
    }

    void expect(Expr* expr, const Type& type) {
        if (unifier_.assignable(type, expr->type)) return;
        mismatch(*expr, unifier_.substitute(type, false),
                 unifier_.substitute(expr->type, false));
    }

    const Environment::Data& environment_;
    Issues* issues_;
    Unifier unifier_;
    std::vector<Local> locals_;
    int slots_ = 0;
};

}  // namespace

int check(Expr* expr, const Environment::Data& environment, Issues* issues) {
    return Checker(environment, issues).run(expr);
}

}  // namespace sluice::cel
