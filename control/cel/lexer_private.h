// Tokens of the language (cel-spec, langdef.md, "Syntax"). Private to cel/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/cel/issues_private.h"

namespace sluice::cel {

enum class Token : std::uint8_t {
    kEnd, kIdent, kInt, kUint, kDouble, kString, kBytes,
    kTrue, kFalse, kNull, kIn,
    kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kAnd, kOr,
    kLeftBracket, kRightBracket, kLeftBrace, kRightBrace, kLeftParen, kRightParen,
    kDot, kComma, kMinus, kNot, kQuestion, kColon, kPlus, kStar, kSlash, kPercent,
};

struct Lexeme {
    Token token = Token::kEnd;
    std::uint32_t offset = 0;
    std::string_view text;  // of the expression; of the end: "<EOF>"
};

// All tokens and the end. Characters that begin no token are reported and skipped.
[[nodiscard]] std::vector<Lexeme> tokenize(std::string_view text, Issues* issues);

// What a string or bytes literal stands for, from its text with quotes and prefixes.
Result<std::string> unquote(std::string_view literal, bool is_bytes);

}  // namespace sluice::cel
