// The environment of a container, and what refers to it. Pure but for the ObjectSource.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "control/kubelet/objects.h"

namespace k8s::io::api::core::v1 {
class Container;
class Service;
}  // namespace k8s::io::api::core::v1

namespace sluice::kubelet {

// What the node knows of a pod beyond the object.
struct PodFacts {
    std::string node_name;
    std::vector<std::string> host_ips;
    std::vector<std::string> pod_ips;  // empty before the sandbox exists
    // Allocatable of the node, for resourceFieldRef of containers without limits.
    std::int64_t node_cpu_milli = 0;
    std::int64_t node_memory_bytes = 0;
    std::int64_t node_ephemeral_storage_bytes = 0;
};

// Variables of one container, and bytes of their names and values; beyond is kResourceExhausted. An
// exec takes no more.
inline constexpr std::size_t kMaxVariables = 100'000;
inline constexpr std::size_t kMaxEnvironmentBytes = 4U << 20U;

using Environment = std::vector<std::pair<std::string, std::string>>;  // in order, names unique

// Of envFrom, the services of the namespace (enableServiceLinks) and of default/kubernetes, and
// env, as Kubernetes merges them; $(VAR) is expanded. Errors are those of the waiting reason
// CreateContainerConfigError: `configmap "x" not found`, `couldn't find key k in Secret default/s`.
Result<Environment> make_environment(
    const corev1::Pod& pod, const corev1::Container& container, const PodFacts& facts,
    const std::vector<std::shared_ptr<const corev1::Service>>& services, ObjectSource& objects);

// "$(VAR)" replaced, "$$" unescaped, unknown names left as they are: for command, args and
// subPathExpr.
[[nodiscard]] std::string expand(std::string_view text,
                                 const std::map<std::string, std::string>& environment);

// The value of a fieldRef ("metadata.labels['app']", "status.podIP", ...); kInvalidArgument for
// unknown paths.
Result<std::string> field_value(const corev1::Pod& pod, const PodFacts& facts,
                                std::string_view field_path);
// The value of a resourceFieldRef such as "limits.memory", divided by its divisor and rounded up.
Result<std::string> resource_value(const corev1::Container& container, const PodFacts& facts,
                                   std::string_view resource, std::string_view divisor);

}  // namespace sluice::kubelet
