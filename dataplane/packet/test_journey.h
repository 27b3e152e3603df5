// The fixture of the packet journeys: a harness for the whole suite, a service, and packets to it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "api/abi/drop_reasons.h"
#include "dataplane/packet/harness.h"

namespace sluice::dataplane {

using packets::Bytes;
using packets::Spec;

constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;

class Journey : public ::testing::Test {
protected:
    static void SetUpTestSuite() { harness_ = Harness::make(test_node()); }
    static void TearDownTestSuite() { harness_.reset(); }
    void SetUp() override {
        if (!harness_) {
            GTEST_SKIP() << "needs root, BPF and a network namespace";
        }
        port_ = static_cast<std::uint16_t>(port_ + 100);  // tests share the flow table, not the flows
    }

    struct Shape {
        bool v6;
        Protocol protocol;
    };
    static std::vector<Shape> shapes() {
        return {{false, Protocol::kTcp}, {false, Protocol::kUdp}, {false, Protocol::kSctp},
                {true, Protocol::kTcp},  {true, Protocol::kUdp},  {true, Protocol::kSctp}};
    }
    static std::string cluster_ip(bool v6) { return v6 ? "fd00::10" : "10.96.0.10"; }
    static std::string pod(bool v6) { return v6 ? "fd01::5" : "10.244.1.5"; }
    static std::string remote_pod(bool v6) { return v6 ? "fd02::9" : "10.244.2.9"; }
    static std::string node(bool v6) { return v6 ? "2001:db8::1" : "192.0.2.1"; }
    static std::string outside(bool v6) { return v6 ? "2001:db8:1::7" : "198.51.100.7"; }

    // Service default/web on the ClusterIP, NodePort 30080 and, with policy Local, 30081.
    static image::Service service(bool v6, Protocol protocol, std::vector<std::string> backends) {
        image::Service out;
        out.key = {"default/web", "", protocol, v6 ? IpFamily::kIpv6 : IpFamily::kIpv4};
        out.port = 80;
        const IpAddress any = v6 ? IpAddress{} : IpAddress::from_v4_be(0);
        out.frontends = {{*IpAddress::parse(cluster_ip(v6)), 80, image::Scope::kAddress, false, false},
                         {any, 30080, image::Scope::kNodePort, true, true}};
        std::sort(out.frontends.begin(), out.frontends.end());
        for (const auto& text : backends) {
            out.internal.backends.push_back({*IpAddress::parse(text), 8080, false, false, ""});
        }
        out.external = out.internal;
        out.inside = out.internal;
        return out;
    }

    static Spec packet(Shape shape, const std::string& src, const std::string& dst,
                       std::uint16_t sport, std::uint16_t dport, std::uint8_t flags = kSyn) {
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

    static void expect(const Outcome& out, const std::string& src, std::uint16_t sport,
                       const std::string& dst, std::uint16_t dport) {
        EXPECT_EQ(out.view.error, "");
        EXPECT_EQ(out.view.src, src);
        EXPECT_EQ(out.view.sport, sport);
        EXPECT_EQ(out.view.dst, dst);
        EXPECT_EQ(out.view.dport, dport);
    }

    static inline std::unique_ptr<Harness> harness_;
    static inline std::uint16_t port_ = 40000;
};

}  // namespace sluice::dataplane
