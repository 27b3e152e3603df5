#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/cli/arguments.h"
#include "agent/cli/render.h"
#include "agent/cli/render_traffic.h"

namespace sluice::cli {
namespace {

TEST(Arguments, TargetsInAllForms) {
    EXPECT_EQ(parse_target("10.0.0.1")->port, 0);
    EXPECT_EQ(parse_target("10.96.0.10:80")->port, 80);
    EXPECT_EQ(parse_target("fd00::1")->address.to_string(), "fd00::1");
    EXPECT_EQ(parse_target("[fd00::1]:53")->port, 53);
    EXPECT_EQ(parse_target("[fd00::1]")->port, 0);
    for (const char* bad : {"", "a", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:8x", "[fd00::1]:",
                            "[fd00::1", "[10.0.0.1]:80", "[fd00::1]80", "010.0.0.1"}) {
        EXPECT_FALSE(parse_target(bad)) << bad;
    }
    EXPECT_EQ(*parse_protocol_argument("tcp"), Protocol::kTcp);
    EXPECT_EQ(*parse_protocol_argument("UDP"), Protocol::kUdp);
    EXPECT_FALSE(parse_protocol_argument("icmp"));
}

dataplane::ServiceView view() {
    dataplane::ServiceView out;
    out.name = "default/web:http";
    out.port = 80;
    out.frontends = {{*IpAddress::parse("10.96.0.10"), 80, false, false, false},
                     {IpAddress{}, 30'080, true, true, true}};
    out.internal = {{*IpAddress::parse("10.1.0.1"), 8080, true, false, "default/web-1"}};
    out.external_drop_when_empty = true;
    out.connections = 5;
    return out;
}

TEST(Render, ServicesAsATable) {
    EXPECT_EQ(render_services({view()}, Format::kTable),
              "SERVICE           PROTOCOL  FAMILY  FRONTENDS                 INTERNAL  EXTERNAL  CONNECTIONS\n"
              "default/web:http  TCP       IPv4    10.96.0.10:80,node:30080  1         0         5\n");
}

TEST(Render, OneServiceInFull) {
    EXPECT_EQ(render_service({view()}, Format::kTable),
              "default/web:http TCP IPv4 port 80\n"
              "  frontends:\n"
              "    10.96.0.10:80\n"
              "    node:30080 external, source becomes the node's address\n"
              "  endpoints for internal traffic:\n"
              "    10.1.0.1:8080 default/web-1 (local)\n"
              "  endpoints for external traffic: none, dropped\n"
              "  endpoints for external addresses, from pods and the node: none, refused\n"
              "  5 connections, 0 packets, 0 bytes, 0 refused\n");
}

TEST(Render, JsonHasEveryFieldOfAnExplanation) {
    dataplane::Explanation explanation;
    explanation.verdict = "translate";
    explanation.reason = "because";
    explanation.steps = {"looked"};
    explanation.origin = "pod";
    explanation.set = "internal";
    explanation.masquerade = true;
    explanation.masquerade_address = *IpAddress::parse("192.0.2.1");
    EXPECT_EQ(render_explanation(explanation, Format::kJson),
              R"({"verdict":"translate","reason":"because","service":null,"frontend":null,"candidates":[],)"
              R"("masquerade":true,"masqueradeAddress":"192.0.2.1","origin":"pod","set":"internal",)"
              R"("flowState":null,"answer":false,"steps":["looked"]})" "\n");
    EXPECT_EQ(render_explanation(explanation, Format::kTable),
              "translate: because\nsource    becomes 192.0.2.1\nsteps     1. looked\n");
}

TEST(Arguments, OriginsAndOrders) {
    EXPECT_EQ(*parse_origin(""), dataplane::Origin::kGuess);
    EXPECT_EQ(*parse_origin("outside"), dataplane::Origin::kOutside);
    EXPECT_FALSE(parse_origin("inside"));
}

TEST(Render, CandidatesWithTheirProbability) {
    dataplane::Explanation explanation;
    explanation.verdict = "translate";
    explanation.reason = "because";
    dataplane::Candidate candidate;
    candidate.backend.address = *IpAddress::parse("10.1.0.1");
    candidate.backend.port = 80;
    candidate.backend.share = 0.75;
    explanation.candidates = {candidate, candidate};
    explanation.candidates[1].backend.share = 0.25;
    explanation.candidates[1].forwarding = "tunnel";
    EXPECT_EQ(render_explanation(explanation, Format::kTable),
              "translate: because\n"
              "endpoint  one of 2\n"
              "           75.0 %  10.1.0.1:80\n"
              "           25.0 %  10.1.0.1:80, direct return by tunnel\n");
    explanation.candidates.resize(1);
    EXPECT_EQ(render_explanation(explanation, Format::kTable),
              "translate: because\nendpoint  10.1.0.1:80\n");
}

TEST(Render, DropsSayWhatTheyMean) {
    EXPECT_EQ(render_drops({{"fragment", 3, "a fragment"}}, Format::kTable),
              "REASON    COUNT  MEANING\nfragment  3      a fragment\n");
    EXPECT_EQ(render_drops({{"fragment", 3, "a fragment"}}, Format::kJson),
              R"([{"reason":"fragment","count":3,"text":"a fragment"}])" "\n");
    EXPECT_EQ(render_refused({}), "");
}

dataplane::ServiceTraffic traffic(const char* name, std::uint64_t connections, std::uint64_t packets) {
    dataplane::ServiceTraffic out;
    out.name = name;
    out.traffic = {connections, packets, packets * 100};
    out.backends = {{*IpAddress::parse("10.1.0.1"), 80, "", {connections, packets, packets * 100}, 2}};
    out.flows = 2;
    return out;
}

TEST(Top, RatesAreDifferencesASecondAndTheBusiestStandFirst) {
    dataplane::TrafficReport before;
    before.services = {traffic("a", 10, 100), traffic("b", 10, 100)};
    dataplane::TrafficReport after;
    after.services = {traffic("a", 20, 120), traffic("b", 12, 500), traffic("new", 4, 40)};
    auto rows = compute_top(before, after, std::chrono::seconds(2), TopOrder::kPackets, 0);
    ASSERT_EQ(rows.size(), 3U);
    EXPECT_EQ(rows[0].name, "b");
    EXPECT_DOUBLE_EQ(rows[0].rates.packets, 200);
    EXPECT_DOUBLE_EQ(rows[0].rates.bytes, 20000);
    EXPECT_EQ(rows[1].name, "new");  // all that it counted was in this interval
    EXPECT_DOUBLE_EQ(rows[1].rates.packets, 20);
    EXPECT_DOUBLE_EQ(rows[0].backends[0].rates.packets, 200);
    rows = compute_top(before, after, std::chrono::seconds(2), TopOrder::kConnections, 1);
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].name, "a");
    EXPECT_DOUBLE_EQ(rows[0].rates.connections, 5);
    // Counters that went back are no traffic.
    rows = compute_top(after, before, std::chrono::seconds(1), TopOrder::kPackets, 0);
    EXPECT_DOUBLE_EQ(rows[0].rates.packets, 0);
}

TEST(Top, NumbersAreShort) {
    EXPECT_EQ(short_number(0), "0");
    EXPECT_EQ(short_number(7.25), "7.2");
    EXPECT_EQ(short_number(999), "999");
    EXPECT_EQ(short_number(1234), "1.2k");
    EXPECT_EQ(short_number(34e6), "34M");
    EXPECT_EQ(short_number(1e18), "1000P");
}

dataplane::FlowView flow() {
    dataplane::FlowView out;
    out.client = *IpAddress::parse("198.51.100.1");
    out.client_port = 4000;
    out.destination = *IpAddress::parse("192.0.2.1");
    out.destination_port = 30080;
    out.backend = *IpAddress::parse("10.1.0.1");
    out.backend_port = 8080;
    out.source = *IpAddress::parse("192.0.2.1");
    out.source_port = 2000;
    out.source_nat = true;
    out.state = "established";
    out.idle_s = 3;
    out.service = "default/web:http";
    return out;
}

TEST(Render, FlowsAsATable) {
    EXPECT_EQ(render_flows({{flow()}, 5}, Format::kTable),
              "PROTO  CLIENT             DESTINATION      BACKEND        STATE        IDLE  SOURCE NAT      "
              "SERVICE\n"
              "TCP    198.51.100.1:4000  192.0.2.1:30080  10.1.0.1:8080  established  3s    192.0.2.1:2000  "
              "default/web:http\n"
              "1 of 5 flows; --limit shows more\n");
}

TEST(Render, EventsOneALine) {
    EventLine line;
    line.time = "12:00";
    line.service = "default/web:http";
    line.target = "default/web-1";
    line.event.kind = "opened";
    line.event.place = "node";
    line.event.client = *IpAddress::parse("198.51.100.1");
    line.event.client_port = 4000;
    line.event.destination = *IpAddress::parse("192.0.2.1");
    line.event.destination_port = 30080;
    line.event.backend = *IpAddress::parse("10.1.0.1");
    line.event.backend_port = 8080;
    line.event.has_service = true;
    EXPECT_EQ(render_event(line, Format::kTable),
              "12:00 opened  TCP 198.51.100.1:4000 > 192.0.2.1:30080 to 10.1.0.1:8080 default/web-1 "
              "default/web:http (node)\n");
    line.event.kind = "refused";
    line.event.reason = "no_endpoint";
    line.event.client = IpAddress{};
    line.event.place = "socket";
    line.target.clear();
    EXPECT_EQ(render_event(line, Format::kTable),
              "12:00 refused TCP - > 192.0.2.1:30080 no_endpoint default/web:http (socket)\n");
    EXPECT_EQ(render_event(line, Format::kJson),
              R"({"time":"12:00","event":"refused","reason":"no_endpoint","protocol":"TCP","place":"socket",)"
              R"("destination":"192.0.2.1:30080","backend":"10.1.0.1:8080","service":"default/web:http"})" "\n");
}

}  // namespace
}  // namespace sluice::cli
