// From a kubelet's writing that a pod is ready to a watcher's seeing it in the EndpointSlice, with a real API
// server and its durable store in this process. Argument: pods of the Service. Counters, in milliseconds:
// median and p90 of the whole way, and the median of the pod's own write in it.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "control/controllers/endpointslice/endpointslice.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::controllers {
namespace {

namespace discoveryv1 = ::k8s::io::api::discovery::v1;
using Clock = std::chrono::steady_clock;
using testing::TestCluster;

constexpr int kRounds = 50;
constexpr const char* kAddress = "10.244.0.1";  // of the pod that changes
constexpr std::chrono::seconds kPatience{30};

// What the last slice seen says of kAddress.
struct Seen {
    std::mutex mutex;
    std::condition_variable changed;
    bool ready = false;
    Clock::time_point at;

    void note(const discoveryv1::EndpointSlice& slice) {
        for (const auto& endpoint : slice.endpoints()) {
            if (endpoint.addresses(0) != kAddress) continue;
            const std::scoped_lock lock(mutex);
            if (ready == endpoint.conditions().ready()) return;
            ready = endpoint.conditions().ready();
            at = Clock::now();
            changed.notify_all();
        }
    }
    bool wait(bool wanted) {
        std::unique_lock lock(mutex);
        return changed.wait_for(lock, kPatience, [&] { return ready == wanted; });
    }
};

void set_ready(const TestCluster& cluster, bool ready) {
    cluster.merge(std::string("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p1\nstatus:\n  conditions:\n"
                              "  - type: Ready\n    status: \"") +
                  (ready ? "True" : "False") + "\"\n");
}

double milliseconds(Clock::duration duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
}

void readiness_to_slice(benchmark::State& state) {
    TestCluster cluster;
    InformerSet informers(cluster.client());
    const auto events = client::EventRecorder::start(cluster.client(), "endpoint-slice-controller");
    Context context{cluster.client(), informers, *events, [] {
                        return std::chrono::system_clock::now().time_since_epoch() /
                               std::chrono::nanoseconds(1);
                    }};
    std::vector<std::unique_ptr<Controller>> made;
    made.push_back(make_endpoint_slice_controller(context));
    Seen seen;
    client::Informer watcher(cluster.client(), testing::kind_named("endpointslices"));
    watcher.add_handler([&](const auto&, const auto& after) {
        if (after != nullptr) seen.note(static_cast<const discoveryv1::EndpointSlice&>(*after));
    });
    watcher.start();
    informers.start();
    auto runner = std::make_unique<Runner>(context, std::move(made));
    cluster.create("apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n");
    cluster.create("apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector: {app: web}\n"
                   "  ports:\n  - port: 80\n");
    for (int i = 1; i <= state.range(0); ++i) {
        const std::string ip = fmt::format("10.244.0.{}", i);
        cluster.create(fmt::format(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p{}\n  labels: {{app: web}}\nspec:\n  nodeName: n1\n"
            "  containers:\n  - name: c\n    image: i\nstatus:\n  phase: Running\n  podIP: {}\n  podIPs:\n  - ip: {}\n"
            "  conditions:\n  - type: Ready\n    status: \"True\"\n", i, ip, ip));
    }
    std::vector<double> whole;
    std::vector<double> write;
    bool ready = true;
    if (!seen.wait(ready)) state.SkipWithError("the pod never came into a slice");
    for (auto _ : state) {
        ready = !ready;
        const auto began = Clock::now();
        set_ready(cluster, ready);
        const auto written = Clock::now();
        if (!seen.wait(ready)) {
            state.SkipWithError("a change never came into a slice");
            break;
        }
        const auto took = seen.at - began;
        state.SetIterationTime(std::chrono::duration<double>(took).count());
        whole.push_back(milliseconds(took));
        write.push_back(milliseconds(written - began));
    }
    std::sort(whole.begin(), whole.end());
    std::sort(write.begin(), write.end());
    if (!whole.empty()) {
        state.counters["median_ms"] = whole[whole.size() / 2];
        state.counters["p90_ms"] = whole[whole.size() * 9 / 10];
        state.counters["write_ms"] = write[write.size() / 2];
    }
    watcher.stop();
    informers.stop();
}

BENCHMARK(readiness_to_slice)->Arg(1)->Arg(100)->Iterations(kRounds)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::controllers
