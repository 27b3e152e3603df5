// SERVICE-SEMANTICS "Owned by the API server": bands, ranges, ports per protocol, nothing given twice, nothing lost.
#include "control/apiserver/registry/allocator/service_allocator.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "api/kubernetes/core/v1/service.pb.h"

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

}  // namespace
}  // namespace sluice::registry
