// Syntax: literals, precedence, and what is said of texts that are no expressions. Expectations: cel-spec
// (langdef.md, tests/simple: parse, basic, string) and the messages of cel-go 0.22.
#include <gmock/gmock.h>

#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

using testing::HasSubstr;

std::string compile_error(const std::string& expression) {
    const auto program = Environment({{"self", Type::dyn()}}).compile(expression);
    return program ? "" : program.error().message;
}

TEST(CelParser, Literals) {
    expect_rows({
        {"0x55555555", "1431655765"},
        {"-0x8000000000000000", "-9223372036854775808"},
        {"9223372036854775807", "9223372036854775807"},
        {"18446744073709551615u", "18446744073709551615u"},
        {"0xFu", "15u"},
        {".5 + 1e1", "10.5"},
        {"-1.5E-2", "-0.015"},
        {"1e400 > 0.0", "compile: invalid double literal"},
        {"9223372036854775808", "compile: invalid int literal"},
        {"18446744073709551616u", "compile: invalid uint literal"},
        {"[true, false]", "[true, false]"},
        {"null", "null"},
        {"[1, 2,]", "[1, 2]"},
        {"{'a': 1,}", "{'a': 1}"},
        {"1 // a comment\n + 2", "3"},
    });
}

TEST(CelParser, Strings) {
    expect_rows({
        {R"("a\tb\n\"\'\?\`\\")", "'a\tb\n\"'?`\\'"},
        {R"('\x41\u00e9\U0001F431\101')", "'A\u00e9\U0001F431A'"},
        {R"(r'\n' + R"\d")", R"('\n\d')"},
        {"'''it's'''", "'it's'"},
        {"\"\"\"a\nb\"\"\"", "'a\nb'"},
        {"'''a\r\nb'''", "'a\nb'"},
        {R"(b'\xff\101' == b'\377A')", "true"},
        {R"(b'\u00e9')", "compile: unable to unescape string"},
        {R"('\400')", "compile: unable to unescape string"},
        {R"('\12')", "compile: unable to unescape octal sequence in string"},
        {R"('\ud800' == '\ufffd')", "true"},
        {R"('\U00110000')", "compile: unable to unescape string"},
        {R"(b'ab' + b'c')", "b'abc'"},
    });
}

TEST(CelParser, Precedence) {
    expect_rows({
        {"1 + 2 * 3 - 4 / 2 % 2", "7"},
        {"2 - 1 - 1", "0"},
        {"-(1 + 2)", "-3"},
        {"- -1", "1"},
        {"!true || true && false", "false"},
        {"!!true", "true"},
        {"1 < 2 == true", "true"},
        {"true ? (false ? 1 : 2) : 3", "2"},
        {"false ? 1 : true ? 2 : 3", "2"},
        {"1 in [1] && !(2 in [1])", "true"},
        {"{'a': [1, 2]}.a[1]", "2"},
        {"-[1][0]", "-1"},
    });
}

TEST(CelParser, AnIssueShowsItsPlace) {
    EXPECT_EQ(compile_error("self.a &&\n  \xC3\xA9x"),
              "ERROR: <input>:2:3: Syntax error: token recognition error at: '\xC3\xA9'\n"
              " |   \xC3\xA9x\n"
              " | ..\xEF\xBC\xBE");
    EXPECT_EQ(compile_error("x.y"),
              "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x.y\n | ^");
    EXPECT_EQ(compile_error("1 + 'a' == z"),
              "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n"
              " | 1 + 'a' == z\n | ..^\n"
              "ERROR: <input>:1:12: undeclared reference to 'z' (in container '')\n"
              " | 1 + 'a' == z\n | ...........^");
}

TEST(CelParser, SyntaxErrors) {
    const std::string primary =
        "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, "
        "STRING, BYTES, IDENTIFIER}";
    EXPECT_THAT(compile_error("1 +"), HasSubstr("1:4: Syntax error: mismatched input '<EOF>' "
                                                "expecting " + primary));
    EXPECT_THAT(compile_error(""), HasSubstr("1:1: Syntax error: mismatched input '<EOF>'"));
    EXPECT_THAT(compile_error("1 2"), HasSubstr("extraneous input '2' expecting <EOF>"));
    EXPECT_THAT(compile_error("(1"), HasSubstr("expecting ')'"));
    EXPECT_THAT(compile_error("self.true"), HasSubstr("expecting IDENTIFIER"));
    EXPECT_THAT(compile_error("'abc"), HasSubstr("token recognition error at: ''abc'"));
    EXPECT_THAT(compile_error("while"), HasSubstr("reserved identifier: while"));
    EXPECT_THAT(compile_error("1 = 2"), HasSubstr("token recognition error at: '='"));
    EXPECT_THAT(compile_error("\xff"), HasSubstr("not UTF-8"));
    EXPECT_EQ(compile_error("self.namespace == 'a' && self.while == 1"), "");
}

TEST(CelParser, MacrosWantNames) {
    EXPECT_THAT(compile_error("[1].all(self.x, true)"), HasSubstr("argument must be a simple name"));
    EXPECT_THAT(compile_error("[1].map(1, true)"), HasSubstr("argument is not an identifier"));
    EXPECT_THAT(compile_error("has(self)"), HasSubstr("invalid argument to has() macro"));
    EXPECT_THAT(compile_error("[1].all(x, x, true)"), HasSubstr("duplicate variable name: x"));
    EXPECT_THAT(compile_error("optional.of(1).optMap(1, 2)"),
                HasSubstr("optMap() variable name must be a simple identifier"));
    EXPECT_THAT(compile_error("[1].map(x, __result__)"), HasSubstr("'__result__'"));
}

TEST(CelParser, NestingAndSizeAreBounded) {
    const auto nested = [](std::size_t levels) {
        return std::string(levels, '(') + "1" + std::string(levels, ')');
    };
    EXPECT_EQ(compile_error(nested(200)), "");
    EXPECT_THAT(compile_error(nested(100'000 / 2 - 1)), HasSubstr("recursion limit exceeded: 250"));
    std::string chain = "1";
    for (int i = 0; i < 240; ++i) chain += "+1";
    EXPECT_EQ(compile_error(chain), "");
    for (int i = 0; i < 20; ++i) chain += "+1";
    EXPECT_THAT(compile_error(chain), HasSubstr("recursion limit exceeded: 250"));
    EXPECT_THAT(compile_error(std::string(100'001, ' ')),
                HasSubstr("expression code point size exceeds limit: size: 100001, limit 100000"));
    // Terms of one "||" are no nesting.
    std::string terms = "true";
    for (int i = 0; i < 5000; ++i) terms += " || true";
    EXPECT_EQ(compile_error(terms), "");
}

}  // namespace
}  // namespace sluice::cel
