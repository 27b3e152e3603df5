// What is asked of the API server.
#include "agent/watch/watch.h"

#include <gtest/gtest.h>

namespace sluice::watch {
namespace {

// Services: no other proxy's, none that are headless. EndpointSlices: none of headless services. Node: the own name.
TEST(Watch, SelectorsLeaveTheRestAtTheServer) {
    EXPECT_EQ(services_selection().label_selector, "!service.kubernetes.io/service-proxy-name");
    EXPECT_EQ(services_selection().field_selector, "spec.clusterIP!=None");
    EXPECT_EQ(endpoint_slices_selection().label_selector, "!service.kubernetes.io/headless");
    EXPECT_EQ(endpoint_slices_selection().field_selector, "");
    EXPECT_EQ(node_selection("n1").field_selector, "metadata.name=n1");
    EXPECT_EQ(node_selection("n1").label_selector, "");
}

TEST(Watch, EveryNamespaceAndTheStableVersionsAreFollowed) {
    for (const auto& selection : {services_selection(), endpoint_slices_selection()}) {
        EXPECT_EQ(selection.namespace_name, "");
    }
    EXPECT_EQ(endpoint_slices_kind().gvk.version, "v1");
    EXPECT_EQ(service_cidrs_kind().gvk.version, "v1");
    EXPECT_EQ(services_kind().resource, "services");
}

}  // namespace
}  // namespace sluice::watch
