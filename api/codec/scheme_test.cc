// The table of kinds against the discovery documents of a real kube-apiserver.
#include "api/codec/scheme.h"

#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace {

TEST(Scheme, KindsAreNamedAsInKubernetes) {
    struct Row {
        const char* group;
        const char* kind;
        const char* resource;
        const char* singular;
        std::vector<std::string> short_names;
        std::vector<std::string> categories;
        bool namespaced;
        bool has_status;
    };
    const Row rows[] = {
        {"", "ConfigMap", "configmaps", "configmap", {"cm"}, {}, true, false},
        {"", "Endpoints", "endpoints", "endpoints", {"ep"}, {}, true, false},
        {"", "Event", "events", "event", {"ev"}, {}, true, false},
        {"", "LimitRange", "limitranges", "limitrange", {"limits"}, {}, true, false},
        {"", "Namespace", "namespaces", "namespace", {"ns"}, {}, false, true},
        {"", "Node", "nodes", "node", {"no"}, {}, false, true},
        {"", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", {"pvc"}, {},
         true, true},
        {"", "PersistentVolume", "persistentvolumes", "persistentvolume", {"pv"}, {}, false, true},
        {"", "PodTemplate", "podtemplates", "podtemplate", {}, {}, true, false},
        {"", "Pod", "pods", "pod", {"po"}, {"all"}, true, true},
        {"", "ReplicationController", "replicationcontrollers", "replicationcontroller", {"rc"},
         {"all"}, true, true},
        {"", "ResourceQuota", "resourcequotas", "resourcequota", {"quota"}, {}, true, true},
        {"", "Secret", "secrets", "secret", {}, {}, true, false},
        {"", "ServiceAccount", "serviceaccounts", "serviceaccount", {"sa"}, {}, true, false},
        {"", "Service", "services", "service", {"svc"}, {"all"}, true, true},
        {"apps", "ControllerRevision", "controllerrevisions", "controllerrevision", {}, {}, true,
         false},
        {"apps", "DaemonSet", "daemonsets", "daemonset", {"ds"}, {"all"}, true, true},
        {"apps", "Deployment", "deployments", "deployment", {"deploy"}, {"all"}, true, true},
        {"apps", "ReplicaSet", "replicasets", "replicaset", {"rs"}, {"all"}, true, true},
        {"apps", "StatefulSet", "statefulsets", "statefulset", {"sts"}, {"all"}, true, true},
        {"autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
         "horizontalpodautoscaler", {"hpa"}, {"all"}, true, true},
        {"batch", "CronJob", "cronjobs", "cronjob", {"cj"}, {"all"}, true, true},
        {"batch", "Job", "jobs", "job", {}, {"all"}, true, true},
        {"certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests",
         "certificatesigningrequest", {"csr"}, {}, false, true},
        {"coordination.k8s.io", "Lease", "leases", "lease", {}, {}, true, false},
        {"discovery.k8s.io", "EndpointSlice", "endpointslices", "endpointslice", {}, {}, true, false},
        {"rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings",
         "clusterrolebinding", {}, {}, false, false},
        {"rbac.authorization.k8s.io", "ClusterRole", "clusterroles", "clusterrole", {}, {}, false,
         false},
        {"rbac.authorization.k8s.io", "RoleBinding", "rolebindings", "rolebinding", {}, {}, true,
         false},
        {"rbac.authorization.k8s.io", "Role", "roles", "role", {}, {}, true, false},
        {"admissionregistration.k8s.io", "MutatingWebhookConfiguration",
         "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", {}, {"api-extensions"},
         false, false},
        {"admissionregistration.k8s.io", "ValidatingAdmissionPolicy",
         "validatingadmissionpolicies", "validatingadmissionpolicy", {}, {"api-extensions"}, false,
         true},
        {"admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding",
         "validatingadmissionpolicybindings", "validatingadmissionpolicybinding", {},
         {"api-extensions"}, false, false},
        {"admissionregistration.k8s.io", "ValidatingWebhookConfiguration",
         "validatingwebhookconfigurations", "validatingwebhookconfiguration", {},
         {"api-extensions"}, false, false},
        {"apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions",
         "customresourcedefinition", {"crd", "crds"}, {"api-extensions"}, false, true},
        {"apiregistration.k8s.io", "APIService", "apiservices", "apiservice", {},
         {"api-extensions"}, false, true},
        {"events.k8s.io", "Event", "events", "event", {"ev"}, {}, true, false},
        {"flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas", "flowschema", {}, {}, false,
         true},
        {"flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration",
         "prioritylevelconfigurations", "prioritylevelconfiguration", {}, {}, false, true},
        {"networking.k8s.io", "IngressClass", "ingressclasses", "ingressclass", {}, {}, false,
         false},
        {"networking.k8s.io", "Ingress", "ingresses", "ingress", {"ing"}, {}, true, true},
        {"networking.k8s.io", "IPAddress", "ipaddresses", "ipaddress", {"ip"}, {}, false, false},
        {"networking.k8s.io", "NetworkPolicy", "networkpolicies", "networkpolicy", {"netpol"}, {},
         true, false},
        {"networking.k8s.io", "ServiceCIDR", "servicecidrs", "servicecidr", {}, {}, false, true},
        {"node.k8s.io", "RuntimeClass", "runtimeclasses", "runtimeclass", {}, {}, false, false},
        {"policy", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", {"pdb"}, {},
         true, true},
        {"scheduling.k8s.io", "PriorityClass", "priorityclasses", "priorityclass", {"pc"}, {},
         false, false},
        {"storage.k8s.io", "CSIDriver", "csidrivers", "csidriver", {}, {}, false, false},
        {"storage.k8s.io", "CSINode", "csinodes", "csinode", {}, {}, false, false},
        {"storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity", {},
         {}, true, false},
        {"storage.k8s.io", "StorageClass", "storageclasses", "storageclass", {"sc"}, {}, false,
         false},
        {"storage.k8s.io", "VolumeAttachment", "volumeattachments", "volumeattachment", {}, {},
         false, true},
    };
    // One kind is served in two versions.
    ASSERT_NE(find_kind({"autoscaling", "v2", "HorizontalPodAutoscaler"}), nullptr);
    EXPECT_EQ(find_kind({"autoscaling", "v2", "HorizontalPodAutoscaler"}),
              find_resource("autoscaling", "v2", "horizontalpodautoscalers"));
    ASSERT_EQ(all_kinds().size(), std::size(rows) + 1);
    for (const auto& row : rows) {
        const KindInfo* info = find_kind({row.group, "v1", row.kind});
        ASSERT_NE(info, nullptr) << row.kind;
        EXPECT_EQ(info->resource, row.resource);
        EXPECT_EQ(info->singular, row.singular);
        EXPECT_EQ(info->short_names, row.short_names);
        EXPECT_EQ(info->categories, row.categories);
        EXPECT_EQ(info->namespaced, row.namespaced);
        EXPECT_EQ(info->has_status, row.has_status);
        EXPECT_EQ(info->list_kind(), std::string(row.kind) + "List");
        EXPECT_EQ(find_resource(row.group, "v1", row.resource), info);
        EXPECT_EQ(kind_of(*info->new_object()), info);
        object_meta(*info->new_object()).set_name("x");
        list_meta(*info->new_list()).set_continue_("x");
    }
}

TEST(Scheme, SubresourcesAreThoseOfKubernetes) {
    const auto names = [](const char* group, const char* resource) {
        std::string out;
        for (const Subresource& part : find_resource(group, "v1", resource)->subresources) {
            if (!out.empty()) out += ' ';
            out += part.name;
        }
        return out;
    };
    EXPECT_EQ(names("", "pods"), "attach binding ephemeralcontainers eviction exec log portforward proxy status");
    EXPECT_EQ(names("", "namespaces"), "finalize status");
    EXPECT_EQ(names("apps", "deployments"), "scale status");
    EXPECT_EQ(names("certificates.k8s.io", "certificatesigningrequests"), "approval status");
    EXPECT_EQ(names("", "configmaps"), "");
    const Subresource* scale = find_resource("", "v1", "replicationcontrollers")->find_subresource("scale");
    ASSERT_NE(scale, nullptr);
    EXPECT_EQ(scale->gvk, (GroupVersionKind{"autoscaling", "v1", "Scale"}));
    EXPECT_EQ(scale->verbs, (std::vector<std::string>{"get", "patch", "update"}));
    ASSERT_GE(action_resources().size(), 1U);
    EXPECT_EQ(action_resources()[0].resource, "bindings");
}

TEST(Scheme, WhatDoesNotExistIsNull) {
    EXPECT_EQ(find_kind({"", "v1", "Deployment"}), nullptr);
    EXPECT_EQ(find_resource("", "v1", "bindings"), nullptr);
    EXPECT_EQ(find_kind({"apps", "v1", "Service"}), nullptr);
    EXPECT_EQ(find_resource("", "v1beta1", "pods"), nullptr);
    EXPECT_EQ(find_resource("", "v1", "Pod"), nullptr);
    EXPECT_EQ(kind_of(metav1::Status()), nullptr);
}

TEST(Scheme, MetadataIsThatOfTheObject) {
    ::k8s::io::api::core::v1::Service service;
    object_meta(service).set_name("web");
    EXPECT_EQ(service.metadata().name(), "web");
    const google::protobuf::Message& message = service;
    EXPECT_EQ(object_meta(message).name(), "web");
}

TEST(Scheme, ApiVersions) {
    EXPECT_EQ((GroupVersionKind{"", "v1", "Pod"}).api_version(), "v1");
    EXPECT_EQ((GroupVersionKind{"apps", "v1", "X"}).api_version(), "apps/v1");
    EXPECT_EQ(*GroupVersionKind::parse("apps/v1", "X"), (GroupVersionKind{"apps", "v1", "X"}));
    EXPECT_EQ(*GroupVersionKind::parse("v1", "X"), (GroupVersionKind{"", "v1", "X"}));
    EXPECT_EQ(*GroupVersionKind::parse("", ""), (GroupVersionKind{}));
    const auto bad = GroupVersionKind::parse("a/b/c", "X");
    ASSERT_FALSE(bad.has_value());
    EXPECT_EQ(bad.error().message, "unexpected GroupVersion string: a/b/c");
}

}  // namespace
}  // namespace sluice::codec
