// What tests of the pipeline share: services of the small world, and packets to them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "api/abi/drop_reasons.h"
#include "dataplane/dpdk/pipeline/test_world.h"

namespace sluice::dpdk {

constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;

struct Shape {
    bool v6;
    Protocol protocol;
};
inline std::vector<Shape> shapes() {
    return {{false, Protocol::kTcp}, {false, Protocol::kUdp}, {false, Protocol::kSctp},
            {true, Protocol::kTcp},  {true, Protocol::kUdp},  {true, Protocol::kSctp}};
}
inline std::string cluster_ip(bool v6) {
    return v6 ? "fd00::10" : "10.96.0.10";
}
inline std::string external_ip(bool v6) {
    return v6 ? "2001:db8:ff::10" : "203.0.113.10";
}
inline std::string local_pod(bool v6) {
    return v6 ? "fd01::5" : "10.244.1.5";
}
inline std::string other_local_pod(bool v6) {
    return v6 ? "fd01::9" : "10.244.1.9";
}
inline std::string remote_pod(bool v6) {
    return v6 ? "fd02::9" : "10.244.2.9";
}
// Behind interface 1, 3, one without a neighbour, and one without a route.
inline std::string pod_behind(int net, bool v6) {
    return v6 ? "fd0" + std::to_string(net) + "::9" : "10.244." + std::to_string(net) + ".9";
}
inline std::string node_ip(bool v6) {
    return v6 ? "2001:db8::1" : "192.0.2.1";
}
inline std::string outside(bool v6) {
    return v6 ? "2001:db8:1::7" : "198.51.100.7";
}

inline constexpr std::uint16_t kNodePort = 30080;

// default/web on ClusterIP:80, NodePort 30080 and external address:80, policy Cluster unless `local`.
inline image::Service web(bool v6, Protocol protocol, const std::vector<std::string>& backends, bool local = false,
                          image::Forwarding forwarding = image::Forwarding::kNat) {
    image::Service out;
    out.key = {"default/web", "", protocol, v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
    out.port = 80;
    const IpAddress any = v6 ? IpAddress{} : IpAddress::from_v4_be(0);
    out.frontends = {
        {ip_of(cluster_ip(v6)), 80, image::Scope::kAddress, false, false, false, image::Forwarding::kNat},
        {any, kNodePort, image::Scope::kNodePort, true, !local, false, forwarding},
        {ip_of(external_ip(v6)), 80, image::Scope::kAddress, true, !local, false, forwarding}};
    std::sort(out.frontends.begin(), out.frontends.end());
    for (const std::string& text : backends) {
        const bool here = text == local_pod(v6) || text == other_local_pod(v6);
        out.internal.backends.push_back({ip_of(text), 8080, here, false, ""});
    }
    std::sort(out.internal.backends.begin(), out.internal.backends.end());
    out.external = out.internal;
    out.inside = out.internal;
    return out;
}

inline Spec packet(Shape shape, const std::string& src, const std::string& dst, std::uint16_t sport,
                   std::uint16_t dport, std::uint8_t flags = kSyn) {
    Spec spec;
    spec.src = src;
    spec.dst = dst;
    spec.sport = sport;
    spec.dport = dport;
    spec.protocol = static_cast<std::uint8_t>(shape.protocol);
    spec.tcp_flags = flags;
    // The chunk that does in SCTP what the flags do in TCP.
    spec.sctp_chunk = (flags & kRst) != 0   ? 6
                      : (flags & kFin) != 0 ? 7
                      : flags == kSyn       ? 1
                      : (flags & kSyn) != 0 ? 2
                                            : 0;
    return spec;
}

// Addresses and ports, with every checksum right.
inline void expect_tuple(const Outcome& out, const std::string& src, std::uint16_t sport, const std::string& dst,
                         std::uint16_t dport) {
    EXPECT_EQ(out.view.error, "");
    EXPECT_EQ(out.view.src, src);
    EXPECT_EQ(out.view.sport, sport);
    EXPECT_EQ(out.view.dst, dst);
    EXPECT_EQ(out.view.dport, dport);
}
// Destination, source MAC as the world's interfaces and neighbours have them.
inline void expect_macs(const Outcome& out, std::uint8_t neighbour, std::uint8_t interface) {
    ASSERT_GE(out.frame.size(), 12U);
    EXPECT_EQ(Bytes(out.frame.begin(), out.frame.begin() + 12),
              (Bytes{2, 0, 0, 0, 2, neighbour, 2, 0, 0, 0, 1, interface}));
}

inline std::string label(Shape shape) {
    return std::string(shape.v6 ? "IPv6 " : "IPv4 ") + std::string(protocol_name(shape.protocol));
}

}  // namespace sluice::dpdk
