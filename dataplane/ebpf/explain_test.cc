// What a person is told about a packet, on an image in plain memory.
#include "dataplane/ebpf/explain.h"

#include <gtest/gtest.h>

#include <random>

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
        return explain_packet(memory_.tables(),
                              Question{ip(source), ip(destination), port, protocol, false});
    }
    image::MemoryImage memory_;
    std::unique_ptr<image::Publisher> publisher_;
};

TEST_F(ExplainTest, PodToClusterIpKeepsItsSource) {
    const Explanation told = ask("10.0.0.9", "10.96.0.1", 80);
    EXPECT_EQ(told.verdict, "translate");
    ASSERT_TRUE(told.service);
    EXPECT_EQ(told.service->name, "default/web:http");
    ASSERT_EQ(told.candidates.size(), 1U);
    EXPECT_EQ(told.candidates[0].target, "default/web-1");
    EXPECT_TRUE(told.candidates[0].local);
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
