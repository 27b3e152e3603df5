// The default policy. The expectations are Kubernetes 1.32's (kubectl get clusterroles on a kubeadm cluster).
#include "control/apiserver/authorization/policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"

namespace sluice::authorization {
namespace {

namespace rbacv1 = ::k8s::io::api::rbac::v1;
using ::testing::ElementsAre;

template <class Message>
const Message* find(const std::string& name, const std::string& name_space = "") {
    for (const PolicyObject& object : default_policy()) {
        if (object->GetDescriptor() != Message::descriptor()) continue;
        const auto& typed = static_cast<const Message&>(*object);
        if (typed.metadata().name() == name && typed.metadata().namespace_() == name_space) return &typed;
    }
    return nullptr;
}

TEST(Policy, EveryLineIsRead) {
    for (const auto text : {policy_for_users(), policy_for_system(), policy_for_controllers(), policy_for_namespaces(),
                            policy_for_sluice()}) {
        const auto objects = parse_policy(text);
        ASSERT_TRUE(objects) << objects.error().message;
        EXPECT_FALSE(objects->empty());
    }
}

TEST(Policy, MarkedAsKubernetesMarksIt) {
    const auto* role = find<rbacv1::ClusterRole>("system:discovery");
    ASSERT_NE(role, nullptr);
    EXPECT_EQ(role->metadata().labels().at("kubernetes.io/bootstrapping"), "rbac-defaults");
    EXPECT_EQ(role->metadata().annotations().at("rbac.authorization.kubernetes.io/autoupdate"), "true");
    ASSERT_EQ(role->rules_size(), 1);
    EXPECT_THAT(role->rules(0).nonresourceurls(),
                ElementsAre("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*",
                            "/readyz", "/version", "/version/"));
}

TEST(Policy, AdminEditAndViewAggregate) {
    const auto* edit = find<rbacv1::ClusterRole>("edit");
    ASSERT_NE(edit, nullptr);
    EXPECT_EQ(edit->rules_size(), 0);
    EXPECT_EQ(edit->metadata().labels().at("rbac.authorization.k8s.io/aggregate-to-admin"), "true");
    ASSERT_EQ(edit->aggregationrule().clusterroleselectors_size(), 1);
    EXPECT_EQ(edit->aggregationrule().clusterroleselectors(0).matchlabels().at(
                  "rbac.authorization.k8s.io/aggregate-to-edit"),
              "true");
}

TEST(Policy, RulesAreSortedAndSpeltOut) {
    const auto* role = find<rbacv1::ClusterRole>("system:controller:deployment-controller");
    ASSERT_NE(role, nullptr);
    EXPECT_THAT(role->rules(0).apigroups(), ElementsAre("apps", "extensions"));
    EXPECT_THAT(role->rules(0).verbs(), ElementsAre("get", "list", "update", "watch"));
    const auto* binding = find<rbacv1::ClusterRoleBinding>("system:controller:deployment-controller");
    ASSERT_NE(binding, nullptr);
    EXPECT_EQ(binding->subjects(0).kind(), "ServiceAccount");
    EXPECT_EQ(binding->subjects(0).namespace_(), "kube-system");
    EXPECT_EQ(binding->subjects(0).name(), "deployment-controller");
    const auto* signers = find<rbacv1::ClusterRole>("system:certificates.k8s.io:kubelet-serving-approver");
    ASSERT_NE(signers, nullptr);
    EXPECT_THAT(signers->rules(0).resourcenames(), ElementsAre("kubernetes.io/kubelet-serving"));
    EXPECT_THAT(signers->rules(0).apigroups(), ElementsAre("certificates.k8s.io"));
}

// What a kubeadm cluster of 1.32 lists, but for what depends on feature gates that are off.
TEST(Policy, AllNamesAreThere) {
    for (const char* name :
         {"admin", "cluster-admin", "edit", "view", "system:aggregate-to-admin", "system:aggregate-to-edit",
          "system:aggregate-to-view", "system:auth-delegator", "system:basic-user",
          "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
          "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
          "system:certificates.k8s.io:kube-apiserver-client-approver",
          "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
          "system:certificates.k8s.io:kubelet-serving-approver",
          "system:certificates.k8s.io:legacy-unknown-approver", "system:discovery", "system:heapster",
          "system:kube-aggregator", "system:kube-controller-manager", "system:kube-dns", "system:kube-scheduler",
          "system:kubelet-api-admin", "system:monitoring", "system:node", "system:node-bootstrapper",
          "system:node-problem-detector", "system:node-proxier", "system:persistent-volume-provisioner",
          "system:public-info-viewer", "system:service-account-issuer-discovery", "system:volume-scheduler"}) {
        EXPECT_NE(find<rbacv1::ClusterRole>(name), nullptr) << name;
    }
    for (const char* name :
         {"attachdetach-controller", "certificate-controller", "clusterrole-aggregation-controller",
          "cronjob-controller", "daemon-set-controller", "deployment-controller", "disruption-controller",
          "endpoint-controller", "endpointslice-controller", "endpointslicemirroring-controller",
          "ephemeral-volume-controller", "expand-controller", "generic-garbage-collector",
          "horizontal-pod-autoscaler", "job-controller", "legacy-service-account-token-cleaner",
          "namespace-controller", "node-controller", "persistent-volume-binder", "pod-garbage-collector",
          "pv-protection-controller", "pvc-protection-controller", "replicaset-controller",
          "replication-controller", "resourcequota-controller", "root-ca-cert-publisher", "route-controller",
          "service-account-controller", "service-controller", "statefulset-controller", "ttl-after-finished-controller",
          "ttl-controller", "validatingadmissionpolicy-status-controller"}) {
        EXPECT_NE(find<rbacv1::ClusterRole>(std::string("system:controller:") + name), nullptr) << name;
    }
    EXPECT_NE(find<rbacv1::Role>("extension-apiserver-authentication-reader", "kube-system"), nullptr);
    EXPECT_NE(find<rbacv1::Role>("system:controller:bootstrap-signer", "kube-public"), nullptr);
    EXPECT_NE(find<rbacv1::RoleBinding>("system::leader-locking-kube-scheduler", "kube-system"), nullptr);
}

// A typing error in a name would leave somebody without rights.
TEST(Policy, EveryBindingHasItsRole) {
    for (const PolicyObject& object : default_policy()) {
        if (object->GetDescriptor() == rbacv1::ClusterRoleBinding::descriptor()) {
            const auto& binding = static_cast<const rbacv1::ClusterRoleBinding&>(*object);
            EXPECT_NE(find<rbacv1::ClusterRole>(binding.roleref().name()), nullptr) << binding.metadata().name();
        } else if (object->GetDescriptor() == rbacv1::RoleBinding::descriptor()) {
            const auto& binding = static_cast<const rbacv1::RoleBinding&>(*object);
            EXPECT_NE(find<rbacv1::Role>(binding.roleref().name(), binding.metadata().namespace_()), nullptr)
                << binding.metadata().name();
        }
    }
}

TEST(Policy, WrongLinesAreRefusedByTheirNumber) {
    for (const char* text : {"get core pods", "ClusterRole a\n  get core", "ClusterRole a color=red",
                             "ClusterRoleBinding a", "ClusterRoleBinding a b Robot=c",
                             "ClusterRoleBinding a b ServiceAccount=c", "Role a"}) {
        const auto read = parse_policy(text);
        ASSERT_FALSE(read) << text;
        EXPECT_NE(read.error().message.find("policy, line "), std::string::npos) << read.error().message;
    }
}

}  // namespace
}  // namespace sluice::authorization
