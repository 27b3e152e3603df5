// Pods through their lives, with a runtime, volumes and a clock that the test holds.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "control/kubelet/pods/machine.h"
#include "control/kubelet/pods/status.h"
#include "control/kubelet/pods/test_fakes.h"

namespace sluice::kubelet {
namespace {

class MachineTest : public ::testing::Test {
protected:
    FakeNode node;

    static corev1::Pod pod(const std::string& policy = "Always") {
        corev1::Pod pod;
        pod.mutable_metadata()->set_name("web-1");
        pod.mutable_metadata()->set_namespace_("default");
        pod.mutable_metadata()->set_uid("u1");
        pod.mutable_spec()->set_restartpolicy(policy);
        auto* container = pod.mutable_spec()->add_containers();
        container->set_name("web");
        container->set_image("localhost/web:1");
        container->set_imagepullpolicy("IfNotPresent");
        return pod;
    }
};

TEST_F(MachineTest, OneStepBringsAPodUpAndItIsReady) {
    auto entry = node.add(pod());
    node.sync(*entry);
    const auto status = node.status(*entry);
    EXPECT_EQ(status.phase(), "Running");
    EXPECT_EQ(status.podip(), "10.0.0.7");
    ASSERT_EQ(status.containerstatuses_size(), 1);
    EXPECT_TRUE(status.containerstatuses(0).ready());
    EXPECT_TRUE(status.containerstatuses(0).state().has_running());
    EXPECT_EQ(node.condition(status, "Ready"), "True");
    EXPECT_EQ(node.events.reasons(), (std::vector<std::string>{"Pulled", "Created", "Started"}));
}

TEST_F(MachineTest, TheFirstRestartIsAtOnceAndTheSecondWaitsTenSeconds) {
    auto entry = node.add(pod());
    node.sync(*entry);
    node.exit(*entry, "web", 1);
    node.sync(*entry);
    EXPECT_TRUE(entry->find("web")->running());
    node.exit(*entry, "web", 1);
    const auto again = node.sync(*entry);
    EXPECT_FALSE(entry->find("web")->running());
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(*again, 10'000);
    const auto status = node.status(*entry);
    EXPECT_EQ(status.containerstatuses(0).state().waiting().reason(), "CrashLoopBackOff");
    EXPECT_EQ(status.containerstatuses(0).state().waiting().message(),
              "back-off 10s restarting failed container=web pod=web-1_default(u1)");
    EXPECT_EQ(status.containerstatuses(0).laststate().terminated().exitcode(), 1);
    EXPECT_EQ(status.containerstatuses(0).restartcount(), 1);
    EXPECT_EQ(status.phase(), "Running");
    node.now_ms += 10'000;
    node.sync(*entry);
    EXPECT_TRUE(entry->find("web")->running());
    node.exit(*entry, "web", 1);
    EXPECT_EQ(node.sync(*entry), 20'000);
}

TEST_F(MachineTest, PoliciesDecideWhatAnEndMeans) {
    auto never = node.add(pod("Never"));
    node.sync(*never);
    node.exit(*never, "web", 3);
    node.sync(*never);
    node.settle();
    EXPECT_EQ(node.status(*never).phase(), "Failed");
    EXPECT_EQ(node.status(*never).containerstatuses(0).state().terminated().exitcode(), 3);
    EXPECT_EQ(node.cri.started.size(), 1U);
    EXPECT_EQ(node.cri.stopped_sandboxes.size(), 1U);

    auto job = pod("OnFailure");
    job.mutable_metadata()->set_uid("u2");
    auto on_failure = node.add(job);
    node.sync(*on_failure);
    node.exit(*on_failure, "web", 1);
    node.sync(*on_failure);
    EXPECT_TRUE(on_failure->find("web")->running());
    node.exit(*on_failure, "web", 0);
    node.sync(*on_failure);
    node.settle();
    EXPECT_EQ(node.status(*on_failure).phase(), "Succeeded");
}

TEST_F(MachineTest, InitContainersRunInOrderBeforeTheOthers) {
    auto object = pod();
    for (const char* name : {"first", "second"}) {
        auto* init = object.mutable_spec()->add_initcontainers();
        *init = object.spec().containers(0);
        init->set_name(name);
    }
    auto entry = node.add(object);
    node.sync(*entry);
    EXPECT_EQ(node.cri.started, (std::vector<std::string>{"first"}));
    EXPECT_EQ(node.status(*entry).phase(), "Pending");
    EXPECT_EQ(node.status(*entry).containerstatuses(0).state().waiting().reason(), "PodInitializing");
    EXPECT_EQ(node.condition(node.status(*entry), "Initialized"), "False");
    node.exit(*entry, "first", 0);
    node.sync(*entry);
    node.exit(*entry, "second", 0);
    node.sync(*entry);
    EXPECT_EQ(node.cri.started, (std::vector<std::string>{"first", "second", "web"}));
    EXPECT_EQ(node.condition(node.status(*entry), "Initialized"), "True");
}

TEST_F(MachineTest, ADeletedPodIsStoppedCleanedAndThenRemoved) {
    auto entry = node.add(pod());
    node.sync(*entry);
    node.deleted(*entry, 5);
    for (int step = 0; step < 4; ++step) {
        node.sync(*entry);
        node.settle();
    }
    EXPECT_EQ(node.cri.graces, (std::vector<std::int64_t>{5}));
    EXPECT_EQ(node.removed, 1);
    EXPECT_TRUE(entry->finished);
    EXPECT_EQ(node.volumes.torn_down, (std::vector<std::string>{"u1"}));
    EXPECT_EQ(node.cri.removed_sandboxes.size(), 1U);
    EXPECT_EQ(node.status(*entry).phase(), "Failed");
}

TEST_F(MachineTest, ADeadSandboxIsMadeAgainWithItsContainers) {
    auto entry = node.add(pod());
    node.sync(*entry);
    node.machine->container_exited(*entry, entry->sandbox->id, 137, 0);
    for (int step = 0; step < 3; ++step) {
        node.sync(*entry);
        node.settle();
    }
    EXPECT_EQ(entry->sandbox->attempt, 1U);
    EXPECT_TRUE(entry->sandbox->ready);
    EXPECT_TRUE(entry->find("web")->running());
    EXPECT_EQ(node.events.count("SandboxChanged"), 1);
}

TEST_F(MachineTest, AFailedProbeKillsAndThePolicyRestarts) {
    auto object = pod();
    object.mutable_spec()->mutable_containers(0)->mutable_livenessprobe();
    auto entry = node.add(object);
    node.sync(*entry);
    const auto id = entry->find("web")->current->id;
    node.machine->probe_outcome(*entry, {"u1", "web", "another", ProbeType::kLiveness, false, {}});
    node.sync(*entry);
    EXPECT_EQ(node.events.count("Killing"), 0);
    node.machine->probe_outcome(*entry, {"u1", "web", id, ProbeType::kLiveness, false, {}});
    node.sync(*entry);
    node.settle();
    node.sync(*entry);
    EXPECT_EQ(node.events.count("Killing"), 1);
    EXPECT_TRUE(entry->find("web")->running());
    EXPECT_NE(entry->find("web")->current->id, id);
    EXPECT_EQ(node.status(*entry).containerstatuses(0).restartcount(), 1);
}

TEST_F(MachineTest, WhatTheNodeCannotTakeFails) {
    node.refusal = Parts::Refusal{"OutOfcpu", "Node didn't have enough resource: cpu"};
    auto entry = node.add(pod());
    node.sync(*entry);
    node.settle();
    node.sync(*entry);
    EXPECT_TRUE(node.cri.started.empty());
    EXPECT_EQ(node.status(*entry).phase(), "Failed");
    EXPECT_EQ(node.status(*entry).reason(), "OutOfcpu");
    EXPECT_EQ(node.status(*entry).message(),
              "Pod was rejected: Node didn't have enough resource: cpu");
}

TEST_F(MachineTest, ImagesThatCannotBeHadAreSaidSo) {
    auto object = pod();
    object.mutable_spec()->mutable_containers(0)->set_image("localhost/none:1");
    auto entry = node.add(object);
    node.sync(*entry);
    node.settle();
    node.sync(*entry);
    const auto waiting = [&] { return node.status(*entry).containerstatuses(0).state().waiting(); };
    EXPECT_EQ(waiting().reason(), "ErrImagePull");
    EXPECT_EQ(node.status(*entry).phase(), "Pending");
    node.now_ms += kPullErrorShownMs;
    EXPECT_EQ(node.sync(*entry), 10'000 - kPullErrorShownMs);
    EXPECT_EQ(waiting().reason(), "ImagePullBackOff");
    EXPECT_EQ(waiting().message(), "Back-off pulling image \"localhost/none:1\"");
}

TEST_F(MachineTest, ADeadlineEndsThePod) {
    auto object = pod();
    object.mutable_spec()->set_activedeadlineseconds(60);
    auto entry = node.add(object);
    EXPECT_EQ(node.sync(*entry), 60'000);
    node.now_ms += 60'000;
    for (int step = 0; step < 3; ++step) {
        node.sync(*entry);
        node.settle();
    }
    EXPECT_EQ(node.status(*entry).phase(), "Failed");
    EXPECT_EQ(node.status(*entry).reason(), "DeadlineExceeded");
    EXPECT_EQ(node.removed, 0);
}

TEST_F(MachineTest, VolumesThatFailHoldTheContainersBack) {
    node.volumes.failure = "MountVolume.SetUp failed for volume \"page\" : configmap \"web\" not found";
    auto entry = node.add(pod());
    EXPECT_EQ(node.sync(*entry), 1'000);
    EXPECT_TRUE(node.cri.started.empty());
    EXPECT_EQ(node.events.count("FailedMount"), 1);
    node.volumes.failure.clear();
    node.now_ms += 1'000;
    node.sync(*entry);
    EXPECT_EQ(node.cri.started.size(), 1U);
}

TEST_F(MachineTest, AnEvictedPodFailsWithItsReasonAndHasOneSecondToEnd) {
    auto entry = node.add(pod());
    node.sync(*entry);
    node.machine->evict(*entry, "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");
    node.machine->evict(*entry, "again");
    for (int step = 0; step < 3; ++step) {
        node.sync(*entry);
        node.settle();
    }
    const auto status = node.status(*entry);
    EXPECT_EQ(status.phase(), "Failed");
    EXPECT_EQ(status.reason(), "Evicted");
    EXPECT_EQ(status.message(), "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");
    EXPECT_EQ(FakeNode::condition(status, "DisruptionTarget"), "True");
    EXPECT_EQ(node.cri.graces, (std::vector<std::int64_t>{1}));
    EXPECT_EQ(node.events.count("Evicted"), 1);
    EXPECT_EQ(node.removed, 0);
}

TEST_F(MachineTest, ReadinessGatesHoldReadinessUntilTheirConditionsAreTrue) {
    auto object = pod();
    object.mutable_spec()->add_readinessgates()->set_conditiontype("example.com/balanced");
    auto entry = node.add(object);
    node.sync(*entry);
    EXPECT_EQ(FakeNode::condition(node.status(*entry), "ContainersReady"), "True");
    EXPECT_EQ(FakeNode::condition(node.status(*entry), "Ready"), "False");
    const auto held = node.status(*entry);
    for (const auto& condition : held.conditions()) {
        if (condition.type() != "Ready") continue;
        EXPECT_EQ(condition.reason(), "ReadinessGatesNotReady");
        EXPECT_EQ(condition.message(),
                  "corresponding condition of pod readiness gate \"example.com/balanced\" does not "
                  "exist.");
    }
    auto* gate = object.mutable_status()->add_conditions();
    gate->set_type("example.com/balanced");
    gate->set_status("True");
    entry->pod = std::make_shared<const corev1::Pod>(object);
    EXPECT_EQ(FakeNode::condition(node.status(*entry), "Ready"), "True");
    // Another writer's condition stays.
    EXPECT_EQ(FakeNode::condition(node.status(*entry), "example.com/balanced"), "True");
}

TEST_F(MachineTest, APodThatWantsTheClustersDnsOnANodeWithoutOneIsTold) {
    FakeNode bare{std::vector<std::string>()};
    auto entry = bare.add(pod());
    bare.sync(*entry);
    EXPECT_EQ(bare.events.count("MissingClusterDNS"), 1);
    auto other = pod();
    other.mutable_metadata()->set_uid("u2");
    other.mutable_spec()->set_dnspolicy("Default");
    auto quiet = bare.add(other);
    bare.sync(*quiet);
    EXPECT_EQ(bare.events.count("MissingClusterDNS"), 1);
}

TEST_F(MachineTest, TheEndOfTheLogIsTheLastWordWhereThePolicySaysSo) {
    const auto words_of = [&](const std::string& uid, const std::string& policy, int code) {
        auto object = pod("Never");
        object.mutable_metadata()->set_uid(uid);
        object.mutable_spec()->mutable_containers(0)->set_terminationmessagepolicy(policy);
        auto entry = node.add(object);
        node.sync(*entry);
        std::ofstream log(pod_log_dir(object, node.machine->parts().node) + "/web/0.log");
        for (int line = 0; line < 100; ++line) {
            log << "2026-01-02T03:04:05.000000000Z stderr F line " << line << "\n";
        }
        log.close();
        node.exit(*entry, "web", code);
        return node.status(*entry).containerstatuses(0).state().terminated().message();
    };
    const auto words = words_of("u1", "FallbackToLogsOnError", 1);
    // Kubernetes' 80 lines.
    EXPECT_TRUE(words.starts_with("line 20\n")) << words;
    EXPECT_TRUE(words.ends_with("line 99\n")) << words;
    EXPECT_EQ(words_of("u2", "FallbackToLogsOnError", 0), "");
    EXPECT_EQ(words_of("u3", "File", 1), "");
}

TEST_F(MachineTest, HooksByHttpGoToTheSandboxAndTcpHooksFailAsInKubernetes) {
    auto object = pod();
    object.mutable_spec()->mutable_containers(0)->mutable_lifecycle()->mutable_poststart()
        ->mutable_tcpsocket();
    auto entry = node.add(object);
    node.sync(*entry);
    node.settle();
    EXPECT_EQ(node.events.count("FailedPostStartHook"), 1);
    EXPECT_EQ(entry->find("web")->kill_reason, "FailedPostStartHook");

    // A server on loopback stands for the pod, whose status at the API server has no address yet.
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener, 1), 0);
    // A hook that goes elsewhere is a failure and no endless wait.
    const timeval patience{20, 0};
    ::setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    std::thread server([listener] {
        const int client = ::accept(listener, nullptr, nullptr);
        char request[1024];
        static_cast<void>(::read(client, request, sizeof request));
        constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        static_cast<void>(::write(client, kAnswer.data(), kAnswer.size()));
        ::close(client);
    });
    auto with_http = pod();
    with_http.mutable_metadata()->set_uid("u2");
    auto* get = with_http.mutable_spec()->mutable_containers(0)->mutable_lifecycle()
                    ->mutable_poststart()->mutable_httpget();
    get->mutable_port()->set_intval(ntohs(address.sin_port));
    node.cri.sandbox_ip = "127.0.0.1";
    auto second = node.add(with_http);
    node.sync(*second);
    server.join();
    node.settle();
    ::close(listener);
    EXPECT_EQ(second->find("web")->post_start, ContainerEntry::Hook::kDone);
}

}  // namespace
}  // namespace sluice::kubelet
