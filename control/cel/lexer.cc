// Text to tokens.
#include "control/cel/lexer_private.h"

#include <fmt/core.h>

#include <utility>

#include "control/cel/utf8_private.h"

namespace sluice::cel {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

constexpr std::pair<std::string_view, Token> kSymbols[] = {
    {"==", Token::kEqual},        {"!=", Token::kNotEqual},    {"<=", Token::kLessEqual},
    {">=", Token::kGreaterEqual}, {"&&", Token::kAnd},         {"||", Token::kOr},
    {"<", Token::kLess},          {">", Token::kGreater},      {"[", Token::kLeftBracket},
    {"]", Token::kRightBracket},  {"{", Token::kLeftBrace},    {"}", Token::kRightBrace},
    {"(", Token::kLeftParen},     {")", Token::kRightParen},   {".", Token::kDot},
    {",", Token::kComma},         {"-", Token::kMinus},        {"!", Token::kNot},
    {"?", Token::kQuestion},      {":", Token::kColon},        {"+", Token::kPlus},
    {"*", Token::kStar},          {"/", Token::kSlash},        {"%", Token::kPercent},
};

class Lexer {
public:
    Lexer(std::string_view text, Issues* issues) : text_(text), issues_(issues) {}

    std::vector<Lexeme> run() {
        std::vector<Lexeme> out;
        while (true) {
            skip_space();
            if (at_ == text_.size()) break;
            const std::size_t start = at_;
            const Token token = next();
            if (token == Token::kEnd) continue;
            out.push_back({token, static_cast<std::uint32_t>(start),
                           text_.substr(start, at_ - start)});
        }
        out.push_back({Token::kEnd, static_cast<std::uint32_t>(text_.size()), "<EOF>"});
        return out;
    }

private:
    char peek(std::size_t ahead = 0) const {
        return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
    }

    void skip_space() {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f') {
                ++at_;
            } else if (text_.substr(at_, 2) == "//") {
                at_ = std::min(text_.find('\n', at_), text_.size());
            } else {
                break;
            }
        }
    }

    // kEnd: nothing was recognised, and that is reported.
    Token next() {
        const char c = peek();
        if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
        if (is_letter(c)) {
            const std::size_t prefix = literal_prefix();
            if (prefix < 3) return quoted(prefix);
            return word();
        }
        if (c == '"' || c == '\'') return quoted(0);
        for (const auto& [symbol, token] : kSymbols) {
            if (text_.substr(at_, symbol.size()) != symbol) continue;
            at_ += symbol.size();
            return token;
        }
        const std::size_t size = code_point_size(text_, at_);
        unrecognised(at_, size);
        at_ += size;
        return Token::kEnd;
    }

    void unrecognised(std::size_t from, std::size_t size) {
        issues_->add(from, fmt::format("Syntax error: token recognition error at: '{}'",
                                       text_.substr(from, size)));
    }

    Token number() {
        if (peek() == '0' && peek(1) == 'x' && is_hex(peek(2))) {
            at_ += 2;
            while (is_hex(peek())) ++at_;
            return unsigned_suffix() ? Token::kUint : Token::kInt;
        }
        while (is_digit(peek())) ++at_;
        bool fraction = false;
        if (peek() == '.' && is_digit(peek(1))) {
            fraction = true;
            ++at_;
            while (is_digit(peek())) ++at_;
        }
        if (peek() == 'e' || peek() == 'E') {
            const std::size_t sign = peek(1) == '+' || peek(1) == '-' ? 1 : 0;
            if (is_digit(peek(1 + sign))) {
                fraction = true;
                at_ += 1 + sign;
                while (is_digit(peek())) ++at_;
            }
        }
        if (fraction) return Token::kDouble;
        return unsigned_suffix() ? Token::kUint : Token::kInt;
    }

    bool unsigned_suffix() {
        if (peek() != 'u' && peek() != 'U') return false;
        ++at_;
        return true;
    }

    // How many letters before a quote belong to a literal: "b", "r", "br"; 3: none does.
    std::size_t literal_prefix() const {
        std::size_t size = 0;
        if (peek() == 'b' || peek() == 'B') ++size;
        if (peek(size) == 'r' || peek(size) == 'R') ++size;
        return size > 0 && (peek(size) == '"' || peek(size) == '\'') ? size : 3;
    }

    Token quoted(std::size_t prefix) {
        const std::size_t start = at_;
        const bool is_bytes = prefix > 0 && (text_[at_] == 'b' || text_[at_] == 'B');
        const bool raw = prefix > (is_bytes ? 1U : 0U);
        at_ += prefix;
        const char quote = peek();
        const bool triple = peek(1) == quote && peek(2) == quote;
        at_ += triple ? 3 : 1;
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == quote && (!triple || (peek(1) == quote && peek(2) == quote))) {
                at_ += triple ? 3 : 1;
                return is_bytes ? Token::kBytes : Token::kString;
            }
            if (!triple && (c == '\n' || c == '\r')) break;
            at_ += c == '\\' && !raw ? 2 : 1;
        }
        at_ = std::min(at_, text_.size());
        unrecognised(start, at_ - start);
        return Token::kEnd;
    }

    Token word() {
        const std::size_t start = at_;
        while (is_letter(peek()) || is_digit(peek())) ++at_;
        const std::string_view name = text_.substr(start, at_ - start);
        if (name == "true") return Token::kTrue;
        if (name == "false") return Token::kFalse;
        if (name == "null") return Token::kNull;
        if (name == "in") return Token::kIn;
        return Token::kIdent;
    }

    std::string_view text_;
    Issues* issues_;
    std::size_t at_ = 0;
};

Error cannot_unescape(std::string_view what = "unable to unescape string") {
    return make_error(Code::kInvalidArgument, "{}", what);
}

// The digits of an escape; nullopt: they are none of that base, or too few.
std::optional<std::uint32_t> escape_number(std::string_view digits, std::size_t count, int base) {
    if (digits.size() < count) return std::nullopt;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const char c = digits[i];
        int digit = 0;
        if (is_digit(c)) {
            digit = c - '0';
        } else if (is_hex(c)) {
            digit = (c | 0x20) - 'a' + 10;
        } else {
            return std::nullopt;
        }
        if (digit >= base) return std::nullopt;
        value = value * static_cast<std::uint64_t>(base) + static_cast<std::uint64_t>(digit);
    }
    return static_cast<std::uint32_t>(value);
}

// One escape, after its backslash. Returns how many bytes it took.
Result<std::size_t> unescape(std::string_view rest, bool is_bytes, std::string* out) {
    if (rest.empty()) return cannot_unescape();
    constexpr std::string_view kLetters = "abfnrtv\\'\"`?";
    constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"`?";
    const char c = rest[0];
    if (const auto at = kLetters.find(c); at != kLetters.npos) {
        *out += kMeanings[at];
        return 1;
    }
    std::optional<std::uint32_t> value;
    std::size_t used = 0;
    switch (c) {
        case 'x':
        case 'X': value = escape_number(rest.substr(1), used = 2, 16); break;
        case 'u':
        case 'U':
            used = c == 'u' ? 4 : 8;
            if (!is_bytes) value = escape_number(rest.substr(1), used, 16);
            break;
        case '0':
        case '1':
        case '2':
        case '3':
            value = escape_number(rest, 3, 8);
            if (!value) return cannot_unescape("unable to unescape octal sequence in string");
            used = 2;
            break;
        default: break;
    }
    if (!value || *value > 0x10FFFFU) return cannot_unescape();
    if (is_bytes) {
        *out += static_cast<char>(*value);
    } else {
        append_utf8(*value, out);
    }
    return used + 1;
}

}  // namespace

std::vector<Lexeme> tokenize(std::string_view text, Issues* issues) {
    return Lexer(text, issues).run();
}

Result<std::string> unquote(std::string_view literal, bool is_bytes) {
    if (is_bytes) literal.remove_prefix(1);
    const bool raw = literal[0] == 'r' || literal[0] == 'R';
    if (raw) literal.remove_prefix(1);
    const bool triple = literal.size() >= 6 && literal[1] == literal[0] && literal[2] == literal[0];
    const std::size_t quotes = triple ? 3 : 1;
    literal = literal.substr(quotes, literal.size() - 2 * quotes);
    std::string out;
    out.reserve(literal.size());
    std::size_t at = 0;
    while (at < literal.size()) {
        if (literal[at] == '\r') {
            // Ends of lines are "\n" whatever the text has.
            out += '\n';
            at += literal.substr(at, 2) == "\r\n" ? 2 : 1;
        } else if (literal[at] == '\\' && !raw) {
            SLUICE_TRY_ASSIGN(const std::size_t used,
                              unescape(literal.substr(at + 1), is_bytes, &out));
            at += 1 + used;
        } else {
            out += literal[at++];
        }
    }
    return out;
}

}  // namespace sluice::cel
