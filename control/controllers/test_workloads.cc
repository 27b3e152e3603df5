#include "control/controllers/test_workloads.h"

#include <algorithm>
#include <ctime>

#include "api/codec/time.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers {
namespace {

using testing::kind_named;

constexpr const char* kMergePatch = "application/merge-patch+json";

template <class List>
std::shared_ptr<List> list_of(const testing::TestCluster& cluster, const std::string& resource,
                              const std::string& selector = {}) {
    client::ListRequest request;
    request.selection.namespace_name = "default";
    request.selection.label_selector = selector;
    auto list = cluster.client().list(kind_named(resource), request);
    EXPECT_TRUE(list) << (list ? "" : list.error().to_string());
    if (!list) return std::make_shared<List>();
    return std::make_shared<List>(static_cast<const List&>(**list));
}

}  // namespace

FakeKubelet::FakeKubelet(const testing::TestCluster& cluster)
    : client_(cluster.client()), pods_(cluster.client(), kind_named("pods")) {
    pods_.add_handler([this](const auto&, const auto& after) {
        if (after != nullptr) queue_.add(client::object_key(*after));
    });
    worker_ = std::jthread([this](const std::stop_token& stop) {
        while (const auto key = queue_.get(stop)) {
            look_at(*key);
            queue_.done(*key);
        }
    });
    pods_.start();
}

FakeKubelet::~FakeKubelet() {
    pods_.stop();
    worker_.request_stop();
}

void FakeKubelet::hold_deletions(bool hold) {
    held_ = hold;
    for (const auto& pod : pods_.list()) queue_.add(client::object_key(*pod));
}

void FakeKubelet::look_at(const std::string& key) {
    const auto pod = client::as<corev1::Pod>(pods_.get(key));
    if (pod == nullptr || pod->spec().nodename().empty()) return;
    const auto& metadata = pod->metadata();
    if (metadata.has_deletiontimestamp()) {
        if (held_) return;
        client::DeleteRequest request;
        request.grace_seconds = 0;
        request.uid = metadata.uid();
        // Gone already, perhaps.
        (void)client_.remove(pods_.kind(), metadata.namespace_(), metadata.name(), request);
        return;
    }
    const bool starts = !pod->spec().containers(0).image().starts_with("bad");
    if (!starts || (pod->status().phase() != "Pending" && !pod->status().phase().empty())) return;
    const std::string now = codec::format_time(std::time(nullptr));
    (void)client_.patch(pods_.kind(), metadata.namespace_(), metadata.name(), kMergePatch,
                        R"({"status":{"phase":"Running","conditions":[{"type":"Ready",)"
                        R"("status":"True","lastTransitionTime":")" + now + "\"}]}}",
                        "status");
}

WorkloadTest::WorkloadTest() {
    cluster.create(R"(
apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  conditions: [{type: Ready, status: "True"}]
)");
    Options options;
    auto started = Controllers::start(options, cluster.client_config());
    EXPECT_TRUE(started) << (started ? "" : started.error().to_string());
    if (started) controllers = std::move(*started);
    kubelet = std::make_unique<FakeKubelet>(cluster);
}

void WorkloadTest::merge(const std::string& kind, const std::string& name,
                         const std::string& rest) const {
    const bool apps = kind == "Deployment" || kind == "ReplicaSet";
    cluster.merge(std::string("apiVersion: ") + (apps ? "apps/v1" : "v1") + "\nkind: " + kind +
                  "\nmetadata:\n  name: " + name + "\n" + rest + "\n");
}

void WorkloadTest::remove(const std::string& resource, const std::string& name,
                          const std::string& propagation) const {
    client::DeleteRequest request;
    request.propagation_policy = propagation;
    const auto removed = cluster.client().remove(kind_named(resource), "default", name, request);
    EXPECT_TRUE(removed) << (removed ? "" : removed.error().to_string());
}

std::shared_ptr<appsv1::ReplicaSet> WorkloadTest::set(const std::string& name) const {
    return testing::get<appsv1::ReplicaSet>(cluster, "replicasets", "default", name);
}

std::vector<appsv1::ReplicaSet> WorkloadTest::sets() const {
    const auto list = list_of<appsv1::ReplicaSetList>(cluster, "replicasets");
    return {list->items().begin(), list->items().end()};
}

std::vector<corev1::Pod> WorkloadTest::pods(const std::string& selector) const {
    const auto list = list_of<corev1::PodList>(cluster, "pods", selector);
    return {list->items().begin(), list->items().end()};
}

std::vector<std::string> WorkloadTest::pod_names(const std::string& selector) const {
    std::vector<std::string> out;
    for (const auto& pod : pods(selector)) out.push_back(pod.metadata().name());
    std::ranges::sort(out);
    return out;
}

int WorkloadTest::times_told(const std::string& reason, const std::string& message) const {
    const auto list = list_of<corev1::EventList>(cluster, "events");
    int times = 0;
    for (const auto& event : list->items()) {
        if (event.reason() != reason || !event.message().starts_with(message)) continue;
        times += std::max(1, event.count());
    }
    return times;
}

}  // namespace sluice::controllers
