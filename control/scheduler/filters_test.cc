// Each filter: which pods may run on which nodes, and in which words they may not.
#include "control/scheduler/filters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/scheduler/decide.h"
#include "control/scheduler/test_objects.h"

namespace sluice::scheduler::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Reasons = std::vector<std::string>;

struct World {
    Cluster cluster;
    void node(const Node& object) {
        auto facts = read_node(object);
        ASSERT_TRUE(facts);
        cluster.set_node(std::move(*facts));
    }
    void placed(const std::shared_ptr<const Pod>& pod, const std::string& node) {
        cluster.place(facts(assigned(pod, node)), node, false);
    }
    Reasons refuses(const std::shared_ptr<const Pod>& pod, const std::string& node) {
        const PodPointer read = facts(pod);
        const Prepared prepared = prepare(cluster, *read);
        Reasons out;
        const auto failed = check(prepared, *cluster.find_node(node), &out);
        EXPECT_EQ(failed.has_value(), !out.empty());
        return out;
    }
};

TEST(Filters, APodWithoutWishesRunsAnywhere) {
    World world;
    world.node(make_node("a"));
    EXPECT_THAT(world.refuses(make_pod("p"), "a"), IsEmpty());
}

TEST(Filters, Unschedulable) {
    World world;
    world.node(make_node("a", R"("unschedulable":true)"));
    EXPECT_THAT(world.refuses(make_pod("p"), "a"), ElementsAre("node(s) were unschedulable"));
    EXPECT_THAT(world.refuses(make_pod("d", R"("tolerations":[{"key":"node.kubernetes.io/unschedulable",
        "operator":"Exists","effect":"NoSchedule"}])"), "a"), IsEmpty());
}

struct TaintCase {
    const char* taint;
    const char* toleration;  // empty: none
    bool runs;
};
class Taints : public ::testing::TestWithParam<TaintCase> {};
TEST_P(Taints, KeepPodsAwayUnlessTolerated) {
    const TaintCase& c = GetParam();
    World world;
    world.node(make_node("a", fmt::format(R"("taints":[{}])", c.taint)));
    const auto reasons = world.refuses(make_pod("p", fmt::format(R"("tolerations":[{}])", c.toleration)), "a");
    EXPECT_EQ(reasons.empty(), c.runs) << c.taint << " " << c.toleration;
}
constexpr const char* kTaint = R"({"key":"k","value":"v","effect":"NoSchedule"})";
INSTANTIATE_TEST_SUITE_P(
    All, Taints,
    ::testing::Values(
        TaintCase{kTaint, "", false},
        TaintCase{R"({"key":"k","value":"v","effect":"NoExecute"})", "", false},
        TaintCase{R"({"key":"k","value":"v","effect":"PreferNoSchedule"})", "", true},
        TaintCase{kTaint, R"({"key":"k","operator":"Exists"})", true},
        TaintCase{kTaint, R"({"operator":"Exists"})", true},
        TaintCase{kTaint, R"({"key":"k","value":"v"})", true},
        TaintCase{kTaint, R"({"key":"k","operator":"Equal","value":"w"})", false},
        TaintCase{kTaint, R"({"key":"k","operator":"Exists","effect":"NoExecute"})", false},
        TaintCase{kTaint, R"({"key":"j","operator":"Exists"})", false}));

TEST(Filters, TheTaintIsNamed) {
    World world;
    world.node(make_node("a", R"("taints":[{"key":"node.kubernetes.io/not-ready","effect":"NoExecute"},
        {"key":"other","value":"x","effect":"NoSchedule"}])"));
    EXPECT_THAT(world.refuses(make_pod("p"), "a"),
                ElementsAre("node(s) had untolerated taint {node.kubernetes.io/not-ready: }"));
    EXPECT_THAT(world.refuses(make_pod("q", R"("tolerations":[{"key":"node.kubernetes.io/not-ready",
        "operator":"Exists"}])"), "a"),
                ElementsAre("node(s) had untolerated taint {other: x}"));
}

struct AffinityCase {
    const char* spec;
    bool runs;
};
class NodeAffinity : public ::testing::TestWithParam<AffinityCase> {};
TEST_P(NodeAffinity, ChoosesByLabelsAndName) {
    World world;
    world.node(make_node("a", "", R"(,"disk":"ssd","cores":"8")"));
    const auto reasons = world.refuses(make_pod("p", GetParam().spec), "a");
    if (GetParam().runs) {
        EXPECT_THAT(reasons, IsEmpty()) << GetParam().spec;
    } else {
        EXPECT_THAT(reasons, ElementsAre("node(s) didn't match Pod's node affinity/selector"))
            << GetParam().spec;
    }
}
#define REQUIRED(terms) \
    R"("affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[)" terms "]}}}"
#define LABEL(key, op, values) \
    R"({"matchExpressions":[{"key":")" key R"(","operator":")" op R"(","values":[)" values "]}]}"
INSTANTIATE_TEST_SUITE_P(
    All, NodeAffinity,
    ::testing::Values(
        AffinityCase{R"("nodeSelector":{"disk":"ssd"})", true},
        AffinityCase{R"("nodeSelector":{"disk":"hdd"})", false},
        AffinityCase{R"("nodeSelector":{"gpu":"yes"})", false},
        AffinityCase{REQUIRED(LABEL("disk", "In", R"("hdd","ssd")")), true},
        AffinityCase{REQUIRED(LABEL("disk", "NotIn", R"("ssd")")), false},
        AffinityCase{REQUIRED(LABEL("gpu", "NotIn", R"("yes")")), true},
        AffinityCase{REQUIRED(LABEL("disk", "Exists", "")), true},
        AffinityCase{REQUIRED(LABEL("disk", "DoesNotExist", "")), false},
        AffinityCase{REQUIRED(LABEL("cores", "Gt", R"("7")")), true},
        AffinityCase{REQUIRED(LABEL("cores", "Gt", R"("8")")), false},
        AffinityCase{REQUIRED(LABEL("cores", "Lt", R"("9")")), true},
        AffinityCase{REQUIRED(LABEL("disk", "Gt", R"("1")")), false},
        AffinityCase{REQUIRED(""), false},
        AffinityCase{REQUIRED("{}"), false},
        AffinityCase{REQUIRED("{}," LABEL("disk", "Exists", "")), true},
        AffinityCase{REQUIRED(R"({"matchFields":[{"key":"metadata.name","operator":"In","values":["a"]}]})"), true},
        AffinityCase{REQUIRED(R"({"matchFields":[{"key":"metadata.name","operator":"NotIn","values":["a"]}]})"), false},
        AffinityCase{R"("nodeSelector":{"disk":"hdd"},)" REQUIRED(LABEL("disk", "Exists", "")), false}));

TEST(Filters, HostPorts) {
    World world;
    world.node(make_node("a"));
    const auto with_port = [](const std::string& name, const std::string& port) {
        return make_pod(name, R"("containers":[{"name":"c","ports":[{"containerPort":1,)" + port + "}]}]");
    };
    world.placed(with_port("one", R"("hostPort":80,"hostIP":"127.0.0.1")"), "a");
    const Reasons taken{"node(s) didn't have free ports for the requested pod ports"};
    EXPECT_EQ(world.refuses(with_port("p", R"("hostPort":80)"), "a"), taken);
    EXPECT_EQ(world.refuses(with_port("p", R"("hostPort":80,"hostIP":"0.0.0.0")"), "a"), taken);
    EXPECT_EQ(world.refuses(with_port("p", R"("hostPort":80,"hostIP":"127.0.0.1")"), "a"), taken);
    EXPECT_THAT(world.refuses(with_port("p", R"("hostPort":80,"hostIP":"10.0.0.1")"), "a"), IsEmpty());
    EXPECT_THAT(world.refuses(with_port("p", R"("hostPort":80,"protocol":"UDP")"), "a"), IsEmpty());
    EXPECT_THAT(world.refuses(with_port("p", R"("hostPort":81)"), "a"), IsEmpty());
}

TEST(Filters, AllShortResourcesAreNamed) {
    World world;
    world.node(make_node("a", "", "", R"("cpu":"1","memory":"1Gi","pods":"2","example.com/gpu":"1")"));
    EXPECT_THAT(world.refuses(make_pod("p", requests("1", "1Gi")), "a"), IsEmpty());
    world.placed(make_pod("one", requests("500m", "512Mi")), "a");
    EXPECT_THAT(world.refuses(make_pod("p", requests("500m", "512Mi")), "a"), IsEmpty());
    EXPECT_THAT(world.refuses(make_pod("p", requests("501m", "513Mi")), "a"),
                ElementsAre("Insufficient cpu", "Insufficient memory"));
    EXPECT_THAT(world.refuses(make_pod("p", R"("containers":[{"name":"c","resources":{"requests":
        {"example.com/gpu":"2","ephemeral-storage":"1"}}}])"), "a"),
                ElementsAre("Insufficient ephemeral-storage", "Insufficient example.com/gpu"));
    world.placed(make_pod("two"), "a");
    EXPECT_THAT(world.refuses(make_pod("p"), "a"), ElementsAre("Too many pods"));
}

TEST(Resources, InitContainersSidecarsAndOverhead) {
    const auto cpu = [](const std::string& spec) {
        return facts(make_pod("p", spec))->resources.requests.milli_cpu;
    };
    const std::string main = R"("containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}},
        {"name":"b","resources":{"requests":{"cpu":"2"}}}])";
    EXPECT_EQ(cpu(main), 3'000);
    const auto init = [](const std::string& cpus, const std::string& more = "") {
        return R"({"name":"i","resources":{"requests":{"cpu":")" + cpus + R"("}})" + more + "}";
    };
    const std::string sidecar = R"(,"restartPolicy":"Always")";
    EXPECT_EQ(cpu(main + R"(,"initContainers":[)" + init("2") + "," + init("5") + "]"), 5'000);
    EXPECT_EQ(cpu(main + R"(,"initContainers":[)" + init("1", sidecar) + "]"), 4'000);
    // The sidecar runs while the second init container does; not while the first one did.
    EXPECT_EQ(cpu(main + R"(,"initContainers":[)" + init("5") + "," + init("1", sidecar) + "," + init("4500m") + "]"), 5'500);
    EXPECT_EQ(cpu(main + R"(,"overhead":{"cpu":"250m"})"), 3'250);
}

std::string near(const char* kind, const std::string& terms) {
    return fmt::format(R"("affinity":{{"{}":{{"requiredDuringSchedulingIgnoredDuringExecution":[{}]}}}})", kind, terms);
}
const std::string kWebInZone = R"({"topologyKey":"topology.kubernetes.io/zone","labelSelector":{"matchLabels":{"app":"web"}}})";
const std::string kWebOnHost = R"({"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"web"}}})";
const std::string kIsWeb = R"(,"labels":{"app":"web"})";
const std::string kZone1 = R"(,"topology.kubernetes.io/zone":"z1")";
const std::string kZone2 = R"(,"topology.kubernetes.io/zone":"z2")";

struct Zones : ::testing::Test {
    World world;
    void SetUp() override {
        world.node(make_node("a", "", kZone1));
        world.node(make_node("b", "", kZone1));
        world.node(make_node("c", "", kZone2));
        world.node(make_node("bare"));
    }
};

TEST_F(Zones, RequiredAffinityNeedsAMatchingPodInTheDomain) {
    world.placed(make_pod("w", "", kIsWeb), "a");
    const auto pod = make_pod("p", near("podAffinity", kWebInZone));
    EXPECT_THAT(world.refuses(pod, "a"), IsEmpty());
    EXPECT_THAT(world.refuses(pod, "b"), IsEmpty());
    EXPECT_THAT(world.refuses(pod, "c"), ElementsAre("node(s) didn't match pod affinity rules"));
    EXPECT_THAT(world.refuses(pod, "bare"), ElementsAre("node(s) didn't match pod affinity rules"));
}

TEST_F(Zones, TheFirstPodOfAGroupThatWantsItselfMayStart) {
    const auto pod = make_pod("p", near("podAffinity", kWebInZone), kIsWeb);
    EXPECT_THAT(world.refuses(pod, "a"), IsEmpty());
    EXPECT_THAT(world.refuses(pod, "bare"), ElementsAre("node(s) didn't match pod affinity rules"));
    EXPECT_THAT(world.refuses(make_pod("q", near("podAffinity", kWebInZone)), "a"),
                ElementsAre("node(s) didn't match pod affinity rules"));
    world.placed(make_pod("w", "", kIsWeb), "c");
    EXPECT_THAT(world.refuses(pod, "a"), ElementsAre("node(s) didn't match pod affinity rules"));
}

TEST_F(Zones, AntiAffinityWorksBothWays) {
    world.placed(make_pod("w", "", kIsWeb), "a");
    const auto pod = make_pod("p", near("podAntiAffinity", kWebInZone));
    EXPECT_THAT(world.refuses(pod, "b"), ElementsAre("node(s) didn't match pod anti-affinity rules"));
    EXPECT_THAT(world.refuses(pod, "c"), IsEmpty());
    EXPECT_THAT(world.refuses(pod, "bare"), IsEmpty());
    world.placed(pod, "c");
    const auto web = make_pod("x", "", kIsWeb);
    EXPECT_THAT(world.refuses(web, "c"), ElementsAre("node(s) didn't satisfy existing pods anti-affinity rules"));
    EXPECT_THAT(world.refuses(web, "a"), IsEmpty());
    EXPECT_THAT(world.refuses(make_pod("y"), "c"), IsEmpty());
    world.cluster.remove_pod("default/p");
    EXPECT_THAT(world.refuses(web, "c"), IsEmpty());
}

TEST_F(Zones, TermsSpeakOfTheirOwnNamespaceUnlessTheyNameOthers) {
    auto other = std::make_shared<Pod>(*make_pod("w", "", kIsWeb));
    other->mutable_metadata()->set_namespace_("shop");
    world.placed(other, "a");
    EXPECT_THAT(world.refuses(make_pod("p", near("podAntiAffinity", kWebOnHost)), "a"), IsEmpty());
    const std::string refused = "node(s) didn't match pod anti-affinity rules";
    const auto with = [&](const std::string& more) {
        return make_pod("p", near("podAntiAffinity", kWebOnHost.substr(0, kWebOnHost.size() - 1) + more + "}"));
    };
    EXPECT_THAT(world.refuses(with(R"(,"namespaces":["shop"])"), "a"), ElementsAre(refused));
    EXPECT_THAT(world.refuses(with(R"(,"namespaceSelector":{})"), "a"), ElementsAre(refused));
    const auto team = with(R"(,"namespaceSelector":{"matchLabels":{"team":"x"}})");
    EXPECT_THAT(world.refuses(team, "a"), IsEmpty());
    world.cluster.set_namespace("shop", {{"team", "x"}});
    EXPECT_THAT(world.refuses(team, "a"), ElementsAre(refused));
}

std::string spread(const std::string& key, int skew, const std::string& more = "") {
    return fmt::format(R"("topologySpreadConstraints":[{{"maxSkew":{},"topologyKey":"{}","whenUnsatisfiable":"DoNotSchedule",)"
                       R"("labelSelector":{{"matchLabels":{{"app":"web"}}}}{}}}])", skew, key, more);
}
const std::string kSkewed = "node(s) didn't match pod topology spread constraints";

TEST_F(Zones, SpreadKeepsTheSkew) {
    const auto pod = make_pod("p", spread(kZoneLabel, 1), kIsWeb);
    EXPECT_THAT(world.refuses(pod, "a"), IsEmpty());
    EXPECT_THAT(world.refuses(pod, "bare"), ElementsAre(kSkewed + " (missing required label)"));
    world.placed(make_pod("w", "", kIsWeb), "a");
    EXPECT_THAT(world.refuses(pod, "a"), ElementsAre(kSkewed));
    EXPECT_THAT(world.refuses(pod, "b"), ElementsAre(kSkewed));
    EXPECT_THAT(world.refuses(pod, "c"), IsEmpty());
    EXPECT_THAT(world.refuses(make_pod("q", spread(kZoneLabel, 2), kIsWeb), "a"), IsEmpty());
    // A pod that does not count itself adds nothing to the skew.
    EXPECT_THAT(world.refuses(make_pod("r", spread(kZoneLabel, 1)), "a"), IsEmpty());
}

TEST_F(Zones, SpreadLeavesOutPodsOnTheirWayOut) {
    world.placed(make_pod("w", "", kIsWeb + R"(,"deletionTimestamp":"2026-01-01T00:00:00Z")"), "a");
    EXPECT_THAT(world.refuses(make_pod("p", spread(kZoneLabel, 1), kIsWeb), "a"), IsEmpty());
}

TEST_F(Zones, SpreadWithTooFewDomainsImaginesAnEmptyOne) {
    world.placed(make_pod("w", "", kIsWeb), "a");
    world.placed(make_pod("x", "", kIsWeb), "c");
    EXPECT_THAT(world.refuses(make_pod("p", spread(kZoneLabel, 1), kIsWeb), "a"), IsEmpty());
    EXPECT_THAT(world.refuses(make_pod("q", spread(kZoneLabel, 1, R"(,"minDomains":3)"), kIsWeb), "a"),
                ElementsAre(kSkewed));
}

TEST_F(Zones, SpreadCountsOnlyNodesThePodMayChoose) {
    world.placed(make_pod("w", "", kIsWeb), "a");
    const std::string in_zone_1 = R"(,"nodeSelector":{"topology.kubernetes.io/zone":"z1"})";
    EXPECT_THAT(world.refuses(make_pod("p", spread(kHostnameLabel, 1) + in_zone_1, kIsWeb), "a"),
                ElementsAre(kSkewed));
    world.placed(make_pod("x", "", kIsWeb), "b");
    EXPECT_THAT(world.refuses(make_pod("p", spread(kHostnameLabel, 1) + in_zone_1, kIsWeb), "a"), IsEmpty());
    // With the policy to ignore it, the empty node in zone 2 counts.
    EXPECT_THAT(world.refuses(make_pod("q", spread(kHostnameLabel, 1, R"(,"nodeAffinityPolicy":"Ignore")") + in_zone_1, kIsWeb), "a"),
                ElementsAre(kSkewed));
}

TEST(Decide, SaysInKubernetesWordsWhyNot) {
    World world;
    std::mt19937_64 random(1);
    const auto message = [&](const std::shared_ptr<const Pod>& pod) {
        const PodPointer read = facts(pod);
        const Decision decision = decide(world.cluster, *read, random);
        EXPECT_EQ(decision.node, nullptr);
        return decision.message;
    };
    EXPECT_EQ(message(make_pod("p")), "no nodes available to schedule pods");
    world.node(make_node("a", R"("taints":[{"key":"k","value":"v","effect":"NoSchedule"}])"));
    world.node(make_node("b"));
    EXPECT_EQ(message(make_pod("p", requests("100", "1"))),
              "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}.");
    for (int i = 0; i < 10; ++i) world.node(make_node("n" + std::to_string(i), R"("unschedulable":true)"));
    EXPECT_EQ(message(make_pod("p", requests("100", "100Gi"))),
              "0/12 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, "
              "1 node(s) had untolerated taint {k: v}, 10 node(s) were unschedulable.");
    EXPECT_EQ(message(make_pod("d", REQUIRED(R"({"matchFields":[{"key":"metadata.name","operator":"In","values":["a"]}]})"))),
              "0/12 nodes are available: 1 node(s) had untolerated taint {k: v}, "
              "11 node(s) didn't satisfy plugin(s) [NodeAffinity].");
}

TEST(Model, WhatTheServerShouldHaveRefusedIsAnErrorThatNamesIt) {
    const auto read = read_pod(make_pod("p", REQUIRED(LABEL("a", "Near", ""))));
    ASSERT_FALSE(read);
    EXPECT_THAT(read.error().message, ::testing::HasSubstr("default/p"));
    EXPECT_THAT(read.error().message, ::testing::HasSubstr("Near"));
    EXPECT_FALSE(read_pod(make_pod("p", requests("-1", "1"))));
}

}  // namespace
}  // namespace sluice::scheduler::testing
