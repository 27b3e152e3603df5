#include "control/controllers/pod_status.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"

namespace sluice::controllers {
namespace {

using ::testing::ElementsAre;
using IntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;
using PodTemplate = ::k8s::io::api::core::v1::PodTemplateSpec;

constexpr std::int64_t kNow = 1'000'000;
constexpr std::int64_t kNowNs = kNow * kSecondNs;

template <class T>
T parse(const std::string& text) {
    T out;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out)) << text;
    return out;
}

std::string ready_for(std::int64_t seconds) {
    return R"(conditions { type: "Ready" status: "True" lastTransitionTime { seconds: )" +
           std::to_string(kNow - seconds) + " } }";
}

// A pod that runs on a node, ready for a thousand seconds, unless told otherwise.
PodPtr pod(const std::string& name, const std::string& status = ready_for(1'000),
           const std::string& node = "n1", const std::string& phase = "Running") {
    auto out = std::make_shared<Pod>(parse<Pod>(
        "metadata { name: \"" + name + "\" uid: \"" + name + "\" creationTimestamp { seconds: " +
        std::to_string(kNow - 2'000) + " } } spec { nodeName: \"" + node +
        "\" } status { phase: \"" + phase + "\" " + status + " }"));
    return out;
}

PodPtr with_cost(const std::string& name, const std::string& cost) {
    Pod out = *pod(name);
    (*out.mutable_metadata()->mutable_annotations())[kDeletionCostAnnotation] = cost;
    return std::make_shared<Pod>(out);
}

std::vector<std::string> order(Pods pods, const std::map<std::string, int>& related = {}) {
    std::ranges::reverse(pods);
    sort_for_deletion(&pods, related, kNowNs);
    std::vector<std::string> out;
    for (const auto& entry : pods) out.push_back(entry->metadata().name());
    return out;
}

// The order that Kubernetes documents for ReplicaSets that are scaled down.
TEST(DeletionOrderTest, EachRuleBeforeTheNext) {
    EXPECT_THAT(order({pod("unassigned", ready_for(1'000), ""), pod("pending", "", "n1", "Pending"),
                       pod("a-lost", "", "n1", "Unknown"), pod("0-unready", ""),
                       with_cost("cheap", "-5"), pod("young", ready_for(10)),
                       pod("restarted", ready_for(1'000) +
                                            R"(containerStatuses { name: "c" restartCount: 3 })"),
                       pod("plain"), with_cost("dear", "5")}),
                ElementsAre("unassigned", "pending", "a-lost", "0-unready", "cheap", "young",
                            "restarted", "plain", "dear"));
}

TEST(DeletionOrderTest, DoubledPodsGoBeforeYoungOnes) {
    EXPECT_THAT(order({pod("doubled", ready_for(1'000), "n2"), pod("young", ready_for(10), "n1")},
                      {{"n1", 1}, {"n2", 3}}),
                ElementsAre("doubled", "young"));
}

// Pods of one age class differ by nothing that counts; the uid decides, always in the same way.
TEST(DeletionOrderTest, AgesAreComparedRoughly) {
    EXPECT_THAT(order({pod("a", ready_for(1'000)), pod("b", ready_for(900))}),
                ElementsAre("a", "b"));
    EXPECT_THAT(order({pod("b", ready_for(100)), pod("a", ready_for(100'000))}),
                ElementsAre("b", "a"));
}

TEST(DeletionOrderTest, CostsThatAreNoNumbersAreNone) {
    EXPECT_THAT(order({with_cost("cheap", "-1"), with_cost("odd", "-9x"), with_cost("zero", "0"),
                       with_cost("wide", "99999999999"), with_cost("z-dear", "1")}),
                ElementsAre("cheap", "odd", "wide", "zero", "z-dear"));
}

RC_GTEST_PROP(DeletionOrderProperty, TheSameWhateverTheOrderBefore, ()) {
    Pods pods;
    const int count = *rc::gen::inRange(2, 12);
    for (int i = 0; i < count; ++i) {
        const std::string phase = *rc::gen::element(std::string("Pending"), std::string("Running"));
        const std::string status =
            *rc::gen::arbitrary<bool>() ? ready_for(*rc::gen::inRange(-10, 5'000)) : "";
        pods.push_back(pod(std::to_string(i), status,
                           *rc::gen::element<std::string>("", "n1", "n2"), phase));
    }
    Pods other = pods;
    std::ranges::reverse(other);
    const std::map<std::string, int> related = {{"n1", 2}, {"n2", 1}};
    sort_for_deletion(&pods, related, kNowNs);
    sort_for_deletion(&other, related, kNowNs);
    RC_ASSERT(pods == other);
}

TEST(PodStatusTest, ActiveAndTerminating) {
    EXPECT_TRUE(is_active(*pod("a")));
    EXPECT_TRUE(is_active(*pod("a", "", "", "Pending")));
    EXPECT_FALSE(is_active(*pod("a", "", "n1", "Failed")));
    EXPECT_FALSE(is_active(*pod("a", "", "n1", "Succeeded")));
    Pod leaving = *pod("a");
    EXPECT_FALSE(is_terminating(leaving));
    leaving.mutable_metadata()->mutable_deletiontimestamp()->set_seconds(kNow);
    EXPECT_FALSE(is_active(leaving));
    EXPECT_TRUE(is_terminating(leaving));
    leaving.mutable_status()->set_phase("Failed");
    EXPECT_FALSE(is_terminating(leaving)) << "its containers have ended";
}

TEST(PodStatusTest, AvailableAfterMinReadySeconds) {
    EXPECT_TRUE(is_available(*pod("a", ready_for(0)), 0, kNowNs));
    EXPECT_FALSE(is_available(*pod("a", ready_for(9)), 10, kNowNs));
    EXPECT_TRUE(is_available(*pod("a", ready_for(11)), 10, kNowNs));
    EXPECT_FALSE(is_available(*pod("a", ""), 0, kNowNs));
    EXPECT_FALSE(is_available(*pod("a", R"(conditions { type: "Ready" status: "False" })"), 0,
                              kNowNs));
    EXPECT_FALSE(is_available(*pod("a", R"(conditions { type: "Ready" status: "True" })"), 10,
                              kNowNs))
        << "nobody knows since when";
}

TEST(PodStatusTest, TheNextToBecomeAvailable) {
    const Pods pods = {pod("a", ready_for(7)), pod("b", ready_for(4)), pod("c", ""),
                       pod("d", ready_for(100))};
    EXPECT_EQ(next_available_ns(pods, 10, kNowNs), 3 * kSecondNs);
    EXPECT_EQ(next_available_ns(pods, 0, kNowNs), std::nullopt);
}

int scaled(const std::string& text, int total, bool up) {
    IntOrString value;
    value.set_type(1);
    value.set_strval(text);
    return scaled_value(value, total, up);
}

TEST(ScaledValueTest, PartsOfATotal) {
    EXPECT_EQ(scaled("25%", 10, true), 3);
    EXPECT_EQ(scaled("25%", 10, false), 2);
    EXPECT_EQ(scaled("100%", 7, true), 7);
    EXPECT_EQ(scaled("0%", 7, true), 0);
    EXPECT_EQ(scaled("1%", 0, true), 0);
    EXPECT_EQ(scaled("300%", INT32_MAX, false), INT32_MAX);
    IntOrString number;
    number.set_intval(4);
    EXPECT_EQ(scaled_value(number, 100, true), 4);
    number.set_intval(-4);
    EXPECT_EQ(scaled_value(number, 100, true), 0);
}

TEST(ScaledValueTest, NonsenseIsNothing) {
    for (const char* text : {"", "%", "25", "-25%", "25%%", " 25%", "99999999999999999999%"}) {
        EXPECT_EQ(scaled(text, 10, true), 0) << text;
    }
}

PodTemplate any_template(const std::vector<std::string>& labels) {
    PodTemplate out;
    for (const auto& label : labels) {
        (*out.mutable_metadata()->mutable_labels())[label] = "v";
    }
    out.mutable_spec()->add_containers()->set_image("web:1");
    return out;
}

TEST(TemplateHashTest, DependsOnTheContentAlone) {
    EXPECT_EQ(template_hash(any_template({"a", "b", "c", "d"}), std::nullopt),
              template_hash(any_template({"d", "c", "b", "a"}), std::nullopt));
    PodTemplate other = any_template({"a"});
    const std::string before = template_hash(other, std::nullopt);
    other.mutable_spec()->mutable_containers(0)->set_image("web:2");
    EXPECT_NE(template_hash(other, std::nullopt), before);
}

// A collision leads to another name, the next one to yet another.
TEST(TemplateHashTest, CollisionsLeadOn) {
    const PodTemplate same = any_template({"a"});
    std::set<std::string> hashes = {template_hash(same, std::nullopt)};
    for (int i = 0; i < 50; ++i) hashes.insert(template_hash(same, i));
    EXPECT_EQ(hashes.size(), 51U);
    for (const auto& hash : hashes) {
        EXPECT_LE(hash.size(), 10U);
        EXPECT_EQ(hash.find_first_not_of("bcdfghjklmnpqrstvwxz2456789"), std::string::npos);
    }
}

}  // namespace
}  // namespace sluice::controllers
