// Who follows sees what lcores do: through the rings of shared memory, from packets of a pipeline.
#include "dataplane/dpdk/client/follow.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>

#include "dataplane/dpdk/pipeline/test_pipeline.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {
namespace {

using dataplane::EventView;
using dataplane::FollowOptions;

constexpr Shape kTcp{false, Protocol::kTcp};

class Follow : public ::testing::Test {
protected:
    void SetUp() override {
        std::string pattern = "/dev/shm/follow-test-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
        segment_ = EventSegment::open_or_create(directory_, 2).value();
        world_.upsert(web(false, Protocol::kTcp, {remote_pod(false)}));
        for (std::uint32_t lcore = 0; lcore < 2; ++lcore) {
            world_.attach(lcore, segment_->memory(lcore));
        }
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::unique_ptr<dataplane::EventSource> follow(const FollowOptions& options = {}) {
        auto out = follow_shared_events(directory_, options);
        EXPECT_TRUE(out) << out.error().to_string();
        return std::move(*out);
    }
    static std::vector<EventView> read(dataplane::EventSource& follower) {
        std::vector<EventView> out;
        EXPECT_TRUE(follower.poll(std::chrono::milliseconds(1), [&](const EventView& event) { out.push_back(event); }));
        return out;
    }
    Outcome open(std::uint16_t port, std::uint32_t lcore = 0) {
        const Spec spec = packet(kTcp, local_pod(false), cluster_ip(false), port, 80);
        return world_.run(packets::build(spec), kPods, false, lcore);
    }
    Outcome refuse(std::uint16_t port) {
        return world_.run(packet(kTcp, local_pod(false), cluster_ip(false), port, 81), kPods);
    }

    std::string directory_;
    std::unique_ptr<EventSegment> segment_;
    World world_{2};
};

TEST_F(Follow, TellsOfFlowsAndRefusalsInTheirOrder) {
    open(39999);
    const auto follower = follow();
    open(40000);
    open(40001, 1);
    refuse(40002);
    open(40000);  // a flow that is known is no news
    const auto events = read(*follower);
    ASSERT_EQ(events.size(), 3U);
    EXPECT_EQ(events[0].kind, "opened");
    EXPECT_EQ(events[0].place, "pod");
    EXPECT_EQ(events[0].client.to_string(), local_pod(false));
    EXPECT_EQ(events[0].client_port, 40000);
    EXPECT_EQ(events[0].destination.to_string(), cluster_ip(false));
    EXPECT_EQ(events[0].destination_port, 80);
    EXPECT_EQ(events[0].backend.to_string(), remote_pod(false));
    EXPECT_EQ(events[0].backend_port, 8080);
    EXPECT_TRUE(events[0].has_service);
    EXPECT_EQ(events[1].client_port, 40001);
    EXPECT_EQ(events[2].kind, "refused");
    EXPECT_EQ(events[2].reason, "port_not_served");
    EXPECT_TRUE(read(*follower).empty());
    EXPECT_EQ(follower->lost(), 0U);
}

// Which service's flow an error is about was not asked; that of the packet before it is another's.
TEST_F(Follow, AnErrorThatIsDroppedIsOfNoService) {
    world_.upsert(web(true, Protocol::kTcp, {remote_pod(true)}));
    for (const bool v6 : {false, true}) {
        const Shape shape{v6, Protocol::kTcp};
        const Outcome sent = world_.run(packet(shape, local_pod(v6), cluster_ip(v6), 40000, 80), kPods);
        ASSERT_EQ(sent.verdict, Verdict::kForward);
        Bytes error = packets::icmp_error(remote_pod(v6), local_pod(v6), v6 ? 1 : 3, v6 ? 4 : 3, 0, sent.frame);
        packets::set_ttl(error, 1);
        const auto follower = follow();
        world_.run(packet(shape, local_pod(v6), cluster_ip(v6), 40001, 80), kPods);
        EXPECT_EQ(world_.run(error, kUplink).reason, SLUICE_DROP_TTL_EXPIRED);
        const auto events = read(*follower);
        ASSERT_EQ(events.size(), 2U);
        EXPECT_TRUE(events[0].has_service);
        EXPECT_EQ(events[1].reason, "ttl_expired");
        EXPECT_FALSE(events[1].has_service);
    }
}

TEST_F(Follow, OnlyWhatIsAskedForAndOnlyByOne) {
    {
        const auto follower = follow({false, true, true, 1});
        const auto second = follow_shared_events(directory_, {});
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code, Code::kAlreadyExists);
        open(40000);
        refuse(40001);
        const auto events = read(*follower);
        ASSERT_EQ(events.size(), 1U);
        EXPECT_EQ(events[0].kind, "refused");
    }
    open(40002);
    EXPECT_EQ(segment_->memory(0).ring->written, 1U) << "nobody follows";
    EXPECT_EQ(follow_shared_events(directory_, {true, true, true, 0}).error().code, Code::kInvalidArgument);
    EXPECT_EQ(follow_shared_events(directory_ + "/none", {}).error().code, Code::kNotFound);
}

TEST_F(Follow, AFullRingLosesEventsAndCountsThem) {
    const auto follower = follow();
    constexpr std::uint32_t kMore = 10;
    for (std::uint32_t i = 0; i < kEventsPerLcore + kMore; ++i) {
        world_.run(packet(kTcp, outside(false), cluster_ip(false), static_cast<std::uint16_t>(1024 + i), 81), kPods);
    }
    EXPECT_EQ(follower->lost(), kMore);
    EXPECT_EQ(read(*follower).size(), kEventsPerLcore);
    refuse(50000);
    EXPECT_EQ(read(*follower).size(), 1U);
}

TEST_F(Follow, ASampleIsAPart) {
    const auto follower = follow({true, true, true, 10});
    for (std::uint16_t i = 0; i < 2000; ++i) refuse(static_cast<std::uint16_t>(20000 + i));
    const std::size_t events = read(*follower).size();
    EXPECT_GT(events, 100U);
    EXPECT_LT(events, 350U);
}

TEST_F(Follow, AKilledFollowersLeaseEnds) {
    const auto follower = follow();
    segment_->memory(0).config->until_ns = 1;
    open(40000);
    EXPECT_EQ(segment_->memory(0).ring->written, 0U);
    EXPECT_EQ(segment_->memory(0).config->kinds, 0U) << "from here on it costs one look at a word";
    // Who still lives renews it.
    read(*follower);
    open(40001);
    EXPECT_EQ(read(*follower).size(), 1U);
}

TEST_F(Follow, ALogIsTakenOverAndAnotherNumberOfLcoresEndsIt) {
    const auto follower = follow();
    const auto successor = EventSegment::open_or_create(directory_, 2).value();
    world_.attach(0, successor->memory(0));
    open(40000);
    EXPECT_EQ(read(*follower).size(), 1U);
    ASSERT_TRUE(EventSegment::open_or_create(directory_, 3));
    const auto polled = follower->poll(std::chrono::milliseconds(1), [](const EventView&) {});
    ASSERT_FALSE(polled);
    EXPECT_EQ(polled.error().code, Code::kUnavailable);
}

TEST_F(Follow, CountsThatCannotBeAreNone) {
    const auto follower = follow();
    segment_->memory(1).ring->written = ~std::uint64_t{0};
    EXPECT_TRUE(read(*follower).empty());
    open(40000);
    EXPECT_EQ(read(*follower).size(), 1U);
}

}  // namespace
}  // namespace sluice::dpdk
