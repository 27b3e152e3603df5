// The controllers of nodes against a real API server, each with limits small enough to reach and, where its
// decisions are about long silences, with a clock of the test's own.
#include <gtest/gtest.h>

#include <atomic>

#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/node/node.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using testing::eventually;
using testing::get;
using testing::kind_named;
using testing::TestCluster;

constexpr std::int64_t kSecond = 1'000'000'000;

class Nodes : public ::testing::Test {
protected:
    Nodes()
        : informers_(cluster.client()),
          events_(client::EventRecorder::start(cluster.client(), "node-controller")),
          context_{cluster.client(), informers_, *events_, [this] { return now_ns.load(); }} {}
    ~Nodes() override {
        informers_.stop();
        runner_.reset();
    }

    Context& context() { return context_; }
    void run(std::vector<std::unique_ptr<Controller>> controllers) {
        informers_.start();
        runner_ = std::make_unique<Runner>(context_, std::move(controllers));
    }
    // Lifecycle with Kubernetes' 50 s of grace, on the test's clock.
    void run_lifecycle() {
        NodeLifecycleOptions options;
        options.monitor_period_ms = 20;
        std::vector<std::unique_ptr<Controller>> made;
        made.push_back(make_node_lifecycle_controller(context_, options));
        made.push_back(make_taint_eviction_controller(context_));
        run(std::move(made));
    }
    void advance(int seconds) { now_ns += seconds * kSecond; }

    void node(const std::string& name) const {
        cluster.create("apiVersion: v1\nkind: Node\nmetadata:\n  name: " + name +
                       "\nstatus:\n  conditions:\n  - type: Ready\n    status: \"True\"\n");
    }
    // A kubelet's report: `beat` differs each time.
    void report(const std::string& name, int beat) const {
        cluster.merge("apiVersion: v1\nkind: Node\nmetadata:\n  name: " + name +
                      "\nstatus:\n  conditions:\n  - type: Ready\n    status: \"True\"\n    lastHeartbeatTime: "
                      "\"2026-01-01T00:00:" + fmt::format("{:02}", beat) + "Z\"\n");
    }
    void pod(const std::string& name, const std::string& on, const std::string& spec = "") const {
        cluster.create("apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name + "\nspec:\n  nodeName: " + on + "\n" +
                       spec + "  containers:\n  - name: c\n    image: i\nstatus:\n  phase: Running\n" +
                       "  conditions:\n  - type: Ready\n    status: \"True\"\n");
    }
    // There, and not on its way out.
    [[nodiscard]] bool stays(const std::string& name) const {
        const auto found = get<corev1::Pod>(cluster, "pods", "default", name);
        return found != nullptr && !found->metadata().has_deletiontimestamp();
    }
    [[nodiscard]] std::string ready(const std::string& name) const {
        const auto found = get<corev1::Node>(cluster, "nodes", "", name);
        for (const auto& condition : found->status().conditions()) {
            if (condition.type() == "Ready") return condition.status();
        }
        return {};
    }
    // "key:effect key:effect", in their order.
    [[nodiscard]] std::string taints(const std::string& name) const {
        std::string out;
        const auto found = get<corev1::Node>(cluster, "nodes", "", name);
        for (const auto& taint : found->spec().taints()) {
            out += (out.empty() ? "" : " ") + taint.key() + ":" + taint.effect();
        }
        return out;
    }
    [[nodiscard]] bool has_event(const std::string& about, const std::string& reason) const {
        const auto list = cluster.client().list(kind_named("events"), {});
        if (!list) return false;
        for (const auto& event : static_cast<const corev1::EventList&>(**list).items()) {
            if (event.involvedobject().name() == about && event.reason() == reason) return true;
        }
        return false;
    }

    TestCluster cluster;
    std::atomic<std::int64_t> now_ns{1'800'000'000 * kSecond};

private:
    InformerSet informers_;
    std::unique_ptr<client::EventRecorder> events_;
    Context context_;
    std::unique_ptr<Runner> runner_;
};

constexpr char kUnreachable[] =
    "node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute";

TEST_F(Nodes, WhenAllAreSilentNobodyIsEvicted) {
    node("n1");
    node("n2");
    pod("a", "n1");
    pod("b", "n2");
    run_lifecycle();
    ASSERT_TRUE(eventually([&] { return has_event("n1", "RegisteredNode") && has_event("n2", "RegisteredNode"); }));
    advance(60);
    ASSERT_TRUE(eventually([&] { return ready("n1") == "Unknown" && ready("n2") == "Unknown"; }));
    // The pods leave their Services all the same.
    const auto unready = [&](const char* name) {
        const auto found = get<corev1::Pod>(cluster, "pods", "default", name);
        return found->status().conditions(0).status() == "False";
    };
    EXPECT_TRUE(eventually([&] { return unready("a") && unready("b"); }));
    EXPECT_TRUE(eventually([&] {
        return taints("n1") == "node.kubernetes.io/unreachable:NoSchedule" &&
               taints("n2") == "node.kubernetes.io/unreachable:NoSchedule";
    })) << taints("n1") << " / " << taints("n2");
    // Long beyond the 300 s for which pods tolerate it.
    advance(1'000);
    // One comes back: now the other one is lost by itself, and its turn begins only then.
    report("n1", 1);
    EXPECT_TRUE(eventually([&] { return ready("n1") == "True" && taints("n1").empty(); }));
    EXPECT_TRUE(eventually([&] { return taints("n2") == kUnreachable; })) << taints("n2");
    EXPECT_TRUE(stays("a"));
    EXPECT_TRUE(stays("b"));
}

TEST_F(Nodes, ANodeThatIsBackKeepsWhatWasNotEvictedYet) {
    node("n1");
    node("n2");
    pod("stays", "n2");
    pod("goes", "n2",
        "  tolerations:\n  - key: node.kubernetes.io/unreachable\n    operator: Exists\n    effect: NoExecute\n"
        "    tolerationSeconds: 1\n");
    run_lifecycle();
    ASSERT_TRUE(eventually([&] { return has_event("n1", "RegisteredNode") && has_event("n2", "RegisteredNode"); }));
    advance(40);
    report("n1", 1);
    ASSERT_TRUE(eventually([&] { return get<corev1::Node>(cluster, "nodes", "", "n1")->status().conditions(0)
                                            .lastheartbeattime().seconds() != 0; }));
    // n1 reports on, n2 does not.
    EXPECT_TRUE(eventually([&, beat = 2]() mutable {
        report("n1", beat++ % 60);
        advance(1);
        return ready("n2") == "Unknown" && taints("n2") == kUnreachable;
    }));
    EXPECT_EQ(ready("n1"), "True");
    EXPECT_TRUE(has_event("n2", "NodeNotReady"));
    EXPECT_TRUE(eventually([&, beat = 30]() mutable {
        report("n1", beat++ % 60);
        advance(1);
        return !stays("goes");
    }));
    EXPECT_TRUE(stays("stays"));
    report("n2", 1);
    EXPECT_TRUE(eventually([&] { return taints("n2").empty() && ready("n2") == "True"; }));
    EXPECT_TRUE(eventually([&] { return has_event("stays", "TaintManagerEviction"); }));  // cancelled
    EXPECT_TRUE(stays("stays"));
}

TEST_F(Nodes, TaintsOfPeopleEvictByTolerations) {
    now_ns = std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
    node("n1");
    const auto tolerating = [](const std::string& more) {
        return "  tolerations:\n  - key: k\n    operator: Exists\n    effect: NoExecute\n" + more;
    };
    pod("never", "n1", tolerating(""));
    pod("later", "n1", tolerating("    tolerationSeconds: 1\n"));
    pod("hour", "n1", tolerating("    tolerationSeconds: 3600\n"));
    pod("now", "n1");
    std::vector<std::unique_ptr<Controller>> made;
    made.push_back(make_taint_eviction_controller(context()));
    run(std::move(made));
    cluster.merge("apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\nspec:\n  taints:\n  - key: k\n    effect: NoExecute\n");
    EXPECT_TRUE(eventually([&] { return !stays("now"); }));
    advance(5);
    EXPECT_TRUE(eventually([&] { return !stays("later"); }));
    EXPECT_TRUE(stays("never"));
    EXPECT_TRUE(stays("hour"));
    const auto gone = get<corev1::Pod>(cluster, "pods", "default", "now");
    ASSERT_NE(gone, nullptr);  // lingers for its grace period
    bool told = false;
    for (const auto& condition : gone->status().conditions()) {
        told = told || (condition.type() == "DisruptionTarget" && condition.reason() == "DeletionByTaintManager");
    }
    EXPECT_TRUE(told);
}

TEST_F(Nodes, PodsOfADeletedNodeAndSurplusOnesAreRemoved) {
    node("n1");
    node("n2");
    pod("a", "n1");
    pod("b", "n2");
    for (const char* name : {"done1", "done2", "done3"}) {
        pod(name, "n2");
        cluster.merge(std::string("apiVersion: v1\nkind: Pod\nmetadata:\n  name: ") + name +
                      "\nstatus:\n  phase: Succeeded\n");
    }
    std::vector<std::unique_ptr<Controller>> made;
    made.push_back(make_pod_gc_controller(context(), {.terminated_pod_threshold = 1, .quarantine_ms = 40'000,
                                                      .period_ms = 20}));
    run(std::move(made));
    const auto there = [&](const char* name) { return cluster.get(kind_named("pods"), "default", name) != nullptr; };
    EXPECT_TRUE(eventually([&] { return there("done1") + there("done2") + there("done3") == 1; }));
    ASSERT_TRUE(cluster.client().remove(kind_named("nodes"), "", "n1"));
    // It may be made again at once, as a kubelet that registers anew does: then nothing happens.
    EXPECT_TRUE(there("a"));
    EXPECT_TRUE(eventually([&] {
        advance(30);
        return !there("a");
    }));
    EXPECT_TRUE(there("b"));
}

TEST_F(Nodes, WhenRangesAreUsedUpANodeWaits) {
    NodeIpamOptions options;
    options.cluster_cidrs = {*IpPrefix::parse("10.244.0.0/23")};
    auto ipam = make_node_ipam_controller(context(), options);
    ASSERT_TRUE(ipam);
    std::vector<std::unique_ptr<Controller>> made;
    made.push_back(std::move(*ipam));
    run(std::move(made));
    const auto range = [&](const char* name) { return get<corev1::Node>(cluster, "nodes", "", name)->spec().podcidr(); };
    node("n1");
    node("n2");
    ASSERT_TRUE(eventually([&] { return !range("n1").empty() && !range("n2").empty(); }));
    EXPECT_NE(range("n1"), range("n2"));
    const std::string freed = range("n1");
    node("n3");
    EXPECT_TRUE(eventually([&] { return has_event("n3", "CIDRNotAvailable"); }));
    EXPECT_EQ(range("n3"), "");
    ASSERT_TRUE(cluster.client().remove(kind_named("nodes"), "", "n1"));
    EXPECT_TRUE(eventually([&] { return range("n3") == freed; }));
}

}  // namespace
}  // namespace sluice::controllers
