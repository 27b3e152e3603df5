// A kubelet that starts finds pods running, and one whose event stream broke finds out what it missed.
#include "control/kubelet/pods/recovery.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "control/kubelet/pods/test_fakes.h"

namespace sluice::kubelet {
namespace {

// What the runtime of the test says of containers and sandboxes that another kubelet made.
class Runtime final : public FakeCri {
public:
    void add_sandbox(const std::string& id, std::uint32_t attempt, std::int64_t created,
                     bool ready) {
        auto& sandbox = listing.sandboxes.emplace_back();
        sandbox.set_id(id);
        sandbox.mutable_metadata()->set_uid("u1");
        sandbox.mutable_metadata()->set_attempt(attempt);
        sandbox.set_created_at(created);
        sandbox.set_state(ready ? criv1::SANDBOX_READY : criv1::SANDBOX_NOTREADY);
        auto& status = sandboxes_[id];
        status.set_id(id);
        status.set_state(sandbox.state());
        status.mutable_network()->set_ip("10.0.0.9");
        status.mutable_network()->add_additional_ips()->set_ip("fd00::9");
    }
    criv1::ContainerStatus& add_container(const std::string& id, const std::string& name,
                                          std::uint32_t attempt, criv1::ContainerState state,
                                          const std::string& sandbox = "s1") {
        auto& container = listing.containers.emplace_back();
        container.set_id(id);
        container.set_pod_sandbox_id(sandbox);
        container.mutable_metadata()->set_name(name);
        container.mutable_metadata()->set_attempt(attempt);
        container.set_state(state);
        (*container.mutable_labels())[kLabelPodUid] = "u1";
        auto& status = containers_[id];
        status.set_id(id);
        status.set_state(state);
        status.set_started_at(5'000'000'000);
        return status;
    }
    Result<criv1::ContainerStatus> container_status(const std::string& id) override {
        const auto found = containers_.find(id);
        if (found == containers_.end()) return make_error(Code::kNotFound, "no container {}", id);
        return found->second;
    }
    Result<criv1::PodSandboxStatus> sandbox_status(const std::string& id) override {
        const auto found = sandboxes_.find(id);
        if (found == sandboxes_.end()) return make_error(Code::kNotFound, "no sandbox {}", id);
        return found->second;
    }
    void forget(const std::string& id) { containers_.erase(id); }
    criv1::ContainerStatus& status_of(const std::string& id) { return containers_[id]; }

    Snapshot listing;

private:
    std::map<std::string, criv1::ContainerStatus> containers_;
    std::map<std::string, criv1::PodSandboxStatus> sandboxes_;
};

class Probes final : public Prober {
public:
    struct Added {
        std::string container, id, ip;
        bool started, ready;
    };
    void add(const corev1::Pod&, const corev1::Container& container, const std::string& id,
             const std::string& ip, bool started, bool ready) override {
        added.push_back({container.name(), id, ip, started, ready});
    }
    void remove(const std::string&, const std::string&) override {}
    void pod_terminating(const std::string&) override {}
    void remove_pod(const std::string&) override {}
    std::vector<Added> added;
};

class RecoveryTest : public ::testing::Test {
protected:
    RecoveryTest() {
        object.mutable_metadata()->set_name("web-1");
        object.mutable_metadata()->set_namespace_("default");
        object.mutable_metadata()->set_uid("u1");
        object.mutable_spec()->set_restartpolicy("Always");
        for (const char* name : {"web", "helper"}) {
            auto* container = object.mutable_spec()->add_containers();
            container->set_name(name);
            container->set_image("localhost/web:1");
        }
    }
    std::shared_ptr<PodEntry> adopted() {
        auto entry = node.add(object);
        adopt(*entry, runtime.listing, runtime, probes, node.machine->parts().node);
        return entry;
    }

    corev1::Pod object;
    FakeNode node;
    Runtime runtime;
    Probes probes;
};

TEST_F(RecoveryTest, WhatRunsIsTakenOverAndNothingIsStarted) {
    runtime.add_sandbox("s1", 2, 10, true);
    runtime.add_container("c0", "web", 3, criv1::CONTAINER_EXITED).set_exit_code(7);
    runtime.add_container("c1", "web", 4, criv1::CONTAINER_RUNNING);
    runtime.add_container("c2", "helper", 0, criv1::CONTAINER_RUNNING);
    const auto entry = adopted();
    EXPECT_TRUE(entry->recovered);
    ASSERT_TRUE(entry->sandbox.has_value());
    EXPECT_EQ(entry->sandbox->attempt, 2U);
    EXPECT_EQ(entry->sandbox->ips, (std::vector<std::string>{"10.0.0.9", "fd00::9"}));
    node.sync(*entry);
    EXPECT_TRUE(node.cri.started.empty());
    const auto status = node.status(*entry);
    EXPECT_EQ(status.phase(), "Running");
    EXPECT_EQ(FakeNode::condition(status, "Ready"), "True");
    EXPECT_EQ(status.containerstatuses(0).restartcount(), 4);
    EXPECT_EQ(status.containerstatuses(0).containerid(), "containerd://c1");
    EXPECT_EQ(status.containerstatuses(0).laststate().terminated().exitcode(), 7);
    EXPECT_EQ(status.containerstatuses(0).state().running().startedat().seconds(), 5);
}

TEST_F(RecoveryTest, TheNewestSandboxCountsAndTheOthersAreToGo) {
    runtime.add_sandbox("s0", 0, 10, false);
    runtime.add_sandbox("s2", 2, 30, true);
    runtime.add_sandbox("s1", 1, 20, false);
    const auto entry = adopted();
    EXPECT_EQ(entry->sandbox->id, "s2");
    EXPECT_EQ(entry->old_sandboxes, (std::vector<std::string>{"s0", "s1"}));
}

TEST_F(RecoveryTest, AContainerThatWasMadeButNotStartedIsMadeAgain) {
    runtime.add_sandbox("s1", 0, 10, true);
    runtime.add_container("c1", "web", 0, criv1::CONTAINER_CREATED);
    runtime.add_container("c2", "helper", 0, criv1::CONTAINER_RUNNING);
    const auto entry = adopted();
    node.sync(*entry);
    EXPECT_EQ(node.cri.started, (std::vector<std::string>{"web"}));
    EXPECT_EQ(entry->find("web")->current->attempt, 1U);
}

TEST_F(RecoveryTest, ReadinessIsKeptUntilAProbeSaysOtherwise) {
    object.mutable_spec()->mutable_containers(0)->mutable_readinessprobe();
    object.mutable_spec()->mutable_containers(1)->mutable_readinessprobe();
    const auto known = [this](const char* name, const char* id) {
        auto* status = object.mutable_status()->add_containerstatuses();
        status->set_name(name);
        status->set_containerid(std::string("containerd://") + id);
        status->set_ready(true);
        status->set_started(true);
    };
    known("web", "c1");
    known("helper", "a life before");  // what is known is not of the one that runs
    runtime.add_sandbox("s1", 0, 10, true);
    runtime.add_container("c1", "web", 0, criv1::CONTAINER_RUNNING);
    runtime.add_container("c2", "helper", 1, criv1::CONTAINER_RUNNING);
    const auto entry = adopted();
    EXPECT_TRUE(entry->find("web")->ready);
    EXPECT_FALSE(entry->find("helper")->ready);
    ASSERT_EQ(probes.added.size(), 2U);
    EXPECT_EQ(probes.added[0].id, "c1");
    EXPECT_EQ(probes.added[0].ip, "10.0.0.9");
    EXPECT_TRUE(probes.added[0].started);
    EXPECT_TRUE(probes.added[0].ready);
    EXPECT_FALSE(probes.added[1].ready);
}

TEST_F(RecoveryTest, WhatEndedUnheardIsFoundAndStartedAgain) {
    runtime.add_sandbox("s1", 0, 10, true);
    runtime.add_container("c1", "web", 0, criv1::CONTAINER_RUNNING);
    runtime.add_container("c2", "helper", 0, criv1::CONTAINER_RUNNING);
    const auto entry = adopted();
    runtime.status_of("c1").set_state(criv1::CONTAINER_EXITED);
    runtime.status_of("c1").set_exit_code(3);
    runtime.forget("c2");
    verify(*entry, runtime, *node.machine);
    EXPECT_EQ(entry->find("web")->current->exit_code, 3);
    EXPECT_EQ(entry->find("helper")->current->exit_code, 137);
    EXPECT_EQ(entry->find("helper")->current->reason, "ContainerStatusUnknown");
    node.sync(*entry);
    EXPECT_EQ(node.cri.started, (std::vector<std::string>{"web", "helper"}));
}

TEST_F(RecoveryTest, APodThatTheRuntimeCouldNotMakeIsTriedAtOnceWhenItIsBack) {
    node.cri.sandbox_failure = "connection refused";
    const auto entry = node.add(object);
    for (int attempt = 0; attempt < 4; ++attempt) {
        node.sync(*entry);
        node.now_ms += kMaxRetryMs;
    }
    node.sync(*entry);
    node.cri.sandbox_failure.clear();
    node.sync(*entry);
    EXPECT_TRUE(node.cri.started.empty());  // its time has not come
    verify(*entry, runtime, *node.machine);
    node.sync(*entry);
    EXPECT_EQ(node.cri.started.size(), 2U);
}

}  // namespace
}  // namespace sluice::kubelet
