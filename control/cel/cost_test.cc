// Costs, at run time and as estimates. Expectations: tables of Kubernetes 1.32 (pkg/cel/library/cost_test.go)
// and cel-go 0.22 (interpreter/runtimecost_test.go, checker/cost_test.go), and hand-made ones where they have
// none.
#include <gtest/gtest.h>

#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

struct CostRow {
    const char* expression;
    std::uint64_t cost;
    std::uint64_t min;
    std::uint64_t max;
};

TEST(CelCost, OfConstants) {
    const CostRow rows[] = {
        {"'Hello World!'", 0, 0, 0},
        {"[1, 2, 3]", 10, 10, 10},
        {"{'a': 1, 'b': 2, 'c': 3}", 30, 30, 30},
        {"true || false", 0, 0, 0},
        {"1 < 2", 1, 1, 1},
        {"2 in [1, 2, 3]", 13, 13, 13},
        {"true ? 1 : 2", 0, 0, 0},
        {"'12345678901234567890' == '123456789012345678901234567890'", 2, 1, 2},
        {"[1, 2, 3].all(x, true)", 20, 20, 20},
        {"'123'.matches('[0-9]')", 2, 2, 2},
        {"size('123')", 1, 1, 1},
        {"[1, 2, 3, 4].sum()", 14, 14, 14},
        {"'abc 123 def 123'.find('123')", 2, 2, 2},
        {"'abc 123 def 123'.findAll('123')", 2, 2, 2},
        {"'abc 123 def 123 abc'.split(' ')", 4, 4, 4},
        {"'abc'.lowerAscii()", 1, 1, 1},
        {"url('https:://kubernetes.io/').getScheme()", 4, 4, 4},
        {"quantity('12Mi')", 1, 1, 1},
        {"cidr('192.168.0.0/16').containsIP(ip('192.168.10.6'))", 5, 5, 8},
        {"format.named('dns1123Label').value() == format.named('dns1123Label').value()", 5, 5, 11},
    };
    for (const CostRow& row : rows) {
        EXPECT_EQ(evaluation_of(row.expression).cost, row.cost) << row.expression;
        const auto program = Environment(std::vector<Variable>()).compile(row.expression);
        ASSERT_TRUE(program) << program.error().message;
        EXPECT_EQ(program->estimate().min, row.min) << row.expression;
        EXPECT_EQ(program->estimate().max, row.max) << row.expression;
    }
}

TEST(CelCost, OfVariables) {
    const Given map{"m", Type::map(Type::string(), Type::dyn()),
                    Value::map({{Value::string("key"), Value::integer(1)}})};
    const Given list{"l", Type::list(Type::integer()), Value::list({Value::integer(1), Value::integer(2)})};
    const Given text{"t", Type::string(), Value::string(std::string(500, 'a'))};
    const auto cost = [&](const char* expression) {
        return evaluation_of(expression, {map, list, text}).cost;
    };
    EXPECT_EQ(cost("m"), 1U);
    EXPECT_EQ(cost("m.key"), 2U);
    EXPECT_EQ(cost("m['key']"), 2U);
    EXPECT_EQ(cost("m['ke' + 'y']"), 3U);
    EXPECT_EQ(cost("has(m.key)"), 1U);
    EXPECT_EQ(cost("l[0]"), 2U);
    EXPECT_EQ(cost("t.matches('[0-9]')"), 103U);
    EXPECT_EQ(cost("bytes(t)"), 51U);
    EXPECT_EQ(cost("t.contains(t)"), 2502U);
    EXPECT_EQ(cost("t.startsWith('aa')"), 51U);
    // The accumulator's list, and for each element: the accumulator, the element, a list of it, and the sum.
    EXPECT_EQ(cost("l.map(x, x)"), 1U + 10U + 2U * (1 + 1 + 10 + 1) + 1U);
}

TEST(CelCost, EstimatesFollowTheDeclaredMaxima) {
    const Type item = make_object_type("Item", {{"name", Type::string().with_max_elements(20)}});
    const Type self = make_object_type(
        "Self", {{"list", Type::list(item).with_max_elements(10)},
                 {"map", Type::map(Type::string().with_max_elements(5), Type::string().with_max_elements(7)).with_max_elements(3)},
                 {"text", Type::string().with_max_elements(100)},
                 {"number", Type::integer()}});
    const auto most = [&](const char* expression) {
        const auto program = Environment({{"self", self}}).compile(expression);
        EXPECT_TRUE(program) << program.error().message;
        return program->estimate().max;
    };
    EXPECT_EQ(most("self.number"), 2U);
    EXPECT_EQ(most("self.text == 'abc'"), 3U);
    EXPECT_EQ(most("self.text == self.text"), 2U + 2U + 10U);
    EXPECT_EQ(most("self.text.contains('a')"), 2U + 10U);
    // For each of 10: @not_strictly_false and its accumulator, the accumulator, i.name and 2 for the comparison.
    EXPECT_EQ(most("self.list.all(i, i.name == i.name)"), 2U + 10U * (2 + 1 + 2 + 2 + 2) + 1U);
    EXPECT_EQ(most("self.list[0].name == self.text"), 4U + 2U + 2U);
    EXPECT_EQ(most("self.map.all(k, self.map[k].startsWith(k))"), 2U + 3U * (2 + 1 + 4 + 1 + 1) + 1U);
    EXPECT_EQ(most("(self.text + self.text).contains('a')"), 4U + 20U + 20U);
    // Nothing is known of a text that no schema bounds.
    const auto unbounded = Environment({{"s", Type::list(Type::string())}}).compile("s.all(x, x.contains('a'))");
    EXPECT_GT(unbounded->estimate().max, kStaticCostLimit);
}

TEST(CelCost, TheLimitEndsAnEvaluation) {
    const auto program = Environment(std::vector<Variable>()).compile("[1, 2, 3].all(x, true) || true");
    const Evaluation within = program->evaluate(SimpleActivation(), 20);
    EXPECT_TRUE(within.value);
    EXPECT_FALSE(within.cost_exceeded);
    const Evaluation beyond = program->evaluate(SimpleActivation(), 19);
    ASSERT_FALSE(beyond.value);
    EXPECT_TRUE(beyond.cost_exceeded);
    EXPECT_EQ(beyond.value.error().code, Code::kResourceExhausted);
    EXPECT_EQ(beyond.value.error().message, "operation cancelled: actual cost limit exceeded");
}

}  // namespace
}  // namespace sluice::cel
