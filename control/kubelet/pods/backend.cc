// What the kubelet's server asks: logs, exec, attach, port-forward, the list of pods, metrics.
#include "api/codec/json.h"
#include "control/kubelet/pods/manager.h"

namespace sluice::kubelet {

namespace {

Error no_pod(const std::string& namespace_name, const std::string& name) {
    return make_error(Code::kNotFound, "pod \"{}\" not found in namespace \"{}\"", name,
                      namespace_name);
}

Error no_container(const std::string& pod, const std::string& container) {
    return make_error(Code::kNotFound, "container \"{}\" not found in pod \"{}\"", container, pod);
}

}  // namespace

Result<ServerBackend::LogFile> Manager::log_file(const std::string& namespace_name,
                                                 const std::string& pod_name,
                                                 const std::string& container, bool previous) {
    const auto entry = find_name(namespace_name, pod_name);
    if (!entry) return no_pod(namespace_name, pod_name);
    const std::lock_guard lock(entry->mutex);
    const auto* found = entry->find(container);
    if (found == nullptr) return no_container(pod_name, container);
    const Instance* life = nullptr;
    if (previous) {
        // While the next life waits, the one that has just ended is the previous one.
        const bool waits = found->exited() && !found->waiting_reason.empty();
        if (waits) {
            life = &*found->current;
        } else if (found->last) {
            life = &*found->last;
        } else {
            return make_error(Code::kFailedPrecondition,
                              "previous terminated container \"{}\" in pod \"{}\" not found",
                              container, pod_name);
        }
    } else if (found->current && found->current->started_ns > 0) {
        life = &*found->current;
    } else if (found->last) {
        life = &*found->last;
    } else {
        const bool init_pending = !found->init && !entry->initialized &&
                                  entry->pod->spec().initcontainers_size() > 0;
        return make_error(Code::kFailedPrecondition,
                          "container \"{}\" in pod \"{}\" is waiting to start: {}", container,
                          pod_name,
                          !found->waiting_reason.empty() ? found->waiting_reason
                          : init_pending                 ? "PodInitializing"
                                                         : "ContainerCreating");
    }
    LogFile file;
    file.path = pod_log_dir(*entry->pod, options_.node) + "/" + container + "/" +
                std::to_string(life->attempt) + ".log";
    file.running = life->state == Instance::State::kRunning;
    file.container_id = life->id;
    return file;
}

bool Manager::is_running(const std::string& container_id) {
    const auto entry = owner_of(container_id);
    if (!entry) return false;
    const std::lock_guard lock(entry->mutex);
    for (const auto& container : entry->containers) {
        if (container.current && container.current->id == container_id) return container.running();
    }
    return false;
}

Result<std::string> Manager::exec_url(const std::string& namespace_name,
                                      const std::string& pod_name, const std::string& container,
                                      const kubelet::ExecRequest& request) {
    const auto entry = find_name(namespace_name, pod_name);
    if (!entry) return no_pod(namespace_name, pod_name);
    std::string id;
    {
        const std::lock_guard lock(entry->mutex);
        const auto* found = entry->find(container);
        if (found == nullptr || !found->running()) {
            // Kubelet's words for both.
            return make_error(Code::kNotFound, "container not found (\"{}\")", container);
        }
        id = found->current->id;
    }
    if (request.command.empty()) {
        criv1::AttachRequest attach;
        attach.set_container_id(id);
        attach.set_stdin(request.stdin_stream);
        attach.set_stdout(request.stdout_stream);
        attach.set_stderr(request.stderr_stream && !request.tty);
        attach.set_tty(request.tty);
        return cri_.attach(attach);
    }
    criv1::ExecRequest exec;
    exec.set_container_id(id);
    for (const auto& word : request.command) exec.add_cmd(word);
    exec.set_stdin(request.stdin_stream);
    exec.set_stdout(request.stdout_stream);
    exec.set_stderr(request.stderr_stream && !request.tty);
    exec.set_tty(request.tty);
    return cri_.exec(exec);
}

Result<std::string> Manager::port_forward_url(const std::string& namespace_name,
                                              const std::string& pod_name,
                                              const std::vector<std::int32_t>& ports) {
    const auto entry = find_name(namespace_name, pod_name);
    if (!entry) return no_pod(namespace_name, pod_name);
    criv1::PortForwardRequest request;
    {
        const std::lock_guard lock(entry->mutex);
        if (!entry->sandbox || !entry->sandbox->ready) {
            return make_error(Code::kFailedPrecondition, "sandbox of pod \"{}\" is not running",
                              pod_name);
        }
        request.set_pod_sandbox_id(entry->sandbox->id);
    }
    for (const auto port : ports) request.add_port(port);
    return cri_.port_forward(request);
}

std::string Manager::pods_json() {
    corev1::PodList list;
    for (const auto& entry : entries()) {
        const std::lock_guard lock(entry->mutex);
        auto* pod = list.add_items();
        *pod = *entry->pod;
        if (entry->written) *pod->mutable_status() = *entry->written;
    }
    const codec::GroupVersionKind kind{"", "v1", "PodList"};
    return codec::encode_json(list, &kind);
}

std::string Manager::metrics() {
    int pods = 0;
    int running = 0;
    int exited = 0;
    for (const auto& entry : entries()) {
        const std::lock_guard lock(entry->mutex);
        if (entry->sandbox && entry->sandbox->ready) ++pods;
        for (const auto& container : entry->containers) {
            running += container.running() ? 1 : 0;
            exited += container.exited() ? 1 : 0;
        }
    }
    return fmt::format(
        "# HELP kubelet_running_pods Number of pods that have a running pod sandbox\n"
        "# TYPE kubelet_running_pods gauge\n"
        "kubelet_running_pods {}\n"
        "# HELP kubelet_running_containers Number of containers by state\n"
        "# TYPE kubelet_running_containers gauge\n"
        "kubelet_running_containers{{container_state=\"running\"}} {}\n"
        "kubelet_running_containers{{container_state=\"exited\"}} {}\n"
        "# HELP sluice_kubelet_events_dropped_total Events that were not written\n"
        "# TYPE sluice_kubelet_events_dropped_total counter\n"
        "sluice_kubelet_events_dropped_total {}\n"
        "# HELP sluice_kubelet_work_queue_depth Pods that wait for a worker\n"
        "# TYPE sluice_kubelet_work_queue_depth gauge\n"
        "sluice_kubelet_work_queue_depth {}\n",
        pods, running, exited, events_.dropped(), queue_.size());
}

}  // namespace sluice::kubelet
