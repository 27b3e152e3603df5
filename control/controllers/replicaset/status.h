// What the status of a ReplicaSet or ReplicationController is, from its pods. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "control/controllers/pod_status.h"

namespace sluice::controllers {

struct ReplicaCounts {
    int replicas = 0;
    int fully_labeled = 0;  // carry all labels of the template
    int ready = 0;
    int available = 0;      // ready for min_ready_seconds
    int terminating = 0;
};

// active: neither ended nor being deleted.
[[nodiscard]] ReplicaCounts count_replicas(
    const Pods& active, int terminating, const std::map<std::string, std::string>& template_labels,
    int min_ready_seconds, std::int64_t now_ns);

}  // namespace sluice::controllers
