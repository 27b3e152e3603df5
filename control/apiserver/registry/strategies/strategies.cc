#include "control/apiserver/registry/strategies/strategies.h"

#include "control/apiserver/registry/api.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/custom/definition_strategy.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/platform.h"

namespace sluice::registry {

namespace {

struct Maker {
    std::string_view kind;
    std::unique_ptr<Strategy> (*make)(const codec::KindInfo& kind);
};

constexpr Maker kMakers[] = {
    {"ConfigMap", make_configmap_strategy},
    {"Secret", make_secret_strategy},
    {"ServiceAccount", make_serviceaccount_strategy},
    {"Namespace", make_namespace_strategy},
    {"Node", make_node_strategy},
    {"Event", make_event_strategy},
    {"Lease", make_lease_strategy},
    {"Endpoints", make_endpoints_strategy},
    {"EndpointSlice", make_endpointslice_strategy},
    {"Deployment", make_deployment_strategy},
    {"ReplicaSet", make_replicaset_strategy},
    {"ReplicationController", make_replicationcontroller_strategy},
    {"DaemonSet", make_daemonset_strategy},
    {"Job", make_job_strategy},
    {"ControllerRevision", make_controllerrevision_strategy},
    {"CertificateSigningRequest", make_csr_strategy},
    {"CronJob", make_cronjob_strategy},
    {"HorizontalPodAutoscaler", make_autoscaler_strategy},
    {"LimitRange", make_limitrange_strategy},
    {"PersistentVolume", make_volume_strategy},
    {"PersistentVolumeClaim", make_claim_strategy},
    {"PodDisruptionBudget", make_disruptionbudget_strategy},
    {"PodTemplate", make_podtemplate_strategy},
    {"ResourceQuota", make_resourcequota_strategy},
    {"StatefulSet", make_statefulset_strategy},
    {"CustomResourceDefinition", make_definition_strategy},
    {"Role", make_role_strategy},
    {"ClusterRole", make_clusterrole_strategy},
    {"RoleBinding", make_rolebinding_strategy},
    {"ClusterRoleBinding", make_clusterrolebinding_strategy},
};

std::unique_ptr<Strategy> make_strategy(const codec::KindInfo& kind, ServiceAllocator& allocator,
                                        const ApiOptions& options) {
    if (kind.gvk.kind == "Service") return make_service_strategy(kind, allocator);
    if (kind.gvk.kind == "Pod") {
        return make_pod_strategy(kind, options.not_ready_toleration_s,
                                 options.unreachable_toleration_s);
    }
    for (const Maker& maker : kMakers) {
        if (maker.kind == kind.gvk.kind) return maker.make(kind);
    }
    if (auto strategy = make_platform_strategy(kind)) return strategy;
    // A kind of the scheme without rules of its own is served with the common ones.
    return std::make_unique<Strategy>(kind);
}

}  // namespace

StrategySet::StrategySet(ServiceAllocator& allocator, const ApiOptions& options) {
    const auto kinds = codec::all_kinds();
    by_kind_.resize(kinds.size());
    for (const codec::KindInfo& kind : kinds) {
        if (&stored_kind(kind) != &kind) continue;
        strategies_.push_back(make_strategy(kind, allocator, options));
        by_kind_[static_cast<std::size_t>(&kind - kinds.data())] = strategies_.back().get();
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const auto stored = &stored_kind(kinds[i]) - kinds.data();
        by_kind_[i] = by_kind_[static_cast<std::size_t>(stored)];
    }
}

const Strategy& StrategySet::of(const codec::KindInfo& kind) const {
    const auto index = &kind - codec::all_kinds().data();
    SLUICE_ASSERT(index >= 0 && static_cast<std::size_t>(index) < by_kind_.size());
    return *by_kind_[static_cast<std::size_t>(index)];
}

}  // namespace sluice::registry
