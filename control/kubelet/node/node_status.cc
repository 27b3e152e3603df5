#include "control/kubelet/node/node_status_private.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <array>
#include <utility>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "control/apiserver/version.h"

namespace sluice::kubelet {
namespace {

using codec::Quantity;

std::string bytes_text(std::int64_t bytes) {
    return Quantity::from_units(bytes, Quantity::Format::kBinarySi).to_string();
}

// "2Mi" of 2097152.
std::string page_name(std::int64_t bytes) { return "hugepages-" + bytes_text(bytes); }

std::int64_t not_negative(std::int64_t value) { return std::max<std::int64_t>(value, 0); }

std::int64_t huge_page_bytes(const Machine& machine) {
    std::int64_t sum = 0;
    for (const auto& [page, bytes] : machine.huge_pages) sum += bytes;
    return sum;
}

struct Condition {
    const char* type;
    bool holds;
    const char* reason_true;
    const char* reason_false;
    std::string message_true;
    std::string message_false;
    const char* event_true;
    const char* event_false;
};

std::string ready_trouble(const Machine& machine, const RuntimeState& runtime) {
    std::string out;
    const auto add = [&](const std::string& trouble) {
        if (trouble.empty()) return;
        out += (out.empty() ? "" : ",") + trouble;
    };
    add(runtime.runtime_not_ready);
    add(runtime.network_not_ready);
    std::string missing;
    if (machine.memory_bytes <= 0) missing += "memory";
    if (machine.storage_bytes <= 0) missing += missing.empty() ? "ephemeral-storage" : ", ephemeral-storage";
    if (!missing.empty()) add("missing node capacity for resources: " + missing);
    return out;
}

void set_condition(const Condition& condition, std::int64_t now_s, const corev1::NodeStatus& before,
                   corev1::NodeStatus* status, std::vector<std::string>* events) {
    corev1::NodeCondition* made = status->add_conditions();
    made->set_type(condition.type);
    made->set_status(condition.holds ? "True" : "False");
    made->set_reason(condition.holds ? condition.reason_true : condition.reason_false);
    made->set_message(condition.holds ? condition.message_true : condition.message_false);
    made->mutable_lastheartbeattime()->set_seconds(now_s);
    made->mutable_lasttransitiontime()->set_seconds(now_s);
    for (const auto& old : before.conditions()) {
        if (old.type() != condition.type || old.status() != made->status()) continue;
        *made->mutable_lasttransitiontime() = old.lasttransitiontime();
        return;
    }
    events->emplace_back(condition.holds ? condition.event_true : condition.event_false);
}

bool is_own_condition(const std::string& type) {
    return type == "MemoryPressure" || type == "DiskPressure" || type == "PIDPressure" ||
           type == "Ready";
}

}  // namespace

std::string kubelet_version() {
    return fmt::format("v{}.{}.0+sluice.{}", apiserver::kKubernetesMajor,
                       apiserver::kKubernetesMinor, SLUICE_VERSION);
}

Pressure pressure_of(const Machine& machine) {
    const auto below = [](std::int64_t left, std::int64_t all, std::int64_t percent) {
        return all > 0 && left < all / 100 * percent;
    };
    Pressure pressure;
    pressure.memory = machine.memory_bytes > 0 && machine.memory_available_bytes < kMinMemoryBytes;
    pressure.disk =
        below(machine.storage_available_bytes, machine.storage_bytes, kMinStoragePercent) ||
        below(machine.inodes_free, machine.inodes, kMinInodesPercent);
    pressure.pids = below(machine.max_pids - machine.pids, machine.max_pids, kMinPidsPercent);
    return pressure;
}

std::int64_t allocatable_memory(const Machine& machine, const NodeOptions& options) {
    return not_negative(machine.memory_bytes - options.reserved_memory_bytes - kMinMemoryBytes -
                        huge_page_bytes(machine));
}

std::int64_t allocatable_cpu(const Machine& machine, const NodeOptions& options) {
    return not_negative(machine.cpus * 1000 - options.reserved_cpu_milli);
}

NewStatus make_status(const NodeOptions& options, const Machine& machine, const Pressure& pressure,
                      const RuntimeState& runtime, std::int64_t now_s,
                      const corev1::NodeStatus& before, corev1::NodeStatus* status) {
    NewStatus result;
    result.labels = node_labels(options);
    auto& capacity = *status->mutable_capacity();
    auto& allocatable = *status->mutable_allocatable();
    const std::string pods = std::to_string(options.max_pods);
    capacity["cpu"].set_string(std::to_string(machine.cpus));
    allocatable["cpu"].set_string(
        Quantity::from_milli(allocatable_cpu(machine, options)).to_string());
    if (machine.memory_bytes > 0) {
        capacity["memory"].set_string(bytes_text(machine.memory_bytes));
        allocatable["memory"].set_string(bytes_text(allocatable_memory(machine, options)));
    }
    if (machine.storage_bytes > 0) {
        capacity["ephemeral-storage"].set_string(bytes_text(machine.storage_bytes));
        allocatable["ephemeral-storage"].set_string(std::to_string(
            machine.storage_bytes - machine.storage_bytes / 100 * kMinStoragePercent));
    }
    capacity["pods"].set_string(pods);
    allocatable["pods"].set_string(pods);
    for (const auto& [page, bytes] : machine.huge_pages) {
        capacity[page_name(page)].set_string(bytes_text(bytes));
        allocatable[page_name(page)].set_string(bytes_text(bytes));
    }
    for (const std::string& address : options.addresses) {
        auto* made = status->add_addresses();
        made->set_type("InternalIP");
        made->set_address(address);
    }
    auto* hostname = status->add_addresses();
    hostname->set_type("Hostname");
    hostname->set_address(options.hostname.empty() ? options.name : options.hostname);
    status->mutable_daemonendpoints()->mutable_kubeletendpoint()->set_port(options.kubelet_port);

    auto* info = status->mutable_nodeinfo();
    info->set_machineid(machine.machine_id);
    info->set_systemuuid(machine.system_uuid);
    info->set_bootid(machine.boot_id);
    info->set_kernelversion(machine.kernel_version);
    info->set_osimage(machine.os_image);
    info->set_containerruntimeversion(
        runtime.runtime_version.empty() ? "Unknown" : runtime.runtime_version);
    info->set_kubeletversion(kubelet_version());
    info->set_operatingsystem("linux");
    info->set_architecture(architecture());

    for (const auto& condition : before.conditions()) {
        if (!is_own_condition(condition.type())) *status->add_conditions() = condition;
    }
    const std::string trouble = ready_trouble(machine, runtime);
    // Ready is the last, as readers of old expect it.
    const std::array<Condition, 4> conditions{
        {{"MemoryPressure", pressure.memory, "KubeletHasInsufficientMemory",
          "KubeletHasSufficientMemory", "kubelet has insufficient memory available",
          "kubelet has sufficient memory available", "NodeHasInsufficientMemory",
          "NodeHasSufficientMemory"},
         {"DiskPressure", pressure.disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure",
          "kubelet has disk pressure", "kubelet has no disk pressure", "NodeHasDiskPressure",
          "NodeHasNoDiskPressure"},
         {"PIDPressure", pressure.pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID",
          "kubelet has insufficient PID available", "kubelet has sufficient PID available",
          "NodeHasInsufficientPID", "NodeHasSufficientPID"},
         {"Ready", trouble.empty(), "KubeletReady", "KubeletNotReady",
          "kubelet is posting ready status", trouble, "NodeReady", "NodeNotReady"}}};
    for (const Condition& condition : conditions) {
        set_condition(condition, now_s, before, status, &result.events);
    }
    return result;
}

bool is_status_changed(const corev1::NodeStatus& before, const corev1::NodeStatus& after) {
    const auto without_times = [](corev1::NodeStatus status) {
        for (auto& condition : *status.mutable_conditions()) condition.clear_lastheartbeattime();
        // The server may have them in another order; they are told apart by type.
        std::sort(status.mutable_conditions()->pointer_begin(),
                  status.mutable_conditions()->pointer_end(),
                  [](const auto* a, const auto* b) { return a->type() < b->type(); });
        // Not the kubelet's.
        status.clear_volumesattached();
        status.clear_volumesinuse();
        status.clear_images();
        status.clear_phase();
        return status;
    };
    return !google::protobuf::util::MessageDifferencer::Equivalent(without_times(before),
                                                                   without_times(after));
}

std::map<std::string, std::string> node_labels(const NodeOptions& options) {
    std::map<std::string, std::string> labels = options.labels;
    labels["kubernetes.io/hostname"] = options.hostname.empty() ? options.name : options.hostname;
    for (const std::string prefix : {"kubernetes.io/", "beta.kubernetes.io/"}) {
        labels[prefix + "os"] = "linux";
        labels[prefix + "arch"] = architecture();
    }
    return labels;
}

Result<void> check_labels(const std::map<std::string, std::string>& labels) {
    static constexpr std::array<std::string_view, 12> kAllowed{
        "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os",
        "node.kubernetes.io/instance-type", "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone", "node.kubernetes.io/windows-build"};
    const auto is_of = [](std::string_view space, std::string_view domain) {
        return space == domain || (space.ends_with(domain) &&
                                   space[space.size() - domain.size() - 1] == '.');
    };
    for (const auto& [key, value] : labels) {
        const std::size_t slash = key.find('/');
        if (slash == std::string::npos) continue;
        const std::string_view space = std::string_view(key).substr(0, slash);
        if (!is_of(space, "kubernetes.io") && !is_of(space, "k8s.io")) continue;
        if (is_of(space, "kubelet.kubernetes.io") || is_of(space, "node.kubernetes.io")) continue;
        if (std::find(kAllowed.begin(), kAllowed.end(), key) != kAllowed.end()) continue;
        return make_error(Code::kInvalidArgument,
                          "--node-labels: \"{}\": labels in the 'kubernetes.io' namespace must begin with "
                          "an allowed prefix (kubelet.kubernetes.io, node.kubernetes.io) or be in the "
                          "specifically allowed set", key);
    }
    return {};
}

}  // namespace sluice::kubelet
