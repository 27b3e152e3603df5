// What tests of workload controllers stand on: a real API server, all controllers, one node, and a
// kubelet that only writes what a kubelet would write.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "api/client/client.h"
#include "api/client/informer.h"
#include "api/client/work_queue.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/replicationcontroller.pb.h"
#include "control/controllers/controllers.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::controllers {

namespace appsv1 = ::k8s::io::api::apps::v1;
namespace corev1 = ::k8s::io::api::core::v1;

// Pods of a node become ready at once, unless their image begins with "bad"; deleted ones are gone
// at once, unless deletions are held.
class FakeKubelet {
public:
    explicit FakeKubelet(const testing::TestCluster& cluster);
    ~FakeKubelet();
    FakeKubelet(const FakeKubelet&) = delete;
    FakeKubelet& operator=(const FakeKubelet&) = delete;

    void hold_deletions(bool hold);

private:
    void look_at(const std::string& key);

    client::Client& client_;
    client::Informer pods_;
    client::WorkQueue queue_;
    std::atomic<bool> held_{false};
    std::jthread worker_;
};

class WorkloadTest : public ::testing::Test {
protected:
    WorkloadTest();

    // The document merged into an object of apps/v1 (or v1 for other kinds) in "default".
    void merge(const std::string& kind, const std::string& name, const std::string& rest) const;
    void remove(const std::string& resource, const std::string& name,
                const std::string& propagation = {}) const;

    [[nodiscard]] std::shared_ptr<appsv1::ReplicaSet> set(const std::string& name) const;
    [[nodiscard]] std::vector<appsv1::ReplicaSet> sets() const;  // by name
    // Those that match; all when the selector is empty.
    [[nodiscard]] std::vector<corev1::Pod> pods(const std::string& selector = {}) const;
    // Names of pods, in order of the names.
    [[nodiscard]] std::vector<std::string> pod_names(const std::string& selector = {}) const;
    // How often events of that reason have been told whose message begins so.
    [[nodiscard]] int times_told(const std::string& reason, const std::string& message) const;
    [[nodiscard]] bool told(const std::string& reason, const std::string& message) const {
        return times_told(reason, message) > 0;
    }

    testing::TestCluster cluster;
    std::unique_ptr<Controllers> controllers;
    std::unique_ptr<FakeKubelet> kubelet;
};

}  // namespace sluice::controllers
