// Types of expressions and what is said of wrong ones. Expectations: cel-spec and the messages of cel-go 0.22.
#include <gtest/gtest.h>

#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

// An object that contains objects of its own type, as schemas do.
class Node final : public ObjectType {
public:
    const std::string& name() const override { return name_; }
    std::optional<Type> field(std::string_view json_name) const override {
        if (json_name == "next") return Type::object(std::make_shared<Node>());
        if (json_name == "x-y") return Type::integer();
        if (json_name == "tags") return Type::list(Type::string());
        if (json_name == "labels") return Type::map(Type::string(), Type::string());
        return std::nullopt;
    }

private:
    std::string name_ = "Node";
};

Environment node_environment() {
    return Environment({{"self", Type::object(std::make_shared<Node>())},
                        {"any", Type::dyn()},
                        {"authorizer.requestResource", Type::string()},
                        {"authorizer", Type::integer()}});
}

std::string type_of(const std::string& expression) {
    std::vector<Issue> issues;
    const auto program = node_environment().compile(expression, &issues);
    if (program) return program->output_type().to_string();
    return issues.empty() ? "no issue" : issues[0].message;
}

void expect_types(std::initializer_list<Row> rows) {
    for (const Row& row : rows) EXPECT_EQ(type_of(row.expression), row.result) << row.expression;
}

TEST(CelChecker, Types) {
    expect_types({
        {"1", "int"},
        {"[1, 2]", "list(int)"},
        {"[]", "list(dyn)"},
        {"[[], [1]]", "list(list(int))"},
        {"[1].map(x, string(x))", "list(string)"},
        {"[1].map(x, x > 0, [x])", "list(list(int))"},
        {"{'a': 1u}", "map(string, uint)"},
        {"[1].all(x, x > 0)", "bool"},
        {"{'a': 1}.exists_one(k, k == 'a')", "bool"},
        {"true ? 1 : any", "dyn"},
        {"any.x.y", "dyn"},
        {"any + 1", "int"},
        {"any + any", "dyn"},
        {"int", "type(int)"},
        {"type(1)", "type(int)"},
        {"duration('1s') + timestamp(0)", "timestamp"},
        {"timestamp(0) - timestamp(0)", "duration"},
        {"optional.of(1)", "optional_type(int)"},
        {"optional.of(1).orValue(2)", "int"},
        {"{'a': 1}[?'a']", "optional_type(int)"},
        {"optional.of({'a': 1}).a", "optional_type(int)"},
        {"['a'].transformMap(i, v, i)", "map(int, int)"},
        {"ip('::1')", "net.IP"},
        {"[1, 2].sum()", "int"},
        {"null", "null"},
    });
}

TEST(CelChecker, ObjectsThatContainThemselves) {
    expect_types({
        {"self.next.next.next", "Node"},
        {"self.next.x__dash__y", "int"},
        {"self.tags[0]", "string"},
        {"self.labels.anything", "string"},
        {"self.labels.exists(k, k == self.next.labels[k])", "bool"},
        {"self.?next.?x__dash__y", "optional_type(int)"},
        {"has(self.next)", "bool"},
        {"self.other", "undefined field 'other'"},
        {"has(self.other)", "undefined field 'other'"},
        {"self.tags.x", "type 'list(string)' does not support field selection"},
        {"self == null", "bool"},
        {"self.tags == self.next", "found no matching overload for '_==_' applied to '(list(string), Node)'"},
    });
}

TEST(CelChecker, QualifiedNames) {
    expect_types({
        {"authorizer.requestResource", "string"},
        {"authorizer", "int"},
        {"[{'requestResource': 1}].map(authorizer, authorizer.requestResource)", "list(int)"},
    });
}

TEST(CelChecker, WhatIsWrong) {
    expect_types({
        {"1 + 1u", "found no matching overload for '_+_' applied to '(int, uint)'"},
        {"'a'.size(1)", "found no matching overload for 'size' applied to 'string.(int)'"},
        {"[1, 'a']", "expected type 'int' but found 'string'"},
        {"{'a': 1, 'b': 'c'}", "expected type 'int' but found 'string'"},
        {"[1, dyn(2)]", "expected type 'int' but found 'dyn'"},
        {"{'a': 1, 2: 3}", "expected type 'string' but found 'int'"},
        {"[1, 'a'] == 1", "found no matching overload for '_==_' applied to '(list(dyn), int)'"},
        {"1 && true", "expected type 'bool' but found 'int'"},
        {"true ? 1 : 'a'", "found no matching overload for '_?_:_' applied to '(bool, int, string)'"},
        {"1 ? 2 : 3", "found no matching overload for '_?_:_' applied to '(int, int, int)'"},
        {"1.all(x, true)", "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"},
        {"[1].all(x, x)", "expected type 'bool' but found 'int'"},
        {"nothing(1)", "undeclared reference to 'nothing' (in container '')"},
        {"'a'.nothing()", "undeclared reference to 'nothing' (in container '')"},
        {"unknown.field", "undeclared reference to 'unknown' (in container '')"},
        {"[?1]", "expected type 'optional_type(int)' but found 'int'"},
        {"string(int)", "found no matching overload for 'string' applied to '(type(int))'"},
        {"Other{a: 1}", "undeclared reference to 'Other' (in container '')"},
        {"'abc'.matches('[')", "invalid matches argument"},
        {"duration('abc')", "invalid duration argument"},
        {"timestamp('2023-13-01')", "invalid timestamp argument"},
        {"'%d'.format(['a'])", "error during formatting: decimal clause can only be used on integers, was given string"},
        {"'%s'.format([])", "index 0 out of range"},
        {"'%s'.format(['a', 'b'])", "too many arguments supplied to string.format (expected 1, got 2)"},
    });
}

TEST(CelChecker, ConstructedObjects) {
    const Environment environment({}, {make_object_type("Thing", {{"a", Type::integer()}, {"b", Type::string()}})});
    const auto made = environment.compile("Thing{a: 1, b: 'x'}.a + 1 == 2 && type(Thing{}) == Thing");
    ASSERT_TRUE(made) << made.error().message;
    const Evaluation done = made->evaluate(SimpleActivation());
    ASSERT_TRUE(done.value) << done.value.error().message;
    EXPECT_EQ(rendered(*done.value), "true");
    EXPECT_EQ(environment.compile("Thing{a: 'x'}").error().message,
              "ERROR: <input>:1:10: expected type of field 'a' is 'int' but provided type is 'string'\n"
              " | Thing{a: 'x'}\n | .........^");
}

TEST(CelChecker, VariablesThatAreMentioned) {
    const auto program = node_environment().compile("[1].all(any, any > 0) && authorizer.requestResource == ''");
    ASSERT_TRUE(program);
    EXPECT_FALSE(program->mentions("any"));  // a local
    EXPECT_TRUE(program->mentions("authorizer"));
    EXPECT_FALSE(program->mentions("self"));
}

TEST(CelChecker, ManyTypeVariablesTakeNoQuadraticTime) {
    // Each empty list is a variable of its own.
    std::string expression = "[] == []";
    for (int i = 0; i < 5'000; ++i) expression += " && [] == []";
    EXPECT_EQ(type_of(expression), "bool");
}

}  // namespace
}  // namespace sluice::cel
