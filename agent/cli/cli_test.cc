#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/cli/arguments.h"
#include "agent/cli/render.h"

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
              "  5 connections, 0 packets, 0 bytes, 0 refused\n");
}

TEST(Render, JsonHasEveryFieldOfAnExplanation) {
    dataplane::Explanation explanation;
    explanation.verdict = "translate";
    explanation.reason = "because";
    explanation.steps = {"looked"};
    explanation.masquerade = true;
    explanation.masquerade_address = *IpAddress::parse("192.0.2.1");
    EXPECT_EQ(render_explanation(explanation, Format::kJson),
              R"({"verdict":"translate","reason":"because","service":null,"frontend":null,"candidates":[],)"
              R"("masquerade":true,"masqueradeAddress":"192.0.2.1","steps":["looked"]})" "\n");
    EXPECT_EQ(render_explanation(explanation, Format::kTable),
              "translate: because\nsource    becomes 192.0.2.1\nsteps     1. looked\n");
}

}  // namespace
}  // namespace sluice::cli
