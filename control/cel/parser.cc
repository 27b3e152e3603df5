// Recursive descent over the tokens; operators by precedence.
#include "control/cel/parser_private.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

#include "control/cel/lexer_private.h"
#include "control/cel/utf8_private.h"

namespace sluice::cel {

namespace {

constexpr std::array<std::string_view, 17> kReservedWords = {
    "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while"};

constexpr std::string_view kExpectedPrimary =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, "
    "BYTES, IDENTIFIER}";

struct Operator {
    int level = 0;  // 0: none; the higher binds the closer
    const char* function = nullptr;
};

Operator binary_operator(Token token) {
    switch (token) {
        case Token::kLess: return {1, "_<_"};
        case Token::kLessEqual: return {1, "_<=_"};
        case Token::kGreater: return {1, "_>_"};
        case Token::kGreaterEqual: return {1, "_>=_"};
        case Token::kEqual: return {1, "_==_"};
        case Token::kNotEqual: return {1, "_!=_"};
        case Token::kIn: return {1, "@in"};
        case Token::kPlus: return {2, "_+_"};
        case Token::kMinus: return {2, "_-_"};
        case Token::kStar: return {3, "_*_"};
        case Token::kSlash: return {3, "_/_"};
        case Token::kPercent: return {3, "_%_"};
        default: return {};
    }
}

class Parser {
public:
    Parser(std::string_view text, Issues* issues)
        : tokens_(tokenize(text, issues)), issues_(issues) {}

    ExprPtr run() {
        ExprPtr out = expression();
        if (!failed_ && current().token != Token::kEnd) {
            fail(fmt::format("Syntax error: {} input '{}' expecting <EOF>",
                             tokens_[at_ + 1].token == Token::kEnd ? "extraneous" : "mismatched",
                             current().text));
        }
        return failed_ ? nullptr : std::move(out);
    }

private:
    const Lexeme& current() const { return tokens_[at_]; }
    bool is(Token token) const { return current().token == token; }
    const Lexeme& take() {
        const Lexeme& out = tokens_[at_];
        if (out.token != Token::kEnd) ++at_;
        return out;
    }
    bool accept(Token token) {
        if (!is(token)) return false;
        take();
        return true;
    }

    // After the first syntax error there is nothing to go on with.
    void fail(std::string message) {
        if (!failed_) issues_->add(current().offset, std::move(message));
        failed_ = true;
    }
    void unexpected(std::string_view expected) {
        fail(fmt::format("Syntax error: mismatched input '{}' expecting {}", current().text,
                         expected));
    }
    bool expect(Token token, std::string_view name) {
        if (failed_) return false;
        if (accept(token)) return true;
        unexpected(name);
        return false;
    }

    // The expression's own level above those of its parts, within the limit.
    ExprPtr counted(ExprPtr expr, int below) {
        expr->depth = below + 1;
        if (expr->depth > kMaxRecursion && !failed_) {
            issues_->add_general(
                fmt::format("expression recursion limit exceeded: {}", kMaxRecursion));
            failed_ = true;
        }
        return expr;
    }
    static int depth_of(const ExprPtr& expr) { return expr == nullptr ? 0 : expr->depth; }
    ExprPtr hole() const { return std::make_unique<Expr>(Node::kLiteral, current().offset); }

    ExprPtr call(std::uint32_t offset, std::string function, std::vector<ExprPtr> args) {
        int below = 0;
        for (const ExprPtr& arg : args) below = std::max(below, depth_of(arg));
        if (ExprPtr expanded = expand_macro(offset, function, nullptr, &args, issues_)) {
            return counted(std::move(expanded), below);
        }
        auto out = std::make_unique<Expr>(Node::kCall, offset);
        out->name = std::move(function);
        out->args = std::move(args);
        return counted(std::move(out), below);
    }
    ExprPtr call2(std::uint32_t offset, std::string function, ExprPtr a, ExprPtr b) {
        std::vector<ExprPtr> args;
        args.push_back(std::move(a));
        args.push_back(std::move(b));
        return call(offset, std::move(function), std::move(args));
    }

    ExprPtr expression() {
        // What is nested is bounded before it is descended into.
        if (++nesting_ > kMaxRecursion && !failed_) {
            issues_->add_general(
                fmt::format("expression recursion limit exceeded: {}", kMaxRecursion));
            failed_ = true;
        }
        ExprPtr out = failed_ ? hole() : conditional();
        --nesting_;
        return out;
    }

    ExprPtr conditional() {
        ExprPtr condition = logical(Token::kOr);
        if (failed_ || !is(Token::kQuestion)) return condition;
        const std::uint32_t offset = take().offset;
        std::vector<ExprPtr> args;
        args.push_back(std::move(condition));
        args.push_back(logical(Token::kOr));
        expect(Token::kColon, "':'");
        args.push_back(expression());
        return call(offset, kConditional, std::move(args));
    }

    // a || b || c, and within it a && b && c, are one call each.
    ExprPtr logical(Token token) {
        const auto operand = [this, token] {
            return token == Token::kOr ? logical(Token::kAnd) : binary(1);
        };
        ExprPtr first = operand();
        if (failed_ || !is(token)) return first;
        const std::uint32_t offset = current().offset;
        std::vector<ExprPtr> args;
        args.push_back(std::move(first));
        while (!failed_ && accept(token)) args.push_back(operand());
        return call(offset, token == Token::kOr ? kLogicalOr : kLogicalAnd, std::move(args));
    }

    ExprPtr binary(int level) {
        if (level > 3) return unary();
        ExprPtr left = binary(level + 1);
        while (!failed_) {
            const Operator op = binary_operator(current().token);
            if (op.level != level) break;
            const std::uint32_t offset = take().offset;
            ExprPtr right = binary(level + 1);
            left = call2(offset, op.function, std::move(left), std::move(right));
        }
        return left;
    }

    ExprPtr unary() {
        const Token token = current().token;
        if (token != Token::kNot && token != Token::kMinus) return member();
        const Token next = tokens_[at_ + 1].token;
        if (token == Token::kMinus && (next == Token::kInt || next == Token::kDouble)) {
            return member();
        }
        const std::uint32_t offset = current().offset;
        std::size_t count = 0;
        while (is(token) && !(token == Token::kMinus && count % 2 == 1 && is_negative_literal())) {
            take();
            ++count;
        }
        ExprPtr operand = member();
        if (count % 2 == 0) return operand;
        std::vector<ExprPtr> args;
        args.push_back(std::move(operand));
        return call(offset, token == Token::kNot ? kLogicalNot : kNegate, std::move(args));
    }

    bool is_negative_literal() const {
        const Token next = tokens_[at_ + 1].token;
        return is(Token::kMinus) && (next == Token::kInt || next == Token::kDouble);
    }

    ExprPtr member() {
        ExprPtr out = primary();
        while (!failed_) {
            if (is(Token::kDot)) {
                out = after_dot(std::move(out));
            } else if (is(Token::kLeftBracket)) {
                const std::uint32_t offset = take().offset;
                const bool optional = accept(Token::kQuestion);
                ExprPtr index = expression();
                expect(Token::kRightBracket, "']'");
                out = call2(offset, optional ? kOptIndex : kIndex, std::move(out),
                            std::move(index));
            } else if (is(Token::kLeftBrace) && qualified_name(*out)) {
                out = structure(*qualified_name(*out));
            } else {
                break;
            }
        }
        return out;
    }

    ExprPtr after_dot(ExprPtr operand) {
        const std::uint32_t dot = take().offset;
        const bool optional = accept(Token::kQuestion);
        if (!is(Token::kIdent)) {
            unexpected("IDENTIFIER");
            return operand;
        }
        const Lexeme id = take();
        if (optional) {
            auto field = std::make_unique<Expr>(Node::kLiteral, id.offset);
            field->literal = Value::string(std::string(id.text));
            return call2(dot, kOptSelect, std::move(operand), std::move(field));
        }
        if (is(Token::kLeftParen)) {
            const std::uint32_t open = take().offset;
            return receiver_call(open, std::string(id.text), std::move(operand), arguments());
        }
        auto out = std::make_unique<Expr>(Node::kSelect, dot);
        out->name = std::string(id.text);
        const int below = depth_of(operand);
        out->args.push_back(std::move(operand));
        return counted(std::move(out), below);
    }

    ExprPtr receiver_call(std::uint32_t offset, std::string function, ExprPtr target,
                          std::vector<ExprPtr> args) {
        int below = depth_of(target);
        for (const ExprPtr& arg : args) below = std::max(below, depth_of(arg));
        if (failed_) return hole();
        if (ExprPtr expanded = expand_macro(offset, function, &target, &args, issues_)) {
            return counted(std::move(expanded), below);
        }
        auto out = std::make_unique<Expr>(Node::kCall, offset);
        out->name = std::move(function);
        out->member = true;
        out->args.push_back(std::move(target));
        for (ExprPtr& arg : args) out->args.push_back(std::move(arg));
        return counted(std::move(out), below);
    }

    // Up to and with the closing parenthesis.
    std::vector<ExprPtr> arguments() {
        std::vector<ExprPtr> out;
        if (accept(Token::kRightParen)) return out;
        do {
            out.push_back(expression());
        } while (!failed_ && accept(Token::kComma));
        expect(Token::kRightParen, "')'");
        return out;
    }

    // "a.b.c" of an expression that is nothing else.
    static std::optional<std::string> qualified_name(const Expr& expr) {
        if (expr.node == Node::kIdent) return expr.name;
        if (expr.node != Node::kSelect || expr.test_only) return std::nullopt;
        auto prefix = qualified_name(*expr.args[0]);
        if (prefix) *prefix += "." + expr.name;
        return prefix;
    }

    ExprPtr primary() {
        const Lexeme& token = current();
        switch (token.token) {
            case Token::kDot:
            case Token::kIdent: return identifier();
            case Token::kLeftParen: {
                take();
                ExprPtr out = expression();
                expect(Token::kRightParen, "')'");
                return out;
            }
            case Token::kLeftBracket: return list();
            case Token::kLeftBrace: return map();
            default: return literal();
        }
    }

    ExprPtr identifier() {
        std::string name;
        const std::uint32_t start = current().offset;
        // A leading dot means the outermost scope, which is the only one.
        accept(Token::kDot);
        if (!is(Token::kIdent)) {
            unexpected("IDENTIFIER");
            return hole();
        }
        const Lexeme id = take();
        name = std::string(id.text);
        if (std::find(kReservedWords.begin(), kReservedWords.end(), name) != kReservedWords.end()) {
            issues_->add(start, fmt::format("reserved identifier: {}", name));
            return hole();
        }
        if (is(Token::kLeftParen)) {
            const std::uint32_t open = take().offset;
            std::vector<ExprPtr> args = arguments();
            return failed_ ? hole() : call(open, std::move(name), std::move(args));
        }
        auto out = std::make_unique<Expr>(Node::kIdent, id.offset);
        out->name = std::move(name);
        return out;
    }

    // One element after the other up to the end, each with what is optional before it. element(Expr&): reads one into
    // it; false: there is none.
    template <class Element>
    ExprPtr elements(ExprPtr out, Token end, const char* shown, Element element) {
        int below = 0;
        while (!failed_ && !is(end)) {
            out->optionals.push_back(accept(Token::kQuestion));
            const std::size_t before = out->args.size();
            if (!element(*out)) break;
            for (std::size_t i = before; i < out->args.size(); ++i) below = std::max(below, depth_of(out->args[i]));
            if (!accept(Token::kComma)) break;
        }
        expect(end, shown);
        return counted(std::move(out), below);
    }

    ExprPtr list() {
        return elements(std::make_unique<Expr>(Node::kList, take().offset), Token::kRightBracket, "']'",
                        [this](Expr& out) {
                            out.args.push_back(expression());
                            return true;
                        });
    }

    ExprPtr map() {
        return elements(std::make_unique<Expr>(Node::kMap, take().offset), Token::kRightBrace, "'}'",
                        [this](Expr& out) {
                            out.args.push_back(expression());
                            expect(Token::kColon, "':'");
                            out.args.push_back(expression());
                            return true;
                        });
    }

    ExprPtr structure(std::string type) {
        auto made = std::make_unique<Expr>(Node::kStruct, take().offset);
        made->name = std::move(type);
        return elements(std::move(made), Token::kRightBrace, "'}'", [this](Expr& out) {
            if (!is(Token::kIdent)) {
                unexpected("IDENTIFIER");
                return false;
            }
            out.fields.emplace_back(take().text);
            expect(Token::kColon, "':'");
            out.args.push_back(expression());
            return true;
        });
    }

    ExprPtr literal() {
        auto out = std::make_unique<Expr>(Node::kLiteral, current().offset);
        const bool negative = is(Token::kMinus) && is_negative_literal();
        if (negative) take();
        const Lexeme token = current();
        switch (token.token) {
            case Token::kTrue: out->literal = Value::boolean(true); break;
            case Token::kFalse: out->literal = Value::boolean(false); break;
            case Token::kNull: break;
            case Token::kInt: out->literal = integer(token.text, negative, out->offset); break;
            case Token::kUint: out->literal = uinteger(token.text, out->offset); break;
            case Token::kDouble: out->literal = number(token.text, negative, out->offset); break;
            case Token::kString:
            case Token::kBytes: {
                const bool is_bytes = token.token == Token::kBytes;
                auto text = unquote(token.text, is_bytes);
                if (!text) {
                    issues_->add(out->offset, text.error().message);
                } else {
                    out->literal = is_bytes ? Value::bytes(std::move(*text))
                                            : Value::string(std::move(*text));
                }
                break;
            }
            default: unexpected(kExpectedPrimary); return out;
        }
        take();
        return out;
    }

    static std::optional<std::uint64_t> magnitude(std::string_view text) {
        int base = 10;
        if (text.substr(0, 2) == "0x") {
            base = 16;
            text.remove_prefix(2);
        }
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value,
                                                  base);
        if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
        return value;
    }

    Value integer(std::string_view text, bool negative, std::uint32_t offset) {
        const auto value = magnitude(text);
        const std::uint64_t most = static_cast<std::uint64_t>(INT64_MAX) + (negative ? 1 : 0);
        if (!value || *value > most) {
            issues_->add(offset, "invalid int literal");
            return Value::integer(0);
        }
        return Value::integer(static_cast<std::int64_t>(negative ? 0 - *value : *value));
    }

    Value uinteger(std::string_view text, std::uint32_t offset) {
        const auto value = magnitude(text.substr(0, text.size() - 1));
        if (!value) issues_->add(offset, "invalid uint literal");
        return Value::uinteger(value.value_or(0));
    }

    Value number(std::string_view text, bool negative, std::uint32_t offset) {
        double value = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
        if (parsed.ec == std::errc::result_out_of_range) {
            // Too small a number is zero, too large a one is refused.
            value = std::strtod(std::string(text).c_str(), nullptr);
            if (value > 1) issues_->add(offset, "invalid double literal");
        }
        return Value::number(negative ? -value : value);
    }

    std::vector<Lexeme> tokens_;
    Issues* issues_;
    std::size_t at_ = 0;
    int nesting_ = 0;
    bool failed_ = false;
};

}  // namespace

ExprPtr parse(std::string_view text, Issues* issues) {
    const std::size_t size = count_code_points(text);
    if (size > kMaxExpressionSize) {
        issues->add_general(fmt::format(
            "expression code point size exceeds limit: size: {}, limit {}", size,
            kMaxExpressionSize));
        return nullptr;
    }
    return Parser(text, issues).run();
}

}  // namespace sluice::cel
