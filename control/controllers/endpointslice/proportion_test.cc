// Cases from KEP 2433 (topology aware routing) and from what kube-controller-manager is known to write.
#include "control/controllers/endpointslice/proportion.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::endpoints {
namespace {

NodePtr node(const std::string& zone, const std::string& cpu, bool ready = true, const std::string& label = "") {
    const std::string labels =
        (zone.empty() ? std::string() : "\"topology.kubernetes.io/zone\":\"" + zone + "\"") +
        (label.empty() ? "" : (zone.empty() ? "\"" : ",\"") + label + "\":\"\"");
    const std::string text = R"({"metadata":{"name":"n","labels":{)" + labels + R"(}},"status":{"allocatable":{)" +
                             (cpu.empty() ? "" : R"("cpu":")" + cpu + "\"") +
                             R"(},"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":")" +
                             (ready ? "True" : "False") + "\"}]}}";
    auto out = std::make_shared<corev1::Node>();
    const auto read = codec::decode_json(text, out.get());
    EXPECT_TRUE(read) << text;
    return out;
}

Slice slice_in(const std::string& name, const std::vector<std::string>& zones) {
    Slice slice;
    slice.mutable_metadata()->set_name(name);
    for (const auto& zone : zones) {
        auto* endpoint = slice.add_endpoints();
        endpoint->add_addresses("10.0.0." + std::to_string(slice.endpoints_size()));
        endpoint->mutable_conditions()->set_ready(!zone.starts_with("!"));
        const std::string of = zone.starts_with("!") ? zone.substr(1) : zone;
        if (!of.empty()) endpoint->set_zone(of);
    }
    return slice;
}

SlicePtr with_hints(Slice slice, const std::vector<std::string>& zones) {
    for (int i = 0; i < slice.endpoints_size(); ++i) {
        const std::string& zone = zones[static_cast<std::size_t>(i)];
        if (zone != "-") slice.mutable_endpoints(i)->mutable_hints()->add_forzones()->set_name(zone);
    }
    return std::make_shared<const Slice>(std::move(slice));
}

std::vector<std::string> hints_of(const Slice& slice) {
    std::vector<std::string> out;
    for (const auto& endpoint : slice.endpoints()) {
        out.push_back(endpoint.has_hints() ? endpoint.hints().forzones(0).name() : "-");
    }
    return out;
}

using Texts = std::vector<std::string>;

TEST(ZoneShares, FollowTheCpuOfReadyNodes) {
    EXPECT_EQ(zone_shares({node("a", "1"), node("b", "1000m")}), (ZoneShares{{"a", 0.5}, {"b", 0.5}}));
    EXPECT_EQ(zone_shares({node("a", "1"), node("a", "1"), node("a", "1"), node("a", "2"), node("b", "3"),
                           node("b", "1500m"), node("c", "0.5")}),
              (ZoneShares{{"a", 0.5}, {"b", 0.45}, {"c", 0.05}}));
}

TEST(ZoneShares, NodesThatAreNotReadyOrOfTheControlPlaneDoNotCount) {
    const ZoneShares even{{"a", 0.5}, {"b", 0.5}};
    EXPECT_EQ(zone_shares({node("a", "1"), node("b", "1"), node("b", "8", false)}), even);
    EXPECT_EQ(zone_shares({node("a", "1"), node("b", "1"), node("c", "8", true, "node-role.kubernetes.io/control-plane"),
                           node("", "", true, "node-role.kubernetes.io/master")}),
              even);
    EXPECT_EQ(zone_shares({node("a", "1"), node("b", "1"), node("", "", false)}), even);
}

TEST(ZoneShares, AreNotKnownWithoutTwoZonesOrWithANodeThatLacksSomething) {
    EXPECT_TRUE(zone_shares({}).empty());
    EXPECT_TRUE(zone_shares({node("a", "1"), node("a", "1")}).empty());
    EXPECT_TRUE(zone_shares({node("a", "1", false), node("b", "1")}).empty());
    EXPECT_TRUE(zone_shares({node("a", "1"), node("b", "1"), node("", "1")}).empty());
    EXPECT_TRUE(zone_shares({node("a", "1"), node("b", "1"), node("b", "0")}).empty());
    EXPECT_TRUE(zone_shares({node("a", "1"), node("b", "1"), node("b", "")}).empty());
}

TEST(NodeCapacity, IsAllThatMattersOfANode) {
    EXPECT_EQ(capacity_of(*node("a", "1")), capacity_of(*node("a", "1000m")));
    EXPECT_NE(capacity_of(*node("a", "1")), capacity_of(*node("a", "2")));
    EXPECT_NE(capacity_of(*node("a", "1")), capacity_of(*node("b", "1")));
    EXPECT_NE(capacity_of(*node("a", "1")), capacity_of(*node("a", "1", false)));
}

TEST(Proportion, EndpointsServeTheirOwnZonesWhereTheseSuffice) {
    Changes changes;
    changes.create = {slice_in("", {"a", "b", "!b"})};
    const auto made = hint_proportionally({{"a", 0.45}, {"b", 0.55}}, &changes);
    EXPECT_EQ(made.refusal, "");
    EXPECT_EQ(made.hints, (HintsByZone{{"a", 1}, {"b", 1}}));
    EXPECT_EQ(hints_of(changes.create[0]), (Texts{"a", "b", "-"}));
}

TEST(Proportion, ZonesWithMoreGiveToThoseWithLess) {
    Changes changes;
    changes.create = {slice_in("", {"a", "b"}), slice_in("", {"c", "c", "a"})};
    changes.update = {slice_in("s1", {"a", "a"}), slice_in("s2", {"b", "c", "a"})};
    const auto made = hint_proportionally({{"a", 0.35}, {"b", 0.35}, {"c", 0.30}}, &changes);
    EXPECT_EQ(made.hints, (HintsByZone{{"a", 4}, {"b", 3}, {"c", 3}}));
    EXPECT_EQ(hints_of(changes.create[0]), (Texts{"b", "b"})) << "the first of zone a moved";
    EXPECT_EQ(hints_of(changes.create[1]), (Texts{"c", "c", "a"}));
    EXPECT_EQ(hints_of(changes.update[0]), (Texts{"a", "a"}));
    EXPECT_EQ(hints_of(changes.update[1]), (Texts{"b", "c", "a"}));
}

// 16 endpoints in one zone; how many each zone gets, by its desired number.
TEST(Proportion, OwnZonesAreKeptWhereAMoveWouldGainLittle) {
    const auto shared = [](ZoneShares desired) {
        Changes changes;
        changes.create = {slice_in("", Texts(16, "a"))};
        for (auto& [zone, share] : desired) share /= 16;
        return hint_proportionally(desired, &changes).hints;
    };
    EXPECT_EQ(shared({{"a", 5.1}, {"b", 5.1}, {"c", 5.8}}), (HintsByZone{{"a", 6}, {"b", 5}, {"c", 5}}));
    EXPECT_EQ(shared({{"a", 5.0}, {"b", 5.6}, {"c", 5.4}}), (HintsByZone{{"a", 5}, {"b", 6}, {"c", 5}}));
    // One too many in zone a, but no zone that lacks half of one.
    EXPECT_EQ(shared({{"a", 5.8}, {"b", 3.4}, {"c", 3.4}, {"d", 3.4}}),
              (HintsByZone{{"a", 7}, {"b", 3}, {"c", 3}, {"d", 3}}));
}

TEST(Proportion, IsRefusedInKubernetesWords) {
    const auto refused = [](const ZoneShares& shares, const Texts& zones) {
        Changes changes;
        changes.create = {slice_in("", zones)};
        changes.unchanged = {with_hints(slice_in("s1", {"!a"}), {"a"})};
        const auto made = hint_proportionally(shares, &changes);
        EXPECT_TRUE(made.hints.empty());
        EXPECT_EQ(hints_of(changes.create[0]), Texts(zones.size(), "-"));
        EXPECT_TRUE(changes.unchanged.empty()) << "hints from before must go";
        EXPECT_EQ(hints_of(changes.update.at(0)), (Texts{"-"}));
        return made.refusal;
    };
    EXPECT_EQ(refused({}, {"a", "b"}),
              "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes");
    EXPECT_EQ(refused({{"a", 0.3}, {"b", 0.4}, {"c", 0.3}}, {"a", "b", "!c"}),
              "Insufficient number of endpoints (2 endpoints, 3 zones)");
    EXPECT_EQ(refused({{"a", 0.25}, {"b", 0.75}}, {"a", "b"}),
              "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold "
              "(2 endpoints, 2 zones)");
    EXPECT_EQ(refused({{"a", 0.5}, {"b", 0.5}}, {"a", "b", "b", ""}),
              "One or more endpoints do not have a zone specified");
}

TEST(Proportion, SlicesWhoseHintsFitAreLeftAlone) {
    const ZoneShares even{{"a", 0.5}, {"b", 0.5}};
    Changes changes;
    changes.unchanged = {with_hints(slice_in("s1", {"a", "b", "!b"}), {"a", "b", "-"})};
    EXPECT_EQ(hint_proportionally(even, &changes).hints, (HintsByZone{{"a", 1}, {"b", 1}}));
    EXPECT_TRUE(changes.empty());
    EXPECT_EQ(changes.unchanged.size(), 1U);
}

TEST(Proportion, SlicesWhoseHintsDoNotFitAreWritten) {
    const ZoneShares even{{"a", 0.5}, {"b", 0.5}};
    // None; for a zone that has no nodes; more for one zone than leaves enough for the other.
    for (const Texts& before : {Texts{"-", "-", "-", "-"}, Texts{"a", "c", "b", "b"}, Texts{"a", "a", "a", "a"}}) {
        Changes changes;
        changes.unchanged = {with_hints(slice_in("s1", {"a", "a", "b", "b"}), before)};
        EXPECT_EQ(hint_proportionally(even, &changes).hints, (HintsByZone{{"a", 2}, {"b", 2}}));
        ASSERT_EQ(changes.update.size(), 1U);
        EXPECT_EQ(hints_of(changes.update[0]), (Texts{"a", "a", "b", "b"}));
    }
}

TEST(Proportion, NothingIsWrittenThatStandsThereAlready) {
    // No node of zone c counts: its endpoints' hints are looked at each time, and come out the same.
    const Texts zones = {"a", "a", "b", "b", "c", "c"};
    Changes changes;
    changes.unchanged = {with_hints(slice_in("s1", zones), zones)};
    EXPECT_EQ(hint_proportionally({{"a", 0.5}, {"b", 0.5}}, &changes).refusal, "");
    EXPECT_TRUE(changes.empty());
    EXPECT_EQ(changes.unchanged.size(), 1U);
}

TEST(Overload, IsAZoneWithLessThanItsPartAllows) {
    const ZoneShares even{{"a", 0.5}, {"b", 0.5}};
    EXPECT_FALSE(is_overloaded({}, even));
    EXPECT_TRUE(is_overloaded({{"a", 1}}, {}));
    EXPECT_TRUE(is_overloaded({{"a", 1}}, even));
    EXPECT_FALSE(is_overloaded({{"a", 5}, {"b", 7}}, even)) << "5 of 12 are a load of 1.2";
    EXPECT_TRUE(is_overloaded({{"a", 4}, {"b", 8}}, even));
    EXPECT_TRUE(is_overloaded({{"a", 6}, {"b", 6}}, {{"a", 0.4}, {"b", 0.4}, {"c", 0.2}}));
}

// Whatever endpoints and zones there are: all ready endpoints have one hint, for a zone with nodes, or none has; zones
// that have enough endpoints of their own for the threshold keep them; and a second look changes nothing.
RC_GTEST_PROP(ProportionProperty, HintsAllOrNoneAndSettles, ()) {
    const Texts names = {"a", "b", "c", "d"};
    const auto count = *rc::gen::inRange<std::size_t>(2, 5);
    ZoneShares shares;
    double total = 0;
    for (std::size_t i = 0; i < count; ++i) total += shares[names[i]] = *rc::gen::inRange(1, 9);
    for (auto& [zone, share] : shares) share /= total;
    Changes changes;
    int ready = 0;
    HintsByZone own;
    const auto slices = *rc::gen::inRange(1, 4);
    for (int s = 0; s < slices; ++s) {
        Texts zones;
        const auto size = *rc::gen::inRange(0, 12);
        for (int i = 0; i < size; ++i) {
            const bool is_ready = *rc::gen::inRange(0, 5) > 0;
            const std::string& zone = names[*rc::gen::inRange<std::size_t>(0, count)];
            ready += is_ready ? 1 : 0;
            own[zone] += is_ready ? 1 : 0;
            zones.push_back((is_ready ? "" : "!") + zone);
        }
        changes.create.push_back(slice_in("s" + std::to_string(s), zones));
    }
    const auto made = hint_proportionally(shares, &changes);
    Changes again;
    HintsByZone seen;
    for (const auto& slice : changes.create) {
        again.unchanged.push_back(std::make_shared<const Slice>(slice));
        for (const auto& endpoint : slice.endpoints()) {
            const bool expected = endpoint.conditions().ready() && made.refusal.empty();
            RC_ASSERT(endpoint.hints().forzones_size() == (expected ? 1 : 0));
            if (expected) ++seen[endpoint.hints().forzones(0).name()];
        }
    }
    if (made.refusal.empty()) {
        int sum = 0;
        for (const auto& [zone, share] : shares) {
            const int least = static_cast<int>(std::ceil(ready * share / 1.2 - 1e-9));
            RC_ASSERT(own[zone] < least || seen[zone] >= least);
            sum += seen[zone];
        }
        RC_ASSERT(sum == ready);
    }
    const auto second = hint_proportionally(shares, &again);
    RC_ASSERT(second.refusal == made.refusal);
    RC_ASSERT(again.empty());
}

}  // namespace
}  // namespace sluice::controllers::endpoints
