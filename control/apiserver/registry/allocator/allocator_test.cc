// SERVICE-SEMANTICS "Owned by the API server": bands, ranges, ports per protocol, nothing given twice, nothing lost.
#include "control/apiserver/registry/allocator/service_allocator.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <thread>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/store/test_util.h"

namespace sluice::registry {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

const codec::KindInfo& service_kind() { return *codec::find_resource("", "v1", "services"); }

corev1::Service make_service(const std::string& type = "ClusterIP") {
    corev1::Service service;
    service.mutable_spec()->set_type(type);
    auto* port = service.mutable_spec()->add_ports();
    port->set_port(80);
    port->set_protocol("TCP");
    return service;
}

TEST(IpRange, BandIsASixteenthWithinLimits) {
    // 16 <= size/16 <= 256, none for tiny ranges (KEP-3070).
    EXPECT_EQ(IpRange(*IpPrefix::parse("10.0.0.0/16"), 1).static_band(), 256U);
    EXPECT_EQ(IpRange(*IpPrefix::parse("10.0.0.0/20"), 1).static_band(), 256U);
    EXPECT_EQ(IpRange(*IpPrefix::parse("10.0.0.0/22"), 1).static_band(), 64U);
    EXPECT_EQ(IpRange(*IpPrefix::parse("10.0.0.0/24"), 1).static_band(), 16U);
    EXPECT_EQ(IpRange(*IpPrefix::parse("10.0.0.0/28"), 1).static_band(), 0U);
}

TEST(IpRange, DynamicPicksLeaveTheBandForLast) {
    IpRange range(*IpPrefix::parse("10.0.0.0/24"), 7);
    std::set<std::string> seen;
    for (int i = 0; i < 254 - 16; ++i) {
        const auto address = range.take_any();
        ASSERT_TRUE(address.has_value());
        EXPECT_GT(address->bytes[15], 16);
        EXPECT_LT(address->bytes[15], 255);
        EXPECT_TRUE(seen.insert(address->to_string()).second);
    }
    for (int i = 0; i < 16; ++i) {
        const auto address = range.take_any();
        ASSERT_TRUE(address.has_value());
        EXPECT_LE(address->bytes[15], 16);
        EXPECT_GE(address->bytes[15], 1);
    }
    EXPECT_FALSE(range.take_any().has_value());
    range.release(*IpAddress::parse("10.0.0.77"));
    EXPECT_EQ(range.take_any()->to_string(), "10.0.0.77");
}

TEST(IpRange, NetworkAndBroadcastAreNotUsable) {
    IpRange range(*IpPrefix::parse("10.0.0.0/24"), 1);
    EXPECT_EQ(range.take(*IpAddress::parse("10.0.0.0")), TakeResult::kOutOfRange);
    EXPECT_EQ(range.take(*IpAddress::parse("10.0.0.255")), TakeResult::kOutOfRange);
    EXPECT_EQ(range.take(*IpAddress::parse("10.0.1.1")), TakeResult::kOutOfRange);
    EXPECT_EQ(range.take(*IpAddress::parse("10.0.0.1")), TakeResult::kTaken);
    EXPECT_EQ(range.take(*IpAddress::parse("10.0.0.1")), TakeResult::kAlreadyTaken);
}

TEST(NodePorts, BandAndProtocols) {
    NodePorts ports(30000, 32767, 3);
    EXPECT_EQ(ports.static_band(), 86U);  // 2768/32
    EXPECT_EQ(ports.take(Protocol::kTcp, 30001), TakeResult::kTaken);
    EXPECT_EQ(ports.take(Protocol::kUdp, 30001), TakeResult::kTaken);
    EXPECT_EQ(ports.take(Protocol::kTcp, 30001), TakeResult::kAlreadyTaken);
    EXPECT_EQ(ports.take(Protocol::kTcp, 29999), TakeResult::kOutOfRange);
    EXPECT_EQ(ports.take(Protocol::kTcp, 32768), TakeResult::kOutOfRange);
    for (int i = 0; i < 2768 - 86; ++i) EXPECT_GE(*ports.take_any(Protocol::kTcp), 30086);
    EXPECT_LT(*ports.take_any(Protocol::kTcp), 30086);
}

TEST(ServiceAllocator, RollbackGivesBackAndCommitKeeps) {
    ServiceAllocator allocator({*IpPrefix::parse("10.0.0.0/29")}, 30000, 30000, 1);
    for (int round = 0; round < 20; ++round) {
        auto service = make_service("NodePort");
        auto reserved = allocator.reserve(service_kind(), &service, nullptr);
        ASSERT_TRUE(reserved.has_value()) << reserved.error().message;
        EXPECT_EQ(service.spec().ports(0).nodeport(), 30000);
        (*reserved)->rollback();
    }
    auto kept = make_service("NodePort");
    auto reserved = allocator.reserve(service_kind(), &kept, nullptr);
    ASSERT_TRUE(reserved.has_value());
    (*reserved)->commit();
    reserved->reset();
    auto second = make_service("NodePort");
    const auto refused = allocator.reserve(service_kind(), &second, nullptr);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, 500);
    // The failed attempt must have given its address back: five are left in a /29 with six.
    for (int i = 0; i < 5; ++i) {
        auto more = make_service();
        auto taken = allocator.reserve(service_kind(), &more, nullptr);
        ASSERT_TRUE(taken.has_value()) << i << " " << taken.error().message;
        (*taken)->commit();
    }
    allocator.release(kept)->commit();
    auto again = make_service("NodePort");
    EXPECT_TRUE(allocator.reserve(service_kind(), &again, nullptr).has_value());
}

TEST(ServiceAllocator, OneNodePortForOnePortInTwoProtocols) {
    ServiceAllocator allocator({*IpPrefix::parse("10.0.0.0/24")}, 30000, 32767, 1);
    auto service = make_service("NodePort");
    auto* udp = service.mutable_spec()->add_ports();
    udp->set_port(80);
    udp->set_protocol("UDP");
    ASSERT_TRUE(allocator.reserve(service_kind(), &service, nullptr).has_value());
    EXPECT_EQ(service.spec().ports(0).nodeport(), service.spec().ports(1).nodeport());
}

TEST(ServiceAllocator, ConcurrentReservationsNeverShare) {
    ServiceAllocator allocator({*IpPrefix::parse("10.0.0.0/20")}, 30000, 32767, 1);
    std::mutex mutex;
    std::set<std::string> addresses;
    std::set<int> ports;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 200; ++i) {
                auto service = make_service("NodePort");
                auto reserved = allocator.reserve(service_kind(), &service, nullptr);
                ASSERT_TRUE(reserved.has_value());
                (*reserved)->commit();
                const std::lock_guard lock(mutex);
                EXPECT_TRUE(addresses.insert(service.spec().clusterip()).second);
                EXPECT_TRUE(ports.insert(service.spec().ports(0).nodeport()).second);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(addresses.size(), 800U);
}

// Two servers on one store: an allocator each, and the Service's transaction as Core makes it.
class SharedClaims : public ::testing::Test {
protected:
    SharedClaims() {
        auto opened = store::open_sqlite({folder_.file(), false, 1'000});
        EXPECT_TRUE(opened);
        store_ = std::move(*opened);
        for (auto& server : servers_) server = make_allocator();
    }
    std::unique_ptr<ServiceAllocator> make_allocator() {
        return std::make_unique<ServiceAllocator>(std::vector<IpPrefix>{*IpPrefix::parse("10.0.0.0/28")}, 30000,
                                                  30020, 1, store_.get());
    }
    // False: a condition did not hold.
    bool write(const std::string& name, Reservation& reservation, std::optional<store::Revision> expected,
               bool remove = false) {
        store::Write write{"/registry/services/specs/default/" + name, "x", expected};
        if (remove) write.value.reset();
        write.also = reservation.claims();
        auto result = store::testing::write_now(*store_, std::move(write));
        EXPECT_TRUE(result);
        const bool done = result && !result->condition_failed;
        done ? reservation.commit() : reservation.rollback();
        return done;
    }
    static corev1::Service named(const std::string& name, const std::string& type = "NodePort") {
        auto service = make_service(type);
        service.mutable_metadata()->set_namespace_("default");
        service.mutable_metadata()->set_name(name);
        return service;
    }

    store::testing::TemporaryFolder folder_;
    std::unique_ptr<store::Store> store_;
    std::array<std::unique_ptr<ServiceAllocator>, 2> servers_;
};

TEST_F(SharedClaims, WhatTwoServersPickAtOnceOneOfThemGets) {
    // The same seed: both pick the same.
    auto a = named("a");
    auto b = named("b");
    auto first = servers_[0]->reserve(service_kind(), &a, nullptr);
    auto second = servers_[1]->reserve(service_kind(), &b, nullptr);
    ASSERT_TRUE(first && second);
    ASSERT_EQ(a.spec().clusterip(), b.spec().clusterip());
    EXPECT_TRUE(write("a", **first, 0));
    EXPECT_FALSE(write("b", **second, 0));
    EXPECT_FALSE(*store_->get("/registry/services/specs/default/b"));
    auto again = named("b");
    auto third = servers_[1]->reserve(service_kind(), &again, nullptr);
    ASSERT_TRUE(third);
    EXPECT_TRUE(write("b", **third, 0));
    EXPECT_NE(again.spec().clusterip(), a.spec().clusterip());
    EXPECT_NE(again.spec().ports(0).nodeport(), a.spec().ports(0).nodeport());
    // By name, what another server gave is refused.
    auto wants = named("c");
    wants.mutable_spec()->set_clusterip(a.spec().clusterip());
    wants.mutable_spec()->add_clusterips(a.spec().clusterip());
    EXPECT_FALSE(servers_[1]->reserve(service_kind(), &wants, nullptr));
}

TEST_F(SharedClaims, WhatWasNotWrittenIsFreeAndWhatIsRemovedIsFreeEverywhere) {
    auto given_up = named("a");
    { auto reserved = servers_[0]->reserve(service_kind(), &given_up, nullptr); }
    EXPECT_TRUE(store_->range("/registry/ranges/", "", 0)->items.empty());
    auto a = named("a");
    a.mutable_spec()->set_clusterip("10.0.0.3");
    a.mutable_spec()->add_clusterips("10.0.0.3");
    auto taken = servers_[0]->reserve(service_kind(), &a, nullptr);
    ASSERT_TRUE(taken && write("a", **taken, 0));
    EXPECT_EQ(store_->range("/registry/ranges/", "", 0)->items.size(), 2U);
    EXPECT_EQ(*(*store_->get("/registry/ranges/serviceips/10.0.0.3"))->value, "default/a");
    // The other server removes it, and gives the address to another Service.
    auto gone = servers_[1]->release(a);
    ASSERT_TRUE(write("a", *gone, std::nullopt, true));
    EXPECT_TRUE(store_->range("/registry/ranges/", "", 0)->items.empty());
    auto b = named("b");
    b.mutable_spec()->set_clusterip("10.0.0.3");
    b.mutable_spec()->add_clusterips("10.0.0.3");
    auto next = servers_[1]->reserve(service_kind(), &b, nullptr);
    ASSERT_TRUE(next && write("b", **next, 0));
    // Somebody else's claim stays, whoever held the value before.
    auto late = servers_[0]->release(a);
    EXPECT_TRUE(write("a", *late, std::nullopt, true));
    EXPECT_EQ(*(*store_->get("/registry/ranges/serviceips/10.0.0.3"))->value, "default/b");
}

TEST_F(SharedClaims, TheRangeIsFullForBothServersAtTheSameTime) {
    std::set<std::string> addresses;
    for (int i = 0; i < 14; ++i) {
        auto service = named("s" + std::to_string(i), "ClusterIP");
        auto reserved = servers_[static_cast<std::size_t>(i % 2)]->reserve(service_kind(), &service, nullptr);
        ASSERT_TRUE(reserved && write(service.metadata().name(), **reserved, 0)) << i;
        EXPECT_TRUE(addresses.insert(service.spec().clusterip()).second);
    }
    for (auto& server : servers_) {
        auto service = named("more", "ClusterIP");
        EXPECT_FALSE(server->reserve(service_kind(), &service, nullptr));
    }
}

}  // namespace
}  // namespace sluice::registry
