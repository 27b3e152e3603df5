// What a person is told about a packet, on an image in plain memory.
#include "dataplane/ebpf/explain.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/flow.h"
// clang-format on
#include "dataplane/ebpf/inspect_affinity.h"
#include "dataplane/ebpf/inspect_flows.h"
#include "dataplane/ebpf/inspect_views.h"
#include "dataplane/image/frontends.h"
#include "dataplane/image/publisher.h"

namespace sluice::dataplane {
namespace {

IpAddress ip(const char* text) {
    return IpAddress::parse(text).value();
}

class ExplainTest : public testing::Test {
protected:
    ExplainTest() : memory_(image::Capacities{}) {
        image::Node node;
        node.masquerade_v4 = ip("192.0.2.1");
        node.service_cidrs = {IpPrefix::parse("10.96.0.0/16").value()};
        node.cluster_cidrs = {IpPrefix::parse("10.0.0.0/8").value()};
        EXPECT_TRUE(image::write_header(memory_.tables(), image::Capacities{},
                                        image::HeaderFacts{node, 1024, 2048, 42}, 2));
        publisher_ = std::make_unique<image::Publisher>(memory_.tables(), image::Carried{});
        const std::vector<IpAddress> addresses{ip("192.0.2.1")};
        EXPECT_TRUE(publisher_->set_node_addresses(addresses));
        image::Service web;
        web.key = {"default/web", "http", Protocol::kTcp, IpFamily::kIpv4};
        web.port = 80;
        web.frontends = {{IpAddress{}, 30080, image::Scope::kNodePort, true, true},
                         {ip("10.96.0.1"), 80, image::Scope::kAddress, false, false}};
        web.internal.backends = {{ip("10.0.0.5"), 8080, true, false, "default/web-1"}};
        web.external = web.internal;
        web.inside = web.internal;
        EXPECT_TRUE(publisher_->upsert(web));
    }
    [[nodiscard]] Explanation ask(const char* source, const char* destination, std::uint16_t port,
                                  Protocol protocol = Protocol::kTcp) const {
        Question question{ip(source), ip(destination), port, protocol, Origin::kGuess, 0, {}};
        question.node_addresses = {ip("192.0.2.1")};
        return explain_packet(memory_.tables(), question, nullptr);
    }
    [[nodiscard]] Explanation ask_from(Origin origin, const char* source, const char* destination,
                                       std::uint16_t port, std::uint16_t source_port = 0) const {
        Question question{ip(source), ip(destination), port, Protocol::kTcp, origin, source_port, {}};
        question.node_addresses = {ip("192.0.2.1")};
        return explain_packet(memory_.tables(), question, flows_);
    }
    // A load-balancer address with policy Local, one endpoint here and one elsewhere.
    void add_local_balancer() {
        image::Service service;
        service.key = {"default/lb", "", Protocol::kTcp, IpFamily::kIpv4};
        service.port = 443;
        service.frontends = {{ip("203.0.113.9"), 443, image::Scope::kAddress, true, false}};
        service.external.backends = {{ip("10.0.0.5"), 8443, true, false, "default/lb-1"}};
        service.inside.backends = {{ip("10.0.0.5"), 8443, true, false, "default/lb-1"},
                                   {ip("10.0.1.5"), 8443, false, false, "default/lb-2"}};
        service.internal = service.inside;
        EXPECT_TRUE(publisher_->upsert(service));
    }
    const sluice_flow_view* flows_ = nullptr;
    image::MemoryImage memory_;
    std::unique_ptr<image::Publisher> publisher_;
};

TEST_F(ExplainTest, PodToClusterIpKeepsItsSource) {
    const Explanation told = ask("10.0.0.9", "10.96.0.1", 80);
    EXPECT_EQ(told.verdict, "translate");
    ASSERT_TRUE(told.service);
    EXPECT_EQ(told.service->name, "default/web:http");
    ASSERT_EQ(told.candidates.size(), 1U);
    EXPECT_EQ(told.candidates[0].backend.target, "default/web-1");
    EXPECT_TRUE(told.candidates[0].backend.local);
    EXPECT_FALSE(told.masquerade);
}

TEST_F(ExplainTest, OutsideToClusterIpAndNodePortIsMasqueraded) {
    EXPECT_TRUE(ask("198.51.100.1", "10.96.0.1", 80).masquerade);
    const Explanation told = ask("198.51.100.1", "192.0.2.1", 30080);
    EXPECT_EQ(told.verdict, "translate");
    EXPECT_TRUE(told.frontend->nodeport);
    EXPECT_TRUE(told.masquerade);
    EXPECT_EQ(told.masquerade_address, ip("192.0.2.1"));
}

TEST_F(ExplainTest, RefusalDropAndPassSayWhy) {
    Explanation told = ask("10.0.0.9", "10.96.0.1", 81);
    EXPECT_EQ(told.verdict, "refuse");
    EXPECT_NE(told.reason.find("not one of its ports"), std::string::npos);
    told = ask("10.0.0.9", "10.96.7.7", 80);
    EXPECT_EQ(told.verdict, "drop");
    EXPECT_NE(told.reason.find("no service has the address"), std::string::npos);
    told = ask("10.0.0.9", "203.0.113.1", 80);
    EXPECT_EQ(told.verdict, "pass");
    EXPECT_EQ(ask("10.0.0.9", "192.0.2.1", 22).verdict, "pass");
}

TEST_F(ExplainTest, PolicyLocalBindsOutsideClientsOnlyAndSaysWhichSet) {
    add_local_balancer();
    const Explanation outside = ask_from(Origin::kOutside, "198.51.100.1", "203.0.113.9", 443);
    EXPECT_EQ(outside.set, "external");
    ASSERT_EQ(outside.candidates.size(), 1U);
    EXPECT_EQ(outside.candidates[0].backend.target, "default/lb-1");
    EXPECT_FALSE(outside.masquerade);  // "outside / external, policy Local: source kept"
    const Explanation pod = ask_from(Origin::kPod, "10.0.0.9", "203.0.113.9", 443);
    EXPECT_EQ(pod.set, "inside");
    ASSERT_EQ(pod.candidates.size(), 2U);
    EXPECT_DOUBLE_EQ(pod.candidates[0].backend.share, 0.5);
    EXPECT_FALSE(pod.masquerade);  // "pod / external, policy Local: all endpoints, source kept"
    const Explanation node = ask_from(Origin::kGuess, "192.0.2.7", "203.0.113.9", 443);
    EXPECT_EQ(node.origin, "outside");
    EXPECT_EQ(ask_from(Origin::kNode, "192.0.2.7", "203.0.113.9", 443).set, "inside");
}

TEST_F(ExplainTest, HairpinGetsTheNodesAddressForThatEndpointAlone) {
    add_local_balancer();
    const Explanation told = ask_from(Origin::kPod, "10.0.1.5", "203.0.113.9", 443);
    ASSERT_EQ(told.candidates.size(), 2U);
    EXPECT_FALSE(told.candidates[0].source_nat);
    EXPECT_TRUE(told.candidates[1].source_nat);
    EXPECT_FALSE(told.masquerade);
}

TEST_F(ExplainTest, SourceRangesAreSaidToHoldTheClientOrNot) {
    add_local_balancer();
    image::Service service;
    service.key = {"default/fenced", "", Protocol::kTcp, IpFamily::kIpv4};
    service.port = 80;
    service.frontends = {{ip("203.0.113.10"), 80, image::Scope::kAddress, true, true, true}};
    service.sources = {{ip("198.51.100.0"), ip("198.51.100.127")}};
    service.external.backends = {{ip("10.0.0.5"), 80, true, false, ""}};
    service.inside = service.internal = service.external;
    EXPECT_TRUE(publisher_->upsert(service));
    const Explanation in = ask_from(Origin::kOutside, "198.51.100.127", "203.0.113.10", 80);
    EXPECT_EQ(in.verdict, "translate");
    EXPECT_TRUE(in.frontend->restricted);
    ASSERT_EQ(in.service->sources.size(), 1U);
    EXPECT_EQ(in.service->sources[0], "198.51.100.0-198.51.100.127");
    // "not in a range: dropped", also pods.
    for (const auto origin : {Origin::kOutside, Origin::kPod}) {
        const Explanation out = ask_from(origin, "198.51.100.128", "203.0.113.10", 80);
        EXPECT_EQ(out.verdict, "drop");
        EXPECT_NE(out.reason.find("loadBalancerSourceRanges"), std::string::npos);
    }
}

TEST_F(ExplainTest, DirectReturnIsForOtherNodesEndpointsAndOutsideClients) {
    for (const auto& [way, name] : {std::pair{image::Forwarding::kTunnel, "tunnel"},
                                    std::pair{image::Forwarding::kOption, "option"},
                                    std::pair{image::Forwarding::kLink, "link"}}) {
        image::Service service;
        service.key = {"default/direct", "", Protocol::kTcp, IpFamily::kIpv4};
        service.port = 80;
        service.frontends = {{ip("203.0.113.11"), 80, image::Scope::kAddress, true, true, false, way}};
        service.external.backends = {{ip("10.0.0.5"), 80, true, false, ""},
                                     {ip("10.0.1.5"), 80, false, false, ""}};
        service.inside = service.internal = service.external;
        EXPECT_TRUE(publisher_->upsert(service));
        const Explanation told = ask_from(Origin::kOutside, "198.51.100.1", "203.0.113.11", 80);
        ASSERT_EQ(told.candidates.size(), 2U);
        EXPECT_EQ(told.candidates[0].forwarding, "nat");
        EXPECT_EQ(told.candidates[1].forwarding, name);
        EXPECT_FALSE(told.masquerade);
        EXPECT_EQ(told.frontend->forwarding, name);
        const Explanation pod = ask_from(Origin::kPod, "10.0.0.9", "203.0.113.11", 80);
        EXPECT_EQ(pod.candidates[1].forwarding, "nat");
        EXPECT_TRUE(pod.masquerade);
    }
}

image::Service hashed(image::Choice choice, std::vector<std::uint32_t> weights) {
    image::Service service;
    service.key = {"default/hashed", "", Protocol::kTcp, IpFamily::kIpv4};
    service.port = 80;
    service.frontends = {{ip("10.96.0.7"), 80, image::Scope::kAddress, false, false}};
    for (std::size_t i = 0; i < weights.size(); ++i) {
        service.internal.backends.push_back({ip(fmt::format("10.0.0.{}", i + 1).c_str()), 80, true, false,
                                             fmt::format("default/pod-{}", i), weights[i]});
    }
    service.external = service.inside = service.internal;
    service.choice = choice;
    return service;
}

TEST_F(ExplainTest, AConsistentHashNamesTheOneEndpointAndTheSameOnEveryNode) {
    ASSERT_TRUE(publisher_->upsert(hashed(image::Choice::kTuple, {1, 1, 1, 1, 1})));
    // Another node: other services, another seed.
    image::MemoryImage other{image::Capacities{}};
    ASSERT_TRUE(image::write_header(other.tables(), image::Capacities{},
                                    image::HeaderFacts{image::Node{}, 1024, 2048, 4711}, 2));
    image::Publisher elsewhere(other.tables(), image::Carried{});
    ASSERT_TRUE(elsewhere.upsert(hashed(image::Choice::kTuple, {1, 1, 1, 1, 1})));
    std::set<std::string> seen;
    for (std::uint16_t port = 2000; port < 2200; ++port) {
        const Explanation told = ask_from(Origin::kPod, "10.0.0.9", "10.96.0.7", 80, port);
        ASSERT_EQ(told.candidates.size(), 1U);
        EXPECT_DOUBLE_EQ(told.candidates[0].backend.share, 1);
        seen.insert(told.candidates[0].backend.target);
        const Explanation there = explain_packet(
            other.tables(), Question{ip("10.0.0.9"), ip("10.96.0.7"), 80, Protocol::kTcp, Origin::kPod, port, {}},
            nullptr);
        ASSERT_EQ(there.candidates.size(), 1U);
        EXPECT_EQ(there.candidates[0].backend.target, told.candidates[0].backend.target);
    }
    EXPECT_EQ(seen.size(), 5U);
    // Without a port it depends.
    const Explanation open = ask_from(Origin::kPod, "10.0.0.9", "10.96.0.7", 80);
    EXPECT_EQ(open.candidates.size(), 5U);
    EXPECT_EQ(open.service->choice, "tuple");
    double sum = 0;
    for (const Candidate& candidate : open.candidates) sum += candidate.backend.share;
    EXPECT_NEAR(sum, 1, 1e-9);
    // By the client's address it does not.
    ASSERT_TRUE(publisher_->upsert(hashed(image::Choice::kClient, {1, 1, 1})));
    EXPECT_EQ(ask_from(Origin::kPod, "10.0.0.9", "10.96.0.7", 80).candidates.size(), 1U);
}

TEST_F(ExplainTest, WeightsAreSharesOfNewFlows) {
    ASSERT_TRUE(publisher_->upsert(hashed(image::Choice::kRandom, {3, 1})));
    const Explanation told = ask_from(Origin::kPod, "10.0.0.9", "10.96.0.7", 80);
    EXPECT_EQ(told.service->choice, "weighted");
    ASSERT_EQ(told.candidates.size(), 2U);
    EXPECT_NEAR(told.candidates[0].backend.share, 0.75, 0.02);
    EXPECT_NEAR(told.candidates[1].backend.share, 0.25, 0.02);
}

TEST_F(ExplainTest, PodsToldByTheirDevice) {
    image::MemoryImage memory{image::Capacities{}};
    image::Node node;
    node.masquerade_v4 = ip("192.0.2.1");
    node.detect_by_device = true;
    ASSERT_TRUE(image::write_header(memory.tables(), image::Capacities{},
                                    image::HeaderFacts{node, 1024, 2048, 42}, 2));
    image::Publisher publisher(memory.tables(), image::Carried{});
    ASSERT_TRUE(publisher.upsert(hashed(image::Choice::kRandom, {1})));
    EXPECT_EQ(read_status(memory.tables()).detect_local, "device");
    const auto masqueraded = [&](Origin origin) {
        return explain_packet(memory.tables(),
                              Question{ip("10.0.9.9"), ip("10.96.0.7"), 80, Protocol::kTcp, origin, 0, {}},
                              nullptr)
            .masquerade;
    };
    EXPECT_FALSE(masqueraded(Origin::kPod));
    EXPECT_TRUE(masqueraded(Origin::kOutside));
}

// The step that says who translates; empty if there is none.
std::string way(const Explanation& told) {
    for (const std::string& step : told.steps) {
        if (step.starts_with("way: ")) return step;
    }
    return "";
}

TEST_F(ExplainTest, SaysWhetherTheSocketHookOrThePacketPathTranslates) {
    add_local_balancer();
    const std::string hook = way(ask_from(Origin::kPod, "10.0.0.9", "10.96.0.1", 80));
    EXPECT_NE(hook.find("translated when it connects"), std::string::npos);
    // "pod / external, policy Cluster: source NAT", which only the packet path can do.
    const std::string left = way(ask_from(Origin::kPod, "10.0.0.9", "192.0.2.1", 30080));
    EXPECT_NE(left.find("the endpoint is to see the node"), std::string::npos);
    EXPECT_EQ(way(ask_from(Origin::kPod, "10.0.0.9", "203.0.113.9", 443)), hook);
    EXPECT_EQ(way(ask_from(Origin::kNode, "192.0.2.1", "192.0.2.1", 30080)), hook);
    EXPECT_EQ(way(ask_from(Origin::kOutside, "198.51.100.1", "192.0.2.1", 30080)), "");
    ASSERT_TRUE(publisher_->upsert(hashed(image::Choice::kTuple, {1, 1})));
    EXPECT_NE(way(ask_from(Origin::kNode, "192.0.2.1", "10.96.0.7", 80)).find("hash"), std::string::npos);
}

TEST_F(ExplainTest, AffinityNamesTheEndpointThatTheClientKeeps) {
    image::Service sticky = hashed(image::Choice::kRandom, {1, 1, 1});
    sticky.affinity_timeout_s = 60;
    ASSERT_TRUE(publisher_->upsert(sticky));
    const auto& tables = memory_.tables();
    // The third endpoint, and the service, by their names in the tables.
    std::uint32_t backend = 0;
    while (name_of_backend(tables, backend) != "default/pod-2") ++backend;
    const std::uint32_t service = tables.backends[backend].service;
    const std::uint32_t incarnation = tables.backends[backend].incarnation;
    // One bucket, so that every key is in it; two clients, as docs and header of the table describe a record.
    sluice_affinity_bucket bucket{};
    AffinityView view{&bucket, 1, 1000, 7};
    const auto remember = [&](unsigned slot, const sluice_address& client, std::uint32_t used) {
        bucket.entry[slot] = sluice_affinity{client, service, backend, incarnation, 240};
        // The tag is the hash's to say: all are tried.
        for (std::uint64_t tag = 0; tag < 0x10000; ++tag) {
            bucket.word[slot] = std::uint64_t{used} << SLUICE_AFFINITY_USED_SHIFT | tag << 16U | SLUICE_AFFINITY_LIVE;
            if (find_affinity(view, client, service, 10800)) return;
        }
        FAIL() << "no tag finds the record";
    };
    remember(0, image::image_address(ip("10.0.0.9")), 1000 - 80);  // 80 units are 21 s
    remember(1, affinity_client_of(4711), 1000);
    const auto told = [&](Origin origin, const char* source, std::uint64_t netns) {
        Question question{ip(source), ip("10.96.0.7"), 80, Protocol::kTcp, origin, 0, {}};
        question.node_netns = netns;
        return explain_packet(tables, question, nullptr, &view);
    };
    const Explanation pod = told(Origin::kPod, "10.0.0.9", 0);
    ASSERT_EQ(pod.candidates.size(), 1U);
    EXPECT_EQ(pod.candidates[0].backend.target, "default/pod-2");
    EXPECT_DOUBLE_EQ(pod.candidates[0].backend.share, 1);
    EXPECT_TRUE(std::any_of(pod.steps.begin(), pod.steps.end(), [](const std::string& step) {
        return step.find("came 21 s ago") != std::string::npos;
    }));
    EXPECT_NE(way(pod).find("affinity is by the pod's address"), std::string::npos);
    EXPECT_EQ(told(Origin::kPod, "10.0.0.10", 0).candidates.size(), 3U);
    // The node's processes are known by their namespace, whatever source they will have.
    EXPECT_EQ(told(Origin::kNode, "192.0.2.1", 4711).candidates.size(), 1U);
    EXPECT_EQ(told(Origin::kNode, "192.0.2.1", 4712).candidates.size(), 3U);
    // "an unusable endpoint is abandoned", and so is what has not been asked for in time.
    view.now = 1000 - 80 + 60 * 4;
    EXPECT_EQ(told(Origin::kPod, "10.0.0.9", 0).candidates.size(), 3U);
    view.now = 1000;
    sticky.internal.backends.pop_back();
    sticky.external = sticky.inside = sticky.internal;
    ASSERT_TRUE(publisher_->upsert(sticky));
    EXPECT_EQ(told(Origin::kPod, "10.0.0.9", 0).candidates.size(), 2U);
}

// Flow tables with one flow: client 198.51.100.1:4000 to the balancer, sent to lb-1 as from the node's port 2000.
class ExplainFlowTest : public ExplainTest {
protected:
    ExplainFlowTest() : buckets_(64) {
        view_.seed = 99;
        view_.bucket_count4 = 64;
        view_.now = 500;
        view_.buckets4 = buckets_.data();
        flows_ = &view_;
        add_local_balancer();
        sluice_flow_pair pair{};
        pair.forward.src = image::image_address(ip("198.51.100.1"));
        pair.forward.dst = image::image_address(ip("203.0.113.9"));
        pair.forward.ports.port_be[0] = htons(4000);
        pair.forward.ports.port_be[1] = htons(443);
        pair.forward.protocol = 6;
        pair.reverse.src = image::image_address(ip("10.0.0.5"));
        pair.reverse.dst = image::image_address(ip("192.0.2.1"));
        pair.reverse.ports.port_be[0] = htons(8443);
        pair.reverse.ports.port_be[1] = htons(4000);
        pair.reverse.protocol = 6;
        pair.port_min = 2000;
        pair.port_max = 2000;
        pair.state = SLUICE_FLOW_NEW;
        pair.snat = 1;
        const sluice_view image = view_of(memory_.tables());
        sluice_frontend_key key{pair.forward.dst, htons(443), 6, SLUICE_SCOPE_ADDRESS};
        sluice_match match{};
        sluice_classify(&image, &key, 0, &match);
        pair.service = match.service;
        pair.backend = memory_.tables().sets[sluice_word_first(match.word)].backend;
        pair.incarnation = memory_.tables().backends[pair.backend].incarnation;
        backend_ = pair.backend;
        incarnation_ = pair.incarnation;
        service_ = pair.service;
        EXPECT_EQ(sluice_flow_insert4(&view_, &pair), SLUICE_FLOW_INSERTED);
    }
    std::vector<sluice_flow_bucket4> buckets_;
    sluice_flow_view view_{};
    std::uint32_t backend_ = 0, incarnation_ = 0, service_ = 0;
};

TEST_F(ExplainFlowTest, ALiveFlowDecidesAndIsShown) {
    view_.now = 507;
    const Explanation told = ask_from(Origin::kOutside, "198.51.100.1", "203.0.113.9", 443, 4000);
    ASSERT_TRUE(told.flow);
    EXPECT_EQ(told.flow->state, "new");
    EXPECT_EQ(told.flow->idle_s, 7U);
    EXPECT_EQ(told.flow->source_port, 2000);
    EXPECT_TRUE(told.flow->serving);
    EXPECT_EQ(told.flow->service, "default/lb");
    EXPECT_TRUE(told.masquerade);
    ASSERT_EQ(told.candidates.size(), 1U);
    EXPECT_EQ(told.candidates[0].backend.target, "default/lb-1");
    EXPECT_FALSE(ask_from(Origin::kOutside, "198.51.100.1", "203.0.113.9", 443, 4001).flow);
}

TEST_F(ExplainFlowTest, AnswersAreKnownByWhatTheBackendSends) {
    const Explanation told = ask_from(Origin::kPod, "10.0.0.5", "192.0.2.1", 2000, 8443);
    EXPECT_EQ(told.verdict, "translate");
    EXPECT_TRUE(told.answer);
    EXPECT_NE(told.reason.find("203.0.113.9:443"), std::string::npos);
    EXPECT_NE(told.reason.find("198.51.100.1:4000"), std::string::npos);
}

TEST_F(ExplainFlowTest, AFlowThatIsOverMakesRoomForANewOne) {
    view_.now = 500 + SLUICE_FLOW_TIMEOUT_NEW + 1;
    const Explanation told = ask_from(Origin::kOutside, "198.51.100.1", "203.0.113.9", 443, 4000);
    EXPECT_EQ(told.set, "external");
    EXPECT_TRUE(told.flow);
    EXPECT_FALSE(told.masquerade);
}

TEST_F(ExplainFlowTest, ScansCountEachFlowOnceForItsServiceAndBackend) {
    std::vector<FlowView> seen;
    scan_flows(view_, [&](const FlowView& flow) { seen.push_back(flow); });
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_EQ(seen[0].client.to_string(), "198.51.100.1");
    EXPECT_EQ(seen[0].client_port, 4000);
    EXPECT_EQ(seen[0].destination_port, 443);
    EXPECT_EQ(seen[0].backend.to_string(), "10.0.0.5");
    EXPECT_EQ(seen[0].backend_port, 8443);
    EXPECT_EQ(seen[0].source.to_string(), "192.0.2.1");
    EXPECT_TRUE(seen[0].source_nat);

    FlowCounts counts = count_flows(view_);
    EXPECT_EQ(counts.of_backend(backend_, incarnation_), 1U);
    EXPECT_EQ(counts.of_backend(backend_, incarnation_ + 2), 0U);
    EXPECT_EQ(counts.of_service(service_), 1U);
    EXPECT_EQ(counts.tables[0].flows, 1U);
    EXPECT_EQ(counts.tables[0].capacity, 64U * 4);

    const TrafficReport report = read_traffic(memory_.tables(), counts);
    ASSERT_EQ(report.services.size(), 2U);
    EXPECT_EQ(report.services[0].name, "default/lb");
    EXPECT_EQ(report.services[0].flows, 1U);
    EXPECT_EQ(report.services[1].flows, 0U);
    ASSERT_EQ(report.services[0].backends.size(), 2U);
    EXPECT_EQ(report.services[0].backends[0].flows, 1U);
    EXPECT_EQ(report.services[0].backends[1].flows, 0U);

    view_.now = 500 + SLUICE_FLOW_TIMEOUT_NEW + 1;
    counts = count_flows(view_);
    EXPECT_EQ(counts.tables[0].flows, 0U);
    EXPECT_EQ(counts.tables[0].lingering, 1U);
}

TEST_F(ExplainTest, TrafficIsTheServicesOwnAndItsBackends) {
    const image::Tables& tables = memory_.tables();
    std::uint32_t backend = 0;
    while (tables.backends[backend].incarnation % 2 == 0) ++backend;
    const std::uint32_t service = tables.backends[backend].service;
    tables.counters[service] = {3, 30, 300, 7};
    tables.served[backend] = {2, 20, 200};
    const TrafficReport report = read_traffic(tables, FlowCounts{});
    ASSERT_EQ(report.services.size(), 1U);
    EXPECT_EQ(report.services[0].traffic, (Traffic{5, 50, 500}));
    EXPECT_EQ(report.services[0].refused, 7U);
    EXPECT_EQ(report.services[0].backends[0].traffic, (Traffic{2, 20, 200}));
}

TEST_F(ExplainTest, AnyBytesInTheTablesAreReadWithinTheirBounds) {
    std::mt19937_64 random(3);
    const image::Tables& tables = memory_.tables();
    const auto scribble = [&](void* at, std::size_t bytes) {
        for (std::size_t i = 0; i < 400; ++i) {
            static_cast<unsigned char*>(at)[random() % bytes] =
                static_cast<unsigned char>(random());
        }
    };
    for (int round = 0; round < 50; ++round) {
        scribble(tables.buckets, sizeof(sluice_bucket) * tables.header->bucket_count);
        scribble(tables.frontends, sizeof(sluice_frontend) * tables.header->frontend_capacity);
        scribble(tables.services, sizeof(sluice_service) * tables.header->service_capacity);
        scribble(tables.sets, sizeof(sluice_set_slot) * tables.header->set_slot_capacity);
        scribble(tables.backends, sizeof(sluice_backend) * tables.header->backend_capacity);
        scribble(tables.names, tables.header->name_bytes);
        (void)read_status(tables);
        (void)ask("10.0.0.9", "10.96.0.1", 80);
        EXPECT_LE(read_services(tables).size(), tables.header->service_capacity);
        (void)image::Carried::from(tables);
    }
}

}  // namespace
}  // namespace sluice::dataplane
