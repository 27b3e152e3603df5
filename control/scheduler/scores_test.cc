// Each score by figures worked out by hand, and which node wins.
#include "control/scheduler/scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/scheduler/decide.h"
#include "control/scheduler/test_objects.h"

namespace sluice::scheduler::testing {
namespace {

using ::testing::ElementsAre;

struct World {
    Cluster cluster;
    Nodes nodes;
    void node(const Node& object) {
        auto read = read_node(object);
        ASSERT_TRUE(read);
        const std::string name = read->name;
        cluster.set_node(std::move(*read));
        nodes.push_back(cluster.find_node(name));
    }
    void placed(const std::shared_ptr<const Pod>& pod, const std::string& node) {
        cluster.place(facts(assigned(pod, node)), node, false);
    }
};

const std::string kOwned = R"(,"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"rs-1","controller":true}])";
const std::string kIsWeb = R"(,"labels":{"app":"web"})";

TEST(Scores, LeastAllocatedIsTheShareThatStaysFree) {
    World world;
    world.node(make_node("a"));  // 4 cpus, 8Gi
    world.node(make_node("b"));
    world.placed(make_pod("x", requests("2", "2Gi")), "b");
    // a: (75 + 75) / 2; b: 1 - 3/4 and 1 - 4/8.
    EXPECT_THAT(least_allocated(*facts(make_pod("p", requests("1", "2Gi"))), world.nodes), ElementsAre(75, 37));
    // Without requests a container counts as 100m and 200Mi: 97 and 97.
    EXPECT_EQ(least_allocated(*facts(make_pod("q", R"("containers":[{"name":"c"}])")), world.nodes)[0], 97);
}

TEST(Scores, BalancedPrefersEqualShares) {
    World world;
    world.node(make_node("a"));
    world.node(make_node("b"));
    world.placed(make_pod("x", requests("2", "0")), "b");
    // a: shares 1/4 and 1/4; b: 3/4 and 1/4, half of the distance is 1/4.
    EXPECT_THAT(balanced_allocation(*facts(make_pod("p", requests("1", "2Gi"))), world.nodes), ElementsAre(100, 75));
}

TEST(Scores, PreferredNodeAffinityAddsUpWeights) {
    World world;
    world.node(make_node("a", "", R"(,"disk":"ssd")"));
    world.node(make_node("b", "", R"(,"disk":"ssd","gpu":"1")"));
    world.node(make_node("c"));
    const auto pod = facts(make_pod("p", R"("affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[
        {"weight":10,"preference":{"matchExpressions":[{"key":"disk","operator":"Exists"}]}},
        {"weight":30,"preference":{"matchExpressions":[{"key":"gpu","operator":"Exists"}]}},
        {"weight":50,"preference":{}}]}})"));
    EXPECT_THAT(preferred_node_affinity(*pod, world.nodes), ElementsAre(25, 100, 0));
}

TEST(Scores, TaintsThatAreOnlyPreferences) {
    World world;
    const char* soft = R"({"key":"%","effect":"PreferNoSchedule"})";
    const auto taint = [&](char name) { return std::string(soft).replace(8, 1, 1, name); };
    world.node(make_node("a"));
    world.node(make_node("b", R"("taints":[)" + taint('x') + "]"));
    world.node(make_node("c", R"("taints":[)" + taint('x') + "," + taint('y') + "]"));
    EXPECT_THAT(tolerated_taints(*facts(make_pod("p")), world.nodes), ElementsAre(100, 50, 0));
    EXPECT_THAT(tolerated_taints(*facts(make_pod("q", R"("tolerations":[{"key":"y","operator":"Exists"}])")), world.nodes),
                ElementsAre(100, 0, 0));
}

TEST(Scores, PodsOfOneControllerSpreadOverNodesAndZones) {
    World world;
    world.node(make_node("a", "", R"(,"topology.kubernetes.io/zone":"z1")"));
    world.node(make_node("b", "", R"(,"topology.kubernetes.io/zone":"z1")"));
    world.node(make_node("c", "", R"(,"topology.kubernetes.io/zone":"z2")"));
    const auto pod = facts(make_pod("p", "", kOwned));
    world.placed(make_pod("x", "", kOwned), "a");
    const Scores scores = topology_spread(world.cluster, *pod, world.nodes);
    EXPECT_LT(scores[0], scores[1]);
    EXPECT_LT(scores[1], scores[2]);
    EXPECT_THAT(topology_spread(world.cluster, *facts(make_pod("alone")), world.nodes), ElementsAre(0, 0, 0));
}

TEST(Scores, SpreadThatIsNotBindingPrefersEmptyDomains) {
    World world;
    world.node(make_node("a", "", R"(,"rack":"1")"));
    world.node(make_node("b", "", R"(,"rack":"2")"));
    world.node(make_node("c"));
    const auto pod = facts(make_pod("p", R"("topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"rack",
        "whenUnsatisfiable":"ScheduleAnyway","labelSelector":{"matchLabels":{"app":"web"}}}])", kIsWeb));
    EXPECT_THAT(topology_spread(world.cluster, *pod, world.nodes), ElementsAre(100, 100, 0));
    world.placed(make_pod("x", "", kIsWeb), "a");
    EXPECT_THAT(topology_spread(world.cluster, *pod, world.nodes), ElementsAre(0, 100, 0));
}

std::string preferred(const char* kind, int weight) {
    return fmt::format(R"("affinity":{{"{}":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":{},"podAffinityTerm":)"
                       R"({{"topologyKey":"kubernetes.io/hostname","labelSelector":{{"matchLabels":{{"app":"web"}}}}}}}}]}}}})", kind, weight);
}

TEST(Scores, PreferredNearnessAndDistance) {
    World world;
    world.node(make_node("a"));
    world.node(make_node("b"));
    world.placed(make_pod("x", "", kIsWeb), "b");
    EXPECT_THAT(preferred_pods(world.cluster, *facts(make_pod("p", preferred("podAffinity", 5))), world.nodes), ElementsAre(0, 100));
    EXPECT_THAT(preferred_pods(world.cluster, *facts(make_pod("q", preferred("podAntiAffinity", 5))), world.nodes), ElementsAre(100, 0));
    EXPECT_THAT(preferred_pods(world.cluster, *facts(make_pod("r")), world.nodes), ElementsAre(0, 0));
}

TEST(Scores, PreferencesOfPodsPlacedAlreadyCountToo) {
    World world;
    world.node(make_node("a"));
    world.node(make_node("b"));
    world.placed(make_pod("x", preferred("podAntiAffinity", 5)), "b");
    EXPECT_THAT(preferred_pods(world.cluster, *facts(make_pod("w", "", kIsWeb)), world.nodes), ElementsAre(100, 0));
    EXPECT_THAT(preferred_pods(world.cluster, *facts(make_pod("v")), world.nodes), ElementsAre(0, 0));
}

TEST(Decide, AmongEqualsEveryNodeIsChosenSometime) {
    World world;
    for (const char* name : {"a", "b", "c"}) world.node(make_node(name));
    std::mt19937_64 random(7);
    std::map<std::string, int> chosen;
    const auto pod = facts(make_pod("p"));
    for (int i = 0; i < 300; ++i) ++chosen[decide(world.cluster, *pod, random).node->facts.name];
    ASSERT_EQ(chosen.size(), 3U);
    for (const auto& [name, times] : chosen) EXPECT_GT(times, 50) << name;
}

TEST(Decide, ReplicasLandOnDifferentNodes) {
    World world;
    for (const char* name : {"a", "b", "c"}) world.node(make_node(name));
    std::mt19937_64 random(7);
    std::map<std::string, int> chosen;
    for (int i = 0; i < 9; ++i) {
        const auto pod = facts(make_pod("p" + std::to_string(i), requests("100m", "64Mi"), kOwned));
        const std::string node = decide(world.cluster, *pod, random).node->facts.name;
        world.cluster.place(pod, node, true);
        ++chosen[node];
    }
    EXPECT_THAT(chosen, ElementsAre(std::pair("a", 3), std::pair("b", 3), std::pair("c", 3)));
}

}  // namespace
}  // namespace sluice::scheduler::testing
