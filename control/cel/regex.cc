// Regular expressions by RE2.
#include "control/cel/regex_private.h"

#include <re2/re2.h>

namespace sluice::cel {

namespace {

re2::StringPiece piece(std::string_view text) { return {text.data(), text.size()}; }

// Compiling takes as long as looking at so many bytes, and at so many for each instruction of what it gives; what is
// refused may have taken as long as the largest.
constexpr std::uint64_t kCompileWork = 50'000;
constexpr std::uint64_t kInstructionWork = 200;
constexpr std::uint64_t kRefusedWork = 5'000'000;

// RE2's words as Go's regexp has them: "missing ]: [" is "missing closing ]: `[`".
std::string go_error(const re2::RE2& regex) {
    std::string what = regex.error();
    const std::string& arg = regex.error_arg();
    const std::string suffix = ": " + arg;
    if (!arg.empty() && what.size() > suffix.size() &&
        what.compare(what.size() - suffix.size(), suffix.size(), suffix) == 0) {
        what.resize(what.size() - suffix.size());
    }
    if (what == "missing ]" || what == "missing )") what.insert(8, "closing ");
    if (what == "no argument for repetition operator") {
        what = "missing argument to repetition operator";
    }
    return "error parsing regexp: " + what + (arg.empty() ? "" : ": `" + arg + "`");
}

}  // namespace

Result<Regex> compile_regex(std::string_view pattern) {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(kMaxRegexMemory);
    auto regex = std::make_shared<const RE2>(piece(pattern), options);
    if (!regex->ok()) {
        return make_error(Code::kInvalidArgument, "{}", go_error(*regex));
    }
    return regex;
}

bool regex_matches(const re2::RE2& regex, std::string_view text) {
    return RE2::PartialMatch(piece(text), regex);
}

Result<std::vector<std::string_view>> regex_find(const re2::RE2& regex, std::string_view text,
                                                 std::int64_t most, Meter* meter) {
    std::vector<std::string_view> out;
    std::size_t at = 0;
    std::size_t last_end = std::string_view::npos;
    while (at <= text.size() && (most < 0 || out.size() < static_cast<std::size_t>(most))) {
        if (!meter->work(text.size() - at)) return Meter::stopped();
        re2::StringPiece match;
        if (!regex.Match(piece(text), at, text.size(), RE2::UNANCHORED, &match, 1)) break;
        const auto start = static_cast<std::size_t>(match.data() - text.data());
        const std::size_t end = start + match.size();
        // As Go has it: an empty match right after a match does not count.
        if (!match.empty() || start != last_end) out.push_back(text.substr(start, match.size()));
        last_end = end;
        at = end;
        if (match.empty()) {
            ++at;
            while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) ++at;
        }
    }
    return out;
}

Result<Regex> RegexCache::get(std::string_view pattern, int constant, Meter* meter) {
    if (constant >= 0) return constants_[static_cast<std::size_t>(constant)];
    if (const auto found = compiled_.find(std::string(pattern)); found != compiled_.end()) {
        return found->second;
    }
    if (!meter->work(kCompileWork + pattern.size())) return Meter::stopped();
    auto regex = compile_regex(pattern);
    const std::uint64_t work =
        regex ? kInstructionWork * static_cast<std::uint64_t>((*regex)->ProgramSize())
              : kRefusedWork;
    if (!meter->work(work)) return Meter::stopped();
    if (compiled_.size() >= kMaxRegexes) compiled_.clear();
    compiled_.emplace(std::string(pattern), regex);
    return regex;
}

}  // namespace sluice::cel
