// What `sluice` and the metrics see of a DPDK engine's shared memory.
#include "dataplane/dpdk/client/inspect.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>

#include "dataplane/dpdk/client/dpdk_client.h"
#include "dataplane/dpdk/client/test_engine.h"
#include "dataplane/image/test_image.h"

namespace sluice::dpdk {
namespace {

using testing::HasSubstr;

class Inspect : public EngineTest {
protected:
    void SetUp() override {
        EngineTest::SetUp();
        DpdkOptions options;
        options.socket = socket_;
        options.state_directory = directory_;
        agent_ = open_dpdk_engine(options).value();
        const std::vector<image::Service> services{
            image::service(1, {image::backend(1), image::backend(2)}, {image::cluster_ip("10.96.0.1")})};
        ASSERT_TRUE(agent_->replace_all({}, services));
    }
    void TearDown() override {
        agent_.reset();
        EngineTest::TearDown();
    }
    // A flow of a lcore, as its client's half stands in the table.
    void put_flow(std::uint32_t lcore, std::uint32_t bucket, const char* client) {
        const auto segment = FlowSegment::open_or_create(directory_, lcore, 64, 64, 2).value();
        sluice_flow_bucket4& cell = segment->memory().buckets4[bucket];
        cell.set.word[2] = 0x12340010U | SLUICE_FLOW_ESTABLISHED;
        cell.set.seen[2] = shared_now().tick;
        sluice_flow4& flow = cell.entry[2];
        flow.src_be = inet_addr(client);
        flow.dst_be = inet_addr("10.96.0.1");
        flow.ports_be = htons(4000) | static_cast<std::uint32_t>(htons(80)) << 16U;
        flow.new_src_be = flow.src_be;
        flow.new_dst_be = inet_addr("10.0.0.2");
        flow.new_ports_be = htons(4000) | static_cast<std::uint32_t>(htons(8080)) << 16U;
        flow.meta.backend = 0;
        flow.meta.incarnation = 1;
        flow.meta.protocol = IPPROTO_TCP;
    }
    std::unique_ptr<dataplane::Engine> agent_;
};

TEST_F(Inspect, ShowsServicesDropsAndSizes) {
    ImageSegment::open(directory_, current_image(directory_).value(), Access::kReadOnly).value()->tables().drops[2] = 8;
    const auto inspector = open_shared_inspector(directory_);
    ASSERT_TRUE(inspector) << inspector.error().to_string();
    const auto services = (*inspector)->services();
    ASSERT_EQ(services->size(), 1U);
    EXPECT_EQ(services->front().name, "default/s1:http");
    EXPECT_EQ(services->front().internal.size(), 2U);
    EXPECT_EQ((*inspector)->drops()->at(1).count, 8U);
    const auto status = (*inspector)->status();
    EXPECT_EQ(status->services, 1U);
    EXPECT_EQ(status->backends, 2U);
    EXPECT_GT(status->kernel_bytes, 65536U);
}

TEST_F(Inspect, SumsTheFlowsOfAllLcores) {
    put_flow(0, 0, "10.1.0.1");
    put_flow(1, 15, "10.1.0.2");
    const auto inspector = open_shared_inspector(directory_).value();
    dataplane::FlowFilter filter;
    filter.limit = 10;
    const auto flows = inspector->flows(filter);
    ASSERT_TRUE(flows);
    ASSERT_EQ(flows->matched, 2U);
    EXPECT_EQ(flows->flows[0].client.to_string(), "10.1.0.1");
    EXPECT_EQ(flows->flows[0].service, "default/s1:http");
    EXPECT_EQ(flows->flows[0].state, "established");
    EXPECT_EQ(flows->flows[1].client.to_string(), "10.1.0.2");
    filter.limit = 1;
    EXPECT_EQ(inspector->flows(filter)->flows.size(), 1U);
    EXPECT_EQ(inspector->flows(filter)->matched, 2U);
    const auto traffic = inspector->traffic();
    ASSERT_EQ(traffic->flow_tables.size(), 2U);
    EXPECT_EQ(traffic->flow_tables[0].flows, 2U);
    EXPECT_EQ(traffic->flow_tables[0].capacity, 128U);
    EXPECT_EQ(traffic->services.at(0).flows, 2U);
}

TEST_F(Inspect, ExplainsAPacket) {
    const auto inspector = open_shared_inspector(directory_).value();
    dataplane::Question question;
    question.source = image::ip("10.1.0.1");
    question.destination = image::ip("10.96.0.1");
    question.destination_port = 80;
    const auto said = inspector->explain(question);
    ASSERT_TRUE(said);
    EXPECT_EQ(said->verdict, "translate");
    EXPECT_EQ(said->candidates.size(), 2U);
}

TEST_F(Inspect, WhereNothingIsItSaysWhatToStart) {
    const auto nothing = open_shared_inspector(root_ + "/none");
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().code, Code::kNotFound);
    EXPECT_THAT(nothing.error().message, HasSubstr("--engine=dpdk"));
}

}  // namespace
}  // namespace sluice::dpdk
