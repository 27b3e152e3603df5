#include "control/controllers/replicaset/status.h"

#include <algorithm>

#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::controllers {

ReplicaCounts count_replicas(const Pods& active, int terminating,
                             const std::map<std::string, std::string>& template_labels,
                             int min_ready_seconds, std::int64_t now_ns) {
    ReplicaCounts out;
    out.replicas = static_cast<int>(active.size());
    out.terminating = terminating;
    for (const auto& pod : active) {
        const auto& labels = pod->metadata().labels();
        if (std::ranges::all_of(template_labels, [&](const auto& label) {
                const auto found = labels.find(label.first);
                return found != labels.end() && found->second == label.second;
            })) {
            ++out.fully_labeled;
        }
        if (is_ready(*pod)) ++out.ready;
        if (is_available(*pod, min_ready_seconds, now_ns)) ++out.available;
    }
    return out;
}

}  // namespace sluice::controllers
