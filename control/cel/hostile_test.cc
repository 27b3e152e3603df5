// Expressions and values that are made to take time or memory. None does: each ends, by its cost or by its work.
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "control/cel/json.h"
#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

constexpr const char* kExceeded = "error: operation cancelled: actual cost limit exceeded";

TEST(CelHostile, NestedComprehensions) {
    std::string ten = "[0,1,2,3,4,5,6,7,8,9]";
    std::string expression = "true";
    for (int i = 0; i < 12; ++i) expression = ten + ".all(x" + std::to_string(i) + ", " + expression + ")";
    EXPECT_EQ(result_of(expression), kExceeded);
}

TEST(CelHostile, TextsThatGrow) {
    // A thousand characters, then as many times as many.
    const Given text{"t", Type::string(), Value::string(std::string(1000, 'a'))};
    EXPECT_EQ(result_of("t.replace('', t).replace('', t).replace('', t)", {text}), kExceeded);
    EXPECT_EQ(result_of("[t].map(x, x.replace('', x)).map(x, x.replace('', x)).map(x, x.replace('', x)).size()", {text}),
              kExceeded);
    std::string sum = "t";
    for (int i = 0; i < 20; ++i) sum = "[" + sum + "].map(x, x + x)[0]";
    EXPECT_EQ(result_of(sum, {text}), kExceeded);
    EXPECT_EQ(result_of("[t, t].join(t.replace('', t)).replace('', t)", {text}), kExceeded);
    EXPECT_EQ(result_of("'%.999999999f'.format([1.0])"),
              "compile: could not parse formatting clause: error while parsing precision: error while converting "
              "precision to integer: strconv.Atoi: parsing \"999999999\": value out of range");
}

TEST(CelHostile, SearchesThatTakeTheProductOfTheirSizes) {
    const Given whole{"t", Type::string(), Value::string(std::string(2'000'000, 'a'))};
    const Given part{"p", Type::string(), Value::string(std::string(1'000'000, 'a') + "b")};
    for (const char* expression : {"t.replace(p, '')", "t.split(p)", "t.indexOf(p)", "t.lastIndexOf(p)", "t.contains(p)"}) {
        EXPECT_EQ(result_of(expression, {whole, part}), kExceeded) << expression;
    }
}

TEST(CelHostile, ListsThatGrow) {
    std::string list = "[1]";
    for (int i = 0; i < 40; ++i) list = "[" + list + "].map(x, x + x)[0]";
    EXPECT_EQ(result_of(list + ".size()"), "1099511627776");
    EXPECT_EQ(result_of(list + ".all(x, true)"), kExceeded);
    EXPECT_EQ(result_of(list + " == " + list), kExceeded);
    EXPECT_EQ(result_of(list + ".sum()"), kExceeded);
}

TEST(CelHostile, RegularExpressions) {
    const Given text{"t", Type::string(), Value::string(std::string(30'000, 'a'))};
    // Catastrophic for engines that go back.
    EXPECT_EQ(result_of("t.matches('(a+)+$')", {text}), "true");
    EXPECT_EQ(result_of("t.matches('(a|aa)+b')", {text}), "false");
    EXPECT_EQ(result_of("t.matches('((a{0,100}){0,100}){0,100}')", {text}), "compile: invalid matches argument");
    // Each of many matches is known to end only at the text's end.
    EXPECT_EQ(result_of("t.findAll('a[^b]*b|a').size()", {text}), kExceeded);
    // Many expressions, each of which is dear to compile and cheap to count.
    EXPECT_EQ(result_of("t.split('').all(x, t.split('').exists(y, '' .matches('(\\\\pL{1,900})' + x + y)))", {text}),
              kExceeded);
}

TEST(CelHostile, DeepAndWideValues) {
    std::string deep;
    for (int i = 0; i < 30; ++i) deep += "[";
    for (int i = 0; i < 30; ++i) deep += "]";
    boost::json::array wide;
    for (int i = 0; i < 20'000; ++i) wide.push_back(boost::json::array{1, 2, 3});
    const Given list{"l", Type::dyn(), json_view(std::make_shared<const boost::json::value>(wide))};
    EXPECT_EQ(result_of("l == l", {list}), "true");
    // Each comparison costs 2'000, and does a hundred times as much.
    EXPECT_EQ(result_of("l.all(x, [l, l] == [l, l])", {list}), kExceeded);
    EXPECT_EQ(result_of("l.all(x, [optional.of(l)] == [optional.of(l)])", {list}), kExceeded);
    EXPECT_EQ(result_of("l.map(x, l.map(y, y)).size() > 0", {list}), kExceeded);
    EXPECT_EQ(result_of(deep + " == " + deep), "true");
}

// Each step nests what it is given a hundred times more.
std::string nested_steps(int steps) {
    std::string out = "[1]";
    const std::string body = std::string(100, '[') + "x" + std::string(100, ']');
    for (int i = 0; i < steps; ++i) out += ".map(x, " + body + ")";
    return out;
}

TEST(CelHostile, ValuesThatNest) {
    EXPECT_EQ(result_of(nested_steps(4) + " == " + nested_steps(4)), "true");
    EXPECT_EQ(result_of(nested_steps(140) + ".size()"), "error: values are nested too deeply");
    EXPECT_EQ(result_of(nested_steps(140) + " == " + nested_steps(140)), "error: values are nested too deeply");
    // Of what is put together, too, where it is looked into one by the other.
    std::string sums = "[[1]]";
    for (int i = 0; i < 20; ++i) {
        sums += ".map(x, x";
        for (int n = 0; n < 50; ++n) sums += " + [1]";
        sums += ")";
    }
    EXPECT_EQ(result_of(sums + ".size()"), "error: values are nested too deeply");
}

TEST(CelHostile, TypesThatDouble) {
    std::string expression = "[1]";
    for (int i = 0; i < 60; ++i) expression += ".map(x, {x: x})";
    EXPECT_EQ(result_of(expression), "error: unsupported key type: map");
}

TEST(CelHostile, MacrosWithinMacros) {
    // As deep as expressions may be, each macro several evaluations.
    for (const char* macro : {"[0].all(x, ", "[0].exists(x, ", "[0].exists_one(x, "}) {
        std::string expression = "true";
        for (int i = 0; i < 240; ++i) expression = macro + expression + ")";
        EXPECT_EQ(result_of(expression), "true") << macro;
    }
    std::string expression = "1";
    for (int i = 0; i < 120; ++i) expression = "optional.of(1).optMap(x, " + expression + ").value()";
    EXPECT_EQ(result_of(expression), "1");
}

TEST(CelHostile, OptionalsThatAreMapped) {
    // Expanded by copying, this would be two to the power of sixty.
    std::string expression = "optional.of(1)";
    for (int i = 0; i < 60; ++i) expression += ".optMap(v, v + 1)";
    EXPECT_EQ(result_of(expression), "optional(61)");
}

}  // namespace
}  // namespace sluice::cel
