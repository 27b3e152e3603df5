// The writer against a real API server: what is written, how often, and what others write meanwhile.
#include "control/kubelet/pods/status_writer.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "api/client/client.h"
#include "control/test_cluster/test_cluster.h"

namespace sluice::kubelet {
namespace {

using testing::eventually;

constexpr char kPod[] = R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  nodeName: n1
  containers: [{name: web, image: "localhost/web:1"}]
)";

class StatusWriterTest : public ::testing::Test {
protected:
    StatusWriterTest() {
        cluster.create("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\n");
        cluster.create(kPod);
        entry->pod = stored();
        entry->uid = entry->pod->metadata().uid();
        entry->containers = make_containers(*entry->pod);
        entry->admitted = true;
        node.node_name = "n1";
        node.host_ips = {"192.0.2.1"};
        writer = std::make_unique<StatusWriter>(
            cluster.client(), node,
            [this](const std::string& uid) { return uid == entry->uid ? entry : nullptr; },
            [] { return std::int64_t{1'700'000'000'000}; });
    }
    [[nodiscard]] std::shared_ptr<corev1::Pod> stored() const {
        return testing::get<corev1::Pod>(cluster, "pods", "default", "web");
    }
    void run() {
        const std::lock_guard lock(entry->mutex);
        entry->sandbox = Sandbox{"s1", 0, true, {"10.0.0.7"}};
        auto& container = *entry->find("web");
        container.current = Instance{};
        container.current->id = "c1";
        container.current->state = Instance::State::kRunning;
        container.started = container.ready = true;
    }

    testing::TestCluster cluster;
    NodeSettings node;
    std::shared_ptr<PodEntry> entry = std::make_shared<PodEntry>();
    std::unique_ptr<StatusWriter> writer;
};

TEST_F(StatusWriterTest, WhatDidNotChangeIsNotWrittenAgain) {
    run();
    writer->changed(entry->uid);
    ASSERT_TRUE(eventually([&] { return stored()->status().phase() == "Running"; }));
    const auto version = stored()->metadata().resourceversion();
    // The entry still has the object as it was before, as it is until the watch has told of the write.
    for (int times = 0; times < 50; ++times) writer->changed(entry->uid);
    ASSERT_TRUE(writer->finish(*entry, false));
    {
        const std::lock_guard lock(entry->mutex);
        entry->pod = stored();
    }
    ASSERT_TRUE(writer->finish(*entry, false));
    EXPECT_EQ(stored()->metadata().resourceversion(), version);
}

TEST_F(StatusWriterTest, AnOlderObjectOfTheWatchDoesNotBringBackItsStatus) {
    run();
    ASSERT_TRUE(writer->finish(*entry, false));
    const auto started = stored()->status().conditions(0).lasttransitiontime().seconds();
    {
        const std::lock_guard lock(entry->mutex);
        entry->find("web")->ready = false;
    }
    // entry->pod is from before the first write, and an update with its version would be refused.
    ASSERT_TRUE(writer->finish(*entry, false));
    const auto status = stored()->status();
    EXPECT_FALSE(status.containerstatuses(0).ready());
    EXPECT_EQ(status.podip(), "10.0.0.7");
    EXPECT_EQ(status.conditions(0).lasttransitiontime().seconds(), started);
}

TEST_F(StatusWriterTest, WhatAnotherWroteMeanwhileStays) {
    // A readiness gate's controller was faster; the entry has not heard of it.
    cluster.merge(R"(
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
status: {conditions: [{type: example.com/balanced, status: "True"}]}
)");
    run();
    ASSERT_TRUE(writer->finish(*entry, false));
    const auto status = stored()->status();
    EXPECT_EQ(status.phase(), "Running");
    std::map<std::string, std::string> conditions;
    for (const auto& each : status.conditions()) conditions[each.type()] = each.status();
    EXPECT_EQ(conditions["example.com/balanced"], "True");
    EXPECT_EQ(conditions["Ready"], "True");
}

TEST_F(StatusWriterTest, ThePodIsRemovedWithItsLastStatusWritten) {
    run();
    ASSERT_TRUE(writer->finish(*entry, false));
    client::DeleteRequest request;
    request.grace_seconds = 30;
    ASSERT_TRUE(cluster.client().remove(testing::kind_named("pods"), "default", "web", request));
    const auto deleted = stored();
    ASSERT_TRUE(deleted != nullptr);  // it has its grace
    {
        const std::lock_guard lock(entry->mutex);
        entry->pod = deleted;
        auto& life = *entry->find("web")->current;
        life.state = Instance::State::kExited;
        life.exit_code = 5;
        entry->stopped = true;
    }
    ASSERT_TRUE(writer->finish(*entry, true));
    EXPECT_EQ(stored(), nullptr);
    ASSERT_TRUE(entry->written != nullptr);
    EXPECT_EQ(entry->written->phase(), "Failed");
    EXPECT_EQ(entry->written->containerstatuses(0).state().terminated().exitcode(), 5);
}

TEST_F(StatusWriterTest, APodOfTheSameNameKeepsItsOwnStatusAndItsLife) {
    client::DeleteRequest request;
    request.grace_seconds = 0;
    ASSERT_TRUE(cluster.client().remove(testing::kind_named("pods"), "default", "web", request));
    run();
    // Gone: nothing to write to, and no failure.
    ASSERT_TRUE(writer->finish(*entry, true));
    cluster.create(kPod);
    ASSERT_TRUE(writer->finish(*entry, true));
    ASSERT_TRUE(stored() != nullptr);
    EXPECT_NE(stored()->metadata().uid(), entry->uid);
    EXPECT_EQ(stored()->status().phase(), "Pending");
}

}  // namespace
}  // namespace sluice::kubelet
