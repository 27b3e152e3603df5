// What a pod asks of a node and what a node has to give: cpu, memory, ephemeral storage and extended resources.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace google::protobuf {
template <class Key, class Value>
class Map;
}
namespace k8s::io::api::core::v1 {
class PodSpec;
class NodeStatus;
}  // namespace k8s::io::api::core::v1

namespace sluice::scheduler {

// Sums over all pods of a node cannot overflow this, whatever the pods ask for.
__extension__ typedef __int128 Wide;

// What a container without requests counts as when nodes are compared (never when it is asked whether it fits).
inline constexpr std::int64_t kDefaultMilliCpu = 100;
inline constexpr std::int64_t kDefaultMemoryBytes = 200LL << 20;

// Non-negative amounts; `other` is sorted by name and holds no zero.
struct Resources {
    std::int64_t milli_cpu = 0;
    std::int64_t memory = 0;
    std::int64_t ephemeral_storage = 0;
    std::vector<std::pair<std::string, std::int64_t>> other;

    [[nodiscard]] std::int64_t other_amount(const std::string& name) const;
    [[nodiscard]] bool empty() const {
        return milli_cpu == 0 && memory == 0 && ephemeral_storage == 0 && other.empty();
    }
    // Element by element, capped at the end of int64.
    void add(const Resources& more);
    void raise_to(const Resources& floor);
    // Replaces what `others` names.
    void replace_with(const Resources& others);
    bool operator==(const Resources&) const = default;
};

// The sum of what pods ask for.
struct ResourceTotals {
    Wide milli_cpu = 0;
    Wide memory = 0;
    Wide ephemeral_storage = 0;
    std::map<std::string, Wide> other;

    void add(const Resources& pod);
    void subtract(const Resources& pod);
};

struct PodResources {
    Resources requests;
    // As requests, with the defaults above for containers that name no cpu or no memory.
    std::int64_t scored_milli_cpu = 0;
    std::int64_t scored_memory = 0;
};

// Containers side by side, init containers one after another beside the sidecars started before them, plus the
// overhead; requests of the pod as a whole take the place of the sum. Errors name the container and the resource.
Result<PodResources> pod_resources(const ::k8s::io::api::core::v1::PodSpec& spec);

struct NodeResources {
    Resources allocatable;
    std::int64_t pods = 0;
};
Result<NodeResources> node_resources(const ::k8s::io::api::core::v1::NodeStatus& status);

}  // namespace sluice::scheduler
