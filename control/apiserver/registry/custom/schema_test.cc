// Schema rules one by one: which definitions are refused, what values must be, what is pruned and defaulted.
// Expectations are those of https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
// custom-resource-definitions/ and of upstream's validation, in its words.
#include <gtest/gtest.h>

#include <boost/json/value.hpp>

#include "control/apiserver/registry/custom/json_path_private.h"
#include "control/apiserver/registry/custom/structural_private.h"
#include "control/apiserver/registry/custom/test_schema.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace sluice::registry {
namespace {

namespace json = boost::json;

using testing::compiled;
using testing::parsed;

std::string told(const FieldErrors& errors) { return errors.empty() ? "" : errors.to_string(); }

// What is wrong with a value; empty: nothing.
std::string wrong(const std::string& schema, const std::string& value,
                  const std::string& old = "") {
    FieldErrors errors;
    const auto compiled_schema = compiled(schema);
    const json::value now = parsed(value);
    const json::value before = old.empty() ? json::value() : parsed(old);
    check_value(now, old.empty() ? nullptr : &before, *compiled_schema, "spec", &errors);
    check_lists(now, *compiled_schema, "spec", &errors);
    return told(errors);
}

// What is wrong with a schema.
std::string refused(const std::string& schema, bool status = false) {
    FieldErrors errors;
    check_structural(parsed(schema), *compiled(schema), "s", status, &errors);
    return told(errors);
}

std::string pruned(const std::string& schema, const std::string& value,
                   std::vector<std::string>* unknown = nullptr) {
    json::value now = parsed(value);
    prune(&now, *compiled(schema), true, unknown);
    return codec::write_sorted_json(now);
}

std::string defaulted(const std::string& schema, const std::string& value) {
    json::value now = parsed(value);
    set_defaults(&now, *compiled(schema));
    return codec::write_sorted_json(now);
}

struct ValueCase {
    const char* schema;
    const char* good;
    const char* bad;
    const char* why;
};

class Values : public ::testing::TestWithParam<ValueCase> {};

TEST_P(Values, AreChecked) {
    const ValueCase& one = GetParam();
    EXPECT_EQ(wrong(one.schema, one.good), "");
    EXPECT_EQ(wrong(one.schema, one.bad), one.why);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Values,
    ::testing::Values(
        ValueCase{R"({"type":"integer"})", "3", R"("x")",
                  R"(spec: Invalid value: "string": spec in body must be of type integer: "string")"},
        ValueCase{R"({"type":"integer"})", "3.0", "3.5",
                  R"(spec: Invalid value: "number": spec in body must be of type integer: "number")"},
        ValueCase{R"({"type":"number"})", "3", "true",
                  R"(spec: Invalid value: "boolean": spec in body must be of type number: "boolean")"},
        ValueCase{R"({"type":"string"})", R"("")", "null",
                  R"(spec: Invalid value: "null": spec in body must be of type string: "null")"},
        ValueCase{R"({"type":"object"})", "{}", "[]",
                  R"(spec: Invalid value: "array": spec in body must be of type object: "array")"},
        ValueCase{R"({"x-kubernetes-int-or-string":true})", R"("80%")", "true",
                  R"(spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean")"},
        ValueCase{R"({"type":"string","pattern":"^a+$"})", R"("aa")", R"("ab")",
                  R"(spec: Invalid value: "ab": spec in body should match '^a+$')"},
        ValueCase{R"({"type":"string","minLength":2})", R"("éé")", R"("é")",
                  R"(spec: Invalid value: "é": spec in body should be at least 2 chars long)"},
        ValueCase{R"({"type":"string","maxLength":1})", R"("é")", R"("ab")",
                  "spec: Too long: may not be more than 1 bytes"},
        ValueCase{R"({"type":"string","enum":["a","b"]})", R"("a")", R"("c")",
                  R"(spec: Unsupported value: "c": supported values: "a", "b")"},
        ValueCase{R"({"type":"integer","minimum":1})", "1", "0",
                  "spec: Invalid value: 0: spec in body should be greater than or equal to 1"},
        ValueCase{R"({"type":"integer","minimum":1,"exclusiveMinimum":true})", "2", "1",
                  "spec: Invalid value: 1: spec in body should be greater than 1"},
        ValueCase{R"({"type":"integer","maximum":10})", "10", "11",
                  "spec: Invalid value: 11: spec in body should be less than or equal to 10"},
        ValueCase{R"({"type":"number","maximum":1,"exclusiveMaximum":true})", "0.5", "1",
                  "spec: Invalid value: 1: spec in body should be less than 1"},
        ValueCase{R"({"type":"integer","multipleOf":5})", "10", "7",
                  "spec: Invalid value: 7: spec in body should be a multiple of 5"},
        ValueCase{R"({"type":"array","items":{"type":"integer"},"minItems":1})", "[1]", "[]",
                  "spec: Invalid value: 0: spec in body should have at least 1 items"},
        ValueCase{R"({"type":"array","items":{"type":"integer"},"maxItems":1})", "[1]", "[1,2]",
                  "spec: Too many: 2: must have at most 1 items"},
        ValueCase{R"({"type":"array","items":{"type":"integer"}})", "[1]", R"([1,"x"])",
                  R"(spec[1]: Invalid value: "string": spec[1] in body must be of type integer: "string")"},
        ValueCase{R"({"type":"object","required":["a"]})", R"({"a":1})", "{}",
                  "spec.a: Required value"},
        ValueCase{R"({"type":"object","minProperties":1})", R"({"a":1})", "{}",
                  "spec: Invalid value: 1: spec in body should have at least 1 properties"},
        ValueCase{R"({"type":"object","additionalProperties":{"type":"integer"}})", R"({"a":1})",
                  R"({"a":"x"})",
                  R"(spec.a: Invalid value: "string": spec.a in body must be of type integer: "string")"}));

INSTANTIATE_TEST_SUITE_P(
    Combinations, Values,
    ::testing::Values(
        ValueCase{R"({"type":"object","oneOf":[{"required":["a"]},{"required":["b"]}]})",
                  R"({"a":1})", R"({"a":1,"b":2})",
                  R"(<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives)"},
        ValueCase{R"({"type":"object","not":{"required":["a"]}})", "{}", R"({"a":1})",
                  R"(<nil>: Invalid value: "": "spec" must not validate the schema (not))"},
        ValueCase{R"({"type":"object","anyOf":[{"required":["a"]},{"required":["b"]}]})",
                  R"({"b":1})", "{}",
                  R"([<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf), spec.a: Required value])"},
        ValueCase{R"({"type":"integer","allOf":[{"minimum":1},{"maximum":3}]})", "2", "4",
                  R"([spec: Invalid value: 4: spec in body should be less than or equal to 3, <nil>: Invalid value: "": "spec" must validate all the schemas (allOf)])"}));

INSTANTIATE_TEST_SUITE_P(
    Formats, Values,
    ::testing::Values(
        ValueCase{R"({"type":"string","format":"date-time"})", R"("2020-01-02T03:04:05Z")",
                  R"("yesterday")",
                  R"(spec: Invalid value: "yesterday": spec in body must be of type date-time: "yesterday")"},
        ValueCase{R"({"type":"string","format":"ipv4"})", R"("10.0.0.1")", R"("::1")",
                  R"(spec: Invalid value: "::1": spec in body must be of type ipv4: "::1")"},
        ValueCase{R"({"type":"string","format":"uuid"})",
                  R"("123e4567-e89b-12d3-a456-426614174000")", R"("x")",
                  R"(spec: Invalid value: "x": spec in body must be of type uuid: "x")"},
        ValueCase{R"({"type":"string","format":"byte"})", R"("YQ==")", R"("?")",
                  R"(spec: Invalid value: "?": spec in body must be of type byte: "?")"},
        ValueCase{R"({"type":"string","format":"cidr"})", R"("10.1.2.3/8")", R"("10.0.0.0")",
                  R"(spec: Invalid value: "10.0.0.0": spec in body must be of type cidr: "10.0.0.0")"}));

INSTANTIATE_TEST_SUITE_P(
    Lists, Values,
    ::testing::Values(
        ValueCase{R"({"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}})",
                  R"(["a","b"])", R"(["a","b","a"])", R"(spec[2]: Duplicate value: "a")"},
        ValueCase{R"({"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["n"],
                      "items":{"type":"object","properties":{"n":{"type":"string"}}}})",
                  R"([{"n":"a"},{"n":"b"}])", R"([{"n":"a"},{"n":"a"}])",
                  R"(spec[1]: Duplicate value: {"n":"a"})"}));

TEST(ValueRules, UnknownFormatsFitEverything) {
    EXPECT_EQ(wrong(R"({"type":"string","format":"colour"})", R"("x")"), "");
}

TEST(ValueRules, NullIsAValueWhereItIsAllowed) {
    EXPECT_EQ(wrong(R"({"type":"string","nullable":true,"enum":["a"]})", "null"), "");
}

TEST(ValueRules, WhatDidNotChangeIsNotLookedAtAgain) {
    const char* schema =
        R"({"type":"object","properties":{"a":{"type":"integer","maximum":5},"b":{"type":"integer","maximum":5}}})";
    EXPECT_EQ(wrong(schema, R"({"a":9,"b":1})", R"({"a":9,"b":2})"), "");
    EXPECT_EQ(wrong(schema, R"({"a":9,"b":8})", R"({"a":9,"b":2})"),
              "spec.b: Invalid value: 8: spec.b in body should be less than or equal to 5");
}

struct SchemaCase {
    const char* schema;
    const char* why;
};

class Schemas : public ::testing::TestWithParam<SchemaCase> {};

TEST_P(Schemas, AreRefused) { EXPECT_EQ(refused(GetParam().schema), GetParam().why); }

INSTANTIATE_TEST_SUITE_P(
    Structural, Schemas,
    ::testing::Values(
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"string"}}})", ""},
        SchemaCase{R"({})", "s.type: Required value: must not be empty at the root"},
        SchemaCase{R"({"type":"string"})",
                   R"(s.type: Invalid value: "string": must be object at the root)"},
        SchemaCase{R"({"type":"object","properties":{"a":{}}})",
                   "s.properties[a].type: Required value: must not be empty for specified object "
                   "fields"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"array"}}})",
                   "s.properties[a].items: Required value: must be specified"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"array","items":{}}}})",
                   "s.properties[a].items.type: Required value: must not be empty for specified "
                   "array items"},
        SchemaCase{R"({"type":"object","additionalProperties":{"type":"string"}})",
                   "s.additionalProperties: Forbidden: must not be used at the root"},
        SchemaCase{R"({"type":"object","anyOf":[{"properties":{"a":{"minimum":1}}}]})",
                   "s.properties[a]: Required value: because it is defined in "
                   "s.anyOf[0].properties[a]"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"string"}},"oneOf":[{"type":"object"}]})",
                   "s.oneOf[0].type: Forbidden: must be empty to be structural"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"string","not":{"description":"x"}}}})",
                   "s.properties[a].not.description: Forbidden: must be empty to be structural"},
        SchemaCase{R"({"type":"object","properties":{"metadata":{"type":"object","properties":{"labels":{"type":"object"}}}}})",
                   "s.properties[metadata]: Forbidden: must not specify anything other than name and "
                   "generateName, but metadata is implicitly specified"},
        SchemaCase{R"({"type":"object","properties":{"metadata":{"type":"object","properties":{"name":{"type":"string","pattern":"^a"}}}}})",
                   ""},
        SchemaCase{R"({"type":"object","properties":{"a":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}}})",
                   ""},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"object","x-kubernetes-embedded-resource":true}}})",
                   "s.properties[a].properties: Required value: must not be empty if "
                   "x-kubernetes-embedded-resource is true without "
                   "x-kubernetes-preserve-unknown-fields"}));

INSTANTIATE_TEST_SUITE_P(
    Words, Schemas,
    ::testing::Values(
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"string"},"uniqueItems":true}}})",
                   "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since "
                   "the runtime complexity becomes quadratic"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"thing"}}})",
                   R"(s.properties[a].type: Unsupported value: "thing": supported values: "array", "boolean", "integer", "number", "object", "string")"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"object","$ref":"x"}}})",
                   "s.properties[a].$ref: Forbidden: $ref is not supported"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":false}}})",
                   "s.properties[a].additionalProperties: Forbidden: additionalProperties and "
                   "properties are mutual exclusive"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"string","x-kubernetes-list-type":"set"}}})",
                   R"(s.properties[a].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified)"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"n":{"type":"string"}}},"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["n"]}}})",
                   "s.properties[a].items.properties[n].default: Required value: this property is in "
                   "x-kubernetes-list-map-keys, so it must have a default or be a required property"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"integer","default":"x"}}})",
                   R"(s.properties[a].default: Invalid value: "string": s.properties[a].default in body must be of type integer: "string")"},
        SchemaCase{R"({"type":"object","properties":{"a":{"type":"object","default":{"b":1}}}})",
                   R"(s.properties[a].default: Invalid value: {"b":1}: must not have unknown fields)"},
        SchemaCase{R"({"type":"object","properties":{"kind":{"type":"string","default":"x"}}})",
                   "s.properties[kind].default: Forbidden: must not be set in top-level kind"}));

TEST(SchemaRules, BadPatternsAndDeepSchemasAreRefused) {
    const auto pattern = compile_schema(parsed(R"({"properties":{"a":{"pattern":"["}}})"), "s");
    ASSERT_FALSE(pattern.has_value());
    EXPECT_TRUE(pattern.error().message.starts_with(
        "s.properties[a].pattern: must be a valid regular expression, but isn't: error parsing "
        "regexp: missing ]"))
        << pattern.error().message;
    std::string deep = R"({"type":"object"})";
    for (int i = 0; i < kMaxSchemaDepth - 1; ++i) deep = R"({"items":)" + deep + "}";
    EXPECT_TRUE(compile_schema(parsed(deep), "s").has_value());
    json::value deeper = parsed(deep);
    for (int i = 0; i < 2; ++i) deeper = json::object{{"items", deeper}};
    EXPECT_FALSE(compile_schema(deeper, "s").has_value());
}

TEST(Pruning, TakesWhatTheSchemaDoesNotKnow) {
    const char* schema = R"({"type":"object","properties":{
        "spec":{"type":"object","properties":{"a":{"type":"string"},
            "open":{"type":"object","x-kubernetes-preserve-unknown-fields":true,
                    "properties":{"known":{"type":"object","properties":{"x":{"type":"string"}}}}},
            "map":{"type":"object","additionalProperties":{"type":"object","properties":{"x":{"type":"string"}}}},
            "list":{"type":"array","items":{"type":"object","properties":{"x":{"type":"string"}}}}}}}})";
    std::vector<std::string> unknown;
    EXPECT_EQ(pruned(schema,
                     R"({"kind":"K","metadata":{"name":"n"},"other":1,"spec":{"a":"1","b":2,
                        "open":{"free":1,"known":{"x":"1","y":2}},
                        "map":{"k":{"x":"1","y":2}},"list":[{"x":"1","y":2}]}})",
                     &unknown),
              R"({"kind":"K","metadata":{"name":"n"},"spec":{"a":"1","list":[{"x":"1"}],)"
              R"("map":{"k":{"x":"1"}},"open":{"free":1,"known":{"x":"1"}}}})");
    EXPECT_EQ(unknown, (std::vector<std::string>{"other", "spec.b", "spec.list[0].y",
                                                 "spec.map.k.y", "spec.open.known.y"}));
}

TEST(Defaults, AreFilledInWhereNothingIs) {
    const char* schema = R"({"type":"object","properties":{
        "a":{"type":"integer","default":1},
        "b":{"type":"object","default":{},"properties":{"c":{"type":"string","default":"x"}}},
        "d":{"type":"object","properties":{"e":{"type":"string","default":"y"}}},
        "n":{"type":"string","nullable":true,"default":"z"},
        "m":{"type":"string","default":"z"},
        "o":{"type":"string"}}})";
    EXPECT_EQ(defaulted(schema, "{}"), R"({"a":1,"b":{"c":"x"},"m":"z","n":"z"})");
    // A null that is allowed stays, one that is not becomes the default, or goes where there is none.
    EXPECT_EQ(defaulted(schema, R"({"a":0,"d":{},"n":null,"m":null,"o":null})"),
              R"({"a":0,"b":{"c":"x"},"d":{"e":"y"},"m":"z","n":null})");
}

TEST(EmbeddedObjects, AreKubernetesObjects) {
    const auto schema = compiled(
        R"({"type":"object","properties":{"t":{"type":"object","x-kubernetes-embedded-resource":true,
            "x-kubernetes-preserve-unknown-fields":true}}})");
    json::value value = parsed(
        R"({"t":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","nonsense":1},"spec":{"a":1}}})");
    std::vector<std::string> unknown;
    coerce_embedded(&value, *schema, &unknown);
    EXPECT_EQ(codec::write_sorted_json(value),
              R"({"t":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"a":1}}})");
    EXPECT_EQ(unknown, std::vector<std::string>{"t.metadata.nonsense"});
    FieldErrors errors;
    check_embedded(parsed(R"({"t":{"kind":"Pod","metadata":{"labels":{"a":"?"}}}})"), *schema, true,
                   "", &errors);
    EXPECT_NE(errors.to_string().find("t.apiVersion: Required value"), std::string::npos)
        << errors.to_string();
    EXPECT_NE(errors.to_string().find("t.metadata.labels: Invalid value: \"?\""), std::string::npos)
        << errors.to_string();
}

TEST(Paths, LeadToValues) {
    const json::value root = parsed(
        R"({"spec":{"list":[{"t":"a","v":1},{"t":"b","v":2}],"x.y":7,"n":[1,2,3]}})");
    const auto first = [&root](const std::string& path) -> std::string {
        const auto parsed_path = JsonPath::parse(path);
        if (!parsed_path) return "error: " + parsed_path.error().message;
        const auto found = parsed_path->find(root);
        return found.empty() ? "nothing" : path_text(*found.front());
    };
    EXPECT_EQ(first(".spec.list[1].v"), "2");
    EXPECT_EQ(first(".spec.list[-1].t"), "b");
    EXPECT_EQ(first(R"(.spec.list[?(@.t=="b")].v)"), "2");
    EXPECT_EQ(first(".spec.list[?(@.v>1)].t"), "b");
    EXPECT_EQ(first(".spec.list[*].t"), "a");
    EXPECT_EQ(first(".spec.n[1:2]"), "2");
    EXPECT_EQ(first(R"(.spec.x\.y)"), "7");
    EXPECT_EQ(first("['spec']['x.y']"), "7");
    EXPECT_EQ(first(".spec.none.more"), "nothing");
    EXPECT_EQ(first("..v"), "1");
    EXPECT_EQ(first(".spec.n"), "[1,2,3]");
    EXPECT_EQ(first(".spec[").substr(0, 6), "error:");
}

}  // namespace
}  // namespace sluice::registry
