#include "control/apiserver/registry/strategies/strategies.h"

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
    {"Pod", make_pod_strategy},
};

std::unique_ptr<Strategy> make_strategy(const codec::KindInfo& kind, ServiceAllocator& allocator) {
    if (kind.gvk.kind == "Service") return make_service_strategy(kind, allocator);
    for (const Maker& maker : kMakers) {
        if (maker.kind == kind.gvk.kind) return maker.make(kind);
    }
    // A kind of the scheme without rules of its own is served with the common ones.
    return std::make_unique<Strategy>(kind);
}

}  // namespace

StrategySet::StrategySet(ServiceAllocator& allocator) {
    for (const codec::KindInfo& kind : codec::all_kinds()) {
        strategies_.push_back(make_strategy(kind, allocator));
    }
}

const Strategy& StrategySet::of(const codec::KindInfo& kind) const {
    const auto index = &kind - codec::all_kinds().data();
    SLUICE_ASSERT(index >= 0 && static_cast<std::size_t>(index) < strategies_.size());
    return *strategies_[static_cast<std::size_t>(index)];
}

}  // namespace sluice::registry
