// The chain of authorizers, and nobody granting what he does not have. Messages are those of kube-apiserver 1.32.
#include "control/apiserver/authorization/authorizer.h"

#include <gtest/gtest.h>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "control/apiserver/authorization/escalation.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;

void add_rule(google::protobuf::RepeatedPtrField<rbacv1::PolicyRule>* rules, const std::vector<std::string>& verbs,
              const std::string& group, const std::string& resource, const std::string& name = "") {
    auto* rule = rules->Add();
    for (const auto& verb : verbs) rule->add_verbs(verb);
    rule->add_apigroups(group);
    rule->add_resources(resource);
    if (!name.empty()) rule->add_resourcenames(name);
}

rbacv1::ClusterRole cluster_role(const std::string& name) {
    rbacv1::ClusterRole out;
    out.mutable_metadata()->set_name(name);
    return out;
}

rbacv1::ClusterRoleBinding bound(const std::string& role, const std::string& user) {
    rbacv1::ClusterRoleBinding out;
    out.mutable_metadata()->set_name(role + "-" + user);
    out.mutable_roleref()->set_kind("ClusterRole");
    out.mutable_roleref()->set_name(role);
    out.add_subjects()->set_kind("User");
    out.mutable_subjects(0)->set_name(user);
    return out;
}

rbacv1::Role role_with(const std::vector<std::string>& verbs, const std::string& resource) {
    rbacv1::Role out;
    out.mutable_metadata()->set_namespace_("ho");
    out.mutable_metadata()->set_name("e");
    add_rule(out.mutable_rules(), verbs, "", resource);
    return out;
}

const http::Identity kDev{"dev", {"developers", "system:authenticated"}};
const http::Identity kMaster{"root", {"system:masters"}};

TEST(Modes, AsKubeApiserverReadsThem) {
    const auto two = parse_modes("Node,RBAC");
    ASSERT_TRUE(two);
    EXPECT_EQ(*two, (std::vector<Mode>{Mode::kNode, Mode::kRbac}));
    for (const char* wrong : {"", "rbac", "RBAC,", "RBAC,RBAC", "Node RBAC", "ABAC", ",RBAC"}) {
        EXPECT_FALSE(parse_modes(wrong)) << wrong;
    }
    EXPECT_EQ(parse_modes("RBAC,RBAC").error().message, "\"RBAC,RBAC\" has mode specified more than once: RBAC");
}

TEST(Chain, MastersAlways) {
    Attributes asked;
    asked.user = kMaster;
    asked.verb = "delete";
    asked.path = "/anything";
    EXPECT_TRUE(Authorizer({Mode::kAlwaysDeny}).authorize(asked).allowed);
    asked.user = kDev;
    const Authorizer denying({Mode::kAlwaysDeny});
    EXPECT_FALSE(denying.authorize(asked).allowed);
    EXPECT_EQ(denying.stats().forbidden, 1U);
    EXPECT_TRUE(Authorizer({Mode::kRbac, Mode::kAlwaysAllow}).authorize(asked).allowed);
    EXPECT_FALSE(Authorizer({Mode::kNode, Mode::kRbac}).authorize(asked).allowed);
}

TEST(Chain, WhatNodesMayCannotBeListed) {
    const Authorizer authorizer({Mode::kNode, Mode::kRbac});
    const auto node = authorizer.permitted({"system:node:n1", {"system:nodes"}}, "default");
    EXPECT_TRUE(node.incomplete);
    EXPECT_EQ(node.error, "node authorizer does not support user rule resolution");
    EXPECT_FALSE(authorizer.permitted(kDev, "default").incomplete);
}

class Escalations : public ::testing::Test {
protected:
    Escalations() {
        auto held = cluster_role("held");
        add_rule(held.mutable_rules(), {"get", "list"}, "", "pods");
        authorizer.rbac().put(held);
        authorizer.rbac().put(bound("held", "dev"));
    }
    Escalation check(const google::protobuf::Message& object, const google::protobuf::Message* old = nullptr,
                     const http::Identity& user = kDev) {
        return check_escalation(authorizer, user, object, old);
    }
    void grant(const std::string& verb, const std::string& resource, const std::string& name = "") {
        auto role = cluster_role("extra");
        add_rule(role.mutable_rules(), {verb}, "rbac.authorization.k8s.io", resource, name);
        authorizer.rbac().put(role);
        authorizer.rbac().put(bound("extra", "dev"));
    }
    Authorizer authorizer{{Mode::kRbac}};
};

TEST_F(Escalations, WhatOneHasOneMayGrant) {
    EXPECT_FALSE(check(role_with({"get"}, "pods")).refused);
    EXPECT_FALSE(check(role_with({"get"}, "secrets"), nullptr, kMaster).refused);
    // As recorded.
    EXPECT_EQ(check(role_with({"get"}, "secrets")).message,
              "user \"dev\" (groups=[\"developers\" \"system:authenticated\"]) is attempting to grant RBAC permissions "
              "not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}");
    // Only what is missing is named, the verbs of one resource together.
    const auto more = check(role_with({"get", "create", "delete"}, "pods"));
    EXPECT_NE(more.message.find("\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"create\" \"delete\"]}"),
              std::string::npos)
        << more.message;
}

TEST_F(Escalations, RulesThatStayAreNotChecked) {
    const auto old = role_with({"get"}, "secrets");
    auto now = old;
    (*now.mutable_metadata()->mutable_labels())["a"] = "b";
    EXPECT_FALSE(check(now, &old).refused);
    add_rule(now.mutable_rules(), {"list"}, "", "secrets");
    EXPECT_TRUE(check(now, &old).refused);
}

TEST_F(Escalations, TheVerbEscalate) {
    grant("escalate", "roles");
    EXPECT_FALSE(check(role_with({"get"}, "secrets")).refused);
    auto wide = cluster_role("wide");
    add_rule(wide.mutable_rules(), {"*"}, "*", "*");
    EXPECT_TRUE(check(wide).refused);  // of roles, not of clusterroles
}

TEST_F(Escalations, AggregatedRolesNeedEverything) {
    auto sum = cluster_role("sum");
    sum.mutable_aggregationrule()->add_clusterroleselectors();
    EXPECT_TRUE(check(sum).refused);
}

TEST_F(Escalations, Bindings) {
    auto secret = cluster_role("secrets");
    add_rule(secret.mutable_rules(), {"get"}, "", "secrets");
    authorizer.rbac().put(secret);
    EXPECT_FALSE(check(bound("held", "eve")).refused);
    EXPECT_TRUE(check(bound("secrets", "eve")).refused);
    const auto missing = check(bound("nowhere", "eve"));
    EXPECT_TRUE(missing.role_missing);
    EXPECT_EQ(missing.missing_resource, "clusterroles");
    // The same binding once more is no grant.
    const auto old = bound("secrets", "eve");
    EXPECT_FALSE(check(old, &old).refused);
    grant("bind", "clusterroles", "secrets");
    EXPECT_FALSE(check(bound("secrets", "eve")).refused);
    EXPECT_FALSE(check(bound("nowhere", "eve")).role_missing == false);
}

}  // namespace
}  // namespace sluice::authorization
