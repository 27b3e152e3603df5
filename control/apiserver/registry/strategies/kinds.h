// The strategies of the kinds that exist, made by the files beside this one.
#pragma once

#include <cstdint>
#include <memory>

#include "control/apiserver/registry/strategies/strategy.h"

namespace sluice::registry {

class ServiceAllocator;

std::unique_ptr<Strategy> make_configmap_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_secret_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_serviceaccount_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_namespace_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_node_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_event_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_lease_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_endpoints_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_endpointslice_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_pod_strategy(const codec::KindInfo& kind,
                                            std::int64_t not_ready_toleration_s,
                                            std::int64_t unreachable_toleration_s);
std::unique_ptr<Strategy> make_deployment_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_replicaset_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_replicationcontroller_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_daemonset_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_job_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_controllerrevision_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_autoscaler_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_claim_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_cronjob_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_disruptionbudget_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_limitrange_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_podtemplate_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_resourcequota_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_statefulset_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_volume_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_csr_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_role_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_clusterrole_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_rolebinding_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_clusterrolebinding_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_service_strategy(const codec::KindInfo& kind,
                                                ServiceAllocator& allocator);

}  // namespace sluice::registry
