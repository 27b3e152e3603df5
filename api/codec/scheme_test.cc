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
        {"", "Namespace", "namespaces", "namespace", {"ns"}, {}, false, true},
        {"", "Node", "nodes", "node", {"no"}, {}, false, true},
        {"", "Pod", "pods", "pod", {"po"}, {"all"}, true, true},
        {"", "Secret", "secrets", "secret", {}, {}, true, false},
        {"", "ServiceAccount", "serviceaccounts", "serviceaccount", {"sa"}, {}, true, false},
        {"", "Service", "services", "service", {"svc"}, {"all"}, true, true},
        {"coordination.k8s.io", "Lease", "leases", "lease", {}, {}, true, false},
        {"discovery.k8s.io", "EndpointSlice", "endpointslices", "endpointslice", {}, {}, true, false},
    };
    ASSERT_EQ(all_kinds().size(), std::size(rows));
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

TEST(Scheme, WhatDoesNotExistIsNull) {
    EXPECT_EQ(find_kind({"", "v1", "Deployment"}), nullptr);
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
