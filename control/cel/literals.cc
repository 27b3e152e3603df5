// Constant arguments that can only fail, and literals of mixed types: found when an expression is written, as
// Kubernetes does since 1.29.
#include <fmt/core.h>

#include "control/cel/checker_private.h"
#include "control/cel/functions/format_string_private.h"
#include "control/cel/functions/time_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

const std::string_view* constant_text(const Expr& expr, std::string_view* out) {
    if (expr.node != Node::kLiteral || expr.literal.as_string() == nullptr) return nullptr;
    *out = expr.literal.as_string()->view();
    return out;
}

void invalid_argument(const Expr& at, std::string_view function, Issues* issues) {
    issues->add(at.offset, fmt::format("invalid {} argument", function));
}

bool takes(char verb, const Type& type) {
    const Kind kind = type.kind();
    const bool integer = kind == Kind::kInt || kind == Kind::kUint;
    if (kind == Kind::kDyn) return true;
    switch (verb) {
        case 'd':
        case 'o': return integer;
        case 'f':
        case 'e': return kind == Kind::kDouble || kind == Kind::kString;
        case 'b': return integer || kind == Kind::kBool;
        case 'x':
        case 'X': return integer || kind == Kind::kString || kind == Kind::kBytes;
        default: return kind != Kind::kOpaque && kind != Kind::kObject;
    }
}

void check_format(const Expr& call, std::string_view format, const Expr& args, Issues* issues) {
    std::size_t used = 0;
    std::size_t at = 0;
    while ((at = format.find('%', at)) != format.npos) {
        if (format.substr(at, 2) == "%%") {
            at += 2;
            continue;
        }
        if (used >= args.args.size()) {
            issues->add(call.offset, fmt::format("index {} out of range", used));
            return;
        }
        const auto clause = parse_format_clause(format, at);
        if (!clause) {
            issues->add(call.offset, clause.error().message);
            return;
        }
        const Expr& arg = *args.args[used++];
        if (!takes(clause->verb, arg.type)) {
            issues->add(arg.offset, "error during formatting: " +
                                        format_type_error(clause->verb, arg.type.name()));
            return;
        }
        at += clause->size;
    }
    if (args.args.size() > used) {
        issues->add(call.offset,
                    fmt::format("too many arguments supplied to string.format (expected {}, got {})",
                                used, args.args.size()));
    }
}

void check_call(const Expr& call, Issues* issues) {
    std::string_view text;
    if (call.name == "duration" && call.args.size() == 1 && constant_text(*call.args[0], &text)) {
        if (!parse_duration(text)) invalid_argument(*call.args[0], "duration", issues);
    } else if (call.name == "timestamp" && call.args.size() == 1 &&
               constant_text(*call.args[0], &text)) {
        if (!parse_timestamp(text)) invalid_argument(*call.args[0], "timestamp", issues);
    } else if (call.name == "matches" && call.args.size() == 2 &&
               constant_text(*call.args[1], &text)) {
        if (!compile_regex(text)) invalid_argument(*call.args[1], "matches", issues);
    } else if (call.name == "format" && call.args.size() == 2 &&
               constant_text(*call.args[0], &text) && call.args[1]->node == Node::kList) {
        check_format(call, text, *call.args[1], issues);
    }
}

// Each part's type is to be the first's: every stride-th argument from the first on.
void check_same_types(const Expr& literal, std::size_t first, std::size_t stride, bool once,
                      Issues* issues) {
    const Type* wanted = nullptr;
    for (std::size_t i = first; i < literal.args.size(); i += stride) {
        const Expr& part = *literal.args[i];
        const std::size_t index = i / stride;
        const bool optional = index < literal.optionals.size() && literal.optionals[index];
        // A key is never optional: the mark of its entry is the value's.
        const bool is_key = stride == 2 && first == 0;
        const Type& type = optional && !is_key && part.type.is_optional() ? part.type.optional_of()
                                                                          : part.type;
        if (wanted == nullptr) {
            wanted = &type;
        } else if (!(*wanted == type)) {
            issues->add(part.offset, fmt::format("expected type '{}' but found '{}'",
                                                 wanted->to_string(), type.to_string()));
            if (once) return;
        }
    }
}

void visit(const Expr& expr, bool in_format, Issues* issues) {
    if (expr.node == Node::kCall) {
        check_call(expr, issues);
        in_format = in_format || expr.name == "format";
    }
    if (expr.node == Node::kList && !in_format) check_same_types(expr, 0, 1, true, issues);
    if (expr.node == Node::kMap && !in_format) {
        check_same_types(expr, 0, 2, false, issues);
        check_same_types(expr, 1, 2, false, issues);
    }
    for (const ExprPtr& arg : expr.args) visit(*arg, in_format, issues);
    if (expr.loop == nullptr) return;
    for (const ExprPtr* part : {&expr.loop->range, &expr.loop->init, &expr.loop->condition,
                                &expr.loop->step, &expr.loop->result}) {
        visit(**part, in_format, issues);
    }
}

}  // namespace

void check_literals(const Expr& expr, Issues* issues) { visit(expr, false, issues); }

}  // namespace sluice::cel
