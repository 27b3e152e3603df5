// Tunnelled flows whose packets come faster than the flow table is asked (bpf/lib/recent.h): what users see of them is
// what they would see without.
// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
// clang-format on

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <map>
#include <thread>

#include "dataplane/ebpf/inspect_flows.h"
#include "dataplane/image/layout.h"
#include "dataplane/packet/harness.h"

namespace sluice::dataplane {
namespace {

using packets::Bytes;
using packets::Spec;

constexpr std::array<std::uint8_t, 3> kProtocols{6, 17, 132};
constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;

struct Shape {
    bool v6 = false;
    std::uint8_t protocol = 6;
};

class Recent : public ::testing::TestWithParam<Shape> {
protected:
    static void SetUpTestSuite() { harness_ = Harness::make(test_node(), 1U << 18U); }
    static void TearDownTestSuite() { harness_.reset(); }
    void SetUp() override {
        if (!harness_) {
            GTEST_SKIP() << "needs root, BPF and a network namespace";
        }
        port_ = static_cast<std::uint16_t>(port_ + 50);  // tests share the flow table, not the flows
    }

    static std::string pod(bool v6, int number) { return (v6 ? "fd02::" : "10.244.2.") + std::to_string(number); }
    // default/web at a load-balancer address, backends on another node.
    static void serve(Shape shape, const std::vector<int>& pods) {
        image::Service out;
        out.key = {"default/web", "", static_cast<Protocol>(shape.protocol),
                   shape.v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
        out.port = 80;
        image::Frontend frontend;
        frontend.address = *IpAddress::parse(shape.v6 ? "2001:db8:5::10" : "203.0.113.10");
        frontend.port = 80;
        frontend.external = frontend.masquerade = true;
        frontend.forwarding = image::Forwarding::kTunnel;
        out.frontends = {frontend};
        for (const int number : pods) {
            image::Backend backend;
            backend.address = *IpAddress::parse(pod(shape.v6, number));
            backend.port = 8080;
            out.internal.backends.push_back(backend);
        }
        out.external = out.inside = out.internal;
        harness_->upsert(out);
    }
    static Spec packet(Shape shape, std::uint8_t flags) {
        Spec spec;
        spec.src = shape.v6 ? "2001:db8:1::7" : "198.51.100.7";
        spec.dst = shape.v6 ? "2001:db8:5::10" : "203.0.113.10";
        spec.sport = port_;
        spec.dport = 80;
        spec.protocol = shape.protocol;
        spec.tcp_flags = flags;
        spec.sctp_chunk = flags == kSyn ? 1 : 0;
        return spec;
    }
    // The backend that the packet is sent to; empty if it is not sent.
    static std::string sent_to(const Spec& spec) {
        const Outcome out = harness_->run_xdp(spec);
        return out.action == kXdpTx ? out.view.dst : "";
    }
    // A connection with a few packets behind it. Ticks pass meanwhile or not; either is fine.
    static void establish(Shape shape) {
        for (const std::uint8_t flags : {kSyn, kAck, kAck, kAck}) {
            ASSERT_NE(sent_to(packet(shape, flags)), "");
        }
    }
    // A connection with pod 1, from a port of its own, whose service has only pod 2 by now.
    static void outlive_pod(Shape shape) {
        port_ = static_cast<std::uint16_t>(port_ + 1);
        serve(shape, {1});
        establish(shape);
        serve(shape, {2});
    }
    static void expect_further_to(Shape shape, int number) {
        for (int i = 0; i < 3; ++i) {
            EXPECT_EQ(sent_to(packet(shape, kAck)), pod(shape.v6, number));
        }
    }
    static sluice_backend_counters served() {
        sluice_backend_counters sum{};
        for (std::uint32_t i = 0; i < harness_->capacities().backends; ++i) {
            const auto one = image::sum_served(harness_->tables(), i);
            sum.connections += one.connections;
            sum.packets += one.packets;
            sum.bytes += one.bytes;
        }
        return sum;
    }

    static std::unique_ptr<Harness> harness_;
    static std::uint16_t port_;
};

std::unique_ptr<Harness> Recent::harness_;
std::uint16_t Recent::port_ = 20000;

TEST_P(Recent, EveryPacketOfAFlowGoesOnAlikeAndIsCounted) {
    const Shape shape = GetParam();
    serve(shape, {1, 2, 3, 4, 5, 6, 7});
    const Bytes first = harness_->run_xdp(packet(shape, kSyn)).frame;
    const auto before = served();
    const Bytes second = harness_->run_xdp(packet(shape, kAck)).frame;
    EXPECT_EQ(Bytes(first.begin(), first.begin() + 34), Bytes(second.begin(), second.begin() + 34));
    for (int i = 0; i < 100; ++i) {
        const Outcome out = harness_->run_xdp(packet(shape, kAck));
        EXPECT_EQ(out.action, kXdpTx);
        EXPECT_EQ(out.frame, second);
    }
    const auto after = served();
    EXPECT_EQ(after.packets - before.packets, 101U);
    EXPECT_EQ(after.bytes - before.bytes, 101U * packets::build(packet(shape, kAck)).size());
    EXPECT_EQ(after.connections, before.connections);
}

TEST_P(Recent, AConnectionThatIsOverIsNotGoneOnWith) {
    const Shape shape = GetParam();
    for (const std::uint8_t end : {kFin, kRst}) {
        outlive_pod(shape);
        if (shape.protocol == 6) {
            EXPECT_EQ(sent_to(packet(shape, kAck)), pod(shape.v6, 1));
            EXPECT_EQ(sent_to(packet(shape, end | kAck)), pod(shape.v6, 1));
            EXPECT_EQ(sent_to(packet(shape, kSyn)), pod(shape.v6, 2));
        }
        // A datagram has no connection to keep to.
        expect_further_to(shape, 2);
    }
}

// Packets of one connection by devices with XDP and without.
TEST_P(Recent, WhatTcSeesTheEndOfIsOverHereToo) {
    const Shape shape = GetParam();
    for (const std::uint8_t end : {kFin, kRst}) {
        outlive_pod(shape);
        if (shape.protocol == 6) {
            EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, packet(shape, end | kAck)).view.dst, pod(shape.v6, 1));
        }
        EXPECT_EQ(harness_->run(TcProgram::kNodeIngress, packet(shape, kSyn)).view.dst, pod(shape.v6, 2));
        expect_further_to(shape, 2);
    }
}

TEST_P(Recent, OtherProtocolsWithTheSamePortsAreOtherFlows) {
    const Shape shape = GetParam();
    for (const std::uint8_t protocol : kProtocols) {
        serve({shape.v6, protocol}, {protocol});
    }
    establish(shape);
    for (int i = 0; i < 3; ++i) {
        for (const std::uint8_t protocol : kProtocols) {
            EXPECT_EQ(sent_to(packet({shape.v6, protocol}, kAck)), pod(shape.v6, protocol));
        }
    }
}

TEST_P(Recent, ABackendThatComesBackIsNotTheOneThatLeft) {
    const Shape shape = GetParam();
    serve(shape, {1});
    establish(shape);
    serve(shape, {2});
    serve(shape, {1, 2});
    // Of TCP the connection stays where it was, and datagrams are where one of the two chooses: but where, they stay.
    const std::string now = sent_to(packet(shape, kAck));
    if (shape.protocol == 6) {
        EXPECT_EQ(now, pod(shape.v6, 1));
    }
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(sent_to(packet(shape, kAck)), now);
    }
}

TEST_P(Recent, WhatIsTooBigOrUnsoundIsTcsAndTheFlowGoesOn) {
    const Shape shape = GetParam();
    serve(shape, {1});
    establish(shape);
    Spec large = packet(shape, kAck);
    large.payload = std::string(1460, 'x');
    EXPECT_EQ(harness_->run_xdp(large).action, kXdpPass);
    EXPECT_EQ(sent_to(packet(shape, kAck)), pod(shape.v6, 1));
    EXPECT_EQ(sent_to(packet(shape, kAck)), pod(shape.v6, 1));
    Bytes cut = packets::build(packet(shape, kAck));
    cut.pop_back();
    const Outcome unsound = harness_->run_xdp(cut);
    EXPECT_EQ(unsound.action, kXdpPass);
    EXPECT_EQ(unsound.frame, cut);
    if (!shape.v6) {
        Bytes wrong = packets::build(packet(shape, kAck));
        wrong[14 + 10] ^= 1;
        EXPECT_EQ(harness_->run_xdp(wrong).action, kXdpPass);
    }
    EXPECT_EQ(sent_to(packet(shape, kAck)), pod(shape.v6, 1));
}

// More than four times as many as there are sets, so that they push each other out.
TEST_P(Recent, FlowsKeepTheirBackendsHoweverManyThereAre) {
    const Shape shape = GetParam();
    std::vector<int> pods;
    for (int i = 10; i < 26; ++i) pods.push_back(i);
    serve(shape, pods);
    constexpr int kFlows = 20000;
    std::vector<std::string> backend(kFlows);
    for (int turn = 0; turn < 4; ++turn) {
        for (int i = 0; i < kFlows; ++i) {
            Spec spec = packet(shape, turn == 0 ? kSyn : kAck);
            spec.sport = static_cast<std::uint16_t>(1024 + i);
            const std::string to = sent_to(spec);
            if (turn == 0) backend[i] = to;
            ASSERT_EQ(to, backend[i]) << "flow " << i << " in turn " << turn;
        }
    }
    std::map<std::string, int> flows;
    for (const auto& one : backend) ++flows[one];
    EXPECT_EQ(flows.size(), pods.size());
}

TEST_P(Recent, FlowsThatAreUsedDoNotGrowOld) {
    const Shape shape = GetParam();
    serve(shape, {1});
    establish(shape);
    const auto tables = FlowTables::open(harness_->state_directory());
    ASSERT_TRUE(tables);
    FlowKey key;
    key.source = *IpAddress::parse(packet(shape, 0).src);
    key.destination = *IpAddress::parse(packet(shape, 0).dst);
    key.source_port = port_;
    key.destination_port = 80;
    key.protocol = static_cast<Protocol>(shape.protocol);
    for (int i = 0; i < 25; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        ASSERT_EQ(sent_to(packet(shape, kAck)), pod(shape.v6, 1));
    }
    const auto found = find_flow((*tables)->view(), key);
    ASSERT_TRUE(found.has_value());
    EXPECT_LE(found->flow.idle_s, 1U);
}

INSTANTIATE_TEST_SUITE_P(Families, Recent,
                         ::testing::Values(Shape{false, 6}, Shape{false, 17}, Shape{true, 6}, Shape{true, 17}),
                         [](const auto& param) {
                             return std::string(param.param.v6 ? "V6" : "V4") +
                                    (param.param.protocol == 6 ? "Tcp" : "Udp");
                         });

}  // namespace
}  // namespace sluice::dataplane
