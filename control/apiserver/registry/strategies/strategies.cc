#include "control/apiserver/registry/strategies/strategies.h"

#include "control/apiserver/registry/api.h"
#include "control/apiserver/registry/strategies/kinds.h"

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
    // A kind of the scheme without rules of its own is served with the common ones.
    return std::make_unique<Strategy>(kind);
}

}  // namespace

StrategySet::StrategySet(ServiceAllocator& allocator, const ApiOptions& options) {
    for (const codec::KindInfo& kind : codec::all_kinds()) {
        strategies_.push_back(make_strategy(kind, allocator, options));
    }
}

const Strategy& StrategySet::of(const codec::KindInfo& kind) const {
    const auto index = &kind - codec::all_kinds().data();
    SLUICE_ASSERT(index >= 0 && static_cast<std::size_t>(index) < strategies_.size());
    return *strategies_[static_cast<std::size_t>(index)];
}

}  // namespace sluice::registry
