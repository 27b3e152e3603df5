// YAML as go-yaml v2 reads and writes it, which is what kubectl and kube-apiserver use.
#include "api/codec/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <set>
#include <vector>

#include "api/codec/json.h"

namespace sluice::codec {
namespace {

std::string as_json(std::string_view yaml) {
    const auto value = yaml_to_json(yaml);
    return value ? write_json(*value) : "error: " + value.error().message;
}

bool refused(std::string_view yaml) {
    return !yaml_to_json(yaml).has_value();
}

TEST(Yaml, AManifest) {
    EXPECT_EQ(as_json(R"(
apiVersion: v1   # a comment
kind: Service
metadata:
  name: web
  labels: {app: web, "tier": 'front'}
spec:
  ports:
  - port: 80
    targetPort: http
  -
    port: 443
  clusterIP: null
)"),
              R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"app":"web","tier":"front"}},"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":443}],"clusterIP":null}})");
}

TEST(Yaml, ScalarsOfYaml11) {
    struct Row {
        const char* yaml;
        const char* json;
    };
    for (const auto& row : {
             Row{"yes", "true"}, Row{"No", "false"}, Row{"on", "true"}, Row{"OFF", "false"},
             Row{"y", "true"}, Row{"n", "false"}, Row{"true", "true"}, Row{"yEs", "\"yEs\""},
             Row{"~", "null"}, Row{"null", "null"}, Row{"", "null"}, Row{"nULL", "\"nULL\""},
             Row{"017", "15"}, Row{"0o17", "15"}, Row{"0x1F", "31"}, Row{"0b101", "5"}, Row{"08", "8"},
             Row{"1_000", "1000"}, Row{"+5", "5"}, Row{"-0x10", "-16"}, Row{"1.0", "1"}, Row{"1.5", "1.5"},
             Row{".5", "0.5"}, Row{"1e3", "1000"}, Row{"-1.5e-7", "-1.5e-7"}, Row{"1:30", "\"1:30\""},
             Row{"1.2.3", "\"1.2.3\""}, Row{"1Gi", "\"1Gi\""}, Row{"0x", "\"0x\""}, Row{"-", "[null]"},
             Row{"9223372036854775807", "9223372036854775807"},
             Row{"-9223372036854775808", "-9223372036854775808"},
             Row{"18446744073709551615", "18446744073709551615"},
             Row{"2001-01-01", "\"2001-01-01\""}, Row{"2001-01-01T00:00:00Z", "\"2001-01-01T00:00:00Z\""},
             Row{"'yes'", "\"yes\""}, Row{"\"1\"", "\"1\""}, Row{"!!str 1", "\"1\""},
             Row{"!!int \"3\"", "3"}, Row{"!!float 3", "3"}, Row{"!!binary aGk=", "\"hi\""},
             Row{"! 5", "\"5\""}, Row{"\"a\\tb\\u00e9\"", "\"a\\tb\xC3\xA9\""},
         }) {
        EXPECT_EQ(as_json(row.yaml), row.json) << row.yaml;
    }
}

TEST(Yaml, BlocksOfLines) {
    EXPECT_EQ(as_json("a: |\n  x\n    y\n\n  z\nb: |-\n  x\nc: |+\n  x\n\nd: >\n  x\n  y\n\n  z\n"),
              R"({"a":"x\n  y\n\nz\n","b":"x","c":"x\n\n","d":"x y\nz\n"})");
    EXPECT_EQ(as_json("a: one\n  two\n"), R"({"a":"one two"})");
}

TEST(Yaml, KeysBecomeStrings) {
    EXPECT_EQ(as_json("1: a\ntrue: b\n0x10: c\n\"2\": d\n1.5: e\n"),
              R"({"1":"a","true":"b","16":"c","2":"d","1.5":"e"})");
    EXPECT_EQ(as_json("~: a"), "error: yaml: line 1: a key is null");
    EXPECT_TRUE(refused("? [a]\n: b\n"));
    EXPECT_TRUE(refused("? {a: b}\n: c\n"));
}

TEST(Yaml, AnchorsAndMerges) {
    EXPECT_EQ(as_json("a: &x {p: 1, q: [2]}\nb: *x\n"), R"({"a":{"p":1,"q":[2]},"b":{"p":1,"q":[2]}})");
    EXPECT_EQ(as_json("a: &x {p: 1, q: 2}\nb:\n  q: 3\n  <<: *x\n  r: 4\n"),
              R"({"a":{"p":1,"q":2},"b":{"q":3,"r":4,"p":1}})");
    EXPECT_EQ(as_json("a: &x {p: 1}\nb: &y {p: 2, q: 3}\nc: {<<: [*x, *y]}\n"),
              R"({"a":{"p":1},"b":{"p":2,"q":3},"c":{"p":1,"q":3}})");
    EXPECT_EQ(as_json("&k key: 1\nother: *k\n"), R"({"key":1,"other":"key"})");
    EXPECT_TRUE(refused("a: &x [*x]\n"));
    EXPECT_TRUE(refused("a: *nothing\n"));
    EXPECT_TRUE(refused("a: {<<: 5}\n"));
    EXPECT_EQ(as_json("\"<<\": 5\n"), R"({"\u003c\u003c":5})");
}

TEST(Yaml, Refusals) {
    EXPECT_EQ(as_json("a: 1\nb: 2\na: 3\n"), "error: yaml: line 3: key \"a\" already set in map");
    EXPECT_EQ(as_json("a: .nan"), "error: yaml: line 1: json: unsupported value: NaN");
    EXPECT_EQ(as_json("a: -.inf"), "error: yaml: line 1: json: unsupported value: -Inf");
    EXPECT_EQ(as_json("a: !x 1"), "error: yaml: line 1: unknown tag \"!x\"");
    EXPECT_EQ(as_json("a: !!int x"), "error: yaml: line 1: cannot decode \"x\" as a !!int");
    EXPECT_EQ(as_json("a: 1\n---\nb: 2\n"), "error: yaml: the text holds several documents");
    EXPECT_EQ(as_json("a:\n\x04"), "error: yaml: line 2: control characters are not allowed");
    EXPECT_EQ(as_json("a: \xFF"), "error: yaml: the text is not UTF-8");
    for (const char* text : {"a: b: c", "a: [1", "a: {", "\"x", "a:\n\t- b", "!!map [1]", "- a\nb: c", "]", "}", "a: 1\n]", "[1]]", ",", "[1], 2",
                             "!!binary $$$"}) {
        EXPECT_TRUE(refused(text)) << text;
    }
    EXPECT_EQ(as_json("---\na: 1\n---\n"), R"({"a":1})");
    EXPECT_EQ(as_json("a: 1\n...\n"), R"({"a":1})");
}

TEST(Yaml, LimitsHold) {
    const auto levels = static_cast<std::size_t>(kMaxJsonDepth);
    EXPECT_FALSE(refused(std::string(levels, '[') + std::string(levels, ']')));
    const auto deep = std::string(levels + 1, '[') + std::string(levels + 1, ']');
    EXPECT_EQ(as_json(deep), "error: yaml: line 1: more than 100 levels");
    // Each line is ten of the line before.
    std::string laughs = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]\n";
    for (int i = 1; i < 10; ++i) {
        const std::string before = "*a" + std::to_string(i - 1);
        laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
        for (int j = 1; j < 10; ++j) laughs += "," + before;
        laughs += "]\n";
    }
    EXPECT_EQ(yaml_to_json(laughs).error().code, Code::kResourceExhausted);
    // One long text, many times.
    std::string copies = "a: &a " + std::string(1'000'000, 'x') + "\nb: [";
    for (int i = 0; i < 100; ++i) copies += "*a,";
    EXPECT_EQ(yaml_to_json(copies + "]\n").error().code, Code::kResourceExhausted);
    // Anchors within anchors are copied, too.
    std::string nested = "[" + std::string(1'000'000, 'x');
    for (int i = 0; i < 90; ++i) nested = "&a" + std::to_string(i) + " [" + nested;
    EXPECT_FALSE(yaml_to_json(nested + std::string(91, ']')).has_value());
    EXPECT_EQ(yaml_to_json(std::string(kMaxYamlBytes + 1, 'x')).error().code, Code::kResourceExhausted);
}

TEST(Yaml, WrittenAsKubeApiserverWrites) {
    const auto value = parse_json(
        R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"268","name":"yml","creationTimestamp":"2026-11-20T21:54:47Z","labels":{},"finalizers":[]},"data":{"a10":"x","a2":"true","text":"one\ntwo\n","cut":"one\ntwo","more":"a\n\n","q":"it's","h":"# no","colon":"a: b","e":"","sp":" x","n":"1.5","oct":"017","y":"yes","tab":"a\tb","star":"*x","dash":"-","dd":"- x","t":"12:30","url":"http://x:80/#y","u":"\u00e9\u2028"},"list":[[1,[2]],{"a":null,"b":[true,1.5,-3]},"s"]})");
    ASSERT_TRUE(value.has_value());
    EXPECT_EQ(json_to_yaml(*value), R"(apiVersion: v1
data:
  a2: "true"
  a10: x
  colon: 'a: b'
  cut: |-
    one
    two
  dash: '-'
  dd: '- x'
  e: ""
  h: '# no'
  more: |+
    a

  "n": "1.5"
  oct: "017"
  q: it's
  sp: ' x'
  star: '*x'
  t: "12:30"
  tab: "a\tb"
  text: |
    one
    two
  u: "é\u2028"
  url: http://x:80/#y
  "y": "yes"
kind: ConfigMap
list:
- - 1
  - - 2
- a: null
  b:
  - true
  - 1.5
  - -3
- s
metadata:
  creationTimestamp: "2026-11-20T21:54:47Z"
  finalizers: []
  labels: {}
  name: yml
  resourceVersion: "268"
)");
    EXPECT_EQ(write_json(*yaml_to_json(json_to_yaml(*value))).size(), write_json(*value).size());
    EXPECT_EQ(json_to_yaml(boost::json::value("a\nb")), "|-\n  a\n  b\n");
    EXPECT_EQ(json_to_yaml(boost::json::object()), "{}\n");
}

// Numbers are compared whole, wherever the texts begin to differ: otherwise 10 < 1q < 2 < 10.
TEST(Yaml, KeysHaveOneOrderWhateverOrderTheyComeIn) {
    std::vector<std::pair<std::string, std::string>> members = {
        {"1q", "b"}, {"10", "d"}, {"2", "c"}, {"a10", "i"}, {"a1b", "g"}, {"a2", "h"}};
    std::ranges::sort(members);
    std::set<std::string> outputs;
    do {
        boost::json::object object;
        for (const auto& [key, value] : members) object[key] = value;
        outputs.insert(json_to_yaml(object));
    } while (std::ranges::next_permutation(members).found);
    EXPECT_THAT(outputs, testing::ElementsAre("1q: b\n\"2\": c\n\"10\": d\na1b: g\na2: h\na10: i\n"));
}

// Digits that are no octal number are a float to YAML 1.1, which is written without a fraction and read back as an
// integer: another tree, but the same text.
TEST(Yaml, AFloatOfManyDigitsIsWrittenAlikeAfterARoundTrip) {
    const auto first = yaml_to_json("06006000000066964594");
    ASSERT_TRUE(first);
    EXPECT_TRUE(first->is_double());
    const std::string text = json_to_yaml(*first);
    EXPECT_EQ(text, "6006000000066964000\n");
    const auto again = yaml_to_json(text);
    ASSERT_TRUE(again);
    EXPECT_EQ(json_to_yaml(*again), text);
    EXPECT_EQ(write_json(*again), "6006000000066964000");
}

}  // namespace
}  // namespace sluice::codec
