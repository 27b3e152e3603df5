// Strategic merge patch. Expectations: what a kube-apiserver 1.32 answered to these patches, and
// the rules in Kubernetes' documentation of the strategic merge patch and of its ordering
// directive.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "api/codec/patch.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"

namespace sluice::codec {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace json = boost::json;

struct Case {
    std::string_view name;
    std::string_view document;
    std::string_view patch;
    std::string_view expected;
};

void PrintTo(const Case& c, std::ostream* out) {
    *out << c.name;
}

Result<json::value> patched(std::string_view document, std::string_view patch,
                            const google::protobuf::Descriptor* type = corev1::Pod::descriptor()) {
    json::value value = json::parse(document);
    SLUICE_TRY(apply_strategic_merge_patch(&value, json::parse(patch), *type));
    return value;
}

class StrategicMergePatch : public testing::TestWithParam<Case> {};

TEST_P(StrategicMergePatch, GivesWhatTheApiServerGives) {
    const auto result = patched(GetParam().document, GetParam().patch);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(json::serialize(*result), json::serialize(json::parse(GetParam().expected)));
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
    return std::string(info.param.name);
}

INSTANTIATE_TEST_SUITE_P(
    Maps, StrategicMergePatch,
    testing::Values(
        Case{"MembersAreMerged", R"({"metadata":{"labels":{"a":"1","b":"2"}}})",
             R"({"metadata":{"labels":{"b":"3","c":"4"}}})",
             R"({"metadata":{"labels":{"a":"1","b":"3","c":"4"}}})"},
        Case{"NullRemoves", R"({"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"nodeName":"n"}})",
             R"({"metadata":{"labels":{"a":null,"x":null}},"spec":{"nodeName":null}})",
             R"({"metadata":{"labels":{"b":"2"}},"spec":{}})"},
        Case{"NullsOfNewMapsAreDropped", R"({})", R"({"metadata":{"labels":{"a":null,"b":"1"}}})",
             R"({"metadata":{"labels":{"b":"1"}}})"},
        Case{"Replace", R"({"metadata":{"labels":{"a":"1"},"name":"x"}})",
             R"({"metadata":{"labels":{"$patch":"replace","c":"1"}}})",
             R"({"metadata":{"labels":{"c":"1"},"name":"x"}})"},
        Case{"Delete", R"({"spec":{"affinity":{"nodeAffinity":{}},"nodeName":"n"}})",
             R"({"spec":{"affinity":{"$patch":"delete"}}})",
             R"({"spec":{"affinity":{},"nodeName":"n"}})"},
        Case{
            "RetainKeys", R"({"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}})",
            R"({"spec":{"volumes":[{"$retainKeys":["name","emptyDir"],"name":"v","emptyDir":{}}]}})",
            R"({"spec":{"volumes":[{"name":"v","emptyDir":{}}]}})"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Lists, StrategicMergePatch,
    testing::Values(
        Case{
            "NewElementsOfKeyedListsComeFirst",
            R"({"spec":{"containers":[{"name":"c","image":"i:1","env":[{"name":"E","value":"1"}]}]}})",
            R"({"spec":{"containers":[{"name":"s","image":"j"},
                                       {"name":"c","env":[{"name":"F","value":"2"}]}]}})",
            R"({"spec":{"containers":[{"name":"s","image":"j"},
                 {"name":"c","image":"i:1","env":[{"name":"F","value":"2"},{"name":"E","value":"1"}]}]}})"},
        Case{"DeleteByKey", R"({"spec":{"containers":[{"name":"c"},{"name":"s"}]}})",
             R"({"spec":{"containers":[{"name":"s","$patch":"delete"}]}})",
             R"({"spec":{"containers":[{"name":"c"}]}})"},
        Case{"ReplaceTheList",
             R"({"spec":{"containers":[{"name":"c","image":"i:1"},{"name":"s"}]}})",
             R"({"spec":{"containers":[{"$patch":"replace"},{"name":"c","image":"i:2"}]}})",
             R"({"spec":{"containers":[{"name":"c","image":"i:2"}]}})"},
        Case{"AtomicListsAreReplaced", R"({"spec":{"tolerations":[{"key":"a"},{"key":"b"}]}})",
             R"({"spec":{"tolerations":[{"key":"c"}]}})",
             R"({"spec":{"tolerations":[{"key":"c"}]}})"},
        Case{
            "SetElementOrder",
            R"({"spec":{"containers":[{"name":"a"},{"name":"b"},{"name":"x"}]}})",
            R"({"spec":{"$setElementOrder/containers":[{"name":"n"},{"name":"b"},{"name":"a"}],
                 "containers":[{"name":"n","image":"i"}]}})",
            R"({"spec":{"containers":[{"name":"n","image":"i"},{"name":"b"},{"name":"a"},{"name":"x"}]}})"},
        Case{
            "SetElementOrderKeepsServerOnlyElementsInPlace",
            R"({"spec":{"containers":[{"name":"a"},{"name":"injected"},{"name":"b"}]}})",
            R"({"spec":{"$setElementOrder/containers":[{"name":"a"},{"name":"b"},{"name":"c"}],
                 "containers":[{"name":"c"}]}})",
            R"({"spec":{"containers":[{"name":"a"},{"name":"injected"},{"name":"b"},{"name":"c"}]}})"},
        Case{"SetElementOrderAloneReorders",
             R"({"spec":{"containers":[{"name":"a"},{"name":"b"}]}})",
             R"({"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}})",
             R"({"spec":{"containers":[{"name":"b"},{"name":"a"}]}})"},
        Case{"SetElementOrderWithDeletion",
             R"({"spec":{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}})",
             R"({"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"a"}],
                 "containers":[{"name":"b","$patch":"delete"}]}})",
             R"({"spec":{"containers":[{"name":"c"},{"name":"a"}]}})"},
        Case{"OrderOfAListThatNobodyHas", R"({"spec":{}})",
             R"({"spec":{"$setElementOrder/containers":[{"name":"c"}]}})", R"({"spec":{}})"},
        Case{"ElementsForNewListsLoseDirectives", R"({"spec":{}})",
             R"({"spec":{"$setElementOrder/containers":[{"name":"c"}],
                 "containers":[{"name":"b","$patch":"delete"},{"name":"c","$retainKeys":["name"]}]}})",
             R"({"spec":{"containers":[{"name":"c"}]}})"},
        Case{"SetsOfScalarsAreUnited", R"({"metadata":{"finalizers":["a","b"]}})",
             R"({"metadata":{"finalizers":["b","c"]}})",
             R"({"metadata":{"finalizers":["a","b","c"]}})"},
        Case{"DeleteFromPrimitiveList", R"({"metadata":{"finalizers":["a","b","c"]}})",
             R"({"metadata":{"$deleteFromPrimitiveList/finalizers":["b","x"],
                 "$setElementOrder/finalizers":["c","a"]}})",
             R"({"metadata":{"finalizers":["c","a"]}})"},
        Case{
            "MergeKeysMayBeNumbers",
            R"({"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"protocol":"TCP"}]}]}})",
            R"({"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"hostPort":8080}]}]}})",
            R"({"spec":{"containers":[{"name":"c",
                 "ports":[{"containerPort":80,"protocol":"TCP","hostPort":8080}]}]}})"},
        Case{
            "InlinedMembersHaveTheirTypes",
            R"({"spec":{"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"a"}}]}}]}})",
            R"({"spec":{"volumes":[{"name":"v","projected":{"defaultMode":420}}]}})",
            R"({"spec":{"volumes":[{"name":"v","projected":
                 {"sources":[{"secret":{"name":"a"}}],"defaultMode":420}}]}})"},
        Case{"EphemeralContainersInlineTheirLists",
             R"({"spec":{"ephemeralContainers":[{"name":"d","env":[{"name":"A","value":"1"},
                 {"name":"B","value":"1"}]}]}})",
             R"({"spec":{"ephemeralContainers":[{"name":"d","env":[{"name":"A","value":"2"}]}]}})",
             R"({"spec":{"ephemeralContainers":[{"name":"d","env":[{"name":"A","value":"2"},
                 {"name":"B","value":"1"}]}]}})"}),
    CaseName);

TEST(StrategicMergePatchErrors, NameWhatIsWrong) {
    const std::string_view pod = R"({"spec":{"containers":[{"name":"c","image":"i"}]}})";
    const auto no_key = patched(pod, R"({"spec":{"containers":[{"image":"q"}]}})");
    ASSERT_FALSE(no_key);
    EXPECT_EQ(no_key.error().code, Code::kInternal);
    EXPECT_EQ(no_key.error().message,
              "map: map[image:q] does not contain declared merge key: name");

    const auto unknown = patched(pod, R"({"spec":{"$patch":"frob"}})");
    EXPECT_EQ(unknown.error().message, "unknown patch type: frob in map: map[$patch:frob]");

    const auto retain = patched(
        pod, R"({"spec":{"containers":[{"name":"c","$retainKeys":["name"],"image":"x"}]}})");
    EXPECT_EQ(retain.error().code, Code::kInvalidArgument);
    EXPECT_EQ(retain.error().message, "Invalid patch format of retainKeys");

    const auto order = patched(pod, R"({"spec":{"$setElementOrder/containers":{}}})");
    EXPECT_EQ(order.error().code, Code::kInvalidArgument);
    EXPECT_FALSE(patched(pod, R"({"spec":{"$setElementOrder/containers":[{"name":"c"}],
                                          "containers":[{"name":"d"}]}})"))
        << "an element that the order does not name";
    EXPECT_FALSE(patched(pod, R"({"spec":{"$setElementOrder":[]}})"));
    EXPECT_FALSE(patched(pod, R"([])"));
}

TEST(StrategicMergePatchErrors, LeaveTheDocumentAlone) {
    json::value document =
        json::parse(R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}})");
    const json::value before = document;
    const auto result = apply_strategic_merge_patch(
        &document, json::parse(R"({"metadata":{"name":"b"},"spec":{"containers":[{}]}})"),
        *corev1::Pod::descriptor());
    ASSERT_FALSE(result);
    EXPECT_EQ(document, before);
}

TEST(StrategicMergePatchTypes, ServicePortsMergeByPort) {
    const auto result = patched(
        R"({"spec":{"ports":[{"port":80,"name":"a"},{"port":81,"name":"b"}]}})",
        R"({"spec":{"ports":[{"port":81,"targetPort":"web"}]}})", corev1::Service::descriptor());
    ASSERT_TRUE(result);
    EXPECT_EQ(*result, json::parse(R"({"spec":{"ports":[{"port":80,"name":"a"},
                                       {"port":81,"name":"b","targetPort":"web"}]}})"));
}

}  // namespace
}  // namespace sluice::codec
