// A node for tests of the state machine: a runtime, volumes, probes, events and a clock in memory.
// Tasks run when the test waits for them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/kubelet/pods/machine.h"
#include "control/kubelet/pods/status.h"

namespace sluice::kubelet {

class FakeCri : public Cri {
public:
    Result<criv1::VersionResponse> version() override { return criv1::VersionResponse(); }
    Result<criv1::RuntimeStatus> status() override { return criv1::RuntimeStatus(); }
    Result<std::string> run_sandbox(const criv1::PodSandboxConfig&) override {
        if (!sandbox_failure.empty()) return make_error(Code::kUnavailable, "{}", sandbox_failure);
        return "sandbox-" + std::to_string(++count_);
    }
    Result<void> stop_sandbox(const std::string& id) override {
        const std::lock_guard lock(mutex_);
        stopped_sandboxes.push_back(id);
        return {};
    }
    Result<void> remove_sandbox(const std::string& id) override {
        const std::lock_guard lock(mutex_);
        removed_sandboxes.push_back(id);
        return {};
    }
    Result<criv1::PodSandboxStatus> sandbox_status(const std::string& id) override {
        criv1::PodSandboxStatus status;
        status.set_id(id);
        status.mutable_network()->set_ip(sandbox_ip);
        return status;
    }
    Result<std::vector<criv1::PodSandbox>> list_sandboxes() override {
        return std::vector<criv1::PodSandbox>();
    }
    Result<std::string> create_container(const std::string&, const criv1::ContainerConfig& config,
                                         const criv1::PodSandboxConfig&) override {
        const auto id = "container-" + std::to_string(++count_);
        names_[id] = config.metadata().name();
        return id;
    }
    Result<void> start_container(const std::string& id) override {
        started.push_back(names_[id]);
        return {};
    }
    Result<void> stop_container(const std::string& id, std::int64_t grace_s) override {
        const std::lock_guard lock(mutex_);
        graces.push_back(grace_s);
        exited_.push_back(id);
        return {};
    }
    Result<void> remove_container(const std::string&) override { return {}; }
    Result<criv1::ContainerStatus> container_status(const std::string& id) override {
        const std::lock_guard lock(mutex_);
        criv1::ContainerStatus status;
        status.set_id(id);
        status.set_state(criv1::CONTAINER_RUNNING);
        for (const auto& exited : exited_) {
            if (exited != id) continue;
            status.set_state(criv1::CONTAINER_EXITED);
            status.set_exit_code(143);
            status.set_reason("Error");
        }
        return status;
    }
    Result<std::vector<criv1::Container>> list_containers() override {
        return std::vector<criv1::Container>();
    }
    Result<criv1::ExecSyncResponse> exec_sync(const std::string&, const std::vector<std::string>&,
                                              std::uint32_t) override {
        return criv1::ExecSyncResponse();
    }
    Result<std::string> exec(const criv1::ExecRequest&) override { return std::string(); }
    Result<std::string> attach(const criv1::AttachRequest&) override { return std::string(); }
    Result<std::string> port_forward(const criv1::PortForwardRequest&) override {
        return std::string();
    }
    Result<criv1::Image> image_status(const std::string& image) override {
        if (image.find("none") != std::string::npos) {
            return make_error(Code::kNotFound, "no such image");
        }
        criv1::Image found;
        found.set_id("sha256:1");
        return found;
    }
    Result<std::string> pull_image(const criv1::PullImageRequest&, std::stop_token) override {
        return make_error(Code::kNotFound, "no such image");
    }
    Result<std::vector<criv1::Image>> list_images() override { return std::vector<criv1::Image>(); }
    Result<void> remove_image(const std::string&) override { return {}; }
    Result<criv1::ImageFsInfoResponse> image_fs_info() override {
        return criv1::ImageFsInfoResponse();
    }

    std::vector<std::string> started, stopped_sandboxes, removed_sandboxes;
    std::vector<std::int64_t> graces;
    std::string sandbox_failure, sandbox_ip = "10.0.0.7";

private:
    std::mutex mutex_;
    int count_ = 0;
    std::map<std::string, std::string> names_;
    std::vector<std::string> exited_;
};

class FakeVolumes final : public Volumes {
public:
    Result<void> set_up(const corev1::Pod&) override {
        if (failure.empty()) return {};
        return make_error(Code::kNotFound, "{}", failure);
    }
    Result<void> refresh(const corev1::Pod&) override { return {}; }
    Result<std::vector<Mount>> mounts(const corev1::Pod&, const std::string&,
                                      const std::map<std::string, std::string>&) override {
        return std::vector<Mount>();
    }
    Result<void> tear_down(const std::string& uid) override {
        torn_down.push_back(uid);
        return {};
    }
    [[nodiscard]] std::vector<std::string> pods_on_disk() const override { return {}; }

    std::string failure;
    std::vector<std::string> torn_down;
};

class FakeObjects final : public ObjectSource {
public:
    void follow_pod(const corev1::Pod&) override {}
    void forget_pod(const std::string&) override {}
    Result<std::shared_ptr<const corev1::ConfigMap>> config_map(const std::string&,
                                                                const std::string& name) override {
        return make_error(Code::kNotFound, "configmap \"{}\" not found", name);
    }
    Result<std::shared_ptr<const corev1::Secret>> secret(const std::string&,
                                                         const std::string& name) override {
        return make_error(Code::kNotFound, "secret \"{}\" not found", name);
    }
    Result<std::string> token(const corev1::Pod&, const std::string&, std::int64_t) override { return "token"; }
    void on_change(std::function<void(const std::string&)>) override {}
};

class FakeProber final : public Prober {
public:
    void add(const corev1::Pod&, const corev1::Container&, const std::string&, const std::string&,
             bool, bool) override {}
    void remove(const std::string&, const std::string&) override {}
    void pod_terminating(const std::string&) override {}
    void remove_pod(const std::string&) override {}
};

class FakeEvents final : public client::EventRecorder {
public:
    void record(const google::protobuf::Message&, client::EventType, const std::string& reason,
                const std::string&, const std::string&) override {
        const std::lock_guard lock(mutex_);
        reasons_.push_back(reason);
    }
    [[nodiscard]] std::uint64_t dropped() const override { return 0; }
    [[nodiscard]] std::vector<std::string> reasons() {
        const std::lock_guard lock(mutex_);
        return reasons_;
    }
    [[nodiscard]] int count(const std::string& reason) {
        const std::lock_guard lock(mutex_);
        return static_cast<int>(std::count(reasons_.begin(), reasons_.end(), reason));
    }

private:
    std::mutex mutex_;
    std::vector<std::string> reasons_;
};

class FakeNode {
public:
    explicit FakeNode(std::vector<std::string> cluster_dns = {"10.96.0.10"}) {
        char name[] = "/tmp/sluice-pods-XXXXXX";
        folder_ = ::mkdtemp(name);
        Parts parts;
        parts.cri = &cri;
        parts.volumes = &volumes;
        parts.objects = &objects;
        parts.prober = &prober;
        parts.images = &images;
        parts.tasks = tasks.get();
        parts.events = &events;
        parts.node.node_name = "n1";
        parts.node.cluster_dns = std::move(cluster_dns);
        parts.node.host_ips = {"192.0.2.1"};
        parts.node.root_dir = folder_ + "/root";
        parts.node.logs_dir = folder_ + "/logs";
        parts.now_ms = [this] { return now_ms.load(); };
        parts.wake = parts.status_changed = [](const std::string&) {};
        parts.owns = [](const std::string&, const std::string&) {};
        parts.services = [](const std::string&) {
            return std::vector<std::shared_ptr<const corev1::Service>>();
        };
        parts.node_facts = [] { return PodFacts(); };
        parts.admit = [this](const corev1::Pod&) { return refusal; };
        parts.cgroup_path = [](const corev1::Pod&) { return std::string("/test"); };
        parts.make_cgroup = [](const corev1::Pod&) { return Result<void>(); };
        parts.remove_cgroup = [](const std::string&) { return true; };
        parts.was_oom = [](const std::string&) { return false; };
        parts.finish = [this](PodEntry&, bool remove) {
            removed += remove ? 1 : 0;
            return Result<void>();
        };
        machine = std::make_unique<Machine>(std::move(parts));
    }
    ~FakeNode() {
        settle();
        std::filesystem::remove_all(folder_);
    }

    std::shared_ptr<PodEntry> add(const corev1::Pod& pod) {
        auto entry = std::make_shared<PodEntry>();
        entry->pod = std::make_shared<const corev1::Pod>(pod);
        entry->uid = pod.metadata().uid();
        entry->containers = make_containers(pod);
        entry->start_ms = now_ms;
        return entry;
    }
    std::optional<std::int64_t> sync(PodEntry& entry) { return machine->sync(entry); }
    // Waits until all tasks are done.
    void settle() {
        while (tasks->busy()) std::this_thread::yield();
    }
    void exit(PodEntry& entry, const std::string& container, int code) {
        machine->container_exited(entry, entry.find(container)->current->id, code,
                                  now_ms * 1'000'000);
    }
    void deleted(PodEntry& entry, std::int64_t grace_s) {
        auto pod = std::make_shared<corev1::Pod>(*entry.pod);
        pod->mutable_metadata()->mutable_deletiontimestamp()->set_seconds(now_ms / 1'000);
        pod->mutable_metadata()->set_deletiongraceperiodseconds(grace_s);
        entry.pod = pod;
    }
    corev1::PodStatus status(PodEntry& entry) {
        const std::lock_guard lock(entry.mutex);
        return make_status(entry, machine->parts().node, entry.pod->status(), now_ms);
    }
    static std::string condition(const corev1::PodStatus& status, const std::string& type) {
        for (const auto& condition : status.conditions()) {
            if (condition.type() == type) return condition.status();
        }
        return "none";
    }

    std::atomic<std::int64_t> now_ms{1'700'000'000'000};
    FakeCri cri;
    FakeVolumes volumes;
    FakeObjects objects;
    FakeProber prober;
    FakeEvents events;
    std::unique_ptr<Tasks> tasks = std::make_unique<Tasks>();
    Images images{cri, objects, *tasks, [this] { return now_ms.load(); }};
    std::optional<Parts::Refusal> refusal;
    int removed = 0;
    std::unique_ptr<Machine> machine;

private:
    std::string folder_;
};

}  // namespace sluice::kubelet
