// Connections in a flow table whose buckets are full of others in use: five of eight slots are, so by chance
// many buckets would have more than they hold, and few are turned away for that.
#include <cstdio>

#include "dataplane/packet/test_journey.h"

namespace sluice::dataplane {
namespace {

constexpr std::uint32_t kFlows = 1024;      // of two halves each, in 256 buckets
constexpr std::uint16_t kConnections = 640;

class Crowded : public Journey, public ::testing::WithParamInterface<bool> {
protected:
    static void SetUpTestSuite() { harness_ = Harness::make(test_node(), kFlows); }

    // As the node does: XDP first, and tc what that leaves.
    static Outcome come_in(const Spec& spec, std::uint32_t* by_xdp) {
        Outcome out = harness_->run_xdp(spec);
        if (out.action != kXdpPass) {
            *by_xdp += 1;
            return out;
        }
        return harness_->run(TcProgram::kNodeIngress, spec);
    }
    static bool sent_on(const Outcome& out) {
        return out.view.error.empty() &&
               (out.action == kXdpTx || out.action == kXdpRedirect || out.action == kActionRedirect);
    }
};
INSTANTIATE_TEST_SUITE_P(Packets, Crowded, ::testing::Bool());

TEST_P(Crowded, EachConnectionIsServedAndGoesOn) {
    const bool v6 = GetParam();
    const Shape shape{v6, Protocol::kTcp};
    const std::vector<std::string> backends{remote_pod(v6), v6 ? "fd02::a" : "10.244.2.10"};
    harness_->upsert(service(v6, Protocol::kTcp, backends));
    struct Connection {
        std::uint16_t sport;
        std::string backend;
        std::uint16_t node_port;
    };
    std::vector<Connection> open;
    const std::uint64_t before = harness_->drops(SLUICE_DROP_FLOW_TABLE_FULL);
    std::uint32_t by_xdp = 0;
    for (std::uint16_t i = 0; i < kConnections; ++i) {
        const auto sport = static_cast<std::uint16_t>(2000 + 7 * i);
        const Outcome syn = come_in(packet(shape, outside(v6), node(v6), sport, 30080), &by_xdp);
        if (!sent_on(syn)) continue;
        const Connection one{sport, syn.view.dst, syn.view.sport};
        const Outcome answer =
            come_in(packet(shape, one.backend, node(v6), 8080, one.node_port, kSyn | kAck), &by_xdp);
        ASSERT_TRUE(sent_on(answer)) << i;
        ASSERT_EQ(answer.view.dport, sport);
        ASSERT_TRUE(sent_on(come_in(packet(shape, outside(v6), node(v6), sport, 30080, kAck), &by_xdp))) << i;
        open.push_back(one);
    }
    // Chance may fill two buckets at once, about five times. Without a second one about twenty were turned away.
    EXPECT_GE(open.size(), kConnections - 16U);
    EXPECT_EQ(harness_->drops(SLUICE_DROP_FLOW_TABLE_FULL) - before, kConnections - open.size());

    by_xdp = 0;
    for (const Connection& one : open) {
        const Outcome more = come_in(packet(shape, outside(v6), node(v6), one.sport, 30080, kAck), &by_xdp);
        ASSERT_TRUE(sent_on(more)) << one.sport;
        expect(more, node(v6), one.node_port, one.backend, 8080);
        const Outcome answer = come_in(packet(shape, one.backend, node(v6), 8080, one.node_port, kAck), &by_xdp);
        ASSERT_TRUE(sent_on(answer)) << one.sport;
        expect(answer, node(v6), 30080, outside(v6), one.sport);
    }
    const auto by_tc = static_cast<std::uint32_t>(2 * open.size()) - by_xdp;
    std::printf("%zu of %u connections; of their packets XDP sent %u on and tc %u\n", open.size(), kConnections, by_xdp,
                by_tc);
    EXPECT_GT(by_tc, 0U) << "none was in a second bucket: the test shows nothing";
    EXPECT_GT(by_xdp, 7 * by_tc);
}

}  // namespace
}  // namespace sluice::dataplane
