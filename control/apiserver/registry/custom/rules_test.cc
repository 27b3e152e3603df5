// x-kubernetes-validations: which rules a definition may have, and what they say of values. Expectations are those of
// https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules and
// of upstream's validation, in its words.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/value.hpp>

#include "control/apiserver/registry/custom/rules_private.h"
#include "control/apiserver/registry/custom/structural_private.h"
#include "control/apiserver/registry/custom/test_schema.h"

namespace sluice::registry {
namespace {

namespace json = boost::json;

using testing::compiled;
using testing::parsed;

// What is wrong with a schema; empty: nothing.
std::string refused(const std::string& schema) {
    FieldErrors errors;
    check_structural(parsed(schema), *compiled(schema), "s", false, &errors);
    return errors.empty() ? "" : errors.to_string();
}

// What the rules say of a value; empty: nothing.
std::string said(const std::string& schema, const std::string& value, const std::string& old = "") {
    const auto compiled_schema = compiled(schema);
    const auto rules = compile_rules(*compiled_schema, "s");
    EXPECT_NE(rules, nullptr);
    if (rules == nullptr) return {};
    FieldErrors errors;
    const json::value now = parsed(value);
    const json::value before = old.empty() ? json::value() : parsed(old);
    evaluate_rules(now, old.empty() ? nullptr : &before, *rules, &errors);
    return errors.empty() ? "" : errors.to_string();
}

// A schema whose spec has these members, and a rule.
std::string spec_of(const std::string& properties, const std::string& rules) {
    return R"({"type":"object","properties":{"spec":{"type":"object","properties":{)" + properties +
           R"(},"x-kubernetes-validations":[)" + rules + "]}}}";
}

const std::string kReplicas =
    R"("minReplicas":{"type":"integer"},"replicas":{"type":"integer"},"maxReplicas":{"type":"integer"})";

TEST(Rules, HoldOrName) {
    const std::string schema = spec_of(
        kReplicas,
        R"({"rule":"self.minReplicas <= self.replicas",)"
        R"("message":"replicas should be greater than or equal to minReplicas."},)"
        R"({"rule":"self.replicas <= self.maxReplicas"})");
    EXPECT_EQ(refused(schema), "");
    EXPECT_EQ(said(schema, R"({"spec":{"minReplicas":0,"replicas":20,"maxReplicas":20}})"), "");
    EXPECT_EQ(said(schema, R"({"spec":{"minReplicas":5,"replicas":3,"maxReplicas":2}})"),
              R"([spec: Invalid value: "object": replicas should be greater than or equal to minReplicas., )"
              R"(spec: Invalid value: "object": failed rule: self.replicas <= self.maxReplicas])");
    // Nothing can be said of what is not there.
    EXPECT_EQ(said(schema, R"({"metadata":{"name":"a"}})"), "");
    EXPECT_EQ(said(schema, R"({"spec":{"replicas":1,"maxReplicas":1}})"),
              R"(spec: Invalid value: "object": no such key: minReplicas evaluating rule: )"
              "replicas should be greater than or equal to minReplicas.");
}

TEST(Rules, OfTheWholeObject) {
    const std::string schema =
        R"J({"type":"object","properties":{"spec":{"type":"object","properties":{"x":{"type":"integer"}}}},)J"
        R"J("x-kubernetes-validations":[{"rule":"self.metadata.name.startsWith('a') && self.kind == 'Tab' )J"
        R"J(&& (!has(self.spec) || self.spec.x > 0)"}]})J";
    EXPECT_EQ(refused(schema), "");
    EXPECT_EQ(said(schema, R"({"kind":"Tab","metadata":{"name":"ab"},"spec":{"x":1}})"), "");
    EXPECT_TRUE(said(schema, R"({"kind":"Tab","metadata":{"name":"b"}})")
                    .starts_with(R"(<nil>: Invalid value: "object": failed rule: self.metadata.name)"));
}

TEST(Rules, MessageExpressionsReasonsAndPaths) {
    const std::string schema = spec_of(
        R"("x":{"type":"integer"},"m":{"type":"object","additionalProperties":{"type":"string"}})",
        R"J({"rule":"self.x > 1","messageExpression":"'x is ' + string(self.x)","fieldPath":".x"},)J"
        R"J({"rule":"self.x > 2","message":"m2","reason":"FieldValueForbidden"},)J"
        R"J({"rule":"self.x > 3","message":"m3","reason":"FieldValueRequired","fieldPath":".m['k.l']"},)J"
        R"J({"rule":"self.x > 4","reason":"FieldValueDuplicate"},)J"
        R"J({"rule":"self.x > 5","message":"m5","messageExpression":"' '"})J");
    EXPECT_EQ(refused(schema), "");
    EXPECT_EQ(said(schema, R"({"spec":{"x":1}})"),
              R"([spec.x: Invalid value: "object": x is 1, spec: Forbidden: m2, spec.m[k.l]: Required value: m3, )"
              R"(spec: Duplicate value: "object", spec: Invalid value: "object": m5])");
}

TEST(Rules, TransitionsAndOptionalOldSelf) {
    const std::string schema = spec_of(
        R"("x":{"type":"integer"})",
        R"({"rule":"self.x >= oldSelf.x","message":"x may not shrink"},)"
        R"({"rule":"oldSelf.hasValue() || self.x == 0","optionalOldSelf":true,"message":"x begins with 0"})");
    EXPECT_EQ(refused(schema), "");
    EXPECT_EQ(said(schema, R"({"spec":{"x":0}})"), "");
    EXPECT_EQ(said(schema, R"({"spec":{"x":3}})"), R"(spec: Invalid value: "object": x begins with 0)");
    EXPECT_EQ(said(schema, R"({"spec":{"x":3}})", R"({"spec":{"x":2}})"), "");
    EXPECT_EQ(said(schema, R"({"spec":{"x":1}})", R"({"spec":{"x":2}})"),
              R"(spec: Invalid value: "object": x may not shrink)");
}

TEST(Rules, ElementsOfMapsAreFoundByTheirKeys) {
    const std::string schema = R"({"type":"object","properties":{"spec":{"type":"array","maxItems":10,
        "x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
        "items":{"type":"object","required":["name"],
        "properties":{"name":{"type":"string","maxLength":10},"n":{"type":"integer"}},
        "x-kubernetes-validations":[{"rule":"self.n >= oldSelf.n"}]}}}})";
    EXPECT_EQ(refused(schema), "");
    const std::string old = R"({"spec":[{"name":"a","n":1},{"name":"b","n":5}]})";
    EXPECT_EQ(said(schema, R"({"spec":[{"name":"b","n":5},{"name":"c","n":0},{"name":"a","n":2}]})", old), "");
    EXPECT_EQ(said(schema, R"({"spec":[{"name":"b","n":4},{"name":"a","n":1}]})", old),
              R"(spec[0]: Invalid value: "object": failed rule: self.n >= oldSelf.n)");
}

TEST(Rules, WhatDidNotChangeIsPassedOver) {
    const std::string schema = R"({"type":"object","properties":{
        "a":{"type":"string","x-kubernetes-validations":[{"rule":"self == 'good'"}]},
        "list":{"type":"array","maxItems":5,
                "items":{"type":"integer","x-kubernetes-validations":[{"rule":"self < 9"}]}},
        "b":{"type":"string"}}})";
    EXPECT_EQ(refused(schema), "");
    EXPECT_EQ(said(schema, R"({"a":"bad","b":"new"})", R"({"a":"bad","b":"old"})"), "");
    EXPECT_NE(said(schema, R"({"a":"worse"})", R"({"a":"bad"})"), "");
    // Elements of such a list cannot be told again; the list can.
    EXPECT_EQ(said(schema, R"({"list":[1,9],"b":"new"})", R"({"list":[1,9]})"), "");
    EXPECT_EQ(said(schema, R"({"list":[2,9]})", R"({"list":[1,9]})"),
              R"(list[1]: Invalid value: "integer": failed rule: self < 9)");
}

TEST(Rules, SeeValuesByTheirTypes) {
    const std::string schema = spec_of(
        R"("int-or":{"x-kubernetes-int-or-string":true},"when":{"type":"string","format":"date-time"},)"
        R"("wait":{"type":"string","format":"duration"},"bytes":{"type":"string","format":"byte"},)"
        R"("namespace":{"type":"string"},)"
        R"("m":{"type":"object","additionalProperties":{"type":"integer"},"maxProperties":5},)"
        R"("open":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"k":{"type":"integer"}}},)"
        R"("set":{"type":"array","maxItems":5,"items":{"type":"string","maxLength":5},"x-kubernetes-list-type":"set"},)"
        R"("res":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true})",
        R"J({"rule":"type(self.int__dash__or) == string ? self.int__dash__or == '50%' : self.int__dash__or == 5"},)J"
        R"J({"rule":"self.when > timestamp('2020-01-01T00:00:00Z') && self.wait >= duration('1m')"},)J"
        R"J({"rule":"self.bytes == b'abc' && self.__namespace__ == 'n'"},)J"
        R"J({"rule":"self.m.all(k, self.m[k] > 0) && self.open.k == 1"},)J"
        R"J({"rule":"self.set == ['b', 'a'] && self.res.metadata.name == 'r' && self.res.kind == 'R'"})J");
    EXPECT_EQ(refused(schema), "");
    const std::string rest =
        R"(,"when":"2021-01-01T00:00:00Z","wait":"90s","bytes":"YWJj","namespace":"n","m":{"a":1},)"
        R"("open":{"k":1,"other":[]},"set":["a","b"],"res":{"apiVersion":"v1","kind":"R","metadata":{"name":"r"}}}})";
    EXPECT_EQ(said(schema, R"({"spec":{"int-or":"50%")" + rest), "");
    EXPECT_EQ(said(schema, R"({"spec":{"int-or":5)" + rest), "");
    EXPECT_NE(said(schema, R"({"spec":{"int-or":6)" + rest), "");
}

TEST(Rules, OfAnInvalidObjectAreNotAsked) {
    const auto schema = compiled(spec_of(kReplicas, R"({"rule":"self.replicas > 1"})"));
    const auto rules = compile_rules(*schema, "s");
    FieldErrors errors;
    errors.required("spec.x");
    evaluate_rules(parsed(R"({"spec":{"replicas":1}})"), nullptr, *rules, &errors);
    ASSERT_EQ(errors.all().size(), 2U);
    EXPECT_EQ(errors.all()[1].field, "<nil>");
    EXPECT_EQ(errors.all()[1].message,
              R"(Invalid value: "null": some validation rules were not checked because the object was invalid; )"
              "correct the existing errors to complete validation");
}

TEST(Rules, BudgetsEnd) {
    // 200 elements, looked at 200 times each, 200 times over: more than one evaluation may cost.
    const std::string schema = spec_of(
        R"("l":{"type":"array","items":{"type":"integer"}})",
        R"J({"rule":"self.l.all(x, self.l.all(y, self.l.all(z, x + y + z > 0)))","message":"cubic"},)J"
        R"J({"rule":"false"})J");
    std::string list = "1";
    for (int i = 0; i < 200; ++i) list += ",1";
    EXPECT_EQ(said(schema, R"({"spec":{"l":[)" + list + "]}}"),
              R"(spec: Invalid value: "object": 'operation cancelled: actual cost limit exceeded': no further )"
              "validation rules will be run due to call cost exceeds limit for rule: cubic");
}

struct Refusal {
    const char* rules;
    const char* why;  // begins so, below s.properties[spec].x-kubernetes-validations
};
class Refusals : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refusals, InUpstreamsWords) {
    const std::string told = refused(spec_of(R"("x":{"type":"integer"},"l":{"type":"array","items":{"type":"string"}})",
                                             GetParam().rules));
    const std::string wanted = std::string("s.properties[spec].x-kubernetes-validations[0].") + GetParam().why;
    EXPECT_EQ(told.substr(0, wanted.size()), wanted) << told;
}

INSTANTIATE_TEST_SUITE_P(
    All, Refusals,
    ::testing::Values(
        Refusal{R"({"rule":" "})", "rule: Required value: rule is not specified"},
        Refusal{R"({"rule":"true","message":" "})",
                "message: Invalid value: \" \": message must be non-empty if specified"},
        Refusal{R"({"rule":"true","message":"a\nb"})",
                "message: Invalid value: \"a\\nb\": message must not contain line breaks"},
        Refusal{R"({"rule":"true &&\ntrue"})",
                "message: Required value: message must be specified if rule contains line breaks"},
        Refusal{R"({"rule":"true","messageExpression":" "})",
                "messageExpression: Required value: messageExpression must be non-empty if specified"},
        Refusal{R"({"rule":"true","reason":"NotFound"})",
                R"(reason: Unsupported value: "NotFound": supported values: "FieldValueDuplicate", )"
                R"("FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")"},
        Refusal{R"({"rule":"true","fieldPath":".y"})",
                "fieldPath: Invalid value: \".y\": fieldPath must be a valid path"},
        Refusal{R"({"rule":"true","fieldPath":"x"})",
                "fieldPath: Invalid value: \"x\": fieldPath must be a valid path"},
        Refusal{R"({"rule":"self.y > 1"})",
                R"(rule: Invalid value: apiextensions.ValidationRule{Rule:"self.y > 1", Message:"", )"
                R"(MessageExpression:"", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:"", OptionalOldSelf:(*bool)(nil)}: )"
                "compilation failed: ERROR: <input>:1:5: undefined field 'y'"},
        Refusal{R"({"rule":"self.x + 1"})",
                R"(rule: Invalid value: apiextensions.ValidationRule{Rule:"self.x + 1", Message:"", )"
                R"(MessageExpression:"", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:"", OptionalOldSelf:(*bool)(nil)}: )"
                "cel expression must evaluate to a bool"},
        Refusal{R"({"rule":"true","messageExpression":"self.x"})",
                R"(messageExpression: Invalid value: apiextensions.ValidationRule{Rule:"true", Message:"", )"
                R"(MessageExpression:"self.x", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:"", )"
                R"(OptionalOldSelf:(*bool)(nil)}: messageExpression must evaluate to a string)"},
        Refusal{R"({"rule":"true","optionalOldSelf":true})",
                "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"},
        Refusal{R"({"rule":"1 == 1 &&"})",
                R"(rule: Invalid value: apiextensions.ValidationRule{Rule:"1 == 1 &&", Message:"", )"
                R"(MessageExpression:"", Reason:(*apiextensions.FieldValueErrorReason)(nil), FieldPath:"", OptionalOldSelf:(*bool)(nil)}: )"
                "compilation failed: ERROR: <input>:1:10: Syntax error: mismatched input '<EOF>'"}));

TEST(Rules, MayNotCostTooMuch) {
    const std::string pairs = R"J({"rule":"self.l.all(x, self.l.all(y, x == y))"})J";
    constexpr const char* kAt = "s.properties[spec].x-kubernetes-validations[0].rule: Forbidden: ";
    constexpr const char* kHint =
        " (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings "
        "are declared)";
    constexpr const char* kTexts = R"("l":{"type":"array","items":{"type":"string"}})";
    EXPECT_EQ(refused(spec_of(kTexts, pairs)),
              fmt::format("[{0}estimated rule cost exceeds budget by factor of more than 100x{1}, {0}contributed to "
                          "estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema, s: Forbidden: "
                          "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds "
                          "budget by factor of more than 100x{1}]",
                          kAt, kHint));
    constexpr const char* kFew = R"("l":{"type":"array","maxItems":10,"items":{"type":"string","maxLength":10}})";
    EXPECT_EQ(refused(spec_of(kFew, pairs)), "");
    // Bounds of the values around it count, too.
    const auto nested = [](const char* bound) {
        return std::string(R"({"type":"object","properties":{"m":{"type":"array")") + bound +
               R"J(,"items":{"type":"string","maxLength":1000,)J"
               R"J("x-kubernetes-validations":[{"rule":"self.contains('x')"}]}}}})J";
    };
    EXPECT_EQ(refused(nested(R"(,"maxItems":100)")), "");
    EXPECT_NE(refused(nested("")), "");
}

TEST(Rules, OldSelfNeedsElementsThatCanBeToldAgain) {
    EXPECT_EQ(refused(R"({"type":"object","properties":{"l":{"type":"array","maxItems":5,"items":{"type":"integer",
        "x-kubernetes-validations":[{"rule":"self > oldSelf"}]}}}})"),
              R"(s.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: "self > oldSelf": oldSelf )"
              "cannot be used on the uncorrelatable portion of the schema within s.properties[l]");
}

TEST(Rules, PathsAreNormalized) {
    const auto schema = compiled(
        R"({"type":"object","properties":{"a":{"type":"object","properties":{"b.c":{"type":"string"}}},)"
        R"("m":{"type":"object","additionalProperties":{"type":"string"}}}})");
    const std::pair<const char*, const char*> cases[] = {
        {".a", "a"}, {".a['b.c']", "a.b.c"}, {".m.key", "m[key]"}, {".m['it\\'s']", "m[it's]"}};
    for (const auto& [path, wanted] : cases) EXPECT_EQ(normalized_field_path(path, *schema).value_or("none"), wanted);
    for (const char* bad : {"a", ".", ".a[b]", ".a['b.c'", ".a['\\q']", ".a.b", ".m.k.l", ".a]", ".a['b.c']x"}) {
        EXPECT_FALSE(normalized_field_path(bad, *schema).has_value()) << bad;
    }
}

}  // namespace
}  // namespace sluice::registry
