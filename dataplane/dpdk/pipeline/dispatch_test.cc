// Whatever belongs to a flow comes to the lcore that has it.
#include "dataplane/dpdk/pipeline/dispatch.h"

#include <algorithm>
#include <memory>
#include <random>

#include "dataplane/dpdk/pipeline/test_pipeline.h"

namespace sluice::dpdk {
namespace {

// Many lcores, each frame processed where dispatch sends it.
class Lcores {
public:
    Lcores(std::uint32_t lcores, bool v6, Protocol protocol, image::Forwarding forwarding = image::Forwarding::kNat)
        : world(lcores), lcores_(lcores) {
        world.upsert(web(v6, protocol, {remote_pod(v6), pod_behind(3, v6), local_pod(v6)}, false, forwarding));
        look_again();
    }
    // Each lcore's flows, while they move: its own tables, and what others are told of them.
    void grow(sluice_flow_mode mode) {
        for (std::uint32_t i = 0; i < lcores_; ++i) world.grow(i, mode);
        look_again();
    }
    std::uint32_t lcore_for(const Bytes& bytes) {
        // Memory of its size, of none at all too, so that a sanitizer sees what is read beside it.
        const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[bytes.size()]);
        std::copy(bytes.begin(), bytes.end(), copy.get());
        Frame frame;
        frame.data = copy.get();
        frame.length = static_cast<std::uint32_t>(bytes.size());
        const std::uint32_t lcore =
            lcore_of(frame, world.tables(), world.shared(), lcores_, {tables_, world.now}, &memo_);
        EXPECT_EQ(lcore, lcore_of(frame, world.tables(), world.shared(), lcores_, {tables_, world.now}));
        EXPECT_LT(lcore, lcores_);
        used_ |= 1U << lcore;
        return lcore;
    }
    Outcome run(const Bytes& bytes, std::uint16_t interface, bool from_kernel = false) {
        return world.run(bytes, interface, from_kernel, lcore_for(bytes));
    }
    Outcome run(const Spec& spec, std::uint16_t interface, bool from_kernel = false) {
        return run(packets::build(spec), interface, from_kernel);
    }
    [[nodiscard]] std::uint32_t used() const { return used_; }
    World world;

private:
    void look_again() {
        tables_.clear();
        for (std::uint32_t i = 0; i < lcores_; ++i) tables_.push_back(world.memory(i));
    }
    std::uint32_t lcores_;
    std::uint32_t used_ = 0;
    std::vector<FlowMemory> tables_;
    FrontendMemo memo_;
};

enum class From { kPod, kOutside, kNode };
struct Client {
    From from;
    std::string address;
    std::uint16_t in;
};

Client client_of(From from, bool v6) {
    if (from == From::kPod) return {from, other_local_pod(v6), kPods};
    if (from == From::kNode) return {from, node_ip(v6), kUplink};
    return {from, outside(v6), kUplink};
}

Bytes untagged(const Outcome& out) {
    Bytes frame = out.frame;
    frame.erase(frame.begin() + 12, frame.begin() + static_cast<std::ptrdiff_t>(out.view.l3) - 2);
    return frame;
}

// Forth, back, and errors about both, of one connection.
void check_connection(Lcores& lcores, Shape shape, const Client& client, const std::string& to, std::uint16_t dport,
                      std::uint16_t sport) {
    const bool v6 = shape.v6;
    const bool node = client.from == From::kNode;
    const Outcome sent = lcores.run(packet(shape, client.address, to, sport, dport), client.in, node);
    ASSERT_EQ(sent.verdict, Verdict::kForward);
    ASSERT_EQ(sent.view.dport, 8080);
    const std::uint16_t backend_in = sent.out;
    const std::uint8_t tag_error = v6 ? 2 : 3;

    const Outcome again = lcores.run(packet(shape, client.address, to, sport, dport, kAck), client.in, node);
    expect_tuple(again, sent.view.src, sent.view.sport, sent.view.dst, 8080);
    Spec answer = packet(shape, sent.view.dst, sent.view.src, 8080, sent.view.sport, kAck);
    if (backend_in == kTagged) answer.vlans = {kTag};
    const Outcome back = lcores.run(answer, backend_in);
    expect_tuple(back, to, dport, client.address, sport);
    const Outcome error = lcores.run(
        packets::icmp_error(outside(v6), sent.view.src, tag_error, v6 ? 0 : 4, 1400, untagged(sent)), kUplink);
    EXPECT_EQ(packets::read_quoted(error.view).dst, to);
    EXPECT_EQ(packets::read_quoted(error.view).sport, sport);
    const Outcome of_client = lcores.run(
        packets::icmp_error(client.address, to, v6 ? 1 : 3, v6 ? 4 : 3, 0, untagged(back)), client.in, node);
    EXPECT_EQ(of_client.view.dst, sent.view.dst);
    EXPECT_EQ(packets::read_quoted(of_client.view).dport, sent.view.sport);
}

TEST(Dispatch, BothDirectionsAndErrorsOfEveryFlowMeet) {
    std::mt19937 random(7);
    for (std::uint32_t count = 1; count <= 8; ++count) {
        for (const Shape shape : shapes()) {
            Lcores lcores(count, shape.v6, shape.protocol);
            for (const From from : {From::kPod, From::kOutside, From::kNode}) {
                for (int i = 0; i < 12; ++i) {
                    // Beyond the range of the SNAT ports, and in it.
                    const auto sport =
                        static_cast<std::uint16_t>(i % 2 == 0 ? 32768 + random() % 32000 : 1024 + random() % 28000);
                    SCOPED_TRACE(label(shape) + " of " + std::to_string(static_cast<int>(from)) + " port " +
                                 std::to_string(sport) + " on " + std::to_string(count));
                    const bool node_port = i % 3 == 0 && from == From::kOutside;
                    const std::string to = node_port    ? node_ip(shape.v6)
                                           : i % 3 == 1 ? cluster_ip(shape.v6)
                                                        : external_ip(shape.v6);
                    check_connection(lcores, shape, client_of(from, shape.v6), to, node_port ? kNodePort : 80, sport);
                    if (::testing::Test::HasFailure()) return;
                }
            }
            EXPECT_EQ(lcores.used(), (1U << count) - 1) << "some lcores get nothing";
        }
    }
}

TEST(Dispatch, FragmentsGoWhereTheirFirstWent) {
    for (const bool v6 : {false, true}) {
        for (const bool snat : {false, true}) {
            Lcores lcores(5, v6, Protocol::kUdp);
            for (std::uint16_t i = 0; i < 30; ++i) {
                Spec spec =
                    packet({v6, Protocol::kUdp}, snat ? outside(v6) : other_local_pod(v6),
                           snat ? external_ip(v6) : cluster_ip(v6), static_cast<std::uint16_t>(40000 + i), 80);
                spec.payload = std::string(3000, 'z');
                const auto parts = packets::cut(packets::build(spec), 1000, 100U + i);
                // Spread before any is processed.
                std::vector<std::uint32_t> to;
                for (const Bytes& part : parts) to.push_back(lcores.lcore_for(part));
                for (std::size_t n = 0; n < parts.size(); ++n) {
                    EXPECT_EQ(to[n], to[0]);
                    EXPECT_EQ(lcores.world.run(parts[n], snat ? kUplink : kPods, false, to[n]).verdict,
                              Verdict::kForward);
                }
            }
        }
    }
}

TEST(Dispatch, AStrangersFragmentsPassThoughTheyWereSeen) {
    Lcores lcores(3, false, Protocol::kUdp);
    Spec spec = packet({false, Protocol::kUdp}, outside(false), local_pod(false), 40000, 9999);
    spec.payload = std::string(3000, 'z');
    for (const Bytes& part : packets::cut(packets::build(spec), 1000)) {
        EXPECT_EQ(lcores.run(part, kUplink).verdict, Verdict::kKernel);
    }
}

TEST(Dispatch, DirectReturnMeetsAtTheBackendsNode) {
    for (const auto forwarding : {image::Forwarding::kTunnel, image::Forwarding::kOption}) {
        for (const bool v6 : {false, true}) {
            World balancer;
            image::Service there = web(v6, Protocol::kTcp, {local_pod(v6)}, false, forwarding);
            for (auto* set : {&there.internal, &there.external, &there.inside}) set->backends[0].local = false;
            balancer.upsert(there);
            Lcores lcores(7, v6, Protocol::kTcp, forwarding);
            for (std::uint16_t sport = 35000; sport < 35030; ++sport) {
                const Outcome sent =
                    balancer.run(packet({v6, Protocol::kTcp}, outside(v6), external_ip(v6), sport, 80), kUplink);
                const Outcome given = lcores.run(sent.frame, kUplink);
                expect_tuple(given, outside(v6), sport, local_pod(v6), 8080);
                const Outcome back =
                    lcores.run(packet({v6, Protocol::kTcp}, local_pod(v6), outside(v6), 8080, sport, kAck), kPods);
                expect_tuple(back, external_ip(v6), 80, outside(v6), sport);
            }
        }
    }
}

TEST(Dispatch, AConnectionOutlivesItsFrontend) {
    for (const Shape shape : shapes()) {
        if (shape.protocol == Protocol::kUdp) continue;
        Lcores lcores(6, shape.v6, shape.protocol);
        std::vector<Outcome> sent;
        for (std::uint16_t sport = 36000; sport < 36020; ++sport) {
            sent.push_back(lcores.run(packet(shape, outside(shape.v6), external_ip(shape.v6), sport, 80), kUplink));
        }
        lcores.world.remove({"default/web", "", shape.protocol, shape.v6 ? IpFamily::kIpv6 : IpFamily::kIpv4});
        // Also while its flow may be in either of two tables: the first half is brought over in the second round.
        for (const auto mode : {SLUICE_FLOW_ALONE, SLUICE_FLOW_BESIDE, SLUICE_FLOW_MOVE, SLUICE_FLOW_MOVE}) {
            lcores.grow(mode);
            for (std::uint16_t i = 0; i < 20; ++i) {
                const Outcome out = lcores.run(packet(shape, outside(shape.v6), external_ip(shape.v6),
                                                      static_cast<std::uint16_t>(36000 + i), 80, kAck),
                                               kUplink);
                EXPECT_EQ(out.verdict, Verdict::kForward) << label(shape) << " in mode " << mode;
                EXPECT_EQ(out.view.dst, sent[i].view.dst);
            }
        }
    }
}

// lcore_for() compares what is remembered of destinations with what the image says: nothing is that is not so any more.
TEST(Dispatch, FrontendsThatComeAndGoAreNoticed) {
    for (const Shape shape : shapes()) {
        Lcores lcores(8, shape.v6, shape.protocol);
        const auto service = web(shape.v6, shape.protocol, {remote_pod(shape.v6)});
        for (const bool there : {false, true, false}) {
            if (there) {
                lcores.world.upsert(service);
            } else {
                lcores.world.remove(service.key);
            }
            for (std::uint16_t sport = 36000; sport < 36040; ++sport) {
                lcores.lcore_for(packets::build(
                    packet(shape, outside(shape.v6), external_ip(shape.v6), sport, 80, kAck)));
            }
        }
        EXPECT_EQ(lcores.used(), 0xffU);
    }
}

// Through the service and directly, from one port: the second gets another, and is answered under it.
TEST(Dispatch, ADirectConnectionFromAFlowsPortIsTakenApart) {
    for (const Shape shape : shapes()) {
        for (std::uint32_t count : {1U, 2U, 8U}) {
            const bool v6 = shape.v6;
            Lcores lcores(count, v6, shape.protocol);
            for (std::uint16_t sport = 37000; sport < 37012; ++sport) {
                const Outcome by_service =
                    lcores.run(packet(shape, other_local_pod(v6), cluster_ip(v6), sport, 80), kPods);
                const std::string backend = by_service.view.dst;
                const Outcome direct = lcores.run(packet(shape, other_local_pod(v6), backend, sport, 8080), kPods);
                ASSERT_EQ(direct.verdict, Verdict::kForward) << label(shape) << count;
                EXPECT_NE(direct.view.sport, sport);
                const Outcome more =
                    lcores.run(packet(shape, other_local_pod(v6), backend, sport, 8080, kAck), kPods);
                EXPECT_EQ(more.view.sport, direct.view.sport);
                Spec answer = packet(shape, backend, other_local_pod(v6), 8080, direct.view.sport, kAck);
                if (direct.out == kTagged) answer.vlans = {kTag};
                expect_tuple(lcores.run(answer, direct.out), backend, 8080, other_local_pod(v6), sport);
            }
        }
    }
}

TEST(Dispatch, SharesCoverTheRangeOnce) {
    for (std::uint32_t lcores = 1; lcores <= 64; ++lcores) {
        std::uint32_t next = 1024;
        for (std::uint32_t i = 0; i < lcores; ++i) {
            const PortShare share = share_of_ports(1024, 29999, i, lcores);
            EXPECT_EQ(share.first, next);
            EXPECT_GE(share.last, share.first);
            next = share.last + 1U;
        }
        EXPECT_EQ(next, 30000U);
    }
}

TEST(Dispatch, BrokenFramesGoSomewhere) {
    Lcores lcores(4, false, Protocol::kTcp);
    for (const bool v6 : {false, true}) {
        const Bytes plain = packets::build(packet({v6, Protocol::kTcp}, outside(v6), external_ip(v6), 40000, 80));
        for (const Bytes& frame : {plain, packets::icmp_error(outside(v6), node_ip(v6), 3, 0, 0, plain)}) {
            for (std::size_t length = 0; length <= frame.size(); ++length) {
                lcores.lcore_for(Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length)));
            }
        }
    }
}

}  // namespace
}  // namespace sluice::dpdk
