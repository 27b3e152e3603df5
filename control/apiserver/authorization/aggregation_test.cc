// Aggregated roles, and what the start of a server makes of roles that are there already. The behaviour is that of
// kube-apiserver and of the ClusterRole aggregation controller, as their documentation tells it.
#include "control/apiserver/authorization/aggregation.h"

#include <gtest/gtest.h>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;

rbacv1::ClusterRole role(const std::string& name, const std::vector<std::string>& resources,
                         const std::string& label = "") {
    rbacv1::ClusterRole out;
    out.mutable_metadata()->set_name(name);
    if (!label.empty()) (*out.mutable_metadata()->mutable_labels())[label] = "true";
    for (const auto& resource : resources) {
        auto* rule = out.add_rules();
        rule->add_verbs("get");
        rule->add_apigroups("");
        rule->add_resources(resource);
    }
    return out;
}

rbacv1::ClusterRole aggregated(const std::string& name, const std::string& label) {
    rbacv1::ClusterRole out = role(name, {});
    (*out.mutable_aggregationrule()->add_clusterroleselectors()->mutable_matchlabels())[label] = "true";
    return out;
}

std::map<std::string, ClusterRolePtr> all(const std::vector<rbacv1::ClusterRole>& roles) {
    std::map<std::string, ClusterRolePtr> out;
    for (const auto& each : roles) out[each.metadata().name()] = std::make_shared<rbacv1::ClusterRole>(each);
    return out;
}

std::string resources(const rbacv1::ClusterRole& of) {
    std::string out;
    for (const auto& rule : of.rules()) out += rule.resources(0) + " ";
    return out;
}

TEST(Aggregation, RulesOfWhatIsSelectedInTheOrderOfNames) {
    const auto sum = aggregated("sum", "to-sum");
    const auto others = all({sum, role("b", {"pods", "nodes"}, "to-sum"), role("a", {"services", "pods"}, "to-sum"),
                             role("c", {"secrets"})});
    const auto now = aggregate(sum, others);
    ASSERT_NE(now, nullptr);
    EXPECT_EQ(resources(*now), "services pods nodes ");
    EXPECT_EQ(aggregate(*now, others), nullptr);  // nothing to do any more
    // What people write into it goes.
    auto edited = *now;
    edited.mutable_rules()->Add()->add_resources("secrets");
    const auto mended = aggregate(edited, others);
    ASSERT_NE(mended, nullptr);
    EXPECT_EQ(resources(*mended), "services pods nodes ");
}

TEST(Aggregation, NeverItself) {
    auto sum = aggregated("sum", "to-sum");
    (*sum.mutable_metadata()->mutable_labels())["to-sum"] = "true";
    EXPECT_FALSE(feeds(sum, sum));
    EXPECT_TRUE(feeds(role("a", {}, "to-sum"), sum));
    EXPECT_FALSE(feeds(role("a", {}), sum));
    EXPECT_EQ(aggregate(sum, all({sum})), nullptr);
}

TEST(Reconcile, MissingObjectsAreMade) {
    const auto wanted = role("r", {"pods"});
    const auto made = reconcile(nullptr, wanted);
    ASSERT_NE(made, nullptr);
    EXPECT_EQ(resources(static_cast<const rbacv1::ClusterRole&>(*made)), "pods ");
}

TEST(Reconcile, WhatIsMissingIsAddedAndTheRestStays) {
    const auto wanted = role("r", {"pods", "nodes"}, "mark");
    const auto stored = role("r", {"secrets", "pods"});
    const auto now = reconcile(&stored, wanted);
    ASSERT_NE(now, nullptr);
    const auto& result = static_cast<const rbacv1::ClusterRole&>(*now);
    EXPECT_EQ(resources(result), "secrets pods nodes ");
    EXPECT_EQ(result.metadata().labels().at("mark"), "true");
    EXPECT_EQ(reconcile(&result, wanted), nullptr);
}

TEST(Reconcile, ARuleThatPermitsMoreIsEnough) {
    auto stored = role("r", {"*"});
    EXPECT_EQ(reconcile(&stored, role("r", {"pods"})), nullptr);
}

TEST(Reconcile, AutoupdateFalseIsLeftAlone) {
    auto stored = role("r", {});
    (*stored.mutable_metadata()->mutable_annotations())["rbac.authorization.kubernetes.io/autoupdate"] = "false";
    EXPECT_EQ(reconcile(&stored, role("r", {"pods"})), nullptr);
}

TEST(Reconcile, SubjectsAreAdded) {
    rbacv1::ClusterRoleBinding wanted;
    wanted.mutable_roleref()->set_name("r");
    wanted.add_subjects()->set_name("a");
    rbacv1::ClusterRoleBinding stored;
    stored.mutable_roleref()->set_name("r");
    stored.add_subjects()->set_name("b");
    const auto now = reconcile(&stored, wanted);
    ASSERT_NE(now, nullptr);
    EXPECT_EQ(static_cast<const rbacv1::ClusterRoleBinding&>(*now).subjects_size(), 2);
    stored.mutable_roleref()->set_name("other");
    EXPECT_EQ(reconcile(&stored, wanted), nullptr);
}

}  // namespace
}  // namespace sluice::authorization
