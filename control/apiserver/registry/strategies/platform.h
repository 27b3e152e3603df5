// The strategies of the kinds that configure the cluster rather than run in it: networking, storage, classes,
// admission, aggregation, flow control. Made by the files beside this one.
#pragma once

#include <memory>
#include <vector>

#include "control/apiserver/registry/strategies/strategy.h"

namespace sluice::registry {

// Null when the kind is none of them.
std::unique_ptr<Strategy> make_platform_strategy(const codec::KindInfo& kind);

std::unique_ptr<Strategy> make_ingress_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_ingressclass_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_networkpolicy_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_servicecidr_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_ipaddress_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_storageclass_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_csidriver_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_csinode_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_csistoragecapacity_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_volumeattachment_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_priorityclass_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_runtimeclass_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_validating_webhooks_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_mutating_webhooks_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_admission_policy_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_admission_policy_binding_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_apiservice_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_flowschema_strategy(const codec::KindInfo& kind);
std::unique_ptr<Strategy> make_prioritylevel_strategy(const codec::KindInfo& kind);

// Whether two objects of one kind differ in nothing but their metadata (and status).
[[nodiscard]] bool same_but_metadata(const Message& a, const Message& b);
// "a,b"; `none` for an empty list.
[[nodiscard]] std::string joined_cell(const std::vector<std::string>& values,
                                      std::string_view none);

}  // namespace sluice::registry
