// The incremental result equals a fresh compile, whatever walk led to the objects.
#include "agent/compile/state.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::compile {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

corev1::Service service(const std::string& name, const std::string& ip) {
    corev1::Service out;
    out.mutable_metadata()->set_namespace_("d");
    out.mutable_metadata()->set_name(name);
    out.mutable_spec()->set_clusterip(ip);
    auto* port = out.mutable_spec()->add_ports();
    port->set_name("http");
    port->set_port(80);
    return out;
}

discoveryv1::EndpointSlice slice(const std::string& name, const std::string& of,
                                 const std::vector<std::string>& addresses) {
    discoveryv1::EndpointSlice out;
    out.mutable_metadata()->set_namespace_("d");
    out.mutable_metadata()->set_name(name);
    (*out.mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = of;
    out.set_addresstype("IPv4");
    auto* port = out.add_ports();
    port->set_name("http");
    port->set_port(8080);
    for (const auto& address : addresses) out.add_endpoints()->add_addresses(address);
    return out;
}

TEST(State, OnlyTheServiceOfAChangedSliceIsReported) {
    State state("n1");
    for (int i = 0; i < 20; ++i) {
        const std::string name = fmt::format("s{}", i);
        state.upsert(service(name, fmt::format("10.96.0.{}", i + 1)));
        state.upsert(slice(name, name, {"10.1.0.1"}));
    }
    EXPECT_THAT(state.take().change.upserts, SizeIs(20));
    state.upsert(slice("s7", "s7", {"10.1.0.1", "10.1.0.2"}));
    const Progress progress = state.take();
    ASSERT_THAT(progress.change.upserts, SizeIs(1));
    EXPECT_EQ(progress.change.upserts[0].key.service, "d/s7");
    EXPECT_EQ(progress.compiled, 1U);
    EXPECT_THAT(progress.change.removals, IsEmpty());
}

TEST(State, AnEqualObjectIsNoChange) {
    State state("n1");
    state.upsert(service("a", "10.96.0.1"));
    state.upsert(slice("a", "a", {"10.1.0.1"}));
    state.take();
    auto same = service("a", "10.96.0.1");
    same.mutable_metadata()->set_resourceversion("99");
    (*same.mutable_metadata()->mutable_labels())["x"] = "y";
    state.upsert(same);
    state.upsert(slice("a", "a", {"10.1.0.1"}));
    EXPECT_FALSE(state.dirty());
}

TEST(State, ADeletedServiceIsRemovedAndItsSlicesMayComeFirst) {
    State state("n1");
    state.upsert(slice("a", "a", {"10.1.0.1"}));
    EXPECT_THAT(state.take().change.upserts, IsEmpty());
    state.upsert(service("a", "10.96.0.1"));
    EXPECT_THAT(state.take().change.upserts, SizeIs(1));
    state.remove_service("d/a");
    const Progress progress = state.take();
    EXPECT_THAT(progress.change.removals, SizeIs(1));
    EXPECT_THAT(state.all(), IsEmpty());
}

TEST(State, ASliceThatChangesItsLabelMovesBetweenServices) {
    State state("n1");
    state.upsert(service("a", "10.96.0.1"));
    state.upsert(service("b", "10.96.0.2"));
    state.upsert(slice("x", "a", {"10.1.0.1"}));
    state.take();
    state.upsert(slice("x", "b", {"10.1.0.1"}));
    const auto all = (state.take(), state.all());
    ASSERT_THAT(all, SizeIs(2));
    EXPECT_THAT(all[0].internal.backends, IsEmpty());
    EXPECT_THAT(all[1].internal.backends, SizeIs(1));
}

TEST(State, AnAddressGoesToTheNextClaimantWhenItsOwnerLeaves) {
    State state("n1");
    auto first = service("a", "10.96.0.1");
    auto second = service("b", "10.96.0.2");
    first.mutable_spec()->add_externalips("203.0.113.5");
    second.mutable_spec()->add_externalips("203.0.113.5");
    first.mutable_metadata()->mutable_creationtimestamp()->set_seconds(100);
    second.mutable_metadata()->mutable_creationtimestamp()->set_seconds(200);
    state.upsert(second);
    EXPECT_THAT(state.take().change.upserts.at(0).frontends, SizeIs(2));
    state.upsert(first);
    const auto both = (state.take(), state.all());
    EXPECT_THAT(both.at(0).frontends, SizeIs(2));
    EXPECT_THAT(both.at(1).frontends, SizeIs(1));
    state.remove_service("d/a");
    const Progress progress = state.take();
    ASSERT_THAT(progress.change.upserts, SizeIs(1));
    EXPECT_EQ(progress.change.upserts[0].key.service, "d/b");
    EXPECT_THAT(progress.change.upserts[0].frontends, SizeIs(2));
}

corev1::Service balanced(const std::string& name, const std::string& ip) {
    auto out = service(name, ip);
    out.mutable_spec()->set_type("LoadBalancer");
    out.mutable_spec()->set_externaltrafficpolicy("Local");
    out.mutable_spec()->set_healthchecknodeport(32000);
    out.mutable_status()->mutable_loadbalancer()->add_ingress()->set_ip("198.51.100.1");
    return out;
}

// healthCheckNodePort: N = distinct local ready addresses; only-terminating is none.
TEST(State, HealthChecksCountDistinctLocalReadyAddresses) {
    State state("n1");
    state.upsert(balanced("a", "10.96.0.1"));
    EXPECT_TRUE(state.take().health_checks_changed);
    EXPECT_EQ(state.health_checks().at("d/a"), (HealthCheck{32000, 0}));
    auto made = slice("x", "a", {"10.1.0.1", "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"});
    for (int i = 0; i < 4; ++i) made.mutable_endpoints(i)->set_nodename("n1");
    auto* leaving = made.mutable_endpoints(3)->mutable_conditions();
    leaving->set_ready(false);
    leaving->set_serving(true);
    leaving->set_terminating(true);
    state.upsert(made);
    // The same pods under another port.
    made.mutable_metadata()->set_name("y");
    made.mutable_ports(0)->set_name("https");
    state.upsert(made);
    EXPECT_TRUE(state.take().health_checks_changed);
    EXPECT_EQ(state.health_checks().at("d/a").local_endpoints, 2U);
    // A change elsewhere is none here.
    state.upsert(service("b", "10.96.0.2"));
    EXPECT_FALSE(state.take().health_checks_changed);
    auto cluster = balanced("a", "10.96.0.1");
    cluster.mutable_spec()->set_externaltrafficpolicy("Cluster");
    state.upsert(cluster);
    EXPECT_TRUE(state.take().health_checks_changed);
    EXPECT_THAT(state.health_checks(), IsEmpty());
}

TEST(State, ServicesWithSourceRangesFollowTheNodesAddresses) {
    State state("n1");
    auto made = balanced("a", "10.96.0.1");
    made.mutable_spec()->add_loadbalancersourceranges("192.0.2.0/24");
    state.upsert(made);
    state.upsert(service("b", "10.96.0.2"));
    EXPECT_THAT(state.take().change.upserts.at(0).sources, SizeIs(1));
    state.set_addresses({*IpAddress::parse("192.0.2.7")});
    const Progress progress = state.take();
    ASSERT_THAT(progress.change.upserts, SizeIs(1));
    EXPECT_EQ(progress.compiled, 1U);
    EXPECT_THAT(progress.change.upserts[0].sources, SizeIs(2));
}

TEST(State, TheNodesForwardingIsThatOfServicesThatDoNotSay) {
    State state("n1", image::Forwarding::kTunnel);
    state.upsert(balanced("a", "10.96.0.1"));
    auto other = balanced("b", "10.96.0.2");
    (*other.mutable_metadata()->mutable_annotations())["sluice.dev/forwarding"] = "nat";
    other.mutable_status()->mutable_loadbalancer()->mutable_ingress(0)->set_ip("198.51.100.2");
    state.upsert(other);
    const auto all = (state.take(), state.all());
    ASSERT_THAT(all, SizeIs(2));
    for (const auto& made : all) {
        for (const auto& frontend : made.frontends) {
            const bool tunnel = made.key.service == "d/a" && frontend.external;
            EXPECT_EQ(frontend.forwarding,
                      tunnel ? image::Forwarding::kTunnel : image::Forwarding::kNat);
        }
    }
}

// A mirror of the objects, and one of what the changes reported add up to.
class Walk {
public:
    explicit Walk(std::uint32_t seed) : random_(seed) {}

    void step() {
        const std::string name = fmt::format("s{}", pick(6));
        switch (pick(6)) {
            case 0: {
                auto made = service(name, fmt::format("10.96.0.{}", pick(6) + 1));
                made.mutable_metadata()->mutable_creationtimestamp()->set_seconds(pick(3));
                if (pick(2) == 0) made.mutable_spec()->add_externalips(fmt::format("203.0.113.{}", pick(3)));
                if (pick(3) == 0) made.mutable_spec()->set_clusterip("None");
                if (pick(3) == 0) made.mutable_spec()->set_internaltrafficpolicy("Local");
                if (pick(3) == 0) made.mutable_spec()->mutable_ports(0)->set_nodeport(30'000 + pick(3));
                services_[name] = made;
                state_.upsert(made);
                break;
            }
            case 1:
                services_.erase(name);
                state_.remove_service("d/" + name);
                break;
            case 2:
                zone_ = pick(2) == 0 ? "z1" : "";
                state_.set_zone(zone_);
                break;
            case 3: {
                const std::string key = fmt::format("x{}", pick(8));
                slices_.erase(key);
                state_.remove_slice("d/" + key);
                break;
            }
            default: {
                const std::string key = fmt::format("x{}", pick(8));
                auto made = slice(key, name, {});
                for (int i = 0, n = pick(4); i < n; ++i) {
                    auto* endpoint = made.add_endpoints();
                    endpoint->add_addresses(fmt::format("10.1.0.{}", pick(5)));
                    endpoint->set_nodename(pick(2) == 0 ? "n1" : "n2");
                    endpoint->mutable_conditions()->set_ready(pick(3) > 0);
                    endpoint->mutable_conditions()->set_terminating(pick(3) == 0);
                    if (pick(3) > 0) {
                        endpoint->mutable_hints()->add_forzones()->set_name(pick(2) == 0 ? "z1" : "z2");
                    }
                }
                slices_[key] = made;
                state_.upsert(made);
            }
        }
    }

    // Takes the change and compares with a state that saw only the objects there are, in another order.
    void check() {
        const Progress progress = state_.take();
        for (const auto& upsert : progress.change.upserts) published_[upsert.key] = upsert;
        for (const auto& key : progress.change.removals) EXPECT_EQ(published_.erase(key), 1U);
        State fresh("n1");
        for (const auto& [key, made] : slices_) fresh.upsert(made);
        for (auto it = services_.rbegin(); it != services_.rend(); ++it) fresh.upsert(it->second);
        fresh.set_zone(zone_);
        const Progress expected = fresh.take();
        EXPECT_EQ(state_.all(), fresh.all());
        EXPECT_EQ(progress.no_local_internal, expected.no_local_internal);
        EXPECT_EQ(progress.no_local_external, expected.no_local_external);
        std::vector<image::Service> sum;
        for (const auto& [key, made] : published_) sum.push_back(made);
        EXPECT_EQ(sum, fresh.all());
    }

    int pick(int below) { return std::uniform_int_distribution<int>(0, below - 1)(random_); }

private:
    std::mt19937 random_;
    State state_{"n1"};
    std::string zone_;
    std::map<std::string, corev1::Service> services_;
    std::map<std::string, discoveryv1::EndpointSlice> slices_;
    std::map<image::ServiceKey, image::Service> published_;
};

TEST(State, AnyWalkEndsEqualToAFreshCompile) {
    for (std::uint32_t seed = 1; seed <= 60; ++seed) {
        Walk walk(seed);
        for (int i = 0; i < 120; ++i) {
            walk.step();
            if (walk.pick(3) == 0) walk.check();
            if (testing::Test::HasFailure()) FAIL() << "seed " << seed << " step " << i;
        }
        walk.check();
    }
}

// What the agent's memory is made of in a large cluster; bench/scale measures the whole of it.
TEST(State, AServiceWithFiveEndpointsTakesLessThanAKilobyte) {
    constexpr std::size_t kMany = 5'000;
    const std::size_t before = mallinfo2().uordblks;
    State state("n1");
    for (std::size_t i = 0; i < kMany; ++i) {
        const std::string name = fmt::format("checkout-backend-{}", i);
        auto made = service(name, fmt::format("10.96.{}.{}", i / 250, i % 250 + 1));
        made.mutable_metadata()->set_namespace_("production");
        state.upsert(made);
        auto endpoints = slice(name + "-x7k2p", name, {});
        endpoints.mutable_metadata()->set_namespace_("production");
        for (std::size_t k = 0; k < 5; ++k) {
            auto* endpoint = endpoints.add_endpoints();
            endpoint->add_addresses(fmt::format("10.{}.{}.{}", k, i / 250, i % 250 + 1));
            endpoint->mutable_targetref()->set_namespace_("production");
            endpoint->mutable_targetref()->set_name(fmt::format("{}-6d4cf56db6-{:05}", name, k));
        }
        state.upsert(endpoints);
    }
    EXPECT_EQ(state.take(Report::kNothing).compiled, kMany);
    const std::size_t held = mallinfo2().uordblks - before;
    ASSERT_EQ(state.all().size(), kMany);
    // Nothing is counted where another allocator is at work, as under a sanitizer.
    if (held == 0) GTEST_SKIP() << "this allocator does not count";
    EXPECT_LE(held / kMany, 1024U);
    std::printf("%zu bytes a service\n", held / kMany);
}

}  // namespace
}  // namespace sluice::compile
