// Which nodes are meant: tables of a template and a node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/codec/json.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/controllers/daemonset/placement.h"

namespace sluice::controllers {
namespace {

template <class T>
T parse(const std::string& text) {
    T out;
    const auto read = codec::decode_json(text, &out);
    EXPECT_TRUE(read) << text << ": " << read.error().message;
    return out;
}

Node make_node(const std::string& taints) {
    return parse<Node>(
        R"({"metadata":{"name":"n1","labels":{"disk":"ssd","cpus":"8"}},"spec":{"taints":[)" +
        taints + "]}}");
}

std::string taint(const std::string& key, const std::string& effect,
                  const std::string& value = "") {
    return R"({"key":")" + key + R"(","effect":")" + effect + R"(","value":")" + value + R"("})";
}

std::string required(const std::string& terms) {
    return R"({"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":)"
           R"({"nodeSelectorTerms":[)" + terms + "]}}}}";
}

struct Case {
    const char* name;
    std::string spec;
    std::string taints;
    Eligibility expected;
};

class Places : public ::testing::TestWithParam<Case> {};

TEST_P(Places, AreMeantOrNot) {
    auto spec = parse<PodSpec>(GetParam().spec);
    add_daemon_tolerations(&spec);
    const auto result = eligibility(spec, make_node(GetParam().taints));
    EXPECT_EQ(result.should_run, GetParam().expected.should_run);
    EXPECT_EQ(result.should_stay, GetParam().expected.should_stay);
}

constexpr Eligibility kYes{true, true};
constexpr Eligibility kStay{false, true};
constexpr Eligibility kNo{false, false};

INSTANTIATE_TEST_SUITE_P(
    All, Places,
    ::testing::Values(
        Case{"Plain", "{}", "", kYes},
        Case{"NamedHere", R"({"nodeName":"n1"})", "", kYes},
        Case{"NamedElsewhere", R"({"nodeName":"n2"})", "", kNo},
        Case{"Selected", R"({"nodeSelector":{"disk":"ssd"}})", "", kYes},
        Case{"OtherValue", R"({"nodeSelector":{"disk":"hdd"}})", "", kNo},
        Case{"NoSuchLabel", R"({"nodeSelector":{"gpu":"yes"}})", "", kNo},
        Case{"Cordoned", "{}", taint("node.kubernetes.io/unschedulable", "NoSchedule"), kYes},
        Case{"NotReady", "{}", taint("node.kubernetes.io/not-ready", "NoExecute"), kYes},
        Case{"Unreachable", "{}", taint("node.kubernetes.io/unreachable", "NoExecute"), kYes},
        Case{"UnderPressure", "{}", taint("node.kubernetes.io/memory-pressure", "NoSchedule"),
             kYes},
        Case{"NoNetwork", "{}", taint("node.kubernetes.io/network-unavailable", "NoSchedule"),
             kStay},
        Case{"NoNetworkNeeded", R"({"hostNetwork":true})",
             taint("node.kubernetes.io/network-unavailable", "NoSchedule"), kYes},
        Case{"TaintedNoSchedule", "{}", taint("team", "NoSchedule", "a"), kStay},
        Case{"TaintedNoExecute", "{}", taint("team", "NoExecute", "a"), kNo},
        Case{"TaintedPreferNoSchedule", "{}", taint("team", "PreferNoSchedule"), kYes},
        Case{"Tolerated", R"({"tolerations":[{"key":"team","operator":"Equal","value":"a"}]})",
             taint("team", "NoExecute", "a"), kYes},
        Case{"OtherValueTolerated", R"({"tolerations":[{"key":"team","value":"b"}]})",
             taint("team", "NoExecute", "a"), kNo},
        Case{"EverythingTolerated", R"({"tolerations":[{"operator":"Exists"}]})",
             taint("team", "NoExecute", "a"), kYes},
        Case{"OtherEffectTolerated",
             R"({"tolerations":[{"operator":"Exists","effect":"NoSchedule"}]})",
             taint("team", "NoExecute", "a"), kNo},
        Case{"In", required(R"({"matchExpressions":[{"key":"disk","operator":"In",)"
                            R"("values":["hdd","ssd"]}]})"), "", kYes},
        Case{"NotIn", required(R"({"matchExpressions":[{"key":"disk","operator":"NotIn",)"
                               R"("values":["ssd"]}]})"), "", kNo},
        Case{"NotInOfAbsent", required(R"({"matchExpressions":[{"key":"gpu","operator":"NotIn",)"
                                       R"("values":["a"]}]})"), "", kYes},
        Case{"Exists", required(R"({"matchExpressions":[{"key":"gpu","operator":"Exists"}]})"),
             "", kNo},
        Case{"DoesNotExist",
             required(R"({"matchExpressions":[{"key":"gpu","operator":"DoesNotExist"}]})"), "",
             kYes},
        Case{"Greater", required(R"({"matchExpressions":[{"key":"cpus","operator":"Gt",)"
                                 R"("values":["4"]}]})"), "", kYes},
        Case{"NotGreater", required(R"({"matchExpressions":[{"key":"cpus","operator":"Gt",)"
                                    R"("values":["8"]}]})"), "", kNo},
        Case{"Less", required(R"({"matchExpressions":[{"key":"cpus","operator":"Lt",)"
                              R"("values":["9"]}]})"), "", kYes},
        Case{"NotANumber", required(R"({"matchExpressions":[{"key":"disk","operator":"Lt",)"
                                    R"("values":["9"]}]})"), "", kNo},
        Case{"FieldHere", required(R"({"matchFields":[{"key":"metadata.name","operator":"In",)"
                                   R"("values":["n1"]}]})"), "", kYes},
        Case{"FieldElsewhere",
             required(R"({"matchFields":[{"key":"metadata.name","operator":"In",)"
                      R"("values":["n2"]}]})"), "", kNo},
        Case{"SecondTerm",
             required(R"({"matchExpressions":[{"key":"gpu","operator":"Exists"}]},)"
                      R"({"matchExpressions":[{"key":"disk","operator":"Exists"}]})"), "", kYes},
        Case{"BothOfOneTerm",
             required(R"({"matchExpressions":[{"key":"disk","operator":"Exists"},)"
                      R"({"key":"gpu","operator":"Exists"}]})"), "", kNo},
        Case{"EmptyTerm", required("{}"), "", kNo}),
    [](const auto& entry) { return entry.param.name; });

TEST(Pinning, ReplacesWhatTheTemplateRequires) {
    Pod pod;
    *pod.mutable_spec() = parse<PodSpec>(
        required(R"({"matchExpressions":[{"key":"disk","operator":"Exists"}]})"));
    EXPECT_EQ(target_node(pod), "");
    pin_to_node("n7", pod.mutable_spec());
    EXPECT_EQ(target_node(pod), "n7");
    const auto& selector = pod.spec().affinity().nodeaffinity()
                               .requiredduringschedulingignoredduringexecution();
    EXPECT_EQ(selector.nodeselectorterms_size(), 1);
    EXPECT_TRUE(selector.nodeselectorterms(0).matchexpressions().empty());
    pod.mutable_spec()->set_nodename("n8");
    EXPECT_EQ(target_node(pod), "n8");
}

TEST(Tolerations, AreAddedOnceAndWithoutEnd) {
    auto spec = parse<PodSpec>(
        R"({"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists",)"
        R"("effect":"NoExecute","tolerationSeconds":300}]})");
    add_daemon_tolerations(&spec);
    add_daemon_tolerations(&spec);
    EXPECT_EQ(spec.tolerations_size(), 6);
    EXPECT_FALSE(spec.tolerations(0).has_tolerationseconds());
}

}  // namespace
}  // namespace sluice::controllers
