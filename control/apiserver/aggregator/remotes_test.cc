// Which APIServices of a real store are other servers'.
#include "control/apiserver/aggregator/remotes.h"

#include <gtest/gtest.h>

#include "api/codec/scheme.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::aggregator {
namespace {

TEST(OfOtherServers, NothingThatIsServedHere) {
    registry::testing::Cluster cluster;
    const auto name = [&](const std::string& group, const std::string& version) {
        const std::string id = version + "." + group;
        // That of what is served here is there already.
        const std::string all = "/apis/apiregistration.k8s.io/v1/apiservices";
        (void)cluster.call("DELETE", all + "/" + id);
        const auto made = cluster.call(
            "POST", all,
            R"({"metadata":{"name":")" + id + R"("},"spec":{"group":")" + group + R"(","version":")" + version +
                R"(","groupPriorityMinimum":1,"versionPriority":1,"insecureSkipTLSVerify":true,)"
                R"("service":{"namespace":"n","name":"s"}}})");
        EXPECT_EQ(made.status, 201) << made.body;
    };
    name("apps", "v1");
    name("authentication.k8s.io", "v1");
    name("authorization.k8s.io", "v1");
    name("metrics.k8s.io", "v1beta1");
    Remotes remotes(cluster.api(), {}, [] {});
    ASSERT_TRUE(remotes.start());
    const auto known = remotes.snapshot();
    ASSERT_EQ(known->size(), 1U);
    EXPECT_EQ(known->begin()->first, "metrics.k8s.io/v1beta1");
}

}  // namespace
}  // namespace sluice::aggregator
