// Roles and bindings, written as users write them, and what follows for requests.
#include "control/apiserver/authorization/rbac.h"

#include <gtest/gtest.h>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;

rbacv1::PolicyRule rule(std::vector<std::string> verbs, std::vector<std::string> groups,
                        std::vector<std::string> resources, std::vector<std::string> names = {}) {
    rbacv1::PolicyRule out;
    for (auto& verb : verbs) out.add_verbs(verb);
    for (auto& group : groups) out.add_apigroups(group);
    for (auto& resource : resources) out.add_resources(resource);
    for (auto& name : names) out.add_resourcenames(name);
    return out;
}

rbacv1::ClusterRole cluster_role(const std::string& name, const std::vector<rbacv1::PolicyRule>& rules) {
    rbacv1::ClusterRole out;
    out.mutable_metadata()->set_name(name);
    for (const auto& each : rules) *out.add_rules() = each;
    return out;
}

rbacv1::Role role(const std::string& name_space, const std::string& name,
                  const std::vector<rbacv1::PolicyRule>& rules) {
    rbacv1::Role out;
    out.mutable_metadata()->set_name(name);
    out.mutable_metadata()->set_namespace_(name_space);
    for (const auto& each : rules) *out.add_rules() = each;
    return out;
}

rbacv1::Subject subject(const std::string& kind, const std::string& name, const std::string& name_space = "") {
    rbacv1::Subject out;
    out.set_kind(kind);
    out.set_name(name);
    if (!name_space.empty()) out.set_namespace_(name_space);
    return out;
}

rbacv1::ClusterRoleBinding cluster_binding(const std::string& name, const std::string& of,
                                           const std::vector<rbacv1::Subject>& subjects) {
    rbacv1::ClusterRoleBinding out;
    out.mutable_metadata()->set_name(name);
    out.mutable_roleref()->set_kind("ClusterRole");
    out.mutable_roleref()->set_name(of);
    for (const auto& each : subjects) *out.add_subjects() = each;
    return out;
}

rbacv1::RoleBinding binding(const std::string& name_space, const std::string& name, const std::string& kind,
                            const std::string& of, const std::vector<rbacv1::Subject>& subjects) {
    rbacv1::RoleBinding out;
    out.mutable_metadata()->set_name(name);
    out.mutable_metadata()->set_namespace_(name_space);
    out.mutable_roleref()->set_kind(kind);
    out.mutable_roleref()->set_name(of);
    for (const auto& each : subjects) *out.add_subjects() = each;
    return out;
}

Attributes ask(const std::string& user, const std::string& verb, const std::string& resource,
               const std::string& name_space = "", const std::string& name = "") {
    Attributes out;
    out.user.user = user;
    out.user.groups = {"system:authenticated"};
    out.verb = verb;
    out.is_resource = true;
    const auto slash = resource.find('/');
    out.resource = resource.substr(0, slash);
    if (slash != std::string::npos) out.subresource = resource.substr(slash + 1);
    out.namespace_name = name_space;
    out.name = name;
    return out;
}

bool may(const Rbac& rbac, const Attributes& asked) { return rbac.authorize(asked).allowed; }

TEST(Rbac, NobodyMayAnythingAtFirst) {
    const Rbac rbac;
    const auto decision = rbac.authorize(ask("jane", "get", "pods", "team", "web"));
    EXPECT_FALSE(decision.allowed);
    EXPECT_EQ(decision.reason, "");
}

TEST(Rbac, AClusterRoleForTheWholeClusterOrForOneNamespace) {
    Rbac rbac;
    rbac.put(cluster_role("reader", {rule({"get", "list"}, {""}, {"pods"})}));
    rbac.put(cluster_binding("everywhere", "reader", {subject("User", "jane")}));
    rbac.put(binding("team", "here", "ClusterRole", "reader", {subject("User", "joe")}));
    EXPECT_TRUE(may(rbac, ask("jane", "get", "pods", "team", "web")));
    EXPECT_TRUE(may(rbac, ask("jane", "list", "pods")));
    EXPECT_FALSE(may(rbac, ask("jane", "delete", "pods", "team", "web")));
    EXPECT_FALSE(may(rbac, ask("jane", "get", "secrets", "team", "web")));
    EXPECT_TRUE(may(rbac, ask("joe", "get", "pods", "team", "web")));
    EXPECT_FALSE(may(rbac, ask("joe", "get", "pods", "other", "web")));
    EXPECT_FALSE(may(rbac, ask("joe", "list", "pods")));
    EXPECT_EQ(rbac.authorize(ask("jane", "list", "pods")).reason,
              R"(RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to User "jane")");
    EXPECT_EQ(rbac.authorize(ask("joe", "list", "pods", "team")).reason,
              R"(RBAC: allowed by RoleBinding "here/team" of ClusterRole "reader" to User "joe")");
}

TEST(Rbac, ARoleOfTheNamespace) {
    Rbac rbac;
    rbac.put(role("team", "reader", {rule({"get"}, {""}, {"pods"})}));
    rbac.put(binding("team", "a", "Role", "reader", {subject("User", "jane")}));
    // A role of the same name elsewhere is another one.
    rbac.put(binding("other", "a", "Role", "reader", {subject("User", "jane")}));
    EXPECT_TRUE(may(rbac, ask("jane", "get", "pods", "team", "web")));
    EXPECT_EQ(rbac.authorize(ask("jane", "get", "pods", "team", "web")).reason,
              R"(RBAC: allowed by RoleBinding "a/team" of Role "reader" to User "jane")");
    const auto elsewhere = rbac.authorize(ask("jane", "get", "pods", "other", "web"));
    EXPECT_FALSE(elsewhere.allowed);
    EXPECT_EQ(elsewhere.reason, R"(RBAC: role.rbac.authorization.k8s.io "reader" not found)");
}

TEST(Rbac, GroupsAndServiceAccounts) {
    Rbac rbac;
    rbac.put(cluster_role("reader", {rule({"get"}, {""}, {"pods"})}));
    rbac.put(cluster_binding("a", "reader", {subject("Group", "system:authenticated")}));
    EXPECT_TRUE(may(rbac, ask("anyone", "get", "pods", "team", "web")));
    rbac.remove_binding("", "a");
    EXPECT_FALSE(may(rbac, ask("anyone", "get", "pods", "team", "web")));
    // An account without a namespace is one of the binding's own.
    rbac.put(binding("team", "b", "ClusterRole", "reader", {subject("ServiceAccount", "robot")}));
    rbac.put(binding("team", "c", "ClusterRole", "reader", {subject("ServiceAccount", "robot", "other")}));
    EXPECT_TRUE(may(rbac, ask("system:serviceaccount:team:robot", "get", "pods", "team", "web")));
    EXPECT_TRUE(may(rbac, ask("system:serviceaccount:other:robot", "get", "pods", "team", "web")));
    EXPECT_FALSE(may(rbac, ask("system:serviceaccount:third:robot", "get", "pods", "team", "web")));
    EXPECT_EQ(rbac.authorize(ask("system:serviceaccount:other:robot", "get", "pods", "team", "web")).reason,
              R"(RBAC: allowed by RoleBinding "c/team" of ClusterRole "reader" to ServiceAccount "robot/other")");
    // A user who is called like a group is none.
    rbac.put(cluster_binding("d", "reader", {subject("Group", "ops")}));
    EXPECT_FALSE(may(rbac, ask("ops", "get", "pods", "team", "web")));
}

TEST(Rbac, SubresourcesNamesAndStars) {
    Rbac rbac;
    rbac.put(cluster_role("some", {rule({"get"}, {""}, {"pods/log"}), rule({"update"}, {"*"}, {"*/scale"}),
                                   rule({"patch"}, {""}, {"configmaps"}, {"settings"}),
                                   rule({"create"}, {""}, {"secrets"}, {"settings"})}));
    rbac.put(cluster_binding("a", "some", {subject("User", "jane")}));
    EXPECT_TRUE(may(rbac, ask("jane", "get", "pods/log", "team", "web")));
    EXPECT_FALSE(may(rbac, ask("jane", "get", "pods", "team", "web")));
    EXPECT_TRUE(may(rbac, ask("jane", "update", "deployments/scale", "team", "web")));
    EXPECT_FALSE(may(rbac, ask("jane", "update", "deployments", "team", "web")));
    EXPECT_TRUE(may(rbac, ask("jane", "patch", "configmaps", "team", "settings")));
    EXPECT_FALSE(may(rbac, ask("jane", "patch", "configmaps", "team", "other")));
    // A creation has no name yet, so names permit none.
    EXPECT_FALSE(may(rbac, ask("jane", "create", "secrets", "team")));
}

TEST(Rbac, PathsOfNoResource) {
    Rbac rbac;
    rbacv1::PolicyRule paths;
    paths.add_verbs("get");
    for (const char* path : {"/healthz", "/openapi/*"}) paths.add_nonresourceurls(path);
    rbac.put(cluster_role("paths", {paths}));
    rbac.put(cluster_binding("a", "paths", {subject("User", "jane")}));
    Attributes asked;
    asked.user.user = "jane";
    asked.verb = "get";
    for (const auto& [path, allowed] : std::vector<std::pair<std::string, bool>>{
             {"/healthz", true}, {"/healthz/ping", false}, {"/openapi/v2", true}, {"/metrics", false}}) {
        asked.path = path;
        EXPECT_EQ(may(rbac, asked), allowed) << path;
    }
    asked.path = "/healthz";
    asked.verb = "post";
    EXPECT_FALSE(may(rbac, asked));
}

TEST(Rbac, ChangesCountAtOnce) {
    Rbac rbac;
    rbac.put(cluster_binding("a", "reader", {subject("User", "jane"), subject("User", "jane")}));
    EXPECT_EQ(rbac.authorize(ask("jane", "get", "pods", "team", "web")).reason,
              R"(RBAC: clusterrole.rbac.authorization.k8s.io "reader" not found)");
    rbac.put(cluster_role("reader", {rule({"get"}, {""}, {"pods"})}));
    EXPECT_TRUE(may(rbac, ask("jane", "get", "pods", "team", "web")));
    rbac.put(cluster_role("reader", {rule({"list"}, {""}, {"pods"})}));
    EXPECT_FALSE(may(rbac, ask("jane", "get", "pods", "team", "web")));
    rbac.put(cluster_binding("a", "reader", {subject("User", "joe")}));
    EXPECT_FALSE(may(rbac, ask("jane", "list", "pods", "team")));
    EXPECT_TRUE(may(rbac, ask("joe", "list", "pods", "team")));
    rbac.remove_role("", "reader");
    EXPECT_FALSE(may(rbac, ask("joe", "list", "pods", "team")));
}

TEST(Rbac, AllThatAUserMayDo) {
    Rbac rbac;
    rbac.put(cluster_role("reader", {rule({"get"}, {""}, {"pods"})}));
    rbac.put(role("team", "writer", {rule({"create"}, {""}, {"pods"}), rule({"get"}, {""}, {"pods"})}));
    rbac.put(cluster_binding("a", "reader", {subject("User", "jane")}));
    rbac.put(binding("team", "b", "Role", "writer", {subject("User", "jane")}));
    rbac.put(binding("team", "c", "Role", "gone", {subject("User", "jane")}));
    const http::Identity jane{"jane", {}};
    EXPECT_EQ(rbac.rules_of(jane, "other").rules.size(), 1U);
    const auto here = rbac.rules_of(jane, "team");
    ASSERT_EQ(here.rules.size(), 2U);
    EXPECT_EQ(here.rules[0].verbs, std::vector<std::string>{"get"});
    EXPECT_EQ(here.rules[1].verbs, std::vector<std::string>{"create"});
    EXPECT_EQ(here.missing, std::vector<std::string>{"gone"});
}

// Nobody may grant what he does not have.
TEST(Covers, ARuleIsCoveredBySeveralTogether) {
    const auto of = [](const rbacv1::PolicyRule& from) { return rule_from(from); };
    const Rule wanted = of(rule({"get", "list"}, {""}, {"pods", "services"}));
    EXPECT_FALSE(covers({of(rule({"get", "list"}, {""}, {"pods"}))}, wanted));
    EXPECT_TRUE(covers({of(rule({"get", "list"}, {""}, {"pods"})), of(rule({"*"}, {""}, {"services"}))}, wanted));
    EXPECT_TRUE(covers({of(rule({"*"}, {"*"}, {"*"}))}, wanted));
    EXPECT_FALSE(covers({of(rule({"get", "list"}, {""}, {"pods", "services"}, {"one"}))}, wanted));
    EXPECT_TRUE(covers({wanted}, of(rule({"get"}, {""}, {"pods"}, {"one"}))));
    EXPECT_FALSE(covers({wanted}, of(rule({"*"}, {""}, {"pods"}))));
    EXPECT_FALSE(covers({of(rule({"get"}, {""}, {"pods"}))}, of(rule({"get"}, {""}, {"pods/log"}))));
    EXPECT_TRUE(covers({of(rule({"get"}, {""}, {"*/log"}))}, of(rule({"get"}, {""}, {"pods/log"}))));
}

}  // namespace
}  // namespace sluice::authorization
