// What requests ask to do. The expectations are what kube-apiserver 1.32 says of the same requests in its refusals.
#include "control/apiserver/authorization/attributes.h"

#include <gtest/gtest.h>

namespace sluice::authorization {
namespace {

http::Request request(std::string method, std::string path,
                      std::vector<std::pair<std::string, std::string>> query = {}) {
    http::Request out;
    out.method = std::move(method);
    out.path = std::move(path);
    out.query = std::move(query);
    out.identity.user = "jane";
    return out;
}

std::string refused(const http::Request& asked) { return refusal(attributes_of(asked)); }

TEST(Attributes, AnObjectInANamespace) {
    const auto asked = attributes_of(request("GET", "/api/v1/namespaces/team/pods/web"));
    EXPECT_TRUE(asked.is_resource);
    EXPECT_EQ(asked.verb, "get");
    EXPECT_EQ(asked.group, "");
    EXPECT_EQ(asked.version, "v1");
    EXPECT_EQ(asked.resource, "pods");
    EXPECT_EQ(asked.namespace_name, "team");
    EXPECT_EQ(asked.name, "web");
    EXPECT_EQ(refusal(asked),
              R"(pods "web" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "team")");
}

TEST(Attributes, Subresources) {
    EXPECT_EQ(
        refused(request("POST", "/api/v1/namespaces/team/pods/web/exec")),
        R"(pods "web" is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "team")");
    EXPECT_EQ(
        refused(request("PATCH", "/apis/apps/v1/namespaces/team/deployments/web/scale")),
        R"(deployments.apps "web" is forbidden: User "jane" cannot patch resource "deployments/scale" in API group "apps" in the namespace "team")");
}

TEST(Attributes, ListsWatchesAndCollections) {
    EXPECT_EQ(refused(request("GET", "/api/v1/nodes")),
              R"(nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope)");
    EXPECT_EQ(attributes_of(request("GET", "/api/v1/pods", {{"watch", "true"}})).verb, "watch");
    EXPECT_EQ(attributes_of(request("GET", "/api/v1/pods", {{"watch", "0"}})).verb, "list");
    EXPECT_EQ(attributes_of(request("DELETE", "/api/v1/namespaces/team/pods")).verb, "deletecollection");
    // Whoever may get a Pod's log does not do something else by a parameter; nor is it looked at for a proxy.
    for (const char* path : {"/api/v1/namespaces/team/pods/p/log", "/api/v1/namespaces/team/pods/p/proxy/x"}) {
        EXPECT_EQ(attributes_of(request("GET", path, {{"watch", "true"}})).verb, "get") << path;
    }
    // A selector by name makes a list one of that object: so does a kubelet watch the Secrets that its Pods use.
    const auto one = attributes_of(request("GET", "/api/v1/namespaces/team/secrets",
                                           {{"watch", "1"}, {"fieldSelector", "metadata.name=token"}}));
    EXPECT_EQ(one.verb, "watch");
    EXPECT_EQ(one.name, "token");
}

TEST(Attributes, ANamespaceIsInItsOwnScope) {
    EXPECT_EQ(
        refused(request("DELETE", "/api/v1/namespaces/team")),
        R"(namespaces "team" is forbidden: User "jane" cannot delete resource "namespaces" in API group "" in the namespace "team")");
    EXPECT_EQ(attributes_of(request("PUT", "/api/v1/namespaces/team/finalize")).subresource, "finalize");
}

TEST(Attributes, OtherPaths) {
    const auto asked = attributes_of(request("GET", "/metrics"));
    EXPECT_FALSE(asked.is_resource);
    EXPECT_EQ(refusal(asked), R"(forbidden: User "jane" cannot get path "/metrics")");
    EXPECT_FALSE(attributes_of(request("GET", "/apis/apps/v1")).is_resource);
}

TEST(Attributes, TheOldWayToWatch) {
    const auto asked = attributes_of(request("GET", "/api/v1/watch/namespaces/team/secrets"));
    EXPECT_EQ(asked.verb, "watch");
    EXPECT_EQ(asked.resource, "secrets");
    EXPECT_EQ(asked.namespace_name, "team");
    EXPECT_EQ(attributes_of(request("GET", "/apis/apps/v1/watch/deployments")).resource, "deployments");
}

TEST(Attributes, Strangers) {
    auto asked = request("GET", "/api/v1/pods");
    asked.identity.user.clear();
    EXPECT_EQ(refused(asked),
              R"(pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope)");
}

TEST(Attributes, SelectedNames) {
    EXPECT_EQ(selected_name("metadata.name=a"), "a");
    EXPECT_EQ(selected_name("status.phase=Running,metadata.name==b"), "b");
    EXPECT_EQ(selected_name("metadata.name!=a"), "");
    EXPECT_EQ(selected_name("metadata.namespace=a"), "");
    EXPECT_EQ(selected_name(""), "");
    // The comma is the value's, so that this names no object: it selects almost all of them.
    EXPECT_EQ(selected_name(R"(status.phase!=x\,metadata.name=a)"), "");
    EXPECT_EQ(selected_value("spec.nodeName=n1,metadata.name=a", "spec.nodeName"), "n1");
}

}  // namespace
}  // namespace sluice::authorization
