// What a program may cost at least and at most: cel-go 0.22 (checker/cost.go) and Kubernetes 1.32
// (cel/library/cost.go, pkg/apiserver/schema/cel/compilation.go). The figures decide which rules a
// CustomResourceDefinition may have.
#include <algorithm>
#include <cmath>
#include <optional>

#include "control/cel/escape.h"
#include "control/cel/functions_private.h"
#include "control/cel/program_private.h"
#include "control/cel/utf8_private.h"

namespace sluice::cel {

namespace {

constexpr double kTraversalFactor = 0.1;
constexpr double kRegexFactor = 0.25;
constexpr std::uint64_t kUnlimited = UINT64_MAX;
constexpr std::uint64_t kNoMaximum = INT64_MAX;

std::uint64_t sum(std::uint64_t a, std::uint64_t b) { return a > kUnlimited - b ? kUnlimited : a + b; }
std::uint64_t product(std::uint64_t a, std::uint64_t b) {
    return b != 0 && a > kUnlimited / b ? kUnlimited : a * b;
}
std::uint64_t scaled(std::uint64_t a, double factor) {
    const double out = std::ceil(static_cast<double>(a) * factor);
    return out >= 18446744073709551616.0 ? kUnlimited : static_cast<std::uint64_t>(out);
}

// A size or a cost.
struct Span {
    std::uint64_t min = 0;
    std::uint64_t max = 0;

    Span operator+(const Span& other) const {
        return {sum(min, other.min), sum(max, other.max)};
    }
    Span operator*(const Span& other) const {
        return {product(min, other.min), product(max, other.max)};
    }
    Span operator*(double factor) const { return {scaled(min, factor), scaled(max, factor)}; }
    Span united(const Span& other) const {
        return {std::min(min, other.min), std::max(max, other.max)};
    }
};

constexpr Span kOneUnit{1, 1};
constexpr Span kUnknownSize{0, kUnlimited};
constexpr Span kAddressSize{4, 16};
constexpr Span kScalarText{1, 32};

// What is known of a part of the expression.
struct Part {
    Span cost;
    // Of a part that is reached from a variable by fields and elements: as it was declared.
    std::optional<Type> declared;
    // Of a literal, and of what functions make of sizes.
    std::optional<Span> size;
    Type type;
    const Expr* expr = nullptr;
};

struct CallEstimate {
    Span cost;
    std::optional<Span> size;
};

bool is_scalar(const Type& type) {
    switch (type.kind()) {
        case Kind::kBool:
        case Kind::kDouble:
        case Kind::kDuration:
        case Kind::kInt:
        case Kind::kTimestamp:
        case Kind::kUint: return true;
        // type(x) == string: cel-go, too, gives names of types no size.
        case Kind::kType: return true;
        default: return false;
    }
}

// Whether the call writes a scalar as a text, which cel-go takes to be without end: Kubernetes' own examples of
// messageExpressions would be refused.
bool writes_scalar(const Expr& expr, const std::vector<Part>& args) {
    return expr.name == "string" && args.size() == 1 && is_scalar(args[0].type);
}

std::optional<Span> declared_size(const std::optional<Type>& declared) {
    if (!declared) return std::nullopt;
    if (const auto most = declared->max_elements()) return Span{0, *most};
    switch (declared->kind()) {
        case Kind::kString:
        case Kind::kBytes:
        case Kind::kList:
        case Kind::kMap:
        case Kind::kDyn: return Span{0, kNoMaximum};
        default: return Span{0, 0};
    }
}

Span size_of(const Part& part) {
    if (part.size) return *part.size;
    if (const auto size = declared_size(part.declared)) return *size;
    return is_scalar(part.type) ? kOneUnit : kUnknownSize;
}

// The elements of a list, or nullopt for what is none.
std::optional<Part> element_of(const Part& list) {
    if (list.type.kind() != Kind::kList) return std::nullopt;
    Part out;
    out.type = list.type.element();
    if (list.declared && list.declared->kind() == Kind::kList) {
        out.declared = list.declared->element();
    }
    return out;
}

// As functions see it, that know no sizes of scalars.
Span function_size(const Part& part) {
    if (part.size) return *part.size;
    return declared_size(part.declared).value_or(kUnknownSize);
}

// How often a part of this size can be replaced in a text, and how much of the text stays beside what replaces it.
struct Replacing {
    std::uint64_t count = 0;
    std::uint64_t kept = 0;
};

// none: it is replaced nowhere, as that decides.
Replacing replacing(std::uint64_t text, std::uint64_t part, bool none) {
    // Before each code point and at the end.
    if (part == 0) return {text < kUnlimited ? text + 1 : text, text};
    if (none) return {0, text};
    return {scaled(text, 1.0 / static_cast<double>(part)), 0};
}

CallEstimate replaced(const Part& text, const Part& from, const Part& to) {
    const Span size = function_size(text);
    const Span old = function_size(from);
    const Span by = function_size(to);
    const Replacing least = replacing(size.min, old.max, old.max <= by.min);
    const Replacing most = replacing(size.max, old.min, by.max <= old.min);
    return {size * (2 * kTraversalFactor), Span{least.count, most.count} * by + Span{least.kept, most.kept}};
}

CallEstimate joined(const std::vector<Part>& args) {
    const Span count = function_size(args[0]);
    Span size;
    if (const auto element = element_of(args[0])) size = count * function_size(*element);
    if (args.size() > 1) {
        const Span separators{count.min > 0 ? count.min - 1 : 0, count.max > 0 ? count.max - 1 : 0};
        size = size + function_size(args[1]) * separators;
    }
    return {size * kTraversalFactor, size};
}

CallEstimate split(const std::vector<Part>& args) {
    const Span size = function_size(args[0]);
    std::uint64_t most = size.max;
    if (args.size() > 2 && args[2].expr->node == Node::kLiteral) {
        if (const auto* limit = args[2].expr->literal.as_int()) {
            most = static_cast<std::uint64_t>(*limit);
        }
    }
    return {size * (2 * kTraversalFactor), Span{0, most}};
}

Span list_traversal(const Part& list) {
    const auto element = element_of(list);
    if (!element) return function_size(list) * kTraversalFactor;
    Span each = kOneUnit;
    const Kind kind = element->type.kind();
    if (kind == Kind::kString || kind == Kind::kBytes) {
        each = each + function_size(*element) * kTraversalFactor;
    }
    return function_size(list) * each;
}

Span compared(const Part& a, const Part& b) {
    const std::uint64_t most = std::min(size_of(a).max, size_of(b).max);
    return Span{most > 0 ? 1U : 0U, most} * kTraversalFactor;
}

Span matched(Span text, Span pattern) {
    return ((text + kOneUnit) * kTraversalFactor) * (pattern * kRegexFactor);
}

bool is_simple_opaque(const Type& a, const Type& b) {
    return a == b && a.kind() == Kind::kOpaque && !a.is_optional();
}

CallEstimate estimate_call(CostRule rule, const std::vector<Part>& args) {
    constexpr double kValidateFactor = 128 * kRegexFactor;
    constexpr std::uint64_t kAuthorization = 350'000;
    constexpr double kRequirement = 50;
    switch (rule) {
        case CostRule::kOne: return {kOneUnit, {}};
        case CostRule::kConcatList: return {kOneUnit, size_of(args[0]) + size_of(args[1])};
        case CostRule::kParse: return {function_size(args[0]) * kTraversalFactor, {}};
        case CostRule::kFormatString: return {size_of(args[0]) * kTraversalFactor, {}};
        case CostRule::kParseTwice: return {function_size(args[0]) * (2 * kTraversalFactor), {}};
        case CostRule::kPrefix: return {size_of(args[1]) * kTraversalFactor, {}};
        case CostRule::kToBytes: {
            const Span size = size_of(args[0]);
            return {size * kTraversalFactor, Span{size.min, product(size.max, 4)}};
        }
        case CostRule::kToString: {
            const Span size = size_of(args[0]);
            return {size * kTraversalFactor, Span{size.min / 4, size.max}};
        }
        case CostRule::kQuote: {
            const Span size = size_of(args[0]);
            return {size * kTraversalFactor,
                    Span{sum(size.min, 2), sum(product(size.max, 2), 2)}};
        }
        case CostRule::kEquals:
            // Formats are compared by their names, of at most 64 bytes.
            if (args[0].type == args[1].type && args[0].type.name() == "kubernetes.NamedFormat") {
                return {Span{1, 64} * kTraversalFactor, {}};
            }
            if (is_simple_opaque(args[0].type, args[1].type)) return {kOneUnit, {}};
            [[fallthrough]];
        case CostRule::kCompare: return {compared(args[0], args[1]), {}};
        case CostRule::kConcatText: {
            const Span size = size_of(args[0]) + size_of(args[1]);
            return {size * kTraversalFactor, size};
        }
        case CostRule::kContains:
            return {(size_of(args[0]) * kTraversalFactor) * (size_of(args[1]) * kTraversalFactor),
                    {}};
        case CostRule::kMatches: return {matched(size_of(args[0]), size_of(args[1])), {}};
        case CostRule::kFind: {
            const Span size = function_size(args[0]);
            return {matched(size, function_size(args[1])), Span{0, size.max}};
        }
        case CostRule::kInList: return {size_of(args[1]), {}};
        case CostRule::kListTraversal:
        case CostRule::kTextTraversal: return {list_traversal(args[0]), {}};
        case CostRule::kResize: {
            const Span size = function_size(args[0]);
            return {size * kTraversalFactor, size};
        }
        case CostRule::kReplace: return replaced(args[0], args[1], args[2]);
        case CostRule::kSplit: return split(args);
        case CostRule::kJoin: return joined(args);
        case CostRule::kSets:
            return {function_size(args[0]) * function_size(args[1]) + kOneUnit, {}};
        case CostRule::kSetsTwice:
            return {(function_size(args[0]) * function_size(args[1])) * 2.0 + kOneUnit, {}};
        case CostRule::kContainsIp: return {(kAddressSize + kAddressSize) * kTraversalFactor, {}};
        case CostRule::kContainsIpText:
            return {(kAddressSize + kAddressSize) * kTraversalFactor +
                        function_size(args[1]) * kTraversalFactor,
                    {}};
        case CostRule::kContainsCidr:
        case CostRule::kContainsCidrText: {
            Span cost = (kAddressSize + kAddressSize) * kTraversalFactor +
                        kAddressSize * kTraversalFactor + kOneUnit;
            if (rule == CostRule::kContainsCidrText) {
                cost = cost + function_size(args[1]) * kTraversalFactor;
            }
            return {cost, {}};
        }
        case CostRule::kValidate:
            return {function_size(args[1]) * kTraversalFactor * kValidateFactor, {}};
        case CostRule::kAuthorize: return {Span{kAuthorization, kAuthorization}, {}};
        case CostRule::kSelector: {
            const Span size = function_size(args[1]);
            return {Span{10, 10} + size * kTraversalFactor + size * 0.5 * kRequirement, {}};
        }
    }
    return {kOneUnit, {}};
}

class Estimator {
public:
    explicit Estimator(const Program::Data& program)
        : program_(program), locals_(static_cast<std::size_t>(program.locals)) {}

    Part visit(const Expr& expr) {
        Part out;
        switch (expr.node) {
            case Node::kLiteral: out.size = literal_size(expr.literal); break;
            case Node::kIdent: out = ident(expr); break;
            case Node::kSelect: out = select(expr); break;
            case Node::kCall: out = call(expr); break;
            case Node::kList:
                out.cost = of_all(expr) + Span{10, 10};
                out.size = Span{expr.args.size(), expr.args.size()};
                break;
            case Node::kMap:
                out.cost = of_all(expr) + Span{30, 30};
                out.size = Span{expr.args.size() / 2, expr.args.size() / 2};
                break;
            case Node::kStruct: out.cost = of_all(expr) + Span{40, 40}; break;
            case Node::kComprehension: out = comprehension(expr); break;
        }
        out.type = expr.type;
        out.expr = &expr;
        return out;
    }

private:
    static Span literal_size(const Value& value) {
        std::uint64_t size = 1;
        if (const auto* text = value.as_string()) size = count_code_points(text->view());
        if (const auto* bytes = value.as_bytes()) size = bytes->view().size();
        return {size, size};
    }

    Span of_all(const Expr& expr) {
        Span out;
        for (const ExprPtr& arg : expr.args) out = out + visit(*arg).cost;
        return out;
    }

    Part ident(const Expr& expr) {
        Part out;
        out.cost = kOneUnit;
        if (expr.variable >= 0) {
            out.declared = program_.variable_types[static_cast<std::size_t>(expr.variable)];
        } else if (expr.slot >= 0) {
            out.declared = locals_[static_cast<std::size_t>(expr.slot)];
        }
        return out;
    }

    Part select(const Expr& expr) {
        const Part operand = visit(*expr.args[0]);
        Part out;
        out.cost = operand.cost;
        // has() costs nothing itself.
        if (expr.test_only) return out;
        const Kind kind = expr.args[0]->type.kind();
        if (kind == Kind::kMap || kind == Kind::kObject) out.cost = out.cost + kOneUnit;
        if (operand.declared && operand.declared->kind() == Kind::kObject) {
            const auto name = unescape_name(expr.name);
            if (name) out.declared = operand.declared->object_type()->field(*name);
        }
        return out;
    }

    static std::optional<Type> indexed(const Part& operand) {
        if (!operand.declared) return std::nullopt;
        if (operand.declared->kind() == Kind::kList) return operand.declared->element();
        if (operand.declared->kind() == Kind::kMap) return operand.declared->value();
        return std::nullopt;
    }

    Part call(const Expr& expr) {
        std::vector<Part> args;
        Span costs;
        for (const ExprPtr& arg : expr.args) {
            args.push_back(visit(*arg));
            costs = costs + args.back().cost;
        }
        Part out;
        switch (expr.operation) {
            case Operation::kAnd:
            case Operation::kOr: out.cost = {args[0].cost.min, costs.max}; return out;
            case Operation::kConditional:
                out.cost = args[0].cost + args[1].cost.united(args[2].cost);
                out.size = size_of(args[1]).united(size_of(args[2]));
                return out;
            case Operation::kIndex: out.declared = indexed(args[0]); break;
            case Operation::kFunction:
                if (expr.overloads.empty()) break;
                return function(expr, args, costs);
            default: break;
        }
        out.cost = costs + kOneUnit;
        return out;
    }

    // All overloads that the types leave possible.
    static Part function(const Expr& expr, const std::vector<Part>& args, Span costs) {
        Part out;
        Span cost{kUnlimited, 0};
        for (const Overload* overload : expr.overloads) {
            const CallEstimate one = estimate_call(overload->cost, args);
            cost = cost.united(one.cost);
            if (one.size) out.size = out.size ? out.size->united(*one.size) : *one.size;
        }
        if (!out.size && writes_scalar(expr, args)) out.size = kScalarText;
        out.cost = cost + costs;
        return out;
    }

    std::optional<Type>* local(int slot) {
        return slot < 0 ? nullptr : &locals_[static_cast<std::size_t>(slot)];
    }

    Part comprehension(const Expr& expr) {
        const Comprehension& loop = *expr.loop;
        const Part range = visit(*loop.range);
        Span cost = range.cost + visit(*loop.init).cost;
        local(loop.accumulator_slot)->reset();
        std::optional<Type>* variable = local(loop.variable_slot);
        variable->reset();
        if (range.declared && range.declared->kind() == Kind::kList) {
            *variable = range.declared->element();
        } else if (range.declared && range.declared->kind() == Kind::kMap) {
            *variable = range.declared->key();
        }
        if (auto* second = local(loop.variable2_slot)) {
            *second = indexed(range);
            if (range.type.kind() == Kind::kList) variable->reset();
        }
        const Span each = visit(*loop.condition).cost + visit(*loop.step).cost;
        cost = cost + visit(*loop.result).cost;
        const Span count = size_of(range);
        Part out;
        out.cost = cost + count * each;
        out.size = count;
        return out;
    }

    const Program::Data& program_;
    std::vector<std::optional<Type>> locals_;
};

}  // namespace

CostEstimate estimate_cost(const Program::Data& program) {
    const Span cost = Estimator(program).visit(*program.root).cost;
    return {cost.min, cost.max};
}

}  // namespace sluice::cel
