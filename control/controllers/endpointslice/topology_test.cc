#include "control/controllers/endpointslice/topology.h"

#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/types.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"

namespace sluice::controllers::endpoints {
namespace {

using Texts = std::vector<std::string>;

class TopologyTest : public ::testing::Test {
protected:
    TopologyTest() : topology([this] { return nodes; }) {}

    void set_nodes(const std::map<std::string, int>& cpu_by_zone) {
        nodes.clear();
        for (const auto& [zone, cpu] : cpu_by_zone) {
            auto node = std::make_shared<corev1::Node>();
            (*node->mutable_metadata()->mutable_labels())["topology.kubernetes.io/zone"] = zone;
            (*node->mutable_status()->mutable_allocatable())["cpu"].set_string(std::to_string(cpu));
            auto* condition = node->mutable_status()->add_conditions();
            condition->set_type("Ready");
            condition->set_status("True");
            nodes.push_back(std::move(node));
        }
        topology.nodes_changed();
    }
    static corev1::Service asking(const std::string& mode) {
        corev1::Service service;
        if (!mode.empty()) {
            (*service.mutable_metadata()->mutable_annotations())["service.kubernetes.io/topology-mode"] = mode;
        }
        return service;
    }
    // The events, for endpoints in these zones: "Warning Reason: message".
    Texts look(const std::string& service, const std::string& mode, const Texts& zones,
               const std::string& type = "IPv4") {
        Changes changes;
        auto& slice = changes.create.emplace_back();
        for (const auto& zone : zones) {
            auto* endpoint = slice.add_endpoints();
            endpoint->mutable_conditions()->set_ready(true);
            endpoint->set_zone(zone);
        }
        Texts out;
        for (const auto& told : topology.hint(service, asking(mode), type, &changes)) {
            out.push_back((told.warning ? "Warning " : "Normal ") + told.reason + ": " + told.message);
        }
        hinted = 0;
        for (const auto& endpoint : changes.create[0].endpoints()) hinted += endpoint.hints().forzones_size();
        return out;
    }

    std::vector<NodePtr> nodes;
    Topology topology;
    int hinted = 0;
};

constexpr char kEnabledV4[] =
    "Normal TopologyAwareHintsEnabled: Topology Aware Hints has been enabled, addressType: IPv4";

TEST_F(TopologyTest, PeopleAreToldOnceOfEachChange) {
    set_nodes({{"a", 1}, {"b", 1}});
    EXPECT_EQ(look("ns/s", "Auto", {"a"}),
              (Texts{"Warning TopologyAwareHintsDisabled: Insufficient number of endpoints (1 endpoints, 2 zones), "
                     "addressType: IPv4"}));
    EXPECT_EQ(look("ns/s", "Auto", {"a"}), Texts{});
    EXPECT_EQ(hinted, 0);
    EXPECT_EQ(look("ns/s", "Auto", {"a", "b"}), Texts{kEnabledV4});
    EXPECT_EQ(hinted, 2);
    EXPECT_EQ(look("ns/s", "Auto", {"a", "b"}), Texts{});
    EXPECT_EQ(look("ns/s", "Auto", {"a", "b"}, "IPv6"), Texts{}) << "hints are enabled already";
    EXPECT_EQ(hinted, 2);
    EXPECT_EQ(look("ns/s", "Auto", {}, "IPv6"),
              (Texts{"Warning TopologyAwareHintsDisabled: Insufficient number of endpoints (0 endpoints, 2 zones), "
                     "addressType: IPv6"}));
    EXPECT_EQ(look("ns/s", "Auto", {"a", "b"}), Texts{}) << "each family for itself";
    EXPECT_EQ(look("ns/s", "", {"a", "b"}),
              (Texts{"Warning TopologyAwareHintsDisabled: Topology Aware Hints has been disabled, addressType: IPv4"}));
    EXPECT_EQ(hinted, 0);
    EXPECT_EQ(look("ns/s", "", {"a", "b"}, "IPv6"), Texts{});
}

TEST_F(TopologyTest, OnlyServicesThatChangedNodesConcernAreLookedAtAgain) {
    set_nodes({{"a", 1}, {"b", 1}});
    (void)look("ns/fits", "Auto", {"a", "a", "a", "b", "b", "b"});
    (void)look("ns/tight", "Auto", {"a", "b"});
    (void)look("ns/none", "Auto", {"a"});
    (void)look("ns/unasked", "", {"a", "b"});
    EXPECT_EQ(topology.outdated(), Texts{});
    topology.nodes_changed();
    EXPECT_EQ(topology.outdated(), Texts{}) << "the shares are what they were";
    set_nodes({{"a", 10}, {"b", 11}});
    EXPECT_EQ(topology.outdated(), Texts{"ns/none"}) << "nobody is overloaded";
    set_nodes({{"a", 1}, {"b", 3}});
    EXPECT_EQ(topology.outdated(), (Texts{"ns/fits", "ns/none", "ns/tight"}));
    EXPECT_EQ(look("ns/tight", "Auto", {"a", "b"}).size(), 1U);
    EXPECT_EQ(topology.outdated(), (Texts{"ns/fits", "ns/none"}));
    // Nodes that lack a zone end all hints.
    set_nodes({{"a", 1}, {"", 3}});
    EXPECT_EQ(topology.outdated(), (Texts{"ns/fits", "ns/none", "ns/tight"}));
    topology.forget("ns/fits");
    topology.forget("ns/none", "IPv4");
    EXPECT_EQ(topology.outdated(), Texts{"ns/tight"});
}

TEST_F(TopologyTest, TheNextLookSeesTheNodesAsTheyAreThen) {
    EXPECT_EQ(look("ns/s", "Auto", {"a", "b"}).size(), 1U);
    EXPECT_EQ(hinted, 0);
    set_nodes({{"a", 1}, {"b", 1}});
    EXPECT_EQ(look("ns/s", "Auto", {"a", "b"}), Texts{kEnabledV4});
}

}  // namespace
}  // namespace sluice::controllers::endpoints
