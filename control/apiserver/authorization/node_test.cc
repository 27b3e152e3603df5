// What kubelets may do. Expectations: the node authorizer as Kubernetes documents it, with selectors (1.32).
#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"
#include "control/apiserver/authorization/node_authorizer.h"

namespace sluice::authorization {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

corev1::Pod pod(const std::string& name, const std::string& node) {
    corev1::Pod out;
    out.mutable_metadata()->set_namespace_("team");
    out.mutable_metadata()->set_name(name);
    out.mutable_spec()->set_nodename(node);
    return out;
}

Attributes ask(const std::string& verb, const std::string& resource, const std::string& name_space = "",
               const std::string& name = "", const std::string& node = "n1") {
    Attributes out;
    out.user = {"system:node:" + node, {"system:nodes", "system:authenticated"}};
    out.verb = verb;
    out.is_resource = true;
    const auto slash = resource.find('/');
    out.resource = resource.substr(0, slash);
    if (slash != std::string::npos) out.subresource = resource.substr(slash + 1);
    if (out.resource == "leases") out.group = "coordination.k8s.io";
    if (out.resource == "csinodes" || out.resource == "volumeattachments") out.group = "storage.k8s.io";
    if (out.resource == "certificatesigningrequests") out.group = "certificates.k8s.io";
    out.namespace_name = name_space;
    out.name = name;
    return out;
}

class Nodes : public ::testing::Test {
protected:
    bool may(const Attributes& asked) { return node.authorize(asked).allowed; }
    bool reads(const char* resource, const char* name, const char* who = "n1") {
        return may(ask("get", resource, "team", name, who));
    }
    NodeGraph graph;
    NodeAuthorizer node{graph};
};

TEST_F(Nodes, OnlyKubelets) {
    graph.put([] {
        auto out = pod("web", "n1");
        out.mutable_spec()->set_serviceaccountname("robot");
        return out;
    }());
    auto asked = ask("get", "pods", "team", "web");
    EXPECT_TRUE(may(asked));
    asked.user.groups = {"system:authenticated"};
    EXPECT_FALSE(may(asked));
    asked.user = {"n1", {"system:nodes"}};
    EXPECT_FALSE(may(asked));
    asked.user = {"system:node:", {"system:nodes"}};
    EXPECT_FALSE(may(asked));
}

TEST_F(Nodes, WhatPodsUse) {
    auto web = pod("web", "n1");
    auto* spec = web.mutable_spec();
    spec->set_serviceaccountname("robot");
    spec->add_imagepullsecrets()->set_name("pull");
    spec->add_volumes()->mutable_volumesource()->mutable_secret()->set_secretname("mounted");
    spec->add_volumes()->mutable_volumesource()->mutable_configmap()->mutable_localobjectreference()->set_name("conf");
    spec->add_volumes()->mutable_volumesource()->mutable_persistentvolumeclaim()->set_claimname("data");
    spec->add_volumes()->mutable_volumesource()->mutable_csi()->mutable_nodepublishsecretref()->set_name("csi");
    auto* source = spec->add_volumes()->mutable_volumesource()->mutable_projected()->add_sources();
    source->mutable_secret()->mutable_localobjectreference()->set_name("projected");
    auto* container = spec->add_initcontainers();
    container->add_env()->mutable_valuefrom()->mutable_secretkeyref()->mutable_localobjectreference()->set_name("key");
    container->add_envfrom()->mutable_configmapref()->mutable_localobjectreference()->set_name("env");
    graph.put(web);
    for (const char* name : {"pull", "mounted", "csi", "projected", "key"}) {
        EXPECT_TRUE(reads("secrets", name)) << name;
        EXPECT_FALSE(reads("secrets", name, "n2")) << name;
        EXPECT_FALSE(reads("configmaps", name)) << name;
    }
    for (const char* name : {"conf", "env"}) EXPECT_TRUE(reads("configmaps", name)) << name;
    EXPECT_TRUE(reads("persistentvolumeclaims", "data"));
    EXPECT_TRUE(may(ask("create", "serviceaccounts/token", "team", "robot")));
    EXPECT_FALSE(may(ask("create", "serviceaccounts/token", "team", "other")));
    EXPECT_FALSE(may(ask("get", "serviceaccounts", "team", "robot")));
    EXPECT_EQ(node.authorize(ask("get", "secrets", "team", "unused")).reason,
              "no relationship found between node 'n1' and this object");
    // In another namespace the same name is another object.
    EXPECT_FALSE(may(ask("get", "secrets", "other", "mounted")));
    // Watching one by its name is how kubelets follow them; all of them is another matter.
    EXPECT_TRUE(may(ask("watch", "secrets", "team", "mounted")));
    EXPECT_FALSE(may(ask("list", "secrets", "team")));
    EXPECT_FALSE(may(ask("update", "secrets", "team", "mounted")));

    graph.remove_pod("team", "web");
    EXPECT_FALSE(reads("secrets", "mounted"));
}

TEST_F(Nodes, ASecondPodKeepsWhatTheFirstLetsGo) {
    const auto with = [](const char* name, const char* secret) {
        auto out = pod(name, "n1");
        out.mutable_spec()->add_imagepullsecrets()->set_name(secret);
        return out;
    };
    graph.put(with("a", "s"));
    graph.put(with("b", "s"));
    graph.remove_pod("team", "a");
    EXPECT_TRUE(reads("secrets", "s"));
    graph.put(with("b", "t"));
    EXPECT_FALSE(reads("secrets", "s"));
    EXPECT_TRUE(reads("secrets", "t"));
}

TEST_F(Nodes, MirrorsLeadToNothing) {
    auto mirror = pod("static", "n1");
    mirror.mutable_spec()->add_imagepullsecrets()->set_name("s");
    (*mirror.mutable_metadata()->mutable_annotations())[kMirrorAnnotation] = "x";
    graph.put(mirror);
    EXPECT_FALSE(reads("secrets", "s"));
    EXPECT_TRUE(reads("pods", "static"));
}

TEST_F(Nodes, UnboundPodsLeadToNothing) {
    auto waiting = pod("waiting", "");
    waiting.mutable_spec()->add_imagepullsecrets()->set_name("s");
    graph.put(waiting);
    EXPECT_FALSE(reads("secrets", "s"));
}

TEST_F(Nodes, VolumesBehindClaims) {
    auto web = pod("web", "n1");
    web.mutable_spec()->add_volumes()->mutable_volumesource()->mutable_persistentvolumeclaim()->set_claimname("data");
    graph.put(web);
    corev1::PersistentVolume volume;
    volume.mutable_metadata()->set_name("pv1");
    volume.mutable_spec()->mutable_claimref()->set_namespace_("team");
    volume.mutable_spec()->mutable_claimref()->set_name("data");
    auto* csi = volume.mutable_spec()->mutable_persistentvolumesource()->mutable_csi();
    csi->mutable_nodestagesecretref()->set_name("stage");
    csi->mutable_nodestagesecretref()->set_namespace_("storage");
    graph.put(volume);
    EXPECT_TRUE(may(ask("get", "persistentvolumes", "", "pv1")));
    EXPECT_FALSE(may(ask("get", "persistentvolumes", "", "pv1", "n2")));
    EXPECT_FALSE(may(ask("list", "persistentvolumes")));
    EXPECT_TRUE(may(ask("get", "secrets", "storage", "stage")));
    graph.remove_volume("pv1");
    EXPECT_FALSE(may(ask("get", "secrets", "storage", "stage")));
    ::k8s::io::api::storage::v1::VolumeAttachment attachment;
    attachment.mutable_metadata()->set_name("va");
    attachment.mutable_spec()->set_nodename("n1");
    graph.put(attachment);
    EXPECT_TRUE(may(ask("get", "volumeattachments", "", "va")));
    EXPECT_FALSE(may(ask("get", "volumeattachments", "", "va", "n2")));
}

TEST_F(Nodes, OwnNodeLeaseAndCsiNode) {
    EXPECT_TRUE(may(ask("get", "nodes", "", "n1")));
    EXPECT_FALSE(may(ask("get", "nodes", "", "n2")));
    EXPECT_FALSE(may(ask("list", "nodes")));
    EXPECT_TRUE(may(ask("create", "nodes")));
    EXPECT_TRUE(may(ask("patch", "nodes/status", "", "n1")));
    EXPECT_FALSE(may(ask("delete", "nodes", "", "n1")));
    EXPECT_TRUE(may(ask("update", "leases", "kube-node-lease", "n1")));
    EXPECT_FALSE(may(ask("update", "leases", "kube-node-lease", "n2")));
    EXPECT_FALSE(may(ask("update", "leases", "kube-system", "n1")));
    EXPECT_FALSE(may(ask("list", "leases", "kube-node-lease")));
    EXPECT_TRUE(may(ask("get", "csinodes", "", "n1")));
    EXPECT_FALSE(may(ask("get", "csinodes", "", "n2")));
}

TEST_F(Nodes, OwnPodsOnly) {
    auto asked = ask("list", "pods");
    EXPECT_EQ(node.authorize(asked).reason, "can only list/watch pods with spec.nodeName field selector");
    asked.field_selector = "spec.nodeName=n1";
    EXPECT_TRUE(may(asked));
    asked.field_selector = "spec.nodeName=n2";
    EXPECT_FALSE(may(asked));
    asked.field_selector = "spec.nodeName!=n1";
    EXPECT_FALSE(may(asked));
    // A comma behind a backslash belongs to the value: this asks for the Pods of all nodes.
    asked.field_selector = R"(status.phase!=x\,spec.nodeName=n1)";
    EXPECT_FALSE(may(asked));
    EXPECT_TRUE(may(ask("update", "pods/status", "team", "web")));
    EXPECT_TRUE(may(ask("create", "pods/eviction", "team", "web")));
    EXPECT_FALSE(may(ask("update", "pods", "team", "web")));
    EXPECT_FALSE(may(ask("create", "pods/exec", "team", "web")));
}

TEST_F(Nodes, TheRestAsTheRoleSays) {
    EXPECT_TRUE(may(ask("list", "services")));
    EXPECT_TRUE(may(ask("create", "events", "team")));
    EXPECT_TRUE(may(ask("create", "certificatesigningrequests")));
    EXPECT_FALSE(may(ask("list", "namespaces")));
    EXPECT_FALSE(may(ask("create", "namespaces")));
}

}  // namespace
}  // namespace sluice::authorization
