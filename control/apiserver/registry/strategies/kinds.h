// The strategies of the kinds that exist, made by the files beside this one.
#pragma once

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
std::unique_ptr<Strategy> make_pod_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_service_strategy(const codec::KindInfo& kind,
                                                ServiceAllocator& allocator);

}  // namespace sluice::registry
