// Views of JSON. Expectations: Kubernetes' "Validation rules" of CustomResourceDefinitions (1.32).
#include "control/cel/json.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "control/cel/escape.h"
#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

std::shared_ptr<const boost::json::value> parsed(const char* text) {
    return std::make_shared<const boost::json::value>(boost::json::parse(text));
}

std::shared_ptr<const ListSemantics> merging(ListSemantics::Merge merge, std::vector<std::string> keys = {}) {
    return std::make_shared<const ListSemantics>(ListSemantics{merge, std::move(keys)});
}

TEST(CelJson, WithoutASchema) {
    const Given object{"object", Type::dyn(),
                       json_view(parsed(R"({"a": {"b-c": [1, 2.5, "x", null, true, 18446744073709551615]}, "n": null})"))};
    expect_rows(
        {
            {"object.a['b-c']", "[1, 2.5, 'x', null, true, 18446744073709551615u]"},
            {"object.n == null && has(object.n) && !has(object.m)", "true"},
            {"object.a.b__dash__c", "error: no such key: b__dash__c"},
            {"object.map(k, k)", "['a', 'n']"},
            {"object == {'a': {'b-c': [1, 2.5, dyn('x'), null, true, 18446744073709551615u].map(v, dyn(v))}}", "compile: expected type 'int' but found 'double'"},
            {"object.a['b-c'][9]", "error: index out of bounds: 9"},
            {"type(object) == map && type(object.a['b-c']) == list", "true"},
        },
        {object});
}

TEST(CelJson, AsASchemaSays) {
    const Type inner = make_object_type("Inner", {{"name", Type::string()}, {"port", Type::integer()}});
    const Type type = make_object_type(
        "Spec", {{"x-y", Type::integer()},
                 {"namespace", Type::string()},
                 {"ratio", Type::number()},
                 {"when", Type::timestamp()},
                 {"day", Type::timestamp()},
                 {"wait", Type::duration()},
                 {"longer", Type::duration()},
                 {"data", Type::bytes()},
                 {"bad", Type::duration()},
                 {"none", Type::string()},
                 {"labels", Type::map(Type::string(), Type::string())},
                 {"set", Type::list(Type::string(), merging(ListSemantics::Merge::kSet))},
                 {"ports", Type::list(inner, merging(ListSemantics::Merge::kMap, {"name"}))},
                 {"list", Type::list(Type::integer())}});
    const Given self{"self", type, json_view(parsed(R"({
        "x-y": 1, "namespace": "n", "ratio": 2, "when": "2020-01-01T00:00:00Z", "day": "2020-01-02", "wait": "1h",
        "longer": "2 days", "data": "aGk=", "bad": "soon", "none": null, "unknown": 1, "labels": {"a.b": "c"},
        "set": ["a", "b"], "ports": [{"name": "p", "port": 1}, {"name": "q", "port": 2}], "list": [1, 2]})"), type)};
    expect_rows(
        {
            {"self.x__dash__y == 1 && self.__namespace__ == 'n' && self.namespace == 'n'", "true"},
            {"self.ratio / 4.0", "0.5"},
            {"self.day - self.when == duration('24h') && self.wait + self.longer == duration('49h')", "true"},
            {"self.data == b'hi'", "true"},
            {"self.bad", "error: Invalid duration soon"},
            {"has(self.none)", "false"},
            {"self.none", "error: no such key: none"},
            {"self.unknown", "compile: undefined field 'unknown'"},
            {"has(dyn(self).unknown)", "false"},
            {"self.labels['a.b'] + self.labels.map(k, k)[0]", "'ca.b'"},
            {"self.set == ['b', 'a'] && self.list != [2, 1]", "true"},
            {"self.set + ['c', 'a']", "['a', 'b', 'c']"},
            {"self.list + [1]", "[1, 2, 1]"},
            {"self.ports == [self.ports[1], self.ports[0]]", "true"},
            {"(self.ports + [self.ports[0]]).size()", "2"},
            {"self.ports.all(p, p.port > 0)", "true"},
            {"self == self", "error: Invalid duration soon"},
        },
        {self});
}

TEST(CelJson, Names) {
    EXPECT_EQ(escape_name("a-b.c/d"), "a__dash__b__dot__c__slash__d");
    EXPECT_EQ(escape_name("a__b"), "a__underscores__b");
    EXPECT_EQ(escape_name("namespace"), "__namespace__");
    EXPECT_EQ(escape_name("1a"), std::nullopt);
    EXPECT_EQ(escape_name("a b"), std::nullopt);
    EXPECT_EQ(escape_name(""), std::nullopt);
    EXPECT_EQ(unescape_name("a__dash__b"), "a-b");
    EXPECT_EQ(unescape_name("__namespace__"), "namespace");
    EXPECT_EQ(unescape_name("a__namespace__"), std::nullopt);
    EXPECT_EQ(unescape_name("a__unknown__b"), std::nullopt);
    EXPECT_EQ(unescape_name("a_b__"), "a_b__");
    for (const char* name : {"a", "a_b", "a__b", "x-y.z/w", "___", "while", "_", "a-__-b"}) {
        const auto escaped = escape_name(name);
        ASSERT_TRUE(escaped) << name;
        EXPECT_EQ(unescape_name(*escaped), name);
    }
}

TEST(CelJson, ValuesBecomeJson) {
    const auto json_of = [](const char* expression) {
        const Evaluation done = evaluation_of(expression);
        const auto json = to_json(*done.value);
        return json ? boost::json::serialize(*json) : "error: " + json.error().message;
    };
    EXPECT_EQ(json_of("{'a': [1, 2], 'b': [], 'c': [-3]}"), R"({"a":[1,2],"b":[],"c":[-3]})");
    EXPECT_EQ(json_of("{'t': string(timestamp(0))}"), R"({"t":"1970-01-01T00:00:00Z"})");
    EXPECT_EQ(json_of("[b'hi']"), R"(["aGk="])");
    EXPECT_EQ(json_of("{1: 2}"), "error: a map with keys of type int is no JSON");
    EXPECT_EQ(json_of("[int]"), "error: a value of type type(dyn) is no JSON");
}

}  // namespace
}  // namespace sluice::cel
