// The masquerade table of the service semantics, row by row: who sends, to which kind of address, under which
// policy and way of telling pods. The expectations are written down from the table, not computed by what is
// tested.
#include <map>
#include <set>

#include "dataplane/packet/test_journey.h"

namespace sluice::dataplane {
namespace {

enum class Client { kPod, kNode, kOutside };
enum class Address { kClusterIp, kNodePort, kLoadBalancer, kExternalIp };
enum class Detect { kNone, kRanges, kDevice };

// What a row of the table says.
struct Row {
    Client client;
    bool external;  // column: NodePort, load-balancer and external addresses
    bool local;     // external policy Local
    bool all;       // all endpoints, else this node's
    bool snat;
};

// Source kept or the node's; "node" has the node's address already, so either says the same of it.
constexpr std::array kTable{
    Row{Client::kPod, false, false, true, false},    Row{Client::kPod, false, true, true, false},
    Row{Client::kPod, true, false, true, true},      Row{Client::kPod, true, true, true, false},
    Row{Client::kNode, false, false, true, true},    Row{Client::kNode, false, true, true, true},
    Row{Client::kNode, true, false, true, true},     Row{Client::kNode, true, true, true, true},
    Row{Client::kOutside, false, false, true, true}, Row{Client::kOutside, false, true, true, true},
    Row{Client::kOutside, true, false, true, true},  Row{Client::kOutside, true, true, false, false},
};

class Matrix : public Journey {
protected:
    static std::string local_pod(bool v6) { return v6 ? "fd01::6" : "10.244.1.6"; }
    static std::string balancer(bool v6) { return v6 ? "2001:db8:50::1" : "203.0.113.50"; }
    static std::string external_ip(bool v6) { return v6 ? "2001:db8:50::2" : "203.0.113.51"; }

    static image::Service everything(Shape shape, bool local) {
        image::Service out = service(shape.v6, shape.protocol, {local_pod(shape.v6), remote_pod(shape.v6)});
        out.internal.backends[0].local = true;
        out.external = out.inside = out.internal;
        if (local) {
            out.external.backends.pop_back();
        }
        for (const std::string& address : {balancer(shape.v6), external_ip(shape.v6)}) {
            out.frontends.push_back({*IpAddress::parse(address), 80, image::Scope::kAddress, true, true});
        }
        for (auto& frontend : out.frontends) {
            frontend.masquerade = frontend.external && !local;
        }
        std::sort(out.frontends.begin(), out.frontends.end());
        return out;
    }
    static std::string source(Client client, bool v6) {
        return client == Client::kPod ? pod(v6) : client == Client::kNode ? node(v6) : outside(v6);
    }
    static TcProgram program(Client client) {
        return client == Client::kPod    ? TcProgram::kPodIngress
               : client == Client::kNode ? TcProgram::kNodeEgress
                                         : TcProgram::kNodeIngress;
    }
    static std::string destination(Address address, bool v6) {
        switch (address) {
            case Address::kClusterIp: return cluster_ip(v6);
            case Address::kNodePort: return node(v6);
            case Address::kLoadBalancer: return balancer(v6);
            case Address::kExternalIp: return external_ip(v6);
        }
        return {};
    }

    // Sends enough first packets that every backend is met, and checks them all against the row.
    void expect_row(Shape shape, const Row& row, Address address, bool snat) {
        const bool v6 = shape.v6;
        std::set<std::string> met;
        const std::set<std::string> both{local_pod(v6), remote_pod(v6)};
        // By chance one may be met late; 100 times in a row never.
        for (int i = 0; i < 16 || (row.all && met != both && i < 100); ++i) {
            const Spec spec = packet(shape, source(row.client, v6), destination(address, v6), next_port_++,
                                     address == Address::kNodePort ? 30080 : 80);
            const Outcome out = harness_->run(program(row.client), spec);
            ASSERT_EQ(out.action, kActionRedirect);
            ASSERT_EQ(out.view.error, "");
            EXPECT_EQ(out.view.src, snat ? node(v6) : source(row.client, v6));
            EXPECT_EQ(out.view.dport, 8080);
            met.insert(out.view.dst);
            if (!snat) {
                EXPECT_EQ(out.view.sport, spec.sport);
            }
            // And back, from wherever the backend is.
            const bool here = out.view.dst == local_pod(v6);
            const Outcome back = harness_->run(
                here ? TcProgram::kPodIngress : TcProgram::kNodeIngress,
                packet(shape, out.view.dst, out.view.src, 8080, out.view.sport, kSyn | kAck));
            expect(back, spec.dst, spec.dport, spec.src, spec.sport);
        }
        EXPECT_EQ(met, row.all ? both : std::set<std::string>{local_pod(v6)});
    }

    void walk(Detect detect, bool masquerade_all) {
        image::Node facts = test_node(detect == Detect::kRanges);
        facts.detect_by_device = detect == Detect::kDevice;
        facts.masquerade_all = masquerade_all;
        harness_->set_node(facts);
        for (const Shape shape : shapes()) {
            for (const bool local : {false, true}) {
                harness_->upsert(everything(shape, local));
                for (const Row& row : kTable) {
                    if (row.local != local) {
                        continue;
                    }
                    // With no way of telling pods there is no source NAT to ClusterIPs; masqueradeAll is all of it.
                    const bool snat =
                        row.external ? row.snat
                                     : masquerade_all || row.client == Client::kNode ||
                                           (row.snat && detect != Detect::kNone);
                    for (const Address address :
                         row.external ? std::vector{Address::kNodePort, Address::kLoadBalancer,
                                                    Address::kExternalIp}
                                      : std::vector{Address::kClusterIp}) {
                        SCOPED_TRACE(fmt::format("v6 {} protocol {} local {} client {} address {}", shape.v6,
                                                 static_cast<int>(shape.protocol), local,
                                                 static_cast<int>(row.client), static_cast<int>(address)));
                        expect_row(shape, row, address, snat);
                    }
                }
            }
        }
        harness_->set_node(test_node());
    }

    // Flows outlive a test: each has ports of its own.
    static inline std::uint16_t next_port_ = 2000;
};

TEST_F(Matrix, MasqueradeTableByRanges) { walk(Detect::kRanges, false); }
TEST_F(Matrix, MasqueradeTableByDevice) { walk(Detect::kDevice, false); }
TEST_F(Matrix, MasqueradeTableWithoutDetection) { walk(Detect::kNone, false); }
TEST_F(Matrix, MasqueradeAllIsAllClusterIpTraffic) {
    walk(Detect::kRanges, true);
    walk(Detect::kNone, true);
}

TEST_F(Matrix, HairpinIsSourceNatOnEveryAddress) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        for (const bool local : {false, true}) {
            image::Service only = everything(shape, local);
            for (auto* set : {&only.internal, &only.external, &only.inside}) {
                set->backends.resize(1);
            }
            harness_->upsert(only);
            for (const Address address : {Address::kClusterIp, Address::kNodePort, Address::kLoadBalancer,
                                          Address::kExternalIp}) {
                const Outcome out = harness_->run(
                    TcProgram::kPodIngress,
                    packet(shape, local_pod(v6), destination(address, v6), next_port_++,
                           address == Address::kNodePort ? 30080 : 80));
                EXPECT_EQ(out.action, kActionRedirect);
                EXPECT_EQ(out.view.error, "");
                EXPECT_EQ(out.view.src, node(v6));
                EXPECT_EQ(out.view.dst, local_pod(v6));
            }
        }
    }
}

// loadBalancerSourceRanges: on load-balancer addresses only, also to pods, with or without endpoints.
TEST_F(Matrix, SourceRangesComeBeforeEndpoints) {
    for (const Shape shape : shapes()) {
        const bool v6 = shape.v6;
        for (const bool empty : {false, true}) {
            image::Service ranged = everything(shape, false);
            ranged.sources = {{*IpAddress::parse(v6 ? "2001:db8:1::" : "198.51.100.0"),
                               *IpAddress::parse(v6 ? "2001:db8:1::ff" : "198.51.100.255")}};
            for (auto& frontend : ranged.frontends) {
                frontend.restricted = frontend.address == *IpAddress::parse(balancer(v6));
            }
            std::sort(ranged.frontends.begin(), ranged.frontends.end());
            if (empty) {
                for (auto* set : {&ranged.internal, &ranged.external, &ranged.inside}) {
                    set->backends.clear();
                }
            }
            harness_->upsert(ranged);
            const auto ranges = harness_->drops(SLUICE_DROP_SOURCE_RANGE);
            const auto refused = harness_->drops(SLUICE_DROP_NO_ENDPOINT);
            const std::string stranger = v6 ? "2001:db8:2::7" : "198.51.101.7";
            EXPECT_EQ(harness_
                          ->run(TcProgram::kNodeIngress,
                                packet(shape, stranger, balancer(v6), next_port_++, 80))
                          .action,
                      kActionShot);
            EXPECT_EQ(harness_
                          ->run(TcProgram::kPodIngress,
                                packet(shape, pod(v6), balancer(v6), next_port_++, 80))
                          .action,
                      kActionShot);
            EXPECT_EQ(harness_->drops(SLUICE_DROP_SOURCE_RANGE), ranges + 2);
            const Outcome in = harness_->run(TcProgram::kNodeIngress,
                                             packet(shape, outside(v6), balancer(v6), next_port_++, 80));
            EXPECT_EQ(in.action, kActionRedirect);
            EXPECT_EQ(in.view.dst == outside(v6), empty) << "refused, or forwarded";
            const Outcome other = harness_->run(
                TcProgram::kNodeIngress, packet(shape, stranger, node(v6), next_port_++, 30080));
            EXPECT_EQ(other.view.dst == stranger, empty) << "not on the other addresses";
            EXPECT_EQ(harness_->drops(SLUICE_DROP_NO_ENDPOINT), refused + (empty ? 2 : 0));
        }
    }
}

// A port or protocol that is not listed, and a ping: refused by RST or ICMP (kube-proxy's nftables mode rejects them
// alike). An answer to a ping that nobody sent is dropped.
TEST_F(Matrix, OwnedAddressesRefuseTheRest) {
    for (const bool v6 : {false, true}) {
        harness_->upsert(everything({v6, Protocol::kTcp}, false));
        // External addresses may be somebody else's too: what the service does not list there is not ours.
        for (const std::string& address : {balancer(v6), external_ip(v6)}) {
            const Bytes other = packets::build(
                packet({v6, Protocol::kTcp}, pod(v6), address, next_port_++, 81));
            EXPECT_EQ(harness_->run(TcProgram::kPodIngress, other).frame, other);
        }
        for (const std::string& address : {cluster_ip(v6)}) {
            for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
                const auto before = harness_->drops(SLUICE_DROP_PORT_NOT_SERVED);
                const Outcome out = harness_->run(
                    TcProgram::kPodIngress, packet({v6, protocol}, pod(v6), address, next_port_++, 81));
                EXPECT_EQ(out.action, kActionRedirect);
                EXPECT_EQ(out.view.error, "");
                EXPECT_EQ(out.view.dst, pod(v6));
                EXPECT_EQ(out.view.protocol, protocol == Protocol::kTcp ? 6 : v6 ? 58 : 1);
                EXPECT_EQ(harness_->drops(SLUICE_DROP_PORT_NOT_SERVED), before + 1);
            }
            Spec ping = packet({v6, Protocol::kTcp}, pod(v6), address, 0, 0);
            ping.protocol = v6 ? 58 : 1;
            EXPECT_EQ(harness_->run(TcProgram::kPodIngress, ping).view.icmp_type, v6 ? 1 : 3);
            ping.icmp_type = v6 ? 129 : 14;
            EXPECT_EQ(harness_->run(TcProgram::kPodIngress, ping).action, kActionShot);
        }
    }
}

}  // namespace
}  // namespace sluice::dataplane
