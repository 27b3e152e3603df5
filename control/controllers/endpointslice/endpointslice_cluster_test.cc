// The three controllers against a real API server: what stands in EndpointSlices and Endpoints, and which events.
#include <gtest/gtest.h>

#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/codec/time.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/endpointslice/endpointslice.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;
using testing::eventually;
using testing::get;
using testing::kind_named;
using testing::TestCluster;

constexpr char kTriggerTime[] = "endpoints.kubernetes.io/last-change-trigger-time";

template <class T>
std::string trigger_of(const T& object) {
    const auto found = object.metadata().annotations().find(kTriggerTime);
    return found == object.metadata().annotations().end() ? "none" : found->second;
}

class Endpointslices : public ::testing::Test {
protected:
    Endpointslices()
        : informers_(cluster.client()),
          events_(client::EventRecorder::start(cluster.client(), "endpoint-slice-controller")),
          context_{cluster.client(), informers_, *events_, [] { return std::int64_t{0}; }} {
        for (const char* name : {"1", "2"}) {
            cluster.create(std::string("apiVersion: v1\nkind: Node\nmetadata:\n  name: n") + name +
                           "\n  labels: {topology.kubernetes.io/zone: z" + name +
                           "}\nstatus:\n  allocatable: {cpu: '4'}\n  conditions:\n  - type: Ready\n    status: \"True\"\n");
        }
        start();
    }
    ~Endpointslices() override { stop(); }

    void start() {
        std::vector<std::unique_ptr<Controller>> made;
        made.push_back(make_endpoint_slice_controller(context_));
        made.push_back(make_endpoints_controller(context_));
        made.push_back(make_endpoint_slice_mirroring_controller(context_));
        informers_.start();
        runner_ = std::make_unique<Runner>(context_, std::move(made));
    }
    void stop() {
        informers_.stop();
        runner_.reset();
    }

    // Ready since then, on node nN of zone zN.
    void pod(int number, const std::string& since, const std::string& ready = "True") const {
        cluster.create(fmt::format(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p{0}\n  labels: {{app: web}}\nspec:\n  nodeName: n{0}\n"
            "  containers:\n  - name: c\n    image: i\nstatus:\n  phase: Running\n  podIP: 10.244.0.{0}\n  podIPs:\n"
            "  - ip: 10.244.0.{0}\n  conditions:\n  - type: Ready\n    status: \"{2}\"\n    lastTransitionTime: \"{1}\"\n",
            number, since, ready));
    }
    std::string create_service(const std::string& rest = "") const {
        const auto made = cluster.create(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector: {app: web}\n"
            "  ports:\n  - port: 80\n" + rest);
        return codec::format_time(static_cast<const corev1::Service&>(*made).metadata().creationtimestamp().seconds());
    }
    void change_service(const std::string& rest) const {
        cluster.merge("apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n" + rest);
    }
    [[nodiscard]] std::vector<discoveryv1::EndpointSlice> slices() const {
        const auto list = cluster.client().list(kind_named("endpointslices"), {});
        if (!list) return {};
        std::vector<discoveryv1::EndpointSlice> out;
        for (const auto& slice : static_cast<const discoveryv1::EndpointSliceList&>(**list).items()) {
            if (slice.metadata().labels().at("kubernetes.io/service-name") != "kubernetes") out.push_back(slice);
        }
        return out;
    }
    // "10.244.0.1:z1 10.244.0.2:-" of all ready endpoints, in the order of addresses.
    [[nodiscard]] std::string hints() const {
        std::map<std::string, std::string> found;
        for (const auto& slice : slices()) {
            for (const auto& endpoint : slice.endpoints()) {
                if (!endpoint.conditions().ready()) continue;
                std::string text = endpoint.has_hints() ? "" : "-";
                for (const auto& zone : endpoint.hints().forzones()) text += zone.name();
                for (const auto& node : endpoint.hints().fornodes()) text += "@" + node.name();
                found[endpoint.addresses(0)] = text;
            }
        }
        std::string out;
        for (const auto& [address, text] : found) out += (out.empty() ? "" : " ") + address + ":" + text;
        return out;
    }
    // Waits until the value is so, and shows it otherwise.
    template <class Look>
    void expect(const Look& look, const std::string& wanted) const {
        EXPECT_TRUE(eventually([&] { return look() == wanted; })) << look() << " and not " << wanted;
    }
    [[nodiscard]] std::string slice_trigger() const {
        const auto found = slices();
        return found.size() == 1 ? trigger_of(found[0]) : fmt::format("{} slices", found.size());
    }
    [[nodiscard]] std::string endpoints_trigger() const {
        const auto found = get<corev1::Endpoints>(cluster, "endpoints", "default", "web");
        return found == nullptr ? "no Endpoints" : trigger_of(*found);
    }
    void expect_triggers(const std::string& wanted) const {
        expect([&] { return slice_trigger(); }, wanted);
        expect([&] { return endpoints_trigger(); }, wanted);
    }
    // Whether there is an event "Type Reason: message" about the Service.
    [[nodiscard]] bool told(const std::string& what) const {
        const auto list = cluster.client().list(kind_named("events"), {});
        if (!list) return false;
        for (const auto& event : static_cast<const corev1::EventList&>(**list).items()) {
            if (event.involvedobject().kind() != "Service" || event.involvedobject().name() != "web") continue;
            EXPECT_EQ(event.source().component(), "endpoint-slice-controller");
            if (event.type() + " " + event.reason() + ": " + event.message() == what) return true;
        }
        return false;
    }

    TestCluster cluster;

private:
    InformerSet informers_;
    std::unique_ptr<client::EventRecorder> events_;
    Context context_;
    std::unique_ptr<Runner> runner_;
};

TEST_F(Endpointslices, SayWhenTheChangeHappened) {
    expect_triggers(create_service());
    pod(1, "2030-01-01T00:00:05Z");
    expect_triggers("2030-01-01T00:00:05Z");
    cluster.merge("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p1\nstatus:\n  conditions:\n  - type: Ready\n"
                  "    status: \"False\"\n    lastTransitionTime: \"2030-01-01T00:00:09Z\"\n");
    expect_triggers("2030-01-01T00:00:09Z");
    // Nobody knows when this was changed, and the time before is not that of it.
    change_service("  labels: {team: a}\n");
    expect_triggers("none");
    pod(2, "2030-01-01T00:00:20Z");
    expect_triggers("2030-01-01T00:00:20Z");
}

TEST_F(Endpointslices, MirroredOnesKeepAnnotationsOfTheEndpointsButNotTheTime) {
    cluster.create("apiVersion: v1\nkind: Service\nmetadata:\n  name: db\nspec:\n  ports:\n  - port: 5432\n");
    cluster.create("apiVersion: v1\nkind: Endpoints\nmetadata:\n  name: db\n  annotations:\n    mine: kept\n    " +
                   std::string(kTriggerTime) + ": \"2030-01-01T00:00:00Z\"\nsubsets:\n- addresses:\n  - ip: 192.0.2.9\n"
                   "  ports:\n  - port: 5432\n");
    ASSERT_TRUE(eventually([&] { return slices().size() == 1; }));
    EXPECT_EQ(trigger_of(slices()[0]), "none");
    EXPECT_EQ(slices()[0].metadata().annotations().at("mine"), "kept");
}

TEST_F(Endpointslices, FollowTrafficDistribution) {
    pod(1, "2030-01-01T00:00:05Z");
    pod(2, "2030-01-01T00:00:05Z");
    create_service("  trafficDistribution: PreferClose\n");
    expect([&] { return hints(); }, "10.244.0.1:z1 10.244.0.2:z2");
    change_service("spec:\n  trafficDistribution: null\n");
    expect([&] { return hints(); }, "10.244.0.1:- 10.244.0.2:-");
    change_service("spec:\n  trafficDistribution: PreferSameNode\n");
    expect([&] { return hints(); }, "10.244.0.1:z1@n1 10.244.0.2:z2@n2");
    // A node that moves takes its endpoints along.
    cluster.merge("apiVersion: v1\nkind: Node\nmetadata:\n  name: n2\n  labels: {topology.kubernetes.io/zone: z3}\n");
    expect([&] { return hints(); }, "10.244.0.1:z1@n1 10.244.0.2:z3@n2");
    // Hints by somebody else's hand are repaired.
    const std::string name = slices()[0].metadata().name();
    cluster.merge("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: " + name +
                  "\nendpoints:\n- addresses: [10.244.0.1]\n  conditions: {ready: true}\n  hints:\n    forZones:\n"
                  "    - name: z9\n");
    expect([&] { return hints(); }, "10.244.0.1:z1@n1 10.244.0.2:z3@n2");
}

TEST_F(Endpointslices, FollowTheNodesCpuWithTopologyModeAuto) {
    pod(1, "2030-01-01T00:00:05Z");
    create_service();
    change_service("  annotations: {service.kubernetes.io/topology-mode: Auto}\n");
    const std::string disabled = "Warning TopologyAwareHintsDisabled: ";
    EXPECT_TRUE(eventually([&] {
        return told(disabled + "Insufficient number of endpoints (1 endpoints, 2 zones), addressType: IPv4");
    }));
    expect([&] { return hints(); }, "10.244.0.1:-");
    pod(2, "2030-01-01T00:00:05Z");
    expect([&] { return hints(); }, "10.244.0.1:z1 10.244.0.2:z2");
    EXPECT_TRUE(eventually([&] {
        return told("Normal TopologyAwareHintsEnabled: Topology Aware Hints has been enabled, addressType: IPv4");
    }));
    const auto cpu = [&](const std::string& much) {
        cluster.merge("apiVersion: v1\nkind: Node\nmetadata:\n  name: n2\nstatus:\n  allocatable: {cpu: '" + much +
                      "'}\n");
    };
    // Two endpoints cannot carry one quarter and three.
    cpu("12");
    expect([&] { return hints(); }, "10.244.0.1:- 10.244.0.2:-");
    EXPECT_TRUE(eventually([&] {
        return told(disabled + "Unable to allocate minimum required endpoints to each zone without exceeding overload "
                    "threshold (2 endpoints, 2 zones), addressType: IPv4");
    }));
    // Nodes alone bring them back.
    cpu("4");
    expect([&] { return hints(); }, "10.244.0.1:z1 10.244.0.2:z2");
    change_service("  annotations: {service.kubernetes.io/topology-mode: Disabled}\n");
    expect([&] { return hints(); }, "10.244.0.1:- 10.244.0.2:-");
    EXPECT_TRUE(eventually([&] {
        return told(disabled + "Topology Aware Hints has been disabled, addressType: IPv4");
    }));
}

}  // namespace
}  // namespace sluice::controllers
