// Regular expressions, compiled once an evaluation at most. RE2: linear time, and the syntax of Go's regexp.
// Private to cel/.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/base/result.h"
#include "control/cel/meter_private.h"

namespace re2 {
class RE2;
}  // namespace re2

namespace sluice::cel {

// Memory of one compiled expression; beyond it, it is refused.
inline constexpr std::int64_t kMaxRegexMemory = 1 << 20;
// Compiled expressions that one evaluation keeps.
inline constexpr std::size_t kMaxRegexes = 64;

// Matching a byte takes as long as looking at so many.
inline constexpr std::uint64_t kRegexWork = 10;

using Regex = std::shared_ptr<const re2::RE2>;

// The text of the error is Go's as far as RE2 has the same: "error parsing regexp: missing closing ]: `[a`".
Result<Regex> compile_regex(std::string_view pattern);
[[nodiscard]] bool regex_matches(const re2::RE2& regex, std::string_view text);
// All matches that do not overlap, most of them (negative: all). The work of each search is counted: it may go to the
// text's end for each match.
Result<std::vector<std::string_view>> regex_find(const re2::RE2& regex, std::string_view text,
                                                 std::int64_t most, Meter* meter);

// Of one evaluation; not thread-safe.
class RegexCache {
public:
    // constants: of the program, by the number that calls have.
    explicit RegexCache(const std::vector<Regex>& constants) : constants_(constants) {}
    // constant: -1, or the number of the pattern.
    Result<Regex> get(std::string_view pattern, int constant, Meter* meter);

private:
    const std::vector<Regex>& constants_;
    std::unordered_map<std::string, Result<Regex>> compiled_;
};

}  // namespace sluice::cel
