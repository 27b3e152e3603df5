// JSON merge patch and JSON patch against the appendices of RFC 7386 and RFC 6902, and what
// kube-apiserver does beyond them.
#include "api/codec/patch.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <string_view>

namespace sluice::codec {
namespace {

namespace json = boost::json;

struct Case {
    std::string_view document;
    std::string_view patch;
    std::string_view expected;  // empty: refused, the document unchanged
};

void PrintTo(const Case& c, std::ostream* out) {
    *out << c.document << " + " << c.patch;
}

class MergePatch : public testing::TestWithParam<Case> {};

TEST_P(MergePatch, GivesTheResultOfRfc7386) {
    json::value document = json::parse(GetParam().document);
    ASSERT_TRUE(apply_merge_patch(&document, json::parse(GetParam().patch)));
    EXPECT_EQ(json::serialize(document), json::serialize(json::parse(GetParam().expected)));
}

INSTANTIATE_TEST_SUITE_P(
    AppendixA, MergePatch,
    testing::Values(Case{R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
                    Case{R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
                    Case{R"({"a":"b"})", R"({"a":null})", R"({})"},
                    Case{R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
                    Case{R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
                    Case{R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
                    Case{R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
                    Case{R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
                    Case{R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
                    Case{R"({"a":"b"})", R"(["c"])", R"(["c"])"},
                    Case{R"({"a":"foo"})", "null", "null"},
                    Case{R"({"a":"foo"})", R"("bar")", R"("bar")"},
                    Case{R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
                    Case{R"([1,2])", R"({"a":"b","c":null})", R"({"a":"b"})"},
                    Case{R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}));

INSTANTIATE_TEST_SUITE_P(OrderOfMembers, MergePatch,
                         testing::Values(Case{R"({"a":1,"b":2,"c":3})", R"({"a":null,"d":4})",
                                              R"({"b":2,"c":3,"d":4})"}));

class JsonPatch : public testing::TestWithParam<Case> {};

TEST_P(JsonPatch, GivesTheResultOfRfc6902) {
    json::value document = json::parse(GetParam().document);
    const auto result = apply_json_patch(&document, json::parse(GetParam().patch));
    if (GetParam().expected.empty()) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, Code::kFailedPrecondition);
        EXPECT_EQ(document, json::parse(GetParam().document)) << "changed in spite of the error";
        return;
    }
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(document, json::parse(GetParam().expected)) << json::serialize(document);
}

INSTANTIATE_TEST_SUITE_P(
    AppendixA, JsonPatch,
    testing::Values(
        // A.1 to A.16, in order.
        Case{R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux"}])",
             R"({"baz":"qux","foo":"bar"})"},
        Case{R"({"foo":["bar","baz"]})", R"([{"op":"add","path":"/foo/1","value":"qux"}])",
             R"({"foo":["bar","qux","baz"]})"},
        Case{R"({"baz":"qux","foo":"bar"})", R"([{"op":"remove","path":"/baz"}])",
             R"({"foo":"bar"})"},
        Case{R"({"foo":["bar","qux","baz"]})", R"([{"op":"remove","path":"/foo/1"}])",
             R"({"foo":["bar","baz"]})"},
        Case{R"({"baz":"qux","foo":"bar"})", R"([{"op":"replace","path":"/baz","value":"boo"}])",
             R"({"baz":"boo","foo":"bar"})"},
        Case{R"({"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}})",
             R"([{"op":"move","from":"/foo/waldo","path":"/qux/thud"}])",
             R"({"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}})"},
        Case{R"({"foo":["all","grass","cows","eat"]})",
             R"([{"op":"move","from":"/foo/1","path":"/foo/3"}])",
             R"({"foo":["all","cows","eat","grass"]})"},
        Case{
            R"({"baz":"qux","foo":["a",2,"c"]})",
            R"([{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}])",
            R"({"baz":"qux","foo":["a",2,"c"]})"},
        Case{R"({"baz":"qux"})", R"([{"op":"test","path":"/baz","value":"bar"}])", ""},
        Case{R"({"foo":"bar"})", R"([{"op":"add","path":"/child","value":{"grandchild":{}}}])",
             R"({"foo":"bar","child":{"grandchild":{}}})"},
        Case{R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux","xyz":123}])",
             R"({"foo":"bar","baz":"qux"})"},
        Case{R"({"foo":"bar"})", R"([{"op":"add","path":"/baz/bat","value":"qux"}])", ""},
        Case{R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":10}])",
             R"({"/":9,"~1":10})"},
        Case{R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":"10"}])", ""},
        Case{R"({"foo":["bar"]})", R"([{"op":"add","path":"/foo/-","value":["abc","def"]}])",
             R"({"foo":["bar",["abc","def"]]})"}));

INSTANTIATE_TEST_SUITE_P(
    Edges, JsonPatch,
    testing::Values(
        Case{R"({"a":1})", R"([{"op":"test","path":"","value":{"a":1.0}}])", R"({"a":1})"},
        Case{R"({"a":1})", R"([{"op":"replace","path":"","value":[]}])", "[]"},
        Case{R"({"a":1})", R"([{"op":"remove","path":"/b"}])", ""},
        Case{R"({"a":1})", R"([{"op":"replace","path":"/b","value":2}])", ""},
        Case{R"({"a":[1]})", R"([{"op":"add","path":"/a/2","value":2}])", ""},
        Case{R"({"a":[1]})", R"([{"op":"add","path":"/a/01","value":2}])", ""},
        Case{R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/-1"}])", R"({"a":[1]})"},
        Case{R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/-3"}])", ""},
        Case{R"({"a":{"b":1}})", R"([{"op":"move","from":"/a","path":"/a/b"}])", ""},
        Case{R"({"a":{"b":1}})", R"([{"op":"copy","from":"/a","path":"/a/c"}])",
             R"({"a":{"b":1,"c":{"b":1}}})"},
        Case{R"({"a":{}})", R"([{"op":"test","path":"/a/b","value":null}])", R"({"a":{}})"},
        Case{R"({"a":{}})", R"([{"op":"test","path":"/a/b/c","value":null}])", ""},
        Case{R"({"a":1})",
             R"([{"op":"add","path":"/b","value":2},{"op":"test","path":"/a","value":0}])", ""}));

TEST(JsonPatchErrors, TellMalformedFromInapplicable) {
    for (const std::string_view patch :
         {R"({})", R"([1])", R"([{"op":"add"}])", R"([{"op":"frob","path":"/a"}])",
          R"([{"op":"add","path":"/a"}])", R"([{"op":"add","path":"a","value":1}])",
          R"([{"op":"add","path":"/~2","value":1}])", R"([{"op":"move","path":"/a"}])",
          R"([{"op":7,"path":"/a"}])"}) {
        json::value document = json::parse(R"({"a":1})");
        const auto result = apply_json_patch(&document, json::parse(patch));
        ASSERT_FALSE(result) << patch;
        EXPECT_EQ(result.error().code, Code::kInvalidArgument) << patch;
    }
}

TEST(JsonPatchLimits, HoldForOperationsCopiesAndMoves) {
    json::array many;
    for (std::size_t i = 0; i <= kMaxJsonPatchOperations; ++i) {
        many.push_back(json::value{{"op", "test"}, {"path", ""}, {"value", 1}});
    }
    json::value one(1);
    const auto too_many = apply_json_patch(&one, json::value(many));
    EXPECT_EQ(too_many.error().message,
              "The allowed maximum operations in a JSON patch is 10000, got 10001");

    json::array doubling;
    for (int i = 0; i < 64; ++i) {
        const std::string path = "/copy" + std::to_string(i);
        doubling.push_back(json::value{{"op", "copy"}, {"from", ""}, {"path", path}});
    }
    json::value document = json::parse(R"({"a":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"})");
    const auto too_large = apply_json_patch(&document, json::value(doubling));
    ASSERT_FALSE(too_large);
    EXPECT_EQ(too_large.error().code, Code::kFailedPrecondition);

    json::array front;
    for (int i = 0; i < 1000; ++i) {
        front.push_back(json::value{{"op", "add"}, {"path", "/0"}, {"value", 0}});
    }
    json::value list(json::array(100'000, json::value(1)));
    EXPECT_EQ(apply_json_patch(&list, json::value(front)).error().code, Code::kResourceExhausted);
}

}  // namespace
}  // namespace sluice::codec
