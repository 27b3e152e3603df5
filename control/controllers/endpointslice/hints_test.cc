// Cases from Kubernetes' documentation of spec.trafficDistribution (KEP 4444, KEP 3015) and of
// service.kubernetes.io/topology-mode.
#include "control/controllers/endpointslice/hints.h"

#include <gtest/gtest.h>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::endpoints {
namespace {

struct At {
    std::string zone;
    std::string node = "n1";
    bool ready = true;
};

Slice slice_of(const std::string& name, const std::vector<At>& places) {
    Slice slice;
    slice.mutable_metadata()->set_name(name);
    int number = 0;
    for (const auto& place : places) {
        auto* endpoint = slice.add_endpoints();
        endpoint->add_addresses("10.0.0." + std::to_string(++number));
        endpoint->mutable_conditions()->set_ready(place.ready);
        if (!place.zone.empty()) endpoint->set_zone(place.zone);
        if (!place.node.empty()) endpoint->set_nodename(place.node);
    }
    return slice;
}

SlicePtr hinted(Slice slice, const std::vector<std::string>& zones) {
    for (std::size_t i = 0; i < zones.size(); ++i) {
        if (zones[i] == "-") continue;
        auto* endpoint = slice.mutable_endpoints(static_cast<int>(i));
        endpoint->mutable_hints()->add_forzones()->set_name(zones[i]);
    }
    return std::make_shared<const Slice>(std::move(slice));
}

// "zone", "zone@node", "-" without hints, for each endpoint.
std::vector<std::string> hints_of(const Slice& slice) {
    std::vector<std::string> out;
    for (const auto& endpoint : slice.endpoints()) {
        std::string text = endpoint.has_hints() ? "" : "-";
        for (const auto& zone : endpoint.hints().forzones()) text += zone.name();
        for (const auto& node : endpoint.hints().fornodes()) text += "@" + node.name();
        out.push_back(text);
    }
    return out;
}

using Texts = std::vector<std::string>;

TEST(Hints, WhatAServiceAsksFor) {
    const auto rule = [](const std::string& distribution, std::map<std::string, std::string> annotations) {
        corev1::Service service;
        if (!distribution.empty()) service.mutable_spec()->set_trafficdistribution(distribution);
        for (const auto& [key, value] : annotations) (*service.mutable_metadata()->mutable_annotations())[key] = value;
        return hint_rule(service);
    };
    const std::string mode = "service.kubernetes.io/topology-mode";
    const std::string older = "service.kubernetes.io/topology-aware-hints";
    EXPECT_EQ(rule("", {}), HintRule::kNone);
    EXPECT_EQ(rule("PreferClose", {}), HintRule::kSameZone);
    EXPECT_EQ(rule("PreferSameZone", {}), HintRule::kSameZone);
    EXPECT_EQ(rule("PreferSameNode", {}), HintRule::kSameNode);
    EXPECT_EQ(rule("", {{mode, "Auto"}}), HintRule::kProportional);
    EXPECT_EQ(rule("", {{mode, "auto"}}), HintRule::kProportional);
    EXPECT_EQ(rule("", {{mode, "Disabled"}}), HintRule::kNone);
    EXPECT_EQ(rule("", {{older, "Auto"}}), HintRule::kProportional);
    EXPECT_EQ(rule("", {{mode, "Auto"}, {older, "Disabled"}}), HintRule::kNone) << "the older one wins";
    EXPECT_EQ(rule("PreferClose", {{mode, "Auto"}}), HintRule::kProportional) << "the annotation wins";
    EXPECT_EQ(rule("PreferClose", {{mode, "Disabled"}}), HintRule::kSameZone);
    EXPECT_EQ(rule("", {{mode, "AUTO"}}), HintRule::kNone);
}

TEST(Hints, EveryReadyEndpointIsForItsOwnZone) {
    Changes changes;
    changes.create = {slice_of("", {{"a"}, {"b"}})};
    changes.update = {slice_of("s1", {{"b"}, {"c", "n1", false}})};
    hint_own_place(HintRule::kSameZone, &changes);
    EXPECT_EQ(hints_of(changes.create[0]), (Texts{"a", "b"}));
    EXPECT_EQ(hints_of(changes.update[0]), (Texts{"b", "-"}));
}

TEST(Hints, OneWithoutAZoneIsForTheZoneOfNoName) {
    Changes changes;
    changes.create = {slice_of("", {{"a"}, {""}})};
    hint_own_place(HintRule::kSameZone, &changes);
    EXPECT_EQ(hints_of(changes.create[0]), (Texts{"a", ""}));
}

TEST(Hints, OfASliceWithoutChangesOnlyWrongOrMissingHintsAreWritten) {
    Changes changes;
    changes.unchanged = {hinted(slice_of("right", {{"a"}, {"b"}}), {"a", "b"}),
                         hinted(slice_of("wrong", {{"a"}, {"b"}}), {"a", "a"}),
                         hinted(slice_of("missing", {{"a"}, {"b"}}), {"-", "b"}),
                         hinted(slice_of("unready", {{"a", "n1", false}}), {"-"})};
    hint_own_place(HintRule::kSameZone, &changes);
    ASSERT_EQ(changes.unchanged.size(), 2U);
    EXPECT_EQ(changes.unchanged[0]->metadata().name(), "right");
    EXPECT_EQ(changes.unchanged[1]->metadata().name(), "unready");
    ASSERT_EQ(changes.update.size(), 2U);
    EXPECT_EQ(hints_of(changes.update[0]), (Texts{"a", "b"}));
    EXPECT_EQ(hints_of(changes.update[1]), (Texts{"a", "b"}));
}

TEST(Hints, SameNodeNamesTheNodeToo) {
    Changes changes;
    changes.create = {slice_of("", {{"a", "n1"}, {"b", "n2"}, {"b", ""}})};
    changes.unchanged = {hinted(slice_of("zones-only", {{"a", "n1"}}), {"a"})};
    hint_own_place(HintRule::kSameNode, &changes);
    EXPECT_EQ(hints_of(changes.create[0]), (Texts{"a@n1", "b@n2", "b"}));
    ASSERT_EQ(changes.update.size(), 1U);
    EXPECT_EQ(hints_of(changes.update[0]), (Texts{"a@n1"}));
    // And back: the nodes' names go.
    Changes back;
    back.unchanged = {std::make_shared<const Slice>(changes.update[0])};
    hint_own_place(HintRule::kSameZone, &back);
    ASSERT_EQ(back.update.size(), 1U);
    EXPECT_EQ(hints_of(back.update[0]), (Texts{"a"}));
}

TEST(Hints, WhereNobodyAsksThereAreNone) {
    Changes changes;
    changes.update = {*hinted(slice_of("u", {{"a"}}), {"a"})};
    changes.unchanged = {hinted(slice_of("plain", {{"a"}}), {"-"}), hinted(slice_of("left", {{"a"}, {"b"}}), {"-", "b"})};
    remove_hints(&changes);
    ASSERT_EQ(changes.unchanged.size(), 1U);
    EXPECT_EQ(changes.unchanged[0]->metadata().name(), "plain");
    ASSERT_EQ(changes.update.size(), 2U);
    EXPECT_EQ(hints_of(changes.update[0]), (Texts{"-"}));
    EXPECT_EQ(hints_of(changes.update[1]), (Texts{"-", "-"}));
}

// Hints are no difference to packing, and come after it.
TEST(Hints, PackingLeavesASliceThatDiffersInHintsAlone) {
    Group group;
    group.ports.emplace_back().set_port(80);
    Slice present = slice_of("s1", {{"a"}, {"b"}});
    group.endpoints = {present.endpoints().begin(), present.endpoints().end()};
    *present.add_ports() = group.ports[0];
    present.set_addresstype("IPv4");
    const Groups wanted = {{port_key(group.ports), group}};
    const SlicePtr with = hinted(present, {"a", "b"});
    Changes changes = pack({}, "IPv4", wanted, {with});
    EXPECT_TRUE(changes.empty());
    ASSERT_EQ(changes.unchanged.size(), 1U);
    EXPECT_EQ(changes.unchanged[0], with);
    // What is to be written comes without; an endpoint that joins the slice is a reason to write it.
    Groups more = wanted;
    auto& added = more.begin()->second.endpoints.emplace_back();
    added.add_addresses("10.0.0.9");
    changes = pack({}, "IPv4", more, {with});
    ASSERT_EQ(changes.update.size(), 1U);
    EXPECT_TRUE(changes.unchanged.empty());
    EXPECT_EQ(hints_of(changes.update[0]), (Texts{"-", "-", "-"}));
}

}  // namespace
}  // namespace sluice::controllers::endpoints
