#include <vector>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/scheduling/v1/priorityclass.pb.h"
#include "control/apiserver/registry/defaults/defaults.h"

namespace sluice::registry {

namespace {

using ::k8s::io::api::scheduling::v1::PriorityClass;

constexpr std::int32_t kSystemCritical = 2'000'000'000;

PriorityClass make(const char* name, std::int32_t value, const char* description) {
    PriorityClass object;
    object.mutable_metadata()->set_name(name);
    object.set_value(value);
    object.set_description(description);
    object.set_preemptionpolicy("PreemptLowerPriority");
    return object;
}

}  // namespace

std::span<const PriorityClass> system_priorities() {
    static const std::vector<PriorityClass> all = {
        make("system-node-critical", kSystemCritical + 1000,
             "Used for system critical pods that must not be moved from their current node."),
        make("system-cluster-critical", kSystemCritical,
             "Used for system critical pods that must run in the cluster, but can be moved to "
             "another node if necessary."),
    };
    return all;
}

const PriorityClass* system_priority(std::string_view name) {
    for (const PriorityClass& object : system_priorities()) {
        if (object.metadata().name() == name) return &object;
    }
    return nullptr;
}

}  // namespace sluice::registry
