// Expectations are those of the Kubernetes documentation ("Labels and Selectors", "Field
// Selectors") and of a kube-apiserver's answers.
#include "api/codec/selector.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace {

using Labels = std::map<std::string, std::string, std::less<>>;

bool selects(const LabelSelector& selector, const Labels& labels) {
    return selector.matches([&](std::string_view key) -> std::optional<std::string_view> {
        const auto found = labels.find(key);
        return found == labels.end() ? std::nullopt
                                     : std::optional<std::string_view>(found->second);
    });
}

bool selects(std::string_view text, const Labels& labels) {
    const auto selector = LabelSelector::parse(text);
    EXPECT_TRUE(selector) << text << ": " << selector.error().message;
    return selector && selects(*selector, labels);
}

TEST(LabelSelector, SelectsByEquality) {
    EXPECT_TRUE(selects("environment=production", {{"environment", "production"}}));
    EXPECT_TRUE(selects("environment == production", {{"environment", "production"}}));
    EXPECT_FALSE(selects("environment=production", {{"environment", "qa"}}));
    EXPECT_FALSE(selects("environment=production", {}));
    EXPECT_TRUE(selects("tier!=frontend", {{"tier", "backend"}}));
    EXPECT_TRUE(selects("tier!=frontend", {})) << "an absent label is not equal";
    EXPECT_FALSE(selects("tier!=frontend", {{"tier", "frontend"}}));
    EXPECT_TRUE(selects("a=1,b!=2", {{"a", "1"}, {"b", "3"}}));
    EXPECT_FALSE(selects("a=1,b!=2", {{"a", "1"}, {"b", "2"}}));
    EXPECT_TRUE(selects("a=", {{"a", ""}}));
    EXPECT_FALSE(selects("a=", {}));
}

TEST(LabelSelector, SelectsBySets) {
    EXPECT_TRUE(selects("environment in (production, qa)", {{"environment", "qa"}}));
    EXPECT_FALSE(selects("environment in (production, qa)", {}));
    EXPECT_TRUE(selects("tier notin (frontend, backend)", {}));
    EXPECT_FALSE(selects("tier notin (frontend, backend)", {{"tier", "backend"}}));
    EXPECT_TRUE(selects("partition", {{"partition", ""}}));
    EXPECT_FALSE(selects("partition", {}));
    EXPECT_TRUE(selects("!partition", {}));
    EXPECT_FALSE(selects("!partition", {{"partition", "x"}}));
    EXPECT_TRUE(selects("x in (foo,,baz),y,z notin ()", {{"x", ""}, {"y", ""}, {"z", "a"}}));
    EXPECT_FALSE(selects("z notin ()", {{"z", ""}}));
    EXPECT_TRUE(selects("in in (in,notin)", {{"in", "notin"}})) << "operators are names elsewhere";
}

TEST(LabelSelector, SelectsByNumber) {
    EXPECT_TRUE(selects("cpus>4", {{"cpus", "8"}}));
    EXPECT_FALSE(selects("cpus>8", {{"cpus", "8"}}));
    EXPECT_TRUE(selects("cpus<9", {{"cpus", "8"}}));
    EXPECT_FALSE(selects("cpus<9", {{"cpus", "many"}}));
    EXPECT_FALSE(selects("cpus<9", {}));
}

TEST(LabelSelector, EmptyTextSelectsEverythingAndNothingNothing) {
    EXPECT_TRUE(selects("", {{"a", "b"}}));
    EXPECT_TRUE(LabelSelector::parse("  ")->selects_everything());
    EXPECT_FALSE(selects(LabelSelector::nothing(), {}));
    EXPECT_FALSE(LabelSelector::nothing().selects_everything());
}

TEST(LabelSelector, WritesItsCanonicalText) {
    EXPECT_EQ(LabelSelector::parse(" b==2 , a notin (y,x,y), !c ,d>1")->to_string(),
              "a notin (x,y),b=2,!c,d>1");
}

struct Refused {
    std::string_view text;
    std::string_view message;
};

TEST(LabelSelector, RefusesInTheWordsOfTheApiServer) {
    const Refused cases[] = {
        {"a==b==c", "found '==', expected: ',' or 'end of string'"},
        {"=x", "found '=', expected: !, identifier, or 'end of string'"},
        {"a===b", "unable to parse requirement: found '=', expected: identifier"},
        {"a,", "found '', expected: identifier after ','"},
        {",a", "found ',', expected: !, identifier, or 'end of string'"},
        {"a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"},
        {"a in b", "unable to parse requirement: found 'b' expected: '('"},
        {"a in (b", "unable to parse requirement: found '', expected: ',' or ')'"},
        {"a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"},
        {"!a=b", "found '=', expected: ',' or 'end of string'"},
        {"a>x",
         "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, "
         "the "
         "value must be an integer"},
        {"a=-x",
         "unable to parse requirement: values[0][a]: Invalid value: \"-x\": a valid label must be "
         "an "
         "empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
         "end "
         "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
         "for "
         "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"},
        {"-a",
         "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of "
         "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
         "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
         "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"},
    };
    for (const Refused& refused : cases) {
        const auto selector = LabelSelector::parse(refused.text);
        ASSERT_FALSE(selector) << refused.text;
        EXPECT_EQ(selector.error().message, refused.message) << refused.text;
        EXPECT_EQ(selector.error().code, Code::kInvalidArgument);
    }
}

TEST(LabelSelector, ChecksKeysAndValues) {
    const std::string name63(63, 'n');
    const std::string name64(64, 'n');
    EXPECT_TRUE(LabelSelector::parse("example.com/my-name=x"));
    EXPECT_TRUE(LabelSelector::parse("a=" + name63));
    EXPECT_FALSE(LabelSelector::parse("a=" + name64));
    EXPECT_TRUE(LabelSelector::parse(name63));
    EXPECT_FALSE(LabelSelector::parse(name64));
    EXPECT_FALSE(LabelSelector::parse("/a"));
    EXPECT_FALSE(LabelSelector::parse("a/"));
    EXPECT_FALSE(LabelSelector::parse("a/b/c"));
    EXPECT_FALSE(LabelSelector::parse("Example.com/a"));
    EXPECT_FALSE(LabelSelector::parse("a..b/c"));
    EXPECT_TRUE(LabelSelector::parse(std::string(253, 'p') + "/a"));
    EXPECT_FALSE(LabelSelector::parse(std::string(254, 'p') + "/a"));
    EXPECT_FALSE(LabelSelector::parse(std::string_view("a\0,b", 4)));
}

TEST(LabelSelector, ReadsTheObjectForm) {
    k8s::io::apimachinery::pkg::apis::meta::v1::LabelSelector proto;
    EXPECT_TRUE(LabelSelector::from_proto(proto)->selects_everything());
    (*proto.mutable_matchlabels())["app"] = "web";
    auto* expression = proto.add_matchexpressions();
    expression->set_key("tier");
    expression->set_operator_("NotIn");
    expression->add_values("test");
    const auto selector = LabelSelector::from_proto(proto);
    ASSERT_TRUE(selector);
    EXPECT_EQ(selector->to_string(), "app=web,tier notin (test)");
    EXPECT_TRUE(selects(*selector, {{"app", "web"}}));
    EXPECT_FALSE(selects(*selector, {{"app", "web"}, {"tier", "test"}}));

    expression->set_operator_("Exists");
    EXPECT_EQ(
        LabelSelector::from_proto(proto).error().message,
        "values: Invalid value: []string{\"test\"}: values set must be empty for exists and does "
        "not exist");
    expression->set_operator_("Like");
    EXPECT_EQ(LabelSelector::from_proto(proto).error().message,
              "\"Like\" is not a valid label selector operator");
    expression->set_operator_("In");
    expression->clear_values();
    EXPECT_FALSE(LabelSelector::from_proto(proto));
}

bool field_selects(std::string_view text, const Labels& fields) {
    const auto selector = FieldSelector::parse(text);
    EXPECT_TRUE(selector) << text;
    return selector && selector->matches([&](std::string_view field) {
        const auto found = fields.find(field);
        return found == fields.end() ? std::string() : found->second;
    });
}

TEST(FieldSelector, Selects) {
    const Labels pod{{"metadata.name", "web"}, {"status.phase", "Running"}, {"note", "a,b=c\\d"}};
    EXPECT_TRUE(field_selects("", pod));
    EXPECT_TRUE(field_selects("metadata.name=web", pod));
    EXPECT_TRUE(field_selects("metadata.name==web,status.phase!=Pending", pod));
    EXPECT_FALSE(field_selects("metadata.name=web,status.phase!=Running", pod));
    EXPECT_TRUE(field_selects("spec.nodeName=", pod)) << "a field without value is empty";
    EXPECT_TRUE(field_selects("note=a\\,b\\=c\\\\d", pod));
    EXPECT_TRUE(field_selects(",metadata.name=web,", pod)) << "empty terms are skipped";
}

TEST(FieldSelector, TellsWhichValueIsRequired) {
    const auto selector = FieldSelector::parse("metadata.name=web,status.phase!=Running");
    EXPECT_EQ(selector->required_value("metadata.name"), "web");
    EXPECT_EQ(selector->required_value("status.phase"), std::nullopt);
}

TEST(FieldSelector, Refuses) {
    EXPECT_EQ(FieldSelector::parse("metadata.name").error().message,
              "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
    EXPECT_EQ(FieldSelector::parse("a=b=c").error().message,
              "invalid field selector: unescaped character in value: 61");
    EXPECT_EQ(FieldSelector::parse("a=\\x").error().message,
              "invalid field selector: invalid escape sequence: \\x");
    EXPECT_EQ(FieldSelector::parse("a=b\\").error().message,
              "invalid field selector: invalid escape sequence: \\");
}

}  // namespace
}  // namespace sluice::codec
