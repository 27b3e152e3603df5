#include "control/test_cluster/test_cluster.h"

#include <gtest/gtest.h>

#include "api/client/client.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::testing {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

TEST(TestClusterTest, ServesWhatIsCreated) {
    const TestCluster cluster;
    cluster.create(R"(
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
data: {a: "1"}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  conditions: [{type: Ready, status: "True"}]
)");
    const auto map = get<corev1::ConfigMap>(cluster, "configmaps", "default", "first");
    ASSERT_NE(map, nullptr);
    EXPECT_EQ(map->data().at("a"), "1");
    const auto node = get<corev1::Node>(cluster, "nodes", "", "n1");
    ASSERT_NE(node, nullptr);
    ASSERT_EQ(node->status().conditions_size(), 1);
    EXPECT_EQ(cluster.get(kind_named("configmaps"), "default", "none"), nullptr);

    cluster.merge("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first}\ndata: {b: '2'}\n");
    EXPECT_EQ((get<corev1::ConfigMap>(cluster, "configmaps", "default", "first")->data_size()), 2);
}

TEST(TestClusterTest, TwoAtATimeAreStrangers) {
    const TestCluster one;
    const TestCluster other;
    EXPECT_NE(one.url(), other.url());
    EXPECT_NE(one.directory(), other.directory());
    one.create("apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n");
    EXPECT_EQ(other.get(kind_named("namespaces"), "", "mine"), nullptr);
    // Neither trusts the other's authority.
    client::ClientConfig config = one.client_config();
    config.ca_pem = other.ca_pem();
    auto stranger = client::Client::create(config, "stranger");
    ASSERT_TRUE(stranger);
    EXPECT_FALSE((*stranger)->get(kind_named("namespaces"), "", "default"));
}

TEST(TestClusterTest, EventuallyGivesUp) {
    int asked = 0;
    EXPECT_TRUE(eventually([&] { return ++asked == 3; }));
    EXPECT_FALSE(eventually([] { return false; }, std::chrono::milliseconds(20)));
}

}  // namespace
}  // namespace sluice::testing
