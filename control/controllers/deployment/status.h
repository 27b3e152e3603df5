// What a Deployment's status says: counts, and the conditions by which people and kubectl judge a
// rollout. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "control/controllers/deployment/history.h"

namespace k8s::io::api::apps::v1 {
class DeploymentCondition;
class DeploymentStatus;
}  // namespace k8s::io::api::apps::v1

namespace sluice::controllers {

using DeploymentStatus = ::k8s::io::api::apps::v1::DeploymentStatus;
using DeploymentCondition = ::k8s::io::api::apps::v1::DeploymentCondition;

[[nodiscard]] const DeploymentCondition* find_condition(const DeploymentStatus& status,
                                                        const std::string& type);
// Sets it; its transition time is kept while its status is the same. Nothing changes when status
// and reason are what they were and refresh is false.
void set_condition(DeploymentStatus* status, const std::string& type, const std::string& value,
                   const std::string& reason, const std::string& message, std::int64_t now_s,
                   bool refresh = false);

// Whether the Deployment's progress is judged: it has a deadline, and one that can pass.
[[nodiscard]] bool has_deadline(const Deployment& deployment);

// The status after this look. sets: all of the Deployment's; fresh may be null.
[[nodiscard]] DeploymentStatus next_status(const Deployment& deployment, const ReplicaSets& sets,
                                           const ReplicaSetPtr& fresh, std::int64_t now_s);

// All pods are of the present template and available, and none of an older one is left.
[[nodiscard]] bool is_complete(const Deployment& deployment, const DeploymentStatus& status);

// Seconds until the progress deadline may strike; nullopt when nothing is under way or there is
// none.
[[nodiscard]] std::optional<std::int64_t> deadline_in(const Deployment& deployment,
                                                      const DeploymentStatus& status,
                                                      std::int64_t now_s);

}  // namespace sluice::controllers
