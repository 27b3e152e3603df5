// Sync with a fake engine: when it publishes, what it publishes, and what it does when the engine refuses.
#include "agent/sync/sync.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/sync/trigger_time.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/networking/v1/servicecidr.pb.h"

namespace sluice::sync {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::chrono_literals;

class FakeEngine final : public dataplane::Engine {
public:
    Result<void> replace_all(const image::Node& given, std::span<const image::Service> all) override {
        calls.push_back("replace_all " + std::to_string(all.size()));
        if (fail > 0 && fail-- > 0) return make_error(Code::kResourceExhausted, "full");
        node = given;
        services.clear();
        for (const auto& service : all) services[service.key] = service;
        return {};
    }
    Result<void> apply(const image::Change& change) override {
        calls.push_back("apply +" + std::to_string(change.upserts.size()) + " -" +
                        std::to_string(change.removals.size()));
        if (fail > 0 && fail-- > 0) return make_error(Code::kResourceExhausted, "full");
        for (const auto& service : change.upserts) services[service.key] = service;
        for (const auto& key : change.removals) services.erase(key);
        return {};
    }
    Result<void> set_node(const image::Node& given) override {
        calls.emplace_back("set_node");
        if (fail > 0 && fail-- > 0) return make_error(Code::kResourceExhausted, "full");
        node = given;
        return {};
    }
    Result<void> sync_devices() override {
        ++device_syncs;
        if (devices_fail) return make_error(Code::kUnavailable, "no such device");
        return {};
    }
    void reclaim() override {}
    [[nodiscard]] dataplane::EngineStatus status() const override { return {}; }

    int fail = 0;
    int device_syncs = 0;
    bool devices_fail = false;
    std::vector<std::string> calls;
    image::Node node;
    std::map<image::ServiceKey, image::Service> services;
};

netlink::Link link(const std::string& name, const std::vector<std::string>& addresses, bool route) {
    netlink::Link out;
    out.name = name;
    out.up = true;
    out.has_default_route = route;
    out.has_subnet = true;
    for (const auto& text : addresses) out.addresses.push_back(*IpAddress::parse(text));
    return out;
}

class SyncTest : public testing::Test {
protected:
    SyncTest() {
        SyncOptions options;
        options.node_name = "n1";
        Machine machine;
        machine.now = [this] { return now; };
        machine.links = [this]() -> Result<std::vector<netlink::Link>> { return links; };
        sync = std::make_unique<Sync>(engine, health, metrics, options, machine);
    }

    static client::Batch batch(const codec::KindInfo& kind, bool synced) {
        client::Batch out;
        out.kind = &kind;
        out.synced = synced;
        return out;
    }
    static client::Delta service(const std::string& name, const std::string& ip) {
        auto made = std::make_shared<compile::corev1::Service>();
        made->mutable_metadata()->set_namespace_("d");
        made->mutable_metadata()->set_name(name);
        made->mutable_spec()->set_clusterip(ip);
        made->mutable_spec()->add_ports()->set_port(80);
        return {"d/" + name, made};
    }
    void give(client::Batch given) {
        std::vector<watch::Event> events;
        events.emplace_back(std::move(given));
        sync->step(std::move(events));
    }
    void give(const codec::KindInfo& kind, client::Delta delta, bool synced = false) {
        auto made = batch(kind, synced);
        made.deltas.push_back(std::move(delta));
        give(std::move(made));
    }
    void start() {
        give(watch::services_kind(), service("a", "10.96.0.1"), true);
        give(batch(watch::endpoint_slices_kind(), true));
        give(batch(watch::nodes_kind(), true));
        client::Batch cidrs = batch(watch::service_cidrs_kind(), false);
        cidrs.not_served = true;
        give(std::move(cidrs));
    }

    Clock::time_point now{1h};
    std::vector<netlink::Link> links = {link("eth0", {"192.0.2.1"}, true),
                                        link("eth1", {"198.51.100.1"}, false)};
    FakeEngine engine;
    health::State health;
    health::Metrics metrics;
    std::unique_ptr<Sync> sync;
};

TEST_F(SyncTest, NothingIsPublishedBeforeServicesAndSlicesAreListed) {
    give(watch::services_kind(), service("a", "10.96.0.1"), true);
    now += 1h;
    sync->step({});
    EXPECT_THAT(engine.calls, IsEmpty());
    give(batch(watch::endpoint_slices_kind(), true));
    EXPECT_THAT(engine.calls, IsEmpty());
    now += kOptionalGrace;
    sync->step({});
    EXPECT_THAT(engine.calls, ElementsAre("replace_all 1"));
}

TEST_F(SyncTest, ANodeIsReadyOnceItsFirstPublishIsInForce) {
    const auto later = [] { return std::chrono::system_clock::now() + 2 * health::kHealthyDelay; };
    give(watch::services_kind(), service("a", "10.96.0.1"), true);
    // Half of the state is here and the API server is away: alive for ever, not ready.
    EXPECT_TRUE(health.alive(later()));
    EXPECT_FALSE(health.ready(std::chrono::system_clock::now()));
    engine.fail = 1;
    start();
    // An engine that refuses is another matter.
    EXPECT_FALSE(health.ready(std::chrono::system_clock::now()));
    EXPECT_TRUE(health.alive(std::chrono::system_clock::now()));
    EXPECT_FALSE(health.alive(later()));
    now += kMinRetry;
    sync->step({});
    EXPECT_TRUE(health.ready(std::chrono::system_clock::now()));
    EXPECT_TRUE(health.alive(later()));
}

TEST_F(SyncTest, TheOwnNodeIsWaitedForNoLongerThanItIsListed) {
    start();
    EXPECT_THAT(engine.calls, ElementsAre("replace_all 1"));
    EXPECT_TRUE(sync->following());
}

TEST_F(SyncTest, AfterwardsOnlyDifferencesArePublished) {
    start();
    give(watch::services_kind(), service("b", "10.96.0.2"));
    give(watch::services_kind(), service("b", "10.96.0.2"));
    give(watch::services_kind(), {"d/a", nullptr});
    EXPECT_THAT(engine.calls, ElementsAre("replace_all 1", "apply +1 -0", "apply +0 -1"));
    EXPECT_THAT(engine.services, SizeIs(1));
}

TEST_F(SyncTest, ARefusedChangeIsOwedAndTriedAgainWithLaterOnesGoingAhead) {
    start();
    engine.fail = 1;
    give(watch::services_kind(), service("b", "10.96.0.2"));
    give(watch::services_kind(), service("c", "10.96.0.3"));
    EXPECT_THAT(engine.services, SizeIs(2));
    EXPECT_LE(sync->wake_at(), now + kMinRetry);
    now += kMinRetry;
    sync->step({});
    EXPECT_THAT(engine.services, SizeIs(3));
    EXPECT_THAT(engine.calls, ElementsAre("replace_all 1", "apply +1 -0", "apply +1 -0", "apply +1 -0"));
}

TEST_F(SyncTest, AnOwedServiceThatIsDeletedMeanwhileIsNotBroughtBack) {
    start();
    engine.fail = 1;
    give(watch::services_kind(), service("b", "10.96.0.2"));
    give(watch::services_kind(), {"d/b", nullptr});
    now += kMaxRetry;
    sync->step({});
    EXPECT_THAT(engine.services, SizeIs(1));
}

TEST_F(SyncTest, AfterFiveFailuresEverythingIsPublishedAnew) {
    start();
    engine.fail = kReplaceAfterFailures;
    give(watch::services_kind(), service("b", "10.96.0.2"));
    for (int i = 0; i < kReplaceAfterFailures; ++i) {
        now += kMaxRetry;
        sync->step({});
    }
    EXPECT_EQ(engine.calls.back(), "replace_all 2");
    EXPECT_THAT(engine.services, SizeIs(2));
}

TEST_F(SyncTest, AnEngineThatRefusesTheFirstStateIsAskedAgain) {
    engine.fail = 2;
    start();
    EXPECT_FALSE(sync->following());
    now += kMinRetry;
    sync->step({});
    now += kMinRetry * 2;
    sync->step({});
    EXPECT_TRUE(sync->following());
}

TEST_F(SyncTest, AChangeOfLinksIsFollowed) {
    start();
    const int before = engine.device_syncs;
    links[0].addresses = {*IpAddress::parse("192.0.2.9")};
    std::vector<watch::Event> events;
    events.emplace_back(watch::LinksChanged{});
    sync->step(std::move(events));
    EXPECT_EQ(engine.device_syncs, before + 1);
    EXPECT_EQ(engine.calls.back(), "set_node");
    EXPECT_THAT(engine.node.nodeport_addresses,
                ElementsAre(*IpAddress::parse("192.0.2.9"), *IpAddress::parse("198.51.100.1")));
    EXPECT_EQ(engine.node.masquerade_v4, *IpAddress::parse("192.0.2.9"));
}

TEST_F(SyncTest, ALinksAddressThatTookTwoTriesLeavesTheNodeHealthy) {
    start();
    links[0].addresses = {*IpAddress::parse("192.0.2.9")};
    engine.fail = 1;
    std::vector<watch::Event> events;
    events.emplace_back(watch::LinksChanged{});
    sync->step(std::move(events));
    const auto later = std::chrono::system_clock::now() + 2 * health::kHealthyDelay;
    EXPECT_FALSE(health.ready(later));
    now += kMinRetry;
    sync->step({});
    EXPECT_THAT(engine.node.nodeport_addresses, testing::Contains(*IpAddress::parse("192.0.2.9")));
    EXPECT_TRUE(health.ready(later));
}

TEST_F(SyncTest, ADeviceThatCannotBeAttachedToHoldsNoChangeBack) {
    engine.devices_fail = true;
    start();
    for (int i = 0; i < 2 * kReplaceAfterFailures; ++i) {
        now += kDeviceRetry;
        sync->step({});
    }
    give(watch::services_kind(), service("b", "10.96.0.2"));
    EXPECT_THAT(engine.calls, ElementsAre("replace_all 1", "apply +1 -0"));
    EXPECT_EQ(engine.device_syncs, 1 + 2 * kReplaceAfterFailures);
}

TEST_F(SyncTest, ServiceCidrsOfTheApiReachTheEngine) {
    start();
    auto made = std::make_shared<::k8s::io::api::networking::v1::ServiceCIDR>();
    made->mutable_metadata()->set_name("kubernetes");
    made->mutable_spec()->add_cidrs("10.96.0.0/12");
    give(watch::service_cidrs_kind(), {"kubernetes", made});
    EXPECT_THAT(engine.node.service_cidrs, ElementsAre(*IpPrefix::parse("10.96.0.0/12")));
}

TEST_F(SyncTest, TheOwnNodesAddressesAndDeletionAreFollowed) {
    start();
    EXPECT_TRUE(health.node_eligible());
    auto made = std::make_shared<::k8s::io::api::core::v1::Node>();
    made->mutable_metadata()->set_name("n1");
    auto* address = made->mutable_status()->add_addresses();
    address->set_type("InternalIP");
    address->set_address("198.51.100.1");
    give(watch::nodes_kind(), {"n1", made});
    EXPECT_THAT(engine.node.nodeport_addresses, ElementsAre(*IpAddress::parse("198.51.100.1")));
    EXPECT_EQ(engine.node.masquerade_v4, *IpAddress::parse("198.51.100.1"));
    EXPECT_TRUE(health.node_eligible());
    give(watch::nodes_kind(), {"n1", nullptr});
    EXPECT_FALSE(health.node_eligible());
}

// healthz is 503 on the taint ToBeDeletedByClusterAutoscaler and on a deletion that has begun; livez is not.
TEST_F(SyncTest, ATaintByTheAutoscalerOrADeletionUnderWayEndsHealthzAlone) {
    start();
    const auto now_wall = [] { return std::chrono::system_clock::now(); };
    auto made = std::make_shared<::k8s::io::api::core::v1::Node>();
    made->mutable_metadata()->set_name("n1");
    made->mutable_spec()->add_taints()->set_key("node.kubernetes.io/unreachable");
    give(watch::nodes_kind(), {"n1", made});
    EXPECT_EQ(health.healthz(now_wall()).status, 200);
    auto tainted = std::make_shared<::k8s::io::api::core::v1::Node>(*made);
    tainted->mutable_spec()->add_taints()->set_key("ToBeDeletedByClusterAutoscaler");
    give(watch::nodes_kind(), {"n1", tainted});
    EXPECT_EQ(health.healthz(now_wall()).status, 503);
    EXPECT_EQ(health.livez(now_wall()).status, 200);
    give(watch::nodes_kind(), {"n1", made});
    EXPECT_EQ(health.healthz(now_wall()).status, 200);
    auto deleting = std::make_shared<::k8s::io::api::core::v1::Node>(*made);
    deleting->mutable_metadata()->mutable_deletiontimestamp()->set_seconds(1);
    give(watch::nodes_kind(), {"n1", deleting});
    EXPECT_EQ(health.healthz(now_wall()).status, 503);
    EXPECT_EQ(health.livez(now_wall()).status, 200);
}

// Only the own Node counts, whatever else a server sends.
TEST_F(SyncTest, AnotherNodesTaintIsNoneOfOurs) {
    start();
    auto made = std::make_shared<::k8s::io::api::core::v1::Node>();
    made->mutable_metadata()->set_name("n2");
    made->mutable_spec()->add_taints()->set_key("ToBeDeletedByClusterAutoscaler");
    give(watch::nodes_kind(), {"n2", made});
    EXPECT_TRUE(health.node_eligible());
}

// Topology: the own Node's zone label decides, and a change of it is followed.
TEST_F(SyncTest, TheZoneOfTheOwnNodeDecidesByHints) {
    start();
    auto slice = std::make_shared<compile::discoveryv1::EndpointSlice>();
    slice->mutable_metadata()->set_namespace_("d");
    slice->mutable_metadata()->set_name("a-1");
    (*slice->mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = "a";
    slice->set_addresstype("IPv4");
    auto* port = slice->add_ports();
    port->set_name("");
    port->set_port(8080);
    for (const char* zone : {"z1", "z2"}) {
        auto* endpoint = slice->add_endpoints();
        endpoint->add_addresses(std::string("10.1.0.") + zone[1]);
        endpoint->mutable_hints()->add_forzones()->set_name(zone);
    }
    give(watch::endpoint_slices_kind(), {"d/a-1", slice});
    const auto backends = [&] { return engine.services.begin()->second.internal.backends; };
    EXPECT_THAT(backends(), SizeIs(2));
    for (const char* zone : {"z1", "z2"}) {
        auto made = std::make_shared<::k8s::io::api::core::v1::Node>();
        made->mutable_metadata()->set_name("n1");
        (*made->mutable_metadata()->mutable_labels())["topology.kubernetes.io/zone"] = zone;
        give(watch::nodes_kind(), {"n1", made});
        ASSERT_THAT(backends(), SizeIs(1));
        EXPECT_EQ(backends()[0].address, *IpAddress::parse(std::string("10.1.0.") + zone[1]));
    }
}

// kubeproxy_network_programming_duration_seconds: from the annotation to success, not for the first list.
TEST_F(SyncTest, TheTriggerTimeIsMeasuredOnceAndNotForTheFirstList) {
    const auto slice = [](const std::string& address) {
        auto made = std::make_shared<compile::discoveryv1::EndpointSlice>();
        made->mutable_metadata()->set_namespace_("d");
        made->mutable_metadata()->set_name("a-1");
        (*made->mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = "a";
        (*made->mutable_metadata()->mutable_annotations())["endpoints.kubernetes.io/last-change-trigger-time"] =
            "2020-01-01T00:00:00Z";
        made->set_addresstype("IPv4");
        auto* port = made->add_ports();
        port->set_name("");
        port->set_port(8080);
        made->add_endpoints()->add_addresses(address);
        return client::Delta{"d/a-1", made};
    };
    const auto count = [&] {
        const std::string text = metrics.render();
        const std::string name = "\nkubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} ";
        const auto at = text.find(name);
        return at == std::string::npos ? std::string("none") : text.substr(at + name.size(), 1);
    };
    give(watch::endpoint_slices_kind(), slice("10.1.0.1"), true);
    start();
    EXPECT_EQ(count(), "0");
    give(watch::endpoint_slices_kind(), slice("10.1.0.2"));
    EXPECT_EQ(count(), "1");
    give(watch::services_kind(), service("b", "10.96.0.2"));
    EXPECT_EQ(count(), "1");
}

std::shared_ptr<::k8s::io::api::core::v1::Node> own_node(const std::vector<std::string>& cidrs) {
    auto made = std::make_shared<::k8s::io::api::core::v1::Node>();
    made->mutable_metadata()->set_name("n1");
    for (const auto& cidr : cidrs) made->mutable_spec()->add_podcidrs(cidr);
    return made;
}

// detectLocal NodeCIDR: nothing is published before the own Node has ranges.
TEST_F(SyncTest, WithNodeCidrTheNodesRangesAreWaitedFor) {
    SyncOptions options;
    options.node_name = "n1";
    options.detect.mode = DetectLocal::Mode::kNodeCidr;
    Machine machine;
    machine.now = [this] { return now; };
    machine.links = [this]() -> Result<std::vector<netlink::Link>> { return links; };
    sync = std::make_unique<Sync>(engine, health, metrics, options, machine);
    start();
    give(watch::nodes_kind(), {"n1", own_node({})});
    now += 1h;
    sync->step({});
    EXPECT_THAT(engine.calls, IsEmpty());
    give(watch::nodes_kind(), {"n1", own_node({"10.1.0.0/24", "fd01::/64"})});
    EXPECT_THAT(engine.calls, ElementsAre("replace_all 1"));
    EXPECT_THAT(engine.node.cluster_cidrs, SizeIs(2));
}

// UDP: flows are forgotten also when the last endpoint goes: the engine hears of the emptied sets.
TEST_F(SyncTest, TheLastEndpointOfAUdpServiceLeavesTheEngineToo) {
    start();
    auto made = std::make_shared<compile::corev1::Service>();
    made->mutable_metadata()->set_namespace_("d");
    made->mutable_metadata()->set_name("dns");
    made->mutable_spec()->set_clusterip("10.96.0.53");
    made->mutable_spec()->add_externalips("203.0.113.5");
    auto* port = made->mutable_spec()->add_ports();
    port->set_protocol("UDP");
    port->set_port(53);
    port->set_nodeport(30053);
    give(watch::services_kind(), {"d/dns", made});
    auto slice = std::make_shared<compile::discoveryv1::EndpointSlice>();
    slice->mutable_metadata()->set_namespace_("d");
    slice->mutable_metadata()->set_name("dns-1");
    (*slice->mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = "dns";
    slice->set_addresstype("IPv4");
    auto* of = slice->add_ports();
    of->set_name("");
    of->set_protocol("UDP");
    of->set_port(5353);
    slice->add_endpoints()->add_addresses("10.1.0.1");
    give(watch::endpoint_slices_kind(), {"d/dns-1", slice});
    const image::ServiceKey key{"d/dns", "", Protocol::kUdp, IpFamily::kIpv4};
    ASSERT_THAT(engine.services.at(key).internal.backends, SizeIs(1));
    ASSERT_THAT(engine.services.at(key).external.backends, SizeIs(1));
    give(watch::endpoint_slices_kind(), {"d/dns-1", nullptr});
    for (const auto* set : {&engine.services.at(key).internal, &engine.services.at(key).external,
                            &engine.services.at(key).inside}) {
        EXPECT_THAT(set->backends, IsEmpty());
        EXPECT_FALSE(set->when_empty_drop);
    }
    EXPECT_THAT(engine.services.at(key).frontends, SizeIs(3));
}

TEST(DetectLocal, ABridgeOrAPrefixIsHandedToTheEngine) {
    NodeInputs inputs;
    inputs.detect = {DetectLocal::Mode::kBridgeInterface, {}, "cbr0", {}};
    EXPECT_TRUE(make_node(inputs).detect_by_device);
    EXPECT_EQ(make_node(inputs).pod_bridge, "cbr0");
    inputs.detect = {DetectLocal::Mode::kInterfaceNamePrefix, {}, {}, "veth"};
    EXPECT_EQ(make_node(inputs).pod_prefix, "veth");
    inputs.detect = {DetectLocal::Mode::kNone, {}, {}, {}};
    EXPECT_FALSE(make_node(inputs).detect_by_device);
}

TEST(NodePortAddresses, AFamilyWithoutARangeAcceptsOnAllItsAddresses) {
    NodeInputs inputs;
    inputs.links = {link("eth0", {"192.0.2.1", "198.51.100.1", "2001:db8::1"}, true)};
    inputs.nodeports = *NodePortAddresses::parse({"192.0.2.0/24"});
    EXPECT_THAT(make_node(inputs).nodeport_addresses,
                ElementsAre(*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")));
}

// NodePorts answer on primary node addresses, never loopback, even where ranges name it.
TEST(NodePortAddresses, ArePrimaryAndNeverLoopback) {
    NodeInputs inputs;
    inputs.links = {link("eth0", {"192.0.2.1", "192.0.2.2"}, true), link("eth1", {"198.51.100.1"}, false)};
    auto lo = link("lo", {"127.0.0.1", "::1", "192.0.2.9"}, false);
    lo.loopback = true;
    inputs.links.push_back(lo);
    NodeObject object;
    object.addresses = {*IpAddress::parse("192.0.2.1")};
    inputs.object = &object;
    EXPECT_THAT(make_node(inputs).nodeport_addresses, ElementsAre(*IpAddress::parse("192.0.2.1")));
    inputs.nodeports = *NodePortAddresses::parse({"127.0.0.0/8", "0.0.0.0/0", "::/0"});
    EXPECT_THAT(make_node(inputs).nodeport_addresses,
                ElementsAre(*IpAddress::parse("192.0.2.1"), *IpAddress::parse("192.0.2.2"),
                            *IpAddress::parse("198.51.100.1")));
    EXPECT_FALSE(NodePortAddresses::parse({"primary", "192.0.2.0/24"}));
}

TEST(TriggerTime, ReadsRfc3339AndNothingElse) {
    const auto at = [](const char* text) {
        const auto time = parse_trigger_time(text);
        return time ? std::chrono::duration_cast<std::chrono::milliseconds>(time->time_since_epoch()).count()
                    : -1;
    };
    EXPECT_EQ(at("1970-01-01T00:00:01Z"), 1000);
    EXPECT_EQ(at("1970-01-01T02:00:00.25+01:00"), 3'600'250);
    EXPECT_EQ(at("1970-01-01T00:00:00.123456789Z"), 123);
    for (const char* bad : {"", "1970-01-01", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00.Z",
                            "1970-01-01T00:00:00", "1970-01-01T00:00:00Zx"}) {
        EXPECT_EQ(at(bad), -1) << bad;
    }
}

}  // namespace
}  // namespace sluice::sync
